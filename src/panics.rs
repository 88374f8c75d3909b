//! Panic handling: the client gets an error id, and the log maps the id to the source location.
//!
//! The panic message is never logged, because it can quote user text, like the message of a failed string slice. The
//! source location is enough to find the bug.

use std::{
    any::Any,
    cell::Cell,
    panic::{AssertUnwindSafe, PanicHookInfo},
};

use futures_util::FutureExt;
use uuid::Uuid;

use crate::error::Error;

thread_local! {
    /// The id of this thread's last panic that has not been caught yet.
    static LAST: Cell<Option<Uuid>> = const { Cell::new(None) };
}

/// Installs a panic hook that logs an id, the source location, and a backtrace if `RUST_BACKTRACE` asks for one.
///
/// The hook never logs the panic message.
pub fn log_without_text() {
    std::panic::set_hook(Box::new(hook));
}

fn hook(panic: &PanicHookInfo<'_>) {
    let id = Uuid::now_v7();
    LAST.set(Some(id));
    let place = panic.location().map(ToString::to_string);
    let place = place.as_deref().unwrap_or("unknown");
    let backtrace = std::backtrace::Backtrace::capture();
    tracing::error!(error.id = %id, error.place = place, error.backtrace = %backtrace, "panicked");
}

/// Runs the future and turns a panic into an error.
///
/// # Errors
/// [`Error::Panicked`] if the future panics.
pub async fn catch<T>(future: impl Future<Output = T>) -> Result<T, Error> {
    // Unwind-safe, because the future is dropped after a panic.
    AssertUnwindSafe(future)
        .catch_unwind()
        .await
        .map_err(|panic| caught(&*panic))
}

/// The error for a panic that this thread has just caught.
pub fn caught(_panic: &(dyn Any + Send)) -> Error {
    let id = LAST.take().unwrap_or_else(|| {
        let id = Uuid::now_v7();
        tracing::error!(error.id = %id, "panicked; the location is unknown because our panic hook is not installed");
        id
    });
    Error::Panicked { id }
}
