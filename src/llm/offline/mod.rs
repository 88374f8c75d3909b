//! The offline model: answers without a provider or a network, and says so in each reply.
//!
//! A first `cargo run` shows streamed replies and live titles without an API key.
//!
//! - `title`: finds a message's topic by word lists, or by `english`; `candidate`: scored titles
//! - `english`: titles by learned weights
//! - `limits`: shortens a title to the limits of its request
//! - `languages`: the word lists, by language; `word`: tokenisation and casing
//! - `unspaced`: topics in scripts without spaces between words

mod candidate;
mod english;
mod languages;
mod limits;
mod title;
mod unspaced;
mod word;

use std::{sync::LazyLock, time::Duration};

use futures_util::{
    FutureExt, StreamExt,
    future::{self, BoxFuture},
    stream,
};
use unicode_segmentation::UnicodeSegmentation;

use super::{
    Finish, ModelError, ModelName, ReplyChunk, ReplyModel, ReplyRequest, ReplyStream, Speaker,
    TitleModel, TitleOutput, TitleRequest,
};

const NAME: &str = "offline";
const MAX_QUOTED_WORDS: usize = 8;
const MAX_QUOTED_GRAPHEMES: usize = 60;

/// The offline model.
#[derive(Clone, Debug)]
pub struct Offline {
    name: ModelName,
    delta_delay: Duration,
}

impl Offline {
    /// A model that waits `delta_delay` before each delta of a reply.
    pub fn new(delta_delay: Duration) -> Self {
        // Load the table now, so that no message waits for it.
        LazyLock::force(&english::WEIGHTS);
        Self {
            name: ModelName::new("builtin", NAME),
            delta_delay,
        }
    }
}

impl ReplyModel for Offline {
    fn name(&self) -> &ModelName {
        &self.name
    }

    fn reply(&self, request: ReplyRequest) -> BoxFuture<'_, Result<ReplyStream, ModelError>> {
        let message = request
            .history
            .iter()
            .rev()
            .find(|message| message.speaker == Speaker::User);
        let text = reply_text(message.map_or("", |message| &message.text));
        let words: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
        let delta_delay = self.delta_delay;
        let deltas = stream::iter(words).then(move |word| async move {
            tokio::time::sleep(delta_delay).await;
            Ok(ReplyChunk::Delta(word))
        });
        let finished = stream::once(future::ready(Ok(ReplyChunk::Finished(Finish::Stop))));
        future::ready(Ok(deltas.chain(finished).boxed())).boxed()
    }
}

impl TitleModel for Offline {
    fn name(&self) -> &ModelName {
        &self.name
    }

    fn title(&self, request: TitleRequest) -> BoxFuture<'_, Result<TitleOutput, ModelError>> {
        let output = TitleOutput {
            text: limits::within(title::title(message_in(&request.input)), request.limits),
            finish: Finish::Stop,
            usage: None,
            model: Some(NAME.to_owned()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::ChatMessage;

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
            let message = ChatMessage {
                speaker: Speaker::User,
                text: text.to_owned(),
            };
            let request = ReplyRequest {
                history: [message].into(),
                ..ReplyRequest::default()
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
