//! Spans: what a request, a turn, a title, a statement and a call of the model are called in a trace.
//!
//! A span is made where the thing begins, with `tracing`'s macros and the target [`SPANS`]: turns and titles at
//! `INFO`, which JSON lines name too, all others at `DEBUG`. Names and attributes follow OpenTelemetry's
//! semantic conventions. They hold what the program itself chose (routes, models, tables, codes) and numbers,
//! never what a client, a model or a database wrote. Where no collector is named, a span that no line of the log
//! wants is one comparison.

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

/// What makes the spans that are told when they are over; there where traces are sent.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

pub(super) fn set_tracer(tracer: SdkTracer) {
    // Traces are started once.
    let _ = TRACER.set(tracer);
}

/// Makes a span part of the trace that the sender of a request began (W3C `traceparent`). What is malformed
/// says nothing.
pub fn continue_trace(span: &Span, headers: &HeaderMap) {
    if span.is_disabled() || !headers.contains_key("traceparent") {
        return;
    }
    let context = TraceContextPropagator::new()
        .extract_with_context(&Context::new(), &HeaderExtractor(headers));
    // An error says that nobody listens.
    let _ = span.set_parent(context);
}

/// The trace that the present span is part of, where traces are sent.
pub(super) fn trace_id() -> Option<TraceId> {
    TRACER.get()?;
    let context = Span::current().context();
    let span = context.span().span_context().clone();
    span.is_valid().then(|| span.trace_id())
}

/// Says of a span that it failed, and with what: a code of ours or a status, never a message.
pub fn failed(span: &Span, error: &'static str) {
    span.set_attribute("error.type", error);
    span.set_status(Status::error(""));
}

/// Something that is over and took so long, as part of the present span.
#[derive(Debug)]
pub struct Finished {
    /// What it is called.
    pub name: String,
    /// How long it took, until now.
    pub elapsed: Duration,
    /// What there is to say of it.
    pub attributes: Vec<KeyValue>,
    /// Whether it failed.
    pub is_failed: bool,
}

/// Tells what `finished` returns, if the present span is part of a trace that is sent.
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
