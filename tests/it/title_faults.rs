//! A title model that fails in every possible way: the reply is not affected, the row stores the failure, GraphQL shows
//! it, and the model is called exactly as often as intended.

use std::time::{Duration, Instant};

use serde_json::json;
use titlecast_testing::{Answer, Scene, titles::decided};

/// A refusal for good: one call, and none for the conversation after it. Both are tried again.
async fn refused_for_good(answer: Answer, reason: &str) {
    let scene = Scene::titles([answer]).await;
    for _ in 0..2 {
        let events = scene.turn(json!({ "message": Scene::MESSAGE })).await;
        let id = events[0]["conversation_id"].as_str().unwrap();
        let shown = decided(&scene.server.url, id).await;
        assert_eq!(shown["titleStatus"], "FAILED", "{shown}");
        let code = shown["titleError"]["code"].as_str().unwrap();
        assert_eq!(code.to_lowercase(), reason, "{shown}");
        assert!(shown["titleError"]["retryAt"].is_string(), "{shown}");
        assert_eq!(scene.title_calls(), 1, "the breaker is open");
    }
    let (_, health) = scene.server.get("/readyz").await;
    assert_eq!(health["title_model"], reason, "{health}");
    scene.server.stop().await;
}

/// Answers that are no title, whatever is tried.
async fn fails(answers: impl IntoIterator<Item = Answer>, reason: &str, calls: usize) {
    let scene = Scene::titles(answers).await;
    let id = scene.unharmed().await;
    scene.assert_failed(&id, reason).await;
    assert_eq!(scene.title_calls(), calls);
    scene.server.stop().await;
}

/// Answers of which the last is asked for because of those before it.
async fn recovers(answers: impl IntoIterator<Item = Answer>, calls: usize) {
    let scene = Scene::titles(answers).await;
    let id = scene.unharmed().await;
    scene.assert_ready(&id).await;
    assert_eq!(scene.title_calls(), calls);
    scene.server.stop().await;
}

fn unavailable() -> Answer {
    Answer::error(500, "server_error", None, "The server had an error")
}

fn rate_limited(headers: Vec<(&'static str, &'static str)>) -> Answer {
    let error = json!({
        "message": "Rate limit reached for gpt-6-luna",
        "type": "requests", "param": null, "code": "rate_limit_exceeded"
    });
    Answer::Status(429, headers, json!({ "error": error }))
}

#[tokio::test]
async fn a_refused_key_is_tried_once_and_not_for_the_next_conversation() {
    let code = Some("invalid_api_key");
    let answer = Answer::error(401, "invalid_request_error", code, "Incorrect API key");
    refused_for_good(answer, "unauthorized").await;
}

#[tokio::test]
async fn a_forbidden_call_is_tried_once_and_not_for_the_next_conversation() {
    let code = Some("unsupported_country_region_territory");
    let answer = Answer::error(403, "request_forbidden", code, "Country not supported");
    refused_for_good(answer, "unauthorized").await;
}

#[tokio::test]
async fn an_unknown_model_is_tried_once_and_not_for_the_next_conversation() {
    let code = Some("model_not_found");
    let answer = Answer::error(404, "invalid_request_error", code, "No such model");
    refused_for_good(answer, "model_not_found").await;
}

#[tokio::test]
async fn a_used_up_quota_is_tried_once_and_not_for_the_next_conversation() {
    let code = Some("insufficient_quota");
    let answer = Answer::error(429, "insufficient_quota", code, "You exceeded your quota");
    refused_for_good(answer, "quota_exceeded").await;
}

#[tokio::test]
async fn a_rate_limit_is_waited_out() {
    let scene = Scene::titles([rate_limited(vec![("retry-after", "1")])]).await;
    let started = Instant::now();
    let id = scene.unharmed().await;
    scene.assert_ready(&id).await;
    // Without the header it would have been asked again five times as soon.
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(scene.title_calls(), 2);
    scene.server.stop().await;
}

#[tokio::test]
async fn a_rate_limit_that_outlasts_the_deadline_is_not_waited_out() {
    let scene = Scene::titles([rate_limited(vec![("retry-after", "60")])]).await;
    let started = Instant::now();
    let id = scene.unharmed().await;
    scene.assert_failed(&id, "rate_limited").await;
    assert!(started.elapsed() < Duration::from_secs(10), "the deadline");
    assert_eq!(scene.title_calls(), 1);
    scene.server.stop().await;
}

#[tokio::test]
async fn a_rate_limit_that_outlasts_what_is_left_of_the_deadline_is_not_waited_out() {
    // Shorter than the deadline, but the call that received this answer used some of it already.
    let answer = rate_limited(vec![("retry-after-ms", "999.9")]);
    let scene = Scene::titles_with([answer], &["--title-deadline", "1s"]).await;
    let id = scene.unharmed().await;
    scene.assert_failed(&id, "rate_limited").await;
    assert_eq!(scene.title_calls(), 1);
    scene.server.stop().await;
}

#[tokio::test]
async fn a_rate_limit_that_stays_is_asked_about_twice() {
    let answers = [rate_limited(vec![]), rate_limited(vec![])];
    fails(answers, "rate_limited", 2).await;
}

#[tokio::test]
async fn a_rate_limit_does_not_keep_the_next_conversation_from_its_title() {
    let scene = Scene::titles([rate_limited(vec![]), rate_limited(vec![])]).await;
    let first = scene.unharmed().await;
    scene.assert_failed(&first, "rate_limited").await;
    let second = scene.unharmed().await;
    scene.assert_ready(&second).await;
    // The answer makes the first one due again, which may have been called for by now.
    assert!((3..=4).contains(&scene.title_calls()));
    scene.server.stop().await;
}

#[tokio::test]
async fn one_server_error_is_forgiven() {
    recovers([unavailable()], 2).await;
}

#[tokio::test]
async fn two_server_errors_are_not() {
    fails([unavailable(), unavailable()], "unavailable", 2).await;
}

#[tokio::test]
async fn a_request_that_the_server_gave_up_on_is_repeated() {
    recovers([Answer::error(408, "timeout", None, "Timed out")], 2).await;
}

#[tokio::test]
async fn one_broken_connection_is_forgiven() {
    recovers([Answer::Cut], 2).await;
}

#[tokio::test]
async fn two_broken_connections_are_not() {
    // The first before its head, the second in the middle of the body.
    let (in_the_middle, steps) = Answer::live();
    drop(steps);
    fails([Answer::Cut, in_the_middle], "unavailable", 2).await;
}

#[tokio::test]
async fn silence_lasts_as_long_as_the_deadline() {
    let settings = ["--title-deadline", "300ms"];
    let scene = Scene::titles_with([Answer::Silence], &settings).await;
    let id = scene.unharmed().await;
    scene.assert_failed(&id, "timeout").await;
    assert_eq!(scene.title_calls(), 1);
    scene.server.stop().await;
}

#[tokio::test]
async fn an_answer_of_reasoning_alone_is_tried_again_with_twice_the_room() {
    let scene = Scene::titles([Answer::Finished("", "length")]).await;
    let id = scene.unharmed().await;
    scene.assert_ready(&id).await;
    let requests = scene.model.title_requests();
    let caps: Vec<_> = requests
        .iter()
        .map(|request| request["max_completion_tokens"].as_u64().unwrap())
        .collect();
    assert_eq!(caps, [512, 1024]);
    scene.server.stop().await;
}

#[tokio::test]
async fn the_same_reported_as_an_error_is_retried_with_twice_the_room() {
    let message = "Could not finish the message because max_tokens or model output limit was \
        reached. Please try again with higher max_tokens.";
    let answer = Answer::error(400, "invalid_request_error", None, message);
    let scene = Scene::titles([answer]).await;
    let id = scene.unharmed().await;
    scene.assert_ready(&id).await;
    let requests = scene.model.title_requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[1]["max_completion_tokens"], 1024);
    scene.server.stop().await;
}

#[tokio::test]
async fn half_a_title_is_none() {
    // Only the finish reason shows that the text is truncated.
    let answers = [
        Answer::Finished("", "length"),
        Answer::Finished("Planning a Trip", "length"),
    ];
    fails(answers, "truncated", 2).await;
}

#[tokio::test]
async fn a_rejected_answer_is_asked_for_again() {
    recovers([Answer::Text("I'm sorry, but I can't help with that.")], 2).await;
}

#[tokio::test]
async fn two_rejected_answers_are_the_end() {
    let answers = [
        Answer::Text("I'm sorry, but I can't help with that."),
        Answer::Text(r#"{"title":"New conversation"}"#),
    ];
    fails(answers, "rejected", 2).await;
}

#[tokio::test]
async fn a_filtered_answer_is_rejected_whatever_it_holds() {
    let answers = [
        Answer::Finished("", "content_filter"),
        Answer::Finished(r#"{"title":"Planning a Trip"}"#, "content_filter"),
    ];
    fails(answers, "rejected", 2).await;
}

#[tokio::test]
async fn a_wrong_request_is_repeated_once_without_any_parameter() {
    for status in [400, 418, 422, 500, 501] {
        let answer = || Answer::error(status, "invalid_request_error", None, "Something is wrong");
        let scene = Scene::titles([answer()]).await;
        let id = scene.unharmed().await;
        scene.assert_ready(&id).await;
        let [_, plain] = scene.model.title_requests().try_into().unwrap();
        let plain = plain.as_object().unwrap();
        let keys: Vec<&str> = plain.keys().map(String::as_str).collect();
        assert_eq!(keys, ["messages", "model", "stream"], "{status}");
        scene.server.stop().await;
        let reason = match status {
            400..500 => "invalid_request",
            _ => "unavailable",
        };
        fails([answer(), answer()], reason, 2).await;
    }
}

#[tokio::test]
async fn a_wrong_request_does_not_keep_the_next_conversation_from_its_title() {
    let answer = || Answer::error(400, "invalid_request_error", None, "Something is wrong");
    let scene = Scene::titles([answer(), answer()]).await;
    let first = scene.unharmed().await;
    scene.assert_failed(&first, "invalid_request").await;
    let second = scene.unharmed().await;
    scene.assert_ready(&second).await;
    assert_eq!(scene.title_calls(), 3);
    scene.server.stop().await;
}

#[tokio::test]
async fn a_web_page_in_place_of_an_answer_is_no_title() {
    let page = "<!doctype html><html><title>Sign in</title><body>Sign in</body></html>";
    fails([Answer::Page(page)], "rejected", 1).await;
}

#[tokio::test]
async fn ten_megabytes_in_place_of_an_answer_are_no_title() {
    let text = "Planning a Trip ".repeat(10 * 1024 * 1024 / 16).leak();
    fails([Answer::Text(text)], "rejected", 1).await;
}

#[tokio::test]
async fn a_failure_shows_no_title_on_the_legacy_routes_either() {
    let scene = Scene::titles([unavailable(), unavailable()]).await;
    let id = scene.unharmed().await;
    scene.assert_failed(&id, "unavailable").await;
    let (status, list) = scene.server.get("/api/v1/conversations").await;
    assert_eq!(status, 200);
    assert_eq!(list["items"][0]["conversation_id"], id);
    assert_eq!(list["items"][0]["display_name"], json!(null));
    assert_eq!(list["items"][0]["title_generated_at"], json!(null));
    assert_eq!(list["items"][0]["topic_hint"], Scene::MESSAGE);
    scene.server.stop().await;
}

#[tokio::test]
async fn a_person_can_still_name_a_conversation_that_got_no_title() {
    let scene = Scene::titles([unavailable(), unavailable()]).await;
    let id = scene.unharmed().await;
    let path = format!("/api/v1/conversations/{id}/title");
    let body = json!({ "display_name": "Kyoto" });
    assert_eq!(scene.server.send("PATCH", &path, body).await.0, 200);
    let stored = scene.rows.title(&id).await;
    assert_eq!(stored.display_name.as_deref(), Some("Kyoto"));
    assert_eq!(stored.title_source, "manual");
    assert_eq!(stored.title_status, "ready");
    assert_eq!(stored.title_failure, None);
    assert_eq!(stored.title_generated_at, None);
    scene.server.stop().await;
}
