//! SIGHUP: the file is read again, and no reply notices.

use std::fs;

use futures_util::poll;
use serde_json::{Value, json};
use titlecast_testing::{
    Answer, Events, ModelServer, Recorder, Step, Titlecast, eventually,
    process::Process,
    server::{client, metrics, request},
    within,
};

use super::{Folder, serve};

/// A file with one agent.
fn file(url: &str, model: &str) -> String {
    format!(
        "[providers.desk]\nbase_url = \"{url}\"\napi_key_file = \"key\"\n[agents.triage]\nmodels = [\"desk/{model}\"]\n"
    )
}

/// A server with this file, and the URLs of its service and its metrics.
async fn start(file: &str) -> (Process, String, String) {
    let mut serving =
        Titlecast::new(&["serve", "--listen", "127.0.0.1:0", "--title-check", "false"])
            .file("titlecast.toml", file)
            .file("key", "key-one\n")
            .env("TITLECAST_CONFIG", "titlecast.toml")
            .start();
    let line = serving.line("serving metrics").await;
    let address = line.split("metrics_address=").nth(1).unwrap().trim();
    let metrics = format!("http://{address}");
    let url = serving.url().await;
    (serving, url, metrics)
}

async fn chat(url: &str) -> Value {
    let body = json!({ "message": "Hello there" });
    let (status, answer) = request(url, "POST", "/api/v1/chat", Some(body)).await;
    assert_eq!(status, 200, "{answer}");
    answer["response"].clone()
}

#[tokio::test]
async fn a_reload_changes_agents_and_keys_and_a_failed_one_nothing() {
    let provider = Recorder::start().await;
    let (mut serving, url, metrics_url) = start(&file(&provider.url, "one")).await;
    assert_eq!(chat(&url).await, "From one.");
    fs::write(
        serving.directory.join("titlecast.toml"),
        file(&provider.url, "two"),
    )
    .unwrap();
    fs::write(serving.directory.join("key"), "key-two\n").unwrap();
    serving.signal("HUP");
    serving.line("configuration reloaded").await;
    assert_eq!(chat(&url).await, "From two.");
    let keys: Vec<Value> = provider
        .requests()
        .iter()
        .filter(|request| request["body"]["stream"] == true)
        .map(|request| request["headers"]["authorization"].clone())
        .collect();
    assert_eq!(keys, ["Bearer key-one", "Bearer key-two"]);

    let broken = file(&provider.url, "three") + "modle = 1\n";
    fs::write(serving.directory.join("titlecast.toml"), broken).unwrap();
    serving.signal("HUP");
    let line = serving.line("configuration not reloaded").await;
    let part = "titlecast.toml:6: agents.triage.modle: unknown key";
    assert!(line.contains(part), "{line}");
    assert_eq!(chat(&url).await, "From two.");
    let failed = metrics(&metrics_url).await;
    assert!(
        failed.contains("\ntitlecast_config_reload_failed 1\n"),
        "{failed}"
    );

    fs::write(
        serving.directory.join("titlecast.toml"),
        file(&provider.url, "three"),
    )
    .unwrap();
    serving.signal("HUP");
    serving.line("configuration reloaded").await;
    assert_eq!(chat(&url).await, "From three.");
    let failed = metrics(&metrics_url).await;
    assert!(
        failed.contains("\ntitlecast_config_reload_failed 0\n"),
        "{failed}"
    );
    serving.terminate();
    let ended = serving.ended().await;
    assert!(!ended.stderr.contains("key-"), "{}", ended.stderr);
    ended.ok();
}

#[tokio::test]
async fn without_a_file_a_hangup_ends_the_process() {
    let mut serving = Titlecast::new(&["serve", "--listen", "127.0.0.1:0"]).start();
    serving.url().await;
    serving.signal("HUP");
    assert_eq!(serving.exit().await, None);
}

#[tokio::test]
async fn a_running_reply_keeps_its_agent() {
    let (model, other) = (ModelServer::start().await, Recorder::start().await);
    let (answer, steps) = Answer::live();
    model.reply(answer);
    let (mut serving, url, _) = start(&file(&model.url, "one")).await;
    let mut events = Events::post(&url, json!({ "message": "Hello there" })).await;
    steps.send(Step::Delta("Half".into())).unwrap();
    while events.next().await.unwrap()["text_delta"] != "Half" {}
    fs::write(
        serving.directory.join("titlecast.toml"),
        file(&other.url, "two"),
    )
    .unwrap();
    serving.signal("HUP");
    serving.line("configuration reloaded").await;
    assert_eq!(chat(&url).await, "From two.");
    steps.send(Step::Delta(" and half.".into())).unwrap();
    steps.send(Step::Finish).unwrap();
    let rest = events.rest().await;
    let last = rest.last().unwrap();
    assert_eq!(last["response_text"], "Half and half.", "{last}");
    assert_eq!(last["raw_type"], "response.completed", "{last}");
}

#[tokio::test]
async fn a_reload_under_load_drops_no_reply() {
    const REPLIES: usize = 120;
    let provider = Recorder::start().await;
    let (mut serving, url, _) = start(&file(&provider.url, "one")).await;
    let ask = async |_| {
        let body = json!({ "message": "Hello there" });
        let request = client().post(format!("{url}/api/v1/chat")).json(&body);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        answer["response"].as_str().map(str::to_owned)
    };
    let mut answers = Vec::new();
    let asking = async {
        for _ in 0..REPLIES / 12 {
            answers.extend(futures_util::future::join_all((0..12).map(ask)).await);
        }
    };
    let reloading = async {
        for number in 0.. {
            let model = ["two", "three"][number % 2];
            fs::write(
                serving.directory.join("titlecast.toml"),
                file(&provider.url, model),
            )
            .unwrap();
            serving.signal("HUP");
            serving.line("configuration reloaded").await;
        }
    };
    tokio::select! {
        () = asking => {}
        () = reloading => unreachable!(),
    }
    assert_eq!(answers.len(), REPLIES);
    for answer in answers {
        let answer = answer.expect("a reply");
        assert!(answer.starts_with("From "), "{answer}");
    }
    eventually(async || provider.requests().len().ge(&REPLIES).then_some(())).await;
}

#[tokio::test]
async fn breakers_of_providers_that_did_not_change_survive_a_reload() {
    let (bad, good) = (ModelServer::start().await, Recorder::start().await);
    let refused = || Answer::error(401, "invalid_request_error", Some("invalid_api_key"), "No");
    let file = |first_event: &str, instructions: &str| {
        format!(
            r#"
[providers.bad]
base_url = "{}"
first_event = "{first_event}"

[providers.good]
base_url = "{}"

[agents.triage]
models = ["bad/one", "good/two"]
instructions = "{instructions}"

[titles]
models = ["good/two"]
"#,
            bad.url, good.url
        )
    };
    let folder = Folder::new().file("titlecast.toml", &file("5s", "Be brief."));
    let server = serve(&folder, &[]).await;
    bad.reply(refused());
    assert_eq!(chat(&server.url).await, "From two.");
    assert_eq!(bad.reply_requests().len(), 1);

    let folder = folder.file("titlecast.toml", &file("5s", "Be kind."));
    server.app.reload().unwrap();
    assert_eq!(chat(&server.url).await, "From two.");
    assert_eq!(bad.reply_requests().len(), 1, "the breaker is still open");
    let asked = good.requests().last().unwrap().to_string();
    assert!(asked.contains("Be kind."), "{asked}");

    let _folder = folder.file("titlecast.toml", &file("6s", "Be kind."));
    server.app.reload().unwrap();
    bad.reply(refused());
    assert_eq!(chat(&server.url).await, "From two.");
    assert_eq!(bad.reply_requests().len(), 2, "another provider");
    server.stop().await;
}

/// The test has one thread, so that a reload on it would be over at its first poll.
#[tokio::test]
async fn a_reload_reads_its_files_on_another_thread() {
    const AGENTS: usize = 200;
    let agents = |length: usize| -> String {
        let agent = |number: usize| {
            format!(
                "[agents.a{number}]\nmodels = [\"desk/one\"]\ninstructions_file = \"long.md\"\n"
            )
        };
        let agents: String = (0..length).map(agent).collect();
        format!(
            "default_agent = \"a0\"\n[providers.desk]\nbase_url = \"http://127.0.0.1:1/v1\"\n{agents}"
        )
    };
    let folder = Folder::new()
        .file("long.md", &"Be brief. ".repeat(6_000))
        .file("titlecast.toml", &agents(1));
    let server = serve(&folder, &[]).await;
    let names = async || {
        let listed = server.data("{ agents { name } }", json!({})).await;
        listed["agents"].as_array().unwrap().len()
    };
    assert_eq!(names().await, 1);
    let folder = folder.file("titlecast.toml", &agents(AGENTS));
    let mut reload = Box::pin(server.app.reload_apart());
    assert!(poll!(&mut reload).is_pending());
    within(&mut reload).await;
    drop(reload);
    assert_eq!(names().await, AGENTS);
    drop(folder);
    server.stop().await;
}
