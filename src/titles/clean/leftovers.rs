//! Detects leftovers instead of a title: words of the task, the label of a turn, an address, a bare number.
//!
//! Each is valid if the message has the same words: "System Prompt" for a user who writes one.

use super::{
    Rejection,
    phrases::straighten,
    refusals::{FUNCTION_WORDS, FoldedMessage, is_dense_char, words},
};

/// Authors of turns.
const AUTHORS: &str = "assistant user human model chatbot bot assistent nutzer benutzer utilisateur usuario asistente usuário \
     assistente utente пользователь ассистент gebruiker użytkownik 用户 用戶 助手 ユーザー アシスタント 사용자";

/// The words of a model's task: its inputs and its output.
const WORKS: &str = "summary summarization summarisation generation generated generator response answer output result results reply \
     message request query prompt input instruction instructions task title titles conversation chat dialogue \
     zusammenfassung antwort ergebnis ausgabe titelgenerierung titelerstellung anfrage nachricht réponse respuesta resumen \
     resposta resumo risposta riassunto ответ сводка samenvatting antwoord odpowiedź podsumowanie \
     回答 回复 回覆 摘要 总结 總結 标题生成 要約 応答 요약 응답";

/// Other words that are not a title on their own.
const ALONE: &str =
    "system developer ai thinking thought thoughts reasoning analysis commentary final";

/// Authors of turns other than the model's, whose label begins a turn: `User: apples`.
const SPEAKERS: &str = "user system human developer tool function nutzer benutzer utilisateur usuario usuário utente пользователь \
     用户 用戶 ユーザー 사용자";

/// Labels of a model's thoughts: `Thinking: apple`.
const CHANNELS: &str = "thinking thought thoughts reasoning analysis commentary";

/// The rejection for a leftover that is not in the message.
pub(super) fn rejection(title: &str, message: &str) -> Option<Rejection> {
    let text = straighten(title);
    let candidate = if is_task(&text) || is_introduction(&text) {
        Rejection::Placeholder
    } else if let Some(rejection) = turn(&text) {
        rejection
    } else if !text.chars().any(char::is_alphabetic) || is_letter(&text) {
        Rejection::NoContent
    } else if let Some(host) = address(title) {
        let is_in_message = straighten(message).contains(&straighten(host));
        return (!is_in_message).then_some(Rejection::Url);
    } else if is_file(title) {
        Rejection::Url
    } else {
        return None;
    };
    let head = match candidate {
        Rejection::Answer | Rejection::Reasoning => text.split([':', '：']).next()?,
        _ => &text,
    };
    let message = FoldedMessage::of(message);
    let is_in_message = words(head)
        .map(|word| word.strip_suffix("'s").unwrap_or(word))
        .filter(|word| {
            !FUNCTION_WORDS
                .split_whitespace()
                .any(|known| known == *word)
        })
        .any(|word| message.has_form_of(word));
    (!is_in_message).then_some(candidate)
}

fn is_one_of(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|known| known == word)
}

/// Whether a text has only words of the task: "Title generation", "User's request", "assistant". "AI Chatbot" is a
/// topic.
fn is_task(text: &str) -> bool {
    let all: Vec<&str> = words(text)
        .map(|word| word.strip_suffix("'s").unwrap_or(word))
        .collect();
    match all.as_slice() {
        [word] => [AUTHORS, WORKS, ALONE]
            .iter()
            .any(|list| is_one_of(list, word)),
        several => {
            several.iter().any(|word| is_one_of(WORKS, word))
                && several.iter().all(|word| {
                    [AUTHORS, WORKS, "the a an of for to your final only just"]
                        .iter()
                        .any(|list| is_one_of(list, word))
                })
        }
    }
}

/// Names of assistants.
const ASSISTANTS: &str = "claude chatgpt gpt gemini llama qwen deepseek mistral grok copilot kimi ai assistant assistants chatbot";

/// Whether a model introduces itself: "Claude Self-Introduction", "AI Assistant Introduction".
fn is_introduction(text: &str) -> bool {
    let all: Vec<&str> = words(text)
        .map(|word| word.strip_suffix("'s").unwrap_or(word))
        .collect();
    let is = |list: &'static str| move |word: &&str| is_one_of(list, word);
    all.iter().any(is("introduction introductions introducing"))
        && all.iter().any(is(ASSISTANTS))
        && all.iter().all(|word| {
            [
                ASSISTANTS,
                "introduction introductions introducing self an a the of by to from",
            ]
            .iter()
            .any(|list| is_one_of(list, word))
        })
}

/// The rejection for a text that begins with the label of a turn or of a channel.
fn turn(text: &str) -> Option<Rejection> {
    let (head, _) = text.split_once([':', '：'])?;
    let head = head.trim();
    if is_one_of(SPEAKERS, head) {
        Some(Rejection::Answer)
    } else if is_one_of(CHANNELS, head) {
        Some(Rejection::Reasoning)
    } else {
        None
    }
}

/// Whether a text is one letter of an alphabet. One Chinese character is a word.
fn is_letter(text: &str) -> bool {
    let mut letters = text.chars().filter(|c| c.is_alphanumeric());
    let first = letters.next();
    letters.next().is_none() && first.is_some_and(|c| !is_dense_char(c))
}

/// The host of an address without a scheme: `www.evil.example`, `evil.example/path`. "Node.js/Express" is not an
/// address.
fn address(text: &str) -> Option<&str> {
    let is_whole = !text.contains(' ');
    text.split_whitespace().find_map(|word| {
        let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let (host, path) = word.split_once('/').unwrap_or((word, ""));
        let has_path = path.starts_with(|c: char| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || (is_whole && c.is_ascii_graphic())
        });
        let is_www = host
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case("www."));
        (is_host(host) && (is_www || has_path)).then_some(host)
    })
}

/// Whether a text is one dotted word in lower case: `evil.example`, `notes.txt`.
fn is_file(text: &str) -> bool {
    is_host(text) && !text.contains(|c: char| c.is_ascii_uppercase())
}

fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    text.rsplit_once('.').is_some_and(|(rest, last)| {
        rest.split('.').all(is_label)
            && last.len() >= 2
            && last.chars().all(|c| c.is_ascii_alphabetic())
    })
}
