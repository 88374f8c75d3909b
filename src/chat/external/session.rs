//! An open reply on this node: the writer between requests, its checkpoints, and its end.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Mutex as AsyncMutex, MutexGuard, Notify},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{FinishReply, Permit, TURN_TIMEOUT, ended, keeper};
use crate::{
    chat::{Chat, remote, writer::ReplyWriter},
    conversation::{Owner, Part},
    db::{ReplyState, Turn},
    error::{Error, Result},
    events::{ReplyIds, ReplyLog, RunGuard, run::Outcome},
};

/// How long one checkpoint may take.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(15);

/// An open reply.
pub(super) struct Session {
    turn: Turn,
    log: Arc<ReplyLog>,
    /// `None` once the reply has ended, or another node has taken it over.
    writer: AsyncMutex<Option<ReplyWriter>>,
    /// The text length and the number of part changes at the last checkpoint. Locked during a checkpoint, so that a
    /// later checkpoint never stores an older text.
    stored: AsyncMutex<(usize, u64)>,
    /// When a request last wrote.
    active_at: Mutex<Instant>,
    /// Notified when an upload begins or ends.
    changed: Notify,
    /// Cancelled when a checkpoint or a renewal found that the reply is stopped, or runs elsewhere.
    suspected: CancellationToken,
    /// Set when the session has ended, so that its keeper stops and its permit is released.
    over: CancellationToken,
    _permit: Permit,
}

/// The writer of a session, for one request.
pub(super) type Writing<'a> = MutexGuard<'a, Option<ReplyWriter>>;

/// Why the row rejects the checkpoints of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fenced {
    /// A client stopped the reply.
    Stopped,
    /// The reply has ended.
    Ended,
    /// Another node runs it.
    Elsewhere,
}

/// Opens the session of a turn that this node runs.
pub(super) fn open(
    chat: &Chat,
    owner: &Owner,
    turn: &Turn,
    active_agent: &str,
    permit: Permit,
) -> Arc<Session> {
    let inner = &chat.inner;
    let agents = chat.agents();
    let agent = agents.answering(&owner.tenant, active_agent);
    let run = inner.events.open_external_run(ReplyIds {
        owner: owner.clone(),
        conversation: turn.conversation_id,
        turn: turn.id,
        reply: turn.reply_id,
    });
    let log = run.log().clone();
    let mut writer = ReplyWriter::new(
        chat.clone(),
        owner.clone(),
        turn.clone(),
        run,
        agent.keep_reasoning,
    );
    writer.set_agent(match agents.is_configured() {
        true => &agent.name,
        false => active_agent,
    });
    writer.resume(turn);
    log.begin();
    let cut_off = writer.cut_off();
    let session = Arc::new(Session {
        turn: turn.clone(),
        stored: AsyncMutex::new((log.length(), log.changes())),
        log,
        writer: AsyncMutex::new(Some(writer)),
        active_at: Mutex::new(Instant::now()),
        changed: Notify::new(),
        suspected: CancellationToken::new(),
        over: CancellationToken::new(),
        _permit: permit,
    });
    inner.external.insert(session.clone());
    let keeping = keeper::keep(chat.clone(), session.clone(), cut_off);
    inner.tasks.spawn(keeping);
    session
}

impl Session {
    pub(super) fn turn(&self) -> &Turn {
        &self.turn
    }

    pub(super) fn log(&self) -> &Arc<ReplyLog> {
        &self.log
    }

    /// Waits until no other request holds the writer.
    ///
    /// # Errors
    /// [`Error::ReplyBusy`] after [`TURN_TIMEOUT`].
    pub(super) async fn writing(&self) -> Result<Writing<'_>> {
        timeout(TURN_TIMEOUT, self.writer.lock())
            .await
            .map_err(|_| Error::ReplyBusy)
    }

    /// Like [`Self::writing`], without a time limit.
    pub(super) async fn writing_at_last(&self) -> Writing<'_> {
        self.writer.lock().await
    }

    /// Records a write, which restarts the lease.
    pub(super) fn touch(&self) {
        *self.active() = Instant::now();
    }

    pub(super) fn lease_left(&self, lease: Duration) -> Duration {
        match self.log.is_held() {
            true => lease,
            false => lease.saturating_sub(self.active().elapsed()),
        }
    }

    fn active(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.active_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Records whether an upload is open.
    pub(super) fn set_held(&self, is_held: bool) {
        self.touch();
        self.log.set_held(is_held);
        self.changed.notify_one();
    }

    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Makes the session check its row.
    pub(super) fn suspect(&self) {
        self.suspected.cancel();
    }

    pub(super) async fn suspected(&self) {
        self.suspected.cancelled().await;
    }

    /// Ends the keeper, and with it the session's permit.
    pub(super) fn set_over(&self) {
        self.over.cancel();
    }

    pub(super) async fn over(&self) {
        self.over.cancelled().await;
    }

    /// Stores the written content followed by `next`, which is not written to the log yet, and renews the lease.
    /// Returns whether this node still runs the reply.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub(super) async fn checkpoint(&self, chat: &Chat, next: &str) -> Result<bool> {
        let inner = &chat.inner;
        let mut stored = self.stored.lock().await;
        let text = (self.log.length() > stored.0 || !next.is_empty()).then(|| {
            let mut text = self.log.text();
            text.push_str(next);
            text
        });
        let parts = (self.log.changes() > stored.1).then(|| self.log.stored_parts());
        let run = (inner.events.node(), inner.settings.external_lease);
        let storing = inner.db.checkpoint_external(
            self.turn.id,
            text.as_deref(),
            parts
                .as_ref()
                .map(|(parts, _): &(Vec<Part>, u64)| &parts[..]),
            run,
        );
        let is_ours = match timeout(CHECKPOINT_TIMEOUT, storing).await {
            Ok(stored) => stored?,
            Err(late) => return Err(Error::Database(late.into())),
        };
        match is_ours {
            true => {
                let length = text.map_or(stored.0, |text| text.len());
                *stored = (length, parts.map_or(stored.1, |(_, changes)| changes));
            }
            false => self.suspect(),
        }
        Ok(is_ours)
    }
}

/// Ends the session of a reply that this node must no longer write, and returns the reason. `None` if the session has
/// already ended.
///
/// # Errors
/// [`Error::Database`]; the session then stays open.
pub(super) async fn settle(
    chat: &Chat,
    session: &Arc<Session>,
    mut writing: Writing<'_>,
) -> Result<Option<Fenced>> {
    if writing.is_none() {
        return Ok(None);
    }
    let inner = &chat.inner;
    let owner = &session.log.ids().owner;
    let row = inner.db.find_turn(owner, session.turn.id).await?;
    let fenced = match &row {
        Some(row) if row.reply == ReplyState::Running && row.is_stopping => Fenced::Stopped,
        Some(row) if row.reply == ReplyState::Running => Fenced::Elsewhere,
        _ => Fenced::Ended,
    };
    let Some(writer) = writing.take() else {
        return Ok(None);
    };
    match fenced {
        Fenced::Stopped => {
            let finished = writer.finish(Outcome::Stopped, None).await;
            follow_elsewhere(chat, session, finished?);
        }
        Fenced::Ended => writer.end_as_stored().await,
        Fenced::Elsewhere => hand_over(chat, row.unwrap_or_else(|| session.turn.clone()), writer),
    }
    inner.external.remove(session);
    Ok(Some(fenced))
}

/// Ends a reply with the program's outcome. Returns false if another node runs the reply.
///
/// # Errors
/// [`Error::ReplyStopped`], [`Error::ReplyBusy`], [`Error::Database`].
pub(super) async fn finish(
    chat: &Chat,
    session: &Arc<Session>,
    finish: &FinishReply,
) -> Result<bool> {
    if session.log.is_held() {
        return Err(Error::ReplyBusy);
    }
    let writing = session.writing().await?;
    match session.log.stopped().is_cancelled() {
        true => {
            end(chat, session, writing, Outcome::Stopped, None).await?;
            Err(Error::ReplyStopped)
        }
        false => end_with(chat, session, writing, finish).await,
    }
}

/// Like [`finish`], for a request that already holds the writer.
pub(super) async fn end_with(
    chat: &Chat,
    session: &Arc<Session>,
    mut writing: Writing<'_>,
    finish: &FinishReply,
) -> Result<bool> {
    if let Some(writer) = writing.as_mut() {
        if let Some(usage) = finish.usage {
            writer.set_usage(usage);
        }
        if let Some(model) = &finish.model {
            writer.set_model(model);
        }
    }
    end(chat, session, writing, finish.outcome(), None).await
}

/// Ends a reply. Returns false if this node no longer runs it.
///
/// # Errors
/// [`Error::Database`].
pub(super) async fn end(
    chat: &Chat,
    session: &Arc<Session>,
    mut writing: Writing<'_>,
    outcome: Outcome,
    reason: Option<&'static str>,
) -> Result<bool> {
    let Some(writer) = writing.take() else {
        return Ok(false);
    };
    let finished = writer.finish(outcome, reason).await;
    // Before the lock is released, so that a request that waits for it finds no session and reads the row.
    chat.inner.external.remove(session);
    let elsewhere = finished?;
    let is_here = elsewhere.is_none();
    follow_elsewhere(chat, session, elsewhere);
    Ok(is_here)
}

/// Releases a reply, so that another node can continue it.
pub(super) fn release(chat: &Chat, session: &Arc<Session>, mut writing: Writing<'_>) {
    chat.inner.external.remove(session);
    if let Some(writer) = writing.take() {
        hand_over(chat, session.turn.clone(), writer);
    }
}

fn hand_over(chat: &Chat, turn: Turn, writer: ReplyWriter) {
    follow(chat, turn, writer.release());
}

fn follow_elsewhere(chat: &Chat, session: &Session, run: Option<RunGuard>) {
    if let Some(run) = run {
        follow(chat, session.turn.clone(), run);
    }
}

/// Lets the readers of a run follow the node that continues it.
fn follow(chat: &Chat, turn: Turn, run: RunGuard) {
    let copy = chat.inner.events.hand_over_run(run);
    chat.inner
        .tasks
        .spawn(remote::fill(chat.clone(), turn, copy));
}

/// The error of a request whose reply this node must no longer write; `None` if another node runs it.
pub(super) fn refusal(fenced: Option<Fenced>) -> Option<Error> {
    match fenced {
        Some(Fenced::Stopped) => Some(Error::ReplyStopped),
        Some(Fenced::Ended) => Some(ended(None)),
        Some(Fenced::Elsewhere) | None => None,
    }
}
