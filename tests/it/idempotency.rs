//! A request that is sent again with its idempotency key gets the same turn: one message, one reply,
//! one title, however often, however many at once.

use futures_util::future::{join, join_all};
use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    Answer, Events, ModelServer, Server, Step, assert_common_stream,
    legacy::post,
    server::graphql,
    sse::{text, titles},
    within,
};

const MESSAGE: &str = "Plan a trip to Kyoto";
const SEND: &str = "mutation ($input: SendMessageInput!) {
    sendMessage(input: $input) { conversation { id } message { id content } replyId }
}";

async fn stream(url: &str, key: &str, body: Value) -> Events {
    let request = post(url, "/api/v1/chat/stream", body);
    Events::of(request.header("idempotency-key", key)).await
}

async fn whole(server: &Server, key: &str, body: Value) -> (u16, Value) {
    let request = post(&server.url, "/api/v1/chat", body).header("idempotency-key", key);
    let response = within(request.send()).await.unwrap();
    let status = response.status().as_u16();
    let body = within(response.bytes()).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

async fn messages(server: &Server, conversation: &Value) -> Value {
    let path = format!("/api/v1/conversations/{}", conversation.as_str().unwrap());
    let (status, mut history) = server.get(&path).await;
    assert_eq!(status, 200);
    history["messages"].take()
}

/// One conversation with one message and its reply; each model was called once.
async fn assert_one_turn(server: &Server, model: &ModelServer) {
    assert_eq!(server.database.row_counts().await, [1, 2, 1]);
    assert_eq!(model.reply_requests().len(), 1);
    assert_eq!(model.title_requests().len(), 1);
}

#[tokio::test]
async fn the_same_whole_request_gets_the_same_answer() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let body = json!({ "message": MESSAGE, "context": { "topic_hint": "Kyoto" } });
    let (status, first) = whole(&server, "key-1", body.clone()).await;
    assert_eq!(status, 200);
    let stored = messages(&server, &first["conversation_id"]).await;
    for _ in 0..2 {
        let (status, again) = whole(&server, "key-1", body.clone()).await;
        assert_eq!(status, 200);
        for field in ["conversation_id", "response", "display_name", "agent_used"] {
            assert_eq!(again[field], first[field], "{field}");
        }
    }
    assert_eq!(messages(&server, &first["conversation_id"]).await, stored);
    assert_one_turn(&server, &model).await;
}

#[tokio::test]
async fn a_retry_while_the_reply_runs_joins_it_from_its_beginning() {
    let model = ModelServer::start().await;
    let steps = model.live_reply();
    let server = Server::start(&model).await;
    let body = json!({ "message": MESSAGE });
    let mut first = stream(&server.url, "key-1", body.clone()).await;
    let mut read = Vec::new();
    for delta in ["Hello", " from"] {
        steps.send(Step::delta(delta)).unwrap();
        while text(&read).is_empty() || !text(&read).ends_with(delta) {
            read.push(first.next().await.unwrap());
        }
    }
    // The connection breaks, and the client tries again.
    drop(first);
    let mut second = stream(&server.url, "key-1", body.clone()).await;
    let mut joined = vec![second.next().await.unwrap()];
    while text(&joined) != "Hello from" {
        joined.push(second.next().await.unwrap());
    }
    let mut third = stream(&server.url, "key-1", body).await;
    steps.send(Step::delta(" the model.")).unwrap();
    steps.send(Step::Finish).unwrap();
    joined.extend(second.rest().await);
    for events in [joined, third.rest().await] {
        let terminal = assert_common_stream(&events);
        assert_eq!(terminal["raw_type"], "response.completed");
        assert_eq!(terminal["response_text"], "Hello from the model.");
        assert_eq!(terminal["display_name"], ModelServer::TITLE);
        assert_eq!(titles(&events), [ModelServer::TITLE]);
        assert_eq!(events[0]["conversation_id"], read[0]["conversation_id"]);
    }
    assert_one_turn(&server, &model).await;
}

#[tokio::test]
async fn a_retry_after_the_end_replays_the_whole_reply_with_the_title() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let body = json!({ "message": MESSAGE });
    let first = stream(&server.url, "key-1", body.clone())
        .await
        .rest()
        .await;
    let stored = messages(&server, &first[0]["conversation_id"]).await;
    let again = stream(&server.url, "key-1", body).await.rest().await;
    let terminal = assert_common_stream(&again);
    assert_eq!(terminal["conversation_id"], first[0]["conversation_id"]);
    assert_eq!(terminal["raw_type"], "response.completed");
    assert_eq!(terminal["response_text"], ModelServer::REPLY.concat());
    assert_eq!(terminal["display_name"], ModelServer::TITLE);
    assert_eq!(titles(&again), [ModelServer::TITLE]);
    assert_eq!(
        messages(&server, &first[0]["conversation_id"]).await,
        stored
    );
    assert_one_turn(&server, &model).await;
}

#[tokio::test]
async fn retries_that_arrive_as_the_reply_ends_receive_its_end() {
    const ROUNDS: usize = 10;
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    for round in 0..ROUNDS {
        let steps = model.live_reply();
        let body = json!({ "message": MESSAGE });
        let key = format!("key-{round}");
        let mut first = stream(&server.url, &key, body.clone()).await;
        first.next().await.unwrap();
        let retries = (0..8).map(|_| stream(&server.url, &key, body.clone()));
        let end = async {
            steps.send(Step::delta("Hello")).unwrap();
            steps.send(Step::Finish).unwrap();
        };
        let (retries, ()) = join(join_all(retries), end).await;
        for mut retry in retries {
            let events = retry.rest().await;
            let terminal = assert_common_stream(&events);
            assert_eq!(terminal["raw_type"], "response.completed");
            assert_eq!(terminal["response_text"], "Hello");
        }
    }
    let rounds = ROUNDS as i64;
    let rows = server.database.row_counts().await;
    assert_eq!(rows, [rounds, 2 * rounds, rounds]);
    assert_eq!(model.reply_requests().len(), ROUNDS);
}

#[tokio::test]
async fn a_retry_of_a_message_in_the_middle_adds_none() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = server.begin(MESSAGE).await;
    let body = json!({ "message": "And Nara?", "conversation_id": id });
    for _ in 0..2 {
        let events = stream(&server.url, "key-1", body.clone())
            .await
            .rest()
            .await;
        let terminal = assert_common_stream(&events);
        assert_eq!(terminal["conversation_id"], id);
        assert_eq!(terminal["display_name"], ModelServer::TITLE);
        assert!(titles(&events).is_empty());
    }
    assert_eq!(server.database.row_counts().await, [1, 4, 2]);
    assert_eq!(model.reply_requests().len(), 2);
}

#[tokio::test]
async fn a_retry_of_a_failed_reply_tells_the_failure_again() {
    let model = ModelServer::start().await;
    model.reply(Answer::error(401, "invalid_request_error", None, "no"));
    let server = Server::start(&model).await;
    let body = json!({ "message": MESSAGE });
    for _ in 0..2 {
        let events = stream(&server.url, "key-1", body.clone())
            .await
            .rest()
            .await;
        let terminal = assert_common_stream(&events);
        assert_eq!(terminal["kind"], "error");
        assert_eq!(terminal["payload"]["code"], "MODEL_MISCONFIGURED");
        assert_eq!(titles(&events), [ModelServer::TITLE]);
    }
    assert_eq!(server.database.row_counts().await, [1, 1, 1]);
    assert_eq!(model.reply_requests().len(), 1);
}

#[tokio::test]
async fn the_same_mutation_gets_the_same_conversation_message_and_reply() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let input = json!({ "text": MESSAGE, "idempotencyKey": "key-1" });
    let first = server.data(SEND, json!({ "input": input })).await;
    let again = server.data(SEND, json!({ "input": input })).await;
    assert_eq!(again, first);
    let sent = &first["sendMessage"];
    assert_eq!(sent["message"]["content"], MESSAGE);

    // The reply has the id that was promised.
    let id = &sent["conversation"]["id"];
    titlecast_testing::eventually(async || {
        let messages = messages(&server, id).await;
        let reply = messages.as_array().unwrap().get(1)?.clone();
        assert_eq!(reply["message_id"], sent["replyId"]);
        Some(())
    })
    .await;
    assert_eq!(server.data(SEND, json!({ "input": input })).await, first);
    assert_eq!(model.reply_requests().len(), 1);

    let other = json!({ "text": "Plan a trip to Nara", "idempotencyKey": "key-1" });
    let refused = server.graphql(SEND, json!({ "input": other })).await;
    assert_eq!(
        refused["errors"][0]["extensions"]["code"],
        "IDEMPOTENCY_KEY_REUSED"
    );
    assert_eq!(server.database.row_counts().await, [1, 2, 1]);
}

#[tokio::test]
async fn another_request_under_the_same_key_is_refused() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let (_, first) = whole(&server, "key-1", json!({ "message": MESSAGE })).await;
    let id = &first["conversation_id"];
    for body in [
        json!({ "message": "Plan a trip to Nara" }),
        json!({ "message": MESSAGE, "conversation_id": id }),
        json!({ "message": MESSAGE, "conversation_id": uuid::Uuid::now_v7().to_string() }),
        json!({ "message": MESSAGE, "agent_type": "billing" }),
        json!({ "message": MESSAGE, "context": { "topic_hint": "Kyoto" } }),
    ] {
        let (status, error) = whole(&server, "key-1", body.clone()).await;
        assert_eq!(status, 409, "{body}");
        assert_eq!(error["code"], "IDEMPOTENCY_KEY_REUSED");
        for name in ["detail", "error", "message"] {
            assert!(
                error[name].as_str().unwrap().contains("idempotency key"),
                "{error}"
            );
        }
    }
    assert_one_turn(&server, &model).await;
    // The key is still the first request's.
    let (status, again) = whole(&server, "key-1", json!({ "message": MESSAGE })).await;
    assert_eq!((status, &again["conversation_id"]), (200, id));
    let (status, other) = whole(&server, "key-2", json!({ "message": MESSAGE })).await;
    assert_eq!(status, 200);
    assert_ne!(&other["conversation_id"], id);
}

async fn rest(mut stream: Events) -> Vec<Value> {
    stream.rest().await
}

#[tokio::test]
async fn twenty_at_once_are_one_turn() {
    let model = ModelServer::start().await;
    let gate = model.held_title(Answer::Text(r#"{"title":"Planning a Trip to Kyoto"}"#));
    let server = Server::start(&model).await;
    let requests = (0..20).map(|_| stream(&server.url, "key-1", json!({ "message": MESSAGE })));
    let begun = join_all(requests).await;
    gate.send(()).unwrap();
    let streams = join_all(begun.into_iter().map(rest)).await;
    for events in &streams {
        let terminal = assert_common_stream(events);
        assert_eq!(
            terminal["conversation_id"],
            streams[0][0]["conversation_id"]
        );
        assert_eq!(terminal["raw_type"], "response.completed");
        assert_eq!(terminal["response_text"], ModelServer::REPLY.concat());
        assert_eq!(titles(events), [ModelServer::TITLE]);
    }
    assert_one_turn(&server, &model).await;
}

#[tokio::test]
async fn twenty_mutations_at_once_are_one_turn() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    // The id is the client's: first it begins a conversation, then it continues it.
    let id = uuid::Uuid::now_v7().to_string();
    for (number, key) in [(1, "key-1"), (2, "key-2")] {
        let input = json!({ "text": MESSAGE, "conversationId": id, "idempotencyKey": key });
        let variables = json!({ "input": input });
        let requests = (0..20).map(|_| graphql(&server.url, SEND, variables.clone()));
        let answers = join_all(requests).await;
        for answer in &answers {
            assert_eq!(answer.get("errors"), None, "{answer}");
            assert_eq!(answer, &answers[0]);
            assert_eq!(answer["data"]["sendMessage"]["conversation"]["id"], id);
        }
        // Joins the reply and reads it to its end.
        let body = json!({ "message": MESSAGE, "conversation_id": id });
        let (status, answer) = whole(&server, key, body).await;
        assert_eq!(status, 200);
        assert_eq!(answer["display_name"], ModelServer::TITLE);
        let rows = server.database.row_counts().await;
        assert_eq!(rows, [1, 2 * number, number]);
    }
    assert_eq!(model.reply_requests().len(), 2);
    assert_eq!(model.title_requests().len(), 1);
}

#[tokio::test]
async fn the_same_key_of_another_owner_is_another_key() {
    let model = ModelServer::start().await;
    let mut server = Server::start(&model).await;
    let local = Owner::local();
    let others = [
        Owner {
            tenant: local.tenant.clone(),
            user: "other".into(),
        },
        Owner {
            tenant: "other".into(),
            user: local.user.clone(),
        },
    ];
    let mut urls = vec![server.url.clone()];
    for owner in others {
        urls.push(server.serve(owner).await);
    }
    let mut ids = Vec::new();
    for (number, url) in urls.iter().enumerate() {
        // Not even the refusal of another body may reveal that the key was used.
        let message = [
            "Plan a trip to Kyoto",
            "Plan a trip to Nara",
            "Plan a trip to Kyoto",
        ][number];
        for _ in 0..2 {
            let body = json!({ "message": message });
            let events = stream(url, "key-1", body).await.rest().await;
            assert_common_stream(&events);
            ids.push(events[0]["conversation_id"].as_str().unwrap().to_owned());
        }
    }
    assert!(ids.chunks(2).all(|pair| pair[0] == pair[1]));
    ids.dedup();
    assert_eq!(ids.len(), 3);
    assert_eq!(server.database.row_counts().await, [3, 6, 3]);
    assert_eq!(model.reply_requests().len(), 3);
}

#[tokio::test]
async fn a_retry_does_not_bring_a_deleted_conversation_back() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let body = json!({ "message": MESSAGE });
    let (_, first) = whole(&server, "key-1", body.clone()).await;
    let path = format!(
        "/api/v1/conversations/{}",
        first["conversation_id"].as_str().unwrap()
    );
    assert_eq!(server.send("DELETE", &path, Value::Null).await.0, 204);
    let (status, error) = whole(&server, "key-1", body).await;
    assert_eq!((status, error["code"].as_str()), (404, Some("NOT_FOUND")));
    assert_eq!(server.database.row_counts().await, [1, 0, 1]);
    assert_eq!(model.reply_requests().len(), 1);
}
