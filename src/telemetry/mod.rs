//! The log and traces of the process.
//!
//! - `log`: lines on standard error, as text or JSON
//! - `traces`: spans exported to an OpenTelemetry collector, if configured
//! - `label`: label values of metrics
//! - `span`: how other modules create spans, and what spans may contain
//!
//! Neither log nor traces ever contain user text or keys. Field names are dotted, messages lower case.

pub mod label;
mod log;
pub mod span;
mod traces;

use std::time::Duration;

use tokio::{task::spawn_blocking, time::timeout};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::{
    Layer, filter::ParseError, layer::SubscriberExt, util::SubscriberInitExt,
};

pub use self::{
    log::{LogFormat, dropped_lines, last_line},
    span::{Finished, SPANS},
    traces::InvalidEndpoint,
};

/// Timeout of the last export. Writing the last lines takes at most twice as long.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Why the log or the traces cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter is malformed.
    #[error("--log (TITLECAST_LOG) is malformed: {0}")]
    Filter(#[from] ParseError),
    /// The traces endpoint is invalid.
    #[error("--otlp-endpoint (OTEL_EXPORTER_OTLP_ENDPOINT) {0}")]
    Endpoint(#[from] InvalidEndpoint),
}

/// The running telemetry, to be stopped on exit.
#[derive(Debug)]
pub struct Telemetry {
    traces: Option<traces::Traces>,
    log: WorkerGuard,
}

/// Starts logging to standard error according to `filter`, and exporting traces to `collector`, the base URL of an
/// OTLP/HTTP endpoint such as `http://127.0.0.1:4318`. Must be called once, on the runtime.
///
/// # Errors
/// [`TelemetryError`] if the filter or the URL is invalid.
pub fn start(
    format: LogFormat,
    filter: &str,
    collector: Option<&str>,
) -> Result<Telemetry, TelemetryError> {
    let (lines, log) = log::layer(format, filter)?;
    let traces = collector.map(traces::Traces::start).transpose()?;
    let layer = traces.as_ref().map(traces::Traces::layer);
    let layers = [Some(lines), layer.map(Layer::boxed)].into_iter().flatten();
    tracing_subscriber::registry()
        .with(layers.collect::<Vec<_>>())
        .init();
    Ok(Telemetry { traces, log })
}

/// Validates a collector's base URL without starting anything.
///
/// # Errors
/// [`TelemetryError::Endpoint`] if the URL is invalid.
pub fn check_collector(url: &str) -> Result<(), TelemetryError> {
    traces::base_url(url).map(drop).map_err(Into::into)
}

impl Telemetry {
    /// Exports the remaining spans and writes the remaining lines, within a few seconds.
    pub async fn stop(self) {
        if let Some(traces) = self.traces {
            traces.stop(FLUSH_TIMEOUT).await;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "waits for standard error, and is no work"
        )]
        let written = spawn_blocking(|| drop(self.log));
        let _ = timeout(2 * FLUSH_TIMEOUT, written).await;
    }
}
