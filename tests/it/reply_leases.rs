//! Replies whose process dies: a reader receives an end, the checkpointed text is kept, and the reply of a process that
//! was only late continues.

use serde_json::{Value, json};
use titlecast_testing::{
    ModelServer, Rows, Server, Step, TestDatabase,
    calls::{conversation, conversation_when, data, send_message},
    eventually,
    nats::{self, two_nodes_with},
    replies::{Reader, being_written, write},
};

use crate::agents::Folder;

/// Checkpoints several times per second, and a lease of one second.
const SETTINGS: [&str; 2] = ["--reply-lease", "1s"];

/// A node that stops in the middle of everything when its runtime goes, as a process that is killed.
struct Mortal {
    runtime: tokio::runtime::Runtime,
    url: String,
}

impl Mortal {
    async fn start(
        database: &TestDatabase,
        model: &ModelServer,
        settings: &[&'static str],
    ) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (database, base_url) = (database.shared(), model.url.clone());
        let settings = settings.to_vec();
        let starting = runtime.spawn(async move {
            let server = [&["--openai-base-url", &base_url], &settings[..]].concat();
            let server = Server::on(database, &server).await;
            // Dropped, it would stop in an orderly way.
            let url = server.url.clone();
            std::mem::forget(server);
            url
        });
        let url = starting.await.unwrap();
        Self { runtime, url }
    }

    fn kill(self) {
        self.runtime.shutdown_background();
    }
}

/// What was noted of the only reply.
async fn noted(rows: &Rows, text: &str) {
    eventually(async || {
        let row = rows.all("SELECT run_text FROM agent_turns", []).await;
        let noted: Option<String> = row[0].try_get("", "run_text").unwrap();
        (noted.as_deref() == Some(text)).then_some(())
    })
    .await;
}

async fn dies(reader_settings: &[&'static str], writer_settings: &[&'static str]) {
    let model = ModelServer::start().await;
    let database = TestDatabase::new().await;
    let rows = Rows::of(&database).await;
    let writer = Mortal::start(&database, &model, writer_settings).await;
    let reader_node = Server::start_on(database, &model, reader_settings).await;
    let (id, reply, steps) = being_written(&model, &writer.url).await;
    let mut reader = Reader::join(&reader_node.url, &id, &reply).await;
    write(&steps, "First we");
    reader.read_to("First we").await;
    noted(&rows, "First we").await;
    writer.kill();
    let ended = reader.end().await;
    assert_eq!(ended["outcome"], "INCOMPLETE");
    assert_eq!(ended["text"], "First we");
    assert_eq!(ended["error"], Value::Null);
    let now = conversation(&reader_node.url, &id).await;
    assert_eq!(
        now["messages"]["nodes"][1],
        json!({ "id": reply, "role": "ASSISTANT", "content": "First we", "status": "INCOMPLETE" })
    );
    // Nothing of it remains, and the conversation continues.
    let left = rows
        .all("SELECT 1 FROM agent_turns WHERE run_text IS NOT NULL", [])
        .await;
    assert!(left.is_empty());
    send_message(
        &reader_node.url,
        json!({ "conversationId": id, "text": "And?" }),
    )
    .await;
    conversation_when(&reader_node.url, &id, |now| now["messageCount"] == 4).await;
}

#[tokio::test]
async fn a_reply_whose_node_dies_is_closed_by_another_with_what_was_noted() {
    dies(&SETTINGS, &SETTINGS).await;
}

#[tokio::test]
async fn nodes_that_are_connected_do_it_too() {
    let Some(nats) = nats::shared().await else {
        return;
    };
    let nats: &'static str = nats.leak();
    let settings = [&SETTINGS[..], &["--nats-url", nats]].concat();
    dies(&settings, &settings).await;
}

#[tokio::test]
async fn a_reply_whose_node_dies_is_closed_when_the_node_is_back() {
    let model = ModelServer::start().await;
    let database = TestDatabase::new().await;
    let writer = Mortal::start(&database, &model, &SETTINGS).await;
    // Nothing comes of it: there is nothing to keep.
    let (id, reply, _steps) = being_written(&model, &writer.url).await;
    writer.kill();
    let back = Server::start_on(database, &model, &SETTINGS).await;
    let reader = Reader::join(&back.url, &id, &reply).await;
    let ended = reader.end().await;
    assert_eq!(
        (&ended["outcome"], &ended["text"]),
        (&json!("INCOMPLETE"), &json!(""))
    );
    assert_eq!(conversation(&back.url, &id).await["messageCount"], 1);
}

#[tokio::test]
async fn a_node_that_goes_on_writing_is_left_alone_however_long_it_takes() {
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &SETTINGS).await;
    let other = server.beside(&model, &SETTINGS).await;
    let (id, reply, steps) = being_written(&model, &server.url).await;
    let mut reader = Reader::join(&other.url, &id, &reply).await;
    write(&steps, "First we");
    reader.read_to("First we").await;
    // Three times the lease, seen from the row: it is renewed.
    let rows = Rows::of(&server.database).await;
    let lease = async || {
        let row = rows
            .all("SELECT run_lease_until FROM agent_turns", [])
            .await;
        let until: chrono::DateTime<chrono::Utc> = row[0].try_get("", "run_lease_until").unwrap();
        until
    };
    let first = lease().await;
    let later = first + chrono::TimeDelta::seconds(3);
    eventually(async || (lease().await > later).then_some(())).await;
    write(&steps, " take the train");
    steps.send(Step::Finish).unwrap();
    let ended = reader.end().await;
    assert_eq!(ended["outcome"], "COMPLETED");
    assert_eq!(ended["text"], "First we take the train");
}

#[tokio::test]
async fn a_node_that_was_taken_for_dead_gives_its_reply_up() {
    let model = ModelServer::start().await;
    let Some(nats) = nats::shared().await else {
        return;
    };
    let (writer, reader_node) = two_nodes_with(&model, &nats, &SETTINGS).await;
    let (id, reply, steps) = being_written(&model, &writer.url).await;
    let mut here = Reader::join(&writer.url, &id, &reply).await;
    let mut there = Reader::join(&reader_node.url, &id, &reply).await;
    write(&steps, "First we");
    here.read_to("First we").await;
    there.read_to("First we").await;
    let rows = Rows::of(&writer.database).await;
    noted(&rows, "First we").await;
    // As if another node had closed it.
    let closed = "UPDATE agent_turns SET reply_status = 'incomplete', run_text = NULL";
    rows.run(closed, []).await.unwrap();
    let ended = here.end().await;
    assert_eq!(ended["outcome"], "INCOMPLETE");
    assert_eq!(there.end().await, ended);
    drop(steps);
    conversation_when(&writer.url, &id, |now| now["messageCount"] == 1).await;
}

#[tokio::test]
async fn parts_that_were_noted_before_a_node_dies_are_stored() {
    const PARTS: &str =
        "query ($id: ID!) { conversation(id: $id) { messages { nodes { id status parts {
        __typename ... on TextPart { text } ... on ReasoningPart { reasoning: text }
    } } } } }";
    let file = "[agents.triage]\nmodels = [\"openai/one\"]\nkeep_reasoning = true\n";
    let folder = Folder::new().file("titlecast.toml", file);
    let path: &'static str = folder.path("titlecast.toml").leak();
    let settings = [&SETTINGS[..], &["--config", path]].concat();
    let model = ModelServer::start().await;
    let database = TestDatabase::new().await;
    let rows = Rows::of(&database).await;
    let writer = Mortal::start(&database, &model, &settings).await;
    let reader_node = Server::start_on(database, &model, &settings).await;
    let (id, reply, steps) = being_written(&model, &writer.url).await;
    let reader = Reader::join(&reader_node.url, &id, &reply).await;
    let think = |text: &str| {
        let fields = json!({ "reasoning_content": text });
        steps.send(Step::Fields(fields)).unwrap();
    };
    think("The user wants");
    think(" deer.");
    write(&steps, "Let me look. ");
    think("Hm");
    write(&steps, "There are");
    noted(&rows, "Let me look. There are").await;
    writer.kill();
    let ended = reader.end().await;
    assert_eq!(ended["outcome"], "INCOMPLETE");
    assert_eq!(ended["text"], "Let me look. There are");
    let read = data(&reader_node.url, PARTS, json!({ "id": id })).await;
    let message = &read["conversation"]["messages"]["nodes"][1];
    assert_eq!(
        (&message["id"], &message["status"]),
        (&reply, &json!("INCOMPLETE"))
    );
    let text = |text: &str| json!({ "__typename": "TextPart", "text": text });
    let thought = |text: &str| json!({ "__typename": "ReasoningPart", "reasoning": text });
    let expected = [
        thought("The user wants deer."),
        text("Let me look. "),
        thought("Hm"),
        text("There are"),
    ];
    assert_eq!(message["parts"], json!(expected));
    let left = rows
        .all("SELECT 1 FROM agent_turns WHERE run_parts IS NOT NULL", [])
        .await;
    assert!(left.is_empty());
    reader_node.stop().await;
}
