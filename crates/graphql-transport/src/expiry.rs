//! Token expiry: an open stream ends when its token expires.

use std::future::pending;

use async_stream::stream;
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, sleep_until};

use super::{Code, payload::Payload};

/// The `WWW-Authenticate` challenge for an expired token (RFC 6750, section 3).
pub const EXPIRED_CHALLENGE: &str =
    "Bearer error=\"invalid_token\", error_description=\"the token has expired\"";

/// Sleeps until `until`, or forever if it is `None`.
pub async fn sleep_until_opt(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => pending().await,
    }
}

/// The last payload of a stream whose token has expired.
pub(super) fn expired() -> Payload {
    let error = Code::AuthExpired.error("the token has expired; retry with a new one");
    Payload::refusal(vec![error])
}

/// Ends a stream at `until` with an `AUTH_EXPIRED` error. Holds the `open` guard until the stream is dropped.
pub(super) fn ending(
    payloads: impl Stream<Item = Payload> + Send + 'static,
    until: Option<Instant>,
    open: impl Send + 'static,
) -> impl Stream<Item = Payload> + Send + 'static {
    stream! {
        let _open = open;
        let mut payloads = std::pin::pin!(payloads);
        let mut end = std::pin::pin!(sleep_until_opt(until));
        loop {
            tokio::select! {
                // Checked first, so that a stream that is always ready also ends.
                biased;
                () = &mut end => {
                    yield expired();
                    return;
                }
                payload = payloads.next() => match payload {
                    Some(payload) => yield payload,
                    None => return,
                },
            }
        }
    }
}
