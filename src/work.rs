//! CPU-heavy work: runs on a bounded number of blocking threads, never on an async worker.
//!
//! The rule: work that a request can make exceed a few milliseconds of processor time goes through [`heavy`], or
//! through [`heavy_if`] where small input is the usual case. The work polls [`Stop`], so that it ends when its deadline
//! passes or when its future is dropped (the client disconnected, or a time limit fired). Clippy rejects
//! `spawn_blocking` elsewhere (`clippy.toml`).

use std::{
    num::NonZero,
    panic::resume_unwind,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::available_parallelism,
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use crate::error::{Error, Result};

/// Input of at most this many bytes is processed in place: a few passes over it take less than a millisecond.
pub(crate) const SMALL_BYTES: usize = 4 * 1024;

/// The `retry_after` of a request that got no thread within its limit.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One permit per thread, one thread per processor: more threads would only compete for processors.
static THREADS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    let threads = available_parallelism().map_or(2, NonZero::get);
    Arc::new(Semaphore::new(threads))
});

/// A cancellation signal with a deadline. Polling is cheap: work should poll every few hundred microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    is_dropped: Arc<AtomicBool>,
    deadline: Instant,
}

impl Stop {
    fn at(deadline: Instant) -> Self {
        Self {
            is_dropped: Arc::default(),
            deadline,
        }
    }

    #[cfg(test)]
    pub(crate) fn never() -> Self {
        Self::at(Instant::now() + Duration::from_secs(3_600))
    }

    /// Whether the work must end: its future was dropped, or its deadline passed.
    pub(crate) fn is_due(&self) -> bool {
        self.is_dropped.load(Ordering::Relaxed) || Instant::now() >= self.deadline
    }
}

/// Signals the work when its future is dropped.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `job` on a blocking thread. The limit covers the wait for a thread and the work.
///
/// If the limit passes during the work, the future still waits for the job's return value. A job that polls [`Stop`]
/// returns soon.
///
/// # Errors
/// [`Error::Busy`] when no thread is free within the limit.
pub(crate) async fn heavy<T: Send + 'static>(
    limit: Duration,
    job: impl FnOnce(&Stop) -> T + Send + 'static,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    let stop = Stop::at(deadline);
    let _on_drop = StopOnDrop(stop.is_dropped.clone());
    let permit = timeout_at(deadline, THREADS.clone().acquire_owned()).await;
    let Ok(Ok(permit)) = permit else {
        return Err(Error::Busy {
            what: "requests",
            retry_after: RETRY_AFTER,
        });
    };
    #[expect(clippy::disallowed_methods, reason = "the only permitted call")]
    let work = tokio::task::spawn_blocking(move || {
        // The thread releases the permit: dropping the future does not free the thread.
        let _permit = permit;
        job(&stop)
    });
    match work.await {
        Ok(done) => Ok(done),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime cancels a queued blocking task only when it shuts down.
            Err(_) => Err(Error::ShuttingDown),
        },
    }
}

/// Runs `job` in place if its input is small, otherwise like [`heavy`].
///
/// # Errors
/// As [`heavy`].
pub(crate) async fn heavy_if<T: Send + 'static>(
    input_bytes: usize,
    limit: Duration,
    job: impl FnOnce(&Stop) -> T + Send + 'static,
) -> Result<T> {
    match input_bytes <= SMALL_BYTES {
        true => Ok(job(&Stop::at(Instant::now() + limit))),
        false => heavy(limit, job).await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    /// Spins until `stop` is due, then sends on `ended`.
    fn spin(ended: mpsc::Sender<()>) -> impl FnOnce(&Stop) + Send + 'static {
        move |stop| {
            while !stop.is_due() {
                std::hint::spin_loop();
            }
            // The receiver is gone if the test has ended.
            let _ = ended.send(());
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn work_ends_when_its_future_is_dropped_and_at_its_deadline() {
        let (sender, ended) = mpsc::channel();
        let dropped =
            tokio::time::timeout(Duration::from_millis(20), heavy(LONG, spin(sender.clone())));
        assert!(dropped.await.is_err());
        ended.recv_timeout(Duration::from_secs(5)).unwrap();

        heavy(Duration::from_millis(20), spin(sender))
            .await
            .unwrap();
        ended.recv_timeout(Duration::from_secs(5)).unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_panic_of_the_work_is_a_panic_of_its_future() {
        let work = heavy(LONG, |_| panic!("planted"));
        assert!(crate::panics::catch(work).await.is_err());
    }
}
