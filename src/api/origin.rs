//! Which web pages may talk to the service.
//!
//! A browser sends a page's origin along. Without this check any page on the web could open a
//! WebSocket to a server on the reader's own machine, which CORS does not prevent. With links, forms and
//! pictures it sends none, but says in `Sec-Fetch-Site` that they stand on another site. Requests with neither
//! come from programs, not from pages.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::Response,
};
use tower_http::cors::{AllowHeaders, AllowPrivateNetwork, CorsLayer};

use super::{graphql, host, refuse};
use crate::error::Error;

/// How long a browser may remember the answer to a preflight: the longest that Chromium takes.
const PREFLIGHT_AGE: Duration = Duration::from_secs(7200);

/// The most headers that a preflight may ask for; the rest is left out.
const MAX_REQUESTED_HEADERS: usize = 100;

/// The headers of answers that pages may read, besides those that the Fetch standard lets them.
const EXPOSED: [HeaderName; 2] = [header::RETRY_AFTER, header::WWW_AUTHENTICATE];

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
    ///
    /// Such a page may send any header: none changes what is done beyond what the page may do anyway, and tracing
    /// and GraphQL clients send their own. It may also reach a private network from a public one, as the operator
    /// has named it.
    pub(super) fn cors(&self, with_cookies: bool) -> CorsLayer {
        let listed = self.0.clone();
        CorsLayer::new()
            .allow_credentials(with_cookies)
            .allow_origin(self.0.clone())
            .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
            // `check` has left well-formed names alone.
            .allow_headers(AllowHeaders::mirror_request())
            .allow_private_network(AllowPrivateNetwork::predicate(move |origin, _| {
                listed.contains(origin)
            }))
            .expose_headers(EXPOSED)
            .max_age(PREFLIGHT_AGE)
    }

    /// Whether an allowed page sent the request for sure. A cookie proves nothing without it.
    pub(super) fn confirms(&self, headers: &HeaderMap) -> bool {
        headers.contains_key(header::ORIGIN) && self.allows(headers)
    }

    fn allows(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => true,
            (Some(origin), None) => {
                let is_own = |origin| host::is_own(origin, headers);
                self.0.contains(origin) || origin.to_str().is_ok_and(is_own)
            }
            // A browser sends one.
            (Some(_), Some(_)) => false,
        }
    }
}

/// Leaves the well-formed names of `Access-Control-Request-Headers`, which are repeated in the answer.
fn keep_header_names(headers: &mut HeaderMap) {
    let asked = headers.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS);
    let asked = asked.iter().filter_map(|value| value.to_str().ok());
    let names = asked
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .take(MAX_REQUESTED_HEADERS);
    let names: Vec<String> = names.map(|name| name.to_string()).collect();
    headers.remove(header::ACCESS_CONTROL_REQUEST_HEADERS);
    if let Ok(names) = HeaderValue::try_from(names.join(", "))
        && !names.is_empty()
    {
        headers.insert(header::ACCESS_CONTROL_REQUEST_HEADERS, names);
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
    mut request: Request,
    next: Next,
) -> Response {
    keep_header_names(request.headers_mut());
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
        assert!(!allows(Some("")));
        assert!(!allows(Some("ftp://127.0.0.1:8080")));
        assert!(!allows(Some("http://x@127.0.0.1:8080")));
        assert!(!allows(Some("http://127.0.0.1:8080/")));
        assert!(!allows(Some("http://127.0.0.1:8080, https://app.example")));
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
