//! Exports spans to an OpenTelemetry collector (OTLP over HTTP, protobuf).
//!
//! The SDK keeps spans in a bounded queue, drops those that do not fit, and exports batches from its own thread. So
//! requests never wait for the collector and never fail because of it. Export uses reqwest, which is already a
//! dependency.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use reqwest::{Url, redirect};
use tokio::runtime::Handle;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

use super::{SPANS, span};

/// The path of traces below the collector's base URL.
const TRACES_PATH: &str = "/v1/traces";

/// Timeout for exporting one batch.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// The minimum interval between warnings about failed exports.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Why an endpoint is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// The endpoint is not an absolute http(s) URL.
    #[error("is not an http:// or https:// URL")]
    Url,
    /// TLS cannot be set up, for example because there are no certificate authorities.
    #[error("cannot be reached: the HTTPS client could not be set up")]
    Tls,
}

/// A running export of traces.
#[derive(Debug)]
pub(super) struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Starts exporting to a collector's base URL. The library reads the sampler, the service name and the headers of
    /// batches from the environment, as OpenTelemetry specifies.
    pub(super) fn start(endpoint: &str) -> Result<Self, InvalidEndpoint> {
        let url = base_url(endpoint)?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(ExportClient::new()?)
            .with_endpoint(format!("{url}{TRACES_PATH}"))
            .build()
            .map_err(|_| InvalidEndpoint::Url)?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource())
            .build();
        span::set_tracer(provider.tracer(env!("CARGO_PKG_NAME")));
        Ok(Self { provider })
    }

    /// The layer that exports this program's spans. Excludes library spans and all events.
    pub(super) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        let is_ours = |metadata: &Metadata<'_>| metadata.is_span() && metadata.target() == SPANS;
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer(env!("CARGO_PKG_NAME")))
            .with_location(false)
            .with_threads(false)
            .with_level(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(filter_fn(is_ours).with_max_level_hint(tracing::Level::DEBUG))
    }

    /// Exports the remaining spans within `timeout`.
    pub(super) async fn stop(self, timeout: Duration) {
        // `shutdown` blocks on the library's thread, which in turn needs the runtime.
        #[expect(clippy::disallowed_methods, reason = "blocks once, at exit")]
        let stopping =
            tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(timeout));
        if !matches!(stopping.await, Ok(Ok(()))) {
            tracing::warn!("cannot send the last spans; they are lost");
        }
    }
}

/// A collector's base URL without trailing slashes.
pub(super) fn base_url(endpoint: &str) -> Result<&str, InvalidEndpoint> {
    let url = endpoint.trim().trim_end_matches('/');
    let parsed = Url::parse(url).map_err(|_| InvalidEndpoint::Url)?;
    match matches!(parsed.scheme(), "http" | "https") && parsed.has_host() {
        true => Ok(url),
        false => Err(InvalidEndpoint::Url),
    }
}

/// The resource. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` override the program's name.
fn resource() -> Resource {
    let named = Resource::builder().build();
    let name = named.get(&"service.name".into());
    let is_named = name.is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let builder = Resource::builder().with_attribute(opentelemetry::KeyValue::new(
        "service.version",
        env!("CARGO_PKG_VERSION"),
    ));
    match is_named {
        true => builder.build(),
        false => builder.with_service_name(env!("CARGO_PKG_NAME")).build(),
    }
}

/// Adapts reqwest to the exporter's HTTP client trait.
#[derive(Debug)]
struct ExportClient {
    http: reqwest::Client,
    runtime: Handle,
    last_warning: Mutex<Option<Instant>>,
}

impl ExportClient {
    fn new() -> Result<Self, InvalidEndpoint> {
        // Fails if the process already has a provider, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(EXPORT_TIMEOUT)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|_| InvalidEndpoint::Tls)?;
        Ok(Self {
            http,
            runtime: Handle::current(),
            last_warning: Mutex::default(),
        })
    }

    /// Warns about a failed export, at most once per interval. `reason` is a status or kind of failure, never text from
    /// the collector.
    fn warn(&self, reason: &str) {
        let mut last_warning = self
            .last_warning
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if last_warning.is_none_or(|at| at.elapsed() >= WARN_INTERVAL) {
            *last_warning = Some(Instant::now());
            tracing::warn!(
                reason,
                "traces cannot be sent to the collector; spans are dropped (--otlp-endpoint)"
            );
        }
    }
}

#[async_trait]
impl HttpClient for ExportClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let http = self.http.clone();
        // The exporter runs on its own thread, but reqwest needs the runtime.
        let exchange = self.runtime.spawn(exchange(http, request));
        match exchange.await? {
            Ok(response) => {
                if !response.status().is_success() {
                    self.warn(response.status().as_str());
                }
                Ok(response)
            }
            Err(error) => {
                self.warn(match error.is_timeout() {
                    true => "timeout",
                    false => "connection",
                });
                Err(error.without_url().into())
            }
        }
    }
}

async fn exchange(
    http: reqwest::Client,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, reqwest::Error> {
    let mut answer = http.execute(request.try_into()?).await?;
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = answer.status();
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    // Read the body, so that the connection can be reused.
    *response.body_mut() = answer.bytes().await?;
    Ok(response)
}
