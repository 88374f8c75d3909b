//! Failures of the service's dependencies, seen from all surfaces.

use serde_json::{Value, json};
use titlecast_testing::{
    Answer, ModelServer, Rows, Server, TestDatabase,
    raw_socket::{Frame, RawSocket},
    server::client,
    within,
};

use super::{broker::RefusingBroker, found};

const SEND: &str = "mutation ($text: String!) {
    sendMessage(input: { text: $text }) { replyId conversation { id titleError titleStatus } }
}";

/// Everything that clients of every surface receive when they send a message and follow its outcome.
async fn responses(server: &Server) -> String {
    let mut responses = String::new();
    let text = "Plan a trip to Kyoto";
    for path in ["/api/v1/chat", "/api/v1/chat/stream"] {
        responses += &answer(server, path, json!({ "message": text }), "*/*").await;
    }
    let variables = json!({ "text": text });
    let send = json!({ "query": SEND, "variables": variables });
    let sent = answer(server, "/graphql", send.clone(), "application/json").await;
    let sent_json: Value = serde_json::from_str(sent.split_once("\n\n").unwrap().1).unwrap();
    responses += &sent;
    responses += &operation_on_socket(server, send).await;
    if let Some(id) = sent_json["data"]["sendMessage"]["conversation"]["id"].as_str() {
        let follow = json!({
            "query": "subscription ($id: ID!) { reply(conversationId: $id) {
                __typename ... on ReplyEnded { outcome text error { code message } } } }",
            "variables": { "id": id },
        });
        for accept in ["text/event-stream", "multipart/mixed;subscriptionSpec=1.0"] {
            responses += &answer(server, "/graphql", follow.clone(), accept).await;
        }
        responses += &operation_on_socket(server, follow).await;
        for path in [
            format!("/api/v1/conversations/{id}"),
            format!("/api/v1/conversations/{id}/stream"),
            format!("/api/v1/conversations/{id}/events"),
            format!("/api/v1/conversations/{id}/ledger/events"),
        ] {
            responses += &get(server, &path).await;
        }
        let all = "{ conversations { nodes { id title titleError titleStatus messages { nodes { content status } } } } }";
        responses += &answer(
            server,
            "/graphql",
            json!({ "query": all }),
            "application/json",
        )
        .await;
    }
    for path in ["/api/v1/conversations", "/readyz", "/healthz"] {
        responses += &get(server, path).await;
    }
    responses
}

/// Head and body of an answer.
async fn answer(server: &Server, path: &str, body: Value, accept: &str) -> String {
    let request = client()
        .post(format!("{}{path}", server.url))
        .header("content-type", "application/json")
        .header("accept", accept)
        .body(body.to_string());
    whole(request).await
}

async fn get(server: &Server, path: &str) -> String {
    whole(client().get(format!("{}{path}", server.url))).await
}

async fn whole(request: reqwest::RequestBuilder) -> String {
    let response = within(request.send()).await.unwrap();
    let head = format!("{} {:?}", response.status(), response.headers());
    let body = within(response.text()).await.unwrap();
    format!("{head}\n\n{body}")
}

async fn operation_on_socket(server: &Server, payload: Value) -> String {
    let mut socket = RawSocket::ready(&server.url).await;
    socket
        .say(json!({ "type": "subscribe", "id": "1", "payload": payload }))
        .await;
    let mut responses = String::new();
    loop {
        match socket.receive().await {
            Frame::Message(message) => {
                responses += &message.to_string();
                if message["type"] != "next" {
                    return responses;
                }
            }
            end => return format!("{responses}{end:?}"),
        }
    }
}

#[track_caller]
fn assert_clean(responses: &str, fault: &str, code: &str) {
    assert_eq!(found(responses), None, "{fault}");
    assert!(
        responses.contains(code),
        "{fault}: no client received {code}: {responses}"
    );
}

#[tokio::test]
async fn what_the_models_provider_says_reaches_no_client() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let headers = || {
        vec![
            ("x-request-id", "canary-id"),
            ("retry-after", "0"),
            ("location", "http://canary.example/"),
        ]
    };
    let body = json!({ "error": { "message": "canary", "type": "canary", "code": "canary", "param": "canary" } });
    let error = r#"data: {"error":{"message":"canary","type":"canary","code":"canary"}}"#;
    let begun = r#"data: {"choices":[{"index":0,"delta":{"content":"Half"}}]}"#;
    for status in [302, 400, 401, 403, 404, 422, 429, 500, 503] {
        for _ in 0..30 {
            model.reply(Answer::Status(status, headers(), body.clone()));
            model.title(Answer::Status(status, headers(), body.clone()));
        }
        let responses = responses(&server).await;
        assert_clean(&responses, &format!("status {status}"), "MODEL_");
        model.forget();
    }
    for (fault, events) in [
        ("an error at once", format!("{error}\n\n")),
        ("an error in the middle", format!("{begun}\n\n{error}\n\n")),
        ("no JSON", "data: canary\n\ndata: canary\n\n".to_owned()),
        ("no events", "canary\n\n".to_owned()),
    ] {
        for _ in 0..30 {
            model.reply(Answer::Raw(events.clone()));
            model.title(Answer::Page("<h1>canary</h1>"));
        }
        let responses = responses(&server).await;
        assert_clean(&responses, fault, "MODEL_");
        model.forget();
    }
}

/// What makes every insert into a table fail, with words of the database's own.
async fn sabotage(database: &TestDatabase, table: &str) {
    let rows = Rows::of(database).await;
    let statements = match database.is_sqlite() {
        true => vec![format!(
            "CREATE TRIGGER sabotage BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'canary in {table}'); END"
        )],
        false => vec![
            format!(
                "CREATE FUNCTION sabotage() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'canary in {table}'
                 USING DETAIL = 'canary', HINT = 'canary'; END $$ LANGUAGE plpgsql"
            ),
            format!("CREATE TRIGGER sabotage BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION sabotage()"),
        ],
    };
    for statement in statements {
        rows.run(&statement, []).await.unwrap();
    }
}

#[tokio::test]
async fn what_the_database_says_reaches_no_client() {
    for table in ["agent_conversations", "agent_messages", "agent_turns"] {
        let model = ModelServer::start().await;
        let server = Server::start(&model).await;
        sabotage(&server.database, table).await;
        let responses = responses(&server).await;
        assert_clean(&responses, table, "DATABASE_UNAVAILABLE");
    }
    // And a table that is not there, whose name is in the error.
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = server.begin("Plan a trip to Kyoto").await;
    let rows = Rows::of(&server.database).await;
    let sql = "ALTER TABLE agent_messages RENAME TO elsewhere";
    rows.run(sql, []).await.unwrap();
    let mut responses = responses(&server).await;
    responses += &get(&server, &format!("/api/v1/conversations/{id}")).await;
    assert!(!responses.contains("agent_messages"), "{responses}");
    assert_clean(&responses, "a missing table", "DATABASE_UNAVAILABLE");
}

#[tokio::test]
async fn what_nats_says_reaches_no_client() {
    let broker = RefusingBroker::start("canary: go away").await;
    let model = ModelServer::start().await;
    let url = format!("nats://canary:canary@{}", broker.address);
    let server = Server::start_with(&model, &["--nats-url", &url]).await;
    let responses = responses(&server).await;
    assert_clean(&responses, "a broker that refuses", r#""nats":"degraded""#);
}
