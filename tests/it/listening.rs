//! Where the program listens: Unix domain sockets, sockets that systemd passes, and connections of trusted proxies.

use std::{
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::{Path, PathBuf},
};

use serde_json::Value;
use titlecast_testing::{
    ModelServer, Server, Titlecast, eventually, process::Process, server::metrics, within,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

const UPGRADE: &str = "GET /graphql HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                       sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       sec-websocket-protocol: graphql-transport-ws\r\n";

/// Sends bytes and reads to the end of the connection.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> String {
    within(stream.write_all(bytes)).await.unwrap();
    let mut answer = Vec::new();
    // A connection that is closed with unread bytes is reset.
    let _ = within(stream.read_to_end(&mut answer)).await;
    String::from_utf8(answer).unwrap()
}

/// Sends bytes and reads the first line of the answer; the connection stays open.
async fn first_line(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), bytes: &[u8]) -> String {
    within(stream.write_all(bytes)).await.unwrap();
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(within(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(line).unwrap()
}

/// A folder for sockets, whose paths may have 107 bytes.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("t-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).into_os_string().into_string().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn serve_at(path: &str, more: &[&str]) -> Process {
    let listen = format!("unix:{path}");
    let mut serving = Titlecast::new(&[&["serve", "--listen", &listen], more].concat()).start();
    let line = serving.line("listening").await;
    assert!(line.contains(&format!("address=unix:{path}")), "{line}");
    serving
}

fn mode(path: &str) -> u32 {
    Path::new(path).metadata().unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_unix_domain_socket_is_served_and_a_stale_one_is_replaced() {
    let folder = Folder::new();
    let path = folder.path("titlecast.sock");
    let mut serving = serve_at(&path, &[]).await;
    assert_eq!(mode(&path), 0o660);
    let answer = exchange(UnixStream::connect(&path).await.unwrap(), HEALTH.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let listen = format!("unix:{path}");
    let health = async || Titlecast::new(&["health", "--listen", &listen]).run().await;
    let page: Value = serde_json::from_str(&health().await.ok()).unwrap();
    assert_eq!(page["status"], "ready");

    // A second program does not take it away.
    let second = Titlecast::new(&["serve", "--listen", &listen]).run().await;
    second.assert_failed(&[
        "cannot listen on unix:",
        "TITLECAST_LISTEN",
        "stop the program",
    ]);
    // A killed one leaves the file behind.
    serving.kill();
    assert_eq!(serving.exit().await, None);
    health().await.assert_failed(&["does not answer", "unix:"]);
    let listen = format!("{listen}?mode=600");
    let mut serving = Titlecast::new(&["serve", "--listen", &listen]).start();
    serving.line("listening").await;
    assert_eq!(mode(&path), 0o600);
    serving.terminate();
    serving.ended().await.ok();

    let file = folder.path("a-file");
    std::fs::write(&file, "not a socket").unwrap();
    let listen = format!("unix:{file}");
    let refused = Titlecast::new(&["serve", "--listen", &listen]).run().await;
    refused.assert_failed(&["a file that is not a socket"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "not a socket");
}

#[tokio::test]
async fn streams_and_headers_of_proxies_work_over_a_unix_domain_socket() {
    let folder = Folder::new();
    let path = folder.path("titlecast.sock");
    let serving = serve_at(&path, &["--connections-per-address", "1"]).await;
    let body = r#"{"message":"Plan a trip to Kyoto"}"#;
    let request = format!(
        "POST /api/v1/chat/stream HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let stream = UnixStream::connect(&path).await.unwrap();
    let answer = exchange(stream, request.as_bytes()).await;
    assert!(answer.contains("conversation.title.generated"), "{answer}");
    assert!(answer.contains("response.completed"), "{answer}");

    let upgrade = |client: &str| format!("{UPGRADE}x-forwarded-for: {client}\r\n\r\n");
    let mut held = UnixStream::connect(&path).await.unwrap();
    let line = first_line(&mut held, upgrade("192.0.2.1").as_bytes()).await;
    assert!(line.contains(" 101 "), "{line}");
    for (client, expected) in [("192.0.2.1", " 429 "), ("192.0.2.2", " 101 ")] {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let line = first_line(&mut stream, upgrade(client).as_bytes()).await;
        assert!(line.contains(expected), "{client}: {line}");
    }
    drop(held);
    serving.terminate();
    serving.ended().await.ok();
}

/// The next datagram of a service manager's socket, as its lines.
async fn notified(socket: &tokio::net::UnixDatagram) -> Vec<String> {
    let mut buffer = [0; 512];
    let length = within(socket.recv(&mut buffer)).await.unwrap();
    let text = std::str::from_utf8(&buffer[..length]).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The next datagram that is not the watchdog's.
async fn state(socket: &tokio::net::UnixDatagram) -> Vec<String> {
    loop {
        let lines = notified(socket).await;
        if lines != ["WATCHDOG=1"] {
            return lines;
        }
    }
}

#[tokio::test]
async fn sockets_of_systemd_are_taken_over_and_it_is_notified() {
    let folder = Folder::new();
    let notify = folder.path("notify");
    let socket = UnixDatagram::bind(&notify).unwrap();
    socket.set_nonblocking(true).unwrap();
    let socket = tokio::net::UnixDatagram::from_std(socket).unwrap();
    // The sockets replace an address that could not be opened, and would be refused without tokens.
    let mut serving = Titlecast::activated(
        &["127.0.0.1:0", "127.0.0.1:0"],
        &["serve", "--listen", "192.0.2.1:1"],
    )
    .env("NOTIFY_SOCKET", &notify)
    .env("WATCHDOG_USEC", "200000")
    .start();
    let page = serving.line("metrics_address=").await;
    let page = page.split("metrics_address=").nth(1).unwrap();
    let page = format!("http://{}", page.split(' ').next().unwrap());
    let url = serving.url().await;
    assert!(metrics(&page).await.contains("titlecast_ready 1"));
    let stream = TcpStream::connect(url.trim_start_matches("http://"))
        .await
        .unwrap();
    let answer = exchange(stream, HEALTH.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    assert_eq!(state(&socket).await, ["READY=1"]);
    assert_eq!(notified(&socket).await, ["WATCHDOG=1"]);
    // There is no file to read again, and the signal does not end the process.
    serving.signal("HUP");
    let reloading = state(&socket).await;
    assert_eq!(reloading[0], "RELOADING=1");
    let micros = reloading[1].strip_prefix("MONOTONIC_USEC=").unwrap();
    assert!(micros.parse::<u64>().unwrap() > 0);
    assert_eq!(state(&socket).await, ["READY=1"]);
    serving.terminate();
    assert_eq!(state(&socket).await, ["STOPPING=1"]);
    serving.ended().await.ok();
}

#[tokio::test]
async fn a_socket_of_systemd_that_other_hosts_reach_needs_tokens() {
    let refused = Titlecast::activated(&["0.0.0.0:0"], &["serve"]).run().await;
    refused.assert_refused(&["other hosts can reach 0.0.0.0:", "--allow-unauthenticated"]);
}

#[tokio::test]
async fn a_unix_domain_socket_of_systemd_is_taken_over() {
    let folder = Folder::new();
    let path = folder.path("passed.sock");
    let passed = format!("unix:{path}");
    let mut serving = Titlecast::activated(&[&passed], &["serve"]).start();
    let line = serving.line("listening").await;
    assert!(line.contains(&format!("address={passed}")), "{line}");
    let answer = exchange(UnixStream::connect(&path).await.unwrap(), HEALTH.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    serving.terminate();
    serving.ended().await.ok();
}

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.url.trim_start_matches("http://"))
        .await
        .unwrap()
}

fn binary(source: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(source);
    header.extend([198, 51, 100, 1, 0x12, 0x34, 1, 0xbb]);
    header
}

#[tokio::test]
async fn the_proxy_protocol_names_the_client_of_a_connection() {
    let model = ModelServer::start().await;
    let settings = [
        "--client-address",
        "proxy-protocol",
        "--connections-per-address",
        "1",
    ];
    let mut server = Server::start_with(&model, &settings).await;
    let page = server.serve_metrics().await;
    let text = "PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n";
    let kept = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";

    // In pieces, as a network may deliver it.
    let mut held = connect(&server).await;
    held.set_nodelay(true).unwrap();
    let all = format!("{text}{kept}");
    for piece in all.as_bytes()[..all.len() - 1].chunks(7) {
        within(held.write_all(piece)).await.unwrap();
        tokio::task::yield_now().await;
    }
    let line = first_line(&mut held, &all.as_bytes()[all.len() - 1..]).await;
    assert!(line.contains(" 200 "), "{line}");
    // The connection holds the only place of its client, in either version of the header.
    for header in [text.as_bytes().to_vec(), binary([192, 0, 2, 1])] {
        let answer = exchange(connect(&server).await, &[&header, kept.as_bytes()].concat()).await;
        assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
        assert!(answer.contains("RATE_LIMITED"), "{answer}");
    }
    // Another client has its own place, whatever address a header of its requests claims.
    let claim = HEALTH.replace(
        "connection",
        "x-forwarded-for: 192.0.2.1\r\nforwarded: for=192.0.2.1\r\nconnection",
    );
    let answer = exchange(
        connect(&server).await,
        &[&binary([192, 0, 2, 2]), claim.as_bytes()].concat(),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop(held);
    eventually(async || {
        let answer = exchange(connect(&server).await, format!("{text}{HEALTH}").as_bytes()).await;
        answer.starts_with("HTTP/1.1 200 ").then_some(())
    })
    .await;

    // The proxy's own connections are exempt.
    for own in [
        "PROXY UNKNOWN\r\n".as_bytes(),
        b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
    ] {
        let answer = exchange(connect(&server).await, &[own, HEALTH.as_bytes()].concat()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    // A client cannot send a header of its own behind the proxy's.
    let other = text.replace("192.0.2.1", "192.0.2.7");
    let twice = format!("{other}PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n{HEALTH}");
    let answer = exchange(connect(&server).await, twice.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    // A trusted proxy that sends none is misconfigured: its clients would share its address.
    for none in [
        HEALTH,
        "PROXY TCP4 nobody 198.51.100.1 1 2\r\n",
        "PROXY TCP4 1",
    ] {
        let mut stream = connect(&server).await;
        within(stream.write_all(none.as_bytes())).await.unwrap();
        within(stream.shutdown()).await.unwrap();
        let mut answer = Vec::new();
        let _ = within(stream.read_to_end(&mut answer)).await;
        assert_eq!(String::from_utf8(answer).unwrap(), "", "{none:?}");
    }
    assert!(
        metrics(&page)
            .await
            .contains("titlecast_refused_proxy_headers_total 3\n")
    );
    server.stop().await;
}

#[tokio::test]
async fn a_refusal_is_answered_behind_the_header_of_the_proxy_protocol() {
    let model = ModelServer::start().await;
    let settings = [
        "--client-address",
        "proxy-protocol",
        "--max-connections",
        "1",
    ];
    let server = Server::start_with(&model, &settings).await;
    let held = connect(&server).await;
    let request = [&binary([192, 0, 2, 1]), HEALTH.as_bytes()].concat();
    let answer = eventually(async || {
        let answer = exchange(connect(&server).await, &request).await;
        (!answer.starts_with("HTTP/1.1 200 ")).then_some(answer)
    })
    .await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("OVERLOADED"), "{answer}");
    drop(held);
    server.stop().await;
}

#[tokio::test]
async fn health_asks_a_server_behind_the_proxy_protocol() {
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--client-address",
        "proxy-protocol",
    ];
    let mut serving = Titlecast::new(&arguments).start();
    let address = serving.url().await.replace("http://", "");
    let health = Titlecast::new(&[
        "health",
        "--listen",
        &address,
        "--client-address",
        "proxy-protocol",
    ]);
    let page: Value = serde_json::from_str(&health.run().await.ok()).unwrap();
    assert_eq!(page["status"], "ready");
    serving.terminate();
    serving.ended().await.ok();
}

#[tokio::test]
async fn the_header_forwarded_counts_where_it_is_chosen_and_the_other_one_does_not() {
    let model = ModelServer::start().await;
    let settings = [
        "--client-address",
        "forwarded",
        "--connections-per-address",
        "1",
    ];
    let server = Server::start_with(&model, &settings).await;
    let upgrade = |headers: &str| format!("{UPGRADE}{headers}\r\n\r\n");
    let mut held = connect(&server).await;
    let line = first_line(
        &mut held,
        upgrade("forwarded: for=192.0.2.1;proto=https").as_bytes(),
    )
    .await;
    assert!(line.contains(" 101 "), "{line}");
    for (headers, expected) in [
        ("forwarded: for=192.0.2.1", " 429 "),
        (
            "forwarded: for=192.0.2.9, for=192.0.2.1\r\nx-forwarded-for: 192.0.2.8",
            " 429 ",
        ),
        ("forwarded: for=192.0.2.2", " 101 "),
        // Of the proxy itself.
        ("x-forwarded-for: 192.0.2.1", " 101 "),
    ] {
        let mut stream = connect(&server).await;
        let line = first_line(&mut stream, upgrade(headers).as_bytes()).await;
        assert!(line.contains(expected), "{headers}: {line}");
    }
    drop(held);
    server.stop().await;
}

#[tokio::test]
async fn listening_is_checked_with_the_configuration() {
    for (listen, why) in [
        ("unix:titlecast.sock", "absolute path"),
        ("unix:/run/t.sock?mode=8", "octal"),
        ("localhost:80", "expected an IP address"),
    ] {
        let refused = Titlecast::new(&["serve", "--listen", listen]).run().await;
        refused.assert_refused(&["--listen", why]);
    }
    let long = format!("unix:/{}", "a".repeat(200));
    let refused = Titlecast::new(&["serve", "--listen", &long]).run().await;
    refused.assert_failed(&["cannot listen on unix:/aaa"]);
}
