//! The path below which all routes are served. It is stripped from each request before routing, so routes, metrics and
//! checks do not depend on it.

use std::{convert::Infallible, fmt, str::FromStr, sync::Arc};

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use tower::Service as _;

/// The longest base path, in bytes.
const MAX_BYTES: usize = 128;

/// Routes that are also served outside the base path, for probes that query a node directly.
const PROBED: [&str; 2] = ["/healthz", "/readyz"];

/// A base path: empty, or of the form `/chat`, without a trailing slash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BasePath(Arc<str>);

impl FromStr for BasePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.strip_suffix('/').unwrap_or(text);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
        let is_segment = |part: &str| {
            !part.is_empty() && part != "." && part != ".." && part.chars().all(is_plain)
        };
        let is_valid = match path.strip_prefix('/') {
            Some(rest) => path.len() <= MAX_BYTES && rest.split('/').all(is_segment),
            None => path.is_empty(),
        };
        match is_valid {
            true => Ok(Self(path.into())),
            false => Err("expected a path such as /chat, of letters, digits, - . _ and ~".into()),
        }
    }
}

impl fmt::Display for BasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.0)
    }
}

impl BasePath {
    fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The part of a path below the base path, including its leading slash.
    pub(super) fn strip<'path>(&self, path: &'path str) -> Option<&'path str> {
        path.strip_prefix(&*self.0)
            .filter(|rest| rest.starts_with('/'))
    }

    /// Serves `routes` below the base path and `outside` elsewhere.
    pub(super) fn mount(self, routes: Router, outside: Router) -> Router {
        if self.is_root() {
            return routes;
        }
        let serve = move |mut request: Request| {
            let (base, mut routes, mut outside) = (self.clone(), routes.clone(), outside.clone());
            async move {
                let path = request.uri().path();
                let router = if PROBED.contains(&path) {
                    &mut routes
                } else if path == &*base.0 {
                    return base.with_slash(request.uri());
                } else if let Some(uri) = base.below(request.uri()) {
                    *request.uri_mut() = uri;
                    &mut routes
                } else {
                    &mut outside
                };
                let Ok::<_, Infallible>(response) = router.call(request).await;
                response
            }
        };
        Router::new().fallback(serve)
    }

    /// The same target without the base path; `None` if it lies outside.
    fn below(&self, uri: &Uri) -> Option<Uri> {
        let path = self.strip(uri.path())?;
        let path_and_query = match uri.query() {
            Some(query) => format!("{path}?{query}").parse(),
            None => path.parse(),
        };
        let mut parts = uri.clone().into_parts();
        // Cannot fail: part of a valid target is itself a valid target.
        parts.path_and_query = Some(path_and_query.ok()?);
        Uri::from_parts(parts).ok()
    }

    /// Redirects the base path without a trailing slash, because relative links on the page would resolve wrongly.
    fn with_slash(&self, uri: &Uri) -> Response {
        let query = uri.query().map(|query| format!("?{query}"));
        let target = format!("{self}{}", query.unwrap_or_default());
        let target = HeaderValue::from_str(&target);
        let target = target.unwrap_or(HeaderValue::from_static("/"));
        (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, target)]).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_path_is_plain() {
        for (text, printed) in [
            ("", "/"),
            ("/", "/"),
            ("/chat", "/chat/"),
            ("/a/b-c/", "/a/b-c/"),
        ] {
            assert_eq!(text.parse::<BasePath>().unwrap().to_string(), printed);
        }
        let long = format!("/{}", "a".repeat(MAX_BYTES));
        for text in [
            "chat", "//", "/a//b", "/a/../b", "/a?b", "/a b", "/%61", "/{id}", &long,
        ] {
            assert!(text.parse::<BasePath>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_whole_segments_are_removed() {
        let base: BasePath = "/chat".parse().unwrap();
        let below = |target: &str| Some(base.below(&target.parse().unwrap())?.to_string());
        assert_eq!(below("/chat/").as_deref(), Some("/"));
        assert_eq!(below("/chat/a?b=/chat/").as_deref(), Some("/a?b=/chat/"));
        assert_eq!(
            below("/chat//evil.example/").as_deref(),
            Some("//evil.example/")
        );
        for outside in ["/", "/chats/a", "/chat", "/a/chat/", "/Chat/"] {
            assert_eq!(below(outside), None, "{outside}");
        }
    }
}
