//! Erasure of users in whose conversations others write.

use std::time::Duration;

use serde_json::json;
use titlecast::{
    chat::forget::{Certificate, forget},
    conversation::{Conversation, ConversationStatus, TitleStatus},
    db::{Database, Forgotten},
};
use titlecast_testing::{
    Answer, ModelServer, Rows, TestDatabase,
    calls::{conversation, conversation_when, send_message, settled_conversation},
    eventually,
    stored::id as bound,
};

use super::{Team, owner};

/// Erases a user of acme.
async fn erase(
    database: &TestDatabase,
    user: &str,
    changed: impl FnMut(Conversation),
) -> Certificate {
    let db = Database::connect(&database.url, 2).await.unwrap();
    let of = Forgotten {
        tenant: "acme".into(),
        user: Some(user.into()),
    };
    let certificate = forget(&db, &of, Duration::ZERO, changed).await.unwrap();
    db.close().await.unwrap();
    certificate
}

/// Owners and numbers of messages of all conversations.
async fn left(rows: &Rows) -> Vec<(String, i64)> {
    let sql = "SELECT user_id, message_count FROM agent_conversations ORDER BY user_id";
    let found = rows.all(sql, []).await;
    let of = |row: &sea_orm::QueryResult| {
        let user: String = row.try_get("", "user_id").unwrap();
        (user, row.try_get("", "message_count").unwrap())
    };
    found.iter().map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_a_guest_sends_while_the_owner_is_erased_stays() {
    let model = ModelServer::start().await;
    let team = Team::start(&model, "tenant").await;
    let database = &team.server.database;
    // Twenty are erased at a time, the oldest first. The guest writes in the newest one after the first twenty went.
    let ids = database.seed(&owner("acme", "ada"), 45, 2).await;
    let mut is_sent = false;
    let certificate = erase(database, "ada", |changed| {
        if changed.status == ConversationStatus::Deleted && !is_sent {
            is_sent = true;
            let sent = json!({ "conversationId": ids[0], "text": "And Nara?" });
            #[expect(clippy::disallowed_methods, reason = "the erasure waits meanwhile")]
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(send_message(&team.bob, sent))
            });
        }
    })
    .await;
    assert!(is_sent);
    assert_eq!(certificate.rows.of("agent_conversations"), 44);
    assert_eq!(certificate.left, 0);
    let rows = Rows::of(database).await;
    let messages = rows.messages(&ids[0]).await;
    assert_eq!(messages[0].2, "And Nara?", "{messages:?}");
    let left = left(&rows).await;
    let [(user, _)] = left.as_slice() else {
        panic!("{left:?}");
    };
    assert!(user.starts_with("erased-"), "{user}");
    team.server.stop().await;
}

#[tokio::test]
async fn a_conversation_of_a_placeholder_goes_with_its_last_guest() {
    let database = TestDatabase::new().await;
    let rows = Rows::of(&database).await;
    for (user, guests) in [
        ("ada", ["bob", "bob"]),
        ("ada", ["bob", "eve"]),
        ("erased-by-name", ["bob", "bob"]),
    ] {
        let id = database.seed(&owner("acme", user), 1, 6).await.remove(0);
        for (guest, position) in guests.into_iter().zip([3, 5]) {
            let sql = "UPDATE agent_messages SET author = $2 WHERE conversation_id = $1 AND position = $3";
            let values = [bound(&id), guest.into(), position.into()];
            rows.run(sql, values).await.unwrap();
        }
    }
    let first = erase(&database, "ada", drop).await;
    assert_eq!(first.rows.of("agent_conversations"), 0);
    let heir = format!("erased-{}", &first.subject[..32]);
    let by_name = "erased-by-name".to_owned();
    let mut expected = vec![(heir.clone(), 4), (heir.clone(), 4), (by_name.clone(), 6)];
    expected.sort();
    assert_eq!(left(&rows).await, expected);
    let mut told = Vec::new();
    let second = erase(&database, "bob", |changed| told.push(changed.status)).await;
    // The two messages that were left of the first, two of the second, and four of the third.
    assert_eq!(second.rows.of("agent_conversations"), 1);
    assert_eq!(second.rows.of("agent_messages"), 4 + 2 + 4);
    let mut expected = vec![(heir, 2), (by_name, 2)];
    expected.sort();
    assert_eq!(left(&rows).await, expected);
    let deleted = told
        .iter()
        .filter(|status| **status == ConversationStatus::Deleted);
    assert_eq!((deleted.count(), told.len()), (1, 3));
    assert_eq!(
        erase(&database, "bob", drop).await.rows.0,
        Default::default()
    );
}

#[tokio::test]
async fn a_cleared_title_is_made_again_and_a_conversation_without_automatic_titles_gets_none() {
    let model = ModelServer::start().await;
    let team = Team::start_with(&model, "tenant", &["--title-sweep", "300ms"]).await;
    let titled = team.conversation().await;
    let untitled = json!({ "text": "Plan a trip to Nara", "autoTitle": false });
    let untitled = settled_conversation(&team.ada, untitled).await;
    for id in [&titled, &untitled] {
        let sent = json!({ "conversationId": id, "text": "How do I bake rye bread at home?" });
        send_message(&team.bob, sent).await;
        conversation_when(&team.bob, id, |now| now["messageCount"] == 4).await;
    }
    let database = &team.server.database;
    let rows = Rows::of(database).await;
    // Crashes before this title used up its attempts.
    let sql = "UPDATE agent_conversations SET title_attempts = 5 WHERE id = $1";
    rows.run(sql, [bound(&titled)]).await.unwrap();
    let cleared = |changed: &Conversation| (changed.display_name.clone(), changed.title_status);
    let mut seen = Vec::new();
    erase(database, "ada", |changed| seen.push(cleared(&changed))).await;
    seen.sort_by_key(|(_, status)| *status == TitleStatus::Skipped);
    assert_eq!(
        seen,
        [(None, TitleStatus::Pending), (None, TitleStatus::Skipped)]
    );
    let now = conversation_when(&team.bob, &titled, |now| now["titleStatus"] == "READY").await;
    assert_eq!(
        (&now["messageCount"], &now["displayName"]),
        (&json!(2), &json!(ModelServer::TITLE))
    );
    let now = conversation(&team.bob, &untitled).await;
    assert_eq!(
        (&now["messageCount"], &now["titleStatus"]),
        (&json!(2), &json!("SKIPPED"))
    );
    team.server.stop().await;
}

#[tokio::test]
async fn a_title_that_is_being_made_from_an_erased_message_is_discarded() {
    let model = ModelServer::start().await;
    let team = Team::start(&model, "tenant").await;
    // A greeting makes no title, so it is made from the next message.
    let sent = send_message(&team.ada, json!({ "text": "hi" })).await;
    let id = sent["conversation"]["id"].as_str().unwrap();
    conversation_when(&team.ada, id, |now| now["messageCount"] == 2).await;
    let gate = model.held_title(Answer::Text("Secret Wombat Plan"));
    let text = "We have a secret plan to breed wombats in the garden";
    send_message(&team.bob, json!({ "conversationId": id, "text": text })).await;
    eventually(async || (model.title_requests().len() == 1).then_some(())).await;
    conversation_when(&team.ada, id, |now| now["messageCount"] == 4).await;
    erase(&team.server.database, "bob", drop).await;
    gate.send(()).unwrap();
    team.server.titles_ended("superseded", 1).await;
    let now = conversation(&team.ada, id).await;
    assert_eq!(
        (&now["messageCount"], &now["displayName"]),
        (&json!(2), &json!(null))
    );
    team.server.stop().await;
}
