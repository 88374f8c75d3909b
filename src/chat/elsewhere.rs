//! Following a reply that another node writes: that node is asked for what it has, and where it does not
//! answer, the row, which has what was noted a moment ago. So a reader goes on, only in longer steps,
//! when the nodes cannot talk to each other, and when the writer died it hears of the end that another
//! node gives the reply.

use std::{sync::Arc, time::Duration};

use async_stream::stream;
use futures_util::Stream;
use tokio::time::sleep;

use super::{Chat, follow::stored};
use crate::{
    conversation::Owner,
    db::{ReplyState, Turn},
    error::Result,
    events::{Delta, Read, ReplyEnd, ReplyEvent, SoFar, relay::ReadElsewhere},
};

/// How often the row is looked at.
const PAUSE: Duration = Duration::from_millis(500);

/// What there is of the reply behind the place `after`, or all of it, what follows, and the end.
pub(super) fn follow(
    chat: Chat,
    owner: Owner,
    turn: Turn,
    after: Option<usize>,
) -> impl Stream<Item = ReplyEvent> + Send {
    stream! {
        let mut place = after.unwrap_or_default();
        let mut has_joined = false;
        loop {
            let (read, end) = match look(&chat, &owner, &turn, place).await {
                Ok(seen) => seen,
                Err(error) => {
                    // It comes back, or the server ends.
                    tracing::debug!(error.code = error.code().as_str(), "a reply cannot be followed");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            // What is not recovered replaces everything. A place that is not reached yet is waited for.
            let is_first = !has_joined && read.length >= place;
            if is_first || !read.recovered {
                (has_joined, place) = (true, read.length);
                yield ReplyEvent::SoFar(SoFar::new(read, after));
            } else if !read.text.is_empty() {
                place = read.length;
                yield ReplyEvent::Delta(Delta { text: read.text.into(), length: place });
            }
            if let Some(end) = end {
                yield ReplyEvent::Ended(Arc::new(end));
                break;
            }
        }
    }
}

/// What is behind the place by now, and the end, if it is over. Takes its time when there is nothing new.
async fn look(
    chat: &Chat,
    owner: &Owner,
    turn: &Turn,
    place: usize,
) -> Result<(Read, Option<ReplyEnd>)> {
    let events = &chat.inner.events;
    let answer = match turn.node {
        Some(node) => events.read_elsewhere(node, turn.reply_id, place).await,
        None => None,
    };
    if let Some(ReadElsewhere { read, ended }) = answer {
        let Some(ended) = ended else {
            return Ok((read, None));
        };
        // It was stored before it was told. Whoever wrote it knows what it cost as well.
        let end = stored(chat, owner, turn).await?;
        // What was written is not what was kept, when somebody else closed or deleted it.
        let is_all = read.length == end.text.len();
        let read = if is_all { read } else { Read::anew(&end.text) };
        return Ok((
            read,
            Some(ReplyEnd {
                response_id: ended.response_id,
                usage: ended.usage,
                ..end
            }),
        ));
    }
    let now = chat.inner.db.find_turn(owner, turn.message_id).await?;
    let now = now.unwrap_or_else(|| turn.clone());
    if now.reply != ReplyState::Running {
        let end = stored(chat, owner, turn).await?;
        return Ok((Read::of(&end.text, place, true), Some(end)));
    }
    let read = Read::of(&now.written, place, false);
    if read.text.is_empty() {
        sleep(PAUSE).await;
    }
    Ok((read, None))
}
