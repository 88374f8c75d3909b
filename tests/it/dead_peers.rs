//! Peers that vanish, or stay connected and do not read: they and their operations are dropped in time, over every
//! streaming transport. A silent but healthy peer is not.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{Server, eventually, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, interval, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

/// The longest that anything of a dead peer may stay.
const PATIENCE: Duration = Duration::from_secs(40);

/// How often a WebSocket is pinged and a stream is kept alive: a silent peer is left alone longer than
/// this before it is asked whether it is still served.
const PULSE: Duration = Duration::from_secs(12);

/// What the client's kernel takes in before the client reads.
const RECEIVE_BYTES: u32 = 4 * 1024;

/// So many changes, of 10 KiB each, are more than both kernels hold back.
const FLOOD: usize = 600;

/// The most aliases that the gate takes are 30.
const COPIES: usize = 29;

#[derive(Clone, Copy, Debug)]
enum Wire {
    Socket,
    EventStream,
    Multipart,
}

/// A subscriber on a connection of its own that has received the current state.
enum Peer {
    Socket(Box<WebSocketStream<TcpStream>>),
    Http(TcpStream),
}

/// One conversation in many copies, so that each change is large.
fn request(id: &str) -> Value {
    let copies: String = (0..COPIES).map(|n| format!(" t{n}: displayName")).collect();
    json!({
        "query": format!("subscription ($id: ID!) {{ conversationUpdated(id: $id) {{ id{copies} }} }}"),
        "variables": { "id": id },
    })
}

async fn connect(server: &Server) -> TcpStream {
    let address = server.url.trim_start_matches("http://").parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(RECEIVE_BYTES).unwrap();
    within(socket.connect(address)).await.unwrap()
}

impl Peer {
    async fn subscribe(server: &Server, wire: Wire, id: &str) -> Self {
        let topics = server.app.events().topic_count();
        let stream = connect(server).await;
        let mut peer = match wire {
            Wire::Socket => Self::socket(server, stream, id).await,
            Wire::EventStream => Self::http(stream, "text/event-stream", id).await,
            Wire::Multipart => {
                let accept = "multipart/mixed;subscriptionSpec=1.0, application/json";
                Self::http(stream, accept, id).await
            }
        };
        within(peer.receive(id)).await;
        assert_eq!(server.app.events().topic_count(), topics + 1);
        peer
    }

    async fn socket(server: &Server, stream: TcpStream, id: &str) -> Self {
        let url = format!("{}/graphql", server.url.replace("http://", "ws://"));
        let mut opening = url.into_client_request().unwrap();
        let protocol = "graphql-transport-ws".parse().unwrap();
        opening
            .headers_mut()
            .insert("sec-websocket-protocol", protocol);
        let (mut socket, _) = within(client_async(opening, stream)).await.unwrap();
        for message in [
            json!({ "type": "connection_init" }),
            json!({ "type": "subscribe", "id": "1", "payload": request(id) }),
        ] {
            let message = Message::text(message.to_string());
            within(socket.send(message)).await.unwrap();
        }
        Self::Socket(Box::new(socket))
    }

    async fn http(mut stream: TcpStream, accept: &str, id: &str) -> Self {
        let body = request(id).to_string();
        let head = format!(
            "POST /graphql HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        within(stream.write_all((head + &body).as_bytes()))
            .await
            .unwrap();
        Self::Http(stream)
    }

    /// Reads until this is received.
    async fn receive(&mut self, mark: &str) {
        match self {
            Self::Socket(socket) => loop {
                // To read is to answer pings as well.
                match socket.next().await.unwrap().unwrap() {
                    Message::Text(text) if text.contains(mark) => return,
                    Message::Close(frame) => panic!("closed: {frame:?}"),
                    _ => {}
                }
            },
            Self::Http(stream) => {
                let mut received = Vec::new();
                loop {
                    let length = stream.read_buf(&mut received).await.unwrap();
                    assert_ne!(length, 0, "the stream ended");
                    if String::from_utf8_lossy(&received).contains(mark) {
                        return;
                    }
                }
            }
        }
    }

    fn into_stream(self) -> TcpStream {
        match self {
            Self::Socket(socket) => socket.into_inner(),
            Self::Http(stream) => stream,
        }
    }
}

async fn rename(server: &Server, id: &str, title: &str) {
    let path = format!("/api/v1/conversations/{id}/title");
    let body = json!({ "display_name": title });
    assert_eq!(server.send("PATCH", &path, body).await.0, 200);
}

/// Changes a conversation until its subscriber's connection holds all that it can, or it is gone.
async fn flood(server: &Server, id: &str, topics_without: usize) {
    for round in 0..FLOOD {
        if server.app.events().topic_count() <= topics_without {
            return;
        }
        // 120 characters of three bytes each.
        rename(server, id, &format!("{round:04}{}", "京".repeat(116))).await;
    }
}

/// Waits until at most this many subscribers remain.
async fn left(server: &Server, wire: Wire, topics: usize, since: Instant, who: &str) {
    let mut again = interval(Duration::from_millis(20));
    while server.app.events().topic_count() > topics {
        let is_late = since.elapsed() > PATIENCE;
        assert!(
            !is_late,
            "{wire:?}: {who} is still there after {PATIENCE:?}"
        );
        again.tick().await;
    }
}

async fn check(wire: Wire) {
    let server = Server::offline().await;
    let ids = server.database.seed(&Owner::local(), 4, 1).await;
    let [dropped, halved, paused, silent] = ids.as_slice() else {
        panic!("four conversations");
    };
    let mut healthy = Peer::subscribe(&server, wire, silent).await;
    let paused_peer = Peer::subscribe(&server, wire, paused).await;

    let peer = Peer::subscribe(&server, wire, dropped).await.into_stream();
    // An abort: no close frame, no end of the stream.
    peer.set_zero_linger().unwrap();
    drop(peer);
    left(&server, wire, 2, Instant::now(), "a dropped peer").await;

    let mut peer = Peer::subscribe(&server, wire, halved).await.into_stream();
    peer.shutdown().await.unwrap();
    left(&server, wire, 2, Instant::now(), "a half-closed peer").await;
    drop(peer);

    let since = Instant::now();
    let dying = async {
        flood(&server, paused, 1).await;
        left(&server, wire, 1, since, "a paused reader").await;
        drop(paused_peer);
        timeout_at(
            since + PULSE + Duration::from_secs(1),
            std::future::pending::<()>(),
        )
        .await
        .unwrap_err();
        rename(&server, silent, "Still here").await;
    };
    let living = timeout_at(since + 2 * PATIENCE, healthy.receive("Still here"));
    let ((), received) = tokio::join!(dying, living);
    assert!(received.is_ok(), "{wire:?}: a silent peer was given up on");

    drop(healthy);
    eventually(async || (server.app.events().topic_count() == 0).then_some(())).await;
    let answer = server.data("{ __typename }", json!({})).await;
    assert_eq!(answer["__typename"], "Query");
}

/// One test for the three, since they wait for the same clock.
#[tokio::test]
async fn dead_peers_and_their_operations_are_gone_in_time_and_silent_ones_stay() {
    tokio::join!(
        check(Wire::Socket),
        check(Wire::EventStream),
        check(Wire::Multipart),
    );
}

#[tokio::test]
async fn a_socket_that_stalled_and_reads_again_is_asked_to_reconnect_later() {
    let server = Server::offline().await;
    let ids = server.database.seed(&Owner::local(), 1, 1).await;
    let Peer::Socket(mut socket) = Peer::subscribe(&server, Wire::Socket, &ids[0]).await else {
        panic!("no socket");
    };
    let since = Instant::now();
    flood(&server, &ids[0], 0).await;
    left(&server, Wire::Socket, 0, since, "a stalled reader").await;
    // It has just been dropped, and reads what it was sent before.
    let end = loop {
        match within(socket.next()).await {
            Some(Ok(Message::Close(frame))) => break frame.unwrap(),
            Some(Ok(_)) => {}
            other => panic!("no close frame: {other:?}"),
        }
    };
    assert_eq!(u16::from(end.code), 1013);
    server.stop().await;
}

#[tokio::test]
async fn who_asks_and_does_not_read_the_answers_is_not_listened_to() {
    let server = Server::offline().await;
    let id = server.begin("Plan a trip to Kyoto").await;
    let Peer::Socket(mut socket) = Peer::subscribe(&server, Wire::Socket, &id).await else {
        unreachable!("it is a socket");
    };
    // In all more than both kernels hold back.
    let ping = json!({ "type": "ping", "payload": { "text": "x".repeat(60_000) } }).to_string();
    let asking = async {
        for _ in 0..1_000 {
            socket.send(Message::text(ping.clone())).await?;
        }
        Ok::<_, tokio_tungstenite::tungstenite::Error>(())
    };
    // Before the server gives the peer up.
    let asked = tokio::time::timeout(Duration::from_secs(8), asking).await;
    assert!(
        !matches!(asked, Ok(Ok(()))),
        "all answers pile up somewhere"
    );
}
