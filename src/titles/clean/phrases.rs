//! The words that models put before a title or in its place: labels, placeholders, refusals, small talk. Lists of
//! phrases by language, to be extended when a log shows a new one; no rules about marks.

use super::{Rejection, markup};

/// What a title, or the offer of one, is called; a label has one of these.
const NAMES: &str = "title titles suggestion suggested suggest topic subject headline heading titel chattitel gesprächstitel konversationstitel überschrift \
     thema titre sujet título titulo tema asunto assunto titolo oggetto tytuł temat название заголовок тема \
     назва název názov cím titlu başlık başlığı τίτλος otsikko tittel judul शीर्षक শিরোনাম عنوان العنوان כותרת \
     naslov наслов";

/// What stands around it in a label, an announcement or a label alone.
const FILLERS: [&str; 6] = [
    // English
    "sure certainly of course ok okay here here's heres is are this that the a an my your for it its i i'd would \
     could be proposed possible potential generated good great fitting suitable \
     short concise brief descriptive simple clear catchy best final new one conversation chat thread session \
     discussion dialogue message display name based on you go",
    // German
    "hier ist ein eine der die das den des dieses dieser für diese gespräch gesprächs unterhaltung konversation \
     chats vorgeschlagener vorschlag möglicher kurzer passender mein natürlich gerne",
    // French
    "voici un une le la les de du cette pour votre proposé suggéré possible court bien sûr",
    // Spanish, Portuguese, Italian
    "aquí aqui tienes está el o os esta este para conversación conversa conversazione charla sugerido propuesto \
     proposto posible possível corto breve claro da do ecco il per questa della di suggerito certo",
    // Russian, Ukrainian
    "вот чата беседы разговора диалога для этого этой предлагаемое предложенное краткое розмови чату",
    // Dutch, Swedish, Danish, Polish, Turkish, Arabic, Persian, Indonesian
    "het van gesprek voor deze konversationen rozmowy sohbet sohbetin المحادثة مقترح گفتگو پیشنهادی percakapan",
];

/// The same two, of the languages that write no spaces or glue particles to words.
const DENSE_NAMES: &str =
    "标题 標題 题目 題目 主题 主題 タイトル 題名 件名 제목 주제 ชื่อเรื่อง หัวข้อ tiêuđề";
const DENSE_FILLERS: &str = "以下是 以下は 以下の 这是 這是 建议 建議 推荐 推薦 会话 會話 对话 對話 聊天 本次 一个 一個 的 为 是 好 ， 会話 チャット 対話 こちらが 提案 案 です の は 대화 채팅 추천 다음은 \
     입니다 의 은";

/// What applications and models call a conversation without a title.
const PLACEHOLDERS: &str = "new chat | new conversation | new thread | new session | new topic | new message | untitled | \
     untitled chat | untitled conversation | untitled document | no title | no name | no topic | unnamed | \
     unnamed conversation | n/a | null | nil | undefined | none | not available | not applicable | unknown | \
     unknown title | unknown topic | tbd | placeholder | example | example title | string | empty | chat | \
     conversation | default | default title | your title here | title here | insert title here | insert title | \
     title goes here | lorem ipsum | sure | ok | okay | neuer chat | neue unterhaltung | neue konversation | \
     neues gespräch | ohne titel | kein titel | unbenannt | nouveau chat | nouvelle conversation | \
     nouvelle discussion | sans titre | nuevo chat | nueva conversación | nueva conversacion | sin título | \
     sin titulo | novo chat | nova conversa | sem título | sem titulo | nuova chat | nuova conversazione | \
     senza titolo | nieuw gesprek | nieuwe chat | zonder titel | naamloos | nowa rozmowa | nowy czat | \
     bez tytułu | новый чат | новая беседа | новый разговор | без названия | новий чат | без назви | \
     yeni sohbet | başlıksız | محادثة جديدة | بدون عنوان | بلا عنوان | obrolan baru | cuộc trò chuyện mới | \
     नई चैट | 新对话 | 新對話 | 新的对话 | 新會話 | 新会话 | 新聊天 | 无标题 | 無標題 | 未命名 | 无 | 新しいチャット | 新しい会話 | 新規チャット | 無題 | \
     タイトルなし | 새 채팅 | 새 대화 | 제목 없음 | 무제";

/// How refusals begin.
const REFUSALS: [&str; 8] = [
    // English; not "Cannot create …" alone, which people ask about
    "i'm sorry | i am sorry | im sorry | i'm so sorry | i'm very sorry | we're sorry | sorry, | sorry - | \
     sorry but | sorry about | sorry for | sorry i | so sorry | i apologize | i apologise | apologies | \
     my apologies | i cannot | i can't | i cant | i can not | i could not | i couldn't | i won't | i will not | \
     i'm unable | i am unable | i'm not able | i am not able | i'm afraid | i am afraid | i must decline | \
     i have to decline | i refuse | i'm not comfortable | i do not have | i don't have | i need more | \
     i'm not sure what | i'm just an ai | i'm an ai | i am an ai | as an ai | as a language model | \
     as a large language model | as an artificial intelligence | as an assistant | unfortunately, i | \
     unfortunately i | regrettably, i | unable to assist | unable to comply | unable to create a title | \
     unable to determine a title | unable to fulfill | unable to generate a title | unable to help | \
     unable to provide a title | cannot assist | cannot comply | cannot create a title | cannot fulfill | \
     cannot generate a title | cannot help | cannot provide a title | can't assist | can't help with | please provide | could you please | can you please provide | \
     no message was provided | no message provided",
    // German
    "es tut mir leid | tut mir leid | entschuldigung, | entschuldige, | leider kann ich | ich kann nicht | \
     ich kann leider | ich kann das nicht | ich kann dir | ich kann ihnen | ich kann dabei | ich kann keine | \
     ich kann keinen | ich kann diese | ich bin nicht in der lage | ich bin ein ki | ich bin eine ki | als ki, | \
     als ki kann | als ki bin | als ki-modell | als ki-sprachmodell | als ki-assistent | als eine ki | \
     als sprachmodell | als ein sprachmodell | als künstliche intelligenz",
    // French
    "je suis désolé | je suis désolée | désolé, | désolée, | désolé mais | désolé, mais | je regrette | \
     je ne peux pas | je ne peux | je ne suis pas en mesure | je m'excuse | malheureusement, je | \
     en tant qu'ia | en tant qu'assistant | en tant qu'intelligence | en tant que modèle | en tant que ia",
    // Spanish
    "lo siento | lo lamento | lamento | lamentablemente, no | disculpa, | disculpe, | me temo que | no puedo | \
     no me es posible | como modelo de lenguaje | como un modelo de lenguaje | como una ia | como ia | \
     como inteligencia artificial",
    // Portuguese
    "desculpe | desculpa | me desculpe | sinto muito | peço desculpas | infelizmente, não | infelizmente não | \
     não posso | não consigo | como modelo de linguagem | como um modelo de linguagem | como uma inteligência",
    // Italian
    "mi dispiace | mi spiace | spiacente | purtroppo non posso | purtroppo, non posso | non posso | \
     non sono in grado | come modello linguistico | in quanto modello | in quanto ia | come ia | \
     come intelligenza artificiale",
    // Russian, Ukrainian
    "извините | извини, | простите | прости, | прошу прощения | мне жаль | мне очень жаль | к сожалению | \
     я не могу | не могу помочь | не могу создать | я не в состоянии | как языковая модель | как ии | \
     как искусственный интеллект | вибачте | на жаль | я не можу | перепрошую",
    // Dutch, Swedish, Polish, Turkish, Arabic, Hindi, Vietnamese, Indonesian
    "het spijt me | ik kan niet | ik kan geen | ik kan je niet | helaas kan ik | als ai- | jag är ledsen | \
     tyvärr | przepraszam | przykro mi | niestety | nie mogę | üzgünüm | maalesef | عذرا | عذرًا | آسف | أعتذر | \
     لا أستطيع | لا يمكنني | متأسفم | क्षमा करें | मुझे खेद | मुझे माफ़ | xin lỗi | tôi không thể | maaf, | \
     maaf saya | saya tidak dapat | saya tidak bisa",
];

/// The same, of the languages that write no spaces or glue particles to words; compared without white space.
const DENSE_REFUSALS: &str = "抱歉 很抱歉 非常抱歉 对不起 對不起 不好意思， 我无法 我無法 我不能 无法提供 無法提供 无法生成 作为ai 作为一个ai 作为一名ai 作为人工智能 作为一个人工智能 作为一个语言模型 作为语言模型 \
     作為ai 作為一個 申し訳 ごめんなさい、 すみませんが すみません、 恐れ入りますが 残念ながら aiとして 言語モデルとして 私はaiなので 죄송 미안하지만 유감스럽게도 저는ai ai로서 언어모델로서";

/// What refuses wherever it stands.
const REFUSALS_INSIDE: &str = "i'm sorry, but | i am sorry, but | i can't assist | i cannot assist | i can't help | i cannot help | \
     i'm unable to | i am unable to | can't help with that | ai language model | als ki-sprachmodell | \
     お手伝いできません | お答えできません | お応えできません | 対応できません | 提供できません | することができません | 无法帮助 | 無法協助 | 도와드릴 수 없 | 수 없습니다 | 제공할 수 없";

/// How talk to the user begins: no title, though it may be short.
const ANSWERS: &str = "sure, | sure! | sure thing | of course, | of course! | certainly, | certainly! | absolutely, | \
     absolutely! | here's a | here's an | here's the | here's your | here's my | here's one | here is a | \
     here is an | here is the | here is your | here is my | here is one | here are | i can help | i'd be happy | \
     i would be happy | i'm happy to | i'd be glad | happy to help | glad to help | great question | \
     good question | hello! | hi! | hi there | hello there | hey there | let me help | okay, | okay! | how can i help you | how can i assist | \
     how may i help | how may i assist | let me know | natürlich! | natürlich, | gerne! | klar! | hier ist ein | \
     hier ist der | bien sûr | voici un | voici le | avec plaisir | por supuesto | claro, | claro! | \
     aquí tienes | aquí está | com certeza | aqui está | certamente | certo! | ecco un | ecco il | конечно, | \
     конечно! | вот название | oczywiście";
const DENSE_ANSWERS: &str = "好的， 当然， 当然可以 當然， 以下是 もちろん 承知しました かしこまりました はい、 以下は 물론 네, 다음은";
const ANSWERS_INSIDE: &str =
    "how can i help you | how can i assist you | how may i assist you | let me know if";

/// How reasoning begins that no tag gives away.
const REASONINGS: &str = "the user wants | the user asks | the user asked | the user is | the user would like | the user said | \
     the user wrote | the user just | the user has | the user's message | the user's request | user wants | \
     user asks | user is asking | okay, the user | ok, the user | alright, the user | okay, so | okay, let | \
     let me think | let's think | we need to generate | we need to create | we need to produce | \
     we need to output | we need a title | i need to generate | i need to create | i need to come up | \
     i should create | i should generate | hmm, | thinking process | thinking: | thought: | reasoning: | \
     a good title would | a good title is | so a good title | the title should | the title could";

/// A line without the label that it begins with. "Title IX Compliance" and "Python: A Guide" have none.
pub(super) fn without_label(line: &str) -> &str {
    let label = |head: &str| {
        let head = markup::without_quotes(head.trim());
        !markup::opens_quotation(head) && (is_label(head) || is_speaker(head))
    };
    let separated = SEPARATORS.iter().find_map(|separator| {
        let (head, rest) = line.split_once(*separator)?;
        label(head).then_some(rest)
    });
    // The title is "Kyoto"
    let quoted = || {
        let (head, rest) = line.split_at(line.find(['"', '“', '„', '«', '「', '『', '《'])?);
        (label(head) && markup::without_quotes(rest) != rest).then_some(rest)
    };
    separated.or_else(quoted).unwrap_or(line).trim()
}

const SEPARATORS: [&str; 6] = [":", "：", " - ", " – ", " — ", " = "];

/// Whether a text is nothing but what a title is called: "Title", "Suggested chat title", "会話のタイトル".
pub(super) fn is_label(text: &str) -> bool {
    const MAX_CHARS: usize = 100;

    if text.contains('{') || text.chars().nth(MAX_CHARS).is_some() {
        return false;
    }
    let key = fold(text);
    let is_word =
        |lists: &[&str], word: &str| lists.iter().any(|list| list.split(' ').any(|w| w == word));
    let words = || {
        key.split(|c: char| !(c.is_alphanumeric() || c == '\'' || is_mark(c)))
            .filter(|w| !w.is_empty())
    };
    let is_name = |word| is_word(&[NAMES], word);
    if words().any(is_name) && words().all(|word| is_name(word) || is_word(&FILLERS, word)) {
        return true;
    }
    let mut rest = without_spaces(&key);
    let length = rest.len();
    for name in DENSE_NAMES.split(' ') {
        rest = rest.replace(name, "");
    }
    if rest.len() == length {
        return false;
    }
    for filler in DENSE_FILLERS.split(' ') {
        rest = rest.replace(filler, "");
    }
    rest.is_empty()
}

/// Whether a text announces who speaks or that something follows, rather than a title.
fn is_speaker(text: &str) -> bool {
    matches!(
        fold(text).as_str(),
        "assistant" | "final answer" | "answer" | "sure" | "here you go" | "here's one"
    )
}

/// Why a text with these words in it cannot be a title.
pub(super) fn rejection(text: &str) -> Option<Rejection> {
    let key = fold(text);
    // Its end too: "sure!" is not "sure".
    let talk = straighten(text);
    let talk = talk.trim_start_matches(|c: char| !c.is_alphanumeric());
    let dense = without_spaces(talk);
    let begins = |lists: &[&str]| phrases(lists).any(|phrase| begins_with(talk, phrase));
    let dense_begins = |list: &str| list.split(' ').any(|phrase| dense.starts_with(phrase));
    let has = |list: &str| phrases(&[list]).any(|phrase| talk.contains(phrase));
    let is_placeholder = |text: &str| phrases(&[PLACEHOLDERS]).any(|phrase| phrase == text);

    let unnumbered = key.trim_end_matches(|c: char| c.is_numeric() || " #(".contains(c));
    if is_placeholder(&key) || is_placeholder(unnumbered) || is_label(&key) {
        Some(Rejection::Placeholder)
    } else if begins(&REFUSALS) || dense_begins(DENSE_REFUSALS) || has(REFUSALS_INSIDE) {
        Some(Rejection::Refusal)
    } else if begins(&[REASONINGS]) {
        Some(Rejection::Reasoning)
    } else if begins(&[ANSWERS]) || dense_begins(DENSE_ANSWERS) || has(ANSWERS_INSIDE) {
        Some(Rejection::Answer)
    } else {
        None
    }
}

/// The phrases of some lists, which ` | ` divides.
fn phrases<'a>(lists: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    lists.iter().flat_map(|list| list.split(" | "))
}

/// Whether a text begins with a phrase and not with a longer word.
fn begins_with(text: &str, phrase: &str) -> bool {
    let ends_in_word = phrase.ends_with(char::is_alphanumeric);
    text.strip_prefix(phrase).is_some_and(|rest| {
        !(ends_in_word && rest.starts_with(|c: char| c.is_alphanumeric() || is_mark(c)))
    })
}

/// A text to compare: lower case, straight apostrophes, no punctuation around it.
fn fold(text: &str) -> String {
    straighten(text)
        .trim_matches(|c: char| !(c.is_alphanumeric() || is_mark(c)))
        .to_owned()
}

fn straighten(text: &str) -> String {
    text.replace(['’', '‘', 'ʼ', '´', '`', '＇'], "'")
        .to_lowercase()
}

fn without_spaces(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

fn is_mark(c: char) -> bool {
    unicode_normalization::char::is_combining_mark(c)
}
