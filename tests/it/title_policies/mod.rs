//! Title policies: the instruction for each tenant and agent, what is stored, and what never leaks.

mod stored;
mod waiting;

use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    Answer, ModelServer, Rows, Server, calls, eventually,
    titles::{decided, replied, settled},
};

use super::{
    agents::{Folder, serve},
    rewrites::edit,
};

const MESSAGE: &str = "Plan a trip to Kyoto for Anna";

/// A server with these policies, whose models of all kinds are the scripted one.
async fn with_policies(model: &ModelServer, policies: &str) -> (Server, Folder) {
    with_policies_and(model, policies, &[]).await
}

/// The same with further settings.
pub async fn with_policies_and(
    model: &ModelServer,
    policies: &str,
    settings: &[&str],
) -> (Server, Folder) {
    let folder = Folder::new().file("titlecast.toml", &file_of(model, policies));
    let server = serve(&folder, settings).await;
    (server, folder)
}

/// A file of settings with these policies and one provider.
fn file_of(model: &ModelServer, policies: &str) -> String {
    format!(
        "default_agent = \"triage\"\n[providers.desk]\nbase_url = \"{}\"\n{policies}",
        model.url
    )
}

fn owner(tenant: &str) -> Owner {
    Owner {
        tenant: tenant.into(),
        user: "anna".into(),
    }
}

/// What the model was asked for the last title: its name, the instruction and the input.
fn last_request(model: &ModelServer) -> Value {
    let request = model.title_requests().pop().unwrap();
    json!([
        request["model"],
        request["messages"][0]["content"],
        request["messages"][1]["content"]
    ])
}

/// Sends a first message to an agent, and waits for its title.
async fn titled_by(url: &str, agent: &str, text: &str) -> Value {
    let input = json!({ "text": text, "agent": agent });
    let sent = calls::send_message(url, input).await;
    let id = sent["conversation"]["id"].as_str().unwrap().to_owned();
    decided(url, &id).await
}

#[tokio::test]
async fn no_policy_leaks_into_the_request_of_another_tenant_or_agent() {
    let model = ModelServer::start().await;
    let policies = r#"
[agents.triage]
models = ["desk/chat"]
[agents.orders]
models = ["desk/chat"]
[agents.orders.titles]
style = "Name the order."
models = ["desk/orders"]

[titles]
models = ["desk/small"]
max_words = 8

[titles.tenants.acme]
style = "Begin with the product of Acme."
instruction = "Write a title for Acme's support desk."
language = "de"
models = ["desk/acme"]

[titles.tenants.globex]
max_words = 4
case = "sentence"
emoji = true
"#;
    let (mut server, _folder) = with_policies(&model, policies).await;
    let mut requests = Vec::new();
    for (tenant, agent) in [
        ("acme", "triage"),
        ("acme", "orders"),
        ("globex", "triage"),
        ("globex", "orders"),
        ("other", "triage"),
    ] {
        let url = server.serve(owner(tenant)).await;
        titled_by(&url, agent, MESSAGE).await;
        requests.push(json!({ (format!("{tenant}, {agent}")): last_request(&model) }));
    }
    insta::assert_json_snapshot!(requests);
    for request in &requests[2..] {
        assert!(!request.to_string().contains("Acme"), "{request}");
    }
    assert!(!requests[4].to_string().contains("Name the order"));
    server.stop().await;
}

#[tokio::test]
async fn a_reload_puts_other_policies_in_force() {
    let model = ModelServer::start().await;
    let policies = |style: &str| {
        let policies =
            format!("[agents.triage]\nmodels = [\"desk/a\"]\n[titles]\nstyle = \"{style}\"\n");
        file_of(&model, &policies)
    };
    let folder = Folder::new().file("titlecast.toml", &policies("The first."));
    let server = serve(&folder, &[]).await;
    settled(&server.url, MESSAGE).await;
    assert!(last_request(&model).to_string().contains("The first."));
    let folder = folder.file("titlecast.toml", &policies("The second."));
    server.app.reload().unwrap();
    settled(&server.url, MESSAGE).await;
    let request = last_request(&model).to_string();
    assert!(request.contains("The second.") && !request.contains("The first."));
    // What cannot be used changes nothing.
    let folder = folder.file("titlecast.toml", &policies(&"x".repeat(301)));
    server.app.reload().unwrap_err();
    // Nor does a file that a writer has emptied: the offline model would make the titles.
    let folder = folder.file("titlecast.toml", "");
    let refused = server.app.reload().unwrap_err().to_string();
    assert!(refused.contains("no longer has providers"), "{refused}");
    settled(&server.url, MESSAGE).await;
    assert!(last_request(&model).to_string().contains("The second."));
    server.stop().await;
    drop(folder);
}

#[tokio::test]
async fn openers_and_budgets_are_those_of_the_policy() {
    let model = ModelServer::start().await;
    let policies = r#"
[agents.triage]
models = ["desk/a"]
[titles.tenants.chatty]
openers = false
[titles.tenants.poor]
budget = 100
"#;
    let (mut server, _folder) = with_policies(&model, policies).await;
    let chatty = server.serve(owner("chatty")).await;
    let id = settled(&chatty, "hi").await;
    let shown = titlecast_testing::titles::title(&chatty, &id).await;
    assert_eq!(shown["displayName"], ModelServer::TITLE);
    // A call of the scripted model costs 102.
    let poor = server.serve(owner("poor")).await;
    for status in ["READY", "FAILED"] {
        let id = settled(&poor, MESSAGE).await;
        let shown = titlecast_testing::titles::title(&poor, &id).await;
        assert_eq!(shown["titleStatus"], status, "{shown}");
    }
    let other = server.serve(owner("other")).await;
    for _ in 0..2 {
        settled(&other, MESSAGE).await;
    }
    eventually(async || (model.title_requests().len() == 4).then_some(())).await;
    server.stop().await;
}

#[tokio::test]
async fn an_agent_has_a_budget_of_its_own_beside_the_tenants() {
    let model = ModelServer::start().await;
    let policies = r#"
[agents.triage]
models = ["desk/a"]
[agents.dear]
models = ["desk/b"]
[agents.dear.titles]
budget = 100
[titles]
budget = 300
"#;
    let (mut server, folder) = with_policies(&model, policies).await;
    let url = server.serve(owner("acme")).await;
    // A call of the scripted model costs 102; the agent's own budget allows one, the tenant's three in all.
    for (agent, status) in [
        ("triage", "READY"),
        ("dear", "READY"),
        ("dear", "FAILED"),
        ("triage", "READY"),
        ("triage", "FAILED"),
    ] {
        let shown = titled_by(&url, agent, MESSAGE).await;
        assert_eq!(shown["titleStatus"], status, "{agent}: {shown}");
    }
    // The budget is each tenant's.
    let other = server.serve(owner("other")).await;
    assert_eq!(
        titled_by(&other, "dear", MESSAGE).await["titleStatus"],
        "READY"
    );
    assert_eq!(model.title_requests().len(), 4);
    // A node that begins now reads what others spent; calls of the previous version have no agent.
    let rows = Rows::of(&server.database).await;
    let path = folder.path("titlecast.toml");
    let start = async || Server::on(server.database.shared(), &["--config", &path]).await;
    let mut beside = start().await;
    let url = beside.serve(owner("other")).await;
    assert_eq!(
        titled_by(&url, "dear", MESSAGE).await["titleError"]["code"],
        "BUDGET_EXCEEDED"
    );
    beside.stop().await;
    rows.run("UPDATE agent_title_calls SET agent = NULL", [])
        .await
        .unwrap();
    let mut beside = start().await;
    let url = beside.serve(owner("other")).await;
    assert_eq!(
        titled_by(&url, "dear", MESSAGE).await["titleStatus"],
        "READY"
    );
    beside.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn readiness_names_the_model_of_the_policy_that_fails() {
    let model = ModelServer::start().await;
    let policies = r#"
[agents.triage]
models = ["desk/chat"]
[titles]
models = ["desk/small"]
[titles.tenants.acme]
models = ["desk/gone"]
[titles.tenants.same]
models = ["desk/small"]
"#;
    let (mut server, _folder) = with_policies(&model, policies).await;
    let page = server.serve_metrics().await;
    let gauge = async |name: &str| {
        let page = titlecast_testing::server::metrics(&page).await;
        let value = page.lines().find_map(|line| line.strip_prefix(name));
        value.map(|value| value.trim().to_owned())
    };
    let up = async || gauge("titlecast_title_model_up").await;
    let word = async |server: &Server| server.get("/readyz").await.1["title_model"].take();
    assert_eq!(word(&server).await, "unknown");
    assert_eq!(up().await, None);
    let acme = server.serve(owner("acme")).await;
    model.title(Answer::error(
        404,
        "invalid_request_error",
        Some("model_not_found"),
        "No such model",
    ));
    settled(&acme, MESSAGE).await;
    let failing = "desk/gone: model_not_found";
    assert_eq!(word(&server).await, failing);
    // The answers of another chain do not hide it.
    settled(&server.url, MESSAGE).await;
    let same = server.serve(owner("same")).await;
    settled(&same, MESSAGE).await;
    assert_eq!(word(&server).await, failing);
    assert_eq!(up().await.as_deref(), Some("0"));
    let is_open = gauge("titlecast_title_breaker_open").await;
    assert_eq!(is_open.as_deref(), Some("1"));
    let (status, page) = server.get("/readyz").await;
    assert_eq!((status, &page["degraded"]), (200, &json!(["title_model"])));
    server.stop().await;
}

#[tokio::test]
async fn an_edited_message_is_titled_by_the_policy_of_its_conversation() {
    let model = ModelServer::start().await;
    let policies = |openers: bool| {
        let policies = format!(
            "[agents.triage]\nmodels = [\"desk/a\"]\n[agents.orders]\nmodels = [\"desk/b\"]\n\
             [agents.orders.titles]\nopeners = {openers}\n"
        );
        file_of(&model, &policies)
    };
    let folder = Folder::new().file("titlecast.toml", &policies(true));
    let server = serve(&folder, &[]).await;
    let sent = calls::send_message(&server.url, json!({ "text": "hi", "agent": "orders" })).await;
    let id = sent["conversation"]["id"].as_str().unwrap();
    replied(&server.url, id, 2).await;
    let folder = folder.file("titlecast.toml", &policies(false));
    server.app.reload().unwrap();
    let input = json!({ "messageId": sent["message"]["id"], "text": "hello there" });
    let edited = edit(&server.url, input).await;
    assert_eq!(edited.get("errors"), None, "{edited}");
    let shown = decided(&server.url, id).await;
    assert_eq!(shown["displayName"], ModelServer::TITLE);
    server.stop().await;
    drop(folder);
}
