//! Clients that keep a list: a snapshot, and then the feed alone, over GraphQL or the legacy SSE, with a cut now and then.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::Duration,
};

use serde_json::{Value, json};
use titlecast_testing::{Rows, server::client};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::nodes::Nodes;

const FEED: &str = "subscription ($after: String) { conversationsChanged(after: $after) {
    __typename
    ... on FeedReady { cursor }
    ... on FeedReset { cursor }
    ... on ConversationChange { kind cursor conversation { conversation_id: id display_name: displayName revision } }
} }";

const LIST: &str = "query ($after: String) { conversations(first: 100, after: $after) {
    nodes { conversation_id: id display_name: displayName revision } pageInfo { endCursor hasNextPage }
} }";

/// After this long without a change a client has all that it will get.
const SILENCE: Duration = Duration::from_secs(20);

/// What a list shows of each conversation: its revision and its name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown(BTreeMap<String, (i64, Option<String>)>);

impl Shown {
    /// What it should show.
    pub async fn stored(rows: &Rows) -> Self {
        let sql =
            "SELECT id, revision, display_name FROM agent_conversations WHERE status = 'active'";
        let rows = rows.all(sql, []).await;
        let shown = rows.iter().map(|row| {
            let id: Uuid = row.try_get("", "id").unwrap();
            let revision = row.try_get("", "revision").unwrap();
            (
                id.to_string(),
                (revision, row.try_get("", "display_name").unwrap()),
            )
        });
        Self(shown.collect())
    }

    /// As a client must: the state with the higher revision is newer.
    fn store(&mut self, conversation: &Value) {
        let id = conversation["conversation_id"].as_str().unwrap();
        let revision = conversation["revision"].as_i64().unwrap();
        let name = conversation["display_name"].as_str().map(str::to_owned);
        let stored = self.0.entry(id.into()).or_default();
        if revision >= stored.0 {
            *stored = (revision, name);
        }
    }
}

/// Why a connection ended.
enum End {
    Cut,
    Broken,
}

pub struct Client {
    number: usize,
    shown: RefCell<Shown>,
    cursor: RefCell<Option<String>>,
    begun: Notify,
    last_change: Cell<Instant>,
    events: Cell<usize>,
    connections: Cell<usize>,
    resets: Cell<usize>,
}

impl Client {
    pub fn new(number: usize) -> Self {
        Self {
            number,
            shown: RefCell::default(),
            cursor: RefCell::default(),
            begun: Notify::new(),
            last_change: Cell::new(Instant::now()),
            events: Cell::default(),
            connections: Cell::default(),
            resets: Cell::default(),
        }
    }

    /// Waits until it has its first list.
    pub async fn begun(&self) {
        self.begun.notified().await;
    }

    pub fn events(&self) -> usize {
        self.events.get()
    }

    pub fn connections(&self) -> usize {
        self.connections.get()
    }

    pub fn resets(&self) -> usize {
        self.resets.get()
    }

    /// Whether it received nothing for so long that nothing more will come.
    pub fn has_been_silent(&self) -> bool {
        self.last_change.get().elapsed() > SILENCE
    }

    /// A difference between its list and the right one.
    pub fn difference(&self, expected: &Shown) -> Option<String> {
        let shown = self.shown.borrow();
        let ids = shown.0.keys().chain(expected.0.keys());
        let mut differing = ids.filter(|id| shown.0.get(*id) != expected.0.get(*id));
        let id = differing.next()?;
        let (has, wants) = (shown.0.get(id), expected.0.get(id));
        let wire = if self.is_graphql() { "GraphQL" } else { "SSE" };
        Some(format!(
            "client {} ({wire}): {id} is {has:?} and should be {wants:?}; {} more differ",
            self.number,
            differing.count()
        ))
    }

    fn is_graphql(&self) -> bool {
        self.number.is_multiple_of(2)
    }

    /// Follows the feed until the end, again and again.
    pub async fn follow(&self, nodes: &Nodes, ending: &CancellationToken) {
        let following = async {
            loop {
                let url = nodes.any().await;
                self.connections.set(self.connections.get() + 1);
                if let Err(End::Broken) = self.connect(&url).await {
                    sleep(Duration::from_millis(50)).await;
                }
            }
        };
        ending.run_until_cancelled(following).await;
    }

    async fn connect(&self, url: &str) -> Result<(), End> {
        let after = self.cursor.borrow().clone();
        let request = match self.is_graphql() {
            true => {
                let body = json!({ "query": FEED, "variables": { "after": after } });
                let request = client().post(format!("{url}/graphql"));
                let request = request.header("content-type", "application/json");
                request
                    .header("accept", "text/event-stream")
                    .body(body.to_string())
            }
            false => {
                let request = client().get(format!("{url}/api/v1/conversations/changes"));
                match &after {
                    Some(after) => request.header("last-event-id", after),
                    None => request,
                }
            }
        };
        let answer = timeout(Duration::from_secs(10), request.send()).await;
        let mut answer = answer.map_err(|_| End::Broken)?.map_err(|_| End::Broken)?;
        if !answer.status().is_success() {
            return Err(End::Broken);
        }
        // Most connections are cut, some after few events, some in the middle of one.
        let cut = sleep(Duration::from_millis(fastrand::u64(50..6_000)));
        let mut cut = std::pin::pin!(cut);
        let mut buffer = String::new();
        loop {
            let chunk = tokio::select! {
                chunk = answer.chunk() => chunk.map_err(|_| End::Broken)?.ok_or(End::Broken)?,
                () = &mut cut => return Err(End::Cut),
            };
            buffer.push_str(std::str::from_utf8(&chunk).unwrap());
            while let Some((frame, rest)) = buffer.split_once("\n\n") {
                let data = frame.lines().find_map(|line| line.strip_prefix("data: "));
                let event = data.map(|data| serde_json::from_str::<Value>(data).unwrap());
                buffer = rest.to_owned();
                if let Some(event) = event {
                    self.apply(url, self.event(event)).await?;
                }
            }
        }
    }

    /// An event of either wire, as the legacy SSE has it.
    fn event(&self, mut event: Value) -> Value {
        if !self.is_graphql() {
            return event;
        }
        let mut event = event["data"]["conversationsChanged"].take();
        let kind = match (
            event["__typename"].as_str().unwrap(),
            event["kind"].as_str(),
        ) {
            ("FeedReady", _) => "feed.ready",
            ("FeedReset", _) => "feed.reset",
            (_, Some("DELETED")) => "conversation.deleted",
            (_, Some("CREATED")) => "conversation.created",
            _ => "conversation.updated",
        };
        event["kind"] = kind.into();
        event
    }

    async fn apply(&self, url: &str, event: Value) -> Result<(), End> {
        if event["kind"].as_str().unwrap().starts_with("conversation.") {
            self.last_change.set(Instant::now());
        }
        self.events.set(self.events.get() + 1);
        let cursor = event["cursor"].as_str().unwrap().to_owned();
        let is_first = self.cursor.borrow().is_none();
        match event["kind"].as_str().unwrap() {
            "feed.ready" if !is_first => {
                assert_eq!(Some(cursor), *self.cursor.borrow(), "ready elsewhere");
                return Ok(());
            }
            kind @ ("feed.ready" | "feed.reset") => {
                if kind == "feed.reset" {
                    self.resets.set(self.resets.get() + 1);
                }
                let list = self.list(url).await.ok_or(End::Broken)?;
                *self.shown.borrow_mut() = list;
                self.begun.notify_one();
            }
            "conversation.deleted" => {
                let id = event["conversation"]["conversation_id"].as_str().unwrap();
                self.shown.borrow_mut().0.remove(id);
            }
            _ => self.shown.borrow_mut().store(&event["conversation"]),
        }
        *self.cursor.borrow_mut() = Some(cursor);
        Ok(())
    }

    /// The list as it is read in pages.
    async fn list(&self, url: &str) -> Option<Shown> {
        let (mut shown, mut after) = (Shown::default(), Value::Null);
        loop {
            let body = json!({ "query": LIST, "variables": { "after": after } });
            let request = client().post(format!("{url}/graphql"));
            let request = request
                .header("content-type", "application/json")
                .body(body.to_string());
            let answer = timeout(Duration::from_secs(10), request.send())
                .await
                .ok()?
                .ok()?;
            let mut page: Value = serde_json::from_str(&answer.text().await.ok()?).ok()?;
            let page = page["data"]["conversations"].take();
            page["nodes"]
                .as_array()?
                .iter()
                .for_each(|node| shown.store(node));
            if page["pageInfo"]["hasNextPage"] != true {
                return Some(shown);
            }
            after = page["pageInfo"]["endCursor"].clone();
        }
    }
}
