//! The texts: English prose from a different position each time, and its token counts for OpenAI's models.
//!
//! A message states the length of its reply, and determines the reply and the title, so the bench keeps no state.

use std::hash::{DefaultHasher, Hash, Hasher};

use tiktoken_rs::{CoreBPE, o200k_base_singleton};

use crate::{
    Result,
    stream::model::{Author, Request, Written},
};

/// Some English prose that is already in the repository.
const PROSE: &str = include_str!("../../../ARCHITECTURE.md");

/// The number of words in a message.
const MESSAGE: std::ops::RangeInclusive<usize> = 10..=40;

/// The number of words that a title takes from its message, and their minimum length.
const NAMED: usize = 3;
const LONG: usize = 4;

/// A user's message that requests a reply of this many tokens.
pub fn message(random: &mut fastrand::Rng, tokens: usize) -> String {
    let length = random.usize(MESSAGE);
    format!(
        "{} Answer in {tokens} tokens.",
        prose(random, length).join(" ")
    )
}

/// The tokens of the reply to a message.
pub fn reply(message: &str) -> Result<Vec<String>> {
    let asked = message.rsplit_once(" Answer in ");
    let asked = asked.and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    let length: usize = asked.ok_or_else(|| format!("the model cannot answer {message:?}"))?;
    let mut hash = DefaultHasher::new();
    message.hash(&mut hash);
    let mut random = fastrand::Rng::with_seed(hash.finish());
    // Each word has at least one token.
    let text = prose(&mut random, length).join(" ");
    let mut tokens = tokenizer().split_by_token_ordinary(&text)?;
    tokens.truncate(length);
    Ok(tokens)
}

/// The model's title for a message. Avoids labels and small talk, which would be rejected.
pub fn title(message: &str) -> String {
    let is_word = |word: &&str| word.len() >= LONG && word.chars().all(|c| c.is_ascii_alphabetic());
    let words: Vec<&str> = message.split(' ').filter(is_word).take(NAMED).collect();
    format!("Notes on {}", words.join(" "))
}

/// This many consecutive words of the prose.
fn prose(random: &mut fastrand::Rng, length: usize) -> Vec<&'static str> {
    // Skip words that are not ASCII, because a token may contain only part of a character.
    let words: Vec<&str> = PROSE
        .split_whitespace()
        .filter(|word| word.is_ascii())
        .collect();
    let begin = random.usize(..words.len());
    words
        .iter()
        .copied()
        .cycle()
        .skip(begin)
        .take(length)
        .collect()
}

fn tokenizer() -> &'static CoreBPE {
    o200k_base_singleton()
}

/// The model of these conversations. It reports the cost of a request: all messages, the schema, and the wire overhead
/// as in `tests/it/title_tokens.rs`.
pub struct Talker;

impl Author for Talker {
    fn write(&self, request: &Request) -> Result<Written> {
        let count = |text: &str| tokenizer().encode_ordinary(text).len();
        let of_each =
            |one: &crate::stream::model::Message| 3 + count(&one.role) + count(&one.content);
        let mut prompt_tokens = 3 + request.messages.iter().map(of_each).sum::<usize>();
        if !request.response_format.is_null() {
            prompt_tokens += count(&request.response_format.to_string());
        }
        let message = &request.messages.last().ok_or("no message")?.content;
        let tokens = match request.stream {
            true => reply(message)?,
            false => {
                let marked = message.strip_prefix("<message>\n");
                let message = marked.and_then(|rest| rest.rsplit_once("\n</message>"));
                let (message, _) = message.ok_or("a title of no message")?;
                let title = title(message);
                let answer = serde_json::json!({ "title": title }).to_string();
                tokenizer().split_by_token_ordinary(&answer)?
            }
        };
        Ok(Written {
            tokens,
            prompt_tokens,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_as_long_as_its_message_says() {
        let mut random = fastrand::Rng::with_seed(1);
        for length in [1, 50, 250] {
            let message = message(&mut random, length);
            let tokens = reply(&message).unwrap();
            assert_eq!(tokens.len(), length, "{message}");
            assert_eq!(tokens, reply(&message).unwrap());
        }
        assert!(reply("Hello").is_err());
    }

    #[test]
    fn a_title_is_one_that_is_taken() {
        let mut random = fastrand::Rng::with_seed(2);
        for _ in 0..100 {
            let title = title(&message(&mut random, 10));
            assert!((15..=60).contains(&title.len()), "{title}");
        }
    }
}
