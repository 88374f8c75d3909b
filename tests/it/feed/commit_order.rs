//! Transactions that commit in another order than they wrote: none of their changes is skipped, and none of them waits
//! for another forever.

use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement, TransactionTrait};
use titlecast::{
    conversation::{ConversationId, Owner},
    db::{Database, FeedPage, Imported, NewConversation, NewMessage, cursor::FeedCursor},
};
use titlecast_testing::{Rows, TestDatabase, stored, within};

/// Numbers changes by a sequence when they are written, which is what must not be done.
const PLANTED: &str = "
    DROP TRIGGER agent_feed_updated ON agent_conversations;
    CREATE SEQUENCE planted START 1000;
    CREATE FUNCTION planted() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE agent_changes SET change = nextval('planted') WHERE conversation_id = NEW.id;
        UPDATE agent_feeds SET position = 1000000 WHERE position < 1000000;
        RETURN NULL;
    END $$;
    UPDATE agent_feeds SET position = 1000000;
    CREATE TRIGGER agent_feed_updated AFTER UPDATE OF revision ON agent_conversations
        FOR EACH ROW EXECUTE FUNCTION planted();";

/// Conversations of one user, and the feed position after their creation.
async fn seeded(database: &TestDatabase, db: &Database) -> (Vec<String>, FeedCursor) {
    let ids = database.seed(&Owner::local(), 2, 1).await;
    let begun = db.feed_position(&Owner::local()).await.unwrap();
    (ids, begun)
}

fn change(connection: &DatabaseConnection, id: &str) -> Statement {
    Statement::from_sql_and_values(
        connection.get_database_backend(),
        "UPDATE agent_conversations SET revision = revision + 1 WHERE id = $1",
        [stored::id(id)],
    )
}

/// What a reader finds if it reads after each commit: the first transaction writes first and commits last.
async fn found(plant: Option<&str>) -> Vec<String> {
    let database = TestDatabase::new().await;
    let db = Database::connect(&database.url, 4).await.unwrap();
    let (ids, mut cursor) = seeded(&database, &db).await;
    let (one, other) = (database.connect().await, database.connect().await);
    if let Some(plant) = plant {
        one.execute_unprepared(plant).await.unwrap();
    }
    let first = one.begin().await.unwrap();
    first.execute_raw(change(&one, &ids[0])).await.unwrap();
    let second = other.begin().await.unwrap();
    second.execute_raw(change(&other, &ids[1])).await.unwrap();
    let mut found = Vec::new();
    for transaction in [second, first] {
        within(transaction.commit()).await.unwrap();
        let page = db.feed_page(&Owner::local(), cursor, 10).await.unwrap();
        let FeedPage::Changes {
            changes,
            cursor: next,
            ..
        } = page
        else {
            panic!("reset");
        };
        cursor = next;
        found.extend(
            changes
                .iter()
                .map(|change| change.conversation.id.to_string()),
        );
    }
    found.sort();
    found.dedup();
    let missing = ids.into_iter().filter(|id| !found.contains(id));
    let missing = missing.collect();
    db.close().await.unwrap();
    missing
}

#[tokio::test]
async fn a_transaction_that_commits_late_is_not_skipped() {
    if !TestDatabase::is_on_server() {
        // SQLite has one writer.
        return;
    }
    assert_eq!(found(None).await, Vec::<String>::new());
    // The same with numbers from a sequence.
    assert_eq!(
        found(Some(PLANTED)).await.len(),
        1,
        "the plant was not noticed"
    );
}

fn line(owner: &Owner, number: usize) -> NewConversation {
    let at = "2026-01-01T00:00:00Z".parse().unwrap();
    NewConversation {
        id: ConversationId::new(),
        external_id: None,
        owner: owner.clone(),
        title: None,
        topic_hint: None,
        redacts: false,
        agent: "triage".into(),
        created_at: at,
        messages: vec![NewMessage {
            id: None,
            external_id: None,
            role: titlecast::conversation::Role::User,
            text: format!("Message {number}"),
            attachments: Vec::new(),
            created_at: at,
        }],
        stored: None,
    }
}

/// Each import stores conversations of all people, in an order of its own.
#[tokio::test]
async fn imports_of_many_people_at_once_do_not_deadlock() {
    const IMPORTS: usize = 6;
    const ROUNDS: usize = 8;
    const PEOPLE: usize = 12;
    let database = TestDatabase::new().await;
    let db = Database::connect(&database.url, 8).await.unwrap();
    let people: Vec<Owner> = (0..PEOPLE)
        .map(|number| Owner {
            tenant: format!("tenant {}", number % 3),
            user: format!("user {number}"),
        })
        .collect();
    let importing = (0..IMPORTS).map(|import| {
        let (db, people) = (&db, &people);
        async move {
            for round in 0..ROUNDS {
                let batch: Vec<_> = (0..PEOPLE)
                    .map(|place| line(&people[(place * (2 * import + 1) + round) % PEOPLE], place))
                    .collect();
                let imported = db.import(&batch).await.unwrap();
                assert!(imported.iter().all(|one| *one == Imported::Added));
            }
        }
    });
    within(join_all(importing)).await;
    let rows = Rows::of(&database).await;
    let changes = (IMPORTS * ROUNDS * PEOPLE) as i64;
    assert_eq!(rows.count("agent_changes").await, changes);
    let positions = "SELECT CAST(sum(position) AS bigint) AS n FROM agent_feeds";
    let positions = rows.all(positions, []).await;
    assert_eq!(positions[0].try_get::<i64>("", "n").unwrap(), changes);
    db.close().await.unwrap();
}
