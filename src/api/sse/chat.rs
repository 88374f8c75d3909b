//! The stream of one turn: `POST /api/v1/chat/stream`.

use std::sync::Arc;

use axum::{body::Bytes, response::Response};
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::{Stream, StreamExt};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{frame::frame, response};
use crate::{
    api::{
        Services,
        turn::{self, TurnEvent},
    },
    chat::SentMessage,
    conversation::{Conversation, TitleSource},
    events::{ReplyEnd, run::Outcome},
};

/// The event of this wire. A field without a value is left out.
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

/// The response that streams a turn. `with_ids` adds the `id:` lines that resuming needs.
pub(in crate::api) fn respond(
    services: Arc<Services>,
    sent: SentMessage,
    until: Option<Instant>,
    with_ids: bool,
) -> Response {
    let keep_alive = services.keep_alive;
    let id = sent.conversation.id.to_string();
    let events = turn::events(services, sent, until);
    response(frames(id, events, with_ids), keep_alive)
}

fn frames(
    conversation_id: String,
    events: impl Stream<Item = TurnEvent> + Send + 'static,
    with_ids: bool,
) -> impl Stream<Item = Bytes> + Send + 'static {
    let mut encoder = Encoder {
        conversation_id,
        sequence_number: 0,
        with_ids,
    };
    events.flat_map(move |event| futures_util::stream::iter(encoder.encode(&event)))
}

/// Numbers the events of one stream.
struct Encoder {
    conversation_id: String,
    sequence_number: u64,
    with_ids: bool,
}

impl Encoder {
    fn encode(&mut self, event: &TurnEvent) -> Vec<Bytes> {
        match event {
            TurnEvent::Started(conversation) => vec![self.frame(|event| Event {
                raw_type: Some("response.created"),
                agent: Some(&conversation.active_agent),
                agent_used: Some(&conversation.active_agent),
                ..event
            })],
            TurnEvent::Delta(delta) => vec![self.frame(|event| Event {
                raw_type: Some("response.output_text.delta"),
                text_delta: Some(delta),
                ..event
            })],
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
                            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
                        })),
                        ..event
                    })
                });
                let terminal = self.terminal(conversation, end);
                usage.into_iter().chain([terminal]).collect()
            }
        }
    }

    fn terminal(&mut self, conversation: &Conversation, end: &ReplyEnd) -> Bytes {
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
        frame(&event, self.with_ids.then_some(number))
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
