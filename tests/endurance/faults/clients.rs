//! Clients that leave at any time, and that all come back at once.

use futures_util::future::join_all;
use serde_json::{Value, json};
use titlecast_testing::{
    Events, GraphqlSocket, Hold, ModelServer, Node, Rows, Server, Step, TestDatabase, at_length,
    calls::rename,
    eventually,
    proxy::{Cut, Proxy},
    sse::text,
    titles::{new_id, settled},
};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::Instant};

use super::turns::{MESSAGE, plain};

#[tokio::test]
async fn a_client_that_leaves_at_any_token_leaves_a_whole_reply() {
    const TOKENS: usize = 6;
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let rows = Rows::of(&server.database).await;
    let proxy = Proxy::to_url(&server.url).await;
    let url = format!("http://{}", proxy.address);
    let whole: String = (0..TOKENS).map(|number| format!("{number} ")).collect();
    for leave in 0..=TOKENS {
        let steps = model.live_reply();
        let mut stream = Events::post(&url, plain(MESSAGE)).await;
        let first = stream.next().await.unwrap();
        let mut events = Vec::new();
        for number in 0..TOKENS {
            if number == leave {
                proxy.cut([Cut::Rst, Cut::Fin][leave % 2]);
            }
            steps.send(Step::Delta(format!("{number} "))).unwrap();
            while number < leave && !text(&events).ends_with(&format!("{number} ")) {
                events.push(stream.next().await.unwrap());
            }
        }
        steps.send(Step::Finish).unwrap();
        let id = first["conversation_id"].as_str().unwrap();
        eventually(async || (rows.last_turn(id).await.0 == "completed").then_some(())).await;
        assert_eq!(rows.messages(id).await[1].2, whole, "left at {leave}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_that_leaves_while_its_message_is_stored_gets_a_reply_in_the_rows() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let rows = Rows::of(&server.database).await;
    let id = new_id();
    let mut hold = Hold::named("turns.begin", &id);
    let mut body = plain(MESSAGE);
    body["conversation_id"] = json!(id);
    let body = body.to_string();
    let address = server.url.strip_prefix("http://").unwrap();
    let mut client = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /api/v1/chat/stream HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(head.as_bytes()).await.unwrap();
    hold.reached().await;
    client.set_zero_linger().unwrap();
    drop(client);
    // The server takes other requests meanwhile: it has had the time to see that this one is gone.
    for _ in 0..20 {
        assert_eq!(server.get("/healthz").await.0, 200);
    }
    drop(hold);
    eventually(async || {
        let turns = rows.all("SELECT 1 AS found FROM agent_turns", []).await;
        if turns.is_empty() {
            return None;
        }
        (rows.last_turn(&id).await.0 == "completed").then_some(())
    })
    .await;
    assert_eq!(rows.messages(&id).await[1].2, ModelServer::REPLY.concat());
    server.stop().await;
}

/// This many sockets lose their server at once, and reconnect to the next one at once.
async fn storm(sockets: usize) {
    const WATCH: &str =
        "subscription ($id: ID!) { conversationUpdated(id: $id) { id title revision } }";
    let database = TestDatabase::new().await;
    let model = ModelServer::start().await;
    let node = Node::start(&database.url, &model.url, &[]).await;
    let listen = node.url.strip_prefix("http://").unwrap().to_owned();
    let id = settled(&node.url, MESSAGE).await;
    let watch = async |url: &str| {
        let mut socket = GraphqlSocket::connect(url).await;
        let operation = socket.subscribe(WATCH, json!({ "id": id })).await;
        let now: Value = socket.next_of(&operation, "conversationUpdated").await;
        (socket, operation, now)
    };
    let url = node.url.clone();
    let watched = join_all((0..sockets).map(|_| watch(&url))).await;
    assert!(
        watched
            .iter()
            .all(|(_, _, now)| now["title"] == ModelServer::TITLE)
    );

    node.stop().await;
    let lost = join_all(
        watched
            .into_iter()
            .map(|(mut socket, _, _)| async move { while socket.message().await.is_some() {} }),
    );
    lost.await;
    let node = Node::start(&database.url, &model.url, &["--listen", &listen]).await;
    rename(&node.url, &id, "Kyoto").await;
    let began = Instant::now();
    let mut watched = join_all((0..sockets).map(|_| watch(&url))).await;
    eprintln!("{sockets} sockets came back in {:.1?}", began.elapsed());
    assert!(watched.iter().all(|(_, _, now)| now["title"] == "Kyoto"));
    // From then on they receive changes.
    let began = Instant::now();
    let (renamed, received) = tokio::join!(
        rename(&node.url, &id, "Nara"),
        join_all(watched.iter_mut().map(|(socket, operation, _)| async {
            socket.next_of(operation, "conversationUpdated").await
        })),
    );
    eprintln!(
        "{sockets} sockets received the change in {:.1?}",
        began.elapsed()
    );
    for now in received {
        assert_eq!(now["title"], "Nara");
        assert_eq!(now["revision"], renamed["revision"]);
    }
    drop(watched);
    node.stop().await;
}

#[tokio::test]
async fn a_hundred_subscribers_that_come_back_at_once_see_what_is() {
    storm(100).await;
}

#[tokio::test]
#[ignore = "a thousand connections: just shows"]
async fn a_thousand_subscribers_that_come_back_at_once_see_what_is() {
    storm(at_length(1_000)).await;
}
