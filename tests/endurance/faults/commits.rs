//! PostgreSQL is lost between a `COMMIT` and its answer: the outcome is unknown. Nothing is lost
//! and nothing is stored twice, with or without an idempotency key.

use serde_json::{Value, json};
use titlecast_testing::{
    ModelServer, Rows, Server, TestDatabase, assert_common_stream,
    legacy::post,
    proxy::{Lost, Proxy},
    sse::Events,
    titles::{decided, replied, send},
    within,
};

use super::turns::{MESSAGE, plain};

/// Changes are published at once, not by a sweep.
const SETTINGS: [&str; 4] = ["--title-grace", "15s", "--title-sweep", "1h"];

/// A server that reaches its database through a proxy.
struct Far {
    model: ModelServer,
    proxy: Proxy,
    server: Server,
    rows: Rows,
    /// Dropped last.
    database: TestDatabase,
}

/// Through the proxy, which must read the protocol.
fn far(proxy: &Proxy, database: &TestDatabase) -> TestDatabase {
    let url = proxy.instead_of(&database.url);
    match url.contains("sslmode=disable") {
        true => TestDatabase::of_another(&url),
        false => TestDatabase::of_another(&format!("{url}?sslmode=disable")),
    }
}

impl Far {
    /// None on SQLite, where no network is in between.
    async fn new() -> Option<Self> {
        if !TestDatabase::is_on_server() {
            return None;
        }
        let database = TestDatabase::new().await;
        let proxy = Proxy::to_url(&database.url).await;
        let model = ModelServer::start().await;
        Some(Self {
            server: Server::start_on(far(&proxy, &database), &model, &SETTINGS).await,
            rows: Rows::of(&database).await,
            model,
            proxy,
            database,
        })
    }

    /// There is one turn, and the model was called once for its reply, and this many times for its title.
    async fn assert_one_turn(&self, terminal: &Value, titles: usize) {
        let id = terminal["conversation_id"].as_str().unwrap();
        let state = self.rows.last_turn(id).await;
        assert_eq!(state, ("completed".into(), None));
        assert_eq!(self.database.row_counts().await, [1, 2, 1]);
        assert_eq!(self.model.reply_requests().len(), 1);
        assert_eq!(self.model.title_requests().len(), titles);
        assert!(self.proxy.has_lost_commit());
    }
}

async fn the_message(at: Lost, key: Option<&str>) {
    let Some(far) = Far::new().await else { return };
    far.proxy.lose_commit(MESSAGE, at);
    let body = json!({ "message": MESSAGE });
    let mut request = post(&far.server.url, "/api/v1/chat/stream", body);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    // The client notices nothing.
    let events = Events::of(request).await.rest().await;
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["raw_type"], "response.completed", "{terminal}");
    assert_eq!(terminal["display_name"], ModelServer::TITLE);
    far.assert_one_turn(terminal, 1).await;
    far.server.stop().await;
}

#[tokio::test]
async fn a_message_whose_commit_is_done_unheard_is_stored_once() {
    the_message(Lost::Answer, None).await;
}

#[tokio::test]
async fn a_message_whose_commit_never_arrives_is_stored_once() {
    the_message(Lost::Request, None).await;
}

#[tokio::test]
async fn a_message_with_a_key_whose_commit_is_done_unheard_is_stored_once() {
    the_message(Lost::Answer, Some("key-1")).await;
}

#[tokio::test]
async fn a_message_with_a_key_whose_commit_never_arrives_is_stored_once() {
    the_message(Lost::Request, Some("key-1")).await;
}

#[tokio::test]
async fn a_message_into_a_conversation_is_stored_once() {
    let Some(far) = Far::new().await else { return };
    let id = far.server.begin("Hello, I would like to travel").await;
    for (number, at) in [(2, Lost::Answer), (3, Lost::Request)] {
        let text = format!("Plan trip number {number} to Kyoto");
        far.proxy.lose_commit(&text, at);
        send(
            &far.server.url,
            json!({ "text": text, "conversationId": id }),
        )
        .await;
        replied(&far.server.url, &id, 2 * number).await;
        assert!(far.proxy.has_lost_commit());
        assert_eq!(
            far.database.row_counts().await,
            [1, 2 * number as i64, number as i64]
        );
        assert_eq!(far.model.reply_requests().len(), number);
    }
    far.server.stop().await;
}

async fn the_end(at: Lost) {
    let Some(far) = Far::new().await else { return };
    let reply = ModelServer::REPLY.concat();
    let mut received = far.server.socket().await;
    let watch = "subscription { conversationUpdated { id messageCount lastMessagePreview } }";
    let watching = received.subscribe(watch, json!({})).await;
    far.server.topics(1).await;
    far.proxy.lose_commit(&reply, at);
    // Without a title, which would add an event.
    let events = far.server.stream(plain(MESSAGE)).await.rest().await;
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["raw_type"], "response.completed", "{terminal}");
    assert_eq!(terminal["response_text"], reply);
    far.assert_one_turn(terminal, 0).await;
    // Subscribers of the conversation are notified too.
    within(async {
        loop {
            let now: Value = received.next_of(&watching, "conversationUpdated").await;
            if now["messageCount"] == 2 {
                return assert_eq!(now["lastMessagePreview"], reply);
            }
        }
    })
    .await;
    far.server.stop().await;
}

#[tokio::test]
async fn a_reply_whose_commit_answer_is_lost_is_stored_and_published_once() {
    the_end(Lost::Answer).await;
}

#[tokio::test]
async fn a_reply_whose_commit_never_arrives_is_stored_and_published_once() {
    the_end(Lost::Request).await;
}

async fn the_title(at: Lost) {
    let Some(mut far) = Far::new().await else {
        return;
    };
    // The database comes back to it by the sweep.
    far.server.end().await;
    let settings = ["--title-deadline", "300ms", "--title-sweep", "200ms"];
    let place = self::far(&far.proxy, &far.database);
    far.server = Server::start_on(place, &far.model, &settings).await;
    far.proxy.lose_commit(ModelServer::TITLE, at);
    let id = send(&far.server.url, json!({ "text": MESSAGE })).await;
    let shown = decided(&far.server.url, &id).await;
    assert_eq!(shown["displayName"], ModelServer::TITLE, "{shown}");
    assert!(far.proxy.has_lost_commit());
    far.rows.published(&id).await;
    // One title, whatever it cost.
    let calls = far.model.title_requests().len();
    assert_eq!(calls, if at == Lost::Answer { 1 } else { 2 });
    far.server.stop().await;
}

#[tokio::test]
async fn a_title_whose_commit_answer_is_lost_is_published_by_a_sweep() {
    the_title(Lost::Answer).await;
}

#[tokio::test]
async fn a_title_whose_commit_never_arrives_is_made_by_a_sweep() {
    the_title(Lost::Request).await;
}
