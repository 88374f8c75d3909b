//! Sending spans to an OpenTelemetry collector (OTLP over HTTP, protobuf).
//!
//! The SDK collects spans in a bounded queue and sends them in batches from a thread of its own; what does not
//! fit is dropped. So nothing that is served waits for a collector, or fails with one. Requests go through the
//! HTTP client that is here anyway.

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

/// Where a collector takes traces, below its base URL.
const PATH: &str = "/v1/traces";

/// The longest that one batch may take.
const EXPORT: Duration = Duration::from_secs(10);

/// How often it is said that batches do not get through.
const COMPLAIN: Duration = Duration::from_secs(60);

/// A URL that no traces can be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// It is not an absolute one.
    #[error("is not an http:// or https:// URL")]
    Url,
    /// TLS could not be set up, as on a machine without any certificate authorities.
    #[error("cannot be reached: the HTTPS client could not be set up")]
    Tls,
}

/// The way to a collector.
#[derive(Debug)]
pub(super) struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Begins to send to the collector with this base URL. Which part of the traces is kept, how the service is
    /// called and what headers a batch has, the library reads from the environment, as OpenTelemetry specifies.
    pub(super) fn start(endpoint: &str) -> Result<Self, InvalidEndpoint> {
        let url = endpoint.trim().trim_end_matches('/');
        let parsed = Url::parse(url).map_err(|_| InvalidEndpoint::Url)?;
        if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
            return Err(InvalidEndpoint::Url);
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client::new()?)
            .with_endpoint(format!("{url}{PATH}"))
            .build()
            .map_err(|_| InvalidEndpoint::Url)?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource())
            .build();
        span::set_tracer(provider.tracer(env!("CARGO_PKG_NAME")));
        Ok(Self { provider })
    }

    /// What hands spans, and nothing but ours, over to be sent. Events are not: what they say is for the log.
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

    /// Sends what is left, for so long at most.
    pub(super) async fn stop(self, patience: Duration) {
        // It waits for the library's thread, and that for the runtime.
        #[expect(clippy::disallowed_methods, reason = "it waits, once, at the end")]
        let stopping =
            tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(patience));
        if !matches!(stopping.await, Ok(Ok(()))) {
            tracing::warn!("the last spans were not sent");
        }
    }
}

/// Who sends: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` go before the name of the program.
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

/// The HTTP client that is here anyway, for a library that brings none.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    runtime: Handle,
    complained: Mutex<Option<Instant>>,
}

impl Client {
    fn new() -> Result<Self, InvalidEndpoint> {
        // An error only says that the process has a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(EXPORT)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|_| InvalidEndpoint::Tls)?;
        Ok(Self {
            http,
            runtime: Handle::current(),
            complained: Mutex::default(),
        })
    }

    /// Says that a batch did not get through, once in a while. `reason` is a status or a kind of failure: what a
    /// collector writes may be anything.
    fn complain(&self, reason: &str) {
        let mut complained = self
            .complained
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if complained.is_none_or(|at| at.elapsed() >= COMPLAIN) {
            *complained = Some(Instant::now());
            tracing::warn!(reason, "traces cannot be sent to the collector");
        }
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let http = self.http.clone();
        // The library asks from a thread of its own, and the client needs the runtime.
        let exchange = self.runtime.spawn(exchange(http, request));
        match exchange.await? {
            Ok(response) => {
                if !response.status().is_success() {
                    self.complain(response.status().as_str());
                }
                Ok(response)
            }
            Err(error) => {
                self.complain(match error.is_timeout() {
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
    // Read, so that the connection can be used again.
    *response.body_mut() = answer.bytes().await?;
    Ok(response)
}
