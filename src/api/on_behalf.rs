//! Reads the headers `Titlecast-On-Behalf-Of` and `Titlecast-Tenant`, and refuses them on paths where no route accepts
//! them.
//!
//! On paths that exist, [`Principal::owner`](crate::auth::Principal::owner) refuses them for every scope but one.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, header},
    middleware::Next,
    response::Response,
};
use percent_encoding::percent_decode;

use super::{GRAPHQL_PATH, refuse};
use crate::auth::{NamedOwner, OnBehalf, OnBehalfRefusal};

const USER: HeaderName = HeaderName::from_static("titlecast-on-behalf-of");
const TENANT: HeaderName = HeaderName::from_static("titlecast-tenant");

/// The path prefix of the routes that record messages and write replies.
const CONVERSATIONS: &str = "/api/v1/conversations/";

/// The owner named by a request's headers.
pub(super) fn named(headers: &HeaderMap) -> OnBehalf {
    OnBehalf {
        user: value(headers, USER),
        tenant: value(headers, TENANT),
    }
}

fn value(headers: &HeaderMap, name: HeaderName) -> Option<NamedOwner> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.as_bytes();
    // If the header occurs twice, choosing one would be a guess.
    let is_one = values.next().is_none();
    // Decoding leaves a malformed escape as it is, so a literal percent sign must be encoded.
    let is_encoded = value.iter().enumerate().all(|(at, byte)| {
        let digits = value.get(at + 1..at + 3);
        *byte != b'%' || digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    let decoded = percent_decode(value).decode_utf8().ok();
    let decoded = decoded.filter(|_| is_one && is_encoded);
    Some(NamedOwner::new(decoded.map(Into::into)))
}

/// Refuses the headers on paths where no route accepts them, and on WebSockets: a token in `connection_init` would
/// replace the handshake's caller, and the headers would silently be ignored.
pub(super) async fn check(request: Request, next: Next) -> Response {
    let (headers, path) = (request.headers(), request.uri().path());
    let is_possible = path == GRAPHQL_PATH || path.starts_with(CONVERSATIONS);
    let is_socket = headers.contains_key(header::UPGRADE);
    let is_named = headers.contains_key(USER) || headers.contains_key(TENANT);
    if is_named && (is_socket || !is_possible) {
        return refuse(path, OnBehalfRefusal::Elsewhere.into());
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_name_is_percent_encoded_utf_8_and_sent_once() {
        let read = |texts: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for text in texts {
                headers.append(USER, HeaderValue::from_bytes(text).unwrap());
            }
            named(&headers).user
        };
        let name = |text: &str| Some(NamedOwner::Name(text.into()));
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[b"auth0|5f"]), name("auth0|5f"));
        assert_eq!(read(&[b"%E5%90%8D"]), name("名"));
        assert_eq!(read(&["名".as_bytes()]), name("名"));
        assert_eq!(read(&[b"50%25"]), name("50%"));
        for malformed in [
            &[b"".as_slice()][..],
            &[b"50%"],
            &[b"%zz"],
            &[b"%ff"],
            &[b"%0a"],
            &[b"ada", b"ada"],
        ] {
            assert_eq!(
                read(malformed),
                Some(NamedOwner::Malformed),
                "{malformed:?}"
            );
        }
    }
}
