//! `retain = "until_titled"`: the texts of an external agent's conversations are gone as soon as their title is settled, and
//! no crash loses the title.

use std::path::PathBuf;

use serde_json::{Value, json};
use titlecast_testing::{
    Answer, ModelServer, Node, TestDatabase, Titlecast,
    calls::{code, conversation_when},
    eventually,
    server::{graphql, request},
};

use super::agents::Folder;

const PATH: &str = "/api/v1/conversations/thread-1/messages";
const TITLE: &str = "Orchard Care";

/// Words of every recorded text, hint and file, in none of its titles.
const WORDS: [&str; 5] = ["zyxwomb", "quokka", "axolotl", "pangolin", "tardigrade"];

fn folder(model: &ModelServer) -> Folder {
    let file = format!(
        "default_agent = \"desk\"\n[agents.desk]\nsource = \"external\"\nretain = \"until_titled\"\n\
         [agents.triage]\nprovider = \"openai\"\nmodels = [\"one\"]\n[providers.openai]\nbase_url = \"{}\"\n\
         [titles]\nmodels = [\"openai/one\"]\n",
        model.url
    );
    Folder::new().file("titlecast.toml", &file)
}

fn said() -> Value {
    json!([
        { "role": "user", "content": "How do I prune a zyxwomb apple tree?", "external_id": "1",
          "topic_hint": "A quokka's garden", "attachments": [{ "name": "axolotl.pdf" }] },
        { "role": "assistant", "content": "With a pangolin saw.", "external_id": "2" },
    ])
}

/// Everything in the database, as a dump or as the bytes of its files.
async fn dump(url: &str) -> Vec<u8> {
    if url.starts_with("postgres") {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dump = Titlecast::of("pg_dump", &[url]);
        let dump = dump.env("PATH", &path.to_string_lossy()).run().await;
        return dump.ok().into_bytes();
    }
    let path = url.trim_start_matches("sqlite://");
    let path = path.split('?').next().unwrap();
    let files = ["", "-wal", "-shm", "-journal"];
    let files = files.map(|suffix| std::fs::read(PathBuf::from(format!("{path}{suffix}"))));
    files.into_iter().flatten().flatten().collect()
}

/// The words that the database holds.
async fn left(url: &str) -> Vec<&'static str> {
    let bytes = dump(url).await.to_ascii_lowercase();
    let holds = |word: &&str| {
        bytes
            .windows(word.len())
            .any(|window| window == word.as_bytes())
    };
    WORDS.into_iter().filter(|word| holds(word)).collect()
}

async fn assert_gone(url: &str) {
    let last = std::sync::Mutex::new(Vec::new());
    let gone = eventually(async || {
        *last.lock().unwrap() = left(url).await;
        last.lock().unwrap().is_empty().then_some(())
    });
    let gone = tokio::time::timeout(std::time::Duration::from_secs(20), gone).await;
    assert!(gone.is_ok(), "{:?} is left", last.lock().unwrap());
}

#[tokio::test]
async fn a_dump_behind_the_title_holds_no_text_and_later_texts_are_not_stored() {
    let model = ModelServer::start().await;
    let folder = folder(&model);
    let gate = model.held_title(Answer::Title(TITLE.into()));
    let server = super::agents::serve(&folder, &[]).await;
    let url = server.database.url.clone();
    let (status, first) = server.send("POST", PATH, said()).await;
    assert_eq!(status, 201, "{first}");
    let id = first["conversation_id"].as_str().unwrap();
    // Until it is titled, a crash could lose the title without the text.
    assert_eq!(left(&url).await.len(), 4, "the search is no search");
    gate.send(()).unwrap();
    conversation_when(&server.url, id, |now| now["displayName"] == TITLE).await;
    let fields =
        "query ($id: ID!) { conversation(id: $id) { topicHint lastMessagePreview messageCount
        messages { nodes { role content attachments { name } } } } }";
    let now = server.data(fields, json!({ "id": id })).await["conversation"].take();
    let nodes = json!([
        { "role": "USER", "content": "", "attachments": [] },
        { "role": "ASSISTANT", "content": "", "attachments": [] },
    ]);
    let expected = json!({
        "topicHint": TITLE, "lastMessagePreview": TITLE, "messageCount": 2, "messages": { "nodes": nodes },
    });
    assert_eq!(now, expected);
    // The same messages are known; others are stored without their texts.
    assert_eq!(server.send("POST", PATH, said()).await.0, 200);
    let more = json!({ "role": "user", "content": "And a tardigrade?", "external_id": "3" });
    assert_eq!(server.send("POST", PATH, more.clone()).await.0, 201);
    assert_eq!(server.send("POST", PATH, more).await.0, 200);
    let body = json!({ "message": "And the zyxwomb?", "conversation_id": "thread-1" });
    let (status, sent) = server.send("POST", "/api/v1/chat", body).await;
    assert_eq!(status, 200, "{sent}");
    // An agent of this server that is named later changes nothing.
    let body = json!({ "message": "And the zyxwomb?", "conversation_id": "thread-1", "agent_type": "triage" });
    let (status, sent) = server.send("POST", "/api/v1/chat", body).await;
    assert_eq!(
        (status, &sent["response"]),
        (200, &json!(ModelServer::REPLY.concat()))
    );
    let now = server.data(fields, json!({ "id": id })).await["conversation"].take();
    assert_eq!(now["messageCount"], 5, "replies are not stored: {now}");
    assert_eq!(now["lastMessagePreview"], TITLE);
    for (query, found) in [("orchard", 1), ("prune", 0), ("saw", 0)] {
        let (_, page) = server
            .get(&format!("/api/v1/conversations/search?q={query}"))
            .await;
        assert_eq!(page["items"].as_array().unwrap().len(), found, "{query}");
    }
    for change in ["regenerateTitle", "resetTitle"] {
        let query = format!(
            "mutation ($id: ID!) {{ {change}(input: {{ id: $id }}) {{ conversation {{ id }} }} }}"
        );
        let answer = server.graphql(&query, json!({ "id": id })).await;
        assert_eq!(code(&answer), "NO_TEXT", "{answer}");
    }
    assert_gone(&url).await;
    server.stop().await;
}

#[tokio::test]
async fn a_title_that_is_given_up_or_given_by_a_person_drops_the_texts_and_one_that_waits_keeps_them()
 {
    let model = ModelServer::start().await;
    let folder = folder(&model);
    let server = super::agents::serve(&folder, &[]).await;
    let url = server.database.url.clone();
    // Without a title from the beginning.
    let mut untitled = said();
    untitled[0]["auto_title"] = false.into();
    assert_eq!(server.send("POST", PATH, untitled).await.0, 201);
    assert_gone(&url).await;
    // A provider that is down: the title is tried again, from the text.
    for _ in 0..4 {
        model.title(Answer::error(503, "server_error", None, "Down"));
    }
    let path = "/api/v1/conversations/thread-2/messages";
    let (_, first) = server.send("POST", path, said()).await;
    let id = first["conversation_id"].as_str().unwrap();
    conversation_when(&server.url, id, |now| now["titleStatus"] == "FAILED").await;
    let query = "query ($id: ID!) { conversation(id: $id) { titleError { retryAt } } }";
    let waits = server.data(query, json!({ "id": id })).await;
    assert!(
        waits["conversation"]["titleError"]["retryAt"].is_string(),
        "{waits}"
    );
    assert_eq!(left(&url).await.len(), 4);
    let rename = json!({ "display_name": "Ours" });
    let path = format!("/api/v1/conversations/{id}/title");
    assert_eq!(server.send("PATCH", &path, rename).await.0, 200);
    assert_gone(&url).await;
    server.stop().await;
}

/// The process dies at this step of the title.
async fn dies_at(step: &str) {
    let database = TestDatabase::new().await;
    let model = ModelServer::start().await;
    for _ in 0..3 {
        model.title(Answer::Title(TITLE.into()));
    }
    let folder = folder(&model);
    let config = folder.path("titlecast.toml");
    let settings = ["--config", &config, "--title-deadline", "1s"];
    let command = Node::command(&database.url, &model.url, &settings);
    let node = Node::of(command.env("FAILPOINTS", &format!("{step}=return"))).await;
    let recording = titlecast_testing::server::client()
        .post(format!("{}{PATH}", node.url))
        .json(&said());
    let _ = recording.send().await;
    node.process.ended().await;
    let node = Node::start(&database.url, &model.url, &settings).await;
    // The agent repeats a request without an answer.
    let (status, recorded) = request(&node.url, "POST", PATH, Some(said())).await;
    assert!([200, 201].contains(&status), "{step}: {status} {recorded}");
    let query = "{ conversation(externalId: \"thread-1\") { displayName messageCount } }";
    let titled = json!({ "displayName": TITLE, "messageCount": 2 });
    eventually(async || {
        let answer = graphql(&node.url, query, json!({})).await;
        (answer["data"]["conversation"] == titled).then_some(())
    })
    .await;
    assert_gone(&database.url).await;
    node.stop().await;
}

#[tokio::test]
async fn a_crash_before_the_message_is_stored() {
    dies_at("turns.begin").await;
}

#[tokio::test]
async fn a_crash_behind_the_stored_message() {
    dies_at("turns.begun").await;
}

#[tokio::test]
async fn a_crash_before_the_title_is_stored() {
    dies_at("titles.answered").await;
}

#[tokio::test]
async fn a_crash_behind_the_stored_title() {
    dies_at("titles.stored").await;
}

#[tokio::test]
async fn only_an_external_agent_may_drop_texts() {
    let file = "[agents.triage]\nprovider = \"openai\"\nmodels = [\"one\"]\nretain = \"until_titled\"\n\
        [providers.openai]\nbase_url = \"http://127.0.0.1:9\"\n";
    let checked = Titlecast::new(&["config", "check", "--config", "titlecast.toml"])
        .file("titlecast.toml", file)
        .run()
        .await;
    checked.assert_refused(&["titlecast.toml:4", "retain", "external"]);
}
