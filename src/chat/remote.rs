//! Follows a reply that another node writes: requests new text from that node, and falls back to the checkpoint in the
//! row when the node does not answer.
//!
//! So readers still receive text, in larger steps, while the nodes cannot reach each other. If the writing node dies,
//! readers receive the end that another node stores when the lease expires.

use std::time::Duration;

use futures_util::Stream;
use tokio::time::sleep;

use super::{Chat, stored_end::load_end};
use crate::{
    conversation::{Owner, Part},
    db::{ReplyState, Turn},
    error::{Error, Result},
    events::{
        Place, ReplyEnd, ReplyIds, ReplyLogEvent, ReplySlice, RunGuard, relay::RemoteSlice,
        run::Outcome,
    },
};

/// How often the row is read while its node does not answer.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Follows the reply from an offset, or from the beginning. All readers on this node share one copy.
pub(super) fn follow(
    chat: &Chat,
    owner: &Owner,
    turn: Turn,
    after: Option<Place>,
) -> impl Stream<Item = ReplyLogEvent> + Send + use<> {
    let of = ReplyIds {
        owner: owner.clone(),
        conversation: turn.conversation_id,
        turn: turn.id,
        reply: turn.reply_id,
    };
    let (events, unfilled) = chat.inner.events.follow_copy(&of, after);
    if let Some(copy) = unfilled {
        chat.inner.tasks.spawn(fill(chat.clone(), turn, copy));
    }
    events
}

/// Fills the copy until the reply ends or has no readers.
pub(super) async fn fill(chat: Chat, mut turn: Turn, copy: RunGuard) {
    let log = copy.log();
    let polling = async {
        // The number of the last part change that the writing node sent.
        let mut changes = 0;
        loop {
            match poll(&chat, &log.ids().owner, &mut turn, log.length(), changes).await {
                Ok(Polled {
                    read,
                    parts,
                    changes: last,
                    is_moved,
                    end: None,
                }) => {
                    log.append_remote(&read.text, parts);
                    // Each node counts the part changes of its own log.
                    changes = match is_moved {
                        true => 0,
                        false => changes.max(last),
                    };
                }
                Ok(Polled {
                    read,
                    parts,
                    end: Some(end),
                    ..
                }) => {
                    // After another node closed or deleted the reply, the stored text may differ from the text written
                    // before.
                    if read.recovered {
                        log.append_remote(&read.text, parts);
                    }
                    break log.end(end);
                }
                Err(error) => {
                    // Retry until the database is back or the server stops.
                    tracing::debug!(
                        error.code = error.code().as_str(),
                        "reading a reply from another node failed; retrying"
                    );
                    sleep(POLL_INTERVAL).await;
                }
            }
        }
    };
    let abandoned = async {
        loop {
            log.unwatched().await;
            if copy.close_if_unwatched() {
                break;
            }
        }
    };
    tokio::select! {
        () = polling => {}
        () = abandoned => {}
        () = chat.inner.abort.cancelled() => log.end(ReplyEnd {
            text: log.text(),
            response_id: None,
            usage: None,
            model: None,
            outcome: Outcome::Failed(Error::ShuttingDown),
            reason: None,
        }),
    }
}

/// The result of a poll.
struct Polled {
    /// The text after the offset.
    read: ReplySlice,
    /// The new and changed parts, possibly with unchanged ones.
    parts: Vec<Part>,
    /// The number of the last part change that the writing node sent.
    changes: u64,
    /// Whether another node writes the reply now.
    is_moved: bool,
    /// The end, if the reply is over.
    end: Option<ReplyEnd>,
}

/// Reads the text after the offset and the parts after the change, and the end if the reply is over. Waits up to
/// [`POLL_INTERVAL`] when there is nothing new.
async fn poll(
    chat: &Chat,
    owner: &Owner,
    turn: &mut Turn,
    offset: usize,
    changes: u64,
) -> Result<Polled> {
    let events = &chat.inner.events;
    let answer = match turn.node {
        Some(node) => {
            events
                .read_remote(node, turn.reply_id, offset, changes)
                .await
        }
        None => None,
    };
    if let Some(RemoteSlice {
        read,
        parts,
        changes,
        ended,
    }) = answer
    {
        let Some(ended) = ended else {
            return Ok(Polled {
                read,
                parts,
                changes,
                is_moved: false,
                end: None,
            });
        };
        // The writing node stores the end before it reports it. Only that node knows the usage.
        let end = load_end(chat, owner, turn).await?;
        return Ok(Polled {
            read,
            parts,
            changes,
            is_moved: false,
            end: Some(ReplyEnd {
                response_id: ended.response_id,
                usage: ended.usage.or(end.usage),
                ..end
            }),
        });
    }
    let row = chat.inner.db.find_turn(owner, turn.id).await?;
    let row = row.unwrap_or_else(|| turn.clone());
    if row.reply != ReplyState::Running {
        let end = load_end(chat, owner, turn).await?;
        let parts = chat.inner.db.reply_parts(owner, &[turn.reply_id]).await?;
        return Ok(Polled {
            read: ReplySlice::from_offset(&end.text, offset, true),
            parts: parts.into_values().next().unwrap_or_default(),
            changes: 0,
            is_moved: false,
            end: Some(end),
        });
    }
    let read = ReplySlice::from_offset(&row.written, offset, false);
    let is_moved = row.node != turn.node;
    turn.node = row.node;
    if read.text.is_empty() && !is_moved {
        sleep(POLL_INTERVAL).await;
    }
    Ok(Polled {
        read,
        parts: row.written_parts,
        changes: 0,
        is_moved,
        end: None,
    })
}
