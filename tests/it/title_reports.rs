//! Title problems from public reports on other products: models that answer instead of writing a title, servers that
//! refuse what others accept, and limits.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use titlecast_testing::{
    Answer, ModelServer, Server,
    titles::{regenerate, replied, send, settled, title_when},
};

use super::title_policies::with_policies_and;

const MESSAGE: &str = "Inspect langfuse traces for errors in the importer of the billing service";
const REFUSAL: &str = "I cannot help with that request";

/// A server with this policy, whose models are the scripted one.
async fn with_policy(model: &ModelServer, policy: &str) -> (Server, super::agents::Folder) {
    let policies = format!("[agents.triage]\nmodels = [\"desk/a\"]\n[titles]\n{policy}\n");
    let settings = ["--title-sweep", "1h", "--messages-per-minute", "0"];
    with_policies_and(model, &policies, &settings).await
}

/// The text of a message of a request.
fn text(request: &Value, number: usize) -> &str {
    request["messages"][number]["content"].as_str().unwrap()
}

/// A conversation of three messages of the user.
async fn conversation(server: &Server) -> String {
    let id = settled(&server.url, "Plan a trip to Kyoto").await;
    for (number, text) in [(4, "Which temples?"), (6, "And where to eat?")] {
        send(&server.url, json!({ "conversationId": id, "text": text })).await;
        replied(&server.url, &id, number).await;
    }
    id
}

#[tokio::test]
async fn an_answer_that_the_title_stays_is_the_present_title() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = conversation(&server).await;
    for answer in [
        "Unchanged",
        "Same title as before",
        "Planning a Trip to Kyoto (unchanged)",
        "unless the subject moved",
    ] {
        let revision = server.title(&id).await["revision"].as_i64().unwrap();
        let calls = model.title_requests().len();
        model.title(Answer::Text(answer));
        regenerate(&server.url, json!({ "id": id })).await;
        let shown = title_when(&server.url, &id, |now| {
            now["titleStatus"] == "READY" && now["revision"].as_i64() > Some(revision + 1)
        })
        .await;
        assert_eq!(shown["displayName"], ModelServer::TITLE, "{answer}");
        assert_eq!(model.title_requests().len(), calls + 1, "{answer}");
    }
    // A hint requests another title, so "unchanged" is unusable.
    model.title(Answer::Text("Unchanged"));
    model.title(Answer::Text("Where to Eat in Kyoto"));
    regenerate(&server.url, json!({ "id": id, "hint": "about food" })).await;
    title_when(&server.url, &id, |now| {
        now["displayName"] == "Where to Eat in Kyoto"
    })
    .await;
    let requests = model.title_requests();
    let instruction = text(&requests[requests.len() - 1], 0);
    assert!(
        instruction.contains("another title") && !instruction.contains("same title"),
        "{instruction}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_is_silent_under_a_schema_is_asked_without_one() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    for number in 1..=4 {
        let calls = model.title_requests().len();
        model.forget();
        if number < 4 {
            model.title(Answer::Text(""));
        }
        let id = settled(&server.url, "Plan a trip to Kyoto").await;
        assert_eq!(
            server.title(&id).await["displayName"],
            ModelServer::TITLE,
            "{number}"
        );
        let requests = model.title_requests().split_off(calls);
        let formats: Vec<bool> = requests
            .iter()
            .map(|one| one.get("response_format").is_some())
            .collect();
        // After three in a row it is known.
        let expected: &[bool] = match number {
            4 => &[false],
            _ => &[true, false],
        };
        assert_eq!(formats, expected, "{number}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_template_without_a_system_role_gets_the_instruction_with_the_message() {
    for refusal in [
        Answer::error(400, "BadRequestError", None, "System role not supported"),
        Answer::error(
            500,
            "server_error",
            None,
            "Conversation roles must alternate user/assistant/user/assistant/...",
        ),
        Answer::Status(500, Vec::new(), json!("Internal Server Error")),
    ] {
        let is_named = !matches!(refusal, Answer::Status(500, _, Value::String(_)));
        let model = ModelServer::start().await;
        let server = Server::start(&model).await;
        model.title(refusal);
        for calls in [2, 3] {
            let id = settled(&server.url, "Plan a trip to Kyoto").await;
            assert_eq!(server.title(&id).await["displayName"], ModelServer::TITLE);
            let requests = model.title_requests();
            assert_eq!(requests.len(), calls);
            if !is_named {
                break;
            }
        }
        let requests = model.title_requests();
        assert_eq!(requests[0]["messages"][0]["role"], "system");
        for request in &requests[1..2] {
            assert_eq!(request["messages"].as_array().unwrap().len(), 1);
            assert_eq!(request["messages"][0]["role"], "user");
            let text = text(request, 0);
            assert!(
                text.starts_with("Write a title") && text.contains("<message>\nPlan a trip"),
                "{text}"
            );
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn words_of_the_instruction_are_no_title() {
    let model = ModelServer::start().await;
    let policy = "instruction = \"You name support tickets.\"\nstyle = \"Begin with the customer's product.\"";
    let (server, _folder) = with_policy(&model, policy).await;
    for answer in [
        "You name support tickets",
        "Begin with the customer's product",
        "Use the language of the message",
        "Plain text, no quotes, no period at the end",
    ] {
        model.title(Answer::Text(answer));
        model.title(Answer::Text("Langfuse Import Errors"));
        let id = settled(&server.url, MESSAGE).await;
        let shown = server.title(&id).await;
        assert_eq!(shown["displayName"], "Langfuse Import Errors", "{answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_extracted_title_is_within_the_limits() {
    for (limits, most) in [
        ("max_words = 2", 2),
        ("max_words = 3", 3),
        ("max_words = 4", 4),
        ("max_words = 6", 6),
        ("max_characters = 12", 10),
    ] {
        let model = ModelServer::start().await;
        let policy = format!("fallback = \"extract\"\n{limits}");
        let (server, _folder) = with_policy(&model, &policy).await;
        model.title(Answer::Text(REFUSAL));
        model.title(Answer::Text(REFUSAL));
        let id = settled(&server.url, MESSAGE).await;
        let shown = server.title(&id).await;
        let title = shown["displayName"].as_str().unwrap_or_default();
        let words = title.split(' ').count();
        assert!(!title.is_empty() && words <= most, "{limits}: {shown}");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_second_try_names_the_limit_that_was_broken() {
    let model = ModelServer::start().await;
    let (server, _folder) = with_policy(&model, "max_words = 2").await;
    model.title(Answer::Text("LangFuse trace inspection"));
    model.title(Answer::Text("Langfuse Traces"));
    let id = settled(&server.url, MESSAGE).await;
    assert_eq!(server.title(&id).await["displayName"], "Langfuse Traces");
    let requests = model.title_requests();
    let told = "Your last answer was too long: at most 2 words and 60 characters.";
    assert!(!text(&requests[0], 0).contains(told));
    assert!(
        text(&requests[1], 0).ends_with(told),
        "{}",
        text(&requests[1], 0)
    );
    server.stop().await;
}

#[tokio::test]
async fn a_provider_that_asks_for_a_wait_is_not_called_within_it() {
    for (asked, waits) in [("1800", 30), ("90000", 60)] {
        let model = ModelServer::start().await;
        let server = Server::start(&model).await;
        let mut calls = 0;
        for _ in 0..4 {
            let limited = json!({ "error": { "message": "Slow down", "type": "requests" } });
            let answer = Answer::Status(429, vec![("retry-after", asked)], limited);
            model.title(answer);
            let id = settled(&server.url, "Plan a trip to Kyoto").await;
            let shown = server.title(&id).await;
            let at = shown["titleError"]["retryAt"].as_str().unwrap();
            let after = at.parse::<DateTime<Utc>>().unwrap() - Utc::now();
            assert!(
                after > TimeDelta::minutes(waits - 1) && after <= TimeDelta::minutes(waits),
                "{asked}: {shown}"
            );
            calls = model.title_requests().len();
        }
        // The third in a row opened the breaker, for as long.
        assert_eq!(calls, 3);
        server.stop().await;
    }
}
