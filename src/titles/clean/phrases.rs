//! Phrases that models write before or instead of a title: labels, placeholders, refusals, small talk.
//!
//! Lists by language, to be extended when a log shows a new phrase. `markup` has the rules about marks.

use super::{Rejection, quotes};

/// Words for a title or for offering one; every label has one of these.
const NAMES: &str = "title titles suggestion suggested suggest topic subject headline heading titel chattitel gesprächstitel konversationstitel überschrift \
     thema titre sujet título titulo tema asunto assunto titolo oggetto tytuł temat название названия заголовок тема \
     назва název názov cím titlu başlık başlığı τίτλος otsikko tittel judul शीर्षक শিরোনাম عنوان العنوان כותרת \
     naslov наслов \
     titelvorschlag vorschlag betreff názvu címe titlul titlului başlığın τίτλου عنوانا عنوانًا عنواناً தலைப்பு \
     శీర్షిక judulnya tajuk pamagat назву";

/// Other words of labels and announcements.
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
    "voici un une le la les est de du cette pour votre proposé suggéré possible court bien sûr",
    // Spanish, Portuguese, Italian
    "aquí aqui tienes está el o os esta este para conversación conversa conversazione charla sugerido propuesto \
     proposto posible possível corto breve claro da do ecco il per questa della di suggerito certo",
    // Russian, Ukrainian
    "вот чата беседы разговора диалога для этого этой предлагаемое предложенное краткое розмови чату",
    // Dutch, Swedish, Danish, Polish, Turkish, Arabic, Persian, Indonesian
    "het van gesprek voor deze konversationen rozmowy sohbet sohbetin المحادثة مقترح گفتگو پیشنهادی percakapan \
     hier is een voorgestelde här är en förslag på her er forslag til oto proponowany proponowana konverzace tady je navrhovaný \
     javasolt beszélgetés iată un sugerat işte bir önerilen προτεινόμενος المقترح إليك هذا הנה של यहाँ एक है संवाद সংলাপের đây là gợi ý \
     cuộc trò chuyện berikut ini adalah ось подходящее вариант краткий",
];

/// [`NAMES`] and [`FILLERS`] for languages without spaces, or with particles attached to words.
const DENSE_NAMES: &str =
    "标题 標題 题目 題目 主题 主題 タイトル 題名 件名 제목 주제 ชื่อเรื่อง ชื่อแชท หัวข้อ tiêuđề";
const DENSE_FILLERS: &str = "はい 以下が こちら đâylà gợiý 以下是 以下は 以下の 这是 這是 建议 建議 推荐 推薦 会话 會話 对话 對話 聊天 本次 一个 一個 的 为 是 好 ， 会話 チャット 対話 こちらが 提案 案 です の は 대화 채팅 추천 다음은 \
     다음과 같습니다 입니다 의 은 네 当然 當然 这个 這個 、 ,";

/// Phrases that begin the offer of a title.
const OFFERS: &str = "here's | here is | sure | of course | certainly | absolutely | okay | ok | based on | as requested | i suggest | \
     i'd suggest | i would suggest | i've generated | hier ist | natürlich | gerne | voici | bien sûr | \
     aquí tienes | aquí está | claro | por supuesto | aqui está | ecco | certo | вот | конечно";

/// The words of a note on a title's length.
const COUNTS: &str = "word words count total character characters chars letters and wörter zeichen mots caractères palabras caracteres \
     palavras parole caratteri слов слова символов символа woorden tekens słów słowa znaków kelime karakter từ kata";
const DENSE_COUNTS: &str = "字 个字 個字 文字 词 個詞 个词 单词 語 글자 자 단어";

/// Names of untitled conversations in applications and models.
const PLACEHOLDERS: &str = "new chat | new conversation | new thread | new session | new topic | new message | untitled | \
     untitled chat | untitled conversation | untitled document | no title | no name | no topic | unnamed | \
     unnamed conversation | n/a | null | nil | undefined | none | not available | not applicable | unknown | \
     unknown title | unknown topic | tbd | placeholder | example | example title | string | empty | chat | \
     conversation | default | default title | your title here | title here | insert title here | insert title | \
     title goes here | lorem ipsum | neuer chat | neue unterhaltung | neue konversation | \
     neues gespräch | ohne titel | kein titel | unbenannt | nouveau chat | nouvelle conversation | \
     nouvelle discussion | sans titre | nuevo chat | nueva conversación | nueva conversacion | sin título | \
     sin titulo | novo chat | nova conversa | sem título | sem titulo | nuova chat | nuova conversazione | \
     senza titolo | nieuw gesprek | nieuwe chat | zonder titel | naamloos | nowa rozmowa | nowy czat | \
     bez tytułu | новый чат | новая беседа | новый разговор | без названия | новий чат | без назви | \
     yeni sohbet | başlıksız | محادثة جديدة | بدون عنوان | بلا عنوان | obrolan baru | cuộc trò chuyện mới | \
     नई चैट | 新对话 | 新對話 | 新的对话 | 新會話 | 新会话 | 新聊天 | 无标题 | 無標題 | 未命名 | 无 | 新しいチャット | 新しい会話 | 新規チャット | 無題 | \
     タイトルなし | 無題のチャット | 無題の会話 | 无题 | 暂无标题 | 新對話 | 새 채팅 | 새 대화 | 새로운 대화 | 새로운 채팅 | 제목 없음 | 제목없음 | 무제 | \
     untitled thread | new chat title | no title needed | no title available | title unavailable | title generated | \
     general chat | general conversation | general discussion | chat session | chat summary | conversation summary | \
     error generating title | true | false | redacted | unbenannter chat | unbenannte unterhaltung | unbenanntes gespräch | \
     unterhaltung | conversation sans titre | discussion sans titre | conversación sin título | chat sin título | conversación | \
     conversa sem título | conversa | conversazione senza titolo | conversazione | без заголовка | беседа без названия | \
     чат без названия | беседа | گفتگوی جدید | चैट | नई बातचीत | शीर्षकहीन | nimetön | uusi keskustelu | ny chatt | ny chat | \
     ny konversation | ny samtale | namnlös | uden titel | uten tittel | nový chat | nová konverzace | bez názvu | új beszélgetés | \
     névtelen | conversație nouă | fără titlu | νέα συνομιλία | χωρίς τίτλο | שיחה חדשה | ללא כותרת | การสนทนาใหม่ | แชทใหม่ | \
     ไม่มีชื่อ | percakapan baru | tanpa judul | không có tiêu đề";

/// Apologies. A refusal if alone or before a pause; "Apologies in Emails" and "Es tut mir leid auf Spanisch" are
/// titles.
const REGRETS: [&str; 5] = [
    // English, German, Dutch, Swedish, Danish, Norwegian, Finnish
    "i'm sorry | i am sorry | im sorry | i'm so sorry | i'm very sorry | i'm really sorry | we're sorry | sorry | \
     so sorry | i apologize | i apologise | apologies | my apologies | unfortunately | regrettably | i must decline | \
     i have to decline | i refuse | es tut mir leid | es tut mir sehr leid | tut mir leid | entschuldigung | entschuldige | \
     entschuldigen sie | verzeihung | leider | het spijt me | helaas | jag är ledsen | jag beklagar | tyvärr | förlåt | \
     jeg beklager | beklager | beklageligvis | desværre | dessverre | undskyld | det er jeg ked af | olen pahoillani | \
     pahoittelen | valitettavasti | anteeksi",
    // French, Spanish, Catalan, Portuguese, Italian, Romanian, Basque
    "je suis désolé | je suis désolée | je suis vraiment désolé | désolé | désolée | je suis navré | je suis navrée | navré | \
     je regrette | je m'excuse | malheureusement | lo siento | lo siento mucho | lo lamento | lamento | lamentablemente | \
     desafortunadamente | disculpa | disculpe | perdón | perdona | perdone | ho sento | desculpe | desculpa | me desculpe | \
     sinto muito | peço desculpas | peço desculpa | infelizmente | mi dispiace | mi spiace | spiacente | sono spiacente | \
     purtroppo | scusa | scusi | îmi pare rău | ne pare rău | din păcate | sentitzen dut",
    // Slavic, Hungarian, Greek, Georgian, Armenian
    "извините | извини | простите | прости | прошу прощения | мне жаль | мне очень жаль | к сожалению | сожалею | вибачте | \
     перепрошую | на жаль | извинявам се | съжалявам | жао ми је | нажалост | przepraszam | przykro mi | niestety | \
     omlouvám se | promiňte | je mi líto | je mi to líto | bohužel | ospravedlňujem sa | prepáčte | žiaľ | žao mi je | nažalost | \
     sajnálom | elnézést | sajnos | λυπάμαι | συγγνώμη | δυστυχώς | ბოდიში | უკაცრავად | ներողություն",
    // Turkic, Arabic, Persian, Urdu, Hebrew, Hindi, Bengali, Tamil, Telugu, Swahili, Indonesian, Filipino, Vietnamese
    "üzgünüm | maalesef | özür dilerim | bağışlayın | عذرا | عذرًا | عذراً | آسف | آسفة | أنا آسف | أعتذر | معذرة | للأسف | متأسفم | \
     متاسفم | متأسفانه | متاسفانه | ببخشید | معذرت | معاف کیجئے | אני מצטער | אני מצטערת | מצטער | מצטערת | סליחה | לצערי | \
     क्षमा करें | मुझे खेद है | मुझे माफ़ करें | माफ़ करें | माफ़ कीजिए | माफ कीजिए | দুঃখিত | আমি দুঃখিত | மன்னிக்கவும் | క్షమించండి | samahani | \
     maaf | mohon maaf | paumanhin | pasensya na | xin lỗi | tôi xin lỗi | rất tiếc",
    // Chinese, Japanese, Korean, Thai
    "作为ai | 抱歉 | 很抱歉 | 非常抱歉 | 对不起 | 對不起 | 不好意思 | 很遗憾 | 很遺憾 | 申し訳ありません | 申し訳ありませんが | 申し訳ございません | 申し訳ございませんが | \
     申し訳ないですが | ごめんなさい | すみません | すみませんが | 恐れ入りますが | 残念ながら | 残念ですが | 죄송합니다 | 죄송합니다만 | 죄송하지만 | 죄송해요 | 미안합니다 | \
     미안해요 | 미안하지만 | 유감이지만 | 유감스럽게도 | ขอโทษ | ขอโทษครับ | ขอโทษค่ะ | ขออภัย",
];

/// Subjects with an inability, and the verbs that make them a refusal: "I can't help" refuses, "I Can't Sleep" is a
/// title.
const UNABLE: [(&str, &str); 8] = [
    (
        "i can't | i cannot | i cant | i can not | i could not | i couldn't | i won't | i will not | i won't be able to | \
         i'm unable to | i am unable to | i'm not able to | i am not able to | sorry i can't | sorry i cannot | \
         i'm sorry i can't | i'm sorry i cannot | i'm not comfortable | unfortunately i can't | unfortunately i cannot",
        "assist | help | provide | create a title | create titles | create that | create this | create such | \
         create content | generate a title | generate titles | generate that | generate this | generate such | generate content | comply | fulfill | fulfil | do that | do this | do it | answer | \
         discuss | engage | share that | share this | share information | talk about | support that | support this | \
         produce | process that | process this | respond to that | respond to this | give legal | give medical | give advice | offer | suggest | title | summarize | summarise | determine | \
         complete this | complete that | continue with | make a title | make that | write that | write this | access external | \
         browse | with | discussing | providing | helping | creating | generating",
    ),
    (
        "unable to | cannot | can't | could not",
        "assist | comply | help with | title | create a title | determine a title | determine title | determine the | \
         determine topic | fulfill | generate a title | generate title | provide a title | provide title | provide that | \
         create title | summarize this | summarise this",
    ),
    (
        "ich kann | ich kann leider | leider kann ich",
        "nicht helfen | nicht weiterhelfen | nicht antworten | dabei nicht | dabei leider | damit nicht | dir nicht | \
         dir dabei | dir damit | ihnen nicht | ihnen dabei | ihnen damit | das nicht | dazu nicht | dazu keine | keinen titel | \
         diese anfrage | diese frage | dabei | darauf nicht",
    ),
    (
        "je ne peux pas | je ne peux malheureusement pas | je ne suis pas en mesure de",
        "aider | vous | t'aider | répondre | fournir | créer un titre | générer un titre | faire cela | faire ça | accéder à votre | accéder à cette | \
         traiter | satisfaire",
    ),
    (
        "no puedo | no me es posible | não posso | não consigo | no puc",
        "ayudar | ayudarte | ayudarle | ayudarlo | responder | proporcionar | crear un título | generar un título | cumplir | hacer eso | \
         hacerlo | asistir | ofrecer | ajudar | ajudá | ajudar-te | ajudar-lo | fornecer | criar um título | gerar um título | fazer isso | atender",
    ),
    (
        "non posso | non sono in grado di",
        "aiutarti | aiutarla | aiutare | rispondere | fornire | creare un titolo | generare un titolo | farlo | soddisfare | discutere",
    ),
    (
        "я не могу | не могу | я не в состоянии | я не можу | nie mogę",
        "помочь | с этим | вам | тебе | предоставить | создать название | создать заголовок | выполнить | ответить | сгенерировать | обсуждать | \
         допомогти | надати | pomóc | w tym | ci | spełnić | wygenerować | odpowiedzieć",
    ),
    (
        "ik kan | jag kan inte | jeg kan ikke | en voi | tôi không thể | saya tidak dapat | saya tidak bisa | saya tidak boleh | \
         لا أستطيع | لا يمكنني | للأسف لا | عذرا لا | آسف لا",
        "niet helpen | je niet | je daar | je hier | u niet | daar niet | daarmee niet | hier niet | geen titel | hjälpa | hjälpa dig | \
         svara | skapa en titel | hjelpe | hjælpe | svare | auttaa | giúp | hỗ trợ | cung cấp | trả lời | membantu | memberikan | memenuhi | \
         membuat judul | menjawab | المساعدة | مساعدتك | تقديم | إنشاء | الإجابة | أستطيع | يمكنني",
    ),
];

/// Openings of refusals.
const REFUSALS: [&str; 4] = [
    // English
    "i'm sorry but | i am sorry but | sorry but | sorry i'm unable | i apologize but | i apologize for the | i'm afraid i | \
     i am afraid i | i don't have enough | i do not have enough | i don't have access to | i do not have access to | \
     i don't have the ability | i do not have the ability | i don't have any | i do not have any | i don't have information | \
     i don't have context | i need more information | i need more context | i need more details | i'm not sure what | \
     i prefer not to | i'd prefer not to | i'd rather not | i'm just an ai | i'm an ai | i am an ai | as an ai, | as an ai i | \
     as an ai language | as an ai model | as an ai assistant | as an ai chatbot | as a language model | \
     as a large language model | as an artificial intelligence, | as an assistant, | not enough information | \
     not enough context | insufficient information | insufficient context | please provide a | please provide more | \
     please provide the | please provide me | please provide your | please clarify | please share | please send me | \
     could you please provide | could you please clarify | could you please share | could you provide | could you clarify | \
     can you please provide | can you provide more | can you clarify | no message was provided | no message provided | \
     no content provided | no content was provided | no text provided | no input provided | no user message",
    // German, French, Dutch
    "dabei kann ich | damit kann ich | ich bin nicht in der lage | ich bin ein ki | ich bin eine ki | als ki, | als ki kann | \
     als ki bin | als ki-modell | als ki-sprachmodell | als ki-assistent kann | als eine ki | als sprachmodell | \
     als ein sprachmodell | als künstliche intelligenz | désolé mais | je ne suis pas en mesure | en tant qu'ia | \
     en tant qu'assistant | en tant qu'intelligence artificielle | en tant que modèle | en tant que ia | als ai-",
    // Spanish, Portuguese, Italian
    "lo siento pero | me temo que no | como modelo de lenguaje | como un modelo de lenguaje | como una ia | como ia, | \
     como inteligencia artificial, | infelizmente não posso | infelizmente não consigo | como modelo de linguagem | \
     como um modelo de linguagem | como uma inteligência artificial | mi dispiace ma | purtroppo non posso | non sono in grado | \
     come modello linguistico | in quanto modello | in quanto ia | come ia, | come intelligenza artificiale,",
    // Russian, Turkish, Persian, Hebrew, Hindi, Vietnamese, Indonesian, Thai, Romanian
    "к сожалению я не | как языковая модель | как ии, | как ии я | как искусственный интеллект, | nu pot să ajut | nu pot să te | \
     מצטער אני | मैं मदद नहीं | maaf saya | maaf kami | \
     tyvärr kan | desværre kan | dessverre kan | valitettavasti en | bohužel nemohu | bohužel vám | δυστυχώς δεν | niestety nie | \
     maalesef bu | متأسفانه نمی | متاسفانه نمی | לצערי אינני | לצערי אני",
];

/// [`REFUSALS`] for languages without spaces, or with particles attached to words; compared without white space.
const DENSE_REFUSALS: &str = "抱歉我 抱歉但 很抱歉我 对不起我不能 对不起我无法 對不起我 我无法提供 我无法帮 我无法协助 我无法回答 我无法生成 我无法为 我无法满足 我无法完成 我无法创建 \
     我无法讨论 我无法处理 我無法提供 我無法幫 我無法協助 我無法回答 我無法生成 我無法為 我無法滿足 我無法完成 我不能帮 我不能提供 我不能协助 我不能回答 我不能生成 我不能為 无法提供 無法提供 无法生成 无法回答 無法回答 \
     无法协助 无法满足 信息不足 作为ai， 作为ai模型 作为ai语言 作为ai助手 作为一个ai 作为一名ai 作为人工智能， 作为一个人工智能 作为一个语言模型 作为语言模型 作為ai， 作為一個ai 我是ai 我是一个ai 我是一个人工智能 \
     申し訳ありませんが 申し訳ございませんが aiとして aiなので 言語モデルとして 私はaiなので それはできません 죄송합니다만 죄송하지만 저는ai ai로서 언어모델로서 도와드릴수없 ขออภัยฉัน ขออภัยผม ขออภัยครับ ขออภัยค่ะ ขอโทษฉัน ขอโทษผม";

/// Phrases of refusal anywhere in a text.
const REFUSALS_INSIDE: &str = "i'm sorry, but | i am sorry, but | i can't assist | i cannot assist | i can't help | i cannot help | \
     i'm unable to help | i'm unable to assist | i am unable to help | i am unable to assist | can't help with that | an ai language model | als ki-sprachmodell | \
     dabei nicht helfen | damit nicht helfen | nicht weiterhelfen | yardımcı olamam | yardımcı olamıyorum | \
     お手伝いできません | お答えできません | お応えできません | 対応できません | 提供できません | することができません | 无法帮助 | 無法協助 | 도와드릴 수 없 | 수 없습니다 | 제공할 수 없";

/// Openings of answers to the user, which are not titles even if short.
const ANSWERS: &str = "sure, | sure! | sure thing, | sure thing! | of course, | of course! | certainly, | certainly! | absolutely, | \
     absolutely! | here's a | here's an | here's the | here's your | here's my | here's one | here's how | here's what | here is a | \
     here is an | here is the | here is your | here is my | here is one | here is how | here are | as requested | i can help | \
     i'll help | i'd be happy | i would be happy | i'm happy to | i'd be glad | i'm here to help | happy to help | \
     glad to help | great question! | great question, | good question! | good question, | that's a great | that's a good | great! | \
     got it! | got it, | understood! | understood, | hello! | hi! | hey! | hi there | hello there | hey there | thanks for reaching | \
     thanks for your | thanks for sharing | thank you for your message | thank you for your question | thank you for reaching | \
     thank you for sharing | you're welcome | let me help | let me explain | let me know what | let me know how | let me create | okay, | okay! | yes, you | \
     yes, it | yes, i | yes, the | yes, this | yes, there | no, you | no, it | no, i | no, the | no, this | no, there | \
     the answer is | the title is | note: i | i'm sorry to hear | how can i help | how can i assist | how may i help | \
     how may i assist | what can i do for you | to answer your | natürlich! | natürlich, | gerne! | gerne, | klar! | klar, | \
     hier ist ein | hier ist der | hallo! | bien sûr | voici un | voici le | avec plaisir | bonjour ! | bonjour! | \
     por supuesto | claro, | claro! | aquí tienes | aquí está | ¡hola | com certeza | aqui está | certamente | certo! | ecco un | \
     ecco il | ciao! | конечно, | конечно! | вот название | привет! | здравствуйте! | oczywiście";
const DENSE_ANSWERS: &str = "好的， 当然， 当然！ 当然可以 當然， 當然可以 以下是 您好！ 你好！ もちろん、 もちろん！ もちろんです 承知しました かしこまりました はい、 以下は 물론, 물론! 물론입니다 물론이죠 \
     네, 다음은 안녕하세요!";
const ANSWERS_INSIDE: &str = "how can i help | how can i assist | how may i help you | how may i assist you | let me know if | \
     this title captures | this title reflects | this title summarizes | this title summarises | this title is | \
     , you should | , you can | , you need to | , you'll need | is a good title | is a great title | a good title for this | (note: | (note that | title 2: | option 2: | option b:";

/// Answers to the user if they are the whole text.
const TALK: &str = "yes | no | sure | sure thing | ok | okay | of course | certainly | absolutely | got it | understood | great | \
     great question | good question | hello | hi | hey | thanks | thank you | here you go | here it is | done | error | ja | nein | \
     gerne | natürlich | klar | verstanden | danke | hallo | oui | non | bien sûr | d'accord | merci | bonjour | sí | claro | \
     por supuesto | entendido | gracias | hola | sim | não | obrigado | olá | certo | grazie | ciao | да | нет | конечно | понял | \
     хорошо | спасибо | привет | tak | nie | evet | hayır | tamam | نعم | لا | حسنا | حسنًا | 好的 | 是的 | 当然 | 當然 | 你好 | 您好 | 不 | 明白了 | \
     はい | いいえ | もちろん | 了解しました | こんにちは | 네 | 아니요 | 물론 | 알겠습니다 | 안녕하세요";

/// Openings of reasoning without tags.
const REASONINGS: &str = "the user wants | the user asks | the user asked | the user is asking | the user is planning | \
     the user is requesting | the user is looking | the user is trying | the user is talking | the user is saying | \
     the user is interested | the user is seeking | the user is greeting | the user would like | the user said | the user says | \
     the user wrote | the user just | the user has asked | the user has provided | the user has sent | the user needs a | \
     the user's message | the user's request | the user's question | the user seems | user wants | user asks about | \
     user asks how | user asked | user is asking | okay, the user | ok, the user | alright, the user | so the user | \
     okay, so | okay, let | ok, let | ok, so | alright, let | got it, let | let me think | let me analyze | let me see, | \
     let's think about a title | let's think step | let's see, | let's see: | we need to generate | we need to create | \
     we need to produce | we need to output | we need to title | we need a title | we need a short | we need a concise | \
     we should title | we should create a title | i need to generate a | i need to create a | i need to come up | \
     i need to summarize | i need to understand the | first, i need to | first, i should | i should create a | i should generate a | \
     i'll create a title | i'll generate a title | let me create a title | let me generate | let me come up | hmm, | \
     thinking process | thinking: the | thinking: user | thinking: i | thinking: let | thought: the | thought: user | thought: i | \
     thought: let | thought: we | reasoning: the | reasoning: user | reasoning: i | reasoning: we | reasoning: this | wait, the | wait, i | \
     a good title would | a good title is | so a good title | so the title | the title should | the title could | \
     the conversation is about | this conversation is about | the message is about | this message is about | \
     der nutzer möchte | der nutzer fragt | der nutzer will | der benutzer möchte | der benutzer fragt | der benutzer will | \
     l'utilisateur veut | l'utilisateur demande | l'utilisateur souhaite | el usuario quiere | el usuario pregunta | \
     el usuario pide | el usuario está | o usuário quer | o usuário pergunta | o usuário está | l'utente vuole | l'utente chiede | \
     пользователь хочет | пользователь спрашивает | пользователь просит";
const DENSE_REASONINGS: &str = "用户想 用户要 用户问 用户询问 用户希望 用户正在 用戶想 用戶問 使用者想 好的，用户 嗯，用户 首先，用户 ユーザーは ユーザーが 사용자가 사용자는";

/// Removes the label that a line begins with. "Title IX Compliance" and "Python: A Guide" have none.
pub(super) fn without_label(line: &str) -> &str {
    let label = |head: &str| {
        let head = without_remark(quotes::without_quotes(head.trim()));
        !quotes::opens_quotation(head)
            && (is_label(head) || is_speaker(head) || fold(head) == "sure")
    };
    let separated = SEPARATORS.iter().find_map(|separator| {
        let (head, rest) = line.split_once(*separator)?;
        (label(head) || (separator.ends_with([':', '：']) && is_offer(head))).then_some(rest)
    });
    // [Title] Kyoto
    let bracketed = || {
        let close = line.find([']', '】', ')', '）'])?;
        let (head, rest) = line.split_at(close + line[close..].chars().next()?.len_utf8());
        let inner = quotes::without_quotes(head);
        (inner.len() < head.len() && is_label(inner)).then_some(rest)
    };
    // The title is "Kyoto"; タイトルは「京都」です
    let quoted = || {
        let (head, rest) = line.split_at(line.find(['"', '“', '„', '«', '「', '『', '《'])?);
        let rest = ["です", "입니다", "?"]
            .iter()
            .find_map(|end| rest.strip_suffix(end))
            .unwrap_or(rest);
        (label(head) && quotes::without_quotes(rest) != rest).then_some(rest)
    };
    separated
        .or_else(bracketed)
        .or_else(quoted)
        .unwrap_or(line)
        .trim()
}

const SEPARATORS: [&str; 11] = [
    ":", "：", "﹕", " - ", " – ", " — ", "=", " → ", " -> ", " => ", "|",
];

/// Removes the parentheses after a label: "Title (English)".
fn without_remark(label: &str) -> &str {
    label
        .strip_suffix(')')
        .and_then(|label| label.split_once('('))
        .map_or(label, |(label, _)| label.trim_end())
}

/// Whether a text offers a title: "Here is a title that sums up the message".
fn is_offer(text: &str) -> bool {
    const MAX_CHARS: usize = 100;

    text.chars().nth(MAX_CHARS).is_none() && {
        let key = fold(text);
        phrases(&[OFFERS]).any(|offer| begins_with(&key, offer)) && words(&key).any(is_name)
    }
}

/// Removes a note on the length: "(5 words)", "[24 characters]".
pub(super) fn without_count(line: &str) -> &str {
    let head = || {
        let note = line.strip_suffix([')', ']', '）'])?;
        let (head, note) = note.rsplit_once(['(', '[', '（'])?;
        let key = fold(note);
        let is_number = |word: &str| word.parse().is_ok_and(|n: usize| n <= 60);
        let is_unit = |word| COUNTS.split(' ').any(|count| count == word);
        // "5个字" is one word.
        let dense = key.trim_start_matches(|c: char| c.is_ascii_digit());
        let counts = words(&key).any(is_number)
            && words(&key).any(is_unit)
            && words(&key).all(|word| is_number(word) || is_unit(word));
        let is_dense = dense.len() < key.len() && DENSE_COUNTS.split(' ').any(|unit| unit == dense);
        (counts || is_dense).then_some(head.trim_end())
    };
    head().filter(|head| !head.is_empty()).unwrap_or(line)
}

/// Whether a text is only a label: "Title", "Suggested chat title", "会話のタイトル".
pub(super) fn is_label(text: &str) -> bool {
    const MAX_CHARS: usize = 100;

    if text.contains('{') || text.chars().nth(MAX_CHARS).is_some() {
        return false;
    }
    let key = fold(text);
    let is_filler = |word| {
        FILLERS
            .iter()
            .any(|list| list.split(' ').any(|w| w == word))
    };
    if words(&key).any(is_name) && words(&key).all(|word| is_name(word) || is_filler(word)) {
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

fn is_name(word: &str) -> bool {
    NAMES.split(' ').any(|name| name == word)
}

fn words(key: &str) -> impl Iterator<Item = &str> {
    key.split(|c: char| !(c.is_alphanumeric() || c == '\'' || is_mark(c)))
        .filter(|word| !word.is_empty())
}

/// Whether a text only names a speaker or announces an answer.
pub(super) fn is_speaker(text: &str) -> bool {
    const SPEAKERS: &str = "assistant | model | final answer | final output | answer | output | response | result | \
         here you go | here's one | how about | chat name | conversation name";

    let key = fold(text);
    phrases(&[SPEAKERS]).any(|speaker| speaker == key) || is_numbered_label(&key)
}

/// "Title 1", "Option #2"; but "Subject 101" and "Topic 3" have content.
fn is_numbered_label(key: &str) -> bool {
    const NUMBERED: [&str; 7] = [
        "title",
        "option",
        "suggestion",
        "titel",
        "titre",
        "título",
        "titolo",
    ];

    let name = without_number(key);
    name.len() < key.len() && NUMBERED.contains(&name)
}

/// "New chat 2" and "Title #1" without their number.
fn without_number(key: &str) -> &str {
    key.trim_end_matches(|c: char| c.is_numeric() || " #(".contains(c))
}

/// The rejection for the phrases in a text, if there is any.
pub(super) fn rejection(text: &str) -> Option<Rejection> {
    let key = fold(text);
    // Keep the end: "sure!" is not "sure".
    let talk = straighten(text);
    let talk = talk.trim_start_matches(|c: char| !c.is_alphanumeric());
    let dense = without_spaces(talk);
    let begins = |lists: &[&str]| phrases(lists).any(|phrase| begins_with(talk, phrase));
    let dense_begins = |list: &str| list.split(' ').any(|phrase| dense.starts_with(phrase));
    let has = |list: &str| phrases(&[list]).any(|phrase| talk.contains(phrase));
    let is_placeholder = |text: &str| phrases(&[PLACEHOLDERS]).any(|phrase| phrase == text);

    let regrets = || {
        phrases(&REGRETS).any(|phrase| {
            talk.strip_prefix(phrase)
                .is_some_and(|rest| rest.trim_end().is_empty() || pauses(rest))
        })
    };
    let is_unable = || {
        UNABLE.iter().any(|(who, what)| {
            phrases(&[who]).any(|who| {
                begins_with(talk, who) && {
                    let rest = talk[who.len()..].trim_start();
                    phrases(&[what]).any(|what| begins_with(rest, what))
                }
            })
        })
    };
    let is_talk = || phrases(&[TALK]).any(|phrase| phrase == key);

    if is_placeholder(&key)
        || is_placeholder(without_number(&key))
        || is_label(&key)
        || is_numbered_label(&key)
    {
        Some(Rejection::Placeholder)
    } else if regrets()
        || is_unable()
        || begins(&REFUSALS)
        || dense_begins(DENSE_REFUSALS)
        || has(REFUSALS_INSIDE)
    {
        Some(Rejection::Refusal)
    } else if begins(&[REASONINGS]) || dense_begins(DENSE_REASONINGS) {
        Some(Rejection::Reasoning)
    } else if begins(&[ANSWERS]) || dense_begins(DENSE_ANSWERS) || has(ANSWERS_INSIDE) || is_talk()
    {
        Some(Rejection::Answer)
    } else {
        None
    }
}

/// Whether the rest of a text starts with a pause: ", but", "! I", "。".
fn pauses(rest: &str) -> bool {
    rest.starts_with([
        ',', '.', '!', ';', '…', '，', '。', '！', '、', '،', '؛', '।', '—', '–',
    ]) || [" - ", " – ", " — "]
        .iter()
        .any(|dash| rest.starts_with(dash))
}

/// The phrases of several lists, separated by ` | `.
pub(super) fn phrases<'a>(lists: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    lists.iter().flat_map(|list| list.split(" | "))
}

/// Whether a text begins with a phrase as whole words.
pub(super) fn begins_with(text: &str, phrase: &str) -> bool {
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

pub(super) fn straighten(text: &str) -> String {
    text.replace(['’', '‘', 'ʼ', '´', '`', '＇'], "'")
        .to_lowercase()
        // The lower case of "İ".
        .replace("i\u{307}", "i")
}

fn without_spaces(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

fn is_mark(c: char) -> bool {
    unicode_normalization::char::is_combining_mark(c) && !matches!(c, '\u{FE00}'..='\u{FE0F}')
}
