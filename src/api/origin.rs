//! Which web pages may talk to the service.
//!
//! A browser sends a page's origin along. Without this check any page on the web could open a
//! WebSocket to a server on the reader's own machine, which CORS does not prevent. With links, forms and
//! pictures it sends none, but says in `Sec-Fetch-Site` that they stand on another site. Requests with neither
//! come from programs, not from pages.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::Response,
};
use tower_http::cors::CorsLayer;

use super::{graphql, refuse};
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

/// Whether a link, a form or a picture on a page of another origin leads here.
fn is_linked_from_elsewhere(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site");
    !headers.contains_key(header::ORIGIN)
        && site.is_some_and(|site| site != "same-origin" && site != "none")
}

/// Refuses requests of foreign pages.
pub(super) async fn check(
    State(origins): State<Arc<AllowedOrigins>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    // Any page may have a link to an explorer, or to a health page.
    let has_data = path == graphql::PATH || path.starts_with("/api/");
    let is_linked = has_data && is_linked_from_elsewhere(request.headers());
    if origins.allows(request.headers()) && !is_linked {
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
    fn a_link_of_another_site_is_known_by_what_browsers_say() {
        let is_linked = |headers: &[(&'static str, &'static str)]| {
            let headers = headers.iter();
            let headers = headers.map(|&(name, value)| {
                let name = HeaderName::from_static(name);
                (name, HeaderValue::from_static(value))
            });
            is_linked_from_elsewhere(&headers.collect())
        };
        assert!(is_linked(&[("sec-fetch-site", "cross-site")]));
        assert!(is_linked(&[("sec-fetch-site", "same-site")]));
        for passed in [
            &[][..],
            &[("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
            // Its origin is checked.
            &[
                ("sec-fetch-site", "cross-site"),
                ("origin", "https://app.example"),
            ],
        ] {
            assert!(!is_linked(passed), "{passed:?}");
        }
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
