//! The feed of changed conversations: what a client that was away receives, on every node, and that no change is skipped.

mod commit_order;
mod live;
mod resets;

use serde_json::{Value, json};
use titlecast_testing::{GraphqlSocket, calls::data, within};

/// The feed as a client reads it.
const FEED: &str = "subscription ($after: String) { conversationsChanged(after: $after) {
    __typename
    ... on FeedReady { cursor }
    ... on FeedReset { cursor }
    ... on ConversationChange { kind cursor conversation { id displayName status revision } }
} }";

const PAGE: &str =
    "query ($after: String, $first: Int) { conversationChanges(after: $after, first: $first) {
    cursor hasMore reset changes { kind cursor conversation { id displayName status revision } }
} }";

/// A client of the feed over a WebSocket.
struct Follower {
    socket: GraphqlSocket,
    operation: String,
    /// The last cursor received.
    cursor: String,
}

impl Follower {
    /// Subscribes, and returns the first event with it.
    async fn begin(url: &str, after: Option<&str>) -> (Self, Value) {
        let mut socket = GraphqlSocket::connect(url).await;
        let operation = socket.subscribe(FEED, json!({ "after": after })).await;
        let mut follower = Self {
            socket,
            operation,
            cursor: String::new(),
        };
        let first = follower.next().await;
        (follower, first)
    }

    /// Subscribes; the feed has begun.
    async fn ready(url: &str, after: Option<&str>) -> Self {
        let (follower, first) = Self::begin(url, after).await;
        assert_eq!(first["__typename"], "FeedReady");
        if let Some(after) = after {
            assert_eq!(first["cursor"], after);
        }
        follower
    }

    /// The next event.
    async fn next(&mut self) -> Value {
        let next = self.socket.next_of(&self.operation, "conversationsChanged");
        let event = within(next).await;
        self.cursor = event["cursor"].as_str().unwrap().to_owned();
        event
    }

    /// The events up to the one that is as expected.
    async fn until(&mut self, is_expected: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            events.push(self.next().await);
            if events.last().is_some_and(&is_expected) {
                return events;
            }
        }
    }
}

/// A page of the feed.
async fn page(url: &str, after: Option<&str>, first: Option<i32>) -> Value {
    let variables = json!({ "after": after, "first": first });
    data(url, PAGE, variables).await["conversationChanges"].take()
}

/// The cursor of now.
async fn now(url: &str) -> String {
    let page = page(url, None, None).await;
    assert_eq!(page["changes"], json!([]));
    assert_eq!(
        (&page["hasMore"], &page["reset"]),
        (&json!(false), &json!(false))
    );
    page["cursor"].as_str().unwrap().to_owned()
}

/// The kinds and ids of a page.
fn kinds(page: &Value) -> Vec<(&str, &str)> {
    let changes = page["changes"].as_array().unwrap().iter();
    changes
        .map(|change| {
            let kind = change["kind"].as_str().unwrap();
            (kind, change["conversation"]["id"].as_str().unwrap())
        })
        .collect()
}
