//! The model of a server that has no provider: it answers at once, without a network, and says what it is.
//!
//! It is a real implementation, so that a first `cargo run` shows streamed replies and live titles without a key. Its
//! titles follow the same idea as a model's, the topic instead of the first words, with a few word lists in place of
//! understanding. What they may look like is for the rules on titles to decide, not for this file.

use std::time::Duration;

use futures_util::{
    FutureExt, StreamExt,
    future::{self, BoxFuture},
    stream,
};
use unicode_segmentation::UnicodeSegmentation;

use super::{
    Finish, LanguageModel, ModelError, ReplyChunk, ReplyRequest, ReplyStream, Speaker, TitleOutput,
    TitleRequest,
};

const NAME: &str = "offline";
const MAX_TITLE_WORDS: usize = 7;
const MAX_TITLE_GRAPHEMES: usize = 60;
/// Scripts without spaces say more with less.
const MAX_DENSE_GRAPHEMES: usize = 20;
const MAX_QUOTED_WORDS: usize = 8;
const MAX_QUOTED_GRAPHEMES: usize = 60;

/// What people say before their topic, in lower case, by whether it is English; taken off the front again and again.
#[rustfmt::skip]
const OPENERS: [(bool, &[&str]); 2] = [
    (true, &[
        "hello", "hi", "hey", "there", "good morning", "please", "thanks", "so", "ok", "well", "just", "can you",
        "could you", "would you", "can i", "help me", "help with", "to", "with", "i want", "i want you", "i would like",
        "i'd like", "i need", "i need help", "i am trying", "i'm trying", "i have a question about", "tell me", "about",
        "show me", "give me", "write me", "explain", "how", "how do i", "how do you", "how do we", "how can i",
        "how should i", "how does", "what is", "what's", "what are", "the best way", "why does", "why do", "why is",
        "why are", "is it possible", "do you know", "let's", "a", "an", "the", "my", "some",
    ]),
    (false, &[
        "hallo", "guten tag", "bitte", "kannst du", "können sie", "mir", "hilf mir", "ich möchte", "ich will",
        "wie kann ich", "was ist", "erkläre", "bonjour", "salut", "peux-tu", "pouvez-vous", "pourriez-vous",
        "aide-moi à", "aidez-moi à", "m'aider à", "je voudrais", "comment puis-je", "qu'est-ce que", "explique-moi",
        "hola", "por favor", "puedes", "podrías", "ayudarme a", "ayúdame a", "quiero", "cómo puedo", "qué es",
        "你好", "您好", "请问", "请", "帮我", "我想", "如何", "怎么", "什么是", "こんにちは", "すみません",
    ]),
];

/// What people say after their topic.
#[rustfmt::skip]
const CLOSERS: &[&str] = &[
    "please", "thanks", "thank you", "for me", "bitte", "danke", "s'il vous plaît", "merci", "por favor", "gracias",
    "について教えてください", "を教えてください", "教えてください", "してください", "ください", "吗", "呢",
];

/// Words that Title Case leaves small, and that no title should end with.
#[rustfmt::skip]
const SMALL_WORDS: &[&str] = &[
    "a", "an", "the", "my", "and", "or", "but", "of", "to", "in", "on", "at", "for", "with", "by", "from", "as", "is",
];

/// The model without a provider.
#[derive(Clone, Copy, Debug)]
pub struct Offline {
    delta_delay: Duration,
}

impl Offline {
    /// A model that waits this long before each delta of a reply.
    pub fn new(delta_delay: Duration) -> Self {
        Self { delta_delay }
    }
}

impl LanguageModel for Offline {
    fn chat_model(&self) -> &str {
        NAME
    }

    fn title_model(&self) -> &str {
        NAME
    }

    fn reply(&self, request: ReplyRequest) -> BoxFuture<'_, Result<ReplyStream, ModelError>> {
        let message = request
            .history
            .iter()
            .rev()
            .find(|turn| turn.speaker == Speaker::User);
        let text = reply_text(message.map_or("", |turn| &turn.text));
        let words: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
        let delta_delay = self.delta_delay;
        let deltas = stream::iter(words).then(move |word| async move {
            tokio::time::sleep(delta_delay).await;
            Ok(ReplyChunk::Delta(word))
        });
        let finished = stream::once(future::ready(Ok(ReplyChunk::Finished(Finish::Stop))));
        future::ready(Ok(deltas.chain(finished).boxed())).boxed()
    }

    fn title(&self, request: TitleRequest) -> BoxFuture<'_, Result<TitleOutput, ModelError>> {
        let output = TitleOutput {
            text: title(message_in(&request.input)),
            finish: Finish::Stop,
            usage: None,
        };
        future::ready(Ok(output)).boxed()
    }
}

fn reply_text(message: &str) -> String {
    let words: Vec<&str> = message.split_whitespace().collect();
    let shown = words[..words.len().min(MAX_QUOTED_WORDS)].join(" ");
    let mut quote: String = shown.graphemes(true).take(MAX_QUOTED_GRAPHEMES).collect();
    if words.len() > MAX_QUOTED_WORDS || quote.len() < shown.len() {
        quote.push('…');
    }
    format!(
        "This is the offline model: no provider is configured, so nothing here was written by an AI. \
         Your message “{quote}” was received. Set OPENAI_API_KEY and start the server again for real replies."
    )
}

/// The user's message between its delimiters, or the whole input if it has none.
fn message_in(input: &str) -> &str {
    let mut at = 0;
    let (mut start, mut end) = (None, None);
    for line in input.split_inclusive('\n') {
        match line.trim_end_matches(['\r', '\n']) {
            "<message>" if start.is_none() => start = Some(at + line.len()),
            "</message>" => end = Some(at),
            _ => {}
        }
        at += line.len();
    }
    match (start, end) {
        (Some(start), Some(end)) if start <= end => &input[start..end],
        _ => input,
    }
}

/// The topic of a message: its first sentence that has one, without what people say around it.
fn title(message: &str) -> String {
    let message = message.replace('’', "'");
    let lines = message.split(['\n', '。', '！', '？', '!', '?']);
    let mut titles = lines.flat_map(|line| line.split(". ")).map(sentence_title);
    // Nothing but a greeting: then that is what it is about.
    let title = titles.find(|title| !title.is_empty());
    title.unwrap_or_else(|| spaced_title(&message, false))
}

fn sentence_title(sentence: &str) -> String {
    let mut text = trimmed(sentence);
    let mut english = text.is_ascii();
    let opened = |text| {
        let rests = OPENERS.iter().flat_map(move |(english, openers)| {
            let rests = openers
                .iter()
                .filter_map(move |opener| without_opener(text, opener));
            rests.map(move |rest| (rest, *english))
        });
        rests.min_by_key(|(rest, _)| rest.len())
    };
    while let Some((rest, in_english)) = opened(text) {
        text = trimmed(rest);
        english &= in_english;
    }
    while let Some(rest) = CLOSERS
        .iter()
        .find_map(|closer| without_closer(text, closer))
    {
        text = trimmed(rest);
    }
    match text.chars().any(is_dense) {
        true => dense_title(text),
        false => spaced_title(text, english),
    }
}

/// At most a handful of words, in Title Case if they are English.
fn spaced_title(text: &str, english: bool) -> String {
    let small = |word: &&str| english && SMALL_WORDS.contains(word);
    let mut graphemes = 0;
    let mut words: Vec<&str> = Vec::new();
    for word in text.split_whitespace().filter(|word| !word.contains("://")) {
        let bare = trimmed(word);
        graphemes += bare.graphemes(true).count() + 1;
        if words.len() == MAX_TITLE_WORDS || graphemes > MAX_TITLE_GRAPHEMES + 1 {
            break;
        }
        words.extend(Some(bare).filter(|bare| !bare.is_empty()));
        if words.len() > 2 && word.ends_with([',', ';', ':']) {
            break;
        }
    }
    while words.last().is_some_and(small) {
        words.pop();
    }
    let cased =
        words
            .iter()
            .enumerate()
            .map(|(i, word)| match english && (i == 0 || !small(word)) {
                true => capitalised(word),
                false => (*word).to_owned(),
            });
    cased.collect::<Vec<_>>().join(" ")
}

/// At most [`MAX_DENSE_GRAPHEMES`], up to the end of the clause, in whole words where Unicode tells them apart.
fn dense_title(text: &str) -> String {
    let mut graphemes = 0;
    let words = text.split_word_bounds().take_while(|word| {
        graphemes += word.graphemes(true).count();
        graphemes <= MAX_DENSE_GRAPHEMES && !matches!(*word, "、" | "，" | "；" | "：")
    });
    trimmed(&words.collect::<String>()).to_owned()
}

/// Leaves names like `iPhone`, `C++` and `__init__` as they are.
fn capitalised(word: &str) -> String {
    let plain = word
        .chars()
        .all(|c| c.is_lowercase() || matches!(c, '\'' | '-'));
    let mut characters = word.chars();
    match characters.next() {
        Some(first) if plain => first.to_uppercase().chain(characters).collect(),
        _ => word.to_owned(),
    }
}

/// Without punctuation and markup around it; the symbols of names (`C++`, `C#`, `.env`, `__init__`) stay.
fn trimmed(text: &str) -> &str {
    let edge = |c: char| !c.is_alphanumeric() && !matches!(c, '+' | '#' | '_' | '$' | '@' | '%');
    let text = text.trim_end_matches(edge);
    text.trim_start_matches(|c| edge(c) && c != '.' || c == '#')
}

fn without_opener<'a>(text: &'a str, opener: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(opener.len())?;
    let inside_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '\'');
    let whole = opener.ends_with(is_dense) || !rest.starts_with(inside_word);
    (whole && head.to_lowercase() == opener).then_some(rest)
}

fn without_closer<'a>(text: &'a str, closer: &str) -> Option<&'a str> {
    let (rest, tail) = text.split_at_checked(text.len().checked_sub(closer.len())?)?;
    let whole = closer.starts_with(is_dense) || !rest.ends_with(char::is_alphanumeric);
    (whole && tail.to_lowercase() == closer).then_some(rest)
}

/// Whether a character is of a script without spaces between words: kana and Han.
fn is_dense(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::Turn;

    #[test]
    fn titles_name_the_topic() {
        #[rustfmt::skip]
        let table = [
            ("Hi! Can you help me plan a trip to Kyoto?", "Plan a Trip to Kyoto"),
            ("How do I fix a borrow checker error in Rust?", "Fix a Borrow Checker Error in Rust"),
            ("Please explain the difference between TCP and UDP", "Difference Between TCP and UDP"),
            ("I want to write a wedding speech, for my brother", "Write a Wedding Speech"),
            ("what’s a monad", "Monad"),
            ("How to make sourdough bread at home with only flour and water", "Make Sourdough Bread at Home with Only"),
            ("Why does std::move not move in C++?", "std::move Not Move in C++"),
            ("see https://example.com/a and fix my iPhone battery please", "See and Fix my iPhone Battery"),
            ("hi-fi speakers", "Hi-fi Speakers"),
            ("Hello", "Hello"),
            ("  \n", ""),
            ("🎌", ""),
            ("Kannst du mir bitte ein Rezept für Brot geben?", "ein Rezept für Brot geben"),
            ("Bonjour, pourriez-vous m'aider à planifier un voyage ?", "planifier un voyage"),
            ("¿Cómo puedo aprender guitarra, por favor?", "aprender guitarra"),
            ("京都旅行の計画を教えてください。", "京都旅行の計画"),
            ("你好，请帮我写一封辞职信", "写一封辞职信"),
        ];
        for (message, expected) in table {
            assert_eq!(title(message), expected, "{message}");
        }
    }

    #[test]
    fn titles_stay_short() {
        for message in [
            "alpha beta ".repeat(500),
            "x".repeat(5_000),
            "漢字".repeat(500),
            "é ".repeat(100),
        ] {
            let title = title(&message);
            assert!(
                title.graphemes(true).count() <= MAX_TITLE_GRAPHEMES,
                "{title}"
            );
            assert!(title.split(' ').count() <= MAX_TITLE_WORDS, "{title}");
        }
    }

    #[test]
    fn the_message_stands_between_the_outermost_delimiters() {
        let nested = "<message>\na\n</message>\nb\n</message>\nafter";
        assert_eq!(message_in(nested), "a\n</message>\nb\n");
        assert_eq!(message_in("<message>\r\na\r\n</message>"), "a\r\n");
        for bare in ["", "say <message> in\nprose", "</message>\n<message>\n"] {
            assert_eq!(message_in(bare), bare);
        }
    }

    #[tokio::test]
    async fn replies_come_in_words_and_say_what_they_are() {
        for text in [
            "",
            "Plan a trip",
            &"word ".repeat(1_000),
            &"漢".repeat(1_000),
        ] {
            let turn = Turn {
                speaker: Speaker::User,
                text: text.to_owned(),
            };
            let request = ReplyRequest {
                history: vec![turn],
            };
            let reply = Offline::new(Duration::ZERO).reply(request).await.unwrap();
            let mut chunks: Vec<_> = reply.map(Result::unwrap).collect().await;
            assert_eq!(chunks.pop(), Some(ReplyChunk::Finished(Finish::Stop)));
            assert!((20..=40).contains(&chunks.len()), "{}", chunks.len());
            let texts = chunks.iter().map(|chunk| match chunk {
                ReplyChunk::Delta(text) => text.as_str(),
                other => panic!("{other:?}"),
            });
            let text: String = texts.collect();
            assert!(
                text.contains("offline model") && text.contains("OPENAI_API_KEY"),
                "{text}"
            );
            assert!(text.len() < 600, "{text}");
        }
    }
}
