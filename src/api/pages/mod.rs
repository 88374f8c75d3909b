//! The pages for people: a demo page at `/`, a first-party explorer at `/explorer`, and GraphiQL at `/graphiql`.
//!
//! The pages use the public routes, like any other client. The first two need no build step; `/` is assembled from the
//! files in `home/`. GraphiQL is embedded if its `dist` exists at build time. Otherwise a page loads it from a CDN by
//! version and hash, and links to the explorer if that fails.

use std::{borrow::Cow, sync::LazyLock};

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};

static HOME: LazyLock<OwnPage> = LazyLock::new(|| {
    let html =
        include_str!("home/page.html").replace("/* STYLE */", include_str!("home/style.css"));
    OwnPage::new(html.replace("/* SCRIPT */", HOME_SCRIPT))
});
static EXPLORER: LazyLock<OwnPage> = LazyLock::new(|| OwnPage::new(include_str!("explorer.html")));
static GRAPHIQL_FROM_CDN: LazyLock<OwnPage> = LazyLock::new(|| {
    let examples = include_str!("../../../tools/graphiql/examples.js").replace("export ", "");
    OwnPage::with_cdn(include_str!("graphiql.html").replace("/* EXAMPLES */", &examples))
});

/// The script of the page at `/`. A single script, because the policy allows one hash. The last file starts it.
const HOME_SCRIPT: &str = concat!(
    include_str!("home/frames.js"),
    include_str!("home/graphql.js"),
    include_str!("home/list.js"),
    include_str!("home/chat.js"),
    include_str!("home/send.js"),
);

/// The gzipped build of GraphiQL, by path; empty if it was not built.
const GRAPHIQL: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/graphiql.rs"));

/// Where GraphiQL is loaded from if it is not embedded.
const CDN: &str = "https://unpkg.com";

/// The content security policy of the embedded GraphiQL. Its editor creates style elements; its workers are subject to
/// the policy of their own response.
const GRAPHIQL_POLICY: &str = "default-src 'none'; script-src 'self'; worker-src 'self'; \
    style-src 'self' 'unsafe-inline'; font-src 'self' data:; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A single-file page with one script and one style element.
struct OwnPage {
    html: Cow<'static, str>,
    policy: String,
}

impl OwnPage {
    /// Creates a page whose policy allows only its own script and style, and requests to this server.
    fn new(html: impl Into<Cow<'static, str>>) -> Self {
        let html = html.into();
        let policy = format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'",
            hash_of(&html, "script"),
            hash_of(&html, "style"),
        );
        Self { html, policy }
    }

    /// Creates a page whose policy also allows inline styles, and scripts and styles from the CDN (verified by hash).
    fn with_cdn(html: String) -> Self {
        let policy = format!(
            "default-src 'none'; script-src '{}' {CDN}; style-src 'unsafe-inline' {CDN}; font-src data:; \
             connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash_of(&html, "script"),
        );
        Self {
            html: html.into(),
            policy,
        }
    }

    fn respond(&'static self) -> Response {
        page(
            &self.policy,
            "text/html; charset=utf-8",
            self.html.as_ref().into(),
        )
    }
}

/// The routes of the pages.
pub(super) fn routes() -> Router {
    Router::new()
        .route("/", get(async || HOME.respond()))
        .route("/explorer", get(async || EXPLORER.respond()))
        .route("/graphiql", get(graphiql))
        // The fallback of `/graphiql`, so that browser tests can reach it in builds that embed GraphiQL.
        .route("/graphiql/cdn", get(async || GRAPHIQL_FROM_CDN.respond()))
        .route("/graphiql/{*path}", get(graphiql_file))
}

async fn graphiql() -> Response {
    file("index.html").unwrap_or_else(|| GRAPHIQL_FROM_CDN.respond())
}

async fn graphiql_file(Path(path): Path<String>) -> Response {
    file(&path).unwrap_or_else(|| StatusCode::NOT_FOUND.into_response())
}

/// An embedded GraphiQL file.
fn file(path: &str) -> Option<Response> {
    let (_, gzipped) = GRAPHIQL.iter().find(|(name, _)| *name == path)?;
    let content_type = match path.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "ttf" => "font/ttf",
        _ => "application/octet-stream",
    };
    let mut response = page(GRAPHIQL_POLICY, content_type, (*gzipped).into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    if path.starts_with("assets/") {
        // Asset names contain a hash of their content.
        let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
        headers.insert(header::CACHE_CONTROL, forever);
    }
    Some(response)
}

fn page(policy: &str, content_type: &'static str, body: axum::body::Body) -> Response {
    let mut response = Response::new(body);
    // Cannot fail, because policies are ASCII.
    let policy =
        HeaderValue::from_str(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    *response.headers_mut() = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (
            HeaderName::from_static("referrer-policy"),
            HeaderValue::from_static("no-referrer"),
        ),
    ]);
    response
}

/// The policy hash of the only element with this name.
fn hash_of(html: &str, element: &str) -> String {
    let text = html
        .split_once(&format!("<{element}>"))
        .and_then(|(_, rest)| rest.split_once(&format!("</{element}>")))
        .map_or("", |(text, _)| text);
    format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(text)))
}
