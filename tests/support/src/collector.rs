//! A real HTTP server that receives OpenTelemetry traces (OTLP, protobuf) and stores them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value},
    trace::v1::{ResourceSpans, span::SpanKind, status::StatusCode as Outcome},
};
use prost::Message;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// The collector. Stops when it is dropped.
pub struct Collector {
    /// The value for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub url: String,
    bodies: Arc<Mutex<Vec<Bytes>>>,
    serving: JoinHandle<()>,
}

/// A span as it was received.
#[derive(Clone, Debug)]
pub struct Span {
    pub name: String,
    pub kind: SpanKind,
    /// Trace id in hexadecimal, as in `traceparent`.
    pub trace: String,
    pub id: String,
    /// Empty for a root span.
    pub parent: String,
    pub attributes: BTreeMap<String, Value>,
    pub is_failed: bool,
    /// Nanoseconds since 1970.
    pub start: u64,
    pub end: u64,
}

impl Collector {
    pub async fn start() -> Self {
        Self::answering(StatusCode::OK).await
    }

    /// Starts a collector that answers with this status.
    pub async fn answering(status: StatusCode) -> Self {
        let bodies = Arc::<Mutex<Vec<Bytes>>>::default();
        let kept = bodies.clone();
        let take = async move |headers: HeaderMap, body: Bytes| {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            kept.lock().unwrap().push(body);
            status
        };
        let router = Router::new().route("/v1/traces", post(take));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        #[expect(clippy::disallowed_methods, reason = "ends when it is dropped")]
        let serving = tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        Self {
            url,
            bodies,
            serving,
        }
    }

    /// The raw bodies of all requests so far.
    pub fn bodies(&self) -> Vec<Bytes> {
        self.bodies.lock().unwrap().clone()
    }

    /// The resource attributes of all exports so far.
    pub fn resources(&self) -> Vec<BTreeMap<String, Value>> {
        let sent = self.sent().into_iter();
        sent.map(|sent| attributes(&sent.resource.unwrap().attributes))
            .collect()
    }

    /// All spans received so far, sorted by start time.
    pub fn spans(&self) -> Vec<Span> {
        let sent = self.sent().into_iter();
        let spans = sent.flat_map(|sent| sent.scope_spans);
        let mut spans: Vec<Span> = spans
            .flat_map(|scope| scope.spans)
            .map(|span| Span {
                kind: span.kind(),
                attributes: attributes(&span.attributes),
                is_failed: span
                    .status
                    .as_ref()
                    .is_some_and(|status| status.code() == Outcome::Error),
                name: span.name,
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                start: span.start_time_unix_nano,
                end: span.end_time_unix_nano,
            })
            .collect();
        spans.sort_by_key(|span| span.start);
        spans
    }

    fn sent(&self) -> Vec<ResourceSpans> {
        let requests = self.bodies();
        let requests = requests
            .iter()
            .map(|body| ExportTraceServiceRequest::decode(body.as_ref()).unwrap());
        requests
            .flat_map(|request| request.resource_spans)
            .collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(list: &[KeyValue]) -> BTreeMap<String, Value> {
    let pairs = list
        .iter()
        .map(|pair| (pair.key.clone(), value(pair.value.as_ref().unwrap())));
    pairs.collect()
}

fn value(value: &AnyValue) -> Value {
    match value.value.as_ref().unwrap() {
        any_value::Value::StringValue(text) => json!(text),
        any_value::Value::BoolValue(is_so) => json!(is_so),
        any_value::Value::IntValue(number) => json!(number),
        any_value::Value::DoubleValue(number) => json!(number),
        any_value::Value::ArrayValue(list) => list.values.iter().map(self::value).collect(),
        other => panic!("not expected: {other:?}"),
    }
}
