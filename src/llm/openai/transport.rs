//! One HTTP exchange, under async-openai: exactly one request, a deadline for each wait, and our own failures.
//!
//! async-openai's own stack retries three times, waits as long as a server asks, has no deadline, and logs the bodies
//! that it can't read. Those paths are not reached from here: what it gets is a success with a body that was checked.
//! An event that is not JSON is the one thing that it can still log, so its log target is switched off in telemetry.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use async_openai::middleware::HttpRequestFactory;
use futures_util::{FutureExt, future::BoxFuture};
use reqwest::{
    Body, Client, Response,
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

/// What a request expects to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One JSON document.
    Document,
    /// Server-sent events.
    Events,
}

/// The service that async-openai sends its requests through.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    pub(super) http: Client,
    pub(super) shape: Shape,
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
        self.clone().exchange(request).boxed()
    }
}

impl Transport {
    async fn exchange(self, request: HttpRequestFactory) -> Result<Response, Failure> {
        let request = request.build().await;
        let mut request = request.map_err(|_| Failure::new(ModelErrorKind::InvalidRequest))?;
        let headers = request.headers_mut();
        if self.anonymous {
            headers.remove(AUTHORIZATION);
        } else if let Some(key) = headers.get_mut(AUTHORIZATION) {
            key.set_sensitive(true);
        }
        headers.insert(
            ACCEPT,
            HeaderValue::from_static(match self.shape {
                Shape::Document => "application/json",
                Shape::Events => "text/event-stream",
            }),
        );

        let response = match timeout(self.idle_timeout, self.http.execute(request)).await {
            Err(_) => return Err(Failure::new(ModelErrorKind::Timeout)),
            Ok(Err(error)) if error.is_timeout() => {
                return Err(Failure::new(ModelErrorKind::Timeout));
            }
            Ok(Err(_)) => return Err(Failure::new(ModelErrorKind::Connection)),
            Ok(Ok(response)) => response,
        };
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let media_type = response
            .headers()
            .get(CONTENT_TYPE)
            .map(HeaderValue::as_bytes);
        let media_type =
            String::from_utf8_lossy(media_type.unwrap_or_default()).to_ascii_lowercase();
        match self.shape {
            Shape::Document => self.document(response).await,
            // Some servers answer a request for a stream with an error or with the whole reply at once.
            Shape::Events if media_type.contains("json") => self.document(response).await,
            Shape::Events if media_type.contains("html") => Err(malformed(&response)),
            Shape::Events => Ok(reply(Body::wrap_stream(body::tidy(response)))),
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

    async fn document(&self, mut response: Response) -> Result<Response, Failure> {
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
        Ok(reply(Body::from(match self.shape {
            Shape::Document => value.to_string(),
            Shape::Events => format!("data: {value}\n\n"),
        })))
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

fn reply(body: Body) -> Response {
    http::Response::new(body).into()
}
