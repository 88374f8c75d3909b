//! A chat model that fails in every possible way: the message is kept, the stream ends with the outcome, the written
//! text is stored, the model is called exactly as often as intended, and the title is still made.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use titlecast_testing::{
    Answer, ModelServer, Rows, Scene, Server, Step, TestDatabase, assert_common_stream,
    sse::{text, titles},
    within,
};
use tokio::sync::mpsc::UnboundedSender;

/// How a reply must end.
pub struct End<'a> {
    /// The code of the error event; none: the reply is no failure.
    code: Option<&'a str>,
    raw_type: &'a str,
    text: &'a str,
    /// How the turn is stored.
    turn: &'a str,
}

impl<'a> End<'a> {
    /// Nothing was written.
    pub fn failed(code: &'a str) -> Self {
        Self {
            code: Some(code),
            raw_type: "response.failed",
            text: "",
            turn: "failed",
        }
    }

    /// This much was written when it broke.
    pub fn broken(text: &'a str) -> Self {
        Self {
            code: Some("MODEL_UNAVAILABLE"),
            raw_type: "response.failed",
            text,
            turn: "failed",
        }
    }

    /// This much was written when a limit was reached.
    pub fn incomplete(text: &'a str) -> Self {
        Self {
            code: None,
            raw_type: "response.incomplete",
            text,
            turn: "incomplete",
        }
    }

    pub fn completed(text: &'a str) -> Self {
        Self {
            code: None,
            raw_type: "response.completed",
            text,
            turn: "completed",
        }
    }

    /// Stream, rows and the subscription report this end, and the title is stored.
    pub async fn assert(&self, scene: &Scene, events: &[Value]) -> String {
        let terminal = assert_common_stream(events);
        assert_eq!(terminal["raw_type"], self.raw_type, "{terminal}");
        assert_eq!(
            terminal["kind"] == "error",
            self.code.is_some(),
            "{terminal}"
        );
        assert_eq!(
            terminal["payload"]["code"].as_str(),
            self.code,
            "{terminal}"
        );
        assert_eq!(terminal["response_text"], self.text, "{terminal}");
        assert_eq!(titles(events), [ModelServer::TITLE]);
        let id = terminal["conversation_id"].as_str().unwrap();

        let mut messages = vec![("user".into(), "complete".into(), Scene::MESSAGE.into())];
        let status = match self.turn {
            "completed" => "complete",
            other => other,
        };
        let reply = ("assistant".into(), status.into(), self.text.into());
        let mut uncounted = Vec::new();
        match self.text.is_empty() || self.turn == "failed" {
            true => uncounted.push(reply),
            false => messages.push(reply),
        }
        assert_eq!(scene.rows.messages(id).await, messages);
        assert_eq!(scene.rows.uncounted(id).await, uncounted);
        let code = self.code.map(str::to_owned);
        assert_eq!(scene.rows.last_turn(id).await, (self.turn.into(), code));
        scene.assert_ready(id).await;
        self.assert_followed(scene, id).await;
        id.to_owned()
    }

    /// A later reader of the reply receives the same.
    async fn assert_followed(&self, scene: &Scene, id: &str) {
        const REPLY: &str = "subscription ($id: ID!) { reply(conversationId: $id) {
            ... on ReplySoFar { soFar: text }
            ... on ReplyEnded { outcome text error { code } }
        } }";
        let mut socket = scene.server.socket().await;
        let reply = socket.subscribe(REPLY, json!({ "id": id })).await;
        let so_far = socket.next(&reply).await.unwrap();
        assert_eq!(so_far["data"]["reply"], json!({ "soFar": self.text }));
        let ended = socket.next(&reply).await.unwrap();
        let outcome = match self.raw_type {
            "response.failed" => "FAILED",
            "response.incomplete" => "INCOMPLETE",
            _ => "COMPLETED",
        };
        let error = self.code.map(|code| json!({ "code": code }));
        let expected = json!({ "outcome": outcome, "text": self.text, "error": error });
        assert_eq!(ended["data"]["reply"], expected);
        assert_eq!(socket.next(&reply).await, None);
    }
}

/// A first message whose reply meets these answers.
pub async fn ends(
    answers: impl IntoIterator<Item = Answer>,
    settings: &[&str],
    end: End<'_>,
    calls: usize,
) {
    let scene = Scene::replies_with(answers, settings).await;
    let events = scene.turn(json!({ "message": Scene::MESSAGE })).await;
    let id = end.assert(&scene, &events).await;
    assert_eq!(scene.reply_calls(), calls);
    assert_eq!(scene.title_calls(), 1);

    // The conversation continues normally.
    let again = json!({ "message": "Are you there?", "conversation_id": id });
    let events = scene.turn(again).await;
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["raw_type"], "response.completed", "{terminal}");
    assert_eq!(scene.reply_calls(), calls + 1);
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

/// A stream of these steps, which continues as long as its sender is kept.
pub fn stream(steps: impl IntoIterator<Item = Step>) -> (Answer, UnboundedSender<Step>) {
    let (answer, sender) = Answer::live();
    for step in steps {
        sender.send(step).unwrap();
    }
    (answer, sender)
}

#[tokio::test]
async fn what_an_operator_has_to_mend_is_tried_once_and_called_misconfigured() {
    let table = [
        (401, "invalid_request_error", "invalid_api_key"),
        (403, "request_forbidden", "forbidden"),
        (404, "invalid_request_error", "model_not_found"),
        (400, "invalid_request_error", "invalid_value"),
        (429, "insufficient_quota", "insufficient_quota"),
    ];
    for (status, kind, code) in table {
        let answer = Answer::error(status, kind, Some(code), "It will not be better next time");
        ends([answer], &[], End::failed("MODEL_MISCONFIGURED"), 1).await;
    }
}

#[tokio::test]
async fn a_rate_limit_is_waited_out() {
    let started = Instant::now();
    let answer = rate_limited(vec![("retry-after", "1")]);
    let end = ModelServer::REPLY.concat();
    ends([answer], &[], End::completed(&end), 2).await;
    // Without the header it would have been asked again twice as soon.
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_rate_limit_that_stays_is_called_one() {
    let answers = [vec![], vec![], vec![]].map(rate_limited);
    ends(answers, &[], End::failed("MODEL_RATE_LIMITED"), 3).await;
}

#[tokio::test]
async fn three_server_errors_are_the_end() {
    let answers = [unavailable(), unavailable(), unavailable()];
    ends(answers, &[], End::failed("MODEL_UNAVAILABLE"), 3).await;
}

#[tokio::test]
async fn a_connection_that_breaks_before_any_text_is_made_again() {
    // Once before the head of the answer, once behind it.
    let (behind, sender) = Answer::live();
    drop(sender);
    let end = ModelServer::REPLY.concat();
    ends([Answer::Cut, behind], &[], End::completed(&end), 3).await;
}

/// A reply that ends in this way after half a thought has been read.
async fn ends_in_the_middle(step: Step, end: End<'_>) {
    let (answer, steps) = stream([Step::Delta("Half a thought".into())]);
    let scene = Scene::replies([answer]).await;
    let body = json!({ "message": Scene::MESSAGE });
    let mut stream = scene.server.stream(body).await;
    let mut events = Vec::new();
    while text(&events) != "Half a thought" {
        events.push(stream.next().await.unwrap());
    }
    steps.send(step).unwrap();
    drop(steps);
    events.extend(stream.rest().await);
    end.assert(&scene, &events).await;
    assert_eq!(scene.reply_calls(), 1);
    scene.server.stop().await;
}

#[tokio::test]
async fn a_connection_that_breaks_in_the_middle_is_not_made_again() {
    ends_in_the_middle(Step::Cut, End::broken("Half a thought")).await;
}

#[tokio::test]
async fn an_end_without_a_reason_is_no_success() {
    ends_in_the_middle(Step::End, End::broken("Half a thought")).await;
}

#[tokio::test]
async fn silence_before_any_event_is_not_asked_about_again() {
    // The request runs at the provider, and is paid for.
    let first = ["--reply-first-event", "300ms"];
    let failed = End::failed("MODEL_UNAVAILABLE");
    ends([Answer::Silence], &first, failed, 1).await;
}

#[tokio::test]
async fn a_model_may_reason_in_silence_for_longer_than_between_two_events() {
    let (answer, open) = Answer::held(Answer::Deltas(ModelServer::REPLY.to_vec()));
    let scene = Scene::replies_with([answer], &["--reply-idle", "300ms"]).await;
    let mut stream = scene
        .server
        .stream(json!({ "message": Scene::MESSAGE }))
        .await;
    let first = stream.next().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(open);
    let events = [vec![first], stream.rest().await].concat();
    let all = ModelServer::REPLY.concat();
    End::completed(&all).assert(&scene, &events).await;
    assert_eq!(scene.reply_calls(), 1);
    scene.server.stop().await;
}

#[tokio::test]
async fn silence_in_the_middle_keeps_what_was_written() {
    let idle = ["--reply-idle", "300ms"];
    let (answer, _open) = stream([Step::Delta("Half a thought".into())]);
    ends([answer], &idle, End::broken("Half a thought"), 1).await;
}

#[tokio::test]
async fn a_reply_without_anything_is_asked_for_again_and_then_incomplete() {
    let nothing = || Answer::Deltas(vec![]);
    ends([nothing(), nothing()], &[], End::incomplete(""), 2).await;
}

#[tokio::test]
async fn a_model_that_answers_nothing_once_is_no_failure() {
    let all = ModelServer::REPLY.concat();
    ends([Answer::Deltas(vec![])], &[], End::completed(&all), 2).await;
}

#[tokio::test]
async fn a_reply_that_runs_into_its_token_limit_is_incomplete() {
    // Whole, which is what servers that cannot stream answer.
    let answer = Answer::Finished("Half a thought", "length");
    ends([answer], &[], End::incomplete("Half a thought"), 1).await;
}

#[tokio::test]
async fn a_filtered_reply_is_incomplete() {
    let answer = Answer::Finished("Half a thought", "content_filter");
    ends([answer], &[], End::incomplete("Half a thought"), 1).await;
}

#[tokio::test]
async fn a_reply_that_takes_too_long_is_incomplete() {
    let deadline = ["--reply-deadline", "300ms"];
    let (answer, _open) = stream([Step::Delta("Half a thought".into())]);
    let scene = Scene::replies_with([answer], &deadline).await;
    let events = scene.turn(json!({ "message": Scene::MESSAGE })).await;
    let end = End::incomplete("Half a thought");
    end.assert(&scene, &events).await;
    assert_eq!(scene.reply_calls(), 1);
    scene.server.stop().await;
}

#[tokio::test]
async fn a_reply_that_never_begins_ends_with_its_deadline() {
    let deadline = ["--reply-deadline", "300ms"];
    let scene = Scene::replies_with([Answer::Silence], &deadline).await;
    let events = scene.turn(json!({ "message": Scene::MESSAGE })).await;
    End::incomplete("").assert(&scene, &events).await;
    assert_eq!(scene.reply_calls(), 1);
    scene.server.stop().await;
}

#[tokio::test]
async fn a_web_page_in_place_of_a_reply_is_none() {
    let page = "<!doctype html><html><body>Sign in</body></html>";
    ends(
        [Answer::Page(page)],
        &[],
        End::failed("MODEL_UNAVAILABLE"),
        1,
    )
    .await;
}

#[tokio::test]
async fn an_unreachable_model_fails_the_reply_and_the_title_and_keeps_the_message() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let server = Server::on(TestDatabase::new().await, &["--openai-base-url", &url]).await;
    let rows = Rows::of(&server.database).await;
    let mut stream = server.stream(json!({ "message": Scene::MESSAGE })).await;
    let events = stream.rest().await;
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["payload"]["code"], "MODEL_UNAVAILABLE");
    let id = terminal["conversation_id"].as_str().unwrap();
    let title = rows.decided_title(id).await;
    assert_eq!(title.title_status, "failed");
    assert_eq!(title.title_failure.as_deref(), Some("unavailable"));
    assert_eq!(rows.messages(id).await.len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn an_error_tells_neither_the_key_nor_the_provider_s_words() {
    let message = "Incorrect API key provided: sk-test-key. Plan a trip to Kyoto";
    let answer = Answer::error(401, "invalid_request_error", Some("sk-test-key"), message);
    let scene = Scene::replies([answer]).await;
    let events = scene.turn(json!({ "message": Scene::MESSAGE })).await;
    let terminal = assert_common_stream(&events);
    let expected = json!({
        "code": "MODEL_MISCONFIGURED",
        "error": "the model is misconfigured; the operator must check the model's URL, name and key",
    });
    assert_eq!(terminal["payload"], expected);
    assert!(!events.iter().any(|event| event.to_string().contains("sk-")));
    scene.server.stop().await;
}

#[tokio::test]
async fn a_conversation_deleted_in_the_middle_of_its_reply_stays_deleted() {
    let model = ModelServer::start().await;
    let (answer, steps) = Answer::live();
    let (title, gate) = Answer::held(Answer::Text(r#"{"title":"Too Late"}"#));
    model.reply(answer).title(title);
    let mut server = Server::start(&model).await;
    let rows = Rows::of(&server.database).await;
    steps.send(Step::Delta("Half a thought".into())).unwrap();
    let mut stream = server.stream(json!({ "message": Scene::MESSAGE })).await;
    let mut events = Vec::new();
    while text(&events) != "Half a thought" {
        events.push(stream.next().await.unwrap());
    }
    let id = events[0]["conversation_id"].as_str().unwrap().to_owned();

    let path = format!("/api/v1/conversations/{id}");
    let (status, _) = server.send("DELETE", &path, json!({})).await;
    assert_eq!(status, 204);
    events.extend(stream.rest().await);
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["raw_type"], "response.incomplete", "{terminal}");
    assert_eq!(titles(&events), [""; 0]);
    // The closed connection signals the model that its client is gone.
    within(steps.closed()).await;

    gate.send(()).unwrap();
    server.end().await;
    assert_eq!(rows.messages(&id).await, []);
    let title = rows.title(&id).await;
    assert_eq!(title.display_name, None);
    assert_eq!(title.title_generated_at, None);
    assert_eq!(title.topic_hint, None);
}
