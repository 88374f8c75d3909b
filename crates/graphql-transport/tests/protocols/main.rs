//! The protocols, rule by rule, on plain `axum::serve`.

#![expect(
    unreachable_pub,
    reason = "`pub` in `support` is what tests use, private is how it works"
)]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(clippy::disallowed_methods, reason = "a server ends with its test")]

mod cohorts;
mod hostile;
mod http;
mod reports;
mod sse;
mod support;
mod websocket;
