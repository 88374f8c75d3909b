//! The conversions in docs/moving.md, on sample exports of other systems: the visible branch of a conversation becomes
//! a line, and the lines can be imported.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use titlecast_testing::{Rows, TestDatabase, skipped};

use super::{assert_counts, command, counts};

fn in_the_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What jq makes of the samples, with the arguments that the filter's comment shows; `None` where there is no jq.
fn jq(arguments: &[&str]) -> Option<Result<String, String>> {
    let mut command = Command::new("jq");
    command.current_dir(in_the_repository("tests/moving"));
    let Ok(output) = command.args(arguments).output() else {
        skipped("there is no jq");
        return None;
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Some(match output.status.success() {
        true => Ok(text(output.stdout)),
        false => Err(text(output.stderr)),
    })
}

fn parsed(lines: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap();
    lines.lines().map(parse).collect()
}

/// All lines can be imported; so many messages.
async fn assert_imported(lines: &str, conversations: u64, messages: u64) {
    let database = TestDatabase::new().await;
    let done = counts(command(&database, lines, &[]).run().await);
    assert_counts(
        &done,
        json!({ "added": conversations, "messages": messages }),
    );
}

#[tokio::test]
async fn the_example_of_the_manual_can_be_imported_and_its_files_are_there() {
    let manual = include_str!("../../../docs/moving.md");
    let example = manual.split("\n\n    {").nth(1).unwrap();
    let example = example.split("\n\n").next().unwrap().replace('\n', " ");
    assert_imported(&format!("{{{example}"), 1, 2).await;
    let is_part = |c: char| c.is_ascii_alphanumeric() || "./-_".contains(c);
    let words = manual.split(|c| !is_part(c));
    let paths =
        words.filter(|word| word.contains("tools/moving/") || word.contains("tests/moving/"));
    let mut count = 0;
    for path in paths {
        let path = in_the_repository(path.trim_start_matches("../").trim_end_matches('.'));
        assert!(path.is_file(), "{}", path.display());
        count += 1;
    }
    assert!(count >= 6, "{count} files are named");
}

fn message(role: &str, content: &str, created_at: &str) -> Value {
    json!({ "role": role, "content": content, "created_at": created_at })
}

#[tokio::test]
async fn from_open_webui() {
    let filter = "../../tools/moving/open-webui.jq";
    let Some(lines) = jq(&["-c", "-f", filter, "open-webui.json"]) else {
        return;
    };
    let lines = lines.unwrap();
    let kyoto = json!({
        "id": "7e3b0a52-4d1c-4f0e-9a68-2f5a1f3f0c11",
        "user": "5b0f5f0e-8f43-4cf1-9d0e-0d3b6f1f7a01",
        "title": "Trip to Kyoto",
        "created_at": "2023-11-14T22:13:20Z",
        "messages": [
            message("user", "Plan a trip to Kyoto", "2023-11-14T22:13:20Z"),
            message("assistant", "In April?", "2023-11-14T22:13:30Z"),
            message("user", "Yes, in April", "2023-11-14T22:13:40Z"),
        ],
    });
    let bread = json!({
        "id": "0d6b4c0e-58a7-4ce2-8c2a-51b8f1e4d9aa",
        "user": "5b0f5f0e-8f43-4cf1-9d0e-0d3b6f1f7a02",
        "title": null,
        "created_at": "2023-11-14T22:15:00Z",
        "messages": [
            message("user", "How do I bake bread?", "2023-11-14T22:15:00Z"),
            message("assistant", "With time.", "2023-11-14T22:15:05Z"),
        ],
    });
    assert_eq!(parsed(&lines), [kyoto, bread]);
    assert_imported(&lines, 2, 5).await;
}

#[tokio::test]
async fn from_librechat() {
    let filter = "../../tools/moving/librechat.jq";
    let conversations = [
        "--slurpfile",
        "conversations",
        "librechat-conversations.json",
    ];
    let arguments = [
        &["-cn"][..],
        &conversations,
        &["-f", filter, "librechat-messages.json"],
    ];
    let Some(lines) = jq(&arguments.concat()) else {
        return;
    };
    let lines = lines.unwrap();
    let kyoto = json!({
        "id": "3a8f6f5e-0c0f-4d2c-9f44-1f5b8f3b7c01",
        "user": "65531111c0ffee00000000aa",
        "title": "Trip to Kyoto",
        "created_at": "2023-11-14T22:13:20.512Z",
        "messages": [
            message("user", "Plan a trip to Kyoto", "2023-11-14T22:13:20.512Z"),
            message("assistant", "In April?", "2023-11-14T22:13:40Z"),
            message("user", "Yes, in April", "2023-11-14T22:13:50Z"),
        ],
    });
    let clock = json!({
        "id": "3a8f6f5e-0c0f-4d2c-9f44-1f5b8f3b7c02",
        "user": "65531111c0ffee00000000bb",
        "title": null,
        "created_at": "2023-11-15T08:00:00Z",
        "messages": [
            message("user", "What is the time?", "2023-11-15T08:00:00Z"),
            message("assistant", "Let me look.\n\nIt is eight.", "2023-11-15T08:00:30Z"),
        ],
    });
    assert_eq!(parsed(&lines), [kyoto, clock]);
    assert_imported(&lines, 2, 5).await;
}

/// Times in seconds, and copies of a conversation, leave equal times; early versions of Open WebUI had no tree.
#[tokio::test]
async fn a_reply_with_the_time_of_its_message_comes_along_and_so_do_chats_without_a_tree() {
    let at = "2023-11-14T22:13:20Z";
    let fig = json!([
        message("user", "When do I prune a fig?", at),
        message("assistant", "In winter.", at),
    ]);
    let filter = "../../tools/moving/open-webui.jq";
    let Some(lines) = jq(&["-c", "-f", filter, "open-webui-times.json"]) else {
        return;
    };
    let lines = lines.unwrap();
    let chats = parsed(&lines);
    let [same, early] = chats.as_slice() else {
        panic!("{lines}");
    };
    assert_eq!(same["messages"], fig);
    let mut yew = json!([
        message("user", "And a yew?", at),
        message("assistant", "In summer.", at),
    ]);
    yew[1]["created_at"] = Value::Null;
    assert_eq!(early["messages"], yew);
    assert_imported(&lines, 2, 4).await;
    let filter = "../../tools/moving/librechat.jq";
    let conversations = [
        "--slurpfile",
        "conversations",
        "librechat-times-conversations.json",
    ];
    let arguments = [
        &["-cn"][..],
        &conversations,
        &["-f", filter, "librechat-times-messages.json"],
    ];
    let lines = jq(&arguments.concat()).unwrap().unwrap();
    assert_eq!(parsed(&lines)[0]["messages"], fig);
}

/// What jq writes, and what it says of what it leaves out.
fn jq_with_complaints(arguments: &[&str]) -> Option<(String, String)> {
    let mut command = Command::new("jq");
    command.current_dir(in_the_repository("tests/moving"));
    let Ok(output) = command.args(arguments).output() else {
        skipped("there is no jq");
        return None;
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let complaints = text(output.stderr);
    assert!(output.status.success(), "{complaints}");
    Some((text(output.stdout), complaints))
}

#[tokio::test]
async fn a_chat_of_open_webui_that_cannot_be_used_is_named_and_the_others_come() {
    let filter = "../../tools/moving/open-webui.jq";
    let Some((lines, complaints)) =
        jq_with_complaints(&["-c", "-f", filter, "open-webui-odd.json"])
    else {
        return;
    };
    let found = parsed(&lines);
    let ids: Vec<_> = found.iter().map(|line| line["id"].clone()).collect();
    assert_eq!(json!(ids), json!(["iso", "units", "tools", "last"]));
    for id in [
        "(words)", "(nobody)", "chat 4", "chat 5", "chat 6", "chat 7", "(list)", "(broken)",
    ] {
        assert_eq!(complaints.matches(id).count(), 1, "{id}: {complaints}");
    }
    assert_eq!(complaints.lines().count(), 8, "{complaints}");
    assert_eq!(
        found[1]["messages"],
        json!([
            message("user", "Plain\nand part", "2023-11-14T22:13:20Z"),
            message("assistant", "Micro", "2023-11-14T22:13:22Z"),
            message("assistant", "Nano", "2023-11-14T22:13:23Z"),
        ])
    );
    let tools = &found[2]["messages"];
    assert_eq!(
        tools[0]["content"],
        "Write <details type=\"tool_calls\">mine</details>"
    );
    let kept = "Before.\nAfter.\n<details>\n<summary>Kept</summary>\nmine\n</details>\n";
    assert_eq!(tools[1]["content"], kept);
    assert_imported(&lines, 4, 7).await;
}

#[tokio::test]
async fn users_of_librechat_with_the_same_id_of_a_conversation_are_not_mixed() {
    let filter = "../../tools/moving/librechat.jq";
    let arguments = [
        "-cn",
        "--slurpfile",
        "conversations",
        "librechat-odd-conversations.json",
        "-f",
        filter,
        "librechat-odd-messages.json",
    ];
    let Some((lines, complaints)) = jq_with_complaints(&arguments) else {
        return;
    };
    let found = parsed(&lines);
    let said: Vec<_> = found
        .iter()
        .map(|line| {
            let texts = line["messages"].as_array().unwrap().iter();
            let texts: Vec<_> = texts.map(|message| message["content"].clone()).collect();
            json!([line["user"], texts])
        })
        .collect();
    assert_eq!(
        json!(said),
        json!([
            ["ada", ["Ada asks"]],
            ["bob", ["Bob asks", "Bob is answered"]],
            ["eve", ["A circle", "Part\n\nand value"]],
        ])
    );
    for id in [
        "message a2",
        "conversation c-lost",
        "conversation without an id",
    ] {
        assert_eq!(complaints.matches(id).count(), 1, "{id}: {complaints}");
    }
    assert_imported(&lines, 3, 5).await;
}

#[tokio::test]
async fn conversations_become_those_of_known_users_only() {
    let database = TestDatabase::new().await;
    let directory = std::env::temp_dir().join(format!("titlecast-test-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir(&directory).unwrap();
    let file = |name: &str, content: &str| {
        let path = directory.join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let line = |user: Value| {
        super::with(
            super::conversation("1", "Kyoto", 1),
            json!({ "user": user }),
        )
    };
    let known = file(
        "known.jsonl",
        &super::text(&[line(json!("65531111")), line(json!(7))]),
    );
    let unknown = file("unknown.jsonl", &super::text(&[line(json!("65532222"))]));
    // In an exported line, the authors of messages are users too.
    let exported = |author: &str| {
        let messages = json!([{ "author": author }, { "role": "assistant" }]);
        json!({ "id": "2", "external_id": "chat-7", "user": "7", "revision": 1, "messages": messages,
            "versions": [{ "author": "7" }] })
    };
    let shared = file("shared.jsonl", &super::text(&[exported("65531111")]));
    let strange = file("strange.jsonl", &super::text(&[exported("65532222")]));
    let users = file("users.json", r#"{ "65531111": "ada", "7": "bob" }"#);
    let named = |lines: &str| {
        let filter = "../../tools/moving/users.jq";
        jq(&["-c", "--slurpfile", "users", &users, "-f", filter, lines])
    };
    if let (Some(known), Some(unknown)) = (named(&known), named(&unknown)) {
        let known = known.unwrap();
        let users: Vec<_> = parsed(&known)
            .iter()
            .map(|line| line["user"].clone())
            .collect();
        assert_eq!(users, ["ada", "bob"]);
        counts(command(&database, &known, &[]).run().await);
        let complaint = unknown.unwrap_err();
        assert!(
            complaint.contains("lacks the user of conversation 1"),
            "{complaint}"
        );
        let shared = parsed(&named(&shared).unwrap().unwrap()).remove(0);
        assert_eq!(
            shared,
            json!({ "external_id": "chat-7", "user": "bob", "revision": 1,
                "messages": [{ "author": "ada" }, { "role": "assistant" }], "versions": [{ "author": "bob" }] })
        );
        let complaint = named(&strange).unwrap().unwrap_err();
        assert!(
            complaint.contains("lacks the author of a message of conversation 2"),
            "{complaint}"
        );
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn from_the_agents_saas_starter() {
    const TABLES: &str = r#"
        CREATE TABLE agent_conversations (
            id uuid PRIMARY KEY, conversation_key varchar(255) NOT NULL, tenant_id uuid NOT NULL, user_id uuid,
            agent_entrypoint varchar(64) NOT NULL, active_agent varchar(64), status varchar(16) NOT NULL,
            topic_hint varchar(256), display_name varchar(128), title_generated_at timestamptz,
            created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL);
        CREATE TABLE agent_messages (
            id bigserial PRIMARY KEY, conversation_id uuid NOT NULL, position int NOT NULL, role varchar(16) NOT NULL,
            agent_type varchar(64), content jsonb NOT NULL, attachments jsonb, tool_name varchar(128),
            created_at timestamptz NOT NULL, UNIQUE (conversation_id, position));
        INSERT INTO agent_conversations VALUES
            ('00000000-0000-4000-8000-000000000001', 'a', '00000000-0000-4000-8000-0000000000aa',
             '00000000-0000-4000-8000-0000000000a1', 'triage', 'researcher', 'active', NULL, 'Kyoto', now(),
             '2023-11-14 22:00:00+00', now()),
            ('00000000-0000-4000-8000-000000000002', 'b', '00000000-0000-4000-8000-0000000000bb',
             '00000000-0000-4000-8000-0000000000a1', 'triage', NULL, 'archived', 'Bread', 'Baking', NULL,
             '2023-11-14 23:00:00+00', now()),
            ('00000000-0000-4000-8000-000000000003', 'c', '00000000-0000-4000-8000-0000000000aa', NULL, 'triage', NULL,
             'active', NULL, NULL, NULL, '2023-11-14 23:30:00+00', now()),
            ('00000000-0000-4000-8000-000000000004', 'd', '00000000-0000-4000-8000-0000000000aa',
             '00000000-0000-4000-8000-0000000000a2', 'triage', NULL, 'active', NULL, NULL, NULL,
             '2023-11-14 23:40:00+00', now());
        INSERT INTO agent_messages (conversation_id, position, role, content, created_at) VALUES
            ('00000000-0000-4000-8000-000000000001', 2, 'assistant', '{"text": "In April?"}', '2023-11-14 22:00:09+00'),
            ('00000000-0000-4000-8000-000000000001', 0, 'user', '{"type": "message", "text": "Plan a \"trip\"\n"}',
             '2023-11-14 22:00:00+00'),
            ('00000000-0000-4000-8000-000000000001', 1, 'tool', '{"text": "called"}', '2023-11-14 22:00:05+00'),
            ('00000000-0000-4000-8000-000000000001', 3, 'assistant', '{"type": "reasoning"}', '2023-11-14 22:00:10+00'),
            ('00000000-0000-4000-8000-000000000001', 4, 'assistant',
             '[{"type": "output_text", "text": "Or "}, {"type": "refusal"}, {"type": "output_text", "text": "May?"}]',
             '2023-11-14 22:00:11+00'),
            ('00000000-0000-4000-8000-000000000001', 5, 'user',
             '{"type": "message", "content": [{"type": "input_text", "text": "May."}]}', '2023-11-14 22:00:12+00'),
            ('00000000-0000-4000-8000-000000000002', 0, 'user', '"How do I bake bread?"', '2023-11-14 23:00:00+00'),
            ('00000000-0000-4000-8000-000000000003', 0, 'user', '{"text": "Whose?"}', '2023-11-14 23:30:00+00'),
            ('00000000-0000-4000-8000-000000000004', 0, 'user', '{"text": " "}', '2023-11-14 23:40:00+00');
        UPDATE agent_messages SET attachments = '[{"object_id": "7", "filename": "map.pdf", "mime_type": "application/pdf"},
            {"object_id": "8"}, {"filename": "odd.bin", "mime_type": "odd"}]'
            WHERE content = '"How do I bake bread?"';"#;
    let database = TestDatabase::new().await;
    if database.is_sqlite() {
        // The statement is PostgreSQL's.
        return;
    }
    let lines = lines_of(TABLES, "tools/moving/agents-saas.sql").await;
    let found = parsed(&lines);
    let summary = |line: &Value| {
        json!([
            line["tenant"],
            line["user"],
            line["title"],
            line["title_source"],
            line["agent"]
        ])
    };
    let user = "user:00000000-0000-4000-8000-0000000000a1";
    assert_eq!(
        json!(found.iter().map(summary).collect::<Vec<_>>()),
        json!([
            [
                "00000000-0000-4000-8000-0000000000aa",
                user,
                "Kyoto",
                "generated",
                "triage"
            ],
            [
                "00000000-0000-4000-8000-0000000000bb",
                user,
                "Baking",
                "manual",
                "triage"
            ],
        ])
    );
    let content = |message: &Value| json!([message["role"], message["content"]]);
    let said: Vec<_> = found[0]["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(content)
        .collect();
    assert_eq!(
        json!(said),
        json!([
            ["user", "Plan a \"trip\"\n"],
            ["assistant", "In April?"],
            ["assistant", "Or May?"],
            ["user", "May."]
        ])
    );
    assert_eq!(
        (&found[0]["id"], &found[1]["id"]),
        (&json!("a"), &json!("b"))
    );
    assert_eq!(
        found[1]["messages"][0]["attachments"],
        json!([
            { "name": "map.pdf", "media_type": "application/pdf" },
            { "name": "odd.bin", "media_type": null }
        ])
    );
    let done = counts(command(&database, &lines, &[]).run().await);
    assert_counts(&done, json!({ "added": 2, "messages": 5 }));
}

/// What a statement of ours makes of these tables.
async fn lines_of(tables: &str, statement: &str) -> String {
    let theirs = TestDatabase::empty().await;
    let rows = Rows::of(&theirs).await;
    rows.0.execute_unprepared(tables).await.unwrap();
    let statement = std::fs::read_to_string(in_the_repository(statement)).unwrap();
    let statement = statement.trim_end().trim_end_matches(';');
    let lines = format!("SELECT line FROM ({statement}) AS lines (line)");
    let lines = rows.all(&lines, []).await;
    let line = |row: &sea_orm::QueryResult| row.try_get::<String>("", "line").unwrap();
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn from_tables_of_ones_own() {
    const TABLES: &str = "
        CREATE TABLE chats (id bigint, user_id bigint, title text, was_renamed boolean, created_at timestamptz);
        CREATE TABLE chat_messages (id bigint, chat_id bigint, role text, body text, created_at timestamptz);
        INSERT INTO chats VALUES
            (1, 7, 'Kyoto', false, '2023-11-14 22:13:20+00'), (2, 8, NULL, false, '2023-11-14 22:00:00+00'),
            (3, 8, 'Nothing was said', true, '2023-11-14 23:00:00+00');
        INSERT INTO chat_messages VALUES
            (1, 1, 'system', 'You are helpful.', '2023-11-14 22:13:20+00'),
            (2, 1, 'user', E'Plan a trip\\nto \"Kyoto\"', '2023-11-14 22:13:20+00'),
            (3, 1, 'assistant', 'In April?', '2023-11-14 22:13:20+00'),
            (4, 2, 'user', 'How do I bake bread?', '2023-11-14 22:00:00.25+00');";
    let database = TestDatabase::new().await;
    if database.is_sqlite() {
        // The statement is PostgreSQL's.
        return;
    }
    let theirs = TestDatabase::empty().await;
    let rows = Rows::of(&theirs).await;
    rows.0.execute_unprepared(TABLES).await.unwrap();
    rows.0
        .execute_unprepared("SET TIME ZONE 'Asia/Tokyo'")
        .await
        .unwrap();
    let statement =
        std::fs::read_to_string(in_the_repository("tools/moving/own-tables.sql")).unwrap();
    let statement = statement.trim_end().trim_end_matches(';');
    let lines = rows
        .all(
            &format!("SELECT line FROM ({statement}) AS lines (line)"),
            [],
        )
        .await;
    let lines: Vec<String> = lines
        .iter()
        .map(|row| row.try_get("", "line").unwrap())
        .collect();
    let done = counts(command(&database, &lines.join("\n"), &[]).run().await);
    assert_counts(&done, json!({ "added": 2, "messages": 3 }));
    let rows = Rows::of(&database).await;
    let said = "SELECT user_id, display_name, title_source, content, agent_messages.created_at
        FROM agent_messages JOIN agent_conversations ON agent_conversations.id = conversation_id
        ORDER BY agent_messages.created_at, position";
    let text = |row: &sea_orm::QueryResult, column: &str| -> Option<String> {
        row.try_get("", column).unwrap()
    };
    let found: Vec<_> = rows
        .all(said, [])
        .await
        .iter()
        .map(|row| {
            let at: chrono::DateTime<chrono::Utc> = row.try_get("", "created_at").unwrap();
            let columns = ["user_id", "display_name", "title_source", "content"]
                .map(|column| text(row, column));
            json!([columns, at])
        })
        .collect();
    assert_eq!(
        json!(found),
        json!([
            [
                ["8", null, "hint", "How do I bake bread?"],
                "2023-11-14T22:00:00.250Z"
            ],
            [
                ["7", "Kyoto", "generated", "Plan a trip\nto \"Kyoto\""],
                "2023-11-14T22:13:20Z"
            ],
            [
                ["7", "Kyoto", "generated", "In April?"],
                "2023-11-14T22:13:20Z"
            ],
        ])
    );
}
