//! The cost of titles: a row for each call, whatever its outcome, and a tenant's daily token budget, after which no
//! model is called.

use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    Answer, ModelServer, Rows, Server,
    calls::rename,
    eventually,
    process::Titlecast,
    stored,
    titles::{decided, regenerate, send, settled, title},
};

const MESSAGE: &str = "Plan a trip to Kyoto";

/// One call as it is stored: tenant, model, outcome; prompt, completion and reasoning tokens.
type Call = (String, String, String, [i64; 3]);

async fn calls(rows: &Rows, id: &str) -> Vec<Call> {
    let sql = "SELECT tenant_id, model, outcome, prompt_tokens, completion_tokens, \
        reasoning_tokens FROM agent_title_calls WHERE conversation_id = $1 ORDER BY created_at, id";
    let found = rows.all(sql, [stored::id(id)]).await;
    let text = |row: &sea_orm::QueryResult, column: &str| row.try_get("", column).unwrap();
    found
        .iter()
        .map(|row| {
            let tokens = ["prompt_tokens", "completion_tokens", "reasoning_tokens"];
            let tokens = tokens.map(|column| row.try_get("", column).unwrap());
            let (tenant, model) = (text(row, "tenant_id"), text(row, "model"));
            (tenant, model, text(row, "outcome"), tokens)
        })
        .collect()
}

fn call(outcome: &str, tokens: [i64; 3]) -> Call {
    (
        "local".into(),
        "openai/gpt-6-luna".into(),
        outcome.into(),
        tokens,
    )
}

fn owner(tenant: &str) -> Owner {
    Owner {
        tenant: tenant.into(),
        user: "anna".into(),
    }
}

#[track_caller]
fn assert_refused(shown: &Value) {
    assert_eq!(shown["titleStatus"], "FAILED", "{shown}");
    assert_eq!(shown["displayName"], Value::Null);
    assert_eq!(shown["titleError"]["code"], "BUDGET_EXCEEDED");
    assert!(shown["titleError"]["message"].is_string());
    assert_eq!(shown["title"], MESSAGE);
}

#[tokio::test]
async fn after_the_budget_no_model_is_called_and_replies_go_on() {
    let model = ModelServer::start().await;
    // A call of the scripted model costs 102.
    let settings = ["--title-budget", "150,other=0"];
    let mut server = Server::start_with(&model, &settings).await;
    let rows = Rows::of(&server.database).await;
    let first = settled(&server.url, MESSAGE).await;
    for id in [&first, &settled(&server.url, MESSAGE).await] {
        assert_eq!(server.title(id).await["titleStatus"], "READY");
    }
    let third = settled(&server.url, MESSAGE).await;
    assert_refused(&server.title(&third).await);
    assert_eq!(rows.messages(&third).await.len(), 2);
    assert_eq!(calls(&rows, &third).await, []);
    // Another title is not made either; the existing one stays.
    regenerate(&server.url, json!({ "id": first })).await;
    let shown = decided(&server.url, &first).await;
    assert_eq!(shown["displayName"], ModelServer::TITLE);
    assert_eq!(shown["titleError"]["code"], "BUDGET_EXCEEDED");
    assert_eq!(model.title_requests().len(), 2);

    // Another tenant has a budget of its own, or none.
    for (tenant, titles) in [("third", 2), ("other", 3)] {
        let url = server.serve(owner(tenant)).await;
        for number in 0..3 {
            let id = settled(&url, MESSAGE).await;
            let status = ["FAILED", "READY"][usize::from(number < titles)];
            let shown = title(&url, &id).await;
            assert_eq!(shown["titleStatus"], status, "{tenant} {number}");
        }
    }
    assert_eq!(model.title_requests().len(), 7);

    // What was spent is in the rows: a process that starts now knows it.
    let next = server.beside(&model, &settings).await;
    let fourth = settled(&next.url, MESSAGE).await;
    assert_refused(&next.title(&fourth).await);
    assert_eq!(model.title_requests().len(), 7);
    next.stop().await;
}

#[tokio::test]
async fn every_call_is_stored_with_what_it_cost() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let rows = Rows::of(&server.database).await;
    let good = settled(&server.url, MESSAGE).await;
    assert_eq!(calls(&rows, &good).await, [call("title", [90, 12, 0])]);

    let thinking = json!({
        "id": "chatcmpl-title", "object": "chat.completion", "created": 1_763_800_000,
        "model": "gpt-6-luna-2026-09-22",
        "choices": [{
            "index": 0, "finish_reason": "stop",
            "message": { "role": "assistant", "content": "Kyoto in April", "refusal": null }
        }],
        "usage": {
            "prompt_tokens": 91, "completion_tokens": 76, "total_tokens": 167,
            "completion_tokens_details": { "reasoning_tokens": 64 }
        }
    });
    model.title(Answer::Text("I'm sorry, but I can't help with that."));
    model.title(Answer::Status(200, Vec::new(), thinking));
    let retried = settled(&server.url, MESSAGE).await;
    let expected = [call("rejected", [90, 12, 0]), call("title", [91, 76, 64])];
    assert_eq!(calls(&rows, &retried).await, expected);

    for _ in 0..2 {
        model.title(Answer::Text("..."));
    }
    let rejected = settled(&server.url, MESSAGE).await;
    let expected = [call("rejected", [90, 12, 0]), call("rejected", [90, 12, 0])];
    assert_eq!(calls(&rows, &rejected).await, expected);

    model.refuse_title();
    let failed = settled(&server.url, MESSAGE).await;
    let expected = [
        call("invalid_request", [0, 0, 0]),
        call("invalid_request", [0, 0, 0]),
    ];
    assert_eq!(calls(&rows, &failed).await, expected);
    assert_eq!(rows.count("agent_title_calls").await, 7);
}

#[tokio::test]
async fn a_call_that_was_for_nothing_is_stored_as_well() {
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &["--title-deadline", "5s"]).await;
    let rows = Rows::of(&server.database).await;
    let gate = model.held_title(Answer::Text(ModelServer::TITLE));
    let renamed = send(&server.url, json!({ "text": MESSAGE })).await;
    eventually(async || (model.title_requests().len() == 1).then_some(())).await;
    rename(&server.url, &renamed, "Ours").await;
    gate.send(()).unwrap();
    server.titles_ended("superseded", 1).await;
    assert_eq!(calls(&rows, &renamed).await, [call("title", [90, 12, 0])]);
    assert_eq!(server.title(&renamed).await["displayName"], "Ours");
}

#[tokio::test]
async fn a_call_that_is_cut_off_by_the_deadline_is_stored_as_well() {
    let model = ModelServer::start().await;
    model.title(Answer::Silence);
    let server = Server::start_with(&model, &["--title-deadline", "300ms"]).await;
    let rows = Rows::of(&server.database).await;
    let id = settled(&server.url, MESSAGE).await;
    assert_eq!(server.title(&id).await["titleError"]["code"], "TIMEOUT");
    assert_eq!(calls(&rows, &id).await, [call("timeout", [0, 0, 0])]);
}

#[tokio::test]
async fn absurd_counts_that_were_stored_before_break_neither_stats_nor_budgets() {
    const CALL: &str = "INSERT INTO agent_title_calls (id, tenant_id, model, outcome, prompt_tokens, completion_tokens, \
        reasoning_tokens, duration_ms, created_at) VALUES ($1, 'local', 'm', 'title', $2, $2, $2, 5, $3)";
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &["--title-budget", "1000"]).await;
    let rows = Rows::of(&server.database).await;
    for tokens in [i64::MAX, i64::MAX, -5] {
        let id = uuid::Uuid::now_v7();
        let values: [sea_orm::Value; 3] = [id.into(), tokens.into(), chrono::Utc::now().into()];
        rows.run(CALL, values).await.unwrap();
    }
    let stats = Titlecast::new(&["stats", "--json"]).env("DATABASE_URL", &server.database.url);
    let stats: Value = serde_json::from_str(&stats.run().await.ok()).unwrap();
    assert_eq!(stats["calls"][0]["prompt_tokens"], 20_000_000, "{stats}");
    let id = settled(&server.url, MESSAGE).await;
    assert_refused(&server.title(&id).await);
    assert!(model.title_requests().is_empty());
    server.stop().await;
}

#[tokio::test]
async fn calls_in_flight_count_and_tokens_that_a_provider_does_not_say_are_estimated() {
    let model = ModelServer::start().await;
    let settings = [
        "--title-budget",
        "400",
        "--messages-per-minute",
        "0",
        "--title-sweep",
        "1h",
    ];
    let mut server = Server::start_with(&model, &settings).await;
    model.delay(std::time::Duration::from_millis(300));
    let sent = (0..12).map(|_| settled(&server.url, MESSAGE));
    let ids = futures_util::future::join_all(sent).await;
    // In sequence four titles of 102 tokens are made; the estimate is a little more.
    assert!((2..=4).contains(&model.title_requests().len()));
    let mut waiting = 0;
    for id in &ids {
        let shown = server.title(id).await;
        waiting += usize::from(shown["titleError"]["code"] == "BUDGET_EXCEEDED");
    }
    assert_eq!(waiting, ids.len() - model.title_requests().len());
    model.delay(std::time::Duration::ZERO);

    let rows = Rows::of(&server.database).await;
    let url = server.serve(owner("silent")).await;
    let silent = json!({ "choices": [{
        "message": { "role": "assistant", "content": ModelServer::TITLE }, "finish_reason": "stop"
    }] });
    let mut made = 0;
    for _ in 0..8 {
        model.forget();
        model.title(Answer::Status(200, Vec::new(), silent.clone()));
        let id = settled(&url, MESSAGE).await;
        if title(&url, &id).await["titleStatus"] == "READY" {
            made += 1;
            let [(_, _, _, [prompt, completion, _])] = &calls(&rows, &id).await[..] else {
                panic!("one call");
            };
            assert!((40..200).contains(prompt) && (1..20).contains(completion));
        }
    }
    assert!((2..8).contains(&made), "{made}");
    server.stop().await;
}
