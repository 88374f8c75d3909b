//! The lines of the log: who may write them, and what they look like.

use std::{fmt, io::IsTerminal};

use clap::ValueEnum;
use tracing::{Event, Level, Metadata, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, ParseError, filter_fn},
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use super::{SPANS, span};

/// What the lines of the log look like: text for people, or a JSON object a line for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(
    missing_docs,
    reason = "said of one variant alone, it would make the help twice as long"
)]
pub enum LogFormat {
    Text,
    Json,
}

/// The libraries that may write to the log, and up to which level. Whatever the operator asks for, the others
/// may not: at `debug` and `trace` libraries write what passes through them (statements with their values,
/// headers, bodies), which is users' text and keys, and some do at `error`. What matters of their failures is
/// logged here, without it.
const LIBRARIES: [(&str, Level); 1] = [
    // That connections to the database are slow to be had.
    ("sqlx::pool", Level::WARN),
];

pub(super) fn layer(
    format: LogFormat,
    filter: &str,
) -> Result<Box<dyn Layer<Registry> + Send + Sync>, ParseError> {
    let asked = EnvFilter::try_new(filter)?;
    let allowed = filter_fn(move |metadata| match metadata.is_span() {
        // In a text they would only repeat what its line says.
        true => format == LogFormat::Json && is_told(metadata),
        false => may_write(metadata.target(), *metadata.level()),
    });
    // Without the hint every event of every library would be looked at.
    let filter = asked.and(allowed.with_max_level_hint(LevelFilter::TRACE));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    Ok(match format {
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
    })
}

/// A line that names its trace, where traces are sent: `trace_id` leads from the log to the trace.
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

/// The last line of standard error, which says why the program failed.
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

/// Turns and titles: which of them a line belongs to is worth knowing. Smaller spans are for traces.
fn is_told(span: &Metadata<'_>) -> bool {
    span.target() == SPANS && *span.level() <= Level::INFO
}

fn may_write(target: &str, level: Level) -> bool {
    let is_of = |name: &str| {
        let rest = target.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    is_of(env!("CARGO_CRATE_NAME"))
        || LIBRARIES
            .iter()
            .any(|(name, most)| is_of(name) && level <= *most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_write_only_what_they_may() {
        assert!(may_write("titlecast", Level::TRACE));
        assert!(may_write("titlecast::llm::openai", Level::TRACE));
        assert!(!may_write("titlecaster", Level::ERROR));
        assert!(may_write("sqlx::pool::acquire", Level::WARN));
        assert!(!may_write("sqlx::pool::acquire", Level::INFO));
        assert!(!may_write("sqlx::query", Level::WARN));
        for library in ["async_openai", "async_nats", "hyper", "reqwest", "sea_orm"] {
            assert!(!may_write(library, Level::ERROR), "{library}");
        }
    }
}
