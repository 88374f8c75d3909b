//! Invalid lines: each is reported with its number and the reason, its text is not repeated, and all other lines are
//! stored.

use serde_json::{Value, json};
use titlecast_testing::{Rows, TestDatabase, Titlecast, auth::GUARDED};

use super::{assert_counts, command, conversation, counts, end, import, text, with};

/// What no complaint may repeat.
const SECRET: &str = "tell-nobody";

fn good(id: &str) -> Value {
    with(conversation(id, SECRET, 2), json!({ "title": SECRET }))
}

/// A line whose only message has these fields besides a role and a content.
fn message(fields: Value) -> Value {
    let message = with(json!({ "role": "user", "content": SECRET }), fields);
    json!({ "id": SECRET, "messages": [message] })
}

/// Lines, and why they cannot be used.
fn bad() -> Vec<(String, &'static str)> {
    let changed = |fields: Value| with(good("bad"), fields).to_string();
    let message = |fields: Value| message(fields).to_string();
    let long = "x".repeat(256 * 1024 + 1);
    let id = "0190163d-8694-739b-aea5-966c26f8ad90";
    let twice = json!({ "role": "user", "content": SECRET, "id": id });
    let files: Vec<_> = (0..21).map(|_| json!({ "name": "a.pdf" })).collect();
    vec![
        (SECRET.into(), "invalid JSON at column 2"),
        (
            format!("{{\"id\": \"{SECRET}\""),
            "invalid JSON at column 21",
        ),
        (format!("[\"{SECRET}\"]"), "the line must be a JSON object"),
        (
            changed(json!({ "id": null })),
            "id is missing; without it, another run would add the conversation again",
        ),
        (
            changed(json!({ "id": 1.5 })),
            "id must be a string or an integer",
        ),
        (changed(json!({ "user": "" })), "user is empty"),
        (
            changed(json!({ "user": "a\nb" })),
            "user must be 1 to 128 characters without control characters",
        ),
        (
            changed(json!({ "tenant": "x".repeat(129) })),
            "tenant must be 1 to 128 characters without control characters",
        ),
        (
            changed(json!({ "title": "x".repeat(129) })),
            "title: a title has at most 128 characters",
        ),
        (
            changed(json!({ "title": [SECRET] })),
            "title must be a string",
        ),
        (
            changed(json!({ "title_source": SECRET })),
            "title_source must be manual or generated",
        ),
        (
            changed(json!({ "agent": "a\u{7}" })),
            "agent: the agent must be 1 to 64 characters without control characters",
        ),
        (
            changed(json!({ "created_at": SECRET })),
            "created_at must be a time with an offset, such as 2026-01-31T12:00:00Z",
        ),
        (
            changed(json!({ "created_at": 1_714_554_000 })),
            "created_at must be a time with an offset, such as 2026-01-31T12:00:00Z",
        ),
        (
            changed(json!({ "created_at": "2024-05-01T09:00:00" })),
            "created_at must be a time with an offset, such as 2026-01-31T12:00:00Z",
        ),
        (
            changed(json!({ "created_at": "9024-05-01T09:00:00Z" })),
            "created_at is in the future",
        ),
        (
            changed(json!({ "created_at": "0000-05-01T09:00:00Z" })),
            "created_at must be from the years 1 to 9999, and no leap second",
        ),
        (
            message(json!({ "created_at": "2016-12-31T23:59:60Z" })),
            "messages[0].created_at must be from the years 1 to 9999, and no leap second",
        ),
        (
            changed(json!({ "display_name": SECRET })),
            "unknown field display_name",
        ),
        (
            changed(json!({ "tell nobody": 1 })),
            "unknown field (its name may be user text, and is not shown)",
        ),
        (changed(json!({ "messages": null })), "messages is empty"),
        (
            changed(json!({ "messages": {} })),
            "messages must be an array",
        ),
        (
            changed(json!({ "messages": [SECRET] })),
            "messages[0] must be an object",
        ),
        (
            changed(json!({ "messages": [twice, twice] })),
            "messages[1].id repeats the id of an earlier message",
        ),
        (
            message(json!({ "role": "system" })),
            "messages[0].role must be user or assistant",
        ),
        (
            message(json!({ "content": " \u{0}" })),
            "messages[0]: the message is empty",
        ),
        (
            message(json!({ "content": [SECRET] })),
            "messages[0].content must be a string",
        ),
        (
            message(json!({ "content": long })),
            "messages[0]: the message is longer than 262144 bytes",
        ),
        (
            message(json!({ "created_at": "soon" })),
            "messages[0].created_at must be a time with an offset, such as 2026-01-31T12:00:00Z",
        ),
        (
            message(json!({ "text": SECRET })),
            "unknown field messages[0].text",
        ),
        (
            message(json!({ "attachments": [{ "name": " " }] })),
            "messages[0].attachments[0]: an attachment needs a name",
        ),
        (
            message(json!({ "attachments": files })),
            "messages[0]: the message has more than 20 attachments",
        ),
        (
            message(json!({ "attachments": [{ "name": "a", "url": SECRET }] })),
            "unknown field messages[0].attachments[0].url",
        ),
    ]
}

#[tokio::test]
async fn each_is_named_and_all_others_are_stored() {
    let database = TestDatabase::new().await;
    let bad = bad();
    // Good ones and empty lines between them, and more lines than a batch has.
    let (mut file, mut expected) = (String::new(), Vec::new());
    for (place, (line, why)) in bad.iter().enumerate() {
        let good: Vec<_> = (0..4)
            .map(|number| good(&format!("{place}-{number}")))
            .collect();
        file += &format!("{}\n{line}\r\n", text(&good));
        expected.push(format!("line {}: {why}", 6 * place + 6));
    }
    let stored = 4 * bad.len() as i64;
    expected.push(format!(
        "titlecast: {} line(s) rejected, 0 differ(s) from the stored conversation; the reasons are above",
        bad.len()
    ));
    let nothing = database.census().await;
    for (arguments, reason) in [(&["--dry-run"][..], "dry_run"), (&[], "finished")] {
        assert_eq!(database.census().await, nothing);
        let ended = command(&database, &file, arguments).run().await;
        assert_eq!(ended.stderr.lines().collect::<Vec<_>>(), expected);
        assert!(!ended.stderr.contains(SECRET) && !ended.stdout.contains(SECRET));
        assert_eq!(
            (ended.code, &end(&ended)["reason"]),
            (Some(1), &json!(reason))
        );
        let counted = json!({ "added": stored, "messages": 2 * stored, "refused": bad.len() });
        let done = &end(&ended)["done"];
        assert_counts(done, counted);
        assert_eq!(
            (&done["bytes"], &done["lines"]),
            (&json!(file.len()), &json!(5 * bad.len()))
        );
    }
    assert_eq!(database.census().await[..2], [stored, 2 * stored]);
}

#[tokio::test]
async fn ids_of_messages_are_kept_and_taken_once() {
    let database = TestDatabase::new().await;
    let id = "0190163d-8694-739b-aea5-966c26f8ad90";
    let line = |conversation: &str, id: &str| {
        with(message(json!({ "id": id })), json!({ "id": conversation }))
    };
    // What is no UUID is the conversation's own name for it.
    let done = counts(
        import(
            &database,
            &[line("a", id), line("b", "1"), line("c", "1")],
            &[],
        )
        .await,
    );
    assert_counts(&done, json!({ "added": 3, "messages": 3 }));
    let rows = Rows::of(&database).await;
    let kept = rows.all(
        "SELECT id FROM agent_messages WHERE id = $1",
        [titlecast_testing::stored::id(id)],
    );
    assert_eq!(kept.await.len(), 1);
    // One that is there, and one that comes twice in a batch.
    let new = "0190163d-8694-739b-aea5-966c26f8ad91";
    let lines = [line("d", id), line("e", new), line("f", new)];
    let ended = import(&database, &lines, &[]).await;
    assert_counts(
        &end(&ended)["done"],
        json!({ "added": 1, "messages": 1, "refused": 2 }),
    );
    let why = "a message's id belongs to another conversation; omit it to get a new one";
    let complaints: Vec<_> = ended.stderr.lines().take(2).collect();
    assert_eq!(
        complaints,
        [format!("line 1: {why}"), format!("line 3: {why}")]
    );
    assert_eq!(database.census().await[..2], [4, 4]);
}

#[tokio::test]
async fn where_there_are_tokens_there_is_no_local_owner() {
    let database = TestDatabase::new().await;
    let tokens = |arguments: &[&str]| {
        let arguments = [&GUARDED[..], arguments].concat();
        command(&database, &text(&[good("a")]), &arguments)
    };
    let ended = tokens(&["--tenant", "acme"]).run().await;
    let why = "line 1: user is missing; add it, or pass --user\n";
    assert!(ended.stderr.starts_with(why), "{}", ended.stderr);
    assert_eq!(database.census().await[0], 0);
    counts(tokens(&["--tenant", "acme", "--user", "ada"]).run().await);
    assert_eq!(database.census().await[0], 1);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named() {
    let database = TestDatabase::new().await;
    let run = async |arguments: &[&str]| {
        let command = Titlecast::new(arguments).env("DATABASE_URL", &database.url);
        command.run().await
    };
    let absent = run(&["import", "absent.jsonl"]).await;
    absent.assert_failed(&["cannot read absent.jsonl", "No such file"]);
    let folder = run(&["import", "."]).await;
    folder.assert_failed(&["cannot read .", "directory"]);
    let nobody = run(&["import", "-", "--user", ""]).await;
    nobody.assert_refused(&["--user", "1 to 128 characters"]);
}
