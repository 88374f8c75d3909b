//! The model's script. Every token is unique across all replies, so missing, duplicated, reordered or foreign tokens
//! are detected. The message contains all parameters of its reply, so the model keeps no state.

use super::model::{Author, Request, Written};
use crate::Result;

/// The title of every conversation.
const TITLE: &str = r#"{"title":"Planning a Trip to Kyoto"}"#;

/// Writes what a message requests.
pub struct Scripted;

impl Author for Scripted {
    fn write(&self, request: &Request) -> Result<Written> {
        let tokens = match request.stream {
            true => {
                let message = request.messages.last().ok_or("no message")?;
                let script = Script::of(&message.content)?;
                (0..script.tokens).map(|one| script.token(one)).collect()
            }
            false => vec![TITLE.to_owned()],
        };
        Ok(Written {
            tokens,
            prompt_tokens: 20,
        })
    }
}

/// The parameters of one reply.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Script {
    pub reply: usize,
    pub tokens: usize,
}

impl Script {
    /// The message that requests this reply.
    pub fn message(self) -> String {
        format!("Write reply {} in {} tokens", self.reply, self.tokens)
    }

    /// Parses the reply that a message requests.
    pub fn of(message: &str) -> Result<Self> {
        let numbers: Vec<usize> = message
            .split(' ')
            .filter_map(|word| word.parse().ok())
            .collect();
        match numbers[..] {
            [reply, tokens] if tokens > 0 => Ok(Self { reply, tokens }),
            _ => Err(format!("the model cannot answer {message:?}").into()),
        }
    }

    /// One token, about as long as a model's.
    pub fn token(self, number: usize) -> String {
        format!(" {}.{number}", self.reply)
    }

    /// The whole text.
    pub fn text(self) -> String {
        (0..self.tokens).map(|number| self.token(number)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Script;

    #[test]
    fn a_message_says_what_to_write() {
        let script = Script {
            reply: 17,
            tokens: 3,
        };
        assert_eq!(Script::of(&script.message()).unwrap(), script);
        assert_eq!(script.text(), " 17.0 17.1 17.2");
        assert!(Script::of("Hello").is_err());
    }
}
