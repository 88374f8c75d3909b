//! Titles that wait: which budget and which chain of models they wait for.

use chrono::{TimeDelta, Utc};
use serde_json::json;
use titlecast_testing::{
    Answer, ModelServer, Rows,
    titles::{assert_titled, replied, send, settled, title, title_when},
};

use super::{MESSAGE, file_of, owner, titled_by, with_policies_and};
use crate::agents::{Folder, serve};

const OFTEN: [&str; 2] = ["--title-sweep", "100ms"];

#[tokio::test]
async fn a_higher_budget_makes_the_titles_due_that_wait_for_it() {
    let model = ModelServer::start().await;
    let policies = |budget: u32| {
        let policies =
            format!("[agents.triage]\nmodels = [\"desk/a\"]\n[titles]\nbudget = {budget}\n");
        file_of(&model, &policies)
    };
    let folder = Folder::new().file("titlecast.toml", &policies(100));
    let server = serve(&folder, &OFTEN).await;
    settled(&server.url, MESSAGE).await;
    let id = settled(&server.url, MESSAGE).await;
    let shown = server.title(&id).await;
    assert_eq!(shown["titleError"]["code"], "BUDGET_EXCEEDED");
    let folder = folder.file("titlecast.toml", &policies(1000));
    server.app.reload().unwrap();
    assert_titled(&title_when(&server.url, &id, |now| now["titleStatus"] == "READY").await);
    server.stop().await;
    drop(folder);
}

#[tokio::test]
async fn each_chain_is_probed_though_another_answers() {
    let model = ModelServer::start().await;
    let policies = r#"
[agents.triage]
models = ["desk/a"]
[titles]
models = ["desk/good"]
[titles.tenants.acme]
models = ["desk/bad"]
"#;
    let settings = [&OFTEN[..], &["--title-probe", "2s"]].concat();
    let (mut server, _folder) = with_policies_and(&model, policies, &settings).await;
    let rows = Rows::of(&server.database).await;
    let acme = server.serve(owner("acme")).await;
    let code = Some("model_not_found");
    model.title(Answer::error(404, "invalid_request_error", code, "No."));
    let id = settled(&acme, MESSAGE).await;
    let later = Utc::now() + TimeDelta::hours(1);
    rows.change(&id, "title_retry_at = $2", [later.into()])
        .await;
    settled(&server.url, MESSAGE).await;
    let waits = title(&acme, &id).await;
    assert_eq!(waits["titleError"]["code"], "MODEL_NOT_FOUND", "{waits}");
    assert_titled(&title_when(&acme, &id, |now| now["titleStatus"] == "READY").await);
    server.stop().await;
}

#[tokio::test]
async fn hints_and_previews_are_redacted_as_the_conversations_agent_says() {
    let model = ModelServer::start().await;
    let policies = r#"
[agents.triage]
models = ["desk/a"]
[agents.strict]
models = ["desk/a"]
[agents.strict.titles]
redact = true
[titles]
redact = false
"#;
    let (server, _folder) = with_policies_and(&model, policies, &[]).await;
    let message = "Why do mails to anna@example.com bounce?";
    for (agent, is_shown) in [("triage", true), ("strict", false)] {
        let shown = titled_by(&server.url, agent, message).await;
        let hint = shown["topicHint"].as_str().unwrap();
        assert_eq!(hint.contains("anna@"), is_shown, "{agent}: {hint}");
        let id = shown["id"].as_str().unwrap();
        // A later message that names no agent, and its reply.
        model.reply(Answer::Deltas(vec!["Ask anna@example.com"]));
        send(
            &server.url,
            json!({ "conversationId": id, "text": message }),
        )
        .await;
        replied(&server.url, id, 4).await;
        let shown = title(&server.url, id).await;
        let preview = shown["lastMessagePreview"].as_str().unwrap();
        assert_eq!(preview.contains("anna@"), is_shown, "{agent}: {preview}");
    }
    server.stop().await;
}
