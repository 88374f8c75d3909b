//! The end of what a caller may: streams end with its token, not with its next request.

use std::future::pending;

use async_stream::stream;
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, sleep_until};

use super::{Code, payload::Payload};

/// What a client with an expired token has to bring (RFC 6750, section 3).
pub const EXPIRED_CHALLENGE: &str =
    "Bearer error=\"invalid_token\", error_description=\"the token has expired\"";

/// Ready at that time; never when there is none.
pub async fn sleep_until_opt(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => pending().await,
    }
}

/// What is told then.
pub(super) fn expired() -> Payload {
    let error = Code::AuthExpired.error("the token has expired; come back with a new one");
    Payload::refusal(vec![error])
}

/// The same payloads up to that time, and then an error. Holds `open` until nobody reads it any more.
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
                // A stream that always has something ready ends as well.
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
