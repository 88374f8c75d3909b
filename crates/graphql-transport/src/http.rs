//! GraphQL over HTTP: parses requests and builds responses.
//!
//! Follows the GraphQL-over-HTTP specification as its audit suite (npm `graphql-http`) checks it: with
//! `application/json` a well-formed request gets status 200; with `application/graphql-response+json` a request that
//! was not executed gets 400.

use async_graphql::ServerError;
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use tokio_util::sync::CancellationToken;

use super::{
    Code, Endpoint, Service,
    accept::{Accepted, Media, negotiate},
    body::{BodyError, read_body},
    direct::{Detach, DirectWrites},
    expiry::{EXPIRED_CHALLENGE, ending},
    multipart,
    operation::{Answer, Carries},
    payload::{Payload, code_of},
    request::RawRequest,
    sse, websocket,
};

/// Handles `POST`: any operation, as JSON.
pub(super) async fn by_post<S: Service>(
    State(endpoint): State<Endpoint<S>>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Some(accepted) = negotiate(&parts.headers) else {
        return not_acceptable();
    };
    // Authenticate before reading the body.
    let caller = match endpoint.inner.service.caller(&parts).await {
        Ok(caller) => caller,
        Err(error) => return refuse(error, accepted, true),
    };
    let raw = match read(&endpoint, &parts.headers, body).await {
        Ok(raw) => raw,
        Err(error) => return refuse(error, accepted, false),
    };
    let carries = match accepted.stream {
        Some(_) => Carries::Everything,
        None => Carries::Single,
    };
    let detach = detach(&parts);
    answer(&endpoint, &caller, raw, accepted, carries, detach).await
}

/// Handles `GET`: a query in the query string, or a WebSocket handshake.
pub(super) async fn by_get<S: Service>(
    State(endpoint): State<Endpoint<S>>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    // The router also passes HEAD to this handler. Correct response headers would require executing the query.
    if parts.method == Method::HEAD {
        return other_method().await;
    }
    if websocket::is_asked_for(&parts.headers) {
        return websocket::open(endpoint, parts).await;
    }
    let Some(accepted) = negotiate(&parts.headers) else {
        return not_acceptable();
    };
    let caller = match endpoint.inner.service.caller(&parts).await {
        Ok(caller) => caller,
        Err(error) => return refuse(error, accepted, true),
    };
    let raw = match RawRequest::from_query_string(parts.uri.query().unwrap_or_default()) {
        Ok(raw) => raw,
        Err(error) => return refuse(error, accepted, false),
    };
    // EventSource can only GET, and a subscription is read-only. A GET must never run a mutation (CSRF), whatever it
    // accepts.
    let carries = match accepted.stream {
        Some(_) => Carries::Reads,
        None => Carries::Queries,
    };
    let detach = detach(&parts);
    answer(&endpoint, &caller, raw, accepted, carries, detach).await
}

/// Refuses any other method.
pub(super) async fn other_method() -> Response {
    let error = Code::MethodNotAllowed.error("GraphQL is served by GET and POST");
    let accepted = Accepted {
        single: Some(Media::Json),
        stream: None,
    };
    refuse(error, accepted, false)
}

/// The server's function that detaches the response, if it has one.
fn detach(parts: &Parts) -> Option<Detach> {
    parts.extensions.get::<DirectWrites>()?.detach
}

/// Response extension: the code of the error that refused the request. For metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalCode(pub String);

async fn read<S: Service>(
    endpoint: &Endpoint<S>,
    headers: &HeaderMap,
    body: Body,
) -> Result<RawRequest, ServerError> {
    if !is_json(headers) {
        let text = "the Content-Type must be application/json, in UTF-8";
        return Err(Code::UnsupportedMediaType.error(text));
    }
    if !is_identity(headers) {
        let text = "compressed bodies are not supported";
        return Err(Code::UnsupportedMediaType.error(text));
    }
    let limit_bytes = endpoint.inner.settings.body_bytes;
    let bytes = read_body(body, limit_bytes)
        .await
        .map_err(|error| match error {
            BodyError::TooLarge => {
                Code::PayloadTooLarge.error(format!("the body is larger than {limit_bytes} bytes"))
            }
            BodyError::Malformed => Code::InvalidJson.error("the request body broke off"),
        })?;
    let json = lenient_json::from_client(&bytes)
        .map_err(|_| Code::InvalidJson.error("the request body is not valid JSON"))?;
    RawRequest::from_json(json)
}

/// Whether the body is not compressed.
fn is_identity(headers: &HeaderMap) -> bool {
    let encodings = headers.get_all(header::CONTENT_ENCODING);
    encodings.iter().all(|encoding| {
        encoding.is_empty() || encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(value)) = headers.get(header::CONTENT_TYPE).map(HeaderValue::to_str) else {
        return false;
    };
    let mut parts = value.split(';').map(str::trim);
    let is_json = parts
        .next()
        .is_some_and(|media| media.eq_ignore_ascii_case("application/json"));
    let is_utf8 = parts
        .filter_map(|parameter| parameter.split_once('='))
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
        .map(|(_, charset)| charset.trim().trim_matches('"'))
        .all(|charset| {
            ["utf-8", "utf8"]
                .iter()
                .any(|name| charset.eq_ignore_ascii_case(name))
        });
    is_json && is_utf8
}

async fn answer<S: Service>(
    endpoint: &Endpoint<S>,
    caller: &S::Caller,
    raw: RawRequest,
    accepted: Accepted,
    carries: Carries,
    detach: Option<Detach>,
) -> Response {
    match endpoint.run(caller, raw, carries).await {
        Ok(Answer::Single(payload)) => single(payload, accepted),
        Ok(Answer::Subscription(subscription)) => {
            let open = match endpoint.inner.service.open(caller) {
                Ok(open) => open,
                Err(error) => return refuse(error, accepted, true),
            };
            let until = endpoint.inner.service.until(caller);
            let (keep_alive, closing) =
                (endpoint.inner.settings.keep_alive, &endpoint.inner.closing);
            if let (Some(detach), Some(Media::EventStream)) = (detach, accepted.stream) {
                let limits = sse::StreamLimits {
                    until,
                    open,
                    keep_alive,
                    stall: endpoint.inner.settings.stall,
                    closing: closing.clone(),
                };
                return sse::write(detach, subscription, limits);
            }
            let payloads = ending(subscription.events(), until, open);
            match accepted.stream {
                Some(Media::Multipart) => multipart::respond(payloads, keep_alive, closing),
                _ => sse::respond(payloads, keep_alive, closing),
            }
        }
        Err(error) => refuse(error, accepted, true),
    }
}

/// Renders one response, as a stream of one event if the client accepts only streams.
fn single(payload: Payload, accepted: Accepted) -> Response {
    let media = accepted.single.or(accepted.stream);
    let status = match (media, &payload.refused) {
        (Some(Media::GraphqlResponse), Some(_)) => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    };
    write(status, media, payload)
}

/// Renders an error that occurred before execution. With `is_well_formed`, the request followed the protocol, so older
/// clients get status 200.
fn refuse(error: ServerError, accepted: Accepted, is_well_formed: bool) -> Response {
    let of = |candidate: Code| candidate.is_of(&error);
    let challenge = if of(Code::AuthExpired) {
        Some(EXPIRED_CHALLENGE)
    } else {
        of(Code::Unauthenticated).then_some("Bearer")
    };
    let media = accepted.single.or(accepted.stream);
    let status = if of(Code::PayloadTooLarge) {
        StatusCode::PAYLOAD_TOO_LARGE
    } else if of(Code::UnsupportedMediaType) {
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    } else if of(Code::NotAcceptable) {
        StatusCode::NOT_ACCEPTABLE
    } else if challenge.is_some() {
        StatusCode::UNAUTHORIZED
    } else if of(Code::Internal) {
        StatusCode::INTERNAL_SERVER_ERROR
    } else if of(Code::RateLimited) {
        StatusCode::TOO_MANY_REQUESTS
    } else if of(Code::Forbidden) || of(Code::ForbiddenOrigin) {
        StatusCode::FORBIDDEN
    } else if of(Code::MethodNotAllowed) {
        StatusCode::METHOD_NOT_ALLOWED
    } else if is_well_formed && media != Some(Media::GraphqlResponse) {
        StatusCode::OK
    } else {
        StatusCode::BAD_REQUEST
    };
    let (retry_after, code) = (retry_after(&error), RefusalCode(code_of(&error).to_owned()));
    let mut response = write(status, media, Payload::refusal(vec![error]));
    response.extensions_mut().insert(code);
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let allowed = HeaderValue::from_static("GET, POST");
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    if let Some(challenge) = challenge {
        let challenge = HeaderValue::from_static(challenge);
        let headers = response.headers_mut();
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

fn retry_after(error: &ServerError) -> Option<HeaderValue> {
    let seconds = error.extensions.as_ref()?.get("retryAfter")?;
    HeaderValue::from_str(&seconds.to_string()).ok()
}

fn not_acceptable() -> Response {
    let text =
        "application/json, application/graphql-response+json, text/event-stream or multipart/mixed";
    let accepted = Accepted {
        single: Some(Media::Json),
        stream: None,
    };
    refuse(
        Code::NotAcceptable.error(format!("the response can only be {text}")),
        accepted,
        false,
    )
}

fn write(status: StatusCode, media: Option<Media>, payload: Payload) -> Response {
    let content_type = match media {
        Some(Media::EventStream) if status == StatusCode::OK => {
            let one = futures_util::stream::iter([payload]);
            return sse::respond(one, std::time::Duration::MAX, &CancellationToken::new());
        }
        Some(Media::GraphqlResponse) => "application/graphql-response+json; charset=utf-8",
        _ => "application/json; charset=utf-8",
    };
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::VARY, "Accept"),
    ];
    (status, headers, payload.json).into_response()
}
