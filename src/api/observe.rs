//! Telemetry of each request: a span, counters and a duration.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::Response,
};
use graphql_transport::RefusalCode;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use tracing::{Instrument, Span};

use super::GRAPHQL_PATH;
use crate::{
    error::ErrorCode,
    server::held,
    telemetry::{SPANS, span},
};

/// The route label of requests that match no route. The path is not used, because clients could then create any label.
const NO_ROUTE: &str = "none";

/// Buckets of the request duration, in seconds.
const LATENCIES: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// Request metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    requests: Family<RequestLabels, Counter>,
    duration: Family<RouteLabels, Histogram>,
    streams: Family<RouteLabels, Gauge>,
    errors: Family<ErrorLabels, Counter>,
}

/// The surface on which a client received an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Surface {
    /// GraphQL, on every transport.
    Graphql,
    /// The HTTP routes, and paths that do not exist.
    Rest,
    /// The last event of an SSE stream.
    Sse,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    surface: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: &'static str,
    status: u16,
}

impl Default for HttpMetrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(LATENCIES)),
            streams: Family::default(),
            errors: Family::default(),
        }
    }
}

impl HttpMetrics {
    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "http_requests",
            "Answered requests, by route, method and status; a WebSocket counts as one request with status 101",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "http_request_duration",
            "Time from a request to the head of its response; the body of a stream is not included",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register(
            "http_streams_open",
            "Open response streams (server-sent events, multipart)",
            self.streams.clone(),
        );
        registry.register(
            "errors",
            "Errors sent to clients, by surface and code, on every transport; one per shared subscription",
            self.errors.clone(),
        );
    }
}

impl HttpMetrics {
    /// Counts an error that was sent to a client.
    pub fn failed(&self, surface: Surface, code: ErrorCode) {
        let labels = ErrorLabels {
            surface: surface.into(),
            code: code.as_str(),
        };
        self.errors.get_or_create(&labels).inc();
    }
}

/// Counts a request and runs it in a span, which continues the caller's trace (`traceparent`) if there is one.
pub(super) async fn request(
    State(metrics): State<HttpMetrics>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let route = path.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
    let method = method_label(request.method());
    let span = span(route, method, request.headers());
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    record_status(&span, status);
    let labels = RouteLabels {
        route: route.to_owned(),
        method,
    };
    metrics
        .duration
        .get_or_create(&labels)
        .observe(started.elapsed().as_secs_f64());
    let counted = RequestLabels {
        route: route.to_owned(),
        method,
        status: status.as_u16(),
    };
    metrics.requests.get_or_create(&counted).inc();
    if let Some(code) = error_code(&response) {
        let surface = match route {
            GRAPHQL_PATH => Surface::Graphql,
            _ => Surface::Rest,
        };
        metrics.failed(surface, code);
    }
    match is_stream(response.headers()) {
        true => {
            let open = OpenStreamCount::new(metrics.streams.get_or_create_owned(&labels));
            held(response, open)
        }
        false => response,
    }
}

/// The code of the error that refused the request, set by the HTTP routes or by GraphQL.
fn error_code(response: &Response) -> Option<ErrorCode> {
    let extensions = response.extensions();
    let refused = || extensions.get::<RefusalCode>();
    let code = extensions.get::<ErrorCode>().copied();
    code.or_else(|| refused().map(|code| ErrorCode::named(&code.0)))
}

fn span(route: &str, method: &'static str, headers: &HeaderMap) -> Span {
    let span = tracing::debug_span!(
        target: SPANS,
        "request",
        otel.name = %format_args!("{method} {route}"),
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        // TLS, if any, is terminated by a proxy.
        url.scheme = "http",
        http.response.status_code = tracing::field::Empty,
    );
    span::continue_trace(&span, headers);
    span
}

fn record_status(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span::failed(span, "server_error");
    }
}

/// The method as a label. The set is bounded, because a client can send any method.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PUT => "PUT",
        // The value that the OpenTelemetry conventions define.
        _ => "_OTHER",
    }
}

fn is_stream(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    media.is_some_and(|media| {
        media.starts_with(b"text/event-stream") || media.starts_with(b"multipart/")
    })
}

/// Counts an open stream until dropped.
struct OpenStreamCount(Gauge);

impl OpenStreamCount {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for OpenStreamCount {
    fn drop(&mut self) {
        self.0.dec();
    }
}
