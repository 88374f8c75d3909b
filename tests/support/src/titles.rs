//! Helpers for title tests: a title's full state, changes to it, and what subscribers receive.

use prometheus_client::{encoding::text::encode, registry::Registry};
use sea_orm::Value as Bound;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    GraphqlSocket, ModelServer, Rows, Server, calls,
    calls::data,
    eventually,
    server::graphql,
    stored::{StoredTitle, id as bound},
};

/// The title fields that tests query and subscribe to.
pub const TITLE_FIELDS: &str = "id revision status title displayName topicHint titleGeneratedAt \
    titleSource titleStatus titleError { code message retryAt } messageCount lastMessagePreview";

/// A new conversation id, for tests that need it before the conversation starts.
pub fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// The current title fields of a conversation.
pub async fn title(url: &str, id: &str) -> Value {
    let query = format!("query ($id: ID!) {{ conversation(id: $id) {{ {TITLE_FIELDS} }} }}");
    data(url, &query, json!({ "id": id })).await["conversation"].take()
}

/// Like [`title`], but waits until the state is as expected.
pub async fn title_when(url: &str, id: &str, is_expected: impl Fn(&Value) -> bool) -> Value {
    eventually(async || Some(title(url, id).await).filter(|title| is_expected(title))).await
}

/// The title fields once the title is no longer pending.
pub async fn decided(url: &str, id: &str) -> Value {
    title_when(url, id, |title| title["titleStatus"] != "PENDING").await
}

/// Asserts that the title is stored, generated, and the scripted model's default.
#[track_caller]
pub fn assert_titled(shown: &Value) {
    assert_eq!(shown["displayName"], ModelServer::TITLE, "{shown}");
    assert_eq!(shown["titleStatus"], "READY", "{shown}");
    assert_eq!(shown["titleSource"], "GENERATED", "{shown}");
    assert!(shown["titleGeneratedAt"].is_string(), "{shown}");
    assert_eq!(shown["titleError"], Value::Null, "{shown}");
}

/// Sends a first message and waits for its reply and the outcome of its title. Returns the conversation's id.
pub async fn settled(url: &str, text: &str) -> String {
    calls::settled_conversation(url, json!({ "text": text })).await
}

/// Sends a message without waiting. Returns the conversation's id.
pub async fn send(url: &str, input: Value) -> String {
    let sent = calls::send_message(url, input).await;
    sent["conversation"]["id"].as_str().unwrap().to_owned()
}

/// Waits for replies until this many messages are stored.
pub async fn replied(url: &str, id: &str, messages: usize) {
    title_when(url, id, |now| now["messageCount"] == messages).await;
}

/// Calls `regenerateTitle`. Returns the whole answer.
pub async fn regenerate(url: &str, input: Value) -> Value {
    let query = format!(
        "mutation ($input: RegenerateTitleInput!) {{
            regenerateTitle(input: $input) {{ conversation {{ {TITLE_FIELDS} }} }}
        }}"
    );
    graphql(url, &query, json!({ "input": input })).await
}

/// Calls `resetTitle`. Returns the whole answer.
pub async fn reset(url: &str, id: &str) -> Value {
    let query = format!(
        "mutation ($id: ID!) {{
            resetTitle(input: {{ id: $id }}) {{ conversation {{ {TITLE_FIELDS} }} }}
        }}"
    );
    graphql(url, &query, json!({ "id": id })).await
}

/// The conversation events of one subscriber.
pub struct Watched {
    socket: GraphqlSocket,
    operation: String,
}

impl Watched {
    /// Subscribes to all of the owner's conversations, from now on.
    pub async fn list(url: &str) -> Self {
        let query = format!("subscription {{ conversationUpdated {{ {TITLE_FIELDS} }} }}");
        Self::of(url, &query, json!({})).await
    }

    /// Subscribes to one conversation, beginning with its current state.
    pub async fn one(url: &str, id: &str) -> Self {
        let query = format!(
            "subscription ($id: ID!) {{ conversationUpdated(id: $id) {{ {TITLE_FIELDS} }} }}"
        );
        Self::of(url, &query, json!({ "id": id })).await
    }

    async fn of(url: &str, query: &str, variables: Value) -> Self {
        let mut socket = GraphqlSocket::connect(url).await;
        let operation = socket.subscribe(query, variables).await;
        // Only for lists, because the first state of a single conversation would come in between.
        if query.starts_with("subscription {") {
            socket.settled().await;
        }
        Self { socket, operation }
    }

    /// The next payload.
    pub async fn next(&mut self) -> Value {
        self.socket
            .next_of(&self.operation, "conversationUpdated")
            .await
    }

    /// The payloads up to and including the first one that is as expected.
    pub async fn until(&mut self, is_last: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut payloads = Vec::new();
        loop {
            payloads.push(self.next().await);
            if is_last(&payloads[payloads.len() - 1]) {
                return payloads;
            }
        }
    }

    /// Asserts that no further event is published.
    pub async fn ended(&mut self) {
        assert_eq!(self.socket.next(&self.operation).await, None);
    }

    /// Everything received so far. A new, unrelated conversation marks the end and is left out.
    pub async fn until_now(&mut self, url: &str) -> Vec<Value> {
        let marker = send(url, json!({ "text": "The end", "autoTitle": false })).await;
        let mut payloads = self.until(|payload| payload["id"] == marker).await;
        payloads.pop();
        payloads
    }
}

/// How often a title appears where there was none, in the events of a conversation.
pub fn appearances(payloads: &[Value], id: &str) -> usize {
    let mut shown = &Value::Null;
    let mut count = 0;
    for payload in payloads.iter().filter(|payload| payload["id"] == id) {
        count += usize::from(shown.is_null() && !payload["displayName"].is_null());
        shown = &payload["displayName"];
    }
    count
}

impl Rows {
    /// The title columns once every commit has been published.
    pub async fn published(&self, id: &str) -> StoredTitle {
        const SQL: &str = "SELECT 1 AS published FROM agent_conversations \
            WHERE id = $1 AND published_revision = revision";
        eventually(async || {
            let rows = self.all(SQL, [bound(id)]).await;
            (!rows.is_empty()).then_some(())
        })
        .await;
        self.title(id).await
    }

    /// Changes a conversation's columns directly in the database: `SET …`, with the id as `$1`.
    pub async fn change(&self, id: &str, set: &str, values: impl IntoIterator<Item = Bound>) {
        let sql = format!("UPDATE agent_conversations SET {set} WHERE id = $1");
        let values = [bound(id)].into_iter().chain(values);
        let changed = self.run(&sql, values).await.unwrap();
        assert_eq!(changed.rows_affected(), 1);
    }

    /// How the title calls for a conversation ended, oldest first.
    pub async fn calls(&self, id: &str) -> Vec<String> {
        const SQL: &str = "SELECT outcome FROM agent_title_calls WHERE conversation_id = $1 \
            ORDER BY created_at, id";
        let rows = self.all(SQL, [bound(id)]).await;
        let outcome = |row: &sea_orm::QueryResult| row.try_get("", "outcome").unwrap();
        rows.iter().map(outcome).collect()
    }
}

impl Server {
    /// What GraphQL shows about a title.
    pub async fn title(&self, id: &str) -> Value {
        title(&self.url, id).await
    }

    /// Waits until this many titles have ended with this outcome, as named in the metrics.
    pub async fn titles_ended(&self, outcome: &str, count: usize) {
        let expected = format!("title_generations_total{{outcome=\"{outcome}\"}} {count}");
        eventually(async || {
            let (mut registry, mut text) = (Registry::default(), String::new());
            self.app.titles().metrics().register(&mut registry);
            encode(&mut text, &registry).unwrap();
            text.lines().any(|line| line == expected).then_some(())
        })
        .await;
    }
}
