//! One exchange with a receiver: one request, one deadline, only the status counts.

use std::{error::Error, io, sync::LazyLock, time::Duration};

use reqwest::{RequestBuilder, Response, header::CONTENT_TYPE};
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::{addresses::NotReachable, hook::Hook, signature::sign};
use crate::llm::provider::retry_after;

/// The maximum number of bytes read from an answer's body, and the maximum wait for it. Only a body that is read to its
/// end keeps the connection.
const MAX_BODY_BYTES: usize = 64 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// The thread that reads receivers' answers. hyper reads interim answers (1xx) without a limit, so a receiver that
/// sends them endlessly would keep a worker of the server busy. On this thread, it only delays other webhooks.
static THREAD: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("webhooks")
        .enable_all()
        .build()
});

/// The outcome of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// 2xx.
    Received,
    /// 410: the receiver wants no further events.
    Gone,
    /// Any other failure: a name for operators, and the wait that the receiver requests.
    Failed(String, Option<Duration>),
}

impl Outcome {
    /// The outcome's label in metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Gone => "gone",
            Self::Failed(failure, _) if failure.starts_with("status") => "refused",
            Self::Failed(failure, _) if failure == "timeout" => "timeout",
            Self::Failed(failure, _) if failure == "address_not_allowed" => "address_not_allowed",
            Self::Failed(..) => "connection",
        }
    }
}

/// Sends an event. `now`: seconds since 1970.
pub(super) async fn send(hook: &Hook, id: Uuid, body: Vec<u8>, now: i64) -> Outcome {
    let settings = &hook.settings;
    let failed = |name: &str| Outcome::Failed(name.to_owned(), None);
    if hook.reachable.check(&settings.url).is_err() {
        return failed("address_not_allowed");
    }
    let id = format!("msg_{}", id.simple());
    let request = hook
        .http
        .post(settings.url.clone())
        .header(CONTENT_TYPE, "application/json")
        .header("webhook-id", &id)
        .header("webhook-timestamp", now)
        .header("webhook-signature", sign(&settings.keys, &id, now, &body))
        .body(body);
    let until = Instant::now() + settings.timeout;
    let Ok(thread) = &*THREAD else {
        return failed("no_thread");
    };
    let exchange = AbortOnDropHandle::new(thread.spawn(exchange(request, until)));
    // The thread has the same deadline, but may be late.
    match timeout_at(until + BODY_TIMEOUT, exchange).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => failed("connection"),
        Err(_) => failed("timeout"),
    }
}

async fn exchange(request: RequestBuilder, until: Instant) -> Outcome {
    let failed = |name: &str| Outcome::Failed(name.to_owned(), None);
    let response = match timeout_at(until, request.send()).await {
        Ok(Ok(response)) => response,
        Err(_) => return failed("timeout"),
        Ok(Err(error)) if is_not_reachable(&error) => return failed("address_not_allowed"),
        Ok(Err(error)) if error.is_timeout() => return failed("timeout"),
        Ok(Err(_)) => return failed("connection"),
    };
    let status = response.status();
    let wait = retry_after(response.headers());
    // Only the status counts, so an endless body changes nothing.
    let _ = timeout_at(until.min(Instant::now() + BODY_TIMEOUT), drain(response)).await;
    match status.as_u16() {
        200..=299 => Outcome::Received,
        410 => Outcome::Gone,
        code => Outcome::Failed(format!("status {code}"), wait),
    }
}

/// Reads a short body to its end, and discards it.
async fn drain(mut response: Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        if read > MAX_BODY_BYTES {
            return;
        }
    }
}

fn is_not_reachable(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        if error.is::<NotReachable>() {
            return true;
        }
        cause = error.source();
    }
    false
}
