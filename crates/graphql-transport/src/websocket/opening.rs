//! The opening handshake (RFC 6455, section 4.2).

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::Response,
};
use hyper::upgrade::OnUpgrade;
use tungstenite::handshake::derive_accept_key;

/// A valid handshake request.
pub(super) struct Opening {
    /// The client's subprotocols, in order of preference.
    pub(super) protocols: Vec<String>,
    /// Resolves to the connection after the response is sent.
    pub(super) upgrade: OnUpgrade,
    accept: String,
}

/// The response to an invalid handshake.
pub(super) type Refusal = (
    StatusCode,
    [(header::HeaderName, &'static str); 1],
    &'static str,
);

impl Opening {
    /// Validates the head of a handshake request.
    ///
    /// # Errors
    /// The response to send, if the request is not a valid handshake.
    pub(super) fn read(parts: &mut Parts) -> Result<Self, Refusal> {
        let headers = &parts.headers;
        if parts.method != Method::GET
            || !has(headers, &header::CONNECTION, "upgrade")
            || !has(headers, &header::UPGRADE, "websocket")
        {
            let text = "not a WebSocket handshake: Connection must contain Upgrade";
            return Err(refusal(StatusCode::BAD_REQUEST, text));
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION) != Some(&HeaderValue::from_static("13")) {
            let text = "Sec-WebSocket-Version must be 13";
            return Err(refusal(StatusCode::UPGRADE_REQUIRED, text));
        }
        let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
        let key = match (keys.next(), keys.next()) {
            (Some(key), None) if is_key(key.as_bytes()) => key,
            (None, _) => {
                return Err(refusal(
                    StatusCode::BAD_REQUEST,
                    "Sec-WebSocket-Key is missing",
                ));
            }
            _ => {
                return Err(refusal(
                    StatusCode::BAD_REQUEST,
                    "Sec-WebSocket-Key must be 16 bytes in base64, once",
                ));
            }
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

    /// The `101` response, with the chosen subprotocol.
    pub(super) fn response(&self, protocol: Option<&'static str>) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        // Base64 is always a valid header value.
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

/// Whether a key is the base64 of 16 bytes.
fn is_key(key: &[u8]) -> bool {
    let digits = key.strip_suffix(b"==").unwrap_or_default();
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    digits.len() == 22 && digits.iter().all(is_digit)
}

/// The comma-separated names in all lines of a header.
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
