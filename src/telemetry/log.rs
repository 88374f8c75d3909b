//! Log lines: their format, and which libraries may log.

use std::{fmt, io::IsTerminal, sync::OnceLock};

use clap::ValueEnum;
use tracing::{Event, Level, Metadata, Subscriber, level_filters::LevelFilter};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, ParseError, filter_fn},
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use super::{SPANS, span};

/// The format of log lines: text, or one JSON object per line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(
    missing_docs,
    reason = "doc comments on the variants would lengthen the help"
)]
pub enum LogFormat {
    Text,
    Json,
}

/// The crates of this repository that write log lines.
const OURS: [&str; 2] = [env!("CARGO_CRATE_NAME"), "graphql_transport"];

/// The libraries that may log, each up to a level, regardless of the filter.
///
/// Libraries log user text and keys (statements with values, headers, bodies) at `debug` and `trace`, some even at
/// `error`. This program logs their relevant failures itself, without such data.
const LIBRARIES: [(&str, Level); 1] = [
    // Warns when acquiring a database connection is slow.
    ("sqlx::pool", Level::WARN),
];

/// How many lines may wait to be written. Further ones are dropped and counted: a program that stops reading standard
/// error must not stop the service.
const MAX_WAITING: usize = 4_096;

/// Counts dropped lines.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// The number of log lines dropped because standard error was not read.
pub fn dropped_lines() -> u64 {
    DROPPED
        .get()
        .map_or(0, |dropped| dropped.dropped_lines() as u64)
}

/// The layer that logs, and a guard. Dropping the guard writes the waiting lines, for at most a second.
pub(super) fn layer(
    format: LogFormat,
    filter: &str,
) -> Result<(Box<dyn Layer<Registry> + Send + Sync>, WorkerGuard), ParseError> {
    let asked = EnvFilter::try_new(filter)?;
    let allowed = filter_fn(move |metadata| match metadata.is_span() {
        // In text format, spans would only repeat the fields of the line.
        true => format == LogFormat::Json && is_logged(metadata),
        false => may_write(metadata.target(), *metadata.level()),
    });
    // Without the hint, every event of every library would reach the filter.
    let filter = asked.and(allowed.with_max_level_hint(LevelFilter::TRACE));
    let writer = NonBlockingBuilder::default()
        .buffered_lines_limit(MAX_WAITING)
        .thread_name("log");
    let (writer, guard) = writer.finish(std::io::stderr());
    DROPPED.get_or_init(|| writer.error_counter());
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let layer = match format {
        LogFormat::Text => lines
            .with_ansi(std::io::stderr().is_terminal())
            .map_event_format(|inner| WithTrace { inner, format })
            .with_filter(filter)
            .boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .map_event_format(|inner| WithTrace { inner, format })
            .with_filter(filter)
            .boxed(),
    };
    Ok((layer, guard))
}

/// Adds `trace_id` to lines if traces are exported.
struct WithTrace<F> {
    inner: F,
    format: LogFormat,
}

impl<S, N, F> FormatEvent<S, N> for WithTrace<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(id) = span::trace_id() else {
            return self.inner.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.inner
            .format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end_matches('\n');
        match self.format {
            LogFormat::Text => writeln!(writer, "{line} trace_id={id}"),
            LogFormat::Json => {
                let object = line.strip_suffix('}').unwrap_or(line);
                writeln!(writer, "{object},\"trace_id\":\"{id}\"}}")
            }
        }
    }
}

/// Formats the last line on standard error, which says why the program failed.
pub fn last_line(format: LogFormat, why: &str) -> String {
    match format {
        LogFormat::Text => format!("titlecast: {why}"),
        LogFormat::Json => serde_json::json!({
            "timestamp": chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
            "level": "ERROR",
            "message": why,
            "target": env!("CARGO_CRATE_NAME"),
        })
        .to_string(),
    }
}

/// Whether a span appears in log lines. Turns and titles do; smaller spans are only for traces.
fn is_logged(span: &Metadata<'_>) -> bool {
    span.target() == SPANS && *span.level() <= Level::INFO
}

fn may_write(target: &str, level: Level) -> bool {
    let is_of = |name: &str| {
        let rest = target.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    OURS.iter().any(|name| is_of(name))
        || LIBRARIES
            .iter()
            .any(|(name, most)| is_of(name) && level <= *most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_log_only_up_to_their_level() {
        assert!(may_write("titlecast", Level::TRACE));
        assert!(may_write("titlecast::llm::provider", Level::TRACE));
        assert!(may_write("graphql_transport::websocket", Level::TRACE));
        assert!(!may_write("titlecaster", Level::ERROR));
        assert!(may_write("sqlx::pool::acquire", Level::WARN));
        assert!(!may_write("sqlx::pool::acquire", Level::INFO));
        assert!(!may_write("sqlx::query", Level::WARN));
        for library in ["async_openai", "async_nats", "hyper", "reqwest", "sea_orm"] {
            assert!(!may_write(library, Level::ERROR), "{library}");
        }
    }
}
