//! `conversationUpdated`: the present state first, then every change in order, of one conversation or
//! of all the caller's; how subscriptions end, and what they leave behind.

use std::collections::BTreeSet;

use futures_util::{SinkExt, StreamExt, future::join_all};
use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    Answer, GraphqlSocket, ModelServer, Server,
    calls::{conversation, delete, rename, send_message, settled_conversation},
    within,
};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};

const ALL: &str = "subscription { conversationUpdated {
    id displayName titleStatus titleSource status messageCount revision
} }";
const ONE: &str = "subscription ($id: ID!) { conversationUpdated(id: $id) {
    id displayName titleStatus titleSource status messageCount revision
    messages(last: 1) { nodes { role content } }
} }";

/// The next state, which must be newer than the last one.
async fn next(socket: &mut GraphqlSocket, operation: &str, revision: &mut i64) -> Value {
    let state = socket.next_of(operation, "conversationUpdated").await;
    let newer = state["revision"].as_i64().unwrap();
    assert!(newer > *revision, "{newer} after {revision}: {state}");
    *revision = newer;
    state
}

/// The next state that is as expected.
async fn until(
    socket: &mut GraphqlSocket,
    operation: &str,
    revision: &mut i64,
    is_expected: impl Fn(&Value) -> bool,
) -> Value {
    loop {
        let state = next(socket, operation, revision).await;
        if is_expected(&state) {
            return state;
        }
    }
}

#[tokio::test]
async fn one_conversation_sends_its_state_and_its_changes_until_it_is_deleted() {
    let model = ModelServer::start().await;
    let (reply, open_reply) = Answer::held(Answer::Deltas(vec!["At last"]));
    let (title, open_title) = Answer::held(Answer::Text("Trip to Kyoto"));
    model.reply(reply).title(title);
    let server = Server::start(&model).await;
    let sent = send_message(&server.url, json!({ "text": "Plan a trip" })).await;
    let id = sent["conversation"]["id"].as_str().unwrap();

    let mut socket = server.socket().await;
    let one = socket.subscribe(ONE, json!({ "id": id })).await;
    let mut revision = 0;
    let present = next(&mut socket, &one, &mut revision).await;
    let expected = json!({
        "id": id, "displayName": null, "titleStatus": "PENDING", "titleSource": "HINT",
        "status": "ACTIVE", "messageCount": 1, "revision": 1,
        "messages": { "nodes": [{ "role": "USER", "content": "Plan a trip" }] },
    });
    assert_eq!(present, expected);

    open_title.send(()).unwrap();
    let titled = next(&mut socket, &one, &mut revision).await;
    assert_eq!(titled["displayName"], "Trip to Kyoto");
    assert_eq!(titled["titleStatus"], "READY");
    assert_eq!(titled["titleSource"], "GENERATED");
    open_reply.send(()).unwrap();
    let replied = next(&mut socket, &one, &mut revision).await;
    assert_eq!(replied["messageCount"], 2);
    assert_eq!(replied["messages"]["nodes"][0]["content"], "At last");
    rename(&server.url, id, "Mine").await;
    let renamed = next(&mut socket, &one, &mut revision).await;
    assert_eq!(renamed["displayName"], "Mine");
    assert_eq!(renamed["titleSource"], "MANUAL");
    delete(&server.url, id).await;
    let deleted = next(&mut socket, &one, &mut revision).await;
    assert_eq!(deleted["status"], "DELETED");
    assert_eq!(deleted["displayName"], Value::Null);
    assert_eq!(deleted["messages"]["nodes"], json!([]));
    assert_eq!(revision, 5);
    assert_eq!(socket.next(&one).await, None);
    server.topics(0).await;
}

#[tokio::test]
async fn who_comes_later_gets_the_present_state_first() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = settled_conversation(&server.url, json!({ "text": "Plan a trip to Kyoto" })).await;
    let mut socket = server.socket().await;
    let one = socket.subscribe(ONE, json!({ "id": id })).await;
    let present = socket.next_of(&one, "conversationUpdated").await;
    assert_eq!(present["displayName"], ModelServer::TITLE);
    assert_eq!(present["titleStatus"], "READY");
    assert_eq!(present["messageCount"], 2);
    assert_eq!(present["revision"], 3);
}

#[tokio::test]
async fn the_list_receives_every_conversation() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let mut socket = server.socket().await;
    let all = socket.subscribe(ALL, json!({})).await;
    server.topics(1).await;

    for text in ["Plan a trip", "Something else"] {
        let sent = send_message(&server.url, json!({ "text": text })).await;
        let id = &sent["conversation"]["id"];
        let mut revision = 0;
        let begun = next(&mut socket, &all, &mut revision).await;
        assert_eq!(begun["id"], *id);
        assert_eq!(
            (&begun["revision"], &begun["messageCount"]),
            (&json!(1), &json!(1))
        );
        // The reply and the title, in whichever order: of two that are published at once the older may be
        // left out.
        let is_settled =
            |state: &Value| state["titleStatus"] == "READY" && state["messageCount"] == 2;
        let settled = until(&mut socket, &all, &mut revision, is_settled).await;
        assert_eq!(settled["id"], *id);
        assert_eq!(settled["displayName"], ModelServer::TITLE);
        assert_eq!(revision, 3);
        let id = id.as_str().unwrap();
        rename(&server.url, id, text).await;
        let renamed = next(&mut socket, &all, &mut revision).await;
        assert_eq!(
            (&renamed["id"], &renamed["displayName"]),
            (&json!(id), &json!(text))
        );
        delete(&server.url, id).await;
        let deleted = next(&mut socket, &all, &mut revision).await;
        assert_eq!(
            (&deleted["id"], &deleted["status"]),
            (&json!(id), &json!("DELETED"))
        );
        assert_eq!(revision, 5);
    }
}

#[tokio::test]
async fn the_list_receives_nothing_of_another_owner() {
    let model = ModelServer::start().await;
    let mut server = Server::start(&model).await;
    let other = Owner {
        tenant: "local".into(),
        user: "other".into(),
    };
    let urls = [server.url.clone(), server.serve(other).await];
    let mut sockets = Vec::new();
    for url in &urls {
        let mut socket = GraphqlSocket::connect(url).await;
        let all = socket.subscribe(ALL, json!({})).await;
        sockets.push((socket, all));
    }
    server.topics(2).await;
    let mut owned = [Vec::new(), Vec::new()];
    for number in 0..5 {
        for (url, owned) in urls.iter().zip(&mut owned) {
            let text = format!("Conversation {number}");
            let id = settled_conversation(url, json!({ "text": text })).await;
            rename(url, &id, &text).await;
            owned.push(id);
        }
        for (url, owned) in urls.iter().zip(&owned) {
            if number % 2 == 0 {
                delete(url, &owned[number]).await;
            }
        }
    }
    for (url, owned) in urls.iter().zip(&owned) {
        rename(url, &owned[1], "The end").await;
    }
    for ((socket, all), owned) in sockets.iter_mut().zip(&owned) {
        let mut received = BTreeSet::new();
        loop {
            let state = socket.next_of(all, "conversationUpdated").await;
            let id = state["id"].as_str().unwrap().to_owned();
            assert!(owned.contains(&id), "not its own: {state}");
            received.insert(id);
            if state["displayName"] == "The end" {
                break;
            }
        }
        assert_eq!(received.len(), owned.len());
    }
}

#[tokio::test]
async fn what_does_not_exist_cannot_be_watched() {
    let model = ModelServer::start().await;
    let mut server = Server::start(&model).await;
    let id = settled_conversation(&server.url, json!({ "text": "Plan a trip to Kyoto" })).await;
    let gone = settled_conversation(&server.url, json!({ "text": "Plan a trip to Nara" })).await;
    delete(&server.url, &gone).await;
    let other = Owner {
        tenant: "other".into(),
        user: "local".into(),
    };
    let foreign = server.serve(other).await;
    let reply = "subscription ($id: ID!) { reply(conversationId: $id) { __typename } }";
    let unknown = uuid::Uuid::now_v7().to_string();
    for watch in [ONE, reply] {
        for (url, id, code) in [
            (&server.url, unknown.as_str(), "NOT_FOUND"),
            (&server.url, &gone, "NOT_FOUND"),
            (&foreign, &id, "NOT_FOUND"),
            (&server.url, "nonsense", "INVALID_INPUT"),
            (&server.url, "", "INVALID_INPUT"),
        ] {
            let mut socket = GraphqlSocket::connect(url).await;
            let operation = socket.subscribe(watch, json!({ "id": id })).await;
            assert_eq!(socket.refusal(&operation).await, code, "{id}");
            // The socket is as good as before.
            socket.settled().await;
        }
    }
    server.topics(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_title_never_goes_back_however_many_rename_at_once() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = settled_conversation(&server.url, json!({ "text": "Plan a trip to Kyoto" })).await;
    let (mut one, mut list) = (server.socket().await, server.socket().await);
    let watching_one = one.subscribe(ONE, json!({ "id": id })).await;
    let watching_all = list.subscribe(ALL, json!({})).await;
    server.topics(2).await;
    let names: Vec<String> = (0..40).map(|number| format!("Title {number}")).collect();
    join_all(names.iter().map(|name| rename(&server.url, &id, name))).await;

    let last = conversation(&server.url, &id).await;
    assert_eq!(last["revision"], 3 + 40);
    for (mut socket, operation) in [(one, watching_one), (list, watching_all)] {
        let is_last = |state: &Value| state["revision"] == last["revision"];
        let state = until(&mut socket, &operation, &mut 0, is_last).await;
        assert_eq!(state["displayName"], last["displayName"]);
    }
}

#[tokio::test]
async fn a_client_that_disconnects_leaves_nothing_behind() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = settled_conversation(&server.url, json!({ "text": "Plan a trip to Kyoto" })).await;
    server.topics(0).await;
    let (mut stays, mut goes) = (server.socket().await, server.socket().await);
    let staying = stays.subscribe(ONE, json!({ "id": id })).await;
    stays.next_of(&staying, "conversationUpdated").await;
    let going = goes.subscribe(ONE, json!({ "id": id })).await;
    goes.next_of(&going, "conversationUpdated").await;
    goes.complete(&going).await;
    let all = goes.subscribe(ALL, json!({})).await;
    server.topics(2).await;

    // A client that ended an operation receives no further events of it on the same socket.
    rename(&server.url, &id, "Mine").await;
    let mut received = Value::Null;
    while received["payload"]["data"]["conversationUpdated"]["displayName"] != "Mine" {
        received = goes.message().await.unwrap();
        assert!(
            received["id"] == all || received["type"] == "complete",
            "{received}"
        );
    }
    drop(goes);
    server.topics(1).await;
    let renamed = stays.next_of(&staying, "conversationUpdated").await;
    assert_eq!(renamed["displayName"], "Mine");
    stays.complete(&staying).await;
    server.topics(0).await;
}

#[tokio::test]
async fn a_shutdown_ends_subscriptions_without_waiting_for_clients() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = settled_conversation(&server.url, json!({ "text": "Plan a trip to Kyoto" })).await;
    let mut sockets = Vec::new();
    for watch in [ONE, ALL] {
        let mut socket = server.socket().await;
        socket.subscribe(watch, json!({ "id": id })).await;
        sockets.push(socket);
    }
    let idle = server.socket().await;
    server.topics(2).await;
    let events = server.app.events().clone();
    server.stop().await;
    assert_eq!(events.topic_count(), 0);
    for mut socket in sockets.into_iter().chain([idle]) {
        within(async { while socket.message().await.is_some() {} }).await;
    }
}

/// A socket that speaks the older `graphql-ws` subprotocol.
async fn legacy(url: &str, offered: &str) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
    let url = format!("{}/graphql", url.replace("http://", "ws://"));
    let mut request = url.into_client_request().unwrap();
    let protocols = offered.parse().unwrap();
    request
        .headers_mut()
        .insert("sec-websocket-protocol", protocols);
    let (mut socket, response) = within(connect_async(request)).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "graphql-ws");
    say(
        &mut socket,
        json!({ "type": "connection_init", "payload": {} }),
    )
    .await;
    assert_eq!(receive(&mut socket).await["type"], "connection_ack");
    socket
}

async fn say(socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>, message: Value) {
    within(socket.send(Message::text(message.to_string())))
        .await
        .unwrap();
}

/// The next message but pings and `ka`.
async fn receive(socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>) -> Value {
    loop {
        if let Message::Text(text) = within(socket.next()).await.unwrap().unwrap() {
            let message: Value = serde_json::from_str(&text).unwrap();
            if message["type"] != "ka" {
                return message;
            }
        }
    }
}

#[tokio::test]
async fn the_older_subprotocol_is_spoken_with_those_who_prefer_it() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = settled_conversation(&server.url, json!({ "text": "Plan a trip to Kyoto" })).await;
    for offered in ["graphql-ws", "graphql-ws, graphql-transport-ws"] {
        let mut socket = legacy(&server.url, offered).await;
        let payload = json!({ "query": ONE, "variables": { "id": id } });
        say(
            &mut socket,
            json!({ "type": "start", "id": "1", "payload": payload }),
        )
        .await;
        let present = receive(&mut socket).await;
        assert_eq!(
            (&present["type"], &present["id"]),
            (&json!("data"), &json!("1"))
        );
        let state = &present["payload"]["data"]["conversationUpdated"];
        assert_eq!(state["id"], id);
        rename(&server.url, &id, offered).await;
        let renamed = receive(&mut socket).await;
        assert_eq!(renamed["type"], "data");
        let state = &renamed["payload"]["data"]["conversationUpdated"];
        assert_eq!(state["displayName"], offered);
        say(&mut socket, json!({ "type": "stop", "id": "1" })).await;
        let complete = receive(&mut socket).await;
        assert_eq!(complete, json!({ "type": "complete", "id": "1" }));
        server.topics(0).await;
    }
}
