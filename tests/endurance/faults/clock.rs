//! Nodes whose clocks are an hour off. Leases and the order of lists follow the database's clock, so no node
//! takes over what another one is doing, and none waits an hour for the dead.

use std::path::PathBuf;

use serde_json::json;
use titlecast_testing::{
    Answer, ModelServer, Node, Rows, TestDatabase, Titlecast, eventually,
    server::request,
    skipped,
    titles::{decided, send},
};

use super::turns::{HalfWritten, MESSAGE, assert_taken, plain};

/// What others wait for before they take over is short.
const SETTINGS: [&str; 6] = [
    "--reply-lease",
    "2s",
    "--title-deadline",
    "2s",
    "--title-sweep",
    "100ms",
];

/// Debian's `faketime`, wherever this machine's architecture has it.
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let found = folders
        .map(|folder| folder.path().join("faketime/libfaketime.so.1"))
        .find(|library| library.exists());
    if found.is_none() {
        skipped("there is no faketime");
    }
    found
}

/// The same command on a machine whose clock is off by so much.
fn off_by(command: Titlecast, library: &std::path::Path, offset: &str) -> Titlecast {
    command
        .env("LD_PRELOAD", library.to_str().unwrap())
        .env("FAKETIME", offset)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}

/// Two nodes on one PostgreSQL, one of them with another clock.
struct Nodes {
    model: ModelServer,
    right: Node,
    wrong: Node,
    rows: Rows,
    database: TestDatabase,
    library: PathBuf,
}

impl Nodes {
    async fn new(offset: &str) -> Option<Self> {
        if !TestDatabase::is_on_server() {
            return None;
        }
        let library = library()?;
        let database = TestDatabase::new().await;
        let model = ModelServer::start().await;
        let command = Node::command(&database.url, &model.url, &SETTINGS);
        let wrong = Node::of(off_by(command, &library, offset)).await;
        Some(Self {
            right: Node::start(&database.url, &model.url, &SETTINGS).await,
            wrong,
            model,
            rows: Rows::of(&database).await,
            database,
            library,
        })
    }

    async fn stop(self) {
        self.right.stop().await;
        let log = self.wrong.stop().await;
        assert!(
            log.contains("the local clock differs from the database's clock"),
            "{log}"
        );
    }
}

const OFFSETS: [&str; 2] = ["+3600s", "-3600s"];

#[tokio::test]
async fn a_reply_is_closed_when_its_node_is_dead_and_not_before() {
    for offset in OFFSETS {
        let Some(nodes) = Nodes::new(offset).await else {
            return;
        };
        let mut living = HalfWritten::new(&nodes.model, &nodes.right.url).await;
        let mut also = HalfWritten::new(&nodes.model, &nodes.wrong.url).await;
        // A node with a wrong clock that dies: when that is detected, the other nodes' leases were checked as well.
        let command = Node::command(&nodes.database.url, &nodes.model.url, &SETTINGS);
        let dying = Node::of(off_by(command, &nodes.library, offset)).await;
        let dead = HalfWritten::new(&nodes.model, &dying.url).await;
        dying.kill().await;
        eventually(async || {
            let state = nodes.rows.last_turn(&dead.id).await.0;
            (state == "incomplete").then_some(())
        })
        .await;
        for reply in [&living, &also] {
            assert_eq!(
                nodes.rows.last_turn(&reply.id).await.0,
                "running",
                "{offset}"
            );
        }
        living.finish().await;
        living.assert_completed().await;
        also.finish().await;
        also.assert_completed().await;
        nodes.stop().await;
    }
}

#[tokio::test]
async fn a_title_is_made_by_who_began_it() {
    for offset in OFFSETS {
        let Some(nodes) = Nodes::new(offset).await else {
            return;
        };
        for place in 0..2 {
            let gate = nodes
                .model
                .held_title(Answer::Title("Kyoto in April".into()));
            let [here, there] = match place {
                0 => [&nodes.right, &nodes.wrong],
                _ => [&nodes.wrong, &nodes.right],
            };
            let id = send(&here.url, json!({ "text": MESSAGE })).await;
            // The other one sweeps ten times a second: what it does meanwhile shows that time has passed.
            for number in 0..5 {
                assert_taken(&there.url, &format!("{place}-{number}"), &plain("Nara")).await;
            }
            gate.send(()).unwrap();
            assert_eq!(
                decided(&here.url, &id).await["displayName"],
                "Kyoto in April"
            );
            assert_eq!(nodes.model.title_requests().len(), place + 1, "{offset}");
        }
        nodes.stop().await;
    }
}

#[tokio::test]
async fn lists_are_in_the_order_in_which_things_happened() {
    for offset in OFFSETS {
        let Some(nodes) = Nodes::new(offset).await else {
            return;
        };
        let mut expected = Vec::new();
        for (number, node) in [&nodes.right, &nodes.wrong, &nodes.right, &nodes.wrong]
            .into_iter()
            .enumerate()
        {
            let id = assert_taken(&node.url, &format!("key-{number}"), &plain(MESSAGE)).await;
            expected.insert(0, id);
        }
        for node in [&nodes.right, &nodes.wrong] {
            let (_, list) = request(&node.url, "GET", "/api/v1/conversations", None).await;
            let items = list["items"].as_array().unwrap();
            let ids: Vec<_> = items.iter().map(|item| &item["conversation_id"]).collect();
            assert_eq!(ids, expected.iter().collect::<Vec<_>>(), "{offset}");
        }
        nodes.stop().await;
    }
}
