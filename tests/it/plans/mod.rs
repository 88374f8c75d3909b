//! No statement of a running service reads a whole growing table: everything that the service does is done once
//! while its statements are recorded, on tables of thousands of rows, and each database is asked how it finds them.

mod explain;
mod seed;

use std::{collections::BTreeMap, time::Duration};

use chrono::Utc;
use sea_orm::{DatabaseConnection, Statement};
use serde_json::{Value, json};
use titlecast::{
    conversation::{ConversationId, MessageId, Owner, Role},
    db::{
        ConversationFilter, Database, Imported, Keyset, NewConversation, NewMessage, TitleBacklog,
    },
};
use titlecast_testing::{
    Events, ModelServer, Server, TestDatabase,
    calls::{delete, rename, send_message},
    server::client,
    titles::{regenerate, replied, reset, settled},
};
use tokio::sync::mpsc::UnboundedReceiver;

use self::explain::complaints;

/// Pages of one conversation in both directions, and of the list's conversations.
const LIST: &str = "query ($after: String, $filter: ConversationFilter) {
    conversations(first: 50, after: $after, filter: $filter) {
        nodes { id title messages(last: 3) { nodes { content } pageInfo { startCursor endCursor } } }
        pageInfo { endCursor hasNextPage }
    }
}";

const NODE: &str = "query ($id: ID!) { node(id: $id) { id ... on Conversation { title } } }";

const MESSAGES: &str =
    "query ($id: ID!, $first: Int, $after: String, $last: Int, $before: String) {
    conversation(id: $id) { messages(first: $first, after: $after, last: $last, before: $before) {
        nodes { id } pageInfo { startCursor endCursor }
    } }
}";

const SEARCH: &str = "query ($query: String!, $after: String) {
    searchConversations(query: $query, first: 20, after: $after) {
        nodes { snippet conversation { id } } pageInfo { endCursor }
    }
}";

/// A service on tables of thousands of rows, whose statements are recorded.
struct Recorded {
    server: Server,
    statements: UnboundedReceiver<Statement>,
    past: DatabaseConnection,
}

impl Recorded {
    async fn start(model: &ModelServer) -> Self {
        let database = TestDatabase::new().await;
        let past = database.connect().await;
        seed::fill(&past).await;
        let server = Server::start_on(database, model, &["--title-sweep", "1h"]).await;
        let statements = server.app.database().record_statements();
        Self {
            server,
            statements,
            past,
        }
    }

    /// What is to be said against the plans of what ran since the last time, and how many statements that were.
    async fn complaints(&mut self) -> (Vec<String>, usize) {
        let mut distinct = BTreeMap::new();
        while let Ok(statement) = self.statements.try_recv() {
            distinct.insert(statement.sql.clone(), statement);
        }
        let mut all = Vec::new();
        for statement in distinct.values() {
            all.extend(complaints(&self.past, statement).await);
        }
        (all, distinct.len())
    }
}

#[tokio::test]
async fn no_statement_reads_a_whole_growing_table() {
    let model = ModelServer::start().await;
    let mut service = Recorded::start(&model).await;
    read(&service.server).await;
    write(&service.server).await;
    look_after(service.server.app.database()).await;
    let (complaints, statements) = service.complaints().await;
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
    // Were nothing recorded, nothing would be complained about.
    assert!(statements > 60, "{statements}");
}

#[tokio::test]
async fn a_missing_index_is_noticed() {
    let model = ModelServer::start().await;
    let mut service = Recorded::start(&model).await;
    for (index, needs_it) in [
        ("agent_conversations_by_activity", "agent_conversations"),
        ("agent_messages_by_position", "agent_messages"),
        ("agent_turns_running", "agent_turns"),
    ] {
        sea_orm::ConnectionTrait::execute_unprepared(&service.past, &format!("DROP INDEX {index}"))
            .await
            .unwrap();
        read(&service.server).await;
        look_after(service.server.app.database()).await;
        let (complaints, _) = service.complaints().await;
        let named = complaints.iter().any(|text| text.starts_with(needs_it));
        assert!(named, "{index} is not missed: {complaints:#?}");
    }
}

/// Every way to read.
async fn read(server: &Server) {
    let page = server.data(LIST, json!({})).await;
    let page = &page["conversations"];
    assert_eq!(page["nodes"].as_array().unwrap().len(), 50);
    let after = &page["pageInfo"]["endCursor"];
    for filter in [Value::Null, json!({ "agentEntrypoint": "researcher" })] {
        for after in [&Value::Null, after] {
            let variables = json!({ "filter": filter, "after": after });
            server.data(LIST, variables).await;
        }
    }
    let id = page["nodes"][0]["id"].as_str().unwrap();
    let first = server.data(MESSAGES, json!({ "id": id, "first": 1 })).await;
    let messages = &first["conversation"]["messages"];
    let (end, message) = (
        &messages["pageInfo"]["endCursor"],
        &messages["nodes"][0]["id"],
    );
    let forward = json!({ "id": id, "first": 1, "after": end });
    server.data(MESSAGES, forward).await;
    let last = server.data(MESSAGES, json!({ "id": id, "last": 1 })).await;
    let start = &last["conversation"]["messages"]["pageInfo"]["startCursor"];
    let backward = json!({ "id": id, "last": 1, "before": start });
    server.data(MESSAGES, backward).await;
    for id in [json!(id), message.clone(), json!(uuid::Uuid::now_v7())] {
        server.data(NODE, json!({ "id": id })).await;
    }
    for query in ["plan", "plan it", "pl", "nothing of the kind"] {
        let found = server.data(SEARCH, json!({ "query": query })).await;
        let after = &found["searchConversations"]["pageInfo"]["endCursor"];
        assert_eq!(after.is_null(), query.starts_with("nothing"), "{query}");
        server
            .data(SEARCH, json!({ "query": query, "after": after }))
            .await;
    }
    let paths = [
        "/api/v1/conversations?limit=20".to_owned(),
        "/api/v1/conversations?limit=20&agent=researcher".to_owned(),
        "/api/v1/conversations/search?q=plan".to_owned(),
        "/api/v1/conversations/search?q=plan&agent=researcher".to_owned(),
        format!("/api/v1/conversations/{id}"),
        format!("/api/v1/conversations/{id}/messages?limit=2"),
        "/readyz".to_owned(),
    ];
    for path in paths {
        let (status, body) = server.get(&path).await;
        assert_eq!(status, 200, "{path}: {body}");
    }
}

/// Every way to change something.
async fn write(server: &Server) {
    let url = &server.url;
    let id = settled(url, "Plan a trip to Kyoto in April").await;
    let second = json!({ "text": "And in May", "conversationId": id, "idempotencyKey": "one" });
    send_message(url, second.clone()).await;
    replied(url, &id, 4).await;
    // Again with the same key, and with a new one into a conversation that waits for something to be said.
    send_message(url, second).await;
    let greeted = send_message(url, json!({ "text": "Hello" })).await;
    let greeted = greeted["conversation"]["id"].as_str().unwrap();
    replied(url, greeted, 2).await;
    send_message(
        url,
        json!({ "text": "What rhymes with Kyoto", "conversationId": greeted }),
    )
    .await;
    replied(url, greeted, 4).await;
    server
        .stream(json!({ "message": "With an id", "conversation_id": uuid::Uuid::now_v7() }))
        .await
        .rest()
        .await;
    regenerate(url, json!({ "id": id })).await;
    rename(url, &id, "Kyoto").await;
    reset(url, &id).await;
    let query = "mutation ($id: ID!) { stopReply(input: { conversationId: $id }) { stopped } }";
    server.data(query, json!({ "id": id })).await;
    let reply = format!("{url}/api/v1/conversations/{id}/reply");
    Events::of(client().get(reply)).await.rest().await;
    delete(url, &id).await;
    import(server.app.database()).await;
}

/// A conversation of another system, and what came to it since.
async fn import(db: &Database) {
    let now = Utc::now();
    let message = |text: &str| NewMessage {
        id: Some(MessageId::new()),
        role: Role::User,
        text: text.into(),
        attachments: Vec::new(),
        created_at: now,
    };
    let mut one = NewConversation {
        id: ConversationId::new(),
        owner: Owner::local(),
        title: None,
        topic_hint: None,
        agent: "triage".into(),
        created_at: now,
        messages: vec![message("Plan a trip to Kyoto")],
    };
    let added = db.import(std::slice::from_ref(&one)).await.unwrap();
    assert_eq!(added, [Imported::Added]);
    one.messages.push(message("And in May"));
    let continued = db.import(&[one]).await.unwrap();
    assert_eq!(continued, [Imported::Continued { messages: 1 }]);
}

/// What the service does unasked, and nodes among each other.
async fn look_after(db: &Database) {
    let owner = Owner::local();
    let second = Duration::from_secs(1);
    let day_ago = Utc::now() - Duration::from_secs(86_400);
    let place = Keyset {
        at: day_ago,
        id: uuid::Uuid::now_v7(),
    };
    for after in [None, Some(&place)] {
        db.find_unpublished(second, after, 200).await.unwrap();
        db.find_dead_runs(after, 100).await.unwrap();
    }
    db.record_published(&mut [(ConversationId::new(), 2)])
        .await
        .unwrap();
    db.renew_runs(&[], second).await.unwrap();
    db.title_tokens("local", day_ago).await.unwrap();
    db.is_key_used(&owner, "one").await.unwrap();
    db.ping().await.unwrap();
    for since in [None, Some(day_ago)] {
        db.is_any_leased(since, None).await.unwrap();
        for waiting in [
            TitleBacklog::Overdue,
            TitleBacklog::Exhausted,
            TitleBacklog::Untitled {
                since,
                tenant: None,
            },
            TitleBacklog::Interrupted {
                since,
                tenant: None,
            },
        ] {
            db.count_candidates(waiting).await.unwrap();
            let page = db.find_candidates(waiting, None, 10).await.unwrap();
            let (Some(first), Some(last)) = (page.rows.first(), page.last) else {
                continue;
            };
            db.find_candidates(waiting, Some(&last), 10).await.unwrap();
            db.abandon_title(first).await.unwrap();
            db.claim_candidate(first, waiting, second).await.unwrap();
        }
    }
    let (changed, _) = db.rows_changed_since(&owner, day_ago, None).await.unwrap();
    let after = changed
        .last()
        .map_or_else(ConversationId::new, |row| row.id);
    db.rows_changed_since(&owner, day_ago, Some(after))
        .await
        .unwrap();
    db.find_row(&owner, after).await.unwrap();
    db.find_last_turn(&owner, after).await.unwrap();
    let all = ConversationFilter::default();
    db.conversations(&owner, &all, None, 1).await.unwrap();
}
