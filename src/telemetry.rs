//! The log. Fields are dotted, messages lower case; never a user's text, never a key.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, filter::ParseError};

/// Starts logging to standard error, as `filter` says.
///
/// # Errors
/// When the filter is malformed.
pub fn start(filter: &str) -> Result<(), ParseError> {
    // async-openai logs bodies that it cannot read, and those hold users' text. What it returns is
    // logged by us, without them. async-nats logs each of its tries to connect; we say once that it
    // does not succeed.
    let filter = EnvFilter::try_new(format!("{filter},async_openai=off,async_nats=off"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}
