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
    conversation::Owner,
    db::{ReplyState, Turn},
    error::{Error, Result},
    events::{
        ReplyEnd, ReplyIds, ReplyLogEvent, ReplySlice, RunGuard, relay::RemoteSlice, run::Outcome,
    },
};

/// How often the row is read while its node does not answer.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Follows the reply from an offset, or from the beginning. All readers on this node share one copy.
pub(super) fn follow(
    chat: &Chat,
    owner: &Owner,
    turn: Turn,
    after: Option<usize>,
) -> impl Stream<Item = ReplyLogEvent> + Send + use<> {
    let of = ReplyIds {
        owner: owner.clone(),
        conversation: turn.conversation_id,
        message: turn.message_id,
        reply: turn.reply_id,
    };
    let (events, unfilled) = chat.inner.events.follow_copy(&of, after);
    if let Some(copy) = unfilled {
        chat.inner.tasks.spawn(fill(chat.clone(), turn, copy));
    }
    events
}

/// Fills the copy until the reply ends or has no readers.
async fn fill(chat: Chat, turn: Turn, copy: RunGuard) {
    let log = copy.log();
    let polling = async {
        loop {
            match poll(&chat, &log.ids().owner, &turn, log.length()).await {
                Ok((read, None)) => log.append_remote(&read.text),
                Ok((read, Some(end))) => {
                    // The stored text differs from the written one after another node closed or deleted the reply.
                    if read.recovered {
                        log.append_remote(&read.text);
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
            outcome: Outcome::Failed(Error::ShuttingDown),
            reason: None,
        }),
    }
}

/// Reads the text after the offset, and the end if the reply is over. Waits up to [`POLL_INTERVAL`] when there is no
/// new text.
async fn poll(
    chat: &Chat,
    owner: &Owner,
    turn: &Turn,
    offset: usize,
) -> Result<(ReplySlice, Option<ReplyEnd>)> {
    let events = &chat.inner.events;
    let answer = match turn.node {
        Some(node) => events.read_remote(node, turn.reply_id, offset).await,
        None => None,
    };
    if let Some(RemoteSlice { read, ended }) = answer {
        let Some(ended) = ended else {
            return Ok((read, None));
        };
        // The writing node stores the end before it reports it. Only that node knows the usage.
        let end = load_end(chat, owner, turn).await?;
        return Ok((
            read,
            Some(ReplyEnd {
                response_id: ended.response_id,
                usage: ended.usage,
                ..end
            }),
        ));
    }
    let row = chat.inner.db.find_turn(owner, turn.message_id).await?;
    let row = row.unwrap_or_else(|| turn.clone());
    if row.reply != ReplyState::Running {
        let end = load_end(chat, owner, turn).await?;
        return Ok((ReplySlice::from_offset(&end.text, offset, true), Some(end)));
    }
    let read = ReplySlice::from_offset(&row.written, offset, false);
    if read.text.is_empty() {
        sleep(POLL_INTERVAL).await;
    }
    Ok((read, None))
}
