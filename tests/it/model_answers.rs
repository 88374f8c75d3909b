//! A chat model that answers strangely: refuses, says nothing, too much, or too slowly.

use std::time::Duration;

use serde_json::json;
use titlecast_testing::{
    Answer, ModelServer, Rows, Scene, Server, Step, TestDatabase, assert_common_stream, calls,
    eventually,
    proxy::{Cut, Proxy, Way},
    sse::text,
    titles::{decided, send},
};
use tokio::time::{Instant, interval};

use crate::reply_faults::{End, ends, stream};

/// The longest reply that is stored.
const LONGEST: usize = 512 * 1024;

#[tokio::test]
async fn a_refusal_is_what_the_model_has_to_say() {
    let refusal = "I'm sorry, but I can't help with that.";
    let (answer, _steps) = stream([Step::Refusal(refusal.into()), Step::Finish]);
    ends([answer], &[], End::completed(refusal), 1).await;
}

#[tokio::test]
async fn a_token_limit_before_any_text_is_incomplete_and_not_asked_again() {
    let (answer, _steps) = stream([Step::FinishFor("length")]);
    ends([answer], &[], End::incomplete(""), 1).await;
}

#[tokio::test]
async fn of_ten_megabytes_half_a_megabyte_is_stored_and_the_rest_is_not_read() {
    let piece: &str = "Kyoto or Nara? ..".repeat(4096).leak();
    let pieces = 10 * 1024 * 1024 / piece.len();
    let all = piece.repeat(LONGEST / piece.len() + 1);
    let end = End::incomplete(&all[..LONGEST]);
    let answer = Answer::Deltas(vec![piece; pieces]);
    ends([answer], &[], end, 1).await;
}

#[tokio::test]
async fn ten_megabytes_in_one_piece_are_no_answer() {
    let all: &str = "Kyoto or Nara? ..".repeat(10 * 1024 * 1024 / 17).leak();
    let answers = [(); 3].map(|()| Answer::Deltas(vec![all]));
    ends(answers, &[], End::failed("MODEL_UNAVAILABLE"), 3).await;
}

#[tokio::test]
async fn a_drip_of_tokens_is_read_to_its_end() {
    let (answer, steps) = stream([]);
    let scene = Scene::replies_with([answer], &["--reply-idle", "1s"]).await;
    let drip = async {
        let mut ticks = interval(Duration::from_millis(200));
        for _ in 0..8 {
            ticks.tick().await;
            steps.send(Step::delta("drip ")).unwrap();
        }
        steps.send(Step::Finish).unwrap();
    };
    let began = Instant::now();
    let turn = scene.turn(json!({ "message": Scene::MESSAGE }));
    let (events, ()) = tokio::join!(turn, drip);
    assert!(began.elapsed() > Duration::from_secs(1));
    let all = "drip ".repeat(8);
    End::completed(&all).assert(&scene, &events).await;
    scene.server.stop().await;
}

#[tokio::test]
async fn a_drip_without_an_end_ends_with_the_deadline() {
    let (answer, steps) = stream([]);
    let scene = Scene::replies_with([answer], &["--reply-deadline", "1s"]).await;
    let drip = async {
        let mut ticks = interval(Duration::from_millis(50));
        // The connection is closed, otherwise this would never end.
        while steps.send(Step::delta(".")).is_ok() {
            ticks.tick().await;
        }
    };
    let turn = scene.turn(json!({ "message": Scene::MESSAGE }));
    let (events, ()) = tokio::join!(turn, drip);
    let terminal = assert_common_stream(&events);
    let text = terminal["response_text"].as_str().unwrap();
    assert!(text.len() > 1, "{terminal}");
    End::incomplete(text).assert(&scene, &events).await;
    assert_eq!(scene.reply_calls(), 1);
    scene.server.stop().await;
}

#[tokio::test]
async fn an_event_whose_bytes_drip_is_silence() {
    let model = ModelServer::start().await;
    let proxy = Proxy::to_url(&model.url).await;
    // An event has hundreds of bytes.
    proxy.drip(1);
    let url = format!("http://{}/v1", proxy.address);
    let settings = ["--openai-base-url", &url, "--reply-idle", "300ms"];
    let server = Server::on(TestDatabase::new().await, &settings).await;
    let body = json!({ "message": Scene::MESSAGE, "context": { "auto_title": false } });
    let events = server.stream(body).await.rest().await;
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["payload"]["code"], "MODEL_UNAVAILABLE");
    proxy.flow();
    let body = json!({ "message": Scene::MESSAGE, "context": { "auto_title": false } });
    let events = server.stream(body).await.rest().await;
    assert_eq!(
        assert_common_stream(&events)["raw_type"],
        "response.completed"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_connection_to_the_model_that_is_cut_or_stalls_keeps_what_was_written() {
    for fault in [Some(Cut::Rst), Some(Cut::Fin), None] {
        let model = ModelServer::start().await;
        let steps = model.live_reply();
        let proxy = Proxy::to_url(&model.url).await;
        let url = format!("http://{}/v1", proxy.address);
        let settings = ["--openai-base-url", &url, "--reply-idle", "500ms"];
        let server = Server::on(TestDatabase::new().await, &settings).await;
        let rows = Rows::of(&server.database).await;
        let body = json!({ "message": Scene::MESSAGE, "context": { "auto_title": false } });
        let mut stream = server.stream(body).await;
        steps.send(Step::delta("Half a thought")).unwrap();
        let mut events = Vec::new();
        while text(&events) != "Half a thought" {
            events.push(stream.next().await.unwrap());
        }
        match fault {
            Some(how) => proxy.cut(how),
            None => proxy.stall(&[Way::Back]),
        }
        events.extend(stream.rest().await);
        let terminal = assert_common_stream(&events);
        assert_eq!(
            terminal["payload"]["code"], "MODEL_UNAVAILABLE",
            "{fault:?}"
        );
        let id = terminal["conversation_id"].as_str().unwrap();
        let state = ("failed".into(), Some("MODEL_UNAVAILABLE".into()));
        assert_eq!(rows.last_turn(id).await, state);
        assert_eq!(rows.uncounted(id).await[0].2, "Half a thought");
        assert_eq!(model.reply_requests().len(), 1);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_title_whose_connection_freezes_is_given_up_at_its_deadline() {
    let model = ModelServer::start().await;
    let _gate = model.held_title(Answer::Title(ModelServer::TITLE.into()));
    let proxy = Proxy::to_url(&model.url).await;
    let url = format!("http://{}/v1", proxy.address);
    let settings = ["--openai-base-url", &url, "--title-deadline", "1s"];
    let server = Server::on(TestDatabase::new().await, &settings).await;
    let id = send(&server.url, json!({ "text": Scene::MESSAGE })).await;
    eventually(async || (model.title_requests().len() == 1).then_some(())).await;
    // The reply must not freeze as well: the server would wait for it at the end.
    calls::conversation_when(&server.url, &id, |shown| shown["messageCount"] == 2).await;
    assert!(proxy.freeze() > 0);
    let failed = decided(&server.url, &id).await;
    assert_eq!(
        (&failed["titleStatus"], &failed["displayName"]),
        (&json!("FAILED"), &json!(null))
    );
    // Nothing waits for that connection now.
    server.stop().await;
}
