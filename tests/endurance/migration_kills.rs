//! `migrate up` killed at random points, on a database of 20,000 messages: the next one comes up, and every message is
//! found. `TITLECAST_KILLS` says how often (20).

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement, TransactionTrait, Value};
use titlecast::db::Database;
use titlecast_testing::{Rows, Server, TestDatabase, Titlecast, postgres::Postgres};
use uuid::Uuid;

const CONVERSATIONS: usize = 2_000;
const MESSAGES: usize = 10;

/// What a busy machine may add to a migration of seconds. A lock that a killed process left behind takes longer.
const STARVED: Duration = Duration::from_secs(60);

/// Conversations and messages as the oldest version stored them.
async fn fill(connection: &DatabaseConnection) {
    let backend = connection.get_database_backend();
    let at: chrono::DateTime<chrono::Utc> = "2025-10-31T12:00:00Z".parse().unwrap();
    let tx = connection.begin().await.unwrap();
    for conversation in 0..CONVERSATIONS {
        let id = Uuid::now_v7();
        let values: Vec<Value> = vec![id.into(), format!("topic{conversation}").into(), at.into()];
        let insert =
            "INSERT INTO agent_conversations (id, tenant_id, user_id, topic_hint, agent_entrypoint,
                active_agent, message_count, last_message_at, created_at, updated_at)
            VALUES ($1, 'local', 'local', $2, 'triage', 'triage', 10, $3, $3, $3)";
        tx.execute_raw(Statement::from_sql_and_values(backend, insert, values))
            .await
            .unwrap();
        let mut values: Vec<Value> = vec![id.into(), at.into()];
        let mut rows = Vec::new();
        for position in 1..=MESSAGES {
            let place = values.len() + 1;
            rows.push(format!(
                "(${place}, $1, {position}, 'user', ${}, $2)",
                place + 1
            ));
            let number = conversation * MESSAGES + position;
            values.push(Uuid::now_v7().into());
            values.push(format!("number{number:05} of a plan for Kyoto").into());
        }
        let insert = format!(
            "INSERT INTO agent_messages (id, conversation_id, position, role, content, created_at) VALUES {}",
            rows.join(", ")
        );
        tx.execute_raw(Statement::from_sql_and_values(backend, insert, values))
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
}

/// The index, by message, and whether FTS5's part agrees with it.
async fn index_of(rows: &Rows) -> Vec<(Uuid, Uuid, String)> {
    let mut texts = "agent_search_texts";
    if rows.0.get_database_backend() == DbBackend::Sqlite {
        let terms = "CREATE VIRTUAL TABLE agent_search_terms USING fts5vocab (agent_search_words, instance)";
        rows.run(terms, []).await.unwrap();
        texts =
            "agent_search_texts JOIN (SELECT doc, group_concat(term, ' ' ORDER BY offset) AS body
            FROM agent_search_terms GROUP BY doc) AS words ON doc = id";
        let check = "INSERT INTO agent_search_words (agent_search_words, rank) VALUES ('integrity-check', 1)";
        rows.run(check, []).await.unwrap();
    }
    let found = rows
        .all(
            &format!(
                "SELECT conversation_id, coalesce(message_id, conversation_id) AS message, body
                 FROM {texts} ORDER BY conversation_id, message"
            ),
            [],
        )
        .await;
    let text = |row: &sea_orm::QueryResult| {
        (
            row.try_get("", "conversation_id").unwrap(),
            row.try_get("", "message").unwrap(),
            row.try_get("", "body").unwrap(),
        )
    };
    found.iter().map(text).collect()
}

fn kills() -> usize {
    #[expect(
        clippy::disallowed_methods,
        reason = "how long a test runs is no setting of the program"
    )]
    let set = std::env::var("TITLECAST_KILLS").ok();
    set.map_or(20, |kills| kills.parse().unwrap())
}

/// Kills `migrate up` at random points of copies of a database, and compares what comes of it with one that was not.
async fn killed(copy: impl AsyncFn(usize) -> TestDatabase) {
    let migrate = |database: &TestDatabase| {
        Titlecast::new(&["migrate", "up"]).env("DATABASE_URL", &database.url)
    };
    let whole = copy(0).await;
    let began = Instant::now();
    migrate(&whole).run().await.ok();
    let longest = began.elapsed();
    let rows = Rows::of(&whole).await;
    let expected = index_of(&rows).await;
    rows.0.close().await.unwrap();
    assert_eq!(expected.len(), CONVERSATIONS * (MESSAGES + 1));
    let (mut hit, kills) = (0, kills());
    for number in 1..=kills {
        let database = copy(number).await;
        let point = longest.mul_f64(fastrand::f64());
        let mut process = migrate(&database).start();
        tokio::time::sleep(point).await;
        process.kill();
        hit += usize::from(process.exit().await.is_none());
        let began = Instant::now();
        let ended = migrate(&database).run().await;
        let again = began.elapsed();
        assert!(
            again < longest * 4 + STARVED,
            "kill {number}: {again:?} instead of {longest:?}: {ended:?}"
        );
        ended.ok();
        let rows = Rows::of(&database).await;
        let index = index_of(&rows).await;
        rows.0.close().await.unwrap();
        assert!(
            index == expected,
            "kill {number} after {point:?}: the index differs"
        );
        if number == kills {
            let server =
                Server::on(database, &["--openai-base-url", "", "--openai-api-key", ""]).await;
            for message in [1, 777, 19_999, 20_000] {
                let path = format!("/api/v1/conversations/search?q=number{message:05}");
                let (_, page) = server.get(&path).await;
                assert_eq!(
                    page["items"].as_array().map(Vec::len),
                    Some(1),
                    "{message}: {page}"
                );
            }
            server.stop().await;
        }
    }
    eprintln!("{kills} kills, {hit} of them during a migration that takes {longest:?}");
    assert!(hit * 2 > kills, "too few kills came while it ran: {hit}");
}

#[tokio::test]
#[ignore = "takes minutes; CI and `just migration-kills` run it"]
async fn a_file_comes_up_after_kills_at_random_points() {
    let folder = std::env::temp_dir().join(format!("titlecast-test-{}", Uuid::now_v7()));
    std::fs::create_dir(&folder).unwrap();
    let url = |number: &str| format!("sqlite://{}?mode=rwc", folder.join(number).display());
    let db = Database::connect(&url("old"), 1).await.unwrap();
    db.migrate_up(Some(1)).await.unwrap();
    db.close().await.unwrap();
    let old = TestDatabase::of_another(&url("old"));
    let connection = old.connect().await;
    fill(&connection).await;
    connection.close().await.unwrap();
    killed(async |number| {
        let name = format!("t{number}");
        if let Some(before) = number.checked_sub(2) {
            for suffix in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(folder.join(format!("t{before}{suffix}")));
            }
        }
        std::fs::copy(folder.join("old"), folder.join(&name)).unwrap();
        TestDatabase::of_another(&url(&name))
    })
    .await;
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
#[ignore = "takes minutes; CI and `just migration-kills` run it"]
async fn a_server_comes_up_after_kills_at_random_points() {
    let Some(server) = Postgres::start().await else {
        return;
    };
    let (at, _) = server.url.rsplit_once('/').unwrap();
    server.administer("CREATE DATABASE old").await;
    let old = format!("{at}/old");
    let db = Database::connect(&old, 1).await.unwrap();
    db.migrate_up(Some(1)).await.unwrap();
    db.close().await.unwrap();
    let connection = TestDatabase::of_another(&old).connect().await;
    fill(&connection).await;
    connection.close().await.unwrap();
    killed(async |number| {
        if let Some(before) = number.checked_sub(2) {
            server
                .administer(&format!("DROP DATABASE t{before} WITH (FORCE)"))
                .await;
        }
        server
            .administer(&format!("CREATE DATABASE t{number} TEMPLATE old"))
            .await;
        TestDatabase::of_another(&format!("{at}/t{number}"))
    })
    .await;
}
