//! `titlecast serve`, from the first line of its log to the last: what it logs, what it does not log, and how it ends.

use std::path::PathBuf;

use serde_json::json;
use titlecast_testing::{
    Answer, Events, ModelServer, Step, TestDatabase, Titlecast, assert_common_stream,
    server::request, sse::text, within,
};
use tokio::net::TcpStream;

const KEY: &str = "sk-proj-a-key-that-nobody-may-read";
const LOCAL: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];

#[tokio::test]
async fn without_any_setting_it_serves_a_file_of_its_own_with_the_offline_model() {
    let mut serving = Titlecast::new(&["--listen", "127.0.0.1:0"]).start();
    let url = serving.url().await;
    assert!(
        url.starts_with("http://127.0.0.1:") && !url.ends_with(":0"),
        "{url}"
    );
    assert!(serving.directory.join("titlecast.db").is_file());

    let (status, health) = request(&url, "GET", "/healthz", None).await;
    assert_eq!(status, 200);
    let expected = json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "database": "sqlite",
        "chat_model": "offline",
        "title_model": "offline",
    });
    assert_eq!(health, expected);
    let body = json!({ "message": "Plan a trip to Kyoto in April" });
    let events = Events::post(&url, body).await.rest().await;
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["raw_type"], "response.completed");
    assert!(terminal["display_name"].is_string(), "{terminal}");

    serving.terminate();
    let ended = serving.ended().await;
    let warnings: Vec<&str> = ended
        .stderr
        .lines()
        .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "))
        .collect();
    assert_eq!(warnings.len(), 1, "{}", ended.stderr);
    assert!(warnings[0].contains("offline model"), "{}", warnings[0]);
    assert!(warnings[0].contains("OPENAI_API_KEY"), "{}", warnings[0]);
    assert_eq!(ended.ok(), "", "the log goes to standard error");
}

#[tokio::test]
async fn health_asks_the_server_and_fails_when_there_is_none() {
    let mut serving = Titlecast::new(&LOCAL).start();
    let address = serving.url().await.replace("http://", "");
    let health = async || {
        let command = Titlecast::new(&["health"]).env("TITLECAST_LISTEN", &address);
        command.run().await
    };
    let page: serde_json::Value = serde_json::from_str(&health().await.ok()).unwrap();
    assert_eq!(page["status"], "ready");
    serving.terminate();
    serving.ended().await.ok();
    let parts = [address.as_str(), "does not answer", "TITLECAST_LISTEN"];
    health().await.assert_failed(&parts);
}

#[tokio::test]
async fn what_was_stored_is_there_after_a_restart() {
    let database = TestDatabase::empty().await;
    let start = || {
        let arguments = [&LOCAL[..], &["--migrate"]].concat();
        let command = Titlecast::new(&arguments).env("DATABASE_URL", &database.url);
        command.start()
    };
    let mut serving = start();
    let url = serving.url().await;
    let body = json!({ "message": "Plan a trip to Kyoto in April" });
    let events = Events::post(&url, body).await.rest().await;
    let id = events[0]["conversation_id"].as_str().unwrap();
    let path = format!("/api/v1/conversations/{id}");
    let before = request(&url, "GET", &path, None).await;
    assert_eq!(before.0, 200);
    serving.terminate();
    serving.ended().await.ok();

    let mut serving = start();
    let url = serving.url().await;
    assert_eq!(request(&url, "GET", &path, None).await, before);
    serving.terminate();
    serving.ended().await.ok();
    // Closed cleanly, an SQLite file is all there is: its write-ahead log was taken in.
    if let Some(file) = database.url.strip_prefix("sqlite://") {
        let file = PathBuf::from(file.split('?').next().unwrap());
        assert!(file.is_file() && !file.with_extension("db-wal").exists());
    }
}

#[tokio::test]
async fn an_address_that_others_reach_is_served_when_that_is_meant() {
    let mut serving = Titlecast::new(&["serve"])
        .env("TITLECAST_LISTEN", "0.0.0.0:0")
        .env("TITLECAST_ALLOW_UNAUTHENTICATED", "true")
        .start();
    let url = serving.url().await.replace("0.0.0.0", "127.0.0.1");
    assert_eq!(request(&url, "GET", "/healthz", None).await.0, 200);
    serving.terminate();
    serving.ended().await.ok();
}

#[tokio::test]
async fn a_reply_under_way_is_finished_before_the_end() {
    let model = ModelServer::start().await;
    let (answer, steps) = Answer::live();
    model.reply(answer);
    let mut serving = Titlecast::new(&LOCAL)
        .env("OPENAI_BASE_URL", &model.url)
        .start();
    let url = serving.url().await;
    let mut stream = Events::post(&url, json!({ "message": "Plan a trip to Kyoto" })).await;
    steps.send(Step::Delta("Half a ".into())).unwrap();
    let mut events = Vec::new();
    while text(&events) != "Half a " {
        events.push(stream.next().await.unwrap());
    }
    serving.terminate();
    serving.line("shutting down").await;
    steps.send(Step::Delta("thought".into())).unwrap();
    steps.send(Step::Finish).unwrap();
    events.extend(stream.rest().await);
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["raw_type"], "response.completed");
    assert_eq!(terminal["response_text"], "Half a thought");
    serving.ended().await.ok();
}

#[tokio::test]
async fn the_log_holds_neither_the_key_nor_what_people_write() {
    let model = ModelServer::start().await;
    let message = format!("Incorrect API key provided: {KEY}. You said: my secret plan");
    let refusal = || Answer::error(401, "invalid_request_error", Some(KEY), &message);
    model.title(refusal()).reply(refusal());
    let mut serving = Titlecast::new(&LOCAL)
        .env("OPENAI_API_KEY", KEY)
        .env("OPENAI_BASE_URL", &model.url)
        .env("DATABASE_URL", "sqlite://titlecast.db?mode=rwc")
        .env("TITLECAST_LOG", "trace")
        .start();
    let url = serving.url().await;
    // Refused, and then answered.
    for _ in 0..2 {
        let body = json!({ "message": "Here is my secret plan for Kyoto" });
        Events::post(&url, body).await.rest().await;
    }
    let (_, list) = request(&url, "GET", "/api/v1/conversations", None).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    serving.terminate();
    let ended = serving.ended().await;
    for secret in [KEY, "secret plan", &ModelServer::REPLY.concat()] {
        let leak = ended.stderr.lines().find(|line| line.contains(secret));
        assert_eq!(leak, None, "{secret}");
    }
    // It does log what happened, otherwise the checks above would prove nothing.
    assert!(
        ended.stderr.contains("MODEL_MISCONFIGURED"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("unauthorized"), "{}", ended.stderr);
    ended.ok();
}

#[tokio::test]
async fn without_files_left_for_connections_it_waits_for_some_and_goes_on() {
    let mut serving = Titlecast::new(&["--listen", "127.0.0.1:0"]).start();
    let url = serving.url().await;
    let health = async || request(&url, "GET", "/healthz", None).await.0;
    assert_eq!(health().await, 200);
    serving.limit_files(serving.open_files() + 5);
    let address = url.trim_start_matches("http://");
    let mut peers = Vec::new();
    for _ in 0..20 {
        peers.push(within(TcpStream::connect(address)).await.unwrap());
    }
    serving.line("cannot accept connections").await;
    drop(peers);
    assert_eq!(health().await, 200);
    serving.terminate();
    serving.ended().await.ok();
}
