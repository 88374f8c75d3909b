//! Peers that do not read: their operations are still executed and hold no resource that others need, and late
//! deliveries carry the newest state.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{Server, eventually, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, interval, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

/// What the client's kernel takes in before the client reads.
const RECEIVE_BYTES: u32 = 4 * 1024;

/// Some 200 KiB.
const LARGE: &str =
    "{ conversations(first: 50) { nodes { id messages(first: 50) { nodes { id content } } } } }";

/// How long another client may wait meanwhile, in a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(4);

async fn connect(server: &Server) -> TcpStream {
    let address = server.url.trim_start_matches("http://").parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(RECEIVE_BYTES).unwrap();
    within(socket.connect(address)).await.unwrap()
}

async fn open(server: &Server, protocol: &str) -> WebSocketStream<TcpStream> {
    let url = format!("{}/graphql", server.url.replace("http://", "ws://"));
    let mut opening = url.into_client_request().unwrap();
    let headers = opening.headers_mut();
    headers.insert("sec-websocket-protocol", protocol.parse().unwrap());
    let stream = connect(server).await;
    let (mut socket, _) = within(client_async(opening, stream)).await.unwrap();
    say(&mut socket, json!({ "type": "connection_init" })).await;
    socket
}

async fn say(socket: &mut WebSocketStream<TcpStream>, message: Value) {
    within(socket.send(Message::text(message.to_string())))
        .await
        .unwrap();
}

async fn start(
    socket: &mut WebSocketStream<TcpStream>,
    protocol: &str,
    id: String,
    query: &str,
    variables: Value,
) {
    let kind = match protocol {
        "graphql-ws" => "start",
        _ => "subscribe",
    };
    let payload = json!({ "query": query, "variables": variables });
    say(
        socket,
        json!({ "type": kind, "id": id, "payload": payload }),
    )
    .await;
}

const RENAME: &str = "mutation ($id: ID!, $title: String!) {
    renameConversation(input: { id: $id, displayName: $title }) { conversation { id } }
}";

#[tokio::test]
async fn what_a_socket_asked_for_is_executed_though_it_reads_nothing() {
    let server = Server::offline().await;
    let ids = server.database.seed(&Owner::local(), 60, 50).await;
    let mut sockets = Vec::new();
    for (number, protocol) in ["graphql-transport-ws", "graphql-ws"]
        .into_iter()
        .enumerate()
    {
        let mut socket = open(&server, protocol).await;
        for large in 0..3 {
            start(
                &mut socket,
                protocol,
                format!("large {large}"),
                LARGE,
                json!({}),
            )
            .await;
        }
        for id in &ids[number * 30..][..30] {
            let variables = json!({ "id": id, "title": "Renamed unheard" });
            start(&mut socket, protocol, id.clone(), RENAME, variables).await;
        }
        sockets.push(socket);
    }
    let query = "query ($id: ID!) { conversation(id: $id) { displayName } }";
    for id in &ids {
        let renamed = async || {
            let asked = server.data(query, json!({ "id": id }));
            let found = timeout(PATIENCE, asked).await.expect("others are served");
            (found["conversation"]["displayName"] == "Renamed unheard").then_some(())
        };
        eventually(renamed).await;
    }
    // Both kinds of connections to the database are free.
    for id in &ids[..10] {
        let variables = json!({ "id": id, "title": "Renamed by another" });
        timeout(PATIENCE, server.data(RENAME, variables))
            .await
            .expect("others may write");
        let (status, _) = server.get("/readyz").await;
        assert_eq!(status, 200);
    }
    drop(sockets);
    server.stop().await;
}

#[tokio::test]
async fn a_mutation_is_aborted_with_its_socket_and_leaves_the_writer_free() {
    let server = Server::offline().await;
    let ids = server.database.seed(&Owner::local(), 40, 1).await;
    for _ in 0..5 {
        let mut socket = open(&server, "graphql-transport-ws").await;
        for id in &ids {
            let variables = json!({ "id": id, "title": "Renamed or not" });
            start(
                &mut socket,
                "graphql-transport-ws",
                id.clone(),
                RENAME,
                variables,
            )
            .await;
        }
        // An abort in the middle of them.
        socket.get_ref().set_zero_linger().unwrap();
        drop(socket);
        let variables = json!({ "id": ids[0], "title": "Renamed at last" });
        timeout(PATIENCE, server.data(RENAME, variables))
            .await
            .expect("the writer is free");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_answer_that_is_not_read_holds_no_connection_to_the_database() {
    let server = Server::offline().await;
    let ids = server.database.seed(&Owner::local(), 50, 50).await;
    let body = json!({ "query": LARGE }).to_string();
    let mut unread = Vec::new();
    for accept in [
        "application/json",
        "text/event-stream",
        "multipart/mixed;subscriptionSpec=1.0",
    ] {
        for _ in 0..8 {
            let mut stream = connect(&server).await;
            let head = format!(
                "POST /graphql HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            within(stream.write_all(head.as_bytes())).await.unwrap();
            unread.push(stream);
        }
    }
    for id in &ids[..10] {
        let variables = json!({ "id": id, "title": "Renamed by another" });
        timeout(2 * PATIENCE, server.data(RENAME, variables))
            .await
            .expect("others may write");
        let path = format!("/api/v1/conversations/{id}");
        let (status, _) = timeout(2 * PATIENCE, server.get(&path))
            .await
            .expect("others may read");
        assert_eq!(status, 200);
    }
    drop(unread);
    server.stop().await;
}

/// One conversation in many copies, so that each state is large: some 10 KiB.
fn states(id: &str) -> (String, Value) {
    let copies: String = (0..29).map(|n| format!(" t{n}: displayName")).collect();
    let query =
        format!("subscription ($id: ID!) {{ conversationUpdated(id: $id) {{ id{copies} }} }}");
    (query, json!({ "id": id }))
}

async fn rename(server: &Server, id: &str, round: usize) -> String {
    let title = format!("{round:04}{}", "京".repeat(116));
    let path = format!("/api/v1/conversations/{id}/title");
    let body = json!({ "display_name": title });
    assert_eq!(server.send("PATCH", &path, body).await.0, 200);
    title
}

#[tokio::test]
async fn a_reader_that_paused_gets_the_newest_state_next() {
    let server = Server::offline().await;
    let id = server.database.seed(&Owner::local(), 1, 1).await.remove(0);
    let mut socket = open(&server, "graphql-transport-ws").await;
    let (query, variables) = states(&id);
    start(
        &mut socket,
        "graphql-transport-ws",
        "1".into(),
        &query,
        variables.clone(),
    )
    .await;
    let mut stream = connect(&server).await;
    let body = json!({ "query": query, "variables": variables }).to_string();
    let head = format!(
        "POST /graphql HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    within(stream.write_all(head.as_bytes())).await.unwrap();
    // As a browser's EventSource would have it, on the legacy route.
    let mut titles = connect(&server).await;
    let head = format!("GET /api/v1/conversations/{id}/stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
    within(titles.write_all(head.as_bytes())).await.unwrap();
    // Each has received the current state.
    let mut received = [0; 1];
    within(stream.read_exact(&mut received)).await.unwrap();
    within(titles.read_exact(&mut received)).await.unwrap();
    within(async {
        while !matches!(socket.next().await.unwrap().unwrap(), Message::Text(text) if text.contains("next")) {}
    })
    .await;
    let mut newest = String::new();
    for round in 0..200 {
        newest = rename(&server, &id, round).await;
    }
    let heard_before = within(async {
        let mut bytes = 0;
        loop {
            match socket.next().await.unwrap().unwrap() {
                Message::Text(text) if text.contains(&newest) => return bytes,
                Message::Text(text) => bytes += text.len(),
                _ => {}
            }
        }
    })
    .await;
    // Of 2 MiB. What was on its way in both kernels is not called back.
    assert!(
        heard_before < 256 * 1024,
        "{heard_before} bytes of older states"
    );
    for stream in [stream, titles] {
        let heard_before = read_until(stream, &newest).await;
        assert!(
            heard_before < 256 * 1024,
            "{heard_before} bytes of older states"
        );
    }
    server.stop().await;
}

async fn read_until(mut stream: TcpStream, mark: &str) -> usize {
    let mut received = Vec::new();
    within(async {
        while !String::from_utf8_lossy(&received).contains(mark) {
            let length = stream.read_buf(&mut received).await.unwrap();
            assert_ne!(length, 0, "the stream ended");
        }
    })
    .await;
    received.len()
}

/// What a client does that reads slowly: so much, so often.
const SIP: usize = 4 * 1024;
const PAUSE: Duration = Duration::from_millis(200);

/// Longer than a peer may owe the answers to pings.
const LONG: Duration = Duration::from_secs(45);

#[tokio::test]
async fn a_slow_reader_stays_and_a_stalled_one_is_asked_to_reconnect() {
    let server = Server::offline().await;
    let id = server.database.seed(&Owner::local(), 1, 1).await.remove(0);
    let (query, variables) = states(&id);
    let mut slow = open(&server, "graphql-transport-ws").await;
    start(
        &mut slow,
        "graphql-transport-ws",
        "1".into(),
        &query,
        variables,
    )
    .await;
    // It answers no ping, although it reads them in the end.
    let mut silent = open(&server, "graphql-transport-ws").await.into_inner();
    let mut slow = slow.into_inner();
    let since = Instant::now();
    let mut ticks = interval(PAUSE);
    let mut round = 0;
    let mut received = vec![0; SIP];
    while since.elapsed() < LONG {
        ticks.tick().await;
        rename(&server, &id, round).await;
        round += 1;
        // It never answers a ping either: that it reads is what shows that it lives.
        let length = within(slow.read(&mut received)).await.unwrap();
        assert_ne!(
            length,
            0,
            "a slow reader was given up after {:?}",
            since.elapsed()
        );
    }
    drop(slow);
    let mut received = Vec::new();
    within(silent.read_to_end(&mut received)).await.unwrap();
    // A close frame with its length and its code.
    let mut ends = received.windows(4).filter(|frame| frame[0] == 0x88);
    let code = ends
        .next()
        .map(|frame| u16::from_be_bytes([frame[2], frame[3]]));
    assert_eq!(code, Some(1013));
    server.stop().await;
}

#[tokio::test]
async fn a_flood_of_operations_is_bounded_and_the_server_goes_on() {
    let server = Server::offline().await;
    server.database.seed(&Owner::local(), 50, 50).await;
    let mut socket = open(&server, "graphql-transport-ws").await;
    let padding = "x".repeat(4_000);
    let asking = async {
        for number in 0..20_000 {
            // Each answer names the id, refusals as well: the buffers of the kernel do not hold them all.
            let id = format!("{number}{padding}");
            let message = json!({ "type": "subscribe", "id": id, "payload": { "query": LARGE } });
            socket.send(Message::text(message.to_string())).await?;
        }
        Ok::<_, tokio_tungstenite::tungstenite::Error>(())
    };
    // The server no longer reads from it, or has closed it.
    let asked = timeout(Duration::from_secs(8), asking).await;
    if let Ok(Ok(())) = asked {
        // Closed: the server reads on until the client closes too, and answers nothing of that.
        let mut answers = 0;
        while let Some(Ok(Message::Text(_))) = within(socket.next()).await {
            answers += 1;
        }
        assert!(answers < 20_000, "20,000 answers pile up somewhere");
    }
    let answer = timeout(2 * PATIENCE, server.data("{ __typename }", json!({}))).await;
    assert_eq!(answer.unwrap()["__typename"], "Query");
    drop(socket);
    server.stop().await;
}
