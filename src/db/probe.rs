//! Whether the database does its work, asked in the background and known to all: `/readyz` and metrics read the same
//! state.
//!
//! Three questions: is SQLite's file still there, is there an answer (a ping), and is a write taken. Concurrent callers
//! share one round of each, which goes on when they stop waiting. A caller waits for less than a second; what is not
//! known by then is read from the round before, and from how long the present one has been waiting.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use sea_orm::{
    DbBackend, DbErr, RuntimeErr,
    sqlx::{self, Executor},
};
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Database, file::DatabaseFile};
use crate::{error::Error, supervisor::Heartbeat};

/// How long a result of the write probe is used before a write is tried again.
const WRITE_TTL: Duration = Duration::from_secs(5);

/// How long a write may take before the database counts as one that refuses writes: longer than one waits for a lock.
const WRITE_TIMEOUT: Duration = Duration::from_secs(8);

/// How long a second try may take, after one whose connection may have been frozen.
const RETRY_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a ping goes on when no caller waits for it any more. The next one may get a connection that is not frozen.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// How often the state is asked in the background.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// How long a caller waits for the file and the ping, side by side, and then for the write: together less than a
/// second.
const WAIT_FOR_PING: Duration = Duration::from_millis(700);
const WAIT_FOR_WRITE: Duration = Duration::from_millis(150);

/// How the database stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum DatabaseState {
    /// It answers and takes writes.
    Ok,
    /// It does not answer.
    Unavailable,
    /// It answers and takes no writes: a full disk, a read-only file system, a standby, a writer that does not end.
    RefusesWrites,
    /// SQLite's file, or its log, was removed or replaced since it was opened.
    FileReplaced,
}

type Round = Shared<BoxFuture<'static, bool>>;

/// The probes of one database.
#[derive(Debug, Default)]
pub(super) struct Probe {
    file: Option<Arc<DatabaseFile>>,
    ping: Question,
    write: Question,
    last: Mutex<Option<(DatabaseState, Instant)>>,
    tasks: TaskTracker,
}

/// Cheap to clone.
#[derive(Clone, Default)]
struct Question(Arc<Mutex<Asked>>);

#[derive(Default)]
struct Asked {
    /// The present round, and when it began.
    round: Option<(Instant, Round)>,
    /// When the last round ended, and how.
    last: Option<(Instant, bool)>,
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Question").finish_non_exhaustive()
    }
}

impl Probe {
    pub(super) fn of(file: Option<Arc<DatabaseFile>>) -> Self {
        Self {
            file,
            ..Self::default()
        }
    }
}

impl Question {
    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The round that is under way, or one that begins now.
    fn round(
        &self,
        tasks: &TaskTracker,
        ask: impl Future<Output = bool> + Send + 'static,
    ) -> Round {
        let mut asked = self.lock();
        if let Some((_, round)) = &asked.round {
            return round.clone();
        }
        let end = EndOfRound {
            question: self.clone(),
            answer: false,
        };
        let asking = tasks.spawn(end.after(ask));
        let round = asking
            .map(|answer| answer.unwrap_or(false))
            .boxed()
            .shared();
        asked.round = Some((Instant::now(), round.clone()));
        round
    }
}

/// Ends a round however it ends: one that panics has the answer no, and another one can begin.
struct EndOfRound {
    question: Question,
    answer: bool,
}

impl EndOfRound {
    async fn after(mut self, ask: impl Future<Output = bool>) -> bool {
        self.answer = ask.await;
        self.answer
    }
}

impl Drop for EndOfRound {
    fn drop(&mut self) {
        let mut asked = self.question.lock();
        asked.round = None;
        asked.last = Some((Instant::now(), self.answer));
    }
}

impl Database {
    /// Asks how the database stands; answers within a second.
    pub async fn state(&self) -> DatabaseState {
        let state = self.ask().await;
        let mut last = self.last_state();
        let before = last.map(|(state, _)| state);
        *last = Some((state, Instant::now()));
        drop(last);
        if before.is_some_and(|before| before != state) {
            let name: &str = state.into();
            match state {
                DatabaseState::Ok => tracing::info!("the database answers and takes writes again"),
                DatabaseState::Unavailable | DatabaseState::RefusesWrites => {
                    tracing::warn!(
                        database.state = name,
                        "the database is not available; not ready"
                    );
                }
                // Logged in full when it was found.
                DatabaseState::FileReplaced => {}
            }
        }
        state
    }

    /// How it stood when that was asked last, by a probe or by the loop that asks now and then; `None`: not yet.
    pub fn known_state(&self) -> Option<(DatabaseState, Instant)> {
        *self.last_state()
    }

    fn last_state(&self) -> MutexGuard<'_, Option<(DatabaseState, Instant)>> {
        self.probe
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks every few seconds until `closing`, so that metrics and logs are true when nothing else asks.
    pub async fn keep_asking(&self, heartbeat: &Heartbeat, closing: &CancellationToken) {
        loop {
            tokio::select! {
                () = heartbeat.pause(ASK_EVERY) => {}
                () = closing.cancelled() => return,
            }
            // It has deadlines of its own.
            let asking = async { Ok(self.state().await) };
            let _ = heartbeat.iteration(WRITE_TIMEOUT, asking).await;
        }
    }

    async fn ask(&self) -> DatabaseState {
        let Probe { ping, tasks, .. } = &*self.probe;
        let db = self.clone();
        let ping = ping.round(tasks, async move { db.answers().await });
        // A file system that hangs shows in the write.
        let (is_gone, answers) = tokio::join!(self.look_at_file(), timeout(WAIT_FOR_PING, ping));
        if is_gone {
            return DatabaseState::FileReplaced;
        }
        match answers.unwrap_or(false) {
            false => DatabaseState::Unavailable,
            true if self.takes_writes().await => DatabaseState::Ok,
            true => DatabaseState::RefusesWrites,
        }
    }

    async fn answers(&self) -> bool {
        match timeout(PING_TIMEOUT, self.reader.inner.current().ping()).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::debug!(%error, "the database does not answer");
                false
            }
            Err(_) => false,
        }
    }

    /// Whether SQLite's file is gone.
    async fn look_at_file(&self) -> bool {
        match &self.probe.file {
            Some(file) => DatabaseFile::look(file).await,
            None => false,
        }
    }

    /// Whether a write is taken. Only a write shows that, so one is tried whose commit goes to the disk and changes
    /// nothing, at most once in 5 seconds however often that is asked.
    pub async fn takes_writes(&self) -> bool {
        let last = self.probe.write.lock().last;
        if let Some((at, is_taken)) = last
            && at.elapsed() < WRITE_TTL
        {
            return is_taken;
        }
        let db = self.clone();
        let round = self.probe.write.round(&self.probe.tasks, async move {
            let tried = match timeout(WRITE_TIMEOUT, db.try_write()).await {
                Ok(tried) => tried,
                // Its connection may be frozen, and another one good.
                Err(_) => timeout(RETRY_TIMEOUT, db.try_write())
                    .await
                    .unwrap_or(Err(sqlx::Error::PoolTimedOut)),
            };
            let is_taken = tried.is_ok();
            if let Err(error) = tried {
                let error = DbErr::Exec(RuntimeErr::SqlxError(error.into()));
                db.writer.judge(&error);
                Error::from(error).log();
            }
            is_taken
        });
        if let Ok(is_taken) = timeout(WAIT_FOR_WRITE, round).await {
            return is_taken;
        }
        // It is still being tried: slow is not refused, until it is too slow.
        let asked = self.probe.write.lock();
        let is_slow = asked
            .round
            .as_ref()
            .is_some_and(|(began, _)| began.elapsed() > WRITE_TIMEOUT);
        !is_slow && asked.last.is_none_or(|(_, was_taken)| was_taken)
    }

    /// By way of the pool itself: probes are not counted with the statements.
    async fn try_write(&self) -> Result<(), sqlx::Error> {
        let writer = self.writer.inner.current();
        match writer.get_database_backend() {
            // A number in the file's header that is for applications, and that we do not use.
            DbBackend::Sqlite => {
                let pool = writer.get_sqlite_connection_pool();
                pool.execute("PRAGMA user_version = 0").await?;
            }
            // The update of no row is refused where nothing may be written; the message is a record in the
            // write-ahead log that only those read who ask for it by name.
            _ => {
                let pool = writer.get_postgres_connection_pool();
                pool.execute(
                    "WITH nothing AS (UPDATE agent_turns SET stop_asked = stop_asked WHERE FALSE) \
                     SELECT pg_logical_emit_message(true, 'titlecast', '')",
                )
                .await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_round_is_shared_and_after_one_that_panicked_there_is_another() {
        let (question, tasks) = (Question::default(), TaskTracker::new());
        let (answer, answered) = tokio::sync::oneshot::channel::<bool>();
        let first = question.round(&tasks, async { answered.await.unwrap() });
        let same = question.round(&tasks, async { panic!("it is not asked") });
        answer.send(true).unwrap();
        assert!(first.await && same.await);
        assert!(!question.round(&tasks, async { panic!("a bug") }).await);
        let last = question.lock().last.map(|(_, answer)| answer);
        assert_eq!(last, Some(false));
        assert!(question.round(&tasks, async { true }).await);
    }
}
