//! `Host` and `Origin`: which names the service answers to on each listener, what preflights allow, and what odd
//! requests get. Over raw sockets, as no client library sends most of them.

use serde_json::Value;
use titlecast_testing::{Server, TestDatabase, auth::GUARDED, raw_socket::RawSocket, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const OFFLINE: [&str; 4] = ["--openai-base-url", "", "--openai-api-key", ""];

/// Sends a request as it stands; status, head in lower case, and body.
async fn raw(url: &str, request: &str) -> (u16, String, String) {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = within(TcpStream::connect(address)).await.unwrap();
    within(stream.write_all(request.as_bytes())).await.unwrap();
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (
        status.unwrap_or_else(|| panic!("{request:?} got {answer:?}")),
        head.to_ascii_lowercase(),
        body.to_owned(),
    )
}

/// A GET with these lines of headers.
async fn get(url: &str, target: &str, headers: &str) -> (u16, String, String) {
    let request = format!("GET {target} HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
    raw(url, &request).await
}

async fn server(settings: &[&str]) -> Server {
    let arguments = [&OFFLINE[..], settings].concat();
    Server::on(TestDatabase::new().await, &arguments).await
}

/// A path of each kind: pages, health, REST, GraphQL, and none.
const PATHS: [&str; 6] = [
    "/healthz",
    "/readyz",
    "/",
    "/api/v1/conversations",
    "/graphql?query=%7B__typename%7D",
    "/no/such/path",
];

const UPGRADE: &str = "connection: upgrade, close\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       sec-websocket-protocol: graphql-transport-ws\r\n";

#[tokio::test]
async fn a_page_of_another_name_reaches_nothing() {
    let mut server = server(&[]).await;
    let metrics = server.serve_metrics().await;
    let rebound = "host: evil.example:8080\r\norigin: http://evil.example:8080\r\n";
    let paths = PATHS.map(|path| (&server.url, path)).into_iter();
    for (url, path) in paths.chain([(&metrics, "/metrics"), (&metrics, "/x")]) {
        for headers in [rebound, "host: evil.example\r\n"] {
            let (status, _, body) = get(url, path, headers).await;
            assert_eq!(status, 421, "{path} {headers}");
            assert!(body.contains("FORBIDDEN_HOST"), "{body}");
        }
        let own = url.replace("http://", "host: ") + "\r\n";
        assert_ne!(get(url, path, &own).await.0, 421, "{path}");
    }
    let open = format!("GET /graphql HTTP/1.1\r\n{rebound}{UPGRADE}\r\n");
    assert_eq!(raw(&server.url, &open).await.0, 421);
    for method in ["POST", "DELETE", "PATCH", "OPTIONS", "HEAD", "PUT", "BREW"] {
        let request = format!(
            "{method} /graphql HTTP/1.1\r\n{rebound}content-length: 0\r\nconnection: close\r\n\r\n"
        );
        assert_eq!(raw(&server.url, &request).await.0, 421, "{method}");
    }
    server.stop().await;
}

#[tokio::test]
async fn hosts_pass_are_refused_or_are_none() {
    let mut server = server(&["--allowed-hosts", "chat.example,*.tenants.example"]).await;
    let metrics = server.serve_metrics().await;
    let hosts = [
        (200, "127.0.0.1"),
        (200, "192.0.2.7:8443"),
        (200, "[::1]:8080"),
        (200, "[2001:db8::1]"),
        (200, "localhost:3000"),
        (200, "LOCALHOST."),
        (200, "app.localhost"),
        (200, "Chat.Example:8443"),
        (200, "a.tenants.example"),
        (421, "evil.example"),
        (421, "chat.example.evil.example"),
        (421, "localhost.evil.example"),
        (421, "tenants.example"),
        (421, "127.1"),
        (421, "xn--lcalhost-54a"),
        (400, ""),
        (400, "user@localhost"),
        (400, "localhost:80@evil.example"),
        (400, "evil.example#localhost"),
        (400, "localhost, evil.example"),
        (400, "localhost evil.example"),
        (400, "localhost:99999"),
        (400, "localhost:8o80"),
        (400, "::1"),
        (400, "[::1"),
        (400, "localhost.."),
        (400, "l%6fcalhost"),
        (400, "b\u{fc}cher.example"),
    ];
    for (expected, host) in hosts {
        for (url, path) in [(&server.url, "/healthz"), (&metrics, "/metrics")] {
            let (status, _, body) = get(url, path, &format!("host: {host}\r\n")).await;
            assert_eq!(status, expected, "{host:?} at {path}: {body}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_request_names_one_host() {
    for settings in [&[][..], &GUARDED] {
        let mut server = server(settings).await;
        let metrics = server.serve_metrics().await;
        for (url, path) in [(&server.url, "/healthz"), (&metrics, "/metrics")] {
            let ask = async |request: String| raw(url, &request).await;
            let close = "connection: close\r\n\r\n";
            for (expected, request) in [
                (400, format!("GET {path} HTTP/1.1\r\n{close}")),
                (400, format!("GET {path} HTTP/1.0\r\n\r\n")),
                (
                    200,
                    format!("GET {path} HTTP/1.0\r\nhost: 127.0.0.1\r\n\r\n"),
                ),
                (
                    400,
                    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n{close}"),
                ),
                (
                    400,
                    format!(
                        "GET {path} HTTP/1.1\r\nhost: localhost\r\nHost: evil.example\r\n{close}"
                    ),
                ),
                (
                    400,
                    format!("GET http://evil.example{path} HTTP/1.1\r\nhost: localhost\r\n{close}"),
                ),
                (
                    400,
                    format!("GET http://localhost{path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{close}"),
                ),
                (
                    400,
                    format!("GET http://localhost:81{path} HTTP/1.1\r\nhost: localhost\r\n{close}"),
                ),
                (
                    400,
                    format!("GET http://x@localhost{path} HTTP/1.1\r\nhost: localhost\r\n{close}"),
                ),
                (
                    200,
                    format!("GET http://LOCALHOST:80{path} HTTP/1.1\r\nhost: localhost\r\n{close}"),
                ),
                (
                    400,
                    format!("CONNECT evil.example:80 HTTP/1.1\r\nhost: localhost\r\n{close}"),
                ),
            ] {
                let (status, _, body) = ask(request.clone()).await;
                assert_eq!(status, expected, "{request}{body}");
            }
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn with_tokens_any_host_passes_but_the_metrics_have_none() {
    let mut server = server(&GUARDED).await;
    let metrics = server.serve_metrics().await;
    let host = "host: chat.example\r\n";
    assert_eq!(get(&server.url, "/healthz", host).await.0, 200);
    assert_eq!(get(&server.url, "/api/v1/conversations", host).await.0, 401);
    assert_eq!(get(&metrics, "/metrics", host).await.0, 421);
    server.stop().await;
}

#[tokio::test]
async fn a_request_has_one_origin_and_it_is_allowed() {
    let mut server = server(&["--allowed-origins", "https://app.example"]).await;
    let metrics = server.serve_metrics().await;
    for (expected, origins) in [
        (200, &[][..]),
        (200, &["http://localhost"]),
        (200, &["https://app.example"]),
        (200, &["http://LOCALHOST:80"]),
        (403, &["null"]),
        (403, &[""]),
        (403, &["http://localhost:81"]),
        (403, &["https://localhost:80"]),
        (403, &["http://localhost/"]),
        (403, &["ftp://localhost"]),
        (403, &["localhost"]),
        (403, &["http://user@localhost"]),
        (403, &["http://localhost.evil.example"]),
        (403, &["https://app.example.evil.example"]),
        (403, &["http://localhost, http://evil.example"]),
        (403, &["http://localhost", "http://localhost"]),
        (403, &["https://app.example", "http://evil.example"]),
        (403, &["http://evil.example", "https://app.example"]),
    ] {
        let origins: String = origins
            .iter()
            .map(|origin| format!("origin: {origin}\r\n"))
            .collect();
        let headers = format!("host: localhost\r\n{origins}");
        let (status, _, body) = get(&server.url, "/api/v1/conversations", &headers).await;
        assert_eq!(status, expected, "{origins} {body}");
        let open = format!("GET /graphql HTTP/1.1\r\n{headers}{UPGRADE}\r\n");
        if expected == 403 {
            assert_eq!(raw(&server.url, &open).await.0, 403, "{origins}");
        }
        let foreign = expected == 403 || origins.contains("app.example");
        let expected = if foreign { 403 } else { 200 };
        assert_eq!(
            get(&metrics, "/metrics", &headers).await.0,
            expected,
            "{origins}"
        );
    }
    server.stop().await;
}

/// The values of a header in a head.
fn values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let values = lines.filter(|(header, _)| *header == name);
    values.flat_map(|(_, value)| value.split(", ")).collect()
}

#[tokio::test]
async fn an_allowed_page_may_send_any_header_and_read_ours() {
    const NAMES: &str = "apollographql-client-name, apollographql-client-version, authorization, baggage, content-type, \
                         idempotency-key, last-event-id, sentry-trace, traceparent, tracestate, x-datadog-parent-id, \
                         x-requested-with";
    let server = server(&["--allowed-origins", "https://app.example"]).await;
    let preflight = async |origin: &str, more: &str| {
        let request = format!(
            "OPTIONS /graphql HTTP/1.1\r\nhost: localhost\r\norigin: {origin}\r\naccess-control-request-method: POST\r\n\
             {more}connection: close\r\n\r\n"
        );
        raw(&server.url, &request).await
    };
    let asked = format!(
        "access-control-request-headers: {}\r\n",
        NAMES.replace(", ", ",")
    );
    let (status, head, _) = preflight("https://app.example", &asked).await;
    assert_eq!(status, 200);
    assert_eq!(
        values(&head, "access-control-allow-headers").join(", "),
        NAMES
    );
    assert_eq!(values(&head, "access-control-max-age"), ["7200"]);
    assert_eq!(
        values(&head, "access-control-allow-origin"),
        ["https://app.example"]
    );
    assert!(values(&head, "access-control-allow-private-network").is_empty());
    for name in [
        "origin",
        "access-control-request-headers",
        "access-control-request-method",
    ] {
        assert!(
            head.contains(name) && values(&head, "vary").concat().contains(name),
            "{head}"
        );
    }
    let private = "access-control-request-private-network: true\r\n";
    let (_, head, _) = preflight("https://app.example", private).await;
    assert_eq!(
        values(&head, "access-control-allow-private-network"),
        ["true"]
    );
    let (status, head, _) = preflight("https://evil.example", &format!("{asked}{private}")).await;
    assert_eq!(status, 403);
    assert!(!head.contains("access-control-allow"), "{head}");
    // What is no name is not repeated.
    let odd = "access-control-request-headers: x-good, bad name, <script>, x\u{e9}, ,x-fine\r\n\
               access-control-request-headers: X-More\r\n";
    let (_, head, _) = preflight("https://app.example", odd).await;
    let allowed = values(&head, "access-control-allow-headers").join(", ");
    // A value that is no ASCII is left out as a whole.
    assert_eq!(allowed, "x-more");
    let odd = "access-control-request-headers: x-good, bad name, <script>, ,x-fine\r\n";
    let (_, head, _) = preflight("https://app.example", odd).await;
    let allowed = values(&head, "access-control-allow-headers").join(", ");
    assert_eq!(allowed, "x-good, x-fine");

    let headers = "host: localhost\r\norigin: https://app.example\r\ntraceparent: x\r\n";
    for path in ["/api/v1/conversations/x", "/graphql?query=%7B__typename%7D"] {
        let (_, head, _) = get(&server.url, path, headers).await;
        let exposed = values(&head, "access-control-expose-headers").concat();
        assert!(exposed.contains("retry-after"), "{head}");
        assert!(values(&head, "vary").concat().contains("origin"), "{head}");
    }
    let (_, head, _) = get(&server.url, "/graphql?query=%7B__typename%7D", headers).await;
    assert!(values(&head, "vary").concat().contains("accept"), "{head}");
    let exposed = values(&head, "access-control-expose-headers").concat();
    for name in ["etag", "location", "x-vercel-ai-ui-message-stream"] {
        assert!(exposed.contains(name), "{head}");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_allowed_page_reads_why_the_server_refuses_a_connection() {
    let settings = [
        "--allowed-origins",
        "https://app.example",
        "--connections-per-address",
        "1",
    ];
    let server = server(&settings).await;
    let client = [("x-forwarded-for", "192.0.2.1".to_owned())];
    let _only = RawSocket::open_with(&server.url, "graphql-transport-ws", &client).await;
    let refused = async |origin: &str| {
        let headers =
            format!("host: localhost\r\nx-forwarded-for: 192.0.2.1\r\norigin: {origin}\r\n");
        let (status, head, _) = get(&server.url, "/api/v1/conversations", &headers).await;
        assert_eq!(status, 429, "{head}");
        assert_eq!(values(&head, "vary"), ["origin"]);
        head
    };
    let head = refused("https://app.example").await;
    assert_eq!(
        values(&head, "access-control-allow-origin"),
        ["https://app.example"]
    );
    assert!(
        values(&head, "access-control-expose-headers")
            .concat()
            .contains("retry-after")
    );
    assert!(!head.contains("access-control-allow-credentials"), "{head}");
    let head = refused("https://evil.example").await;
    assert!(!head.contains("access-control"), "{head}");
    server.stop().await;
}

#[tokio::test]
async fn a_refusal_is_in_the_words_of_its_surface() {
    let server = server(&[]).await;
    for (path, code) in [
        ("/graphql", "/errors/0/extensions/code"),
        ("/api/v1/conversations", "/code"),
    ] {
        let (_, _, body) = get(&server.url, path, "host: evil.example\r\n").await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body.pointer(code), Some(&"FORBIDDEN_HOST".into()), "{body}");
        let (_, _, body) = get(&server.url, path, "").await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body.pointer(code), Some(&"INVALID_HOST".into()), "{body}");
    }
    server.stop().await;
}
