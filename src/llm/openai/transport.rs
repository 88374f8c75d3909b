//! One HTTP exchange: exactly one request, a deadline for each wait, and our own failures. Documents are exchanged
//! under async-openai, streams beside it.
//!
//! async-openai's own stack retries three times, waits as long as a server asks, has no deadline, and logs the bodies
//! that it can't read. Those paths are not reached from here: what it gets is a success with a body that was checked.
//! Its streams go through a task and a channel of their own, which is work for each token.

use std::{
    io,
    task::{Context, Poll},
    time::Duration,
};

use async_openai::middleware::HttpRequestFactory;
use futures_util::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use reqwest::{
    Body, Client, Request, Response,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use serde_json::Value;
use tokio::time::timeout;

use super::{body, failure::Failure};
use crate::llm::{ModelError, ModelErrorKind};

/// More of an error's body than this is not read.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// The longest wait for an error's body; without it the status has to do.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest answer that is not a stream.
const MAX_ANSWER_BYTES: usize = 2 * 1024 * 1024;

/// The service that async-openai sends its requests through.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    pub(super) http: Client,
    /// Whether to leave out the header that async-openai always sends, with or without a key.
    pub(super) anonymous: bool,
    pub(super) idle_timeout: Duration,
}

impl tower::Service<HttpRequestFactory> for Transport {
    type Response = Response;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Response, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequestFactory) -> Self::Future {
        let transport = self.clone();
        let exchange = async move {
            let request = request.build().await;
            let request = request.map_err(|_| Failure::new(ModelErrorKind::InvalidRequest))?;
            let response = transport.send(request, "application/json").await?;
            let document = transport.document(response).await?;
            Ok(http::Response::new(Body::from(document.to_string())).into())
        };
        exchange.boxed()
    }
}

/// The text of a stream of events, as it comes.
pub(super) type Pieces = BoxStream<'static, io::Result<Vec<u8>>>;

impl Transport {
    /// Asks for a stream of server-sent events.
    pub(super) async fn events(&self, request: Request) -> Result<Pieces, Failure> {
        let response = self.send(request, "text/event-stream").await?;
        let media_type = media_type(&response);
        // Some servers answer a request for a stream with an error or with the whole reply at once.
        if media_type.contains("json") {
            let document = self.document(response).await?;
            let event = format!("data: {document}\n\n").into_bytes();
            return Ok(stream::iter([Ok(event)]).boxed());
        }
        if media_type.contains("html") {
            return Err(malformed(&response));
        }
        Ok(body::tidy(response).boxed())
    }

    /// Sends a request, and waits for the head of a successful answer.
    async fn send(&self, mut request: Request, accept: &'static str) -> Result<Response, Failure> {
        let headers = request.headers_mut();
        if self.anonymous {
            headers.remove(AUTHORIZATION);
        } else if let Some(key) = headers.get_mut(AUTHORIZATION) {
            key.set_sensitive(true);
        }
        headers.insert(ACCEPT, HeaderValue::from_static(accept));

        let response = match timeout(self.idle_timeout, self.http.execute(request)).await {
            Err(_) => return Err(Failure::new(ModelErrorKind::Timeout)),
            Ok(Err(error)) if error.is_timeout() => {
                return Err(Failure::new(ModelErrorKind::Timeout));
            }
            Ok(Err(_)) => return Err(Failure::new(ModelErrorKind::Connection)),
            Ok(Ok(response)) => response,
        };
        match response.status().is_success() {
            true => Ok(response),
            false => Err(self.refusal(response).await),
        }
    }

    async fn refusal(&self, mut response: Response) -> Failure {
        let mut bytes = Vec::new();
        let patience = self.idle_timeout.min(ERROR_BODY_TIMEOUT);
        let reading = body::read(&mut response, MAX_ERROR_BYTES, patience, &mut bytes);
        // Whatever could be read in time has to do; the status alone names the kind.
        let _ = timeout(patience, reading).await;
        Failure::from_response(response.status(), response.headers(), &bytes)
    }

    async fn document(&self, mut response: Response) -> Result<Value, Failure> {
        let mut bytes = Vec::new();
        let complete = body::read(
            &mut response,
            MAX_ANSWER_BYTES,
            self.idle_timeout,
            &mut bytes,
        )
        .await?;
        let text = String::from_utf8_lossy(&bytes);
        let Ok(value) = serde_json::from_str::<Value>(&text) else {
            return Err(malformed(&response));
        };
        if !complete {
            return Err(malformed(&response));
        }
        if let Some(failure) = Failure::in_answer(&value) {
            return Err(failure);
        }
        Ok(value)
    }
}

fn media_type(response: &Response) -> String {
    let media_type = response.headers().get(CONTENT_TYPE);
    let media_type = media_type.map(HeaderValue::as_bytes).unwrap_or_default();
    String::from_utf8_lossy(media_type).to_ascii_lowercase()
}

fn malformed(response: &Response) -> Failure {
    let mut failure = Failure::new(ModelErrorKind::Malformed);
    failure.error = ModelError {
        status: Some(response.status().as_u16()),
        ..failure.error
    };
    failure
}
