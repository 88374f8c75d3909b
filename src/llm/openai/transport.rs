//! One HTTP exchange: exactly one request, a deadline for each wait, and our own failures. Documents are exchanged
//! under async-openai, streams beside it.
//!
//! async-openai's own stack retries three times, waits as long as a server asks, has no deadline, and logs the bodies
//! that it can't read. Those paths are not reached from here: what it gets is a success with a body that was checked.
//! Its streams go through a task and a channel of their own, which is work for each token.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use async_openai::middleware::HttpRequestFactory;
use futures_util::{FutureExt, future::BoxFuture};
use reqwest::{
    Body, Client, Request, Response,
    header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderValue},
};
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    body::{self, Pieces},
    endpoint::Endpoint,
    failure::Failure,
    stream,
};
use crate::{
    json,
    llm::{ModelError, ModelErrorKind},
};

/// More of an error's body than this is not read.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// The longest wait for an error's body; without it the status has to do.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest answer that is not a stream.
const MAX_ANSWER_BYTES: usize = 2 * 1024 * 1024;

/// The service that async-openai sends its requests through.
#[derive(Clone)]
pub(super) struct Transport {
    pub(super) http: Client,
    pub(super) endpoint: Endpoint,
    /// The longest wait for the head of an answer in one piece, and for each part of its body.
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
            let until = Instant::now() + transport.idle_timeout;
            let response = transport.send(request, "application/json", until).await?;
            let document = transport.document(response).await?;
            Ok(http::Response::new(Body::from(document.to_string())).into())
        };
        exchange.boxed()
    }
}

impl Transport {
    /// Asks for a stream of events, whose head has to be there at `until`. What the body is, its first bytes say.
    pub(super) async fn events(&self, request: Request, until: Instant) -> Result<Pieces, Failure> {
        let response = self.send(request, "text/event-stream", until).await?;
        refuse_encoded(&response)?;
        Ok(body::pieces(response))
    }

    /// Sends a request, and waits for the head of a successful answer.
    async fn send(
        &self,
        mut request: Request,
        accept: &'static str,
        until: Instant,
    ) -> Result<Response, Failure> {
        *request.url_mut() = self.endpoint.url.clone();
        let headers = request.headers_mut();
        // async-openai always sends one, with or without a key.
        headers.remove(AUTHORIZATION);
        if let Some(authorization) = &self.endpoint.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));

        let response = match timeout_at(until, self.http.execute(request)).await {
            Err(_) => return Err(Failure::new(ModelErrorKind::Timeout)),
            // Nothing was sent yet, however long that took.
            Ok(Err(error)) if error.is_timeout() && !error.is_connect() => {
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
        refuse_encoded(&response)?;
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
        let text = text.trim_start_matches('\u{feff}');
        let document = match json::from_provider::<Value>(text.as_bytes()) {
            Ok(document) if document.is_object() => document,
            // Some servers answer with events, or with a line for each of them, whatever was asked for.
            _ => stream::document(text).map_err(|failure| match failure.error.kind {
                ModelErrorKind::Malformed => malformed(&response),
                _ => failure,
            })?,
        };
        match Failure::in_answer(&document) {
            Some(failure) => Err(failure),
            None => Ok(document),
        }
    }
}

/// A body that is compressed although nothing asked for that.
fn refuse_encoded(response: &Response) -> Result<(), Failure> {
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
