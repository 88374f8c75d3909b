//! The log as JSON: an object a line, which says which turn or title it is about.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use titlecast_testing::{
    ModelServer, Titlecast, eventually,
    server::{client, request},
};

#[tokio::test]
async fn every_line_is_an_object_with_flat_fields() {
    let model = ModelServer::start().await;
    model.refuse_title();
    let mut serving = Titlecast::new(&["serve", "--listen", "127.0.0.1:0"])
        .env("OPENAI_BASE_URL", &model.url)
        .env("TITLECAST_TITLE_CHECK", "false")
        .env("TITLECAST_LOG_FORMAT", "json")
        .start();
    let listening: Value = serde_json::from_str(&serving.line("listening").await).unwrap();
    let url = format!("http://{}", listening["address"].as_str().unwrap());
    let body = json!({ "message": "Plan a trip to Kyoto" });
    let (status, answer) = request(&url, "POST", "/api/v1/chat", Some(body)).await;
    assert_eq!(status, 200);
    serving.line("title generation failed").await;
    serving.terminate();
    let ended = serving.ended().await;
    let lines = ended.stderr.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        let time = line["timestamp"].as_str().unwrap();
        assert!(time.ends_with('Z'), "{time}");
        assert!((Utc::now() - time.parse::<DateTime<Utc>>().unwrap()).num_seconds() < 60);
        for field in ["level", "target", "message"] {
            assert!(line[field].is_string(), "{line}");
        }
        line
    });
    let lines: Vec<Value> = lines.collect();
    let line = |message: &str| {
        let found = lines.iter().find(|line| line["message"] == message);
        found.unwrap_or_else(|| panic!("no {message:?}: {}", ended.stderr))
    };
    let id = &answer["conversation_id"];
    let ended = line("reply ended");
    assert_eq!(ended["level"], "INFO");
    assert_eq!(
        (&ended["conversation.id"], &ended["outcome"]),
        (id, &json!("completed"))
    );
    assert!(ended["duration_ms"].is_u64(), "{ended}");
    assert_eq!(
        ended["span"],
        json!({ "name": "turn", "conversation.id": id })
    );
    let untitled = line("title generation failed");
    assert_eq!(
        (&untitled["level"], &untitled["reason"]),
        (&json!("WARN"), &json!("invalid_request"))
    );
    assert_eq!(
        untitled["span"],
        json!({ "name": "title", "conversation.id": id })
    );
    assert_eq!(line("stopped").get("span"), None);
}

#[tokio::test]
async fn the_last_line_of_a_program_that_fails_is_an_object_too() {
    let none = "sqlite:///none/titlecast.db";
    for (arguments, code, why) in [
        (
            &["serve", "--database-url", none][..],
            1,
            "the folder /none does not exist",
        ),
        (
            &["stats", "--database-url", none],
            1,
            "the folder /none does not exist",
        ),
        (
            &["serve", "--allowed-hosts", "https://a"],
            2,
            "--allowed-hosts",
        ),
        (&["serve", "--log", "titlecast=loud"], 2, "malformed"),
        // What the parser of the command line refuses.
        (&["serve", "--title-grace", "10"], 2, "--title-grace"),
        (&["serve", "--nonsense"], 2, "--nonsense"),
    ] {
        let by_flag = Titlecast::new(&[arguments, &["--log-format", "json"]].concat());
        let by_name = Titlecast::new(arguments).env("TITLECAST_LOG_FORMAT", "json");
        for command in [by_flag, by_name] {
            let ended = command.run().await;
            assert_eq!(ended.code, Some(code), "{}", ended.stderr);
            let lines = ended.stderr.lines().map(|line| {
                let line: Value =
                    serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
                line
            });
            let lines: Vec<Value> = lines.collect();
            let last = lines.last().unwrap();
            assert_eq!(last["level"], "ERROR");
            assert!(last["message"].as_str().unwrap().contains(why), "{last}");
            last["timestamp"]
                .as_str()
                .unwrap()
                .parse::<DateTime<Utc>>()
                .unwrap();
        }
    }
    let help = Titlecast::new(&["--help", "--log-format=json"]).run().await;
    assert!(help.stdout.contains("Usage"), "{}", help.stdout);
}

#[tokio::test]
async fn a_log_that_nobody_reads_stops_nothing() {
    let model = ModelServer::start().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let mut serving = Titlecast::unread(&["serve", "--listen", &address, "--log", "debug"])
        .env("OPENAI_BASE_URL", &model.url)
        .start();
    let url = format!("http://{address}");
    eventually(async || client().get(format!("{url}/readyz")).send().await.ok()).await;
    for _ in 0..5 {
        let body = json!({ "message": "Plan a trip to Kyoto" });
        let (status, answer) = request(&url, "POST", "/api/v1/chat", Some(body)).await;
        assert_eq!(status, 200, "{answer}");
    }
    serving.terminate();
    assert_eq!(serving.exit().await, Some(0));
}

#[tokio::test]
async fn a_failed_start_with_a_closed_standard_error_keeps_its_exit_code() {
    let started = ["-c", "exec \"$0\" \"$@\" 2>&-"];
    let ended = Titlecast::through(
        "/bin/sh",
        &started,
        &["serve", "--database-url", "nonsense://"],
    )
    .run()
    .await;
    assert_eq!(ended.code, Some(2));
}
