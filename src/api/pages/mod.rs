//! The pages for people: at `/` one that shows what the service does, a first-party explorer at `/explorer`, and
//! GraphiQL at `/graphiql`.
//!
//! They use the same routes as every other client, and know nothing of the service. The first two are one file each,
//! which no build step touches. GraphiQL is embedded when its `dist` existed at build time; without it the page loads a
//! pinned build from a CDN, and says where the explorer is when that fails.

use std::sync::LazyLock;

use async_graphql::http::GraphiQLSource;
use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};

use super::graphql;

static HOME: LazyLock<OwnPage> = LazyLock::new(|| OwnPage::new(include_str!("home.html")));
static EXPLORER: LazyLock<OwnPage> = LazyLock::new(|| OwnPage::new(include_str!("explorer.html")));

/// The built files of GraphiQL, gzipped, by their paths; none where it was not built.
const GRAPHIQL: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/graphiql.rs"));

/// What embedded GraphiQL may do. Its editor makes style elements; its workers take this policy from
/// their own response.
const GRAPHIQL_POLICY: &str = "default-src 'none'; script-src 'self'; worker-src 'self'; \
    style-src 'self' 'unsafe-inline'; font-src 'self' data:; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A page of one file, with one script and one style.
struct OwnPage {
    html: &'static str,
    policy: String,
}

impl OwnPage {
    /// The page may run its script, use its style and talk to this server, nothing else.
    fn new(html: &'static str) -> Self {
        let policy = format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'",
            hash_of(html, "script"),
            hash_of(html, "style"),
        );
        Self { html, policy }
    }

    fn respond(&self) -> Response {
        page(&self.policy, "text/html; charset=utf-8", self.html.into())
    }
}

/// The routes of the pages.
pub(super) fn routes() -> Router {
    Router::new()
        .route("/", get(async || HOME.respond()))
        .route("/explorer", get(async || EXPLORER.respond()))
        .route("/graphiql", get(graphiql))
        .route("/graphiql/{*path}", get(graphiql_file))
}

async fn graphiql() -> Response {
    file("index.html").unwrap_or_else(|| Html(from_cdn()).into_response())
}

/// The library's page, which loads GraphiQL from a CDN, with a word for networks that reach none.
fn from_cdn() -> String {
    let page = GraphiQLSource::build()
        .endpoint(graphql::PATH)
        .subscription_endpoint(graphql::PATH)
        .title("Titlecast")
        .finish();
    let hint = "<p>GraphiQL comes from a CDN here. When this page stays empty, \
                <a href=\"/explorer\">the explorer</a> needs no other host.</p></body>";
    page.replace("</body>", hint)
}

async fn graphiql_file(Path(path): Path<String>) -> Response {
    file(&path).unwrap_or_else(|| StatusCode::NOT_FOUND.into_response())
}

/// An embedded file of GraphiQL.
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
        // Their names hold a hash of what is in them.
        let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
        headers.insert(header::CACHE_CONTROL, forever);
    }
    Some(response)
}

fn page(policy: &str, content_type: &'static str, body: axum::body::Body) -> Response {
    let mut response = Response::new(body);
    // Policies are written here, in ASCII.
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

/// The hash by which a policy names the text of the one element of this name.
fn hash_of(html: &str, element: &str) -> String {
    let text = html
        .split_once(&format!("<{element}>"))
        .and_then(|(_, rest)| rest.split_once(&format!("</{element}>")))
        .map_or("", |(text, _)| text);
    format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(text)))
}
