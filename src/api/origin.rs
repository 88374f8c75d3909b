//! Which web pages may talk to the service.
//!
//! A browser sends a page's origin along. Without this check any page on the web could open a
//! WebSocket to a server on the reader's own machine, which CORS does not prevent. Requests without an
//! origin come from programs, not from pages.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::Response,
};
use tower_http::cors::CorsLayer;

use super::refuse;
use crate::error::Error;

/// The origins that are allowed besides the service's own.
#[derive(Clone, Debug, Default)]
pub struct AllowedOrigins(Vec<HeaderValue>);

impl AllowedOrigins {
    /// Origins as browsers write them: `https://app.example`. Empty ones are passed over.
    ///
    /// # Errors
    /// The first text that is no origin.
    pub fn parse(origins: &[String]) -> Result<Self, String> {
        let parse = |origin: &String| {
            let has_shape = origin.split_once("://").is_some_and(|(scheme, host)| {
                matches!(scheme, "http" | "https") && !host.is_empty() && !host.contains('/')
            });
            match HeaderValue::from_str(&origin.to_ascii_lowercase()) {
                Ok(value) if has_shape => Ok(value),
                _ => Err(origin.clone()),
            }
        };
        origins
            .iter()
            // An empty environment variable is one empty origin.
            .filter(|origin| !origin.is_empty())
            .map(parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The CORS headers for the allowed origins, and for no others; with cookies where they may hold a
    /// token.
    pub(super) fn cors(&self, with_cookies: bool) -> CorsLayer {
        CorsLayer::new()
            .allow_credentials(with_cookies)
            .allow_origin(self.0.clone())
            .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
            .allow_headers([
                header::CONTENT_TYPE,
                header::AUTHORIZATION,
                HeaderName::from_static("idempotency-key"),
                HeaderName::from_static("last-event-id"),
            ])
    }

    /// Whether an allowed page sent the request for sure. A cookie proves nothing without it.
    pub(super) fn confirms(&self, headers: &HeaderMap) -> bool {
        headers.contains_key(header::ORIGIN) && self.allows(headers)
    }

    fn allows(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return true;
        };
        if self.0.contains(origin) {
            return true;
        }
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let origin = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.split_once("://"));
        matches!((origin, host), (Some((_, origin)), Some(host)) if origin.eq_ignore_ascii_case(host))
    }
}

/// Refuses requests of foreign pages.
pub(super) async fn check(
    State(origins): State<Arc<AllowedOrigins>>,
    request: Request,
    next: Next,
) -> Response {
    if origins.allows(request.headers()) {
        next.run(request).await
    } else {
        refuse(request.uri().path(), Error::ForbiddenOrigin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_and_listed_origins_pass_and_others_do_not() {
        let origins = AllowedOrigins::parse(&["https://app.example".into()]).unwrap();
        let allows = |origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:8080"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            origins.allows(&headers)
        };
        assert!(allows(None));
        assert!(allows(Some("http://127.0.0.1:8080")));
        assert!(allows(Some("https://app.example")));
        assert!(!allows(Some("https://app.example.evil")));
        assert!(!allows(Some("http://127.0.0.1:8081")));
        assert!(!allows(Some("null")));
    }

    #[test]
    fn what_is_no_origin_is_named() {
        for bad in [
            "app.example",
            "https://",
            "https://app.example/",
            "ftp://x",
            "*",
        ] {
            assert_eq!(AllowedOrigins::parse(&[bad.into()]).unwrap_err(), bad);
        }
    }
}
