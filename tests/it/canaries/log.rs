//! The real program at `--log trace`, with every kind of user input.

use serde_json::{Value, json};
use titlecast_testing::{
    Answer, Collector, ModelServer, Rows, TestDatabase, Titlecast,
    auth::{AUDIENCE, ISSUER, claims, hmac_sha256, token},
    raw_socket::RawSocket,
    server::client,
    within,
};

use super::{broker::RefusingBroker, found};

const KEY: &str = "sk-proj-canary-key";
const SECRET: &str = "canary-secret-of-more-than-32-bytes-for-tests";

/// A user whose messages all contain canaries.
struct Person {
    url: String,
    token: String,
}

impl Person {
    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> (u16, String) {
        let mut request = client()
            .request(method.parse().unwrap(), format!("{}{path}", self.url))
            .header("cookie", "session=canary-cookie");
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            request = request.bearer_auth(&self.token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_owned());
        }
        let response = within(request.send()).await.unwrap();
        let status = response.status().as_u16();
        (status, within(response.text()).await.unwrap())
    }

    /// A request that is to have this status.
    #[track_caller]
    fn says<'a>(
        &'a self,
        status: u16,
        method: &'a str,
        path: &'a str,
        body: Option<Value>,
    ) -> impl Future<Output = String> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let body = body.map(|body| body.to_string());
            let headers = [("idempotency-key", "canary-idempotency-key")];
            let headers = if path.ends_with("/stream") {
                &headers[..]
            } else {
                &[]
            };
            let (got, text) = self.send(method, path, headers, body.as_deref()).await;
            assert_eq!(got, status, "at {caller}: {text}");
            text
        }
    }

    async fn graphql(&self, query: &str, variables: Value) -> Value {
        let body = json!({ "query": query, "variables": variables, "operationName": null });
        let body = body.to_string();
        let (_, text) = self.send("POST", "/graphql", &[], Some(&body)).await;
        serde_json::from_str(&text).unwrap()
    }
}

/// All user input, in every valid and invalid place.
async fn say_everything(person: &Person, model: &ModelServer) {
    model.reply(Answer::Deltas(vec!["A reply with a canary", " in it."]));
    model.title(Answer::Title("Canary Title".into()));
    let message = json!({
        "message": "Here is the canary message",
        "context": { "topic_hint": "canary hint" },
        "agent_type": "canary_agent",
    });
    let stream = person
        .says(200, "POST", "/api/v1/chat/stream", Some(message))
        .await;
    let first = stream
        .lines()
        .find_map(|line| line.strip_prefix("data: "))
        .unwrap();
    let first: Value = serde_json::from_str(first).unwrap();
    let id = first["conversation_id"].as_str().unwrap();
    assert!(stream.contains("canary"), "it was said: {stream}");

    // Broken by the model. What is worth another try is tried three times.
    for broken in [
        "data: canary that is not JSON\n\n",
        "data: {\"error\":{\"message\":\"canary\",\"code\":\"a_code\"}}\n\n",
    ] {
        for _ in 0..3 {
            model.reply(Answer::Raw(broken.repeat(2)));
            model.title(Answer::Page("<p>canary page</p>"));
        }
        let body = json!({ "message": "Here is one more canary message" });
        person.says(502, "POST", "/api/v1/chat", Some(body)).await;
        model.forget();
    }
    // Refused by the model, with the message quoted in the refusal. After the last one, no further titles are
    // requested.
    for (status, code) in [(400, "a_code"), (429, "insufficient_quota"), (401, KEY)] {
        let words = format!("You said: Here is the canary message. Your key is {KEY}");
        model.reply(Answer::error(status, "a_type", Some(code), &words));
        model.title(Answer::error(status, "a_type", Some(code), &words));
        let body = json!({ "message": "Here is another canary message" });
        person.says(502, "POST", "/api/v1/chat", Some(body)).await;
        model.forget();
    }

    let conversation = format!("/api/v1/conversations/{id}");
    let title = format!("{conversation}/title");
    person
        .says(
            200,
            "PATCH",
            &title,
            Some(json!({ "display_name": "Canary name" })),
        )
        .await;
    let long = "canary ".repeat(100);
    person
        .says(422, "PATCH", &title, Some(json!({ "display_name": long })))
        .await;
    person
        .says(200, "GET", "/api/v1/conversations/search?q=canary", None)
        .await;
    person
        .says(400, "GET", "/api/v1/conversations?cursor=canary", None)
        .await;
    person
        .says(404, "GET", "/api/v1/conversations/canary", None)
        .await;
    // An external id in the path, and one in the body.
    let recorded = json!({ "role": "user", "content": "A canary", "external_id": "canary" });
    let path = "/api/v1/conversations/canary/messages";
    person.says(201, "POST", path, Some(recorded)).await;
    let recorded = json!({ "role": "canary", "content": "A canary", "external_id": "canary" });
    person.says(422, "POST", path, Some(recorded)).await;
    person
        .says(404, "GET", "/canary/path?canary=canary", None)
        .await;
    person
        .says(
            422,
            "POST",
            "/api/v1/chat",
            Some(json!({ "message": { "canary": 1 } })),
        )
        .await;
    let (status, _) = person
        .send("POST", "/api/v1/chat", &[], Some("{ canary"))
        .await;
    assert_eq!(status, 400);
    for headers in [
        [("authorization", "Bearer canary.canary.canary")],
        [("origin", "https://canary.example")],
    ] {
        let (status, text) = person
            .send("GET", "/api/v1/conversations", &headers, None)
            .await;
        assert!(matches!(status, 401 | 403), "{status} {text}");
    }

    let send =
        "mutation Canary($input: SendMessageInput!) { sendMessage(input: $input) { replyId } }";
    let attached = json!({ "input": {
        "text": "",
        "topicHint": "canary hint",
        "idempotencyKey": "another-canary-key",
        "attachments": [{ "name": "canary_report-2025.pdf", "mediaType": "application/pdf" }],
    } });
    let sent = person.graphql(send, attached).await;
    assert_eq!(sent.get("errors"), None, "{sent}");
    let again = "mutation ($id: ID!) { regenerateTitle(input: { id: $id, hint: \"canary\", replaceManual: true }) {
        conversation { id } } }";
    let again = person.graphql(again, json!({ "id": id })).await;
    assert_eq!(again.get("errors"), None, "{again}");
    let found = person
        .graphql(
            "{ searchConversations(query: \"canary\") { nodes { snippet } } }",
            json!({}),
        )
        .await;
    assert_eq!(found.get("errors"), None, "{found}");
    for wrong in [
        "{ canary }",
        "{ canary",
        "query Canary { conversation(id: \"canary\") { id } }",
    ] {
        let refused = person.graphql(wrong, json!({})).await;
        assert!(refused["errors"].is_array(), "{refused}");
    }
    say_everything_on_a_socket(person, id).await;
}

async fn say_everything_on_a_socket(person: &Person, id: &str) {
    let mut socket = RawSocket::open(&person.url, "graphql-transport-ws").await;
    let payload = json!({ "authorization": format!("Bearer {}", person.token), "note": "canary" });
    socket
        .say(json!({ "type": "connection_init", "payload": payload }))
        .await;
    assert_eq!(socket.message().await["type"], "connection_ack");
    let query =
        "query ($canary: String!) { searchConversations(query: $canary) { nodes { snippet } } }";
    let payload = json!({ "query": query, "variables": { "canary": "canary" } });
    socket
        .say(json!({ "type": "subscribe", "id": "canary", "payload": payload }))
        .await;
    assert_eq!(socket.message().await["type"], "next");
    assert_eq!(socket.message().await["type"], "complete");
    let query = "subscription ($id: ID!) { conversationUpdated(id: $id) { title } }";
    let payload = json!({ "query": query, "variables": { "id": id } });
    socket
        .say(json!({ "type": "subscribe", "id": "2", "payload": payload }))
        .await;
    assert!(socket.text().await.contains("next"));
    socket.say_text("canary, which is no message").await;
    let (code, _) = socket.closed().await;
    assert_eq!(code, 4400);
}

#[tokio::test]
async fn what_people_write_and_keys_reach_neither_the_log_nor_traces() {
    for format in ["text", "json"] {
        let (model, collector) = (ModelServer::start().await, Collector::start().await);
        let broker = RefusingBroker::start("Authorization Violation").await;
        let database = TestDatabase::new().await;
        // A trusted client may send any password.
        let database_url = database
            .url
            .replace("postgres@", "postgres:canary-password@");
        let mut serving = Titlecast::new(&["serve", "--listen", "127.0.0.1:0", "--log", "trace"])
            .env("TITLECAST_LOG_FORMAT", format)
            .env("OPENAI_API_KEY", KEY)
            .env(
                "OPENAI_BASE_URL",
                &model.url.replace("//", "//canary-user:canary-password@"),
            )
            .env("DATABASE_URL", &database_url)
            .env(
                "TITLECAST_NATS_URL",
                &format!("nats://canary-node:canary-password@{}", broker.address),
            )
            .env("TITLECAST_JWT_SECRET", SECRET)
            .env("TITLECAST_JWT_ISSUER", ISSUER)
            .env("TITLECAST_JWT_AUDIENCE", AUDIENCE)
            .env(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                &collector
                    .url
                    .replace("//", "//canary-user:canary-password@"),
            )
            .env("OTEL_EXPORTER_OTLP_HEADERS", "api-key=canary-password")
            .start();
        let line = serving.line("listening").await;
        let address = line.split("127.0.0.1:").nth(1).unwrap();
        let port: String = address.chars().take_while(char::is_ascii_digit).collect();
        let header = json!({ "alg": "HS256", "kid": "canary" });
        let claims = claims("canary-tenant", "canary-user");
        let person = Person {
            url: format!("http://127.0.0.1:{port}"),
            token: token(&header, &claims, hmac_sha256(SECRET.as_bytes())),
        };
        say_everything(&person, &model).await;

        // The database fails in the middle of it.
        let rows = Rows::of(&database).await;
        let away = "ALTER TABLE agent_messages RENAME TO agent_messages_elsewhere";
        rows.run(away, []).await.unwrap();
        let body = json!({ "message": "Here is the last canary message" });
        person.says(503, "POST", "/api/v1/chat", Some(body)).await;
        person
            .says(503, "GET", "/api/v1/conversations/search?q=canary", None)
            .await;
        serving.terminate();
        let ended = serving.ended().await;
        assert_eq!(found(&ended.stderr), None, "{format}");
        for part in person.token.split('.') {
            assert!(!ended.stderr.contains(part), "{format}: {part}");
        }
        // It does log what happened, otherwise the checks above would prove nothing.
        for expected in [
            "DATABASE_UNAVAILABLE",
            "MODEL_MISCONFIGURED",
            "MODEL_UNAVAILABLE",
            "NATS connection attempt failed",
            "agent_messages",
            "reply ended",
            "token rejected",
        ] {
            assert!(
                ended.stderr.contains(expected),
                "{format}: {expected} is missing: {}",
                ended.stderr
            );
        }
        ended.ok();
        let sent = collector.bodies();
        assert!(collector.spans().len() > 50);
        for body in sent {
            assert_eq!(found(&String::from_utf8_lossy(&body)), None, "{format}");
        }
    }
}
