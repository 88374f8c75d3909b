//! Imported conversations, as a server shows and continues them.

use sea_orm::QueryResult;
use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    Answer, ModelServer, Rows, Server, TestDatabase, Titlecast,
    auth::{GUARDED, claims, graphql_as, signed},
    calls::{FIELDS, data},
    stored::id as bound,
    titles::{decided, replied, settled, title},
};
use uuid::Uuid;

use super::{conversation, counts, import, with};

const KYOTO: &str = "0190163d-8694-739b-aea5-966c26f8ad90";
const SKY: &str = "0190163d-8694-739b-aea5-966c26f8ad91";

fn kyoto() -> Value {
    let line = conversation(KYOTO, "A trip to Kyoto", 4);
    with(
        line,
        json!({ "title": "Kyoto in\tApril", "agent": "planner", "topic_hint": "Travel" }),
    )
}

#[tokio::test]
async fn it_is_listed_found_and_read_as_if_it_had_been_held_here() {
    let database = TestDatabase::new().await;
    let older = json!({ "id": 42, "title": "Bread at Home", "title_source": "generated", "messages": [
        { "role": "user", "content": "How do I\u{0} bake sourdough?", "created_at": "2023-01-01T10:00:00+02:00" },
        { "role": "assistant", "content": "With time.", "created_at": "2023-01-01T10:00:05.25+02:00" },
    ] });
    let untitled = conversation("another system's 1", "Why is the sky blue?", 3);
    let untitled = with(untitled, json!({ "title": " ", "created_at": null }));
    let done = counts(import(&database, &[older, kyoto(), untitled], &[]).await);
    super::assert_counts(&done, json!({ "added": 3, "messages": 9 }));

    let mut server = Server::on(database, &[]).await;
    let query = format!(
        "{{ conversations(first: 5) {{ nodes {{ {FIELDS} messages(first: 5) {{ nodes {{ role content status createdAt }} }} }} }} }}"
    );
    let listed = server.data(&query, json!({})).await;
    let nodes = listed["conversations"]["nodes"].as_array().unwrap();
    let [kyoto, untitled, older] = nodes.as_slice() else {
        panic!("three were imported: {listed}");
    };
    let texts = |topic: &str, count: usize| -> Value {
        let message = |place: usize| {
            let at = format!("2024-05-01T09:{place:02}:00+00:00");
            let role = ["USER", "ASSISTANT"][place % 2];
            let content = format!("{topic}, message {place}");
            json!({ "role": role, "content": content, "status": "COMPLETE", "createdAt": at })
        };
        json!({ "nodes": (0..count).map(message).collect::<Vec<_>>() })
    };
    let expected = json!({
        "id": KYOTO, "title": "Kyoto in April", "displayName": "Kyoto in April", "topicHint": "Travel",
        "titleSource": "MANUAL", "titleStatus": "READY", "titleGeneratedAt": null, "revision": 1,
        "agentEntrypoint": "planner", "activeAgent": "planner", "status": "ACTIVE", "messageCount": 4,
        "lastMessagePreview": "A trip to Kyoto, message 3", "lastMessageAt": "2024-05-01T09:03:00+00:00",
        "createdAt": "2024-05-01T09:00:00+00:00", "updatedAt": "2024-05-01T09:03:00+00:00",
        "messages": texts("A trip to Kyoto", 4),
    });
    assert_eq!(kyoto, &expected);
    // The ids were derived from those of the other system, and never change.
    let first = "Why is the sky blue?, message 0";
    let expected = json!({
        "id": "4697c901-4304-880c-a35f-96b20218c41d", "title": first, "displayName": null, "topicHint": first,
        "titleSource": "HINT", "titleStatus": "PENDING", "titleGeneratedAt": null, "revision": 1,
        "agentEntrypoint": "triage", "activeAgent": "triage", "status": "ACTIVE", "messageCount": 3,
        "lastMessagePreview": "Why is the sky blue?, message 2", "lastMessageAt": "2024-05-01T09:02:00+00:00",
        "createdAt": "2024-05-01T09:00:00+00:00", "updatedAt": "2024-05-01T09:02:00+00:00",
        "messages": texts("Why is the sky blue?", 3),
    });
    assert_eq!(untitled, &expected);
    let (asked, answered) = ("2023-01-01T08:00:00+00:00", "2023-01-01T08:00:05.250+00:00");
    let said = json!([
        { "role": "USER", "content": "How do I bake sourdough?", "status": "COMPLETE", "createdAt": asked },
        { "role": "ASSISTANT", "content": "With time.", "status": "COMPLETE", "createdAt": answered },
    ]);
    let expected = json!({
        "id": "657e81a8-4be1-8589-9d53-132f74d1a065", "title": "Bread at Home", "displayName": "Bread at Home",
        "topicHint": "How do I bake sourdough?", "titleSource": "GENERATED", "titleStatus": "READY",
        "titleGeneratedAt": asked, "revision": 1, "agentEntrypoint": "triage", "activeAgent": "triage",
        "status": "ACTIVE", "messageCount": 2, "lastMessagePreview": "With time.", "lastMessageAt": answered,
        "createdAt": asked, "updatedAt": answered, "messages": { "nodes": said },
    });
    assert_eq!(older, &expected);

    // The same over REST, in the same order.
    let (status, page) = server.get("/api/v1/conversations").await;
    assert_eq!(status, 200);
    let items = page["items"].as_array().unwrap().iter();
    let over_rest: Vec<_> = items
        .map(|item| {
            json!([
                item["conversation_id"],
                item["display_name"],
                item["message_count"]
            ])
        })
        .collect();
    let over_graphql =
        |node: &Value| json!([node["id"], node["displayName"], node["messageCount"]]);
    assert_eq!(
        over_rest,
        nodes.iter().map(over_graphql).collect::<Vec<_>>()
    );
    let (status, messages) = server
        .get(&format!("/api/v1/conversations/{KYOTO}/messages?limit=2"))
        .await;
    assert_eq!(status, 200, "{messages}");
    // Nothing is being written.
    let (status, _) = server
        .get(&format!("/api/v1/conversations/{KYOTO}/reply"))
        .await;
    assert_eq!(status, 204);

    let search = "query ($text: String!) {
        searchConversations(query: $text) { nodes { conversation { id } } } }";
    for (text, found) in [
        ("kyoto april", vec![kyoto]),
        ("message 3", vec![kyoto]),
        ("bread", vec![older]),
        ("sourdough", vec![older]),
        ("sky blue", vec![untitled]),
        ("nothing of the kind", vec![]),
    ] {
        let hits = server.data(search, json!({ "text": text })).await;
        let expected: Vec<_> = found
            .iter()
            .map(|node| json!({ "conversation": { "id": node["id"] } }))
            .collect();
        assert_eq!(
            hits["searchConversations"]["nodes"],
            json!(expected),
            "{text}"
        );
    }

    let other = Owner {
        tenant: "local".into(),
        user: "other".into(),
    };
    let other = server.serve(other).await;
    let all = "query ($id: ID!) { conversation(id: $id) { id } conversations { nodes { id } }
        searchConversations(query: \"kyoto\") { nodes { snippet } } }";
    let theirs = data(&other, all, json!({ "id": KYOTO })).await;
    let nothing = json!({ "nodes": [] });
    assert_eq!(
        theirs,
        json!({ "conversation": null, "conversations": nothing, "searchConversations": nothing })
    );
    server.stop().await;
}

/// The columns of a conversation that are made from its messages, its messages, and what the index has of it.
async fn made_of(rows: &Rows, id: &str) -> Value {
    const CONVERSATION: &str = "SELECT tenant_id, user_id, topic_hint, agent_entrypoint, active_agent, status,
        CAST(message_count AS text) AS message_count, last_message_preview, title_source, title_status
        FROM agent_conversations WHERE id = $1";
    const MESSAGES: &str =
        "SELECT CAST(position AS text) AS position, role, content, status, attachments, author
        FROM agent_messages WHERE conversation_id = $1 ORDER BY agent_messages.position";
    const SEARCH: &str = "SELECT body, CAST(message_id IS NULL AS text) AS is_title
        FROM agent_search WHERE conversation_id = $1 ORDER BY body";
    let columns = |row: &QueryResult| -> Value {
        let columns = row.column_names().into_iter();
        let columns = columns.map(|name| {
            let value: Option<String> = row.try_get("", &name).unwrap();
            (name, json!(value))
        });
        Value::Object(columns.collect())
    };
    let mut tables = Vec::new();
    for sql in [CONVERSATION, MESSAGES, SEARCH] {
        let rows = rows.all(sql, [bound(id)]).await;
        assert!(!rows.is_empty());
        tables.push(rows.iter().map(columns).collect::<Value>());
    }
    json!(tables)
}

#[tokio::test]
async fn its_rows_are_those_that_the_service_would_have_written() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let long = "# Kyoto — *in* April?\n\n".to_owned() + &"A word, ".repeat(60);
    let files = json!([{ "name": " photo.png", "mediaType": "image/png" }, { "name": "b.pdf" }]);
    let sent = titlecast_testing::calls::send_message(
        &server.url,
        json!({ "text": long, "autoTitle": true }),
    )
    .await;
    let held = sent["conversation"]["id"].as_str().unwrap().to_owned();
    replied(&server.url, &held, 2).await;
    decided(&server.url, &held).await;
    let second = json!({ "text": " ", "attachments": files, "conversationId": held });
    titlecast_testing::calls::send_message(&server.url, second).await;
    replied(&server.url, &held, 4).await;

    let reply = ModelServer::REPLY.concat();
    let files = json!([{ "name": "photo.png", "media_type": "image/png" }, { "name": "b.pdf" }]);
    let id = Uuid::new_v4().to_string();
    let line = json!({
        "id": id, "title": ModelServer::TITLE, "title_source": "generated", "messages": [
            { "role": "user", "content": long },
            { "role": "assistant", "content": reply },
            { "role": "user", "content": " ", "attachments": files },
            { "role": "assistant", "content": reply },
        ],
    });
    counts(import(&server.database, &[line], &[]).await);
    let rows = Rows::of(&server.database).await;
    assert_eq!(made_of(&rows, &id).await, made_of(&rows, &held).await);
    server.stop().await;
}

#[tokio::test]
async fn it_goes_on_with_all_that_was_said() {
    let database = TestDatabase::new().await;
    let untitled = conversation(SKY, "Why is the sky blue?", 2);
    counts(import(&database, &[kyoto(), untitled], &[]).await);
    let model = ModelServer::start().await;
    let server = Server::start_on(database, &model, &[]).await;
    let body = json!({ "message": "And Nara?", "conversation_id": KYOTO });
    let (status, answer) = server.send("POST", "/api/v1/chat", body).await;
    assert_eq!(status, 200, "{answer}");
    let [request] = model.reply_requests().try_into().unwrap();
    let shown = request["messages"].as_array().unwrap().iter();
    let shown: Vec<_> = shown
        .map(|message| message["content"].as_str().unwrap())
        .collect();
    let said = [0, 1, 2, 3].map(|place| format!("A trip to Kyoto, message {place}"));
    assert_eq!(shown[..4], said);
    assert_eq!(shown[4..], ["And Nara?"]);
    // A title that came along stays; one that is missing is made with the next message, from the first.
    assert_eq!(
        title(&server.url, KYOTO).await["displayName"],
        "Kyoto in April"
    );
    assert_eq!(model.title_requests().len(), 0);
    let body = json!({ "message": "And red at night?", "conversation_id": SKY });
    assert_eq!(server.send("POST", "/api/v1/chat", body).await.0, 200);
    assert_eq!(
        decided(&server.url, SKY).await["displayName"],
        ModelServer::TITLE
    );
    let [request] = model.title_requests().try_into().unwrap();
    assert!(
        request
            .to_string()
            .contains("Why is the sky blue?, message 0"),
        "{request}"
    );
    server.stop().await;
}

#[tokio::test]
async fn no_server_tells_of_it_or_titles_it_unasked_and_a_backfill_does() {
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &["--title-sweep", "100ms"]).await;
    // It waits for a message that says something.
    let there = settled(&server.url, "Learn to bake bread").await;
    let rows = Rows::of(&server.database).await;
    rows.published(&there).await;
    let mut socket = server.socket().await;
    let query = "subscription { conversationUpdated { id messageCount } }";
    let list = socket.subscribe(query, json!({})).await;
    socket.settled().await;

    let new = conversation(KYOTO, "A trip to Kyoto", 2);
    counts(import(&server.database, &[new], &[]).await);
    // The sweep next publishes a conversation that was there: it takes the longest unpublished first.
    let messages = rows.messages(&there).await;
    let message =
        |(role, _, content): &(String, String, String)| json!({ "role": role, "content": content });
    let mut messages: Vec<_> = messages.iter().map(message).collect();
    messages.push(json!({ "role": "user", "content": "And rolls?" }));
    let more = json!({ "id": there, "messages": messages });
    let done = counts(import(&server.database, &[more], &[]).await);
    super::assert_counts(&done, json!({ "continued": 1, "messages": 1 }));
    let received = socket.next_of(&list, "conversationUpdated").await;
    assert_eq!(received, json!({ "id": there, "messageCount": 3 }));
    let revisions_sql =
        "SELECT revision, published_revision FROM agent_conversations WHERE id = $1";
    let row = &rows.all(revisions_sql, [bound(KYOTO)]).await[0];
    let number = |column: &str| row.try_get::<i64>("", column).unwrap();
    assert_eq!((number("revision"), number("published_revision")), (1, 1));
    assert_eq!(model.title_requests().len(), 1, "only the server's own");
    assert_eq!(title(&server.url, KYOTO).await["titleStatus"], "PENDING");

    model.title(Answer::Text("Kyoto by Train"));
    let backfill = Titlecast::new(&["backfill", "--rate", "6000"])
        .env("DATABASE_URL", &server.database.url)
        .env("OPENAI_BASE_URL", &model.url);
    backfill.run().await.ok();
    assert_eq!(
        title(&server.url, KYOTO).await["displayName"],
        "Kyoto by Train"
    );
    server.stop().await;
}

#[tokio::test]
async fn an_import_is_visible_to_its_owner_only() {
    const LIST: &str = "{ conversations { nodes { displayName } } }";
    let database = TestDatabase::new().await;
    let line = |id: &str, owner: Value| {
        let line = conversation(id, "A trip to Kyoto", 2);
        with(with(line, json!({ "title": id })), owner)
    };
    let lines = [
        line("1", json!({ "tenant": "acme", "user": "ada" })),
        line("2", json!({ "tenant": "globex", "user": 7 })),
        line("3", json!({ "tenant": null })),
        // Another user's conversation with the same name is another one.
        line("1", json!({})),
    ];
    let flags = ["--tenant", "acme", "--user", "bob"];
    let done = counts(import(&database, &lines, &flags).await);
    super::assert_counts(&done, json!({ "added": 4, "messages": 8 }));
    let arguments = [
        &GUARDED[..],
        &["--openai-base-url", "", "--openai-api-key", ""],
    ]
    .concat();
    let server = Server::on(database, &arguments).await;
    for (tenant, user, expected) in [
        ("acme", "ada", vec!["1"]),
        ("globex", "7", vec!["2"]),
        ("acme", "bob", vec!["1", "3"]),
        ("globex", "ada", vec![]),
        ("local", "local", vec![]),
    ] {
        let token = signed(&claims(tenant, user));
        let answer = graphql_as(&token, &server.url, LIST).await;
        let nodes = answer["data"]["conversations"]["nodes"].as_array().unwrap();
        let mut titles: Vec<_> = nodes
            .iter()
            .map(|node| node["displayName"].as_str().unwrap())
            .collect();
        titles.sort_unstable();
        assert_eq!(titles, expected, "{tenant} {user}");
    }
    server.stop().await;
}
