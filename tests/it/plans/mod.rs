//! No statement of a running service reads a whole growing table: everything that the service does is done once
//! while its statements are recorded, on tables of thousands of rows, and each database is asked how it finds them.

mod explain;
mod seed;

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::Utc;
use sea_orm::{DatabaseConnection, Statement};
use serde_json::{Value, json};
use titlecast::{
    conversation::{ConversationId, MessageId, Owner, Role, Rows},
    db::{
        ConversationList, Database, Imported, Keyset, NewConversation, NewMessage, RefreshLimits,
        StatsFilter, TitleBacklog, WaitsFor, WebhookRoute,
    },
};
use titlecast_testing::{
    Events, ModelServer, Rows as Past, Server, TestDatabase,
    calls::{delete, rename, send_message},
    server::client,
    titles::{regenerate, replied, reset, settled},
};
use tokio::sync::{Mutex, mpsc::UnboundedReceiver};

use self::explain::{complaints, is_page, plan};
use crate::agents::Folder;

/// Pages of one conversation in both directions, and of the list's conversations.
const LIST: &str = "query ($after: String, $filter: ConversationFilter, $order: ConversationOrder) {
    conversations(first: 50, after: $after, filter: $filter, order: $order) {
        totalCount
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

const FEED: &str = "query ($after: String) { conversationChanges(after: $after) {
    cursor reset changes { conversation { id } }
} }";

/// A service on tables of thousands of rows, whose statements are recorded.
struct Recorded {
    server: Server,
    statements: UnboundedReceiver<Statement>,
    past: DatabaseConnection,
    /// What others copy.
    _filled: Arc<TestDatabase>,
}

/// A filled database, and a copy of it. Filling one takes longer than everything else here, so tests that overlap copy it.
async fn filled() -> (Arc<TestDatabase>, TestDatabase) {
    static FILLED: Mutex<Weak<TestDatabase>> = Mutex::const_new(Weak::new());
    let mut filled = FILLED.lock().await;
    let database = match filled.upgrade() {
        Some(database) => database,
        None => {
            let database = Arc::new(TestDatabase::new().await);
            let connection = database.connect().await;
            seed::fill(&connection).await;
            connection.close().await.unwrap();
            *filled = Arc::downgrade(&database);
            database
        }
    };
    let copy = database.copy().await;
    (database, copy)
}

impl Recorded {
    async fn start(model: &ModelServer) -> Self {
        Self::start_with(model, &[]).await
    }

    async fn start_with(model: &ModelServer, settings: &[&str]) -> Self {
        let (filled, database) = filled().await;
        let past = database.connect().await;
        let settings = [&["--title-sweep", "1h"], settings].concat();
        let server = Server::start_on(database, model, &settings).await;
        let statements = server.app.database().record_statements();
        Self {
            server,
            statements,
            past,
            _filled: filled,
        }
    }

    /// The faults in the plans of the statements since the last call, and the number of these statements.
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

/// The same where the users of a tenant share their conversations.
#[tokio::test]
async fn no_statement_of_a_tenant_reads_a_whole_growing_table() {
    let model = ModelServer::start().await;
    let folder = Folder::new().file("titlecast.toml", "[sharing]\nvisibility = \"tenant\"\n");
    let path = folder.path("titlecast.toml");
    let mut service = Recorded::start_with(&model, &["--config", &path]).await;
    read(&service.server).await;
    write(&service.server).await;
    let db = service.server.app.database();
    let since = Utc::now() - chrono::TimeDelta::seconds(5);
    let tenant = Rows::OfTenant("local");
    db.rows_changed_since(tenant, since, None).await.unwrap();
    let (complaints, statements) = service.complaints().await;
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
    assert!(statements > 50, "{statements}");
}

#[tokio::test]
async fn a_missing_index_is_noticed() {
    let model = ModelServer::start().await;
    let mut service = Recorded::start(&model).await;
    for (indexes, needs_it) in [
        (&["agent_changes_in_order"][..], "agent_"),
        // The tenant's would do, for an owner who is most of it.
        (
            &[
                "agent_conversations_of_tenant_by_creation",
                "agent_conversations_listed_by_creation",
            ][..],
            "agent_conversations",
        ),
        (&["agent_messages_by_position"], "agent_messages"),
        (&["agent_turns_running"], "agent_turns"),
    ] {
        for index in indexes {
            let drop = format!("DROP INDEX {index}");
            sea_orm::ConnectionTrait::execute_unprepared(&service.past, &drop)
                .await
                .unwrap();
        }
        read(&service.server).await;
        look_after(service.server.app.database()).await;
        let (complaints, _) = service.complaints().await;
        let named = complaints.iter().any(|text| text.starts_with(needs_it));
        assert!(named, "{indexes:?} are not missed: {complaints:#?}");
    }
}

/// An owner has a hundred conversations beside 9,900 archived ones, and the other way round, and a few pins.
#[tokio::test]
async fn a_list_reads_an_index_of_its_own_kind_alone() {
    let model = ModelServer::start().await;
    let service = Recorded::start(&model).await;
    let names = [
        "listed",
        "listed_by_creation",
        "archived",
        "archived_by_creation",
        "pinned",
    ];
    reads_its_own_kind(service, names).await;
}

/// The same for the list of a tenant.
#[tokio::test]
async fn a_list_of_a_tenant_reads_an_index_of_its_own_kind_alone() {
    let model = ModelServer::start().await;
    let folder = Folder::new().file("titlecast.toml", "[sharing]\nvisibility = \"read\"\n");
    let path = folder.path("titlecast.toml");
    let service = Recorded::start_with(&model, &["--config", &path]).await;
    let names = [
        "of_tenant",
        "of_tenant_by_creation",
        "of_tenant_archived",
        "of_tenant_archived_by_creation",
        "of_tenant_pinned",
    ];
    reads_its_own_kind(service, names).await;
}

/// The names of the indexes: by activity and by creation, of those that are not archived and of those that are; and of pins.
async fn reads_its_own_kind(
    mut service: Recorded,
    [listed, by_creation, archived, archived_by_creation, pinned]: [&str; 5],
) {
    let run = async |sql: &str| {
        sea_orm::ConnectionTrait::execute_unprepared(&service.past, sql)
            .await
            .unwrap();
    };
    run("UPDATE agent_conversations SET pinned_at = created_at WHERE topic_hint LIKE '%400'").await;
    for is_one in ["LIKE", "NOT LIKE"] {
        run("UPDATE agent_conversations SET archived_at = NULL").await;
        let archive = "UPDATE agent_conversations SET archived_at = created_at WHERE topic_hint";
        run(&format!("{archive} {is_one} '%00'")).await;
        if TestDatabase::is_on_server() {
            run("ANALYZE").await;
        }
        for (arguments, indexes) in [
            ("", &[listed][..]),
            ("order: CREATED_DESC", &[by_creation]),
            ("order: PINNED_FIRST", &[pinned, listed]),
            ("filter: { archived: true }", &[archived]),
            (
                "filter: { archived: true }, order: CREATED_DESC",
                &[archived_by_creation],
            ),
        ] {
            while service.statements.try_recv().is_ok() {}
            let query = format!("{{ conversations(first: 5, {arguments}) {{ nodes {{ id }} }} }}");
            service.server.data(&query, json!({})).await;
            let mut read = Vec::new();
            while let Ok(statement) = service.statements.try_recv() {
                // The sweep reads in this order too.
                if is_page(&statement) && statement.sql.contains(r#""archived_at" IS"#) {
                    read.push(plan(&service.past, &statement).await);
                }
            }
            // Pins fill the page.
            assert!(!read.is_empty() && read.len() <= indexes.len(), "{read:#?}");
            for (plan, index) in read.iter().zip(indexes) {
                let index = format!("agent_conversations_{index}");
                let mut words = plan.split(|c: char| !c.is_alphanumeric() && c != '_');
                assert!(
                    words.any(|word| word == index),
                    "{arguments}: {index}: {plan}"
                );
            }
        }
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
    for order in ["ACTIVITY_DESC", "CREATED_DESC", "PINNED_FIRST"] {
        for filter in [
            json!({}),
            json!({ "pinned": true }),
            json!({ "pinned": false }),
            json!({ "archived": true, "metadata": [{ "key": "color", "value": "red" }] }),
            json!({ "agentEntrypoint": "researcher" }),
        ] {
            // PostgreSQL may sort the pins, where there are few.
            if order == "CREATED_DESC" && filter["pinned"] == true {
                continue;
            }
            let variables = json!({ "filter": filter, "order": order });
            let first = server.data(LIST, variables.clone()).await;
            let mut variables = variables;
            variables["after"] = first["conversations"]["pageInfo"]["endCursor"].clone();
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
    let now = server.data(FEED, json!({})).await;
    // That of the tenant, if it has one.
    let epoch = "SELECT epoch FROM agent_feeds WHERE tenant_id = 'local' AND user_id IN ('', 'local') ORDER BY user_id";
    let epoch = Past::of(&server.database).await.all(epoch, []).await;
    let epoch: i64 = epoch[0].try_get("", "epoch").unwrap();
    let begun = json!(BASE64_URL_SAFE_NO_PAD.encode(format!("3:{epoch}:0:0:f")));
    for after in [&now["conversationChanges"]["cursor"], &begun] {
        let page = server.data(FEED, json!({ "after": after })).await;
        assert_eq!(page["conversationChanges"]["reset"], false);
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
        format!("/api/v1/conversations/{id}/events"),
        format!("/api/v1/conversations/{id}/ledger/events?limit=2"),
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
        external_id: None,
        id: Some(MessageId::new()),
        role: Role::User,
        text: text.into(),
        attachments: Vec::new(),
        created_at: now,
    };
    let mut one = NewConversation {
        external_id: None,
        id: ConversationId::new(),
        owner: Owner::local(),
        title: None,
        topic_hint: None,
        redacts: true,
        agent: "triage".into(),
        created_at: now,
        messages: vec![message("Plan a trip to Kyoto")],
        stored: None,
    };
    let added = db.import(std::slice::from_ref(&one)).await.unwrap();
    assert_eq!(added, [Imported::Added]);
    one.messages.push(message("And in May"));
    let continued = db.import(&[one]).await.unwrap();
    assert_eq!(continued, [Imported::Continued { messages: 1 }]);
}

/// Background work of the service, and requests between nodes.
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
    for agent in [None, Some("triage")] {
        db.title_tokens("local", agent, day_ago).await.unwrap();
    }
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
    for after in [None, Some(&place)] {
        db.find_due_titles(after, 200).await.unwrap();
        for cause in [WaitsFor::Model, WaitsFor::Budget] {
            db.find_waiting_titles(cause, after, 200).await.unwrap();
        }
        let long = db.find_long_waiting_titles(Utc::now(), after, 200).await;
        let waiting = long.unwrap().rows;
        let (_, claim) = db.claim_retry(&waiting[0], second).await.unwrap().unwrap();
        db.release_claim(&claim, &[]).await.unwrap();
        db.give_title_up(&waiting[1]).await.unwrap().unwrap();
        let ids = waiting[2..4].iter().map(|one| one.id);
        db.make_titles_due(ids.collect()).await.unwrap();
    }
    db.waiting_titles(&StatsFilter::default()).await.unwrap();
    db.erase_former_titles().await.unwrap();
    db.erase_left_metadata().await.unwrap();
    let (changed, _) = db.rows_changed_since(&owner, day_ago, None).await.unwrap();
    let after = changed
        .last()
        .map_or_else(ConversationId::new, |row| row.id);
    db.rows_changed_since(&owner, day_ago, Some(after))
        .await
        .unwrap();
    db.find_row(&owner, after).await.unwrap();
    db.find_last_turn(&owner, after).await.unwrap();
    db.excerpts(&owner, after, vec![1, 2, 3]).await.unwrap();
    db.count_user_messages(&owner, after).await.unwrap();
    let limits = RefreshLimits {
        most: 3,
        pause: second,
    };
    db.begin_refresh(&owner, after, limits, second)
        .await
        .unwrap();
    // There is no former title.
    db.restore_title(&owner, after, "local").await.unwrap_err();
    let all = ConversationList::default();
    db.conversations(&owner, &all, None, 1).await.unwrap();
    announce(db).await;
    let log = db.audit_log("local", None, None, 50).await.unwrap();
    let after = log.items.last().unwrap().cursor();
    db.audit_log("local", Some(day_ago), Some(after), 50)
        .await
        .unwrap();
    db.prune_audit(Duration::from_secs(60)).await.unwrap();
}

/// What is done for webhooks. What waits is counted up to a limit, and may be read in any way.
async fn announce(db: &Database) {
    let second = Duration::from_secs(1);
    let route = WebhookRoute {
        tenant: "local".into(),
        event: "conversation.deleted",
        hook: "crm".into(),
    };
    db.register_webhooks(vec![route], second).await.unwrap();
    db.drop_unrouted_webhooks(second).await.unwrap();
    let lanes = db.claim_webhook_lanes("crm", 4, second).await.unwrap();
    let event = db.first_webhook_event(&lanes[0]).await.unwrap().unwrap();
    db.webhook_content(&lanes[0], &event).await.unwrap();
    assert!(
        db.webhook_delivered(&lanes[0], &event, second)
            .await
            .unwrap()
    );
    db.close_webhook_lane(&lanes[0]).await.unwrap();
    db.webhook_failed(&lanes[1], "status 500", None)
        .await
        .unwrap();
    db.release_webhook_lane(&lanes[2], second).await.unwrap();
    let (parked, other) = (lanes[1].conversation, lanes[3].conversation);
    let old = Utc::now();
    db.webhooks_parked_before("crm", old, 200).await.unwrap();
    db.webhooks_due_before("crm", old, 200).await.unwrap();
    assert!(db.drop_parked_webhook("crm", parked).await.unwrap());
    db.retry_webhook_lane("crm", other).await.unwrap();
    db.drop_webhook_lane("crm", other, None).await.unwrap();
}
