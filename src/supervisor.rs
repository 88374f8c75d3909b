//! Supervises background loops.
//!
//! Each loop is a separate task, named in [`Loop`]. A loop that panics or returns is restarted after a delay that
//! doubles from 1 s to 1 min. A loop runs each iteration through its [`Heartbeat`], which aborts the iteration at its
//! deadline and records its start and its result. From these records, [`Supervisor::report`] derives which loops are
//! late, failing or stuck.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    error::{Error, Result},
    panics,
};

/// The delay before the first restart. It doubles with each further restart.
const MIN_RESTART_DELAY: Duration = Duration::from_secs(1);

/// The upper bound of the restart delay.
const MAX_RESTART_DELAY: Duration = Duration::from_secs(60);

/// A run longer than this resets the restart delay.
const RESTART_RESET_AFTER: Duration = Duration::from_secs(300);

/// The time past an iteration's deadline after which the loop counts as late.
const LATE_AFTER: Duration = Duration::from_secs(2);

/// The time past an iteration's deadline after which the loop counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// Consecutive restarts after which a loop counts as stuck. The delays before them add up to about two minutes.
const MAX_RESTARTS: u32 = 7;

/// Consecutive failed or timed-out iterations after which a loop counts as failing.
const MAX_FAILURES: u32 = 3;

/// The background loops of a node. Health pages, metrics and the log use these names in snake case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Loop {
    /// Takes over titles whose lease expired, and publishes committed changes that were not published.
    TitleSweep,
    /// Records which revisions were published.
    PublishedRevisions,
    /// Renews the leases of running replies and checkpoints their text.
    ReplyLeases,
    /// Closes replies whose lease expired.
    DeadReplies,
    /// Reads the database's clock.
    DatabaseClock,
    /// Probes the database's health.
    DatabaseProbe,
    /// Replaces a PostgreSQL connection pool that has lost connections.
    DatabaseConnections,
    /// Removes what is older than its tenant's retention limits.
    Retention,
    /// Erases deleted text from SQLite's file.
    Erasure,
    /// Reloads the published token keys; only with `--jwt-keys`.
    TokenKeys,
    /// Exchanges wake-ups with other nodes; only with NATS.
    Relay,
    /// Sends queued webhook events.
    Webhooks,
    /// Removes old entries of the audit log.
    Audit,
}

impl Loop {
    /// The name in snake case.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The maximum number of skipped rows that a loop remembers, so that each is logged once.
const MAX_LOGGED_ROWS: usize = 10_000;

/// The health of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopState {
    /// The loop is between iterations, or its current iteration is within its deadline.
    Good,
    /// The last iterations failed or timed out.
    Failing,
    /// An iteration is past its deadline, or the loop waits for its restart.
    Late,
    /// An iteration blocks, or the loop ends after every restart. Only a restart of the process helps.
    Stuck,
}

/// One loop, as health pages and metrics show it.
#[derive(Clone, Copy, Debug)]
pub struct LoopReport {
    /// The loop.
    pub kind: Loop,
    /// Its health.
    pub state: LoopState,
    /// The number of restarts.
    pub restarts: u64,
    /// The time since the last iteration ended, or since the loop was first started.
    pub since_heartbeat: Duration,
    /// The number of iterations that failed or timed out.
    pub failures: u64,
    /// How many times a row was skipped because it cannot be read or stored.
    pub bad_rows: u64,
}

/// Starts background loops, restarts them and reports their health. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Supervisor {
    /// Distinguishes the supervisors of one process in failpoint names.
    id: Uuid,
    loops: Arc<Mutex<Vec<Arc<Supervised>>>>,
    tasks: TaskTracker,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self {
            id: Uuid::new_v4(),
            loops: Arc::default(),
            tasks: TaskTracker::new(),
        }
    }
}

#[derive(Debug)]
struct Supervised {
    kind: Loop,
    #[cfg_attr(
        not(feature = "failpoints"),
        expect(dead_code, reason = "used only in failpoint names")
    )]
    supervisor: Uuid,
    is_over: AtomicBool,
    restarts: AtomicU64,
    failures: AtomicU64,
    bad_rows: AtomicU64,
    /// The skipped rows that were already logged.
    logged_rows: Mutex<HashSet<Uuid>>,
    status: Mutex<LoopStatus>,
}

#[derive(Debug)]
struct LoopStatus {
    /// The start and the time limit of the current iteration.
    iteration: Option<(Instant, Duration)>,
    /// When the last iteration ended, or the loop was first started.
    heartbeat: Instant,
    /// Restarts since the last run longer than [`RESTART_RESET_AFTER`].
    consecutive_restarts: u32,
    /// Failed iterations since the last successful one.
    consecutive_failures: u32,
    /// Whether the loop waits for its restart.
    is_down: bool,
}

/// Runs a loop's iterations and records their results. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Heartbeat(Arc<Supervised>);

impl Supervisor {
    /// Runs a loop until `end`. Calls `run` again if its future panics or returns earlier.
    pub fn spawn<F>(
        &self,
        kind: Loop,
        end: CancellationToken,
        run: impl Fn(Heartbeat) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let supervised = Arc::new(Supervised::new(kind, self.id));
        self.lock().push(supervised.clone());
        self.tasks.spawn(async move {
            supervise(&supervised, &end, run).await;
            supervised.is_over.store(true, Ordering::Relaxed);
        });
    }

    /// The health of each loop, except those that ended at shutdown.
    pub fn report(&self) -> Vec<LoopReport> {
        let now = Instant::now();
        let loops = self.lock();
        let running = loops
            .iter()
            .filter(|one| !one.is_over.load(Ordering::Relaxed));
        running.map(|one| one.report(now)).collect()
    }

    /// Distinguishes the supervisors of one process in failpoint names.
    ///
    /// With the feature `failpoints`, a test uses `loop.<name> <id>` to make a loop panic, block or fail at the start
    /// of an iteration, `loop.overdue.<name> <id>` (seconds) to make the iteration appear past its deadline, and
    /// `loop.pause <id>` (milliseconds) to shorten the pauses of all loops.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The tasks of the loops, which shutdown waits for.
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Supervised>>> {
        self.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn supervise<F>(
    supervised: &Arc<Supervised>,
    end: &CancellationToken,
    run: impl Fn(Heartbeat) -> F,
) where
    F: Future<Output = ()>,
{
    loop {
        let started = Instant::now();
        let ended = panics::catch(run(Heartbeat(supervised.clone()))).await;
        if end.is_cancelled() {
            return;
        }
        let delay = supervised.record_exit(started.elapsed());
        let why = match ended {
            Ok(()) => "returned",
            Err(_) => "panicked",
        };
        tracing::error!(
            loop.name = supervised.kind.name(),
            pause_ms = delay.as_millis() as u64,
            "a background loop {why}; restarting it after a delay"
        );
        tokio::select! {
            () = sleep(delay) => {}
            () = end.cancelled() => return,
        }
        supervised.restarts.fetch_add(1, Ordering::Relaxed);
        supervised.lock().is_down = false;
    }
}

impl Supervised {
    fn new(kind: Loop, supervisor: Uuid) -> Self {
        Self {
            kind,
            supervisor,
            is_over: AtomicBool::new(false),
            restarts: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            bad_rows: AtomicU64::new(0),
            logged_rows: Mutex::default(),
            status: Mutex::new(LoopStatus {
                iteration: None,
                heartbeat: Instant::now(),
                consecutive_restarts: 0,
                consecutive_failures: 0,
                is_down: false,
            }),
        }
    }

    /// Records that the loop ended. Returns the delay before its restart.
    fn record_exit(&self, ran: Duration) -> Duration {
        let mut status = self.lock();
        if ran > RESTART_RESET_AFTER {
            status.consecutive_restarts = 0;
        }
        let delay = MIN_RESTART_DELAY.saturating_mul(1 << status.consecutive_restarts.min(6));
        status.consecutive_restarts += 1;
        status.is_down = true;
        status.iteration = None;
        delay.min(MAX_RESTART_DELAY)
    }

    fn report(&self, at: Instant) -> LoopReport {
        let status = self.lock();
        let over = status
            .iteration
            .map(|(began, within)| at.duration_since(began).saturating_sub(within) + self.overdue())
            .unwrap_or_default();
        let state = if over > STUCK_AFTER || status.consecutive_restarts >= MAX_RESTARTS {
            LoopState::Stuck
        } else if over > LATE_AFTER || status.is_down {
            LoopState::Late
        } else if status.consecutive_failures >= MAX_FAILURES {
            LoopState::Failing
        } else {
            LoopState::Good
        };
        LoopReport {
            kind: self.kind,
            state,
            restarts: self.restarts.load(Ordering::Relaxed),
            since_heartbeat: at.duration_since(status.heartbeat),
            failures: self.failures.load(Ordering::Relaxed),
            bad_rows: self.bad_rows.load(Ordering::Relaxed),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LoopStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heartbeat {
    /// Runs one iteration and aborts it at its deadline.
    ///
    /// # Errors
    /// The iteration's own error; [`Error::TimedOut`] if the deadline passed first. The effects of a timed-out
    /// iteration are not undone.
    pub async fn iteration<T>(
        &self,
        within: Duration,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.0.lock().iteration = Some((Instant::now(), within));
        // Also ends the iteration if this future is dropped, as at shutdown.
        let guard = IterationGuard(&self.0);
        let done = match self.0.fault() {
            Ok(()) => timeout(within, work).await,
            Err(error) => Ok(Err(error)),
        };
        drop(guard);
        let done = done.unwrap_or_else(|_| {
            tracing::warn!(
                loop.name = self.0.kind.name(),
                within_ms = within.as_millis() as u64,
                "an iteration of a background loop timed out and was aborted"
            );
            Err(Error::TimedOut { what: "iteration" })
        });
        let mut status = self.0.lock();
        if done.is_ok() {
            status.consecutive_failures = 0;
        } else {
            status.consecutive_failures += 1;
            self.0.failures.fetch_add(1, Ordering::Relaxed);
        }
        drop(status);
        done
    }

    /// Counts a skipped row that cannot be read or stored, and logs it once. `row` is the id of the conversation or
    /// message.
    pub fn skip_row(&self, row: Uuid, error: &Error) {
        self.0.bad_rows.fetch_add(1, Ordering::Relaxed);
        let logged = self.0.logged_rows.lock();
        let mut logged = logged.unwrap_or_else(PoisonError::into_inner);
        if logged.len() == MAX_LOGGED_ROWS {
            logged.clear();
        }
        if !logged.insert(row) {
            return;
        }
        drop(logged);
        let cause = std::error::Error::source(error);
        tracing::error!(
            loop.name = self.0.kind.name(),
            row = %row,
            error.cause = cause,
            "a row cannot be read or stored; the loop skips it"
        );
    }

    /// Waits between two iterations.
    pub async fn pause(&self, time: Duration) {
        self.0.pause(time).await;
    }
}

#[cfg(not(feature = "failpoints"))]
#[expect(clippy::unused_self, reason = "only the failpoints variant uses it")]
impl Supervised {
    fn fault(&self) -> Result<()> {
        Ok(())
    }

    async fn pause(&self, time: Duration) {
        sleep(time).await;
    }

    fn overdue(&self) -> Duration {
        Duration::ZERO
    }
}

/// See [`Supervisor::id`].
#[cfg(feature = "failpoints")]
impl Supervised {
    fn fault(&self) -> Result<()> {
        let name = format!("loop.{} {}", self.kind.name(), self.supervisor);
        let fault = || {
            fail::fail_point!(&name, |_| Err(Error::Internal("a failpoint".into())));
            Ok(())
        };
        #[expect(clippy::disallowed_methods, reason = "only tests block here")]
        match tokio::runtime::Handle::current().runtime_flavor() {
            tokio::runtime::RuntimeFlavor::MultiThread => tokio::task::block_in_place(fault),
            _ => fault(),
        }
    }

    /// Polls the failpoint, because a test may shorten a pause that has already begun.
    async fn pause(&self, time: Duration) {
        const POLL_INTERVAL: Duration = Duration::from_millis(100);
        let began = Instant::now();
        loop {
            let shorter = self.number("loop.pause").map(Duration::from_millis);
            let time = shorter.map_or(time, |shorter| time.min(shorter));
            match time.checked_sub(began.elapsed()) {
                Some(left) if !left.is_zero() => sleep(left.min(POLL_INTERVAL)).await,
                _ => return,
            }
        }
    }

    fn overdue(&self) -> Duration {
        let name = format!("loop.overdue.{}", self.kind.name());
        Duration::from_secs(self.number(&name).unwrap_or_default())
    }

    fn number(&self, name: &str) -> Option<u64> {
        let name = format!("{name} {}", self.supervisor);
        fail::fail_point!(&name, |number| number?.parse().ok());
        None
    }
}

/// Records the end of an iteration, even if it is dropped or panics.
struct IterationGuard<'a>(&'a Supervised);

impl Drop for IterationGuard<'_> {
    fn drop(&mut self) {
        let mut status = self.0.lock();
        status.iteration = None;
        status.heartbeat = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn only(supervisor: &Supervisor) -> LoopReport {
        let mut report = supervisor.report();
        assert_eq!(report.len(), 1);
        report.remove(0)
    }

    #[tokio::test]
    async fn a_loop_that_panics_is_started_again_and_ends_with_the_process() {
        let (supervisor, end) = (Supervisor::default(), CancellationToken::new());
        let (starts, mut started) = tokio::sync::mpsc::unbounded_channel();
        supervisor.spawn(Loop::Relay, end.clone(), {
            let (number, end) = (AtomicUsize::new(0), end.clone());
            move |_| {
                let number = number.fetch_add(1, Ordering::Relaxed);
                let (starts, end) = (starts.clone(), end.clone());
                async move {
                    starts.send(number).unwrap();
                    assert!(number > 0, "the first run panics");
                    end.cancelled().await;
                }
            }
        });
        assert_eq!(started.recv().await, Some(0));
        assert_eq!(started.recv().await, Some(1));
        let report = only(&supervisor);
        assert_eq!((report.state, report.restarts), (LoopState::Good, 1));
        end.cancel();
        supervisor.tasks().close();
        supervisor.tasks().wait().await;
        assert!(supervisor.report().is_empty());
    }

    #[test]
    fn a_loop_that_fails_at_every_start_is_late_and_then_stuck_after_growing_delays() {
        let supervised = Supervised::new(Loop::Relay, Uuid::nil());
        let state = || supervised.report(Instant::now()).state;
        let mut delays = Vec::new();
        for restart in 1..=MAX_RESTARTS {
            delays.push(supervised.record_exit(Duration::ZERO).as_secs());
            let expected = match restart == MAX_RESTARTS {
                true => LoopState::Stuck,
                false => LoopState::Late,
            };
            assert_eq!(state(), expected);
        }
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60]);
        assert_eq!(supervised.record_exit(RESTART_RESET_AFTER * 2).as_secs(), 1);
    }

    #[tokio::test]
    async fn an_iteration_is_aborted_at_its_deadline_and_consecutive_failures_are_reported() {
        let heartbeat = Heartbeat(Arc::new(Supervised::new(Loop::Relay, Uuid::nil())));
        let state = || heartbeat.0.report(Instant::now()).state;
        let late = async || {
            let never = std::future::pending::<Result<()>>();
            let ended = heartbeat.iteration(Duration::from_millis(1), never).await;
            assert!(matches!(ended, Err(Error::TimedOut { .. })), "{ended:?}");
        };
        let soon = Duration::from_secs(1);
        let failed = async || {
            let failing = async { Err::<(), _>(Error::Lagged) };
            assert!(heartbeat.iteration(soon, failing).await.is_err());
        };
        late().await;
        failed().await;
        assert_eq!(state(), LoopState::Good);
        late().await;
        assert_eq!(state(), LoopState::Failing);
        failed().await;
        assert_eq!(state(), LoopState::Failing);
        heartbeat.iteration(soon, async { Ok(()) }).await.unwrap();
        let report = heartbeat.0.report(Instant::now());
        assert_eq!((report.state, report.failures), (LoopState::Good, 4));
    }

    #[test]
    fn skipped_rows_are_counted_each_time_and_remembered_within_bounds() {
        let heartbeat = Heartbeat(Arc::new(Supervised::new(Loop::Relay, Uuid::nil())));
        let error = Error::Database("out of range".into());
        let row = Uuid::now_v7();
        heartbeat.skip_row(row, &error);
        heartbeat.skip_row(row, &error);
        let remembered = || heartbeat.0.logged_rows.lock().unwrap().len();
        assert_eq!(remembered(), 1);
        assert_eq!(heartbeat.0.report(Instant::now()).bad_rows, 2);
        for _ in 0..MAX_LOGGED_ROWS {
            heartbeat.skip_row(Uuid::now_v7(), &error);
        }
        assert!(remembered() <= MAX_LOGGED_ROWS, "{}", remembered());
    }

    #[test]
    fn an_iteration_that_blocks_is_late_and_then_stuck() {
        let heartbeat = Heartbeat(Arc::new(Supervised::new(Loop::Relay, Uuid::nil())));
        let began = Instant::now();
        heartbeat.0.lock().iteration = Some((began, Duration::from_secs(5)));
        let state = |seconds| {
            heartbeat
                .0
                .report(began + Duration::from_secs(seconds))
                .state
        };
        assert_eq!(state(6), LoopState::Good);
        assert_eq!(state(8), LoopState::Late);
        assert_eq!(state(66), LoopState::Stuck);
        drop(IterationGuard(&heartbeat.0));
        assert_eq!(state(66), LoopState::Good);
    }
}
