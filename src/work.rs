//! CPU-heavy work: runs on a bounded number of blocking threads, never on an async worker.
//!
//! The rule: what a request can make cost more than a few milliseconds of processor time goes through
//! [`heavy`] (or [`heavy_if`], where small input is the usual case). The work polls [`Stop`], so that it ends
//! when its deadline passes or when its future is dropped, because the client left or a time limit fired.
//! Clippy refuses `spawn_blocking` elsewhere (`clippy.toml`).

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

/// Input of at most this many bytes is worked on in place: a few passes over it take less than a millisecond.
pub(crate) const SMALL_BYTES: usize = 4 * 1024;

/// When to try again after the threads were all busy.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One permit a thread. As many threads as processors: more would only take turns.
static THREADS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    let threads = available_parallelism().map_or(2, NonZero::get);
    Arc::new(Semaphore::new(threads))
});

/// Tells work to end. Cheap to ask: work should ask every few hundred microseconds.
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

    /// Whether the work has to end: its future was dropped, or its deadline has passed.
    pub(crate) fn is_due(&self) -> bool {
        self.is_dropped.load(Ordering::Relaxed) || Instant::now() >= self.deadline
    }
}

/// Tells the work when its future is dropped.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `job` on a blocking thread. The limit covers the wait for a thread and the work. When it passes during
/// the work, the future still waits for what the job returns then: a job that polls [`Stop`] returns soon.
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
    #[expect(clippy::disallowed_methods, reason = "the only place that may")]
    let work = tokio::task::spawn_blocking(move || {
        // Freed by the thread: a dropped future does not make its thread free.
        let _permit = permit;
        job(&stop)
    });
    match work.await {
        Ok(done) => Ok(done),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // Only a runtime that ends cancels work that has not begun.
            Err(_) => Err(Error::ShuttingDown),
        },
    }
}

/// Runs `job` in place when its input is small, else like [`heavy`].
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

    /// Works until it is told to stop, and says so.
    fn spin(ended: mpsc::Sender<()>) -> impl FnOnce(&Stop) + Send + 'static {
        move |stop| {
            while !stop.is_due() {
                std::hint::spin_loop();
            }
            // The test may be over.
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
        assert!(crate::panics::caught(work).await.is_err());
    }
}
