//! Following a reply that another node writes: that node is asked for what it has, and where it does not
//! answer, the row, which has what was noted a moment ago. So a reader goes on, only in longer steps,
//! when the nodes cannot talk to each other, and when the writer died it hears of the end that another
//! node gives the reply.

use std::time::Duration;

use futures_util::Stream;
use tokio::time::sleep;

use super::{Chat, follow::stored};
use crate::{
    conversation::Owner,
    db::{ReplyState, Turn},
    error::{Error, Result},
    events::{LogOf, Read, ReplyEnd, ReplyEvent, RunGuard, relay::ReadElsewhere, run::Outcome},
};

/// How often the row is looked at.
const PAUSE: Duration = Duration::from_millis(500);

/// Follows the reply from a place on, or from the beginning. All who do so here share one copy.
pub(super) fn follow(
    chat: &Chat,
    owner: &Owner,
    turn: Turn,
    after: Option<usize>,
) -> impl Stream<Item = ReplyEvent> + Send + use<> {
    let of = LogOf {
        owner: owner.clone(),
        conversation: turn.conversation_id,
        message: turn.message_id,
        reply: turn.reply_id,
    };
    let (events, to_fill) = chat.inner.events.follow_copy(&of, after);
    if let Some(copy) = to_fill {
        chat.inner.tasks.spawn(fill(chat.clone(), turn, copy));
    }
    events
}

/// Fills the copy until the reply is over, or nobody follows it any more.
async fn fill(chat: Chat, turn: Turn, copy: RunGuard) {
    let log = copy.log();
    let copying = async {
        loop {
            match look(&chat, &log.of().owner, &turn, log.length()).await {
                Ok((read, None)) => log.take_over(&read.text),
                Ok((read, Some(end))) => {
                    // What was written is not what was kept, when somebody else closed or deleted it.
                    if read.recovered {
                        log.take_over(&read.text);
                    }
                    break log.end(end);
                }
                Err(error) => {
                    // It comes back, or the server ends.
                    tracing::debug!(
                        error.code = error.code().as_str(),
                        "a reply cannot be followed"
                    );
                    sleep(PAUSE).await;
                }
            }
        }
    };
    let left = async {
        loop {
            log.unwatched().await;
            if copy.leave_unwatched() {
                break;
            }
        }
    };
    tokio::select! {
        () = copying => {}
        () = left => {}
        () = chat.inner.abort.cancelled() => log.end(ReplyEnd {
            text: log.text(),
            response_id: None,
            usage: None,
            outcome: Outcome::Failed(Error::ShuttingDown),
            reason: None,
        }),
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
