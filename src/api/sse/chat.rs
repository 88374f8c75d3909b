//! Encodes one turn as an SSE stream, for `POST /api/v1/chat/stream` and `GET /api/v1/conversations/{id}/reply`.

use std::{fmt::Display, sync::Arc};

use axum::{body::Bytes, response::Response};
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{frame::frame, response};
use crate::{
    api::{
        Services,
        observe::{HttpMetrics, Surface},
        turn::{self, TurnEvent},
    },
    chat::SentMessage,
    conversation::{Conversation, MessageId, TitleSource},
    error::Error,
    events::{ReplyCursor, ReplyEnd, SoFar, run::Outcome},
};

/// One event as JSON. Omits fields without a value.
#[derive(Serialize)]
struct Event<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'static str>,
    conversation_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<&'a str>,
    is_terminal: bool,
    sequence_number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text_delta: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_used: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Value>,
    server_timestamp: String,
}

/// Options of a turn's stream.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::api) struct StreamOptions {
    /// Send `id:` lines, which resuming needs.
    pub(in crate::api) with_ids: bool,
    /// The client reconnected: begin with a snapshot of its position.
    pub(in crate::api) is_resumed: bool,
    /// Close at shutdown: the reply does not depend on this stream.
    pub(in crate::api) is_read_only: bool,
}

/// The response that streams a turn.
pub(in crate::api) fn respond(
    services: Arc<Services>,
    sent: SentMessage,
    until: Option<Instant>,
    options: StreamOptions,
) -> Response {
    let keep_alive = services.keep_alive;
    let cut = match options.is_read_only || sent.reply.is_remote {
        true => services.closing.clone(),
        false => CancellationToken::new(),
    };
    let mut encoder = Encoder {
        conversation_id: sent.conversation.id.to_string(),
        message: sent.message.id,
        sequence_number: 0,
        length: 0,
        is_over: false,
        options,
        http: services.http.clone(),
    };
    let events = turn::events(services, sent, until, options.is_resumed);
    let frames = events.flat_map(move |event| stream::iter(encoder.encode(&event)));
    response(frames, keep_alive, cut)
}

/// Encodes the events of one stream; tracks the sequence number and the offset in the reply.
struct Encoder {
    conversation_id: String,
    message: MessageId,
    sequence_number: u64,
    length: usize,
    /// Whether the end of the reply was sent, so that the cursor is `end`.
    is_over: bool,
    options: StreamOptions,
    /// Counts errors.
    http: HttpMetrics,
}

impl Encoder {
    fn encode(&mut self, event: &TurnEvent) -> Vec<Bytes> {
        match event {
            TurnEvent::Started(_) if self.options.is_resumed => Vec::new(),
            TurnEvent::Started(conversation) => vec![self.frame(|event| Event {
                raw_type: Some("response.created"),
                agent: Some(&conversation.active_agent),
                agent_used: Some(&conversation.active_agent),
                ..event
            })],
            TurnEvent::SoFar(so_far) => self.so_far(so_far),
            TurnEvent::Delta(delta) => {
                self.length = delta.length;
                vec![self.delta(&delta.text)]
            }
            TurnEvent::TitleChanged(conversation) => vec![self.frame(|event| Event {
                kind: "lifecycle",
                event: Some(title_event(conversation)),
                display_name: conversation.display_name.as_deref(),
                ..event
            })],
            TurnEvent::Ended(conversation, end) => {
                let usage = end.usage.map(|usage| {
                    self.frame(|event| Event {
                        kind: "usage",
                        payload: Some(json!({
                            "prompt_tokens": usage.prompt_tokens,
                            "completion_tokens": usage.completion_tokens,
                            "reasoning_tokens": usage.reasoning_tokens,
                            "total_tokens": usage.total_tokens(),
                        })),
                        ..event
                    })
                });
                let terminal = self.terminal(conversation, end);
                usage.into_iter().chain([terminal]).collect()
            }
        }
    }

    fn delta(&mut self, text: &str) -> Bytes {
        self.frame(|event| Event {
            raw_type: Some("response.output_text.delta"),
            text_delta: Some(text),
            ..event
        })
    }

    /// The position of a client that reconnects, then the missed text as a delta; or the full text to start over with.
    fn so_far(&mut self, so_far: &SoFar) -> Vec<Bytes> {
        let SoFar {
            text,
            length,
            recovered,
        } = so_far;
        self.length = length - if *recovered { text.len() } else { 0 };
        let position = self.frame(|event| Event {
            raw_type: Some("response.in_progress"),
            response_text: (!recovered).then_some(text),
            payload: Some(json!({ "recovered": recovered })),
            ..event
        });
        self.length = *length;
        let missed = (*recovered && !text.is_empty()).then(|| self.delta(text));
        [position].into_iter().chain(missed).collect()
    }

    fn terminal(&mut self, conversation: &Conversation, end: &ReplyEnd) -> Bytes {
        if let Outcome::Failed(error) = &end.outcome {
            self.http.failed(Surface::Sse, error.code());
        }
        // These two end only the stream: the reply continues, or another node closes it.
        self.is_over = !matches!(
            end.outcome,
            Outcome::Failed(Error::AuthExpired | Error::ShuttingDown)
        );
        self.frame(|event| {
            let event = Event {
                is_terminal: true,
                display_name: conversation.display_name.as_deref(),
                agent: Some(&conversation.active_agent),
                agent_used: Some(&conversation.active_agent),
                response_id: end.response_id.as_deref(),
                response_text: Some(&end.text),
                ..event
            };
            match &end.outcome {
                Outcome::Completed => Event {
                    raw_type: Some("response.completed"),
                    ..event
                },
                Outcome::Incomplete => Event {
                    raw_type: Some("response.incomplete"),
                    payload: end.reason.map(|reason| json!({ "reason": reason })),
                    ..event
                },
                Outcome::Failed(error) => Event {
                    kind: "error",
                    raw_type: Some("response.failed"),
                    payload: Some(json!({
                        "error": error.to_string(),
                        "code": error.code().as_str(),
                    })),
                    ..event
                },
            }
        })
    }

    fn frame<'a>(&mut self, fill: impl FnOnce(Event<'a>) -> Event<'a>) -> Bytes {
        let number = self.sequence_number;
        self.sequence_number += 1;
        let event = fill(Event {
            kind: "raw_response_event",
            conversation_id: self.conversation_id.clone(),
            is_terminal: false,
            sequence_number: number,
            server_timestamp: timestamp(Utc::now()),
            event: None,
            display_name: None,
            raw_type: None,
            text_delta: None,
            response_text: None,
            response_id: None,
            agent: None,
            agent_used: None,
            payload: None,
        });
        let cursor = match self.is_over {
            true => ReplyCursor::end(self.message),
            false => ReplyCursor::at(self.message, self.length),
        };
        let id: &dyn Display = &cursor;
        frame(&event, self.options.with_ids.then_some(id))
    }
}

/// What this wire calls a title that came by itself, and one that a person gave.
pub(super) fn title_event(conversation: &Conversation) -> &'static str {
    match conversation.title_source {
        TitleSource::Manual => "conversation.title.updated",
        TitleSource::Generated | TitleSource::Hint => "conversation.title.generated",
    }
}

pub(super) fn timestamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
