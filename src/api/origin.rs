//! Checks the origin of requests: only the service's own pages and the allowed origins may use it.
//!
//! Without this check, any web page could open a WebSocket to a server on the user's machine; CORS does not prevent
//! that. Browsers send `Origin` with scripted requests. For links, forms and images they omit it, but send
//! `Sec-Fetch-Site`. Requests with neither header come from programs.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::Response,
};
use tower_http::cors::{AllowHeaders, AllowPrivateNetwork, CorsLayer};

use super::{GRAPHQL_PATH, host, refuse};
use crate::error::Error;

/// How long a browser may cache a preflight response. This is Chromium's maximum.
const PREFLIGHT_AGE: Duration = Duration::from_secs(7200);

/// The most headers that a preflight may request; the rest are ignored.
const MAX_REQUESTED_HEADERS: usize = 100;

/// Response headers that pages may read, in addition to those of the Fetch standard.
const EXPOSED: [HeaderName; 5] = [
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
    header::ETAG,
    header::LOCATION,
    HeaderName::from_static("x-vercel-ai-ui-message-stream"),
];

/// The allowed origins, in addition to the service's own.
#[derive(Clone, Debug, Default)]
pub struct AllowedOrigins(Vec<HeaderValue>);

impl AllowedOrigins {
    /// Parses origins as browsers send them: `https://app.example`. Empty entries are ignored.
    ///
    /// # Errors
    /// The first invalid entry.
    pub fn parse(origins: &[String]) -> Result<Self, String> {
        let parse = |origin: &String| {
            let has_shape = origin.split_once("://").is_some_and(|(scheme, host)| {
                matches!(scheme, "http" | "https") && !host.is_empty() && !host.contains(['/', '*'])
            });
            match HeaderValue::from_str(&origin.to_ascii_lowercase()) {
                Ok(value) if has_shape => Ok(value),
                _ => Err(origin.clone()),
            }
        };
        origins
            .iter()
            // An empty environment variable parses as one empty entry.
            .filter(|origin| !origin.is_empty())
            .map(parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The CORS layer for the allowed origins. Allows credentials if a cookie may hold the token.
    ///
    /// An allowed page may send any header: no header gives it more rights than it has anyway, and tracing and GraphQL
    /// clients send their own. It may also access a private network from a public one, because the operator listed it.
    pub(super) fn cors(&self, with_cookies: bool) -> CorsLayer {
        let listed = self.0.clone();
        CorsLayer::new()
            .allow_credentials(with_cookies)
            .allow_origin(self.0.clone())
            .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
            // `check` has already removed invalid names.
            .allow_headers(AllowHeaders::mirror_request())
            .allow_private_network(AllowPrivateNetwork::predicate(move |origin, _| {
                listed.contains(origin)
            }))
            .expose_headers(EXPOSED)
            .max_age(PREFLIGHT_AGE)
    }

    /// Lets a page of a listed origin read a response that was created outside the CORS layer.
    pub(super) fn reveal(
        &self,
        origin: Option<&HeaderValue>,
        with_cookies: bool,
        response: &mut Response,
    ) {
        let headers = response.headers_mut();
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        let Some(origin) = origin.filter(|origin| self.0.contains(origin)) else {
            return;
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let exposed = EXPOSED.map(|name| name.to_string()).join(",");
        if let Ok(exposed) = HeaderValue::try_from(exposed) {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
        if with_cookies {
            let yes = HeaderValue::from_static("true");
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
    }

    /// Whether the request names an allowed origin. Cookies are accepted only then.
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
            // Refused, because a browser sends at most one.
            (Some(_), Some(_)) => false,
        }
    }
}

/// Removes invalid names from `Access-Control-Request-Headers`, because the response repeats them.
fn remove_invalid_header_names(headers: &mut HeaderMap) {
    let requested = headers.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS);
    let requested = requested.iter().filter_map(|value| value.to_str().ok());
    let names = requested
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

/// Whether the request comes from a link, form or image on a page of another origin.
fn is_cross_site_link(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site");
    !headers.contains_key(header::ORIGIN)
        && site.is_some_and(|site| site != "same-origin" && site != "none")
}

/// Rejects requests from pages of other origins.
pub(super) async fn check(
    State(origins): State<Arc<AllowedOrigins>>,
    mut request: Request,
    next: Next,
) -> Response {
    remove_invalid_header_names(request.headers_mut());
    let path = request.uri().path();
    // Any page may link to the explorer or a health endpoint.
    let has_data = path == GRAPHQL_PATH || path.starts_with("/api/");
    let is_linked = has_data && is_cross_site_link(request.headers());
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
    fn a_cross_site_link_is_detected_by_its_fetch_metadata() {
        let is_linked = |headers: &[(&'static str, &'static str)]| {
            let headers = headers.iter();
            let headers = headers.map(|&(name, value)| {
                let name = HeaderName::from_static(name);
                (name, HeaderValue::from_static(value))
            });
            is_cross_site_link(&headers.collect())
        };
        assert!(is_linked(&[("sec-fetch-site", "cross-site")]));
        assert!(is_linked(&[("sec-fetch-site", "same-site")]));
        for passed in [
            &[][..],
            &[("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
            // Covered by the origin check.
            &[
                ("sec-fetch-site", "cross-site"),
                ("origin", "https://app.example"),
            ],
        ] {
            assert!(!is_linked(passed), "{passed:?}");
        }
    }

    #[test]
    fn an_invalid_origin_is_named_in_the_error() {
        for bad in [
            "app.example",
            "https://",
            "https://app.example/",
            "ftp://x",
            "*",
            "http://localhost:*",
        ] {
            assert_eq!(AllowedOrigins::parse(&[bad.into()]).unwrap_err(), bad);
        }
    }
}
