//! One HTTP exchange: exactly one request, a timeout for each wait, our own error type.
//!
//! Non-streamed requests go through async-openai, with this module as its HTTP service. Its own stack would retry three
//! times, wait as long as a server asks, have no deadline, and log bodies that it cannot parse; it gets only successful
//! responses, whose body is a JSON string. Streams bypass it, since it adds a task and a channel to each.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use async_openai::middleware::HttpRequestFactory;
use futures_util::{FutureExt, future::BoxFuture};
use reqwest::{
    Body, Client, Request, Response,
    header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    body::{self, TextStream},
    endpoint::Endpoint,
    failure::Failure,
    wire::Fields,
};
use crate::llm::{ModelError, ModelErrorKind};

/// The maximum number of bytes read of an error's body.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// The longest wait for an error's body; after that only the status is used.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest non-streamed answer.
const MAX_ANSWER_BYTES: usize = 2 * 1024 * 1024;

/// The body of a non-streamed answer, and its status.
pub(super) type Document = (u16, String);

/// Sends the requests of one provider.
#[derive(Clone)]
pub(super) struct Transport {
    pub(super) http: Client,
    pub(super) endpoint: Endpoint,
    /// The provider's own headers.
    pub(super) headers: HeaderMap,
    /// The longest wait for the head of a non-streamed answer, and for each chunk of its body.
    pub(super) idle_timeout: Duration,
}

/// The HTTP service of async-openai, for one call.
#[derive(Clone)]
pub(super) struct DocumentService {
    pub(super) transport: Transport,
    pub(super) identity: HeaderMap,
}

impl tower::Service<HttpRequestFactory> for DocumentService {
    type Response = Response;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Response, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    /// Answers with a [`Document`] as JSON, whatever the body is: the client would log one that it cannot parse.
    fn call(&mut self, request: HttpRequestFactory) -> Self::Future {
        let Self {
            transport,
            identity,
        } = self.clone();
        let invalid = || Failure::new(ModelErrorKind::InvalidRequest);
        let exchange = async move {
            let request = request.build().await.map_err(|_| invalid())?;
            let until = Instant::now() + transport.idle_timeout;
            let response = transport
                .send(request, identity, "application/json", until)
                .await?;
            let status = response.status().as_u16();
            let document: Document = (status, transport.text(response).await?);
            let document = serde_json::to_vec(&document).map_err(|_| invalid())?;
            Ok(http::Response::new(Body::from(document)).into())
        };
        exchange.boxed()
    }
}

impl Transport {
    /// Requests a stream of events; its head must arrive before `until`. The media type is not checked.
    pub(super) async fn events(
        &self,
        fields: &Fields,
        identity: HeaderMap,
        until: Instant,
    ) -> Result<TextStream, Failure> {
        let invalid = || Failure::new(ModelErrorKind::InvalidRequest);
        let body = serde_json::to_vec(fields).map_err(|_| invalid())?;
        let request = self.http.post(self.endpoint.url.clone()).body(body);
        let request = request.build().map_err(|_| invalid())?;
        let response = self
            .send(request, identity, "text/event-stream", until)
            .await?;
        reject_encoded(&response)?;
        Ok(body::text_stream(response))
    }

    /// Sends a request and waits for the head of a successful response.
    async fn send(
        &self,
        mut request: Request,
        identity: HeaderMap,
        accept: &'static str,
        until: Instant,
    ) -> Result<Response, Failure> {
        *request.url_mut() = self.endpoint.url.clone();
        let headers = request.headers_mut();
        headers.extend(self.headers.clone());
        headers.extend(identity);
        // async-openai always sets this header, even without a key.
        headers.remove(AUTHORIZATION);
        if let Some(authorization) = &self.endpoint.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));

        let response = match timeout_at(until, self.http.execute(request)).await {
            Err(_) => return Err(Failure::new(ModelErrorKind::Timeout)),
            // A connect timeout is a connection failure: nothing was sent.
            Ok(Err(error)) if error.is_timeout() && !error.is_connect() => {
                return Err(Failure::new(ModelErrorKind::Timeout));
            }
            Ok(Err(error)) if error.is_connect() => {
                return Err(Failure::new(ModelErrorKind::Connection));
            }
            // The server accepted the connection, for instance a router whose backend for this model is down.
            Ok(Err(_)) => return Err(Failure::new(ModelErrorKind::Interrupted)),
            Ok(Ok(response)) => response,
        };
        match response.status().is_success() {
            true => Ok(response),
            false => Err(self.error_response(response).await),
        }
    }

    async fn error_response(&self, mut response: Response) -> Failure {
        let mut bytes = Vec::new();
        let body_timeout = self.idle_timeout.min(ERROR_BODY_TIMEOUT);
        let reading = body::read(&mut response, MAX_ERROR_BYTES, body_timeout, &mut bytes);
        // A partial or missing body is fine: the status alone gives the kind.
        let _ = timeout(body_timeout, reading).await;
        Failure::from_response(response.status(), response.headers(), &bytes)
    }

    async fn text(&self, mut response: Response) -> Result<String, Failure> {
        reject_encoded(&response)?;
        let mut bytes = Vec::new();
        let complete = body::read(
            &mut response,
            MAX_ANSWER_BYTES,
            self.idle_timeout,
            &mut bytes,
        )
        .await?;
        if !complete {
            return Err(malformed(&response));
        }
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.trim_start_matches('\u{feff}').to_owned())
    }
}

/// Rejects a compressed body; `identity` was requested.
fn reject_encoded(response: &Response) -> Result<(), Failure> {
    let encoding = response.headers().get(reqwest::header::CONTENT_ENCODING);
    match encoding.map(HeaderValue::as_bytes) {
        None | Some(b"" | b"identity") => Ok(()),
        Some(_) => {
            let mut failure = malformed(response);
            failure.error.code = Some("content_encoding".to_owned());
            Err(failure)
        }
    }
}

fn malformed(response: &Response) -> Failure {
    let mut failure = Failure::new(ModelErrorKind::Malformed);
    failure.error = ModelError {
        status: Some(response.status().as_u16()),
        ..failure.error
    };
    failure
}
