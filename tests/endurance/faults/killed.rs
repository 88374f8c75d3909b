//! The server dies between two durable steps of a turn. A retry finds the same turn, the stored text is kept, the reply
//! has an end, and the model is not called again if it may have answered.

use serde_json::json;
use titlecast_testing::{
    Answer, Events, ModelServer, Node, Rows, Step, TestDatabase, assert_common_stream, eventually,
    legacy::post, server::client, sse::text,
};

use super::turns::{HalfWritten, MESSAGE};

/// Short leases, so that other nodes take over soon.
const SETTINGS: [&str; 6] = [
    "--reply-lease",
    "2s",
    "--title-deadline",
    "1s",
    "--title-sweep",
    "200ms",
];

/// The rows after a server died.
struct Left {
    /// Messages that were stored.
    messages: i64,
    /// How the turn stands.
    turn: Option<&'static str>,
    reply_calls: usize,
}

/// What the retry receives, and what the rows store in the end.
struct Then {
    raw_type: &'static str,
    text: String,
    reply_calls: usize,
}

impl Then {
    fn completed() -> Self {
        Self {
            raw_type: "response.completed",
            text: ModelServer::REPLY.concat(),
            reply_calls: 1,
        }
    }
}

/// A server dies at this step of the first turn, and another one comes.
async fn dies_at(step: &str, left: Left, then: Then) {
    let database = TestDatabase::new().await;
    let rows = Rows::of(&database).await;
    let model = ModelServer::start().await;
    let command = Node::command(&database.url, &model.url, &SETTINGS);
    let node = Node::of(command.env("FAILPOINTS", &format!("{step}=return"))).await;
    let request = |url: &str| {
        let request = post(url, "/api/v1/chat/stream", json!({ "message": MESSAGE }));
        request.header("idempotency-key", "key-1")
    };
    // Whatever it received.
    if let Ok(response) = request(&node.url).send().await {
        let _ = response.bytes().await;
    }
    let ended = node.process.ended().await;
    assert_eq!(ended.code, None, "killed: {}", ended.stderr);

    let [conversations, messages, turns] = database.row_counts().await;
    assert_eq!(messages, left.messages);
    let has_turn = i64::from(left.turn.is_some());
    assert_eq!([conversations, turns], [has_turn, has_turn]);
    if let Some(expected) = left.turn {
        let stored = rows.all("SELECT reply_status FROM agent_turns", []).await;
        assert_eq!(
            stored[0].try_get::<String>("", "reply_status").unwrap(),
            expected
        );
    }
    assert_eq!(model.reply_requests().len(), left.reply_calls);

    let node = Node::start(&database.url, &model.url, &SETTINGS).await;
    let events = Events::of(request(&node.url)).await.rest().await;
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["raw_type"], then.raw_type, "{terminal}");
    assert_eq!(terminal["response_text"], then.text, "{terminal}");
    let id = terminal["conversation_id"].as_str().unwrap();
    let title = rows.decided_title(id).await;
    assert_eq!(title.display_name.as_deref(), Some(ModelServer::TITLE));
    assert_eq!(model.reply_requests().len(), then.reply_calls);
    let state = then.raw_type.strip_prefix("response.").unwrap();
    assert_eq!(rows.last_turn(id).await, (state.into(), None));
    let messages = rows.messages(id).await;
    assert_eq!(messages[0].2, MESSAGE);
    let replies: Vec<_> = messages[1..].iter().map(|message| &message.2).collect();
    match then.text.as_str() {
        "" => assert_eq!(replies, [""; 0]),
        text => assert_eq!(replies, [text]),
    }
    // The end reaches every subscriber, present or future: no revision stays unpublished.
    rows.published(id).await;
    node.stop().await;
}

#[tokio::test]
async fn before_a_message_is_stored_nothing_is_and_the_retry_sends_it() {
    let left = Left {
        messages: 0,
        turn: None,
        reply_calls: 0,
    };
    dies_at("turns.begin", left, Then::completed()).await;
}

#[tokio::test]
async fn behind_the_message_the_retry_finds_it_and_its_reply_is_over() {
    let left = Left {
        messages: 1,
        turn: Some("running"),
        reply_calls: 0,
    };
    let then = Then {
        raw_type: "response.incomplete",
        text: String::new(),
        reply_calls: 0,
    };
    dies_at("turns.begun", left, then).await;
}

#[tokio::test]
async fn before_the_end_is_stored_the_reply_is_incomplete_and_not_asked_for_again() {
    let left = Left {
        messages: 1,
        turn: Some("running"),
        reply_calls: 1,
    };
    // It was too short to be noted.
    let then = Then {
        raw_type: "response.incomplete",
        text: String::new(),
        reply_calls: 1,
    };
    dies_at("turns.end", left, then).await;
}

#[tokio::test]
async fn behind_the_end_the_retry_receives_it() {
    let left = || Left {
        messages: 2,
        turn: Some("completed"),
        reply_calls: 1,
    };
    dies_at("turns.ended", left(), Then::completed()).await;
    dies_at("turns.published", left(), Then::completed()).await;
}

#[tokio::test]
async fn in_the_middle_of_a_reply_the_checkpoint_is_kept_and_published() {
    let database = TestDatabase::new().await;
    let rows = Rows::of(&database).await;
    let model = ModelServer::start().await;
    let node = Node::start(&database.url, &model.url, &SETTINGS).await;
    let reply = HalfWritten::new(&model, &node.url).await;
    eventually(async || {
        let noted = rows.all("SELECT run_text FROM agent_turns", []).await;
        let noted: Option<String> = noted[0].try_get("", "run_text").unwrap();
        (noted.as_deref() == Some("Half a thought")).then_some(())
    })
    .await;
    node.kill().await;

    let node = Node::start(&database.url, &model.url, &SETTINGS).await;
    let url = format!("{}/api/v1/conversations/{}/reply", node.url, reply.id);
    let events = Events::of(client().get(url)).await.rest().await;
    let terminal = events.last().unwrap();
    assert_eq!(terminal["raw_type"], "response.incomplete", "{terminal}");
    assert_eq!(terminal["response_text"], "Half a thought");
    assert!(["", "Half a thought"].contains(&text(&events).as_str()));
    assert_eq!(rows.last_turn(&reply.id).await, ("incomplete".into(), None));
    let kept = (
        "assistant".into(),
        "incomplete".into(),
        "Half a thought".into(),
    );
    assert_eq!(rows.messages(&reply.id).await[1], kept);
    assert_eq!(model.reply_requests().len(), 1);
    // The conversation continues.
    model.reply(Answer::Deltas(vec!["There is more."]));
    let body = json!({ "message": "And then?", "conversation_id": reply.id });
    let events = Events::post(&node.url, body).await.rest().await;
    assert_eq!(
        assert_common_stream(&events)["raw_type"],
        "response.completed"
    );
    node.stop().await;
}

#[tokio::test]
async fn the_other_node_publishes_the_end_of_a_writer_that_died() {
    if !TestDatabase::is_on_server() {
        return;
    }
    let database = TestDatabase::new().await;
    let model = ModelServer::start().await;
    let writer = Node::start(&database.url, &model.url, &SETTINGS).await;
    let other = Node::start(&database.url, &model.url, &SETTINGS).await;
    let steps = model.live_reply();
    steps.send(Step::delta("Half a thought")).unwrap();
    let body = || json!({ "message": MESSAGE, "context": { "auto_title": false } });
    let request = |url: &str| {
        let request = post(url, "/api/v1/chat/stream", body());
        request.header("idempotency-key", "key-1")
    };
    let mut first = Events::of(request(&writer.url)).await;
    first.next().await.unwrap();
    let mut second = Events::of(request(&other.url)).await;
    let mut events = Vec::new();
    while text(&events) != "Half a thought" {
        events.push(second.next().await.unwrap());
    }
    writer.kill().await;
    events.extend(second.rest().await);
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["raw_type"], "response.incomplete", "{terminal}");
    assert_eq!(terminal["response_text"], "Half a thought");
    other.stop().await;
}
