//! The log and the traces of one process: what operators see of it.
//!
//! - `log`: lines on standard error, as text or JSON
//! - `traces`: spans sent to an OpenTelemetry collector, where one is named
//! - `label`: texts as label values of metrics
//! - `span`: how other rooms make spans, and what they may say
//!
//! Neither ever holds a user's text or a key. Fields are dotted, messages lower case.

pub mod label;
mod log;
pub mod span;
mod traces;

use std::time::Duration;

use tracing_subscriber::{
    Layer, filter::ParseError, layer::SubscriberExt, util::SubscriberInitExt,
};

pub use self::{
    log::{LogFormat, last_line},
    span::{Finished, SPANS},
    traces::InvalidEndpoint,
};

/// How long the last spans may take to leave the process.
const FLUSH: Duration = Duration::from_millis(1_500);

/// Why neither log nor traces were started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter of the log is malformed.
    #[error("--log (TITLECAST_LOG) is malformed: {0}")]
    Filter(#[from] ParseError),
    /// Nothing can be sent there.
    #[error("--otlp-endpoint (OTEL_EXPORTER_OTLP_ENDPOINT) {0}")]
    Endpoint(#[from] InvalidEndpoint),
}

/// What was started; to be stopped at the end.
#[derive(Debug)]
pub struct Telemetry {
    traces: Option<traces::Traces>,
}

/// Starts logging to standard error, as `filter` says, and sending traces to `collector`, the base URL of an
/// OTLP/HTTP endpoint such as `http://127.0.0.1:4318`. Has to be called on the runtime, once.
///
/// # Errors
/// [`TelemetryError`].
pub fn start(
    format: LogFormat,
    filter: &str,
    collector: Option<&str>,
) -> Result<Telemetry, TelemetryError> {
    let log = log::layer(format, filter)?;
    let traces = collector.map(traces::Traces::start).transpose()?;
    let layer = traces.as_ref().map(traces::Traces::layer);
    let layers = [Some(log), layer.map(Layer::boxed)].into_iter().flatten();
    tracing_subscriber::registry()
        .with(layers.collect::<Vec<_>>())
        .init();
    Ok(Telemetry { traces })
}

impl Telemetry {
    /// Sends the spans that are still here, for as long as the end of a process can wait.
    pub async fn stop(self) {
        if let Some(traces) = self.traces {
            traces.stop(FLUSH).await;
        }
    }
}
