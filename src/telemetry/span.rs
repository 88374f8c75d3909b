//! Spans of requests, turns, titles, statements and model calls.
//!
//! Spans are created with `tracing`'s macros and the target [`SPANS`]: turns and titles at `INFO`, which JSON log lines
//! include, all others at `DEBUG`. Names and attributes follow OpenTelemetry's semantic conventions. They contain
//! constants of the program (routes, models, tables, codes) and numbers, never text from a client, a model or a
//! database. Without a collector, a span that the log does not use costs one comparison.

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use http::HeaderMap;
use opentelemetry::{
    Context, KeyValue,
    propagation::TextMapPropagator,
    trace::{Span as _, SpanKind, Status, TraceContextExt, TraceId, Tracer},
};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracer};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The target of every span.
pub const SPANS: &str = "titlecast::span";

/// The tracer for spans that are recorded after they end. Set only if traces are exported.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

pub(super) fn set_tracer(tracer: SdkTracer) {
    // Called once, so this cannot fail.
    let _ = TRACER.set(tracer);
}

/// Continues the trace of the request's sender (W3C `traceparent`). Ignores a malformed header.
pub fn continue_trace(span: &Span, headers: &HeaderMap) {
    if span.is_disabled() || !headers.contains_key("traceparent") {
        return;
    }
    let context = TraceContextPropagator::new()
        .extract_with_context(&Context::new(), &HeaderExtractor(headers));
    // Fails if no layer exports traces.
    let _ = span.set_parent(context);
}

/// The current span's trace id, if traces are exported.
pub(super) fn trace_id() -> Option<TraceId> {
    TRACER.get()?;
    let context = Span::current().context();
    let span = context.span().span_context().clone();
    span.is_valid().then(|| span.trace_id())
}

/// Marks a span as failed. `error` is an error code or a status, never a message.
pub fn failed(span: &Span, error: &'static str) {
    span.set_attribute("error.type", error);
    span.set_status(Status::error(""));
}

/// A finished operation to be recorded as a child of the current span.
#[derive(Debug)]
pub struct Finished {
    /// The name of the span.
    pub name: String,
    /// How long the operation took; the span ends now.
    pub elapsed: Duration,
    /// The attributes.
    pub attributes: Vec<KeyValue>,
    /// Whether the operation failed.
    pub is_failed: bool,
}

/// Records the span that `finished` returns, if the current span is sampled.
pub fn finish(finished: impl FnOnce() -> Finished) {
    let Some(tracer) = TRACER.get() else { return };
    let parent = Span::current().context();
    if !parent.span().span_context().is_sampled() {
        return;
    }
    let Finished {
        name,
        elapsed,
        attributes,
        is_failed,
    } = finished();
    let end = SystemTime::now();
    let mut span = tracer
        .span_builder(name)
        .with_kind(SpanKind::Client)
        .with_start_time(end.checked_sub(elapsed).unwrap_or(end))
        .with_attributes(attributes)
        .start_with_context(tracer, &parent);
    if is_failed {
        span.set_status(Status::error(""));
    }
    span.end_with_timestamp(end);
}
