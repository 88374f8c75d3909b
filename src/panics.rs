//! Panics: bugs of ours, which a client gets an id of and the log says where they are.
//!
//! What a panic says may hold a user's text (slicing a string in the wrong place quotes the string), so it
//! goes nowhere; the place in the source says enough to find it.

use std::{
    any::Any,
    cell::Cell,
    panic::{AssertUnwindSafe, PanicHookInfo},
};

use futures_util::FutureExt;
use uuid::Uuid;

use crate::error::Error;

thread_local! {
    /// The id of the thread's last panic, until it is caught.
    static LAST: Cell<Option<Uuid>> = const { Cell::new(None) };
}

/// Logs panics from now on, each with an id, where it happened, and how it came there if
/// `RUST_BACKTRACE` asks for that; never what it says.
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

/// What the future gives, or the error that stands for its panic.
///
/// # Errors
/// [`Error::Panicked`].
pub async fn caught<T>(future: impl Future<Output = T>) -> Result<T, Error> {
    // It is not used again.
    AssertUnwindSafe(future)
        .catch_unwind()
        .await
        .map_err(|panic| error(&*panic))
}

/// The error for a panic that was caught on this thread just now.
pub fn error(_panic: &(dyn Any + Send)) -> Error {
    let id = LAST.take().unwrap_or_else(|| {
        let id = Uuid::now_v7();
        tracing::error!(error.id = %id, "panicked, with another hook than ours");
        id
    });
    Error::Panicked { id }
}
