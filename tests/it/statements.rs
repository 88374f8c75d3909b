//! What a turn costs the database, statement by statement: exactly what ARCHITECTURE.md justifies.

use sea_orm::Statement;
use serde_json::json;
use titlecast_testing::{
    ModelServer, Rows, Server,
    calls::send_message,
    eventually,
    titles::{decided, replied},
};
use tokio::sync::mpsc::UnboundedReceiver;

/// Statements as `VERB table`, without the later recording of published revisions.
fn taken(statements: &mut UnboundedReceiver<Statement>) -> Vec<String> {
    let mut taken = Vec::new();
    while let Ok(statement) = statements.try_recv() {
        if !statement.sql.contains(r#"SET "published_revision""#) {
            taken.push(summary(&statement.sql));
        }
    }
    taken
}

fn summary(sql: &str) -> String {
    let words: Vec<&str> = sql.split_whitespace().collect();
    let verb = words[0];
    let table = match verb {
        "UPDATE" => words[1],
        _ => {
            let place = words
                .iter()
                .position(|word| ["FROM", "INTO"].contains(word));
            words[place.unwrap() + 1]
        }
    };
    format!("{verb} {}", table.trim_matches('"'))
}

/// A reply and a title run side by side: their statements are sorted, each kind of them.
fn sorted(mut statements: Vec<String>) -> Vec<String> {
    statements.sort();
    statements
}

const BEGIN: [&str; 4] = [
    "INSERT agent_conversations",
    "INSERT agent_messages",
    "INSERT agent_turns",
    "INSERT agent_search",
];

const END_OF_REPLY: [&str; 5] = [
    "UPDATE agent_conversations",
    "UPDATE agent_turns",
    "INSERT agent_messages",
    "INSERT agent_search",
    // Where the provider counts tokens.
    "INSERT agent_reply_calls",
];

const TITLE: [&str; 3] = [
    "INSERT agent_title_calls",
    "UPDATE agent_conversations",
    "UPDATE agent_search",
];

#[tokio::test]
async fn a_turn_takes_the_statements_that_are_justified_and_no_other() {
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &["--title-sweep", "1h", "--reply-lease", "1h"]).await;
    let rows = Rows::of(&server.database).await;
    // The sweep of the start ends before the first title: one that saw its lease would sweep again when that ends.
    eventually(async || (server.app.titles().metrics().sweeps() > 0).then_some(())).await;
    let first = server.begin("Plan a trip to Kyoto in April").await;
    decided(&server.url, &first).await;
    rows.published(&first).await;
    let mut statements = server.app.database().record_statements();

    // A first message, its reply and its title.
    let events = server
        .stream(json!({ "message": "Plan a trip to Nara" }))
        .await
        .rest()
        .await;
    let id = events[0]["conversation_id"].as_str().unwrap().to_owned();
    let title = async || rows.title(&id).await.display_name;
    eventually(async || title().await).await;
    rows.published(&id).await;
    let taken_first = taken(&mut statements);
    assert_eq!(taken_first[..4], BEGIN);
    let expected: Vec<String> = [&END_OF_REPLY[..], &TITLE]
        .concat()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(sorted(taken_first[4..].to_vec()), sorted(expected));

    // A second message, and its reply.
    let second = json!({ "message": "And in May", "conversation_id": id });
    server.stream(second).await.rest().await;
    rows.published(&id).await;
    let expected = [
        "UPDATE agent_conversations",
        "INSERT agent_messages",
        "INSERT agent_turns",
        "INSERT agent_search",
        "SELECT agent_messages",
    ];
    assert_eq!(
        taken(&mut statements),
        [&expected[..], &END_OF_REPLY].concat()
    );

    // A key is looked up first; an id that the client chose is looked up twice: for the owner, and for all owners.
    let chosen = uuid::Uuid::now_v7().to_string();
    let input = json!({ "text": "Hello", "conversationId": chosen, "idempotencyKey": "one" });
    send_message(&server.url, input).await;
    replied(&server.url, &chosen, 2).await;
    let expected = [
        "SELECT agent_turns",
        "UPDATE agent_conversations",
        "SELECT agent_conversations",
    ];
    let begun = taken(&mut statements);
    assert_eq!(begun[..7], [&expected[..], &BEGIN].concat());
}
