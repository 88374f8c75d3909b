//! A second import: existing messages stay, new ones are added, and diverged conversations are reported.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use titlecast_testing::{
    ModelServer, Rows, Server, TestDatabase, Titlecast,
    calls::{conversation as shown, delete, rename, send_message},
    titles::replied,
};

use super::{assert_counts, conversation, counts, end, import, start, with};
use crate::retention::assert_consistent;

const KYOTO: &str = "0190163d-8694-739b-aea5-966c26f8ad90";

/// The contents of a conversation's messages.
async fn contents(rows: &Rows, id: &str) -> Vec<String> {
    let messages = rows.messages(id).await;
    messages
        .into_iter()
        .map(|(_, _, content)| content)
        .collect()
}

fn said(places: std::ops::Range<usize>) -> Vec<String> {
    places
        .map(|place| format!("Kyoto, message {place}"))
        .collect()
}

#[tokio::test]
async fn adds_nothing_to_what_is_there() {
    let database = TestDatabase::new().await;
    let mut lines: Vec<_> = (0..250)
        .map(|number| conversation(&format!("c{number}"), "Kyoto", 1 + number % 4))
        .collect();
    lines[7] = with(lines[7].clone(), json!({ "title": "Kyoto" }));
    // The same again in one file, in the same batch and in another.
    lines.push(lines[249].clone());
    lines.push(lines[0].clone());
    let done = counts(import(&database, &lines, &[]).await);
    assert_counts(
        &done,
        json!({ "added": 250, "messages": 623, "unchanged": 2 }),
    );
    assert_eq!(done["lines"], 252);
    let before = database.census().await;
    assert_eq!(before[..2], [250, 623]);
    let done = counts(import(&database, &lines, &[]).await);
    assert_counts(&done, json!({ "unchanged": 252 }));
    assert_eq!(database.census().await, before);
}

#[tokio::test]
async fn adds_what_came_since_and_leaves_the_title_that_was_given_here() {
    let database = TestDatabase::new().await;
    let titled = |messages| {
        with(
            conversation(KYOTO, "Kyoto", messages),
            json!({ "title": "Theirs" }),
        )
    };
    counts(import(&database, &[titled(2)], &[]).await);
    let rows = Rows::of(&database).await;
    let server = Server::on(database, &[]).await;
    rename(&server.url, KYOTO, "Ours").await;
    // Twice in one file: the second time it is longer.
    let done = counts(import(&server.database, &[titled(3), titled(5)], &[]).await);
    assert_counts(&done, json!({ "continued": 2, "messages": 3 }));
    assert_eq!(contents(&rows, KYOTO).await, said(0..5));
    let now = shown(&server.url, KYOTO).await;
    assert_eq!(
        json!([
            now["title"],
            now["messageCount"],
            now["lastMessagePreview"],
            now["lastMessageAt"]
        ]),
        json!(["Ours", 5, "Kyoto, message 4", "2024-05-01T09:04:00+00:00"])
    );
    let query = "{ searchConversations(query: \"message 4\") { nodes { conversation { id } } } }";
    let hits = server.data(query, json!({})).await;
    let hit = json!([{ "conversation": { "id": KYOTO } }]);
    assert_eq!(hits["searchConversations"]["nodes"], hit);
    server.stop().await;
}

#[tokio::test]
async fn the_newest_message_decides_the_place_in_the_list_also_if_it_is_not_the_last() {
    let database = TestDatabase::new().await;
    let line = |times: &[&str]| {
        let message = |at: &&str| json!({ "role": "user", "content": "Kyoto", "created_at": at });
        let messages: Vec<Value> = times.iter().map(message).collect();
        json!({ "id": KYOTO, "messages": messages })
    };
    let rows = Rows::of(&database).await;
    let newest = async || -> DateTime<Utc> {
        let sql = "SELECT last_message_at FROM agent_conversations";
        rows.all(sql, []).await[0]
            .try_get("", "last_message_at")
            .unwrap()
    };
    let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    let [first, second, third] = [
        "2024-05-01T09:00:00Z",
        "2024-05-02T09:00:00Z",
        "2024-05-03T09:00:00Z",
    ];
    counts(import(&database, &[line(&[second, first])], &[]).await);
    assert_eq!(newest().await, time(second));
    let older = line(&[second, first, first]);
    counts(import(&database, &[older], &[]).await);
    assert_eq!(newest().await, time(second));
    let newer = line(&[second, first, first, third, second]);
    counts(import(&database, &[newer], &[]).await);
    assert_eq!(newest().await, time(third));
}

#[tokio::test]
async fn leaves_what_went_on_here_and_says_what_went_two_ways() {
    let database = TestDatabase::new().await;
    let bread = "0190163d-8694-739b-aea5-966c26f8ad91";
    let lines = |kyoto, bread_too| {
        [
            conversation(KYOTO, "Kyoto", kyoto),
            conversation(bread, "Bread", bread_too),
        ]
    };
    counts(import(&database, &lines(2, 2), &[]).await);
    let model = ModelServer::start().await;
    let server = Server::start_on(database, &model, &[]).await;
    send_message(
        &server.url,
        json!({ "conversationId": KYOTO, "text": "And Nara?" }),
    )
    .await;
    replied(&server.url, KYOTO, 4).await;
    // It went on here only.
    let done = counts(import(&server.database, &lines(2, 2), &[]).await);
    assert_counts(&done, json!({ "unchanged": 2 }));

    let before = shown(&server.url, KYOTO).await;
    for dry in [&["--dry-run"][..], &[]] {
        let ended = import(&server.database, &lines(3, 3), dry).await;
        assert_counts(
            &end(&ended)["done"],
            json!({ "diverged": 1, "continued": 1, "messages": 1 }),
        );
        assert_eq!(ended.code, Some(1));
        let complaints: Vec<_> = ended.stderr.lines().collect();
        let [line, whole] = complaints.as_slice() else {
            panic!("{complaints:?}");
        };
        assert_eq!(
            *line,
            "line 1: the stored conversation has other messages, and stays unchanged"
        );
        let expected = "0 line(s) rejected, 1 differ(s) from the stored conversation";
        assert!(whole.contains(expected), "{whole}");
    }
    assert_eq!(shown(&server.url, KYOTO).await, before);
    assert_eq!(shown(&server.url, bread).await["messageCount"], 3);
    server.stop().await;
}

#[tokio::test]
async fn brings_nothing_back_that_was_deleted_and_takes_nothing_that_is_anothers() {
    let database = TestDatabase::new().await;
    let line = conversation(KYOTO, "Kyoto", 2);
    counts(import(&database, std::slice::from_ref(&line), &[]).await);
    let server = Server::on(database, &[]).await;
    delete(&server.url, KYOTO).await;
    let before = server.database.census().await;
    let done = counts(import(&server.database, std::slice::from_ref(&line), &[]).await);
    assert_counts(&done, json!({ "deleted": 1 }));
    assert_eq!(server.database.census().await, before);
    assert_eq!(shown(&server.url, KYOTO).await, Value::Null);

    let theirs = with(line, json!({ "user": "other" }));
    let ended = import(&server.database, &[theirs], &[]).await;
    assert_counts(&end(&ended)["done"], json!({ "refused": 1 }));
    let why = "line 1: id belongs to another user's conversation\n";
    assert!(ended.stderr.starts_with(why), "{}", ended.stderr);
    assert_eq!(server.database.census().await, before);
    server.stop().await;
}

#[tokio::test]
async fn brings_nothing_back_that_retention_removed() {
    let database = TestDatabase::new().await;
    let bread = "0190163d-8694-739b-aea5-966c26f8ad91";
    // Retention leaves the second turn of one conversation, and nothing of the other.
    let lines = |kyoto, bread_too| {
        let mut kyoto = conversation(KYOTO, "Kyoto", kyoto);
        for message in kyoto["messages"].as_array_mut().unwrap().iter_mut().skip(2) {
            message["created_at"] = json!(Utc::now().to_rfc3339());
        }
        [kyoto, conversation(bread, "Bread", bread_too)]
    };
    counts(import(&database, &lines(4, 2), &[]).await);
    Titlecast::new(&["prune", "--config", "titlecast.toml"])
        .env("DATABASE_URL", &database.url)
        .file("titlecast.toml", "[retention]\nmessages = \"30d\"\n")
        .run()
        .await
        .ok();
    let rows = Rows::of(&database).await;
    assert_eq!(contents(&rows, KYOTO).await, said(2..4));
    assert!(contents(&rows, bread).await.is_empty());

    let done = counts(import(&database, &lines(4, 2), &[]).await);
    assert_counts(&done, json!({ "unchanged": 2 }));
    let done = counts(import(&database, &lines(5, 3), &[]).await);
    assert_counts(&done, json!({ "continued": 2, "messages": 2 }));
    assert_eq!(contents(&rows, KYOTO).await, said(2..5));
    assert_eq!(contents(&rows, bread).await, ["Bread, message 2"]);
    assert_consistent(&rows).await;
}

#[tokio::test]
async fn two_at_once_share_the_work() {
    let database = TestDatabase::new().await;
    let lines: Vec<_> = (0..600)
        .map(|number| conversation(&format!("c{number}"), "Kyoto", 2))
        .collect();
    let mut reversed = lines.clone();
    reversed.reverse();
    let (one, other) = tokio::join!(
        start(&database, &lines, &[]).ended(),
        start(&database, &reversed, &[]).ended()
    );
    let (one, other) = (counts(one), counts(other));
    let sum = |name: &str| one[name].as_u64().unwrap() + other[name].as_u64().unwrap();
    assert_eq!((sum("added"), sum("unchanged")), (600, 600));
    assert_eq!(database.census().await[..2], [600, 1200]);
}
