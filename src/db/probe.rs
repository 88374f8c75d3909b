//! Health probes of the database, run in the background. `/readyz` and metrics read the same state.
//!
//! Three probes: SQLite's file is unchanged, a ping is answered, and a write succeeds. Concurrent callers share one
//! round of each probe, which continues if a caller stops waiting. A caller waits less than a second. If a round is not
//! finished by then, the state is derived from the previous round and from the duration of the current one.

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

/// The time for which a result of the write probe is reused.
const WRITE_TTL: Duration = Duration::from_secs(5);

/// The time after which a write probe counts as failed: longer than the wait for a lock.
const WRITE_TIMEOUT: Duration = Duration::from_secs(8);

/// The timeout of the retry after a timed-out write, whose connection may be frozen.
const RETRY_TIMEOUT: Duration = Duration::from_secs(1);

/// The timeout of a ping; callers stop waiting earlier. The next ping may get a connection that is not frozen.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// The interval of the background probes.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// How long a caller waits for the file and the ping in parallel, and then for the write: together less than a second.
const WAIT_FOR_PING: Duration = Duration::from_millis(700);
const WAIT_FOR_WRITE: Duration = Duration::from_millis(150);

/// The privileges that the role lacks on the tables; NULL if it has all.
const MISSING_RIGHTS: &str = "
    SELECT string_agg(p || ' ON ' || t, ', ')
    FROM unnest(ARRAY['agent_conversations', 'agent_messages', 'agent_turns', 'agent_search',
                      'agent_search_texts']) AS t,
         unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p
    WHERE NOT has_table_privilege(t, p)";

/// The health of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum DatabaseState {
    /// The database answers and accepts writes.
    Ok,
    /// The database does not answer.
    Unavailable,
    /// The database answers and rejects writes: a full disk, a read-only file system, a standby, or a blocked writer.
    RefusesWrites,
    /// SQLite's file or its write-ahead log was removed or replaced since it was opened.
    FileReplaced,
}

type Round = Shared<BoxFuture<'static, bool>>;

/// The probes of one database.
#[derive(Debug, Default)]
pub(super) struct Probe {
    file: Option<Arc<DatabaseFile>>,
    ping: SharedProbe,
    write: SharedProbe,
    last: Mutex<Option<DatabaseState>>,
    tasks: TaskTracker,
}

/// A probe whose concurrent callers share one round. Cheap to clone.
#[derive(Clone, Default)]
struct SharedProbe(Arc<Mutex<Rounds>>);

#[derive(Default)]
struct Rounds {
    /// The start of the current round, and the round.
    current: Option<(Instant, Round)>,
    /// The end of the last round, and its result.
    last: Option<(Instant, bool)>,
}

impl std::fmt::Debug for SharedProbe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedProbe").finish_non_exhaustive()
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

impl SharedProbe {
    fn lock(&self) -> MutexGuard<'_, Rounds> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current round, or a new one.
    fn round(
        &self,
        tasks: &TaskTracker,
        check: impl Future<Output = bool> + Send + 'static,
    ) -> Round {
        let mut rounds = self.lock();
        if let Some((_, round)) = &rounds.current {
            return round.clone();
        }
        let guard = RoundGuard {
            probe: self.clone(),
            result: false,
        };
        let checking = tasks.spawn(guard.run(check));
        let round = checking
            .map(|result| result.unwrap_or(false))
            .boxed()
            .shared();
        rounds.current = Some((Instant::now(), round.clone()));
        round
    }
}

/// Records the end of a round, even if it panics. The result of a panic is false.
struct RoundGuard {
    probe: SharedProbe,
    result: bool,
}

impl RoundGuard {
    async fn run(mut self, check: impl Future<Output = bool>) -> bool {
        self.result = check.await;
        self.result
    }
}

impl Drop for RoundGuard {
    fn drop(&mut self) {
        let mut rounds = self.probe.lock();
        rounds.current = None;
        rounds.last = Some((Instant::now(), self.result));
    }
}

impl Database {
    /// Probes the health of the database; returns within a second.
    pub async fn state(&self) -> DatabaseState {
        let state = self.run_probes().await;
        let last = &self.probe.last;
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.replace(state);
        drop(last);
        if before == Some(DatabaseState::RefusesWrites) && state == DatabaseState::Ok {
            // Sessions that began on a read-only server stay read-only.
            self.writer.replace_connections();
        }
        if before.is_some_and(|before| before != state) {
            let name: &str = state.into();
            match state {
                DatabaseState::Ok => {
                    tracing::info!("the database answers and accepts writes again")
                }
                DatabaseState::Unavailable | DatabaseState::RefusesWrites => {
                    tracing::warn!(
                        database.state = name,
                        "the database does not answer or refuses writes; /readyz answers 503"
                    );
                }
                // `DatabaseFile` logs it with more detail.
                DatabaseState::FileReplaced => {}
            }
        }
        state
    }

    /// Runs the probes periodically until `closing`, so that metrics and logs are current without requests to
    /// `/readyz`.
    pub async fn keep_asking(&self, heartbeat: &Heartbeat, closing: &CancellationToken) {
        loop {
            tokio::select! {
                () = heartbeat.pause(PROBE_INTERVAL) => {}
                () = closing.cancelled() => return,
            }
            // The probes have their own deadlines and log their failures.
            let probes = async { Ok(self.state().await) };
            let _ = heartbeat.iteration(WRITE_TIMEOUT, probes).await;
        }
    }

    async fn run_probes(&self) -> DatabaseState {
        let Probe { ping, tasks, .. } = &*self.probe;
        let db = self.clone();
        let ping = ping.round(tasks, async move { db.answers().await });
        // The write probe detects a file system that hangs.
        let (is_gone, answers) = tokio::join!(self.is_file_gone(), timeout(WAIT_FOR_PING, ping));
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
                tracing::debug!(%error, "database probe failed");
                false
            }
            Err(_) => false,
        }
    }

    /// Whether SQLite's file was removed or replaced.
    async fn is_file_gone(&self) -> bool {
        match &self.probe.file {
            Some(file) => DatabaseFile::check_is_gone(file).await,
            None => false,
        }
    }

    /// Whether the database accepts writes.
    ///
    /// Tests it with a write that changes nothing and whose commit goes to the disk, at most once every 5 seconds.
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
                // The connection may be frozen; retry on another one.
                Err(_) => timeout(RETRY_TIMEOUT, db.try_write())
                    .await
                    .unwrap_or(Err(sqlx::Error::PoolTimedOut)),
            };
            let is_taken = tried.is_ok();
            if let Err(error) = tried {
                let error = DbErr::Exec(RuntimeErr::SqlxError(error.into()));
                db.writer.mark_stale_after(&error);
                Error::from(error).log();
            }
            is_taken
        });
        if let Ok(is_taken) = timeout(WAIT_FOR_WRITE, round).await {
            return is_taken;
        }
        // The round is still running. A slow write counts as accepted until its timeout.
        let rounds = self.probe.write.lock();
        let is_slow = rounds
            .current
            .as_ref()
            .is_some_and(|(began, _)| began.elapsed() > WRITE_TIMEOUT);
        !is_slow && rounds.last.is_none_or(|(_, was_taken)| was_taken)
    }

    /// Also fails if the role lacks a privilege on a table, which no-op statements on other tables would not show.
    ///
    /// Uses the sqlx pool directly, so that probes do not count as statements.
    async fn try_write(&self) -> Result<(), sqlx::Error> {
        let writer = self.writer.inner.current();
        match writer.get_database_backend() {
            // Writes an application-defined number in the file's header, which this application does not use.
            DbBackend::Sqlite => {
                let pool = writer.get_sqlite_connection_pool();
                pool.execute("PRAGMA user_version = 0").await?;
            }
            // A read-only server rejects the update even though it matches no row. The logical message forces a record
            // into the write-ahead log; logical decoding plugins skip it unless configured for its prefix.
            _ => {
                let pool = writer.get_postgres_connection_pool();
                pool.execute(
                    "WITH nothing AS (UPDATE agent_turns SET stop_asked = stop_asked WHERE FALSE) \
                     SELECT pg_logical_emit_message(true, 'titlecast', '')",
                )
                .await?;
                let missing: Option<String> =
                    sqlx::query_scalar(MISSING_RIGHTS).fetch_one(pool).await?;
                if let Some(missing) = missing {
                    let text = format!(
                        "the role lacks rights: {missing}; see GRANT in docs/operations.md"
                    );
                    return Err(sqlx::Error::Configuration(text.into()));
                }
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
        let (probe, tasks) = (SharedProbe::default(), TaskTracker::new());
        let (sender, receiver) = tokio::sync::oneshot::channel::<bool>();
        let first = probe.round(&tasks, async { receiver.await.unwrap() });
        let same = probe.round(&tasks, async { panic!("shared rounds do not run this") });
        sender.send(true).unwrap();
        assert!(first.await && same.await);
        assert!(!probe.round(&tasks, async { panic!("a bug") }).await);
        let last = probe.lock().last.map(|(_, result)| result);
        assert_eq!(last, Some(false));
        assert!(probe.round(&tasks, async { true }).await);
    }
}
