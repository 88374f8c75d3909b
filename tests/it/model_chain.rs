//! A chain of models: the second answers while the first is gone, and the first again when it is back.
//!
//! The server asks OpenAI's own host, for which the default chain is `gpt-5-mini`, then `gpt-6-luna`. A proxy in
//! between is the scripted server.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Json, extract::State, routing::post};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use titlecast_testing::{
    Answer, ModelServer, Rows, Server, TestDatabase, assert_common_stream, eventually,
    model::{respond, serve},
    server::metrics,
    within,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until},
};

/// A hundred first messages a second.
const PACE: Duration = Duration::from_millis(10);

/// A provider that has two models, of which the first can be retired.
struct OpenAi {
    proxy: String,
    is_retired: Arc<AtomicBool>,
    serving: JoinHandle<()>,
}

impl OpenAi {
    async fn start() -> Self {
        let is_retired = Arc::new(AtomicBool::new(false));
        let (url, serving) = serve(post(complete).with_state(is_retired.clone())).await;
        Self {
            proxy: url.replace("/v1", ""),
            is_retired,
            serving,
        }
    }

    fn retire(&self, is_retired: bool) {
        self.is_retired.store(is_retired, Ordering::SeqCst);
    }

    async fn server(&self, settings: &[&str]) -> Server {
        let mut arguments = vec![
            "--openai-base-url",
            "http://api.openai.com/v1",
            "--openai-api-key",
            "sk-test-key",
            "--proxy",
            &self.proxy,
            "--messages-per-minute",
            "0",
            "--streams-per-user",
            "0",
        ];
        arguments.extend(settings);
        Server::on(TestDatabase::new().await, &arguments).await
    }
}

impl Drop for OpenAi {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn complete(
    State(is_retired): State<Arc<AtomicBool>>,
    Json(request): Json<Value>,
) -> axum::response::Response {
    let is_first = request["model"] == "gpt-5-mini";
    if is_first && is_retired.load(Ordering::SeqCst) {
        let code = Some("model_not_found");
        return respond(Answer::error(404, "invalid_request_error", code, "Gone")).await;
    }
    respond(match request["stream"] == true {
        true => Answer::Deltas(ModelServer::REPLY.to_vec()),
        false => Answer::Title(ModelServer::TITLE.to_owned()),
    })
    .await
}

/// Sends first messages at [`PACE`] and reads their replies to the end; the ids of their conversations. With the message
/// of this number the first model goes.
async fn talk(
    server: &Server,
    provider: &OpenAi,
    messages: u32,
    goes_with: Option<u32>,
) -> Vec<String> {
    let start = Instant::now();
    let talks = stream::iter(0..messages).map(async |number| {
        sleep_until(start + PACE * number).await;
        if goes_with == Some(number) {
            provider.retire(true);
        }
        let message = json!({ "message": format!("Plan trip number {number} to Kyoto") });
        let events = server.stream(message).await.rest().await;
        let terminal = assert_common_stream(&events);
        assert_eq!(terminal["raw_type"], "response.completed", "{terminal}");
        assert_eq!(terminal["response_text"], ModelServer::REPLY.concat());
        terminal["conversation_id"].as_str().unwrap().to_owned()
    });
    talks.buffer_unordered(messages as usize).collect().await
}

/// Each conversation has its title, after at most one refused call; the number of refused calls.
async fn assert_titled(rows: &Rows, ids: &[String]) -> usize {
    for id in ids {
        let stored = rows.decided_title(id).await;
        assert_eq!(stored.title_status, "ready", "{stored:?}");
        assert_eq!(stored.display_name.as_deref(), Some(ModelServer::TITLE));
    }
    const CALLS: &str = "SELECT CAST(conversation_id AS varchar) AS id, model, outcome FROM agent_title_calls \
        WHERE conversation_id IS NOT NULL ORDER BY created_at, id";
    let mut calls: HashMap<String, Vec<(String, String)>> = HashMap::new();
    for row in rows.all(CALLS, []).await {
        let text = |name: &str| row.try_get::<String>("", name).unwrap();
        let call = (text("model"), text("outcome"));
        let id = row.try_get::<uuid::Uuid>("", "id");
        let id = id.map_or_else(|_| text("id"), |id| id.to_string());
        calls.entry(id).or_default().push(call);
    }
    let mut refused = 0;
    for (id, calls) in calls {
        let outcomes: Vec<&str> = calls.iter().map(|(_, outcome)| outcome.as_str()).collect();
        match outcomes[..] {
            ["title"] => {}
            ["model_not_found", "title"] | ["title", "model_not_found"] => refused += 1,
            _ => panic!("{id}: {calls:?}"),
        }
    }
    refused
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shutdown_of_a_model_costs_no_title_and_no_reply() {
    const FALLBACK: &str =
        "openai/gpt-6-luna answers in place of openai/gpt-5-mini: model_not_found";
    let provider = OpenAi::start().await;
    let mut server = provider.server(&["--title-probe", "2s"]).await;
    let page = server.serve_metrics().await;
    let rows = Rows::of(&server.database).await;

    let mut ids = talk(&server, &provider, 200, Some(100)).await;
    let (status, health) = server.get("/readyz").await;
    assert_eq!(status, 200, "{health}");
    for part in ["chat_model", "title_model"] {
        assert_eq!(health[part], FALLBACK, "{health}");
    }
    assert_eq!(health["degraded"], json!(["chat_model", "title_model"]));
    let shown = metrics(&page).await;
    for line in [
        r#"titlecast_model_open{task="title",model="openai/gpt-5-mini"} 1"#,
        r#"titlecast_model_open{task="title",model="openai/gpt-6-luna"} 0"#,
        r#"titlecast_model_answering{task="reply",model="openai/gpt-6-luna"} 1"#,
        r#"titlecast_model_answering{task="reply",model="openai/gpt-5-mini"} 0"#,
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }

    // It is back: a probe finds it, and its titles go to it again.
    provider.retire(false);
    within(async {
        while server.get("/readyz").await.1["degraded"] != json!([]) {
            ids.extend(talk(&server, &provider, 1, None).await);
        }
    })
    .await;
    ids.extend(talk(&server, &provider, 50, None).await);
    let refused = assert_titled(&rows, &ids).await;
    // Those in flight when it went, and a probe each two seconds.
    assert!(refused >= 1, "{refused}");
    let shown = metrics(&page).await;
    let line = r#"titlecast_model_answering{task="title",model="openai/gpt-5-mini"} 1"#;
    assert!(shown.lines().any(|shown| shown == line), "{shown}");
    server.stop().await;
}

#[tokio::test]
async fn a_check_at_the_start_finds_the_model_that_answers() {
    let provider = OpenAi::start().await;
    provider.retire(true);
    let server = provider.server(&["--title-check", "true"]).await;
    let fallback = "openai/gpt-6-luna answers in place of openai/gpt-5-mini: model_not_found";
    eventually(async || {
        let (_, health) = server.get("/readyz").await;
        (health["title_model"] == fallback).then_some(())
    })
    .await;
    let rows = Rows::of(&server.database).await;
    let ids = talk(&server, &provider, 1, None).await;
    assert_eq!(assert_titled(&rows, &ids).await, 0, "no call is wasted");
    server.stop().await;
}

#[tokio::test]
async fn a_named_model_is_a_chain_of_one() {
    let provider = OpenAi::start().await;
    provider.retire(true);
    let server = provider
        .server(&["--chat-model", "gpt-5-mini", "--title-model", "gpt-5-mini"])
        .await;
    let message = json!({ "message": "Plan a trip to Kyoto" });
    let events = server.stream(message).await.rest().await;
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["payload"]["code"], "MODEL_MISCONFIGURED");
    let (_, health) = server.get("/readyz").await;
    assert_eq!(health["chat_model"], "model_not_found", "{health}");
    server.stop().await;
}
