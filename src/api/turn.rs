//! One turn as its sender sees it: the reply's text, the title when it comes, the end.
//!
//! Knows no wire format: the SSE stream encodes these events, the route without streaming collects
//! them.

use std::{sync::Arc, time::Duration};

use async_stream::stream;
use futures_util::{Stream, StreamExt, stream::BoxStream};
use tokio::time::{Instant, timeout};

use super::{Services, watch};
use crate::{
    chat::SentMessage,
    conversation::{Conversation, TitleStatus},
    error::Error,
    events::{Delta, ReplyEnd, ReplyEvent, SoFar, run::Outcome},
    transport::sleep_until_opt,
};

/// One event of a turn.
#[derive(Debug)]
pub(super) enum TurnEvent {
    /// The message is stored.
    Started(Arc<Conversation>),
    /// What there is of the reply for a reader that comes back; or, not recovered, all that was kept of
    /// it, which is less than was told.
    SoFar(SoFar),
    /// More of the reply.
    Delta(Delta),
    /// There is a title, or another one.
    TitleChanged(Arc<Conversation>),
    /// The reply is over; always the last event.
    Ended(Arc<Conversation>, Arc<ReplyEnd>),
}

/// The events of a turn, in order; `is_resumed`: for a reader that comes back, which is told first where it is. The end
/// is held back for a title that is made from this message, at most for the title grace; nothing else ever waits. At
/// `until` the sender's token is over: the reply goes on without being told.
pub(super) fn events(
    services: Arc<Services>,
    sent: SentMessage,
    until: Option<Instant>,
    is_resumed: bool,
) -> impl Stream<Item = TurnEvent> + Send + 'static {
    stream! {
        let grace = services.title_grace;
        let SentMessage { conversation, makes_title, reply, changes, .. } = sent;
        let mut watched = Watched {
            // In a conversation that has its title the sender knows it already.
            announced: match makes_title {
                true => None,
                false => conversation.display_name.clone(),
            },
            conversation: Arc::new(conversation.clone()),
            states: watch::from(services, conversation, changes).boxed(),
        };
        let mut reply_events = reply.events;
        // Kept only where it may be needed.
        let mut told = until.map(|_| String::new());
        let mut is_first = true;
        yield TurnEvent::Started(watched.conversation.clone());
        // Until a reader that comes back knows where it is, nothing may give it another place.
        let mut is_placed = !is_resumed;
        if is_placed && let Some(titled) = watched.new_title() {
            yield TurnEvent::TitleChanged(titled);
        }
        let end = loop {
            tokio::select! {
                // The title first: it must not come behind the end when both are there.
                biased;
                () = sleep_until_opt(until) => break expired(told),
                () = watched.changed(), if is_placed => if let Some(titled) = watched.new_title() {
                    yield TurnEvent::TitleChanged(titled);
                },
                event = reply_events.next() => match event {
                    Some(ReplyEvent::SoFar(so_far)) => {
                        if let Some(told) = &mut told {
                            told.replace_range(.., &so_far.text);
                        }
                        let is_beginning = std::mem::take(&mut is_first) && !is_resumed;
                        match (is_beginning, so_far) {
                            (true, SoFar { text, length: 1.., .. }) => {
                                let length = text.len();
                                yield TurnEvent::Delta(Delta { text, length });
                            }
                            (true, _) => {}
                            (false, so_far) => yield TurnEvent::SoFar(so_far),
                        }
                        if !std::mem::replace(&mut is_placed, true)
                            && let Some(titled) = watched.new_title()
                        {
                            yield TurnEvent::TitleChanged(titled);
                        }
                    }
                    Some(ReplyEvent::Delta(delta)) => {
                        if let Some(told) = &mut told {
                            told.push_str(&delta.text);
                        }
                        yield TurnEvent::Delta(delta);
                    }
                    Some(ReplyEvent::Ended(end)) => break end,
                    // A log always ends with an end.
                    None => return,
                },
            }
        };
        let is_over = matches!(end.outcome, Outcome::Failed(Error::AuthExpired));
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

/// The end of the stream, though not of the reply.
fn expired(told: Option<String>) -> Arc<ReplyEnd> {
    Arc::new(ReplyEnd {
        text: told.unwrap_or_default(),
        response_id: None,
        usage: None,
        outcome: Outcome::Failed(Error::AuthExpired),
        reason: None,
    })
}

/// The conversation of the turn, kept up to date.
struct Watched {
    conversation: Arc<Conversation>,
    announced: Option<String>,
    states: BoxStream<'static, Arc<Conversation>>,
}

impl Watched {
    /// Ready after the next change; never again once there can be none.
    async fn changed(&mut self) {
        match self.states.next().await {
            // A tombstone has no title any more; the end has the one that was told.
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

    /// Waits until the title is there or given up, or the grace is over. A title that nobody makes yet is
    /// not waited for.
    async fn title_decided(&mut self, grace: Duration) {
        let decided = async {
            while self.conversation.title_status == TitleStatus::Pending
                && self.conversation.title_begun
                && !self.conversation.is_deleted()
            {
                self.changed().await;
            }
        };
        // Too late is no error: every other surface still gets the title.
        let _ = timeout(grace, decided).await;
    }

    /// The conversation, if its title is one that was not announced yet.
    fn new_title(&mut self) -> Option<Arc<Conversation>> {
        let title = self.conversation.display_name.as_ref()?;
        if self.announced.as_ref() == Some(title) {
            return None;
        }
        self.announced = Some(title.clone());
        Some(self.conversation.clone())
    }
}
