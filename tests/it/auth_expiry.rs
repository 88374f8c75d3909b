//! A connection ends when its token does, on every surface that keeps one open.

use serde_json::{Value, json};
use titlecast_testing::{
    Answer, Events, ModelServer, Server, Step,
    auth::{claims, graphql_as, short, signed},
    calls, eventually,
    legacy::post,
    raw_socket::RawSocket,
    server::client,
    sse::text,
    within,
};

const ALL: &str = "subscription { conversationUpdated { id displayName } }";

fn ada() -> String {
    signed(&claims("acme", "ada"))
}

/// A token that is over soon.
fn passing() -> String {
    signed(&short(claims("acme", "ada")))
}

async fn watch(socket: &mut RawSocket, start: &str) {
    let payload = json!({ "query": ALL });
    socket
        .say(json!({ "type": start, "id": "1", "payload": payload }))
        .await;
}

#[tokio::test]
async fn websockets_close_with_4403() {
    let model = ModelServer::start().await;
    let server = Server::guarded(&model).await;
    for (protocol, start) in [
        ("graphql-transport-ws", "subscribe"),
        ("graphql-ws", "start"),
    ] {
        for by_header in [true, false] {
            let credentials = format!("Bearer {}", passing());
            let (mut headers, mut payload) = (Vec::new(), json!({}));
            match by_header {
                true => headers.push(("authorization", credentials)),
                false => payload["authorization"] = credentials.into(),
            }
            let mut socket = RawSocket::open_with(&server.url, protocol, &headers).await;
            socket
                .say(json!({ "type": "connection_init", "payload": payload }))
                .await;
            assert_eq!(socket.message().await["type"], "connection_ack");
            if protocol == "graphql-ws" {
                assert_eq!(socket.message().await["type"], "ka");
            }
            watch(&mut socket, start).await;
            server.topics(1).await;
            assert_eq!(socket.closed().await, (4403, "Forbidden".into()));
            server.topics(0).await;
        }
    }
}

#[tokio::test]
async fn a_subscription_over_sse_ends_with_an_error() {
    let model = ModelServer::start().await;
    let server = Server::guarded(&model).await;
    let request = post(&server.url, "/graphql", json!({ "query": ALL }))
        .header("accept", "text/event-stream")
        .bearer_auth(passing());
    let response = within(request.send()).await.unwrap();
    assert_eq!(response.status(), 200);
    let events = within(response.text()).await.unwrap();
    let (next, rest) = events.split_once("\n\n").unwrap();
    let next: Value = serde_json::from_str(next.split_once("data: ").unwrap().1).unwrap();
    assert_eq!(calls::code(&next), "AUTH_EXPIRED");
    assert_eq!(rest, "event: complete\ndata: \n\n");
    server.topics(0).await;
}

#[tokio::test]
async fn a_multipart_subscription_ends_with_an_error() {
    let model = ModelServer::start().await;
    let server = Server::guarded(&model).await;
    let request = post(&server.url, "/graphql", json!({ "query": ALL }))
        .header("accept", "multipart/mixed;subscriptionSpec=1.0")
        .bearer_auth(passing());
    let response = within(request.send()).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = within(response.text()).await.unwrap();
    let parts: Vec<&str> = body.split("--graphql").collect();
    let [_, part, closing, "--\r\n"] = parts[..] else {
        panic!("an error and an end: {body}")
    };
    let part: Value = serde_json::from_str(part.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(calls::code(&part["payload"]), "AUTH_EXPIRED");
    assert!(closing.ends_with("{}\r\n"), "{closing}");
    server.topics(0).await;
}

#[tokio::test]
async fn a_turn_s_stream_ends_with_an_error_and_the_reply_goes_on() {
    let model = ModelServer::start().await;
    let server = Server::guarded(&model).await;
    let (answer, steps) = Answer::live();
    model.reply(answer);
    let body = json!({ "message": "Plan a trip to Kyoto" });
    let request = post(&server.url, "/api/v1/chat/stream", body).bearer_auth(passing());
    let mut stream = Events::of(request).await;
    steps.send(Step::delta("Half a ")).unwrap();
    let events = stream.rest().await;
    let terminal = titlecast_testing::assert_common_stream(&events);
    assert_eq!(terminal["kind"], "error");
    assert_eq!(terminal["payload"]["code"], "AUTH_EXPIRED");
    assert_eq!(text(&events), "Half a ");

    steps.send(Step::delta("thought")).unwrap();
    steps.send(Step::Finish).unwrap();
    let id = terminal["conversation_id"].as_str().unwrap();
    let query =
        format!("{{ conversation(id: \"{id}\") {{ messages {{ nodes {{ content status }} }} }} }}");
    let (token, query) = (&ada(), &query);
    let reply = eventually(async || {
        let answer = graphql_as(token, &server.url, query).await;
        let messages = &answer["data"]["conversation"]["messages"]["nodes"];
        messages.get(1).cloned()
    })
    .await;
    let whole = json!({ "content": "Half a thought", "status": "COMPLETE" });
    assert_eq!(reply, whole);
}

#[tokio::test]
async fn the_last_id_of_a_stream_that_a_token_ended_leads_back_to_the_reply() {
    let model = ModelServer::start().await;
    let server = Server::guarded(&model).await;
    let (answer, steps) = Answer::live();
    model.reply(answer);
    steps.send(Step::delta("Half a ")).unwrap();
    let body = json!({ "message": "Plan a trip to Kyoto" });
    let request = post(&server.url, "/api/v1/chat/stream?ids=true", body).bearer_auth(passing());
    let response = within(request.send()).await.unwrap();
    let frames = within(response.text()).await.unwrap();
    let (_, place) = frames.trim_end().rsplit_once("\nid: ").unwrap();
    let id = frames.split_once("\"conversation_id\":\"").unwrap().1;
    let id = id.split_once('"').unwrap().0;

    steps.send(Step::delta("thought")).unwrap();
    steps.send(Step::Finish).unwrap();
    let request = client()
        .get(format!("{}/api/v1/conversations/{id}/reply", server.url))
        .header("last-event-id", place)
        .bearer_auth(ada());
    let events = Events::of(request).await.rest().await;
    assert_eq!(events[0]["payload"]["recovered"], true);
    assert_eq!(text(&events), "thought");
}

#[tokio::test]
async fn the_stream_of_a_title_ends_with_an_error() {
    let model = ModelServer::start().await;
    let server = Server::guarded(&model).await;
    let body = json!({ "message": "Plan a trip to Kyoto" });
    let request = post(&server.url, "/api/v1/chat/stream", body).bearer_auth(ada());
    let turn = Events::of(request).await.rest().await;
    let id = turn[0]["conversation_id"].as_str().unwrap();
    let request = client()
        .get(format!("{}/api/v1/conversations/{id}/stream", server.url))
        .bearer_auth(passing());
    let events = Events::of(request).await.rest().await;
    let [title, end] = &events[..] else {
        panic!("a title and an end: {events:?}")
    };
    assert_eq!(title["display_name"], ModelServer::TITLE);
    assert_eq!(
        (&end["kind"], &end["is_terminal"]),
        (&json!("error"), &json!(true))
    );
    assert_eq!(end["payload"]["code"], "AUTH_EXPIRED");
    assert_eq!(end["conversation_id"], id);
    server.topics(0).await;
}

#[tokio::test]
async fn those_who_share_a_subscription_do_not_end_with_the_first() {
    let model = ModelServer::start().await;
    let server = Server::guarded(&model).await;
    let mut sockets = Vec::new();
    for token in [passing(), ada()] {
        let mut socket = RawSocket::open(&server.url, "graphql-transport-ws").await;
        let payload = json!({ "token": token });
        socket
            .say(json!({ "type": "connection_init", "payload": payload }))
            .await;
        assert_eq!(socket.message().await["type"], "connection_ack");
        watch(&mut socket, "subscribe").await;
        server.topics(1).await;
        socket.say(json!({ "type": "ping" })).await;
        assert_eq!(socket.message().await["type"], "pong");
        sockets.push(socket);
    }
    assert_eq!(sockets[0].closed().await.0, 4403);
    let send = "mutation { sendMessage(input: { text: \"Plan a trip\" }) { conversation { id } } }";
    let sent = graphql_as(&ada(), &server.url, send).await;
    let received = sockets[1].message().await;
    assert_eq!(
        received["payload"]["data"]["conversationUpdated"]["id"],
        sent["data"]["sendMessage"]["conversation"]["id"]
    );
}
