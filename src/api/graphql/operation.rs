//! The span of one operation. The library's tracing extension wraps every resolver, which more than halves the
//! throughput.

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

/// The span of a request. Its name consists of the root fields that exist in the schema. The operation's name is not
/// used, because the client chooses it.
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

/// Records a response's errors on its span.
pub(super) fn record_errors(span: &Span, response: &Response) {
    let Some(error) = response.errors.first() else {
        return;
    };
    span.set_attribute(
        "titlecast.graphql.errors",
        i64::try_from(response.errors.len()).unwrap_or(i64::MAX),
    );
    let code = match error
        .extensions
        .as_ref()
        .and_then(|extensions| extensions.get("code"))
    {
        Some(Value::String(code)) => code.parse::<ErrorCode>().ok(),
        _ => None,
    };
    span::failed(span, code.map_or("_OTHER", ErrorCode::as_str));
}
