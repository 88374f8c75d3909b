//! Detects refusals by their form: "I can't …", an inability about what models lack (links, files, the internet), a
//! request for input.
//!
//! Such a title is valid only if the message contains it: "I Can't Log In to Gmail" from a user with that problem.

use std::collections::HashSet;

use super::phrases::{begins_with, phrases, straighten};

/// The beginning and the end of a message that are compared with a title, in characters.
const HEAD_CHARS: usize = 8_000;
const TAIL_CHARS: usize = 2_000;

/// English words that negate after a first person.
const NEGATIONS: &str = "can't cannot cant not unable don't dont won't couldn't didn't doesn't haven't wasn't isn't aren't \
     lack lacks no never neither decline refuse only limited incapable without nor wouldn't shouldn't";

/// First-person inabilities in other languages.
const UNABLE: [&str; 6] = [
    // German, Dutch, Swedish, Danish, Norwegian, Finnish
    "ich kann nicht | ich kann keine | ich kann kein | ich kann leider | ich kann das | ich kann die | ich kann den | \
     ich kann diese | ich kann auf | leider kann ich | ich bin nicht | ich habe keinen | ich habe keine | ich darf nicht | \
     mir ist es nicht möglich | es ist mir nicht möglich | ik kan niet | ik kan geen | ik kan de | ik kan deze | ik kan die | \
     ik heb geen | ik ben niet | helaas kan ik | jag kan inte | jag kan tyvärr | jag har inte | jag har ingen | \
     jeg kan ikke | jeg kan desværre | jeg kan dessverre | jeg har ikke | jeg har ingen | en voi | en pysty | en osaa | \
     minulla ei ole",
    // French, Spanish, Catalan, Portuguese, Italian, Romanian
    "je ne peux | je ne suis pas | je ne suis malheureusement | je n'ai pas | je ne dispose pas | je ne saurais | \
     je n'arrive pas | je ne parviens pas | il m'est impossible | no puedo | no me es posible | no soy capaz | no tengo acceso | \
     no tengo la capacidad | no estoy en condiciones | no logro | no puc | não posso | não consigo | não sou capaz | não tenho | \
     não me é possível | eu não posso | eu não consigo | non posso | non sono in grado | non ho accesso | non ho la | \
     non riesco | non mi è possibile | nu pot | nu am acces | nu sunt capabil | nu reușesc",
    // Slavic, Hungarian, Greek, Turkish
    "я не могу | я не умею | я не имею | не могу | у меня нет | мне недоступ | я не способ | не имею возможности | не в состоянии | \
     я не можу | не можу | у мене немає | nie mogę | nie jestem w stanie | nie mam dostępu | nie potrafię | nie mam możliwości | \
     nemohu | nemůžu | nemám přístup | nejsem schopen | nejsem schopna | nedokážu | nemôžem | ne mogu | не могу да | не мога | \
     nem tudok | nem tudom | nem vagyok képes | nem férek hozzá | δεν μπορώ | δεν έχω πρόσβαση | δεν είμαι σε θέση | \
     erişemiyorum | açamıyorum | yapamıyorum | bunu yapamam | erişimim yok",
    // Arabic, Persian, Urdu, Hebrew, Hindi, Indonesian, Vietnamese, Filipino
    "لا أستطيع | لا يمكنني | لا أقدر | لست قادرا | لست قادرًا | لا أملك | ليس لدي | لا أتمكن | أنا غير قادر | أنا لا | نمی‌توانم | نمیتوانم | \
     من نمی‌توانم | من نمی | دسترسی ندارم | میں نہیں | אני לא יכול | אני לא יכולה | איני יכול | אין לי גישה | אין באפשרותי | אינני | \
     मैं नहीं | मैं इस | मैं यह | मुझे नहीं | मेरे पास | saya tidak | aku tidak | saya belum | tôi không thể | tôi không có | \
     mình không thể | hindi ko | wala akong",
    // Chinese
    "我无法 | 我無法 | 我不能 | 我没有 | 我沒有 | 我没办法 | 我沒辦法 | 我不会 | 我不具备 | 我不支持 | 我目前无法 | 我目前無法 | 我暂时无法 | 我暫時無法 | 我们无法",
    // Japanese, Korean, Thai
    "私は | 私には | 저는 | 제가 | 나는 | ฉันไม่ | ผมไม่ | ดิฉันไม่ | ไม่สามารถ",
];

/// Phrases of inability, anywhere in a text. A message with one may be the source of the title's wording.
const INABILITIES: &str = "can't | cannot | can not | cant | unable | not able | inability | could not | couldn't | not possible | \
     impossible | no access | without access | lack | not accessible | inaccessible | unavailable | not available | unsupported | \
     not supported | not readable | unreadable | not allowed | not permitted | failed to | no ability | no permission | won't | \
     nicht möglich | unmöglich | kann nicht | kann keine | nicht öffnen | nicht lesen | nicht abrufen | nicht zugreifen | \
     kein zugriff | nicht zugänglich | nicht verfügbar | kann die | kann den | kann das | \
     ne peux pas | ne peut pas | n'est pas | non accessible | pas accès | non disponible | indisponible | no puedo | no se puede | \
     no es posible | imposible | incapaz | no disponible | sin acceso | no accesible | inaccesible | não posso | não é possível | \
     não consigo | impossível | inacessível | indisponível | sem acesso | impossibile | non posso | non è possibile | inaccessibile | \
     не могу | невозможно | не удалось | не удаётся | нельзя | нет доступа | недоступ | неможливо | не вдалося | немає доступу | \
     nie mogę | nie można | niemożliwe | brak dostępu | niedostępn | nelze | nemohu | niet mogelijk | kan niet | geen toegang | onmogelijk | \
     kan inte | ikke mulig | kan ikke | ei voi | nem lehet | nem tudom | δεν μπορώ | αδύνατ | açılamıyor | erişilemiyor | edilemiyor | yapılamıyor | \
     mümkün değil | لا يمكن | تعذر | غير قادر | لا أستطيع | غير متاح | امکان‌پذیر نیست | نمی‌توان | לא ניתן | לא יכול | אין גישה | नहीं | असमर्थ | \
     tidak dapat | tidak bisa | gagal | không thể | ไม่สามารถ | ไม่ได้ | 无法 | 無法 | 不能 | 不可 | 没办法 | 沒辦法 | 失败 | 失敗 | 不支持 | 不支援 | 没有权限 | \
     できません | できない | できず | られません | られない | ません | 不可能 | 開けない | 読めない | 수 없 | 불가 | 못 | 없습니다";

/// What models lack: the objects of their inabilities, as parts of words.
const OBJECTS: &str = "url | link | website | webpage | web page | web pages | external | internet | browse | attachment | attached | \
     image | picture | photo | screenshot | video | audio | file | document | pdf | real-time | realtime | shell command | \
     your system | your computer | your device | user's | this request | that request | your request | the request | request | \
     this content | the content | page content | this page | that page | the page | content of | site | repository | personal data | private data | current events | live data | \
     webseite | website | datei | bild | anhang | anfrage | inhalt | lien | fichier | pièce jointe | page web | la page | demande | \
     enlace | archivo | imagen | página | solicitud | arquivo | imagem | pedido | collegamento | immagine | allegato | pagina | richiesta | \
     ссылк | файл | изображен | страниц | запрос | сайт | картинк | вложени | посиланн | сторінк | зображенн | strony | pliku | odnośnik | obraz | \
     odkaz | soubor | stránk | obrázek | bestand | afbeelding | koppeling | länk | bild | fil | lenke | bağlantı | dosya | görsel | sayfa | resim | \
     رابط | الرابط | ملف | صورة | الصفحة | موقع | طلب | لینک | پیوند | فایل | קישור | קובץ | תמונה | לינק | लिंक | फ़ाइल | फाइल | छवि | वेबसाइट | tautan | berkas | gambar | \
     liên kết | tệp | hình ảnh | trang web | ลิงก์ | ไฟล์ | รูปภาพ | เว็บไซต์ | 链接 | 連結 | 鏈接 | 网页 | 網頁 | 网站 | 網站 | 文件 | 檔案 | 图片 | 圖片 | 图像 | 附件 | 请求 | 請求 | 网址 | 網址 | \
     リンク | ファイル | 画像 | ページ | サイト | 添付 | リクエスト | 링크 | 파일 | 이미지 | 웹사이트 | 페이지 | 요청 | 첨부";

/// Abilities that models deny.
const ABILITIES: &str = "assist | help | provide | create | generate | comply | fulfil | fulfill | answer | discuss | engage | respond | \
     access | open | read | view | see | browse | visit | fetch | retrieve | load | click | follow | execute | run | perform | process | analyze | \
     analyse | summarize | summarise | translate | determine | identify | interpret | understand | verify | check | look | search | download | watch | \
     listen | hear | display | show | send | make | write | do | continue | complete | support | offer | give | share | produce | title | work | \
     helfen | öffnen | lesen | zugreifen | aufrufen | aider | ouvrir | lire | accéder | ayudar | abrir | leer | acceder | ajudar | ler | acessar | aiutare | \
     aprire | leggere | accedere | открыть | прочитать | помочь | получить | otworzyć | pomóc | otevřít | openen | helpen | öppna | åbne | åpne | avata";

/// Subjects that refer to the model.
const MODELS: &str = "assistant | the assistant | ai | the ai | ai model | the model | chatbot | the chatbot | language model | the language model | \
     ai assistant | my capabilities | my abilities | my training | my programming | my guidelines | my instructions | my knowledge";

/// Phrases of policy refusals and of missing input, anywhere in a text.
const NOTES: &str = "content policy | policy violation | inappropriate request | inappropriate content | harmful content | unethical request | \
     request declined | request denied | request refused | request rejected | request blocked | declined request | refused request | \
     refusal to | refuses to | declines to | cannot be fulfilled | cannot be completed | not appropriate | disallowed content | safety guidelines | \
     outside my | beyond my | beyond the scope of my | not something i | \
     no link provided | no url provided | no image provided | no file provided | no file attached | no image attached | no attachment | \
     no context provided | no details provided | no question asked | no information provided | no user input | no text given | no text to | \
     no content to | no message to | nothing to summarize | nothing to summarise | nothing to title | missing message | missing input | empty message | \
     awaiting user | waiting for user | awaiting input | awaiting more | insufficient details | needs more context | more context needed | \
     more information needed | clarification needed";

/// Requests for input at the start of a title.
const DEMANDS: &str = "please provide | please share | please paste | please send | please attach | please upload | please describe | please enter | \
     please type | please include | please give me | please tell me | please specify | please copy | please clarify | please rephrase | please add | \
     please try | provide more | provide the | share the link's | could you provide | could you share | could you paste | could you clarify | \
     could you describe | could you send | could you please | can you provide | can you share | can you paste | can you clarify | can you describe | \
     can you please | would you like | would you please | what would you like | what can i | how can i help | do you want me | do you need | \
     bitte gib | bitte geben | bitte teile | bitte teilen | bitte sende | bitte senden | bitte lade | bitte beschreib | könntest du | könnten sie bitte | \
     veuillez fournir | veuillez partager | veuillez préciser | veuillez coller | merci de fournir | pourriez-vous | por favor proporcion | \
     por favor, proporcion | por favor comparte | por favor, comparte | por favor forneça | por favor, forneça | per favore fornisci | si prega di fornire | \
     пожалуйста, предоставьте | пожалуйста, пришлите | пожалуйста, уточните | предоставьте | пришлите | уточните, | proszę podać | proszę przesłać | \
     请提供 | 請提供 | 请分享 | 請分享 | 请发送 | 请粘贴 | 请上传 | 請上傳 | 请告诉我 | 請告訴我 | 제공해 | lütfen paylaş | lütfen gönder | lütfen sağla | \
     الرجاء تقديم | يرجى تقديم | يرجى إرسال | कृपया | mohon berikan | silakan berikan | vui lòng cung cấp | กรุณา";

/// Words ignored when a title is compared with its message.
pub(super) const FUNCTION_WORDS: &str = "i i'm im i've i'd i'll we we're my me you your yours the a an this that these those it its to of in on for and or with \
     from by at is are am be been was were do does did can can't cannot could couldn't will won't would not no unable able don't have has \
     any as but so if there here please provide access right now currently directly";

/// Whether a title is a refusal or a request for input that the message does not contain.
pub(super) fn is_refusal(title: &str, message: &str) -> bool {
    let talk = straighten(title);
    let talk = talk.trim_matches(|c: char| !c.is_alphanumeric());
    let has = |list: &str| phrases(&[list]).any(|phrase| has_words(talk, phrase));
    let negates = is_first_person_negated(talk);
    let is_candidate = negates
        || (has(INABILITIES) && has(OBJECTS))
        || (MODELS
            .split(" | ")
            .any(|model| begins_with(talk, model.trim()))
            && has(INABILITIES_OR_NEGATIONS))
        || has(NOTES)
        || is_unavailable(talk)
        || phrases(&[DEMANDS]).any(|phrase| talk.starts_with(phrase))
        || ["ください", "お願いします", "주세요"]
            .iter()
            .any(|end| talk.ends_with(end));
    if !is_candidate {
        return false;
    }
    let message = FoldedMessage::of(message);
    if message.says(talk) {
        return false;
    }
    // A paraphrase is fine: "I Can't Sleep" for a message about not falling asleep.
    let is_ability = || has(ABILITIES) || has(OBJECTS);
    !(negates && message.is_unable() && !is_ability())
}

/// Whether a message contains a title, verbatim or in most of its words.
pub(super) fn is_in_message(title: &str, message: &str) -> bool {
    let talk = straighten(title);
    FoldedMessage::of(message).says(talk.trim_matches(|c: char| !c.is_alphanumeric()))
}

/// Negations that make a sentence about a model a refusal.
const INABILITIES_OR_NEGATIONS: &str = "can't | cannot | unable | doesn't | does not | do not | don't | not | lacks | lack | no | only | limited | won't | never";

/// Words for the request, with which a refusal may begin: "Das kann ich nicht", "That I cannot do".
const DEMONSTRATIVES: &str = "that this das dies dieses dabei damit dazu darauf dafür darüber hier dat dit daar det dette här her cela ça ceci \
     eso esto isso isto questo ciò это этого этим tego to bunu";

/// First-person verbs and pronouns, in the inverted order after another word.
const REVERSED: [(&str, &str); 12] = [
    ("kann", "ich"),
    ("darf", "ich"),
    ("möchte", "ich"),
    ("werde", "ich"),
    ("weiß", "ich"),
    ("kan", "ik"),
    ("mag", "ik"),
    ("weet", "ik"),
    ("kan", "jag"),
    ("får", "jag"),
    ("kan", "jeg"),
    ("vet", "jeg"),
];

/// Negations of these languages.
const REVERSED_NEGATIONS: &str =
    "nicht nichts kein keine keinen leider niet geen niets inte ingen ikke";

/// Things that a model reports as unavailable: "That capability isn't available right now".
const FUNCTIONS: &str = "capability feature function functionality option action operation tool service request information data";

/// Whether a title says that something it refers to is not available.
fn is_unavailable(talk: &str) -> bool {
    let talk = talk.replace("n't ", " not ");
    let mut said = words(&talk);
    let points = said
        .next()
        .is_some_and(|word| ["that", "this", "these", "those", "such"].contains(&word));
    let is_function = |word: &str| {
        let singular = word.strip_suffix('s').unwrap_or(word);
        FUNCTIONS
            .split(' ')
            .any(|known| known == word || known == singular)
    };
    points
        && said.take(3).any(is_function)
        && ["not ", "unavailable", "unsupported"]
            .iter()
            .any(|lack| talk.contains(lack))
}

/// Whether a title is a first-person negation: "I don't have access", but not "My Cat Won't Eat".
fn is_first_person_negated(talk: &str) -> bool {
    is_negated(talk) || {
        let first = words(talk).next().unwrap_or_default();
        let is_about_request = DEMONSTRATIVES
            .split_whitespace()
            .any(|known| known == first);
        let rest = talk.strip_prefix(first).unwrap_or_default();
        let rest = rest.trim_start_matches(|c: char| !c.is_alphanumeric());
        is_about_request && (is_negated(rest) || is_reversed(rest))
    }
}

/// Whether a text begins with a verb, its first person and a negation: "kann ich leider nicht".
fn is_reversed(text: &str) -> bool {
    let mut words = words(text);
    let (verb, person) = (words.next(), words.next());
    REVERSED
        .iter()
        .any(|(known, who)| verb == Some(known) && person == Some(who))
        && words.any(|word| REVERSED_NEGATIONS.split(' ').any(|known| known == word))
}

/// Whether a text begins with a first person and its negation.
fn is_negated(talk: &str) -> bool {
    const REACH: usize = 5;

    let is_english = || {
        let mut words = words(talk).skip_while(|word| {
            "sorry unfortunately but however no apologies ah oh"
                .split(' ')
                .any(|w| w == *word)
        });
        let first = words.next().unwrap_or_default();
        let is_person = "i i'm im i've i'd i'll i'am we we're we've"
            .split(' ')
            .any(|w| w == first);
        is_person
            && words
                .take(REACH)
                .any(|word| NEGATIONS.split_whitespace().any(|n| n == word))
    };
    let is_japanese = || {
        ["できません", "ません", "できかねます", "できないです"]
            .iter()
            .any(|end| talk.ends_with(end))
    };
    let is_turkish = || {
        words(talk).any(|word| {
            ["amıyorum", "emiyorum", "amıyoruz", "emiyoruz"]
                .iter()
                .any(|end| word.ends_with(end))
        })
    };
    let is_korean = || {
        [
            "수 없습니다",
            "수 없어요",
            "못합니다",
            "없습니다",
            "않습니다",
        ]
        .iter()
        .any(|end| talk.ends_with(end))
    };
    let dense = talk.starts_with("私は")
        || talk.starts_with("私には")
        || talk.starts_with("저는")
        || talk.starts_with("제가")
        || talk.starts_with("나는");
    let others = || {
        UNABLE[..5].iter().any(|list| {
            phrases(&[list]).any(|phrase| {
                if is_dense(phrase) {
                    talk.starts_with(phrase)
                } else {
                    begins_with(talk, phrase)
                }
            })
        }) || ["ฉันไม่", "ผมไม่", "ดิฉันไม่", "ไม่สามารถ"]
            .iter()
            .any(|phrase| talk.starts_with(phrase))
    };
    is_english()
        || is_turkish()
        || is_japanese()
        || is_korean()
        || (dense && (talk.contains("ない") || talk.contains("없")))
        || others()
}

/// A message prepared for comparison.
pub(super) struct FoldedMessage {
    folded: String,
    words: HashSet<String>,
}

impl FoldedMessage {
    pub(super) fn of(message: &str) -> Self {
        let head: String = message.chars().take(HEAD_CHARS).collect();
        let tail: String = match message.char_indices().rev().nth(TAIL_CHARS) {
            Some((start, _)) if start > head.len() => message[start..].to_owned(),
            _ => String::new(),
        };
        let text = straighten(&format!("{head}\n{tail}"));
        // Ignore words inside URLs.
        let text: Vec<&str> = text
            .split_whitespace()
            .filter(|word| !word.contains("://"))
            .collect();
        let folded = words(&text.join(" ")).collect::<Vec<_>>().join(" ");
        Self {
            words: folded.split(' ').map(str::to_owned).collect(),
            folded: text.join(" "),
        }
    }

    pub(super) fn is_unable(&self) -> bool {
        const MORE: &str = "not | no | never | fail | fails | failed | failing | error | refuse | refuses | refused | denied | blocked | broken | doesn't | don't | \
             stuck | trouble | struggle | struggling | without | nicht | kein | keine | pas | no | não | non | не | нет | nie | inte | ikke | niet | değil";

        phrases(&[INABILITIES])
            .chain(phrases(&[MORE]))
            .any(|phrase| has_words(&self.folded, phrase))
            || ["不", "没", "沒", "ない", "ず", "안 ", "لا ", "لم "]
                .iter()
                .any(|sign| self.folded.contains(sign))
    }

    /// Whether the message contains a title: verbatim, or with an inability and most of its words.
    fn says(&self, talk: &str) -> bool {
        let phrase: Vec<&str> = words(talk).collect();
        if phrase.len() > 1
            && format!(" {} ", words(&self.folded).collect::<Vec<_>>().join(" "))
                .contains(&format!(" {} ", phrase.join(" ")))
        {
            return true;
        }
        if !self.is_unable() {
            return false;
        }
        let dense: Vec<char> = talk.chars().filter(|c| is_dense_char(*c)).collect();
        if dense.len() >= 3 {
            let known = dense.iter().filter(|c| self.folded.contains(**c)).count();
            return known * 3 >= dense.len() * 2;
        }
        let content: Vec<&str> = words(talk)
            .filter(|word| {
                !FUNCTION_WORDS
                    .split_whitespace()
                    .any(|known| known == *word)
            })
            .collect();
        let known = content.iter().filter(|word| self.has_form_of(word)).count();
        known >= 2 && known * 2 >= content.len()
    }

    /// Whether the message has this word or a form of it.
    pub(super) fn has_form_of(&self, word: &str) -> bool {
        self.words.contains(word)
            || self.words.iter().any(|known| {
                let (short, long) = if known.len() < word.len() {
                    (known.as_str(), word)
                } else {
                    (word, known.as_str())
                };
                short.chars().count() >= 3 && long.starts_with(short)
            })
    }
}

/// Whether a text has a phrase at the start of a word. Non-ASCII phrases may be parts of words.
pub(super) fn has_words(text: &str, phrase: &str) -> bool {
    let is_ascii = phrase.is_ascii();
    text.match_indices(phrase).any(|(at, _)| {
        // Hebrew and Arabic attach articles to words.
        let starts = !is_ascii || !text[..at].ends_with(char::is_alphanumeric);
        let rest = &text[at + phrase.len()..];
        let ending: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
        // Plurals and forms of English words.
        let ends = !is_ascii || ["", "s", "es", "ed", "d", "ing", "n"].contains(&ending.as_str());
        starts && ends
    })
}

fn is_dense(phrase: &str) -> bool {
    phrase.chars().any(is_dense_char)
}

/// Whether a character is of a script without spaces, or with particles attached to words.
pub(super) fn is_dense_char(c: char) -> bool {
    matches!(c, '\u{0E00}'..='\u{0E7F}' | '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7AF}')
}

pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '\''))
        .filter(|word| !word.is_empty())
}
