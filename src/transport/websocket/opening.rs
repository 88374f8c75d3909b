//! The opening handshake (RFC 6455, section 4.2).

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::Response,
};
use hyper::upgrade::OnUpgrade;
use tungstenite::handshake::derive_accept_key;

/// What a client that opens a WebSocket says.
pub(super) struct Opening {
    /// The subprotocols that it speaks, in its order.
    pub(super) protocols: Vec<String>,
    /// The connection, once it was answered.
    pub(super) upgrade: OnUpgrade,
    accept: String,
}

/// The answer to who does not know how to open one.
pub(super) type Refusal = (
    StatusCode,
    [(header::HeaderName, &'static str); 1],
    &'static str,
);

impl Opening {
    /// Reads the head of a request.
    ///
    /// # Errors
    /// With the answer to it when it opens no WebSocket.
    pub(super) fn read(parts: &mut Parts) -> Result<Self, Refusal> {
        let headers = &parts.headers;
        if parts.method != Method::GET
            || !has(headers, &header::CONNECTION, "upgrade")
            || !has(headers, &header::UPGRADE, "websocket")
        {
            return Err(refusal(
                StatusCode::BAD_REQUEST,
                "this is no opening of a WebSocket",
            ));
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION) != Some(&HeaderValue::from_static("13")) {
            let text = "the version of WebSockets is 13";
            return Err(refusal(StatusCode::UPGRADE_REQUIRED, text));
        }
        let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
            return Err(refusal(
                StatusCode::BAD_REQUEST,
                "Sec-WebSocket-Key is missing",
            ));
        };
        let accept = derive_accept_key(key.as_bytes());
        let protocols = names(headers, &header::SEC_WEBSOCKET_PROTOCOL)
            .map(str::to_owned)
            .collect();
        let Some(upgrade) = parts.extensions.remove::<OnUpgrade>() else {
            let text = "this connection cannot be upgraded";
            return Err(refusal(StatusCode::UPGRADE_REQUIRED, text));
        };
        Ok(Self {
            protocols,
            upgrade,
            accept,
        })
    }

    /// The answer that makes it a WebSocket, of this subprotocol.
    pub(super) fn response(&self, protocol: Option<&'static str>) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        // Base64 is a header's text.
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        if let Some(protocol) = protocol {
            let protocol = HeaderValue::from_static(protocol);
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        response
    }
}

fn refusal(status: StatusCode, text: &'static str) -> Refusal {
    (status, [(header::SEC_WEBSOCKET_VERSION, "13")], text)
}

/// The names that a header lists, over all of its lines.
fn names<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|names| names.to_str().ok())
        .flat_map(|names| names.split(','))
        .map(str::trim)
}

pub(super) fn has(headers: &HeaderMap, name: &header::HeaderName, value: &str) -> bool {
    names(headers, name).any(|one| one.eq_ignore_ascii_case(value))
}
