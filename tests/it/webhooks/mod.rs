//! Webhooks: what receivers are sent, whatever they and the nodes do; where nothing is sent; what operators see and do.

mod addresses;
mod configuration;
mod documented;
mod events;
mod faults;
mod killed;
mod operators;

use std::collections::{BTreeMap, BTreeSet};

use titlecast_testing::{
    ModelServer, Receiver, Rows, Server, TestDatabase, eventually, receiver::Delivery,
};

use crate::agents::Folder;

/// The key of the specification's example.
pub const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A file with one webhook of the tenant `local`, and further lines for it.
pub fn file(url: &str, more: &str) -> String {
    format!(
        "[webhooks.crm]\nurl = \"{url}\"\nsecret_file = \"key\"\ntenants = [\"local\"]\n\
         allow_private = [\"127.0.0.1\"]\n{more}\n"
    )
}

/// A folder with this file and the key.
pub fn folder(file: &str) -> Folder {
    // Tries follow each other soon.
    fail::cfg("webhooks.pause", "return(50)").unwrap();
    Folder::new()
        .file("titlecast.toml", file)
        .file("key", &format!("{KEY}\n"))
}

/// A server whose conversations are announced.
pub struct Scene {
    pub server: Server,
    pub receiver: Receiver,
    pub model: ModelServer,
    folder: Folder,
}

impl Scene {
    /// With further lines for the webhook.
    pub async fn new(more: &str) -> Self {
        let receiver = Receiver::start().await;
        let model = ModelServer::start().await;
        let folder = folder(&file(&receiver.url, more));
        let config = folder.path("titlecast.toml");
        let database = TestDatabase::new().await;
        let server = Server::start_on(database, &model, &["--config", &config]).await;
        routed(&server.database, 1).await;
        Self {
            server,
            receiver,
            model,
            folder,
        }
    }

    /// The settings of one more node.
    pub fn settings(&self) -> [String; 2] {
        ["--config".into(), self.folder.path("titlecast.toml")]
    }

    /// A conversation whose reply and title are stored; its id.
    pub async fn begin(&self, text: &str) -> String {
        titlecast_testing::titles::settled(&self.server.url, text).await
    }

    /// Waits until everything that happened was taken, in order.
    pub async fn all_is_told(&self) {
        all_is_told(&self.server.database, &self.receiver).await;
    }
}

/// Waits until that many webhooks are registered.
pub async fn routed(database: &TestDatabase, hooks: usize) {
    let rows = Rows::of(database).await;
    eventually(async || {
        let found = rows
            .all("SELECT DISTINCT hook FROM agent_webhook_routes", [])
            .await;
        (found.len() == hooks).then_some(())
    })
    .await;
}

/// Waits until nothing is queued; then nothing that happened may be missing, and nothing out of order.
pub async fn all_is_told(database: &TestDatabase, receiver: &Receiver) {
    let rows = Rows::of(database).await;
    eventually(async || (rows.count("agent_webhook_lanes").await == 0).then_some(())).await;
    assert_eq!(rows.count("agent_webhook_events").await, 0);
    let complaints = complaints(&rows, &receiver.deliveries()).await;
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// What is wrong with what was taken: what the rows say happened and was not announced, and what came out of order.
pub async fn complaints(rows: &Rows, deliveries: &[Delivery]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut taken = BTreeSet::new();
    // The newest revision that was taken of each conversation.
    let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for one in deliveries.iter().filter(|one| one.is_taken) {
        if !ids.insert(one.id()) {
            continue;
        }
        let last = newest.entry(one.conversation()).or_default();
        if one.revision() < *last {
            complaints.push(format!(
                "{} came behind revision {last}: {}",
                one.id(),
                one.body
            ));
        }
        *last = one.revision();
        let data = &one.body["data"];
        let subject = [&data["message"]["id"], &data["reply"]["id"]]
            .into_iter()
            .find_map(|id| id.as_str());
        taken.insert(format!(
            "{} {}",
            one.kind(),
            subject.unwrap_or(one.conversation())
        ));
    }
    let mut expect = async |kind: &str, sql: &str| {
        for row in rows.all(sql, []).await {
            let id: uuid::Uuid = row.try_get("", "id").unwrap();
            let expected = format!("conversation.{kind} {id}");
            if !taken.contains(&expected) {
                complaints.push(format!("{expected} was not announced"));
            }
        }
    };
    expect("created", "SELECT id FROM agent_conversations").await;
    expect(
        "title_changed",
        "SELECT id FROM agent_conversations WHERE display_name IS NOT NULL",
    )
    .await;
    expect(
        "deleted",
        "SELECT id FROM agent_conversations WHERE status = 'deleted'",
    )
    .await;
    expect("message_stored", "SELECT id FROM agent_messages").await;
    expect(
        "reply_ended",
        "SELECT reply_id AS id FROM agent_turns WHERE reply_status <> 'running' AND conversation_id IN \
         (SELECT id FROM agent_conversations WHERE status = 'active')",
    )
    .await;
    complaints
}
