//! Connections: their timeouts, their limits, and how they end. On a server with a few routes.
//!
//! A test of a limit shortens that one alone: the others are longer than a test waits, so that no other can end the
//! connection.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::HeaderValue,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::stream;
use titlecast::{
    error::Error,
    server::{Limits, Server, Settings, Timeouts},
};
use titlecast_testing::{eventually, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::JoinHandle,
    time::{Instant, interval, sleep},
};
use tokio_util::sync::CancellationToken;

/// The limit that is tested.
const SHORT: Duration = Duration::from_millis(300);

/// Limits that no test waits for.
const UNLIMITED: Timeouts = Timeouts {
    head: HOUR,
    body: HOUR,
    idle: HOUR,
    stall: HOUR,
};
const HOUR: Duration = Duration::from_secs(3_600);

const GET: &str = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// A server, whose route `/held` answers when it is let to.
struct Edge {
    address: std::net::SocketAddr,
    limits: Limits,
    held: Arc<Semaphore>,
    closing: CancellationToken,
    serving: JoinHandle<()>,
}

impl Edge {
    async fn start(settings: Settings) -> Self {
        Self::start_with(settings, UNLIMITED).await
    }

    async fn start_with(settings: Settings, timeouts: Timeouts) -> Self {
        let held = Arc::new(Semaphore::new(0));
        let holding = held.clone();
        let hold = async move || {
            holding.acquire().await.unwrap().forget();
            "let go"
        };
        let router = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/", post(async |body: Bytes| body))
            .route("/held", get(hold));
        let limits = Limits::new(settings);
        let server = Server::new(router, limits.clone(), Box::new(refuse)).with_timeouts(timeouts);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let closing = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "the test waits for it in stop")]
        let serving = tokio::spawn(server.serve(listener, closing.clone()));
        Self {
            address,
            limits,
            held,
            closing,
            serving,
        }
    }

    async fn connect(&self) -> Peer {
        Peer(within(TcpStream::connect(self.address)).await.unwrap())
    }

    async fn stop(self) {
        self.closing.cancel();
        within(self.serving).await.unwrap();
        assert_eq!(self.limits.counts().connections, 0);
    }
}

fn refuse(path: &str, _: Option<&HeaderValue>, error: Error) -> Response {
    let status = titlecast::api::rest::status(error.code());
    (status, format!("{path} {}", error.code().as_str())).into_response()
}

/// The other end of a connection.
struct Peer(TcpStream);

impl Peer {
    async fn say(&mut self, text: &str) {
        within(self.0.write_all(text.as_bytes())).await.unwrap();
    }

    /// What comes until the connection ends.
    async fn rest(&mut self) -> String {
        let mut received = Vec::new();
        // A broken connection is an end as well.
        let _ = within(self.0.read_to_end(&mut received)).await;
        String::from_utf8(received).unwrap()
    }

    /// What comes up to this.
    async fn receive(&mut self, end: &str) -> String {
        let mut received = Vec::new();
        loop {
            let length = within(self.0.read_buf(&mut received)).await.unwrap();
            let text = String::from_utf8_lossy(&received);
            assert_ne!(length, 0, "it ended behind {text:?}");
            if text.ends_with(end) {
                return text.into_owned();
            }
        }
    }

    /// What comes up to the end of one of the two answers that `/` has.
    async fn answer(&mut self) -> String {
        let mut received = String::new();
        while !received.ends_with("hello") && !received.ends_with("RATE_LIMITED") {
            let mut bytes = [0; 1024];
            let length = within(self.0.read(&mut bytes)).await.unwrap();
            assert_ne!(length, 0, "it ended behind {received:?}");
            received += std::str::from_utf8(&bytes[..length]).unwrap();
        }
        received
    }

    /// Sends one byte after the other, slowly, until the peer closes. Returns what was received.
    async fn drip(&mut self, text: &str) -> String {
        let mut slowly = interval(Duration::from_millis(25));
        let mut received = Vec::new();
        within(async {
            for byte in text.bytes().cycle() {
                tokio::select! {
                    length = self.0.read_buf(&mut received) => if length.unwrap_or_default() == 0 {
                        break;
                    },
                    _ = slowly.tick() => if self.0.write_all(&[byte]).await.is_err() {
                        break;
                    },
                }
            }
        })
        .await;
        String::from_utf8(received).unwrap()
    }
}

#[tokio::test]
async fn who_says_nothing_or_says_it_slowly_is_let_go() {
    let timeouts = Timeouts {
        head: SHORT,
        ..UNLIMITED
    };
    let edge = Edge::start_with(Settings::default(), timeouts).await;
    let begun = Instant::now();
    assert_eq!(edge.connect().await.rest().await, "");
    assert!(begun.elapsed() >= SHORT, "{:?}", begun.elapsed());

    let mut half = edge.connect().await;
    half.say("GET / HTTP/1.1\r\nhost: loc").await;
    assert_eq!(half.rest().await, "");

    let begun = Instant::now();
    let mut slow = edge.connect().await;
    slow.say("GET / HTTP/1.1\r\n").await;
    assert_eq!(slow.drip("x: y\r\n").await, "");
    assert!(begun.elapsed() >= SHORT, "{:?}", begun.elapsed());
    edge.stop().await;
}

#[tokio::test]
async fn between_two_requests_there_may_be_a_longer_pause_but_not_for_ever() {
    let timeouts = Timeouts {
        head: SHORT,
        ..UNLIMITED
    };
    let edge = Edge::start_with(Settings::default(), timeouts).await;
    let mut peer = edge.connect().await;
    for _ in 0..2 {
        peer.say(GET).await;
        assert!(peer.receive("hello").await.starts_with("HTTP/1.1 200"));
        // The pause is what is tested.
        sleep(2 * SHORT).await;
    }
    // The head that follows the pause has the time of a head.
    let begun = Instant::now();
    peer.say("GET / HTTP/1.1\r\n").await;
    peer.drip("x: y\r\n").await;
    assert!(begun.elapsed() >= SHORT, "{:?}", begun.elapsed());
    edge.stop().await;

    let timeouts = Timeouts {
        idle: SHORT,
        ..UNLIMITED
    };
    let edge = Edge::start_with(Settings::default(), timeouts).await;
    let mut peer = edge.connect().await;
    let begun = Instant::now();
    peer.say(GET).await;
    peer.receive("hello").await;
    assert_eq!(peer.rest().await, "");
    assert!(begun.elapsed() >= SHORT, "{:?}", begun.elapsed());
    edge.stop().await;
}

#[tokio::test]
async fn a_connection_is_closed_when_idle_also_after_an_answer_that_took_a_while() {
    let timeouts = Timeouts {
        idle: SHORT,
        ..UNLIMITED
    };
    let edge = Edge::start_with(Settings::default(), timeouts).await;
    let mut peer = edge.connect().await;
    peer.say("GET /held HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    // hyper waits for the next request while this one is served.
    sleep(SHORT).await;
    edge.held.add_permits(1);
    let begun = Instant::now();
    peer.receive("let go").await;
    assert_eq!(peer.rest().await, "");
    assert!(begun.elapsed() >= SHORT, "{:?}", begun.elapsed());
    edge.stop().await;
}

#[tokio::test]
async fn a_body_that_drips_is_refused_and_one_that_comes_is_taken() {
    let head = |length: usize| {
        format!("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n")
    };
    let timeouts = Timeouts {
        head: SHORT,
        idle: SHORT,
        ..UNLIMITED
    };
    let edge = Edge::start_with(Settings::default(), timeouts).await;
    let mut peer = edge.connect().await;
    peer.say(&head(5)).await;
    // Longer than a head may take, or a pause.
    sleep(2 * SHORT).await;
    peer.say("12345").await;
    assert!(peer.receive("12345").await.starts_with("HTTP/1.1 200"));
    drop(peer);
    edge.stop().await;

    let timeouts = Timeouts {
        body: SHORT,
        ..UNLIMITED
    };
    let edge = Edge::start_with(Settings::default(), timeouts).await;
    for is_dripping in [true, false] {
        let mut peer = edge.connect().await;
        let begun = Instant::now();
        peer.say(&head(1_000_000)).await;
        let received = match is_dripping {
            true => peer.drip("x").await,
            false => peer.rest().await,
        };
        assert!(begun.elapsed() >= SHORT, "{:?}", begun.elapsed());
        assert!(received.starts_with("HTTP/1.1 408 "), "{received}");
        assert!(received.contains("\r\nconnection: close\r\n"), "{received}");
        assert!(received.ends_with("/ REQUEST_TIMEOUT"), "{received}");
    }
    assert_eq!(edge.limits.counts().slow_bodies, 2);
    edge.stop().await;
}

#[tokio::test]
async fn a_connection_over_the_limit_is_refused_until_another_ends() {
    let edge = Edge::start(Settings {
        connections: 2,
        ..Settings::default()
    })
    .await;
    let mut first = edge.connect().await;
    first
        .say("GET /held HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    let mut second = edge.connect().await;
    second.say(GET).await;
    second.receive("hello").await;
    for _ in 0..3 {
        let mut third = edge.connect().await;
        third.say(GET).await;
        let received = third.rest().await;
        assert!(received.starts_with("HTTP/1.1 503 "), "{received}");
        assert!(received.contains("\r\nconnection: close\r\n"), "{received}");
        assert!(received.ends_with("/ OVERLOADED"), "{received}");
    }
    assert_eq!(edge.limits.counts().full, 3);
    drop(second);
    eventually(async || (edge.limits.counts().connections == 1).then_some(())).await;
    let mut third = edge.connect().await;
    third.say(GET).await;
    third.receive("hello").await;
    edge.held.add_permits(1);
    first.receive("let go").await;
    drop((first, third));
    edge.stop().await;
}

#[tokio::test]
async fn behind_a_proxy_an_address_has_so_many_requests_open() {
    let edge = Edge::start(Settings {
        per_address: 2,
        ..Settings::default()
    })
    .await;
    let request = |path: &str, client: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nx-forwarded-for: {client}\r\n\r\n")
    };
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut peer = edge.connect().await;
        peer.say(&request("/held", "198.51.100.9, 192.0.2.1")).await;
        held.push(peer);
    }
    let mut other = edge.connect().await;
    let ask = async |peer: &mut Peer, client| {
        peer.say(&request("/", client)).await;
        let received = peer.answer().await;
        received[..12].to_owned()
    };
    // Until both were seen; what is served meanwhile is over at once.
    eventually(async || {
        let mut peer = edge.connect().await;
        (ask(&mut peer, "192.0.2.1").await == "HTTP/1.1 429").then_some(())
    })
    .await;
    assert_eq!(ask(&mut other, "192.0.2.2").await, "HTTP/1.1 200");
    assert_eq!(ask(&mut other, "127.0.0.1").await, "HTTP/1.1 200");
    assert_eq!(edge.limits.counts().crowded, 1);
    edge.held.add_permits(2);
    for peer in &mut held {
        peer.receive("let go").await;
    }
    assert_eq!(
        ask(&mut other, "192.0.2.1").await,
        "HTTP/1.1 200",
        "the connections are still there, the requests are over"
    );
    drop((held, other));
    edge.stop().await;
}

#[tokio::test]
async fn at_the_end_what_is_under_way_is_finished_and_the_rest_is_closed() {
    let edge = Edge::start(Settings::default()).await;
    let mut idle = edge.connect().await;
    idle.say(GET).await;
    idle.receive("hello").await;
    let mut served = edge.connect().await;
    served
        .say("GET /held HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    let mut silent = edge.connect().await;
    eventually(async || (edge.limits.counts().connections == 3).then_some(())).await;

    edge.closing.cancel();
    assert_eq!(idle.rest().await, "");
    assert_eq!(silent.rest().await, "");
    let refused = within(TcpStream::connect(edge.address)).await;
    assert!(refused.is_err(), "no connection is accepted any more");
    assert!(!edge.serving.is_finished());
    edge.held.add_permits(1);
    let received = served.rest().await;
    assert!(received.contains("\r\nconnection: close\r\n"), "{received}");
    assert!(received.ends_with("let go"), "{received}");
    edge.stop().await;
}

#[tokio::test]
async fn a_server_that_is_dropped_cuts_what_is_left() {
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let body = stream::unfold(receiver, async |mut receiver| {
        let bytes = receiver.recv().await?;
        Some((Ok::<_, std::io::Error>(bytes), receiver))
    });
    let body = Arc::new(Mutex::new(Some(Body::from_stream(body))));
    let answer = async move || body.lock().unwrap().take().unwrap();
    let router = Router::new().route("/", get(answer));
    let server = Server::new(router, Limits::new(Settings::default()), Box::new(refuse));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let closing = CancellationToken::new();
    let mut serving = Box::pin(server.serve(listener, closing.clone()));
    let mut peer = Peer(within(TcpStream::connect(address)).await.unwrap());
    peer.say(GET).await;
    sender.send(Bytes::from_static(b"so far")).await.unwrap();
    tokio::select! {
        () = &mut serving => panic!("it ended"),
        _ = peer.receive("so far\r\n") => closing.cancel(),
    }
    tokio::select! {
        () = &mut serving => panic!("it did not wait"),
        () = sleep(SHORT) => drop(serving),
    }
    assert_eq!(peer.rest().await, "", "no proper end");
    within(sender.closed()).await;
}
