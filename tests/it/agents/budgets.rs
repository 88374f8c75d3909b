//! Daily token budgets of replies. Each reply of the scripted provider uses 25 tokens.

use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    Recorder, Server, eventually,
    server::{client, graphql, request},
};

use super::{Folder, serve};

async fn ask(url: &str, agent: &str) -> (u16, Value) {
    let body = json!({ "message": "Plan a trip to Kyoto", "agent_type": agent });
    request(url, "POST", "/api/v1/chat", Some(body)).await
}

/// The conversations of an owner, newest first: title and number of messages.
async fn titled(server: &Server, count: usize) -> Vec<Value> {
    eventually(async || {
        let (_, list) = server.get("/api/v1/conversations").await;
        let items = list["items"].as_array().unwrap().clone();
        let is_titled = |item: &Value| item["display_name"] == "Planning a Trip to Kyoto";
        (items.len() == count && items.iter().all(is_titled)).then_some(items)
    })
    .await
}

#[tokio::test]
async fn beyond_the_budget_of_a_tenant_only_its_replies_fail() {
    let provider = Recorder::start().await;
    let file = format!(
        "[providers.desk]\nbase_url = \"{}\"\n[agents.triage]\nmodels = [\"desk/one\"]\n",
        provider.url
    );
    let folder = Folder::new().file("titlecast.toml", &file);
    let mut server = serve(&folder, &["--reply-budget", "25,globex=0"]).await;
    let globex = server
        .serve(Owner {
            tenant: "globex".into(),
            user: "ada".into(),
        })
        .await;
    assert_eq!(ask(&server.url, "triage").await.0, 200);
    let (status, answer) = ask(&server.url, "triage").await;
    assert_eq!(
        (status, &answer["code"]),
        (429, &json!("BUDGET_EXCEEDED")),
        "{answer}"
    );
    // The failed reply keeps its code for later readers.
    let query =
        "{ conversations(first: 1) { nodes { messages { nodes { status error { code } } } } } }";
    let listed = graphql(&server.url, query, json!({})).await;
    let nodes = &listed["data"]["conversations"]["nodes"][0]["messages"]["nodes"];
    assert_eq!(
        nodes[1],
        json!({ "status": "FAILED", "error": { "code": "BUDGET_EXCEEDED" } })
    );
    let mut resumed = Vec::new();
    for _ in 0..2 {
        let body = json!({ "message": "Plan a trip to Nara", "agent_type": "triage" });
        let request = client().post(format!("{}/api/v1/chat", server.url));
        let request = request
            .header("idempotency-key", "nara")
            .header("content-type", "application/json");
        let answer = request.body(body.to_string()).send().await.unwrap();
        let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        resumed.push(answer["code"].clone());
    }
    assert_eq!(resumed, ["BUDGET_EXCEEDED", "BUDGET_EXCEEDED"]);
    let replies = |requests: Vec<Value>| {
        let replies = requests
            .into_iter()
            .filter(|request| request["body"]["stream"] == true);
        replies.count()
    };
    assert_eq!(replies(provider.requests()), 1, "no model was asked");
    // The message is stored, and titled.
    let items = titled(&server, 3).await;
    assert_eq!(items[1]["message_count"], 1);
    assert_eq!(items[2]["message_count"], 2);
    // Another tenant has no limit.
    for _ in 0..3 {
        assert_eq!(ask(&globex, "triage").await.0, 200);
    }
}

#[tokio::test]
async fn an_agent_has_a_budget_of_its_own() {
    let provider = Recorder::start().await;
    let file = format!(
        r#"
[providers.desk]
base_url = "{}"

[agents.triage]
models = ["desk/one"]

[agents.dear]
models = ["desk/two"]
budget = 25
"#,
        provider.url
    );
    let folder = Folder::new().file("titlecast.toml", &file);
    let server = serve(&folder, &[]).await;
    assert_eq!(ask(&server.url, "triage").await.0, 200);
    assert_eq!(ask(&server.url, "dear").await.0, 200);
    let (status, answer) = ask(&server.url, "dear").await;
    assert_eq!(
        (status, &answer["code"]),
        (429, &json!("BUDGET_EXCEEDED")),
        "{answer}"
    );
    assert_eq!(ask(&server.url, "triage").await.0, 200);
    // A node that begins now reads what others spent.
    let path = folder.path("titlecast.toml");
    let beside = Server::on(server.database.shared(), &["--config", &path]).await;
    assert_eq!(ask(&beside.url, "dear").await.0, 429);
    assert_eq!(ask(&beside.url, "triage").await.0, 200);
}
