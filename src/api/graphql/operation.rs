//! The span of one operation. The library's own extensions for that wrap every resolver, which costs more than
//! half of the requests a second.

use std::collections::HashSet;

use async_graphql::{
    Request, Response, Value,
    parser::types::{OperationType, Selection},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{
    error::ErrorCode,
    telemetry::{SPANS, span},
};

/// The span of a request. It is called by the fields at the root of the operation, as far as the schema has
/// them: the operation's own name, like everything else in it, is a text of the client's.
pub(super) fn span(request: &mut Request, names: &HashSet<String>) -> Span {
    let span = tracing::debug_span!(
        target: SPANS,
        "operation",
        otel.name = tracing::field::Empty,
        otel.kind = "server",
        graphql.operation.type = tracing::field::Empty,
    );
    if span.is_disabled() {
        return span;
    }
    if let Some((kind, fields)) = summary(request, names) {
        span.record(
            "otel.name",
            format!("{kind} {}", fields.join(",")).trim_end(),
        );
        span.record("graphql.operation.type", kind);
    }
    span
}

fn summary<'a>(
    request: &mut Request,
    names: &'a HashSet<String>,
) -> Option<(&'static str, Vec<&'a str>)> {
    let name = request.operation_name.clone();
    let document = request.parsed_query().ok()?;
    let (_, operation) = document.operations.iter().find(|(operation, _)| {
        name.is_none() || operation.map(|operation| operation.as_str()) == name.as_deref()
    })?;
    let kind = match operation.node.ty {
        OperationType::Query => "query",
        OperationType::Mutation => "mutation",
        OperationType::Subscription => "subscription",
    };
    let items = operation.node.selection_set.node.items.iter();
    let fields = items.filter_map(|item| match &item.node {
        Selection::Field(field) => names.get(field.node.name.node.as_str()).map(String::as_str),
        _ => None,
    });
    Some((kind, fields.collect()))
}

/// Says of a span what kept the operation from being carried out as a whole.
pub(super) fn note_errors(span: &Span, response: &Response) {
    let Some(error) = response.errors.first() else {
        return;
    };
    span.set_attribute(
        "titlecast.graphql.errors",
        i64::try_from(response.errors.len()).unwrap_or(i64::MAX),
    );
    let code = match error.extensions.as_ref().and_then(|told| told.get("code")) {
        Some(Value::String(code)) => code.parse::<ErrorCode>().ok(),
        _ => None,
    };
    span::failed(span, code.map_or("_OTHER", ErrorCode::as_str));
}
