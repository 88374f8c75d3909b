//! The events of one turn for its sender: the reply's text, the title, the end.
//!
//! Independent of the wire format: each streaming wire encodes these events, and the route that does not stream
//! collects them.

use std::{sync::Arc, time::Duration};

use async_stream::stream;
use futures_util::{Stream, StreamExt, stream::BoxStream};
use graphql_transport::sleep_until_opt;
use tokio::time::{Instant, timeout};

use super::{Services, watch};
use crate::{
    chat::SentMessage,
    conversation::{Conversation, Part, TitleStatus},
    error::Error,
    events::{Delta, ReasoningDelta, ReplyEnd, ReplyLogEvent, ReplySnapshot, run::Outcome},
};

/// One event of a turn.
#[derive(Debug)]
pub(super) enum TurnEvent {
    /// The message is stored.
    Started(Arc<Conversation>),
    /// The missed text for a reconnecting client; or, with `recovered: false`, the stored text, which replaces the sent
    /// text.
    Snapshot(ReplySnapshot),
    /// More text of the reply.
    Delta(Delta),
    /// A new or changed part, which replaces the part with the same index.
    Part(Arc<Part>),
    /// More reasoning of a part.
    Reasoning(ReasoningDelta),
    /// The title was set or changed.
    TitleChanged(Arc<Conversation>),
    /// The reply has ended; always the last event.
    Ended(Arc<Conversation>, Arc<ReplyEnd>),
}

/// The events of a turn, in order. With `is_resumed`, the client has reconnected and gets its position before any
/// title. If the title is made from this message, the end event waits for it, for the title grace at most, unless the
/// reply was stopped; no other event waits. At `until` the sender's token expires: the stream ends and the reply
/// continues.
pub(super) fn events(
    services: Arc<Services>,
    sent: SentMessage,
    until: Option<Instant>,
    is_resumed: bool,
) -> impl Stream<Item = TurnEvent> + Send + 'static {
    stream! {
        let grace = services.title_grace;
        let SentMessage { conversation, makes_title, reply, changes, .. } = sent;
        let mut watched = WatchedConversation {
            // The sender already has any title that is older than the message.
            announced: match makes_title {
                true => None,
                false => conversation.display_name.clone(),
            },
            conversation: Arc::new(conversation.clone()),
            states: watch::from(services, conversation, changes).boxed(),
        };
        let mut reply_events = reply.events;
        // The text sent so far, needed only for the end event if the token expires.
        let mut sent_text = until.map(|_| String::new());
        let mut is_first = true;
        yield TurnEvent::Started(watched.conversation.clone());
        // A title frame carries a cursor, so it must not precede the position of a reconnecting client.
        let mut is_positioned = !is_resumed;
        if is_positioned && let Some(titled) = watched.new_title() {
            yield TurnEvent::TitleChanged(titled);
        }
        let end = loop {
            tokio::select! {
                // Poll the title first, so that it does not follow the end if both are ready.
                biased;
                () = sleep_until_opt(until) => break expired(sent_text),
                () = watched.changed(), if is_positioned => if let Some(titled) = watched.new_title() {
                    yield TurnEvent::TitleChanged(titled);
                },
                event = reply_events.next() => match event {
                    Some(ReplyLogEvent::Snapshot(snapshot)) => {
                        if let Some(text) = &mut sent_text {
                            text.replace_range(.., &snapshot.text);
                        }
                        let is_beginning = std::mem::take(&mut is_first) && !is_resumed;
                        if is_beginning {
                            for event in beginning(&snapshot) {
                                yield event;
                            }
                        } else {
                            let mut parts = snapshot.parts.clone();
                            if snapshot.recovered {
                                // A turn's cursor is an offset in the text: the client has received the parts before
                                // it, but not their later changes.
                                let from = snapshot.length.saturating_sub(snapshot.text.len());
                                parts.retain(|part| part.at >= from || part.may_have_changed());
                            }
                            yield TurnEvent::Snapshot(snapshot);
                            for part in parts {
                                yield TurnEvent::Part(part);
                            }
                        }
                        if !std::mem::replace(&mut is_positioned, true)
                            && let Some(titled) = watched.new_title()
                        {
                            yield TurnEvent::TitleChanged(titled);
                        }
                    }
                    Some(ReplyLogEvent::Delta(delta)) => {
                        if let Some(text) = &mut sent_text {
                            text.push_str(&delta.text);
                        }
                        yield TurnEvent::Delta(delta);
                    }
                    Some(ReplyLogEvent::Part(part)) => yield TurnEvent::Part(part),
                    Some(ReplyLogEvent::Reasoning(delta)) => yield TurnEvent::Reasoning(delta),
                    Some(ReplyLogEvent::Ended(end)) => break end,
                    // Unreachable, because a log always ends with an end event.
                    None => return,
                },
            }
        };
        // If the user stopped the reply or the token expired, the end does not wait for the title.
        let is_over = matches!(end.outcome, Outcome::Stopped | Outcome::Failed(Error::AuthExpired));
        if makes_title && !is_over {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let grace = left.map_or(grace, |left| grace.min(left));
            watched.title_decided(grace).await;
            if let Some(titled) = watched.new_title() {
                yield TurnEvent::TitleChanged(titled);
            }
        }
        yield TurnEvent::Ended(watched.conversation, end);
    }
}

/// The text so far and its parts, each part after the text that precedes it.
pub(super) fn beginning(snapshot: &ReplySnapshot) -> Vec<TurnEvent> {
    let text = &snapshot.text;
    let mut events = Vec::new();
    let mut from = 0;
    let mut add_text = |events: &mut Vec<TurnEvent>, to: usize| {
        if let Some(piece) = text.get(from..to).filter(|piece| !piece.is_empty()) {
            events.push(TurnEvent::Delta(Delta {
                text: piece.into(),
                length: to,
            }));
            from = to;
        }
    };
    for part in &snapshot.parts {
        add_text(&mut events, part.at);
        events.push(TurnEvent::Part(part.clone()));
    }
    add_text(&mut events, text.len());
    events
}

/// The end event of a stream whose token expired; the reply continues.
fn expired(sent_text: Option<String>) -> Arc<ReplyEnd> {
    Arc::new(ReplyEnd {
        text: sent_text.unwrap_or_default(),
        response_id: None,
        usage: None,
        model: None,
        outcome: Outcome::Failed(Error::AuthExpired),
        reason: None,
    })
}

/// The current state of the turn's conversation, and the last title sent.
struct WatchedConversation {
    conversation: Arc<Conversation>,
    announced: Option<String>,
    states: BoxStream<'static, Arc<Conversation>>,
}

impl WatchedConversation {
    /// Waits for the next change. Never completes once no more can follow.
    async fn changed(&mut self) {
        match self.states.next().await {
            // A tombstone has no title; keep the last one sent for the end event.
            Some(newer) if newer.is_deleted() => {
                self.conversation = Arc::new(Conversation {
                    display_name: self.announced.clone(),
                    ..Conversation::clone(&newer)
                });
            }
            Some(newer) => self.conversation = newer,
            None => std::future::pending().await,
        }
    }

    /// Waits until the title is ready or has failed, for the grace at most. Does not wait for a title that is not being
    /// generated.
    async fn title_decided(&mut self, grace: Duration) {
        let decided = async {
            while self.conversation.title_status == TitleStatus::Pending
                && self.conversation.title_begun
                && !self.conversation.is_deleted()
            {
                self.changed().await;
            }
        };
        // A timeout is not an error, because subscribers receive the title later.
        let _ = timeout(grace, decided).await;
    }

    /// The conversation, if it has a title that has not been sent yet.
    fn new_title(&mut self) -> Option<Arc<Conversation>> {
        let title = self.conversation.display_name.as_ref()?;
        if self.announced.as_ref() == Some(title) {
            return None;
        }
        self.announced = Some(title.clone());
        Some(self.conversation.clone())
    }
}
