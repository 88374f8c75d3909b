//! `[retention]` and `titlecast prune`: what is too old goes, and what is left is consistent.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ConnectionTrait, Value as Bound};
use serde_json::{Value, json};
use titlecast::{
    conversation::{
        Owner,
        retention::{Retention, Retentions},
    },
    db::{Database, Prune, PrunePlace},
};
use titlecast_testing::{
    Answer, ModelServer, Rows, Server, Step, TestDatabase, Titlecast,
    calls::{delete, rename, send_message, settled_conversation},
    eventually,
    stored::id as bound,
    titles::Watched,
};

use super::{agents::Folder, rewrites};

const LIMITS: &str = "[retention]\nmessages = \"30d\"\nconversations = \"90d\"\ntombstones = \"10d\"\n\
    title_calls = \"60d\"\n[retention.tenants.kept]\nmessages = \"0s\"\nconversations = \"0s\"\n\
    tombstones = \"0s\"\ntitle_calls = \"0s\"\n";

fn days_ago(days: i64) -> DateTime<Utc> {
    Utc::now() - TimeDelta::days(days)
}

/// `titlecast prune` with these limits; the end that it prints.
async fn prune(database: &TestDatabase, limits: &str, arguments: &[&str]) -> Value {
    let command = [&["prune", "--config", "titlecast.toml"], arguments].concat();
    let printed = Titlecast::new(&command)
        .env("DATABASE_URL", &database.url)
        .file("titlecast.toml", limits)
        .run()
        .await
        .ok();
    let last = printed.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|_| panic!("{printed}"))
}

/// Moves a table's times of one conversation, or of all.
async fn age(rows: &Rows, sql: &str, days: i64, id: Option<&str>) {
    let mut values: Vec<Bound> = vec![days_ago(days).into()];
    values.extend(id.map(bound));
    let changed = rows.run(sql, values).await.unwrap();
    assert!(changed.rows_affected() > 0, "{sql}");
}

/// Positions are dense up to the count, previews are those of the messages, and nothing refers to what is gone.
pub async fn assert_consistent(rows: &Rows) {
    for (what, sql) in [
        (
            "counts",
            "SELECT id FROM agent_conversations AS c WHERE status = 'active' AND message_count <> \
             coalesce((SELECT max(position) FROM agent_messages WHERE conversation_id = c.id), message_count)",
        ),
        (
            "positions",
            "SELECT conversation_id FROM agent_messages GROUP BY conversation_id \
             HAVING max(position) - min(position) + 1 <> count(*)",
        ),
        (
            "previews",
            "SELECT id FROM agent_conversations AS c WHERE status = 'active' AND \
             (last_message_preview IS NULL) <> NOT EXISTS (SELECT 1 FROM agent_messages WHERE conversation_id = c.id)",
        ),
        (
            "search",
            "SELECT message_id FROM agent_search AS s WHERE message_id IS NOT NULL AND NOT EXISTS \
             (SELECT 1 FROM agent_messages WHERE id = s.message_id)",
        ),
        (
            "unsearched",
            "SELECT id FROM agent_messages AS m WHERE content <> '' AND NOT EXISTS \
             (SELECT 1 FROM agent_search WHERE message_id = m.id)",
        ),
        (
            "versions",
            "SELECT v.id FROM agent_message_versions AS v LEFT JOIN agent_messages AS m ON m.id = v.message_id \
             WHERE m.id IS NULL OR v.position <> m.position",
        ),
        (
            "parts",
            "SELECT reply_id FROM agent_reply_parts AS p WHERE NOT EXISTS \
             (SELECT 1 FROM agent_messages WHERE id = p.reply_id) AND NOT EXISTS \
             (SELECT 1 FROM agent_message_versions WHERE id = p.reply_id)",
        ),
    ] {
        let found = rows.all(sql, []).await.len();
        assert_eq!(found, 0, "{what}: {sql}");
    }
}

async fn contents(rows: &Rows, id: &str) -> Vec<String> {
    let messages = rows.messages(id).await.into_iter();
    messages.map(|(_, _, content)| content).collect()
}

#[tokio::test]
async fn old_messages_go_in_whole_turns_and_the_rest_of_the_conversation_goes_on() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let url = &server.url;
    // An edited message, a regenerated reply, and three turns behind them.
    model.reply(Answer::Deltas(vec!["first reply"]));
    let id = settled_conversation(url, json!({ "text": "zyxwomb first" })).await;
    let first = rewrites::settled(url, &id).await["messages"]["nodes"][0]["id"].clone();
    rewrites::edit(
        url,
        json!({ "messageId": first, "text": "zyxwomb first, edited" }),
    )
    .await;
    rewrites::settled(url, &id).await;
    for number in 0..3 {
        model.reply(Answer::Deltas(vec!["a later reply"]));
        send_message(
            url,
            json!({ "conversationId": id, "text": format!("turn {number}") }),
        )
        .await;
        rewrites::settled(url, &id).await;
    }
    let now = rewrites::settled(url, &id).await;
    let newest = now["messages"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .rfind(|one| one["role"] == "USER");
    let newest = newest.unwrap()["id"].clone();
    rewrites::regenerate(url, json!({ "messageId": newest })).await;
    rewrites::settled(url, &id).await;
    let untitled = json!({ "text": "zyxwomb untitled", "autoTitle": false });
    let untitled = settled_conversation(url, untitled).await;
    let again = json!({ "conversationId": untitled, "text": "and the second message" });
    send_message(url, again).await;
    let before = rewrites::settled(url, &untitled).await;
    rename(url, &id, "The title stays").await;

    let rows = Rows::of(&server.database).await;
    assert_consistent(&rows).await;
    // The second turn's message is old and its reply is not, so both stay.
    let aged =
        "UPDATE agent_messages SET created_at = $1 WHERE conversation_id = $2 AND position <= 3";
    age(&rows, aged, 31, Some(&id)).await;
    let aged =
        "UPDATE agent_messages SET created_at = $1 WHERE conversation_id = $2 AND position <= 2";
    age(&rows, aged, 31, Some(&untitled)).await;
    let census = server.database.census().await;
    let dry = prune(&server.database, LIMITS, &["--dry-run"]).await;
    assert_eq!(
        (&dry["reason"], server.database.census().await),
        (&json!("dry_run"), census)
    );
    assert_eq!(dry["done"]["rows"]["agent_messages"], 5);
    assert_eq!(
        prune(&server.database, "", &[]).await["done"]["rows"],
        json!({})
    );

    let pruned = prune(&server.database, LIMITS, &[]).await;
    assert_eq!(pruned["reason"], "finished");
    assert_eq!(pruned["done"]["rows"]["agent_messages"], 4, "{pruned}");
    assert_consistent(&rows).await;
    let left = contents(&rows, &id).await;
    assert_eq!(left.len(), 6);
    assert_eq!(left[0], "turn 0");
    let now = rewrites::settled(url, &id).await;
    assert_eq!(
        (&now["title"], &now["messageCount"]),
        (&json!("The title stays"), &json!(8))
    );
    let now = rewrites::settled(url, &untitled).await;
    assert_eq!(
        now["title"], "and the second message",
        "the hint is that of the first one left"
    );
    assert_eq!(now["lastMessagePreview"], before["lastMessagePreview"]);
    assert!(now["revision"].as_i64() > before["revision"].as_i64());
    // It continues, and again nothing is left to do.
    model.reply(Answer::Deltas(vec!["the newest reply"]));
    send_message(url, json!({ "conversationId": id, "text": "goes on" })).await;
    let now = rewrites::settled(url, &id).await;
    assert_eq!(now["messageCount"], 10);
    assert_eq!(
        prune(&server.database, LIMITS, &[]).await["done"]["rows"],
        json!({})
    );
    assert_consistent(&rows).await;
    let word = "SELECT 1 FROM agent_search WHERE body LIKE '%zyxwomb%'";
    assert_eq!(rows.all(word, []).await.len(), 0);
    server.stop().await;
}

#[tokio::test]
async fn long_conversations_and_those_with_nothing_left_are_pruned_too() {
    let database = TestDatabase::new().await;
    let owner = Owner::local();
    database.seed(&owner, 1, 1_001).await;
    database.seed(&owner, 230, 2).await;
    let kept = Owner {
        tenant: "kept".into(),
        user: "ann".into(),
    };
    database.seed(&kept, 3, 2).await;
    let rows = Rows::of(&database).await;
    // So that the search has nothing to say of seeded rows.
    age(&rows, "UPDATE agent_messages SET created_at = $1", 31, None).await;
    age(
        &rows,
        "UPDATE agent_conversations SET last_message_at = $1",
        31,
        None,
    )
    .await;
    age(
        &rows,
        "UPDATE agent_messages SET created_at = $1 WHERE position > 901",
        1,
        None,
    )
    .await;
    let pruned = prune(&database, LIMITS, &[]).await;
    assert_eq!(
        pruned["done"]["rows"],
        json!({ "agent_messages": 900 + 460 })
    );
    let counts = "SELECT (SELECT count(*) FROM agent_messages WHERE conversation_id = c.id) AS n \
         FROM agent_conversations AS c ORDER BY n DESC LIMIT 5";
    let counts: Vec<i64> = rows
        .all(counts, [])
        .await
        .iter()
        .map(|row| row.try_get("", "n").unwrap())
        .collect();
    // The last old message stays with its reply.
    assert_eq!(counts, [101, 2, 2, 2, 0]);
    let positions = "SELECT max(position) AS last FROM agent_messages";
    let last: i64 = rows.all(positions, []).await[0]
        .try_get("", "last")
        .unwrap();
    // Cursors hold positions, so they stay.
    assert_eq!(last, 1_001);
    // An empty conversation is exported, and imported again.
    let server = Server::on(database, &["--openai-base-url", "", "--openai-api-key", ""]).await;
    let (status, page) = server.get("/api/v1/conversations?limit=100").await;
    assert_eq!(
        (status, page["items"].as_array().unwrap().len()),
        (200, 100)
    );
    server.stop().await;
}

#[tokio::test]
async fn an_old_message_behind_a_younger_one_stays_and_the_dry_run_counts_the_same() {
    let database = TestDatabase::new().await;
    let id = database.seed(&Owner::local(), 1, 6).await.remove(0);
    let rows = Rows::of(&database).await;
    let aged = "UPDATE agent_messages SET created_at = $1 WHERE conversation_id = $2";
    age(&rows, aged, 31, Some(&id)).await;
    let young =
        "UPDATE agent_messages SET created_at = $1 WHERE conversation_id = $2 AND position = 3";
    age(&rows, young, 1, Some(&id)).await;
    let limit = "[retention]\nmessages = \"30d\"\n";
    for arguments in [&["--dry-run"][..], &[]] {
        let pruned = prune(&database, limit, arguments).await;
        assert_eq!(
            pruned["done"]["rows"]["agent_messages"], 2,
            "{arguments:?}: {pruned}"
        );
    }
    let left: Vec<String> = (3..=6).map(|place| format!("message {place}")).collect();
    assert_eq!(contents(&rows, &id).await, left);
}

#[tokio::test]
async fn a_prune_without_any_limit_says_so() {
    let database = TestDatabase::new().await;
    let ended = Titlecast::new(&["prune"])
        .env("DATABASE_URL", &database.url)
        .run()
        .await;
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), "nothing to prune: [retention] sets no limit\n")
    );
}

#[tokio::test]
async fn a_step_removes_a_bounded_number_of_messages_and_the_next_one_continues() {
    let database = TestDatabase::new().await;
    let owner = Owner::local();
    database.seed(&owner, 2, 901).await;
    database.seed(&owner, 1, 3_001).await;
    database.seed(&owner, 2, 801).await;
    let rows = Rows::of(&database).await;
    age(&rows, "UPDATE agent_messages SET created_at = $1", 31, None).await;
    let db = Database::connect(&database.url, 4).await.unwrap();
    let retentions = Retentions {
        default: Retention {
            messages: Some(Duration::from_secs(30 * 24 * 60 * 60)),
            ..Retention::default()
        },
        ..Retentions::default()
    };
    let prune = Prune {
        retentions: &retentions,
        redacts: &|_| false,
        is_dry: false,
        page: 100,
    };
    let (mut place, mut steps) = (PrunePlace::default(), Vec::new());
    while let Some(pruned) = db.prune_next(&prune, &mut place).await.unwrap() {
        steps.push(pruned.removed.of("agent_messages"));
    }
    assert!(steps.iter().all(|removed| *removed < 2_200), "{steps:?}");
    assert_eq!(steps.iter().sum::<u64>(), 2 * 901 + 3_001 + 2 * 801);
    assert_eq!(rows.count("agent_messages").await, 0);
}

#[tokio::test]
async fn conversations_without_activity_are_deleted_and_told_and_tombstones_and_calls_go() {
    let model = ModelServer::start().await;
    let folder = Folder::new().file("titlecast.toml", &format!(
        "{LIMITS}[providers.openai]\nbase_url = \"{}\"\n[agents.triage]\nprovider = \"openai\"\nmodels = [\"one\"]\n",
        model.url
    ));
    let database = TestDatabase::new().await;
    let first = Server::start_on(database.shared(), &model, &[]).await;
    let url = &first.url;
    let old = settled_conversation(url, json!({ "text": "zyxwomb old" })).await;
    let pinned = settled_conversation(url, json!({ "text": "Pinned and old" })).await;
    let new = settled_conversation(url, json!({ "text": "Still new" })).await;
    let gone = settled_conversation(url, json!({ "text": "Deleted long ago" })).await;
    let fresh = settled_conversation(url, json!({ "text": "Deleted just now" })).await;
    for id in [&gone, &fresh] {
        delete(url, id).await;
    }
    let pin = "mutation ($id: ID!) { pinConversation(input: { conversationId: $id }) { conversation { id } } }";
    first.data(pin, json!({ "id": pinned })).await;
    first.stop().await;
    let rows = Rows::of(&database).await;
    let activity = "UPDATE agent_conversations SET last_message_at = $1 WHERE id = $2";
    for id in [&old, &pinned] {
        age(&rows, activity, 91, Some(id)).await;
    }
    let changed = "UPDATE agent_conversations SET updated_at = $1 WHERE id = $2";
    age(&rows, changed, 11, Some(&gone)).await;
    for table in ["agent_title_calls", "agent_reply_calls"] {
        let sql = format!("UPDATE {table} SET created_at = $1 WHERE conversation_id = $2");
        age(&rows, &sql, 61, Some(&new)).await;
    }
    age(
        &rows,
        "UPDATE agent_turns SET created_at = $1 WHERE conversation_id = $2",
        61,
        Some(&new),
    )
    .await;
    let calls = [
        rows.count("agent_title_calls").await,
        rows.count("agent_reply_calls").await,
    ];
    assert!(calls.iter().all(|calls| *calls > 1), "{calls:?}");

    // The loop begins with a pass.
    let path = folder.path("titlecast.toml");
    let mut server = Server::on(database, &["--config", &path]).await;
    let metrics_url = server.serve_metrics().await;
    let status = async |id: &str| -> Option<String> {
        let sql = "SELECT status FROM agent_conversations WHERE id = $1";
        let found = rows.all(sql, [bound(id)]).await;
        found.first().map(|row| row.try_get("", "status").unwrap())
    };
    eventually(async || (status(&old).await.as_deref() == Some("deleted")).then_some(())).await;
    eventually(async || status(&gone).await.is_none().then_some(())).await;
    let left = async || {
        [
            rows.count("agent_title_calls").await,
            rows.count("agent_reply_calls").await,
        ]
    };
    eventually(async || (left().await == calls.map(|calls| calls - 1)).then_some(())).await;
    for (id, expected) in [(&pinned, "active"), (&new, "active"), (&fresh, "deleted")] {
        assert_eq!(status(id).await.as_deref(), Some(expected));
    }
    let turns = "SELECT 1 FROM agent_turns WHERE conversation_id = $1";
    assert_eq!(rows.all(turns, [bound(&new)]).await.len(), 0);
    assert_eq!(rows.all(turns, [bound(&fresh)]).await.len(), 1);
    assert_consistent(&rows).await;
    let page = titlecast_testing::server::metrics(&metrics_url).await;
    for (table, count) in [("deleted_conversations", 1), ("agent_turns", 2)] {
        let counted = format!("titlecast_pruned_rows_total{{table=\"{table}\"}} {count}");
        assert!(page.contains(&counted), "{table}: {page}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_subscriber_is_told_what_retention_deletes_and_what_it_shortens() {
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &["--title-sweep", "300ms"]).await;
    let old = settled_conversation(&server.url, json!({ "text": "Plan a trip" })).await;
    let shortened =
        settled_conversation(&server.url, json!({ "text": "How long is a lease" })).await;
    let rows = Rows::of(&server.database).await;
    let activity = "UPDATE agent_conversations SET last_message_at = $1 WHERE id = $2";
    age(&rows, activity, 91, Some(&old)).await;
    let aged = "UPDATE agent_messages SET created_at = $1 WHERE conversation_id = $2";
    age(&rows, aged, 31, Some(&shortened)).await;
    let mut watched = Watched::list(&server.url).await;
    prune(&server.database, LIMITS, &[]).await;
    let mut told = (false, false);
    while told != (true, true) {
        let change = watched.next().await;
        told.0 |= change["id"] == old && change["status"] == "DELETED";
        told.1 |= change["id"] == shortened && change["lastMessagePreview"].is_null();
    }
    // The empty conversation can be continued.
    send_message(
        &server.url,
        json!({ "conversationId": shortened, "text": "Here again" }),
    )
    .await;
    rewrites::settled(&server.url, &shortened).await;
    assert_consistent(&rows).await;
    server.stop().await;
}

#[tokio::test]
async fn a_running_reply_keeps_its_conversation_as_it_is() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = settled_conversation(&server.url, json!({ "text": "Plan a trip" })).await;
    let (answer, steps) = Answer::live();
    model.reply(answer);
    send_message(
        &server.url,
        json!({ "conversationId": id, "text": "And in May?" }),
    )
    .await;
    let rows = Rows::of(&server.database).await;
    let aged =
        "UPDATE agent_messages SET created_at = $1 WHERE conversation_id = $2 AND position <= 2";
    age(&rows, aged, 31, Some(&id)).await;
    let aged = "UPDATE agent_conversations SET last_message_at = $1 WHERE id = $2";
    age(&rows, aged, 91, Some(&id)).await;
    assert_eq!(
        prune(&server.database, LIMITS, &[]).await["done"]["rows"],
        json!({})
    );
    // The reply is now the last message.
    steps.send(Step::delta("In May, too")).unwrap();
    steps.send(Step::Finish).unwrap();
    rewrites::settled(&server.url, &id).await;
    let pruned = prune(&server.database, LIMITS, &[]).await;
    assert_eq!(pruned["done"]["rows"]["agent_messages"], 2);
    assert_consistent(&rows).await;
    rows.0.execute_unprepared("SELECT 1").await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn limits_are_shown_by_config_check_and_mistakes_are_refused() {
    let check = async |file: &str| {
        Titlecast::new(&["config", "check", "--config", "titlecast.toml"])
            .file("titlecast.toml", file)
            .run()
            .await
    };
    let page = check(LIMITS).await.ok();
    let at = page.find("retention:").unwrap();
    assert!(
        page[at..].starts_with("retention:\n  messages: 30days\n"),
        "{page}"
    );
    assert!(
        page[at..].contains("  tenant kept:\n    messages: kept\n"),
        "{page}"
    );
    assert!(!check("").await.ok().contains("retention:"));
    check("[retention]\nmessages = \"100years\"").await.ok();
    for (file, reason) in [
        (
            "[retention]\nmessages = \"101years\"",
            "retention.messages: must be at most 100years",
        ),
        (
            "[retention]\nmessages = \"30m\"",
            "retention.messages: expected at least \"1h\"",
        ),
        (
            "[retention]\nmessages = 30",
            "retention.messages: expected a time with a unit",
        ),
        ("[retention]\nmesages = \"30d\"", "unknown key"),
        ("[retention.tenants.acme]\nturns = \"30d\"", "unknown key"),
    ] {
        check(file).await.assert_refused(&[reason]);
    }
}
