//! Supervises background loops.
//!
//! Each loop is a task of its own, named in [`Loop`]. A loop that panics or returns is started again after a pause that
//! doubles from 1 s to 1 min. A loop runs each iteration through its [`Heartbeat`], which ends the iteration at its
//! deadline and records when it began and how it ended; [`Supervisor::report`] derives from that which loops are late,
//! failing or stuck.

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

/// The pause before the first restart; it doubles with each one that follows.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause before a restart.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A loop that ran for this long counts as well again: the next pause is the first one.
const STEADY: Duration = Duration::from_secs(300);

/// How long after its deadline an iteration may still be running before the loop counts as late.
const LATE: Duration = Duration::from_secs(2);

/// How long after its deadline an iteration may still be running before the loop counts as stuck.
const STUCK: Duration = Duration::from_secs(60);

/// How many restarts in a row make a loop stuck: the pauses before them add up to about two minutes.
const MOST_RESTARTS: u32 = 7;

/// How many iterations in a row may fail, or be ended at their deadline, before the loop counts as failing.
const MOST_FAILURES: u32 = 3;

/// All background loops of a node. Health pages, metrics and the log call them by these names in snake case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Loop {
    /// Makes titles that a crash left behind, and publishes changes that were committed and not published.
    TitleSweep,
    /// Records which revisions were published.
    PublishedRevisions,
    /// Renews the leases of running replies and checkpoints their text.
    ReplyLeases,
    /// Closes replies whose lease expired.
    DeadReplies,
    /// Reads the database's clock.
    DatabaseClock,
    /// Asks how the database stands.
    DatabaseProbe,
    /// Replaces a pool of connections to PostgreSQL that has lost some.
    DatabaseConnections,
    /// Erases deleted text from SQLite's file.
    Erasure,
    /// Reads published keys of tokens anew; only with `--jwt-keys`.
    TokenKeys,
    /// Exchanges wake-ups with other nodes; only with NATS.
    Relay,
}

impl Loop {
    /// Its name.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// How many rows that were stepped over a loop remembers, so that each is logged once.
const MOST_REMEMBERED: usize = 10_000;

/// How a loop stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopState {
    /// It waits for its next iteration, or the present one is within its deadline.
    Good,
    /// Its last iterations failed or were ended at their deadline.
    Failing,
    /// An iteration is past its deadline, or the loop waits to be started again.
    Late,
    /// An iteration blocks, or the loop fails each time that it is started: only a restart of the process helps.
    Stuck,
}

/// One loop, as health pages and metrics show it.
#[derive(Clone, Copy, Debug)]
pub struct LoopReport {
    /// Which.
    pub of: Loop,
    /// How it stands.
    pub state: LoopState,
    /// How often it was started again.
    pub restarts: u64,
    /// How long ago the last iteration ended, or the loop began.
    pub since_heartbeat: Duration,
    /// Iterations that failed or were ended at their deadline.
    pub failures: u64,
    /// How often a row was stepped over because it cannot be read or stored.
    pub bad_rows: u64,
}

/// Starts loops and knows how they stand. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Supervisor {
    /// Tells the supervisors of one process apart, for failpoints.
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
    of: Loop,
    #[cfg_attr(
        not(feature = "failpoints"),
        expect(dead_code, reason = "only failpoints name it")
    )]
    supervisor: Uuid,
    is_over: AtomicBool,
    restarts: AtomicU64,
    failures: AtomicU64,
    bad_rows: AtomicU64,
    /// The rows among them that were logged.
    logged_rows: Mutex<HashSet<Uuid>>,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    /// When the present iteration began, and how long it may take.
    working: Option<(Instant, Duration)>,
    /// When the last one ended, or the loop was first started.
    heartbeat: Instant,
    /// Restarts without a steady run in between.
    restarts_in_a_row: u32,
    /// Iterations that failed since the last one that did not.
    failures_in_a_row: u32,
    /// Whether the loop waits to be started again.
    is_down: bool,
}

/// What a loop reports its iterations to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Heartbeat(Arc<Supervised>);

impl Supervisor {
    /// Runs a loop until `end`: calls `run` again whenever its future panics or returns before that.
    pub fn spawn<F>(
        &self,
        of: Loop,
        end: CancellationToken,
        run: impl Fn(Heartbeat) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let supervised = Arc::new(Supervised::new(of, self.id));
        self.lock().push(supervised.clone());
        self.tasks.spawn(async move {
            supervise(&supervised, &end, run).await;
            supervised.is_over.store(true, Ordering::Relaxed);
        });
    }

    /// How each loop stands that has not ended by itself at the end of the process.
    pub fn report(&self) -> Vec<LoopReport> {
        let now = Instant::now();
        let loops = self.lock();
        let running = loops
            .iter()
            .filter(|one| !one.is_over.load(Ordering::Relaxed));
        running.map(|one| one.report(now)).collect()
    }

    /// Tells the supervisors of one process apart. With the feature `failpoints` tests let a loop panic, block or fail at
    /// the beginning of an iteration by `loop.<name> <id>`, let that look as if it were past its deadline by
    /// `loop.overdue.<name> <id>` (seconds), and shorten the pauses of all by `loop.pause <id>` (milliseconds).
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The tasks of the loops, for the end of the process to wait for.
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
        let ended = panics::caught(run(Heartbeat(supervised.clone()))).await;
        if end.is_cancelled() {
            return;
        }
        let pause = supervised.went_down(started.elapsed());
        let why = match ended {
            Ok(()) => "it returned",
            Err(_) => "it panicked",
        };
        tracing::error!(
            loop.name = supervised.of.name(),
            pause_ms = pause.as_millis() as u64,
            "a background loop ended because {why}; starting it again after a pause"
        );
        tokio::select! {
            () = sleep(pause) => {}
            () = end.cancelled() => return,
        }
        supervised.restarts.fetch_add(1, Ordering::Relaxed);
        supervised.lock().is_down = false;
    }
}

impl Supervised {
    fn new(of: Loop, supervisor: Uuid) -> Self {
        Self {
            of,
            supervisor,
            is_over: AtomicBool::new(false),
            restarts: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            bad_rows: AtomicU64::new(0),
            logged_rows: Mutex::default(),
            now: Mutex::new(Now {
                working: None,
                heartbeat: Instant::now(),
                restarts_in_a_row: 0,
                failures_in_a_row: 0,
                is_down: false,
            }),
        }
    }

    /// Records that the loop ended. Returns the pause before its restart.
    fn went_down(&self, ran: Duration) -> Duration {
        let mut now = self.lock();
        if ran > STEADY {
            now.restarts_in_a_row = 0;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << now.restarts_in_a_row.min(6));
        now.restarts_in_a_row += 1;
        now.is_down = true;
        now.working = None;
        pause.min(LONGEST_PAUSE)
    }

    fn report(&self, at: Instant) -> LoopReport {
        let now = self.lock();
        let over = now
            .working
            .map(|(began, within)| at.duration_since(began).saturating_sub(within) + self.overdue())
            .unwrap_or_default();
        let state = if over > STUCK || now.restarts_in_a_row >= MOST_RESTARTS {
            LoopState::Stuck
        } else if over > LATE || now.is_down {
            LoopState::Late
        } else if now.failures_in_a_row >= MOST_FAILURES {
            LoopState::Failing
        } else {
            LoopState::Good
        };
        LoopReport {
            of: self.of,
            state,
            restarts: self.restarts.load(Ordering::Relaxed),
            since_heartbeat: at.duration_since(now.heartbeat),
            failures: self.failures.load(Ordering::Relaxed),
            bad_rows: self.bad_rows.load(Ordering::Relaxed),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heartbeat {
    /// Runs one iteration, and ends it at its deadline.
    ///
    /// # Errors
    /// What the iteration failed with; [`Error::TimedOut`] when the deadline came first: what the iteration did until
    /// then stays done.
    pub async fn iteration<T>(
        &self,
        within: Duration,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.0.lock().working = Some((Instant::now(), within));
        // Dropped in the middle, at the end of the process, the loop counts as idle.
        let idle = Idle(&self.0);
        let done = match self.0.fault() {
            Ok(()) => timeout(within, work).await,
            Err(error) => Ok(Err(error)),
        };
        drop(idle);
        let done = done.unwrap_or_else(|_| {
            tracing::warn!(
                loop.name = self.0.of.name(),
                within_ms = within.as_millis() as u64,
                "an iteration of a background loop was ended at its deadline"
            );
            Err(Error::TimedOut { what: "iteration" })
        });
        let mut now = self.0.lock();
        if done.is_ok() {
            now.failures_in_a_row = 0;
        } else {
            now.failures_in_a_row += 1;
            self.0.failures.fetch_add(1, Ordering::Relaxed);
        }
        drop(now);
        done
    }

    /// Counts a row that cannot be read or stored, which the loop leaves as it is, and logs it the first time. `row` is the
    /// id of its conversation or message.
    pub fn step_over(&self, row: Uuid, error: &Error) {
        self.0.bad_rows.fetch_add(1, Ordering::Relaxed);
        let logged = self.0.logged_rows.lock();
        let mut logged = logged.unwrap_or_else(PoisonError::into_inner);
        if logged.len() == MOST_REMEMBERED {
            logged.clear();
        }
        if !logged.insert(row) {
            return;
        }
        drop(logged);
        let cause = std::error::Error::source(error);
        tracing::error!(
            loop.name = self.0.of.name(),
            row = %row,
            error.cause = cause,
            "a row cannot be read or stored: the loop steps over it"
        );
    }

    /// Waits between two iterations.
    pub async fn pause(&self, time: Duration) {
        self.0.pause(time).await;
    }
}

#[cfg(not(feature = "failpoints"))]
#[expect(clippy::unused_self, reason = "tests alone use it")]
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
        let name = format!("loop.{} {}", self.of.name(), self.supervisor);
        let fault = || {
            fail::fail_point!(&name, |_| Err(Error::Internal("a failpoint".into())));
            Ok(())
        };
        #[expect(clippy::disallowed_methods, reason = "tests alone are held here")]
        match tokio::runtime::Handle::current().runtime_flavor() {
            tokio::runtime::RuntimeFlavor::MultiThread => tokio::task::block_in_place(fault),
            _ => fault(),
        }
    }

    /// It looks again and again: the pause may be shortened after it has begun.
    async fn pause(&self, time: Duration) {
        const LOOK_EVERY: Duration = Duration::from_millis(100);
        let began = Instant::now();
        loop {
            let shorter = self.number("loop.pause").map(Duration::from_millis);
            let time = shorter.map_or(time, |shorter| time.min(shorter));
            match time.checked_sub(began.elapsed()) {
                Some(left) if !left.is_zero() => sleep(left.min(LOOK_EVERY)).await,
                _ => return,
            }
        }
    }

    fn overdue(&self) -> Duration {
        let name = format!("loop.overdue.{}", self.of.name());
        Duration::from_secs(self.number(&name).unwrap_or_default())
    }

    fn number(&self, name: &str) -> Option<u64> {
        let name = format!("{name} {}", self.supervisor);
        fail::fail_point!(&name, |number| number?.parse().ok());
        None
    }
}

/// Ends an iteration, also when it is dropped or panics.
struct Idle<'a>(&'a Supervised);

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        let mut now = self.0.lock();
        now.working = None;
        now.heartbeat = Instant::now();
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
    fn a_loop_that_fails_at_every_start_is_late_and_then_stuck_after_growing_pauses() {
        let supervised = Supervised::new(Loop::Relay, Uuid::nil());
        let state = || supervised.report(Instant::now()).state;
        let mut pauses = Vec::new();
        for restart in 1..=MOST_RESTARTS {
            pauses.push(supervised.went_down(Duration::ZERO).as_secs());
            let expected = match restart == MOST_RESTARTS {
                true => LoopState::Stuck,
                false => LoopState::Late,
            };
            assert_eq!(state(), expected);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60]);
        assert_eq!(supervised.went_down(STEADY * 2).as_secs(), 1);
    }

    #[tokio::test]
    async fn an_iteration_ends_at_its_deadline_and_several_that_fail_in_a_row_show() {
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
    fn rows_that_are_stepped_over_are_counted_each_time_and_remembered_within_bounds() {
        let heartbeat = Heartbeat(Arc::new(Supervised::new(Loop::Relay, Uuid::nil())));
        let error = Error::Database("out of range".into());
        let row = Uuid::now_v7();
        heartbeat.step_over(row, &error);
        heartbeat.step_over(row, &error);
        let remembered = || heartbeat.0.logged_rows.lock().unwrap().len();
        assert_eq!(remembered(), 1);
        assert_eq!(heartbeat.0.report(Instant::now()).bad_rows, 2);
        for _ in 0..MOST_REMEMBERED {
            heartbeat.step_over(Uuid::now_v7(), &error);
        }
        assert!(remembered() <= MOST_REMEMBERED, "{}", remembered());
    }

    #[test]
    fn an_iteration_that_blocks_is_late_and_then_stuck() {
        let heartbeat = Heartbeat(Arc::new(Supervised::new(Loop::Relay, Uuid::nil())));
        let began = Instant::now();
        heartbeat.0.lock().working = Some((began, Duration::from_secs(5)));
        let state = |seconds| {
            heartbeat
                .0
                .report(began + Duration::from_secs(seconds))
                .state
        };
        assert_eq!(state(6), LoopState::Good);
        assert_eq!(state(8), LoopState::Late);
        assert_eq!(state(66), LoopState::Stuck);
        drop(Idle(&heartbeat.0));
        assert_eq!(state(66), LoopState::Good);
    }
}
