//! Many users watch the one inbox of their tenant.

use std::fs;

use serde_json::{Value, json};
use titlecast_testing::{
    ModelServer, Server,
    auth::{GUARDED, claims, signed},
    calls::settled_conversation,
    eventually,
    raw_socket::RawSocket,
    server::{client, metrics},
};

use super::{owner, policy};
use crate::agents::Folder;

/// Both ends of every socket are in this process, which may have 1,024 open files: each user has five subscriptions.
const USERS: usize = 100;
const OPERATIONS: usize = 5;

const INBOX: &str = "subscription { conversationUpdated { id displayName revision messages(last: 1) { nodes { content author } } } }";

/// The first states that a socket's subscriptions receive next.
async fn next(socket: &mut RawSocket) -> Vec<Value> {
    let mut states = Vec::new();
    for _ in 0..OPERATIONS {
        let mut message = socket.message().await;
        assert_eq!(message["type"], "next", "{message}");
        states.push(message["payload"]["data"]["conversationUpdated"].take());
    }
    states
}

async fn watch(url: &str, tenant: &str, user: &str) -> RawSocket {
    let token = signed(&claims(tenant, user));
    let headers = [("authorization", format!("Bearer {token}"))];
    let mut socket = RawSocket::open_with(url, "graphql-transport-ws", &headers).await;
    socket.say(json!({ "type": "connection_init" })).await;
    assert_eq!(socket.message().await["type"], "connection_ack");
    for operation in 0..OPERATIONS {
        let payload = json!({ "query": INBOX });
        let id = operation.to_string();
        socket
            .say(json!({ "type": "subscribe", "id": id, "payload": payload }))
            .await;
    }
    // The server answers in order: the subscriptions have begun.
    let query = json!({ "query": "{ __typename }" });
    socket
        .say(json!({ "type": "subscribe", "id": "begun", "payload": query }))
        .await;
    assert_eq!(socket.message().await["id"], "begun");
    assert_eq!(socket.message().await["type"], "complete");
    socket
}

#[tokio::test]
async fn five_hundred_watchers_of_an_inbox_cost_one_read_and_one_serialisation() {
    let model = ModelServer::start().await;
    let folder = Folder::new().file("titlecast.toml", &policy("tenant"));
    let path = folder.path("titlecast.toml");
    let settings = [
        "--config",
        &path,
        "--connections-per-address",
        "0",
        "--title-sweep",
        "1h",
        "--reply-lease",
        "1h",
    ];
    let mut server = Server::start_with(&model, &[&GUARDED, &settings[..]].concat()).await;
    let open = server.serve(owner("acme", "ada")).await;
    let id = settled_conversation(&open, json!({ "text": "Plan a trip to Kyoto" })).await;
    let mut sockets = Vec::with_capacity(USERS);
    for user in 0..USERS {
        sockets.push(watch(&server.url, "acme", &format!("user-{user}")).await);
    }
    let mut stranger = watch(&server.url, "globex", "ada").await;
    // The tenant's, and the stranger's own.
    server.topics(2).await;
    let metrics_url = server.serve_metrics().await;
    let executions = async || -> usize {
        let page = metrics(&metrics_url).await;
        let start = "titlecast_subscription_executions_total ";
        let line = page.lines().find_map(|line| line.strip_prefix(start));
        line.unwrap().parse().unwrap()
    };
    let before = (server.app.database().statement_count(), executions().await);
    for round in 0..3 {
        let title = format!("Round {round}");
        rename(&server.url, &id, &title).await;
        for socket in &mut sockets {
            for state in next(socket).await {
                assert_eq!(state["displayName"], title.as_str(), "{state}");
                assert_eq!(state["messages"]["nodes"][0]["author"], Value::Null);
            }
        }
    }
    let statements = server.app.database().statement_count() - before.0;
    let executions = executions().await - before.1;
    // A rename: three to find the owner and to change the row, one to read the messages that the inbox shows. Published
    // revisions are recorded meanwhile, now and then.
    assert!((9..=18).contains(&statements), "{statements}");
    assert_eq!(executions, 3, "one for each change");
    // Another tenant has received nothing: the next event is the answer to its own request.
    let query = json!({ "query": "{ __typename }" });
    stranger
        .say(json!({ "type": "subscribe", "id": "last", "payload": query }))
        .await;
    assert_eq!(stranger.message().await["id"], "last");
    // The policy ends all of them, and the topic with them.
    fs::write(&path, policy("private")).unwrap();
    server.app.reload().unwrap();
    for socket in &mut sockets {
        for _ in 0..OPERATIONS {
            let text = loop {
                let message = socket.message().await;
                if message["type"] != "complete" {
                    break message.to_string();
                }
            };
            assert!(text.contains("LAGGED"), "{text}");
        }
    }
    drop((sockets, stranger));
    eventually(async || (server.app.events().topic_count() == 0).then_some(())).await;
}

async fn rename(url: &str, id: &str, title: &str) {
    let token = signed(&claims("acme", "user-1"));
    let renaming = client()
        .patch(format!("{url}/api/v1/conversations/{id}/title"))
        .bearer_auth(token)
        .header("content-type", "application/json")
        .body(json!({ "display_name": title }).to_string());
    assert_eq!(renaming.send().await.unwrap().status(), 200);
}
