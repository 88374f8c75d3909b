//! Archive, pins and metadata: each change raises the revision once and is published, and a repetition is neither.

use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    GraphqlSocket, ModelServer, Rows, Server,
    calls::{code, delete, send_message, settled_conversation},
    titles::replied,
};
use uuid::Uuid;

const FIELDS: &str =
    "id revision title archivedAt pinnedAt lastMessageAt updatedAt metadata { key value }";

/// A mutation of one conversation; its whole answer.
async fn ask(server: &Server, mutation: &str, input: Value) -> Value {
    let kind = format!("{}{}Input", mutation[..1].to_uppercase(), &mutation[1..]);
    let query = format!(
        "mutation ($input: {kind}!) {{ {mutation}(input: $input) {{ conversation {{ {FIELDS} }} }} }}"
    );
    server.graphql(&query, json!({ "input": input })).await
}

/// The same where it must succeed; the conversation.
async fn change(server: &Server, mutation: &str, input: Value) -> Value {
    let mut answer = ask(server, mutation, input).await;
    assert_eq!(answer.get("errors"), None, "{mutation}: {answer}");
    answer["data"][mutation]["conversation"].take()
}

async fn shown(server: &Server, id: &str) -> Value {
    let query = format!("query ($id: ID!) {{ conversation(id: $id) {{ {FIELDS} }} }}");
    server.data(&query, json!({ "id": id })).await["conversation"].take()
}

async fn listed(server: &Server) -> Vec<Value> {
    let list = server
        .data("{ conversations { nodes { id } } }", json!({}))
        .await;
    let nodes = list["conversations"]["nodes"].as_array().unwrap();
    nodes.iter().map(|node| node["id"].clone()).collect()
}

/// All of the owner's conversations, from now on.
async fn watch(server: &Server) -> (GraphqlSocket, String) {
    let mut socket = server.socket().await;
    let query = format!("subscription {{ conversationUpdated {{ {FIELDS} }} }}");
    let operation = socket.subscribe(&query, json!({})).await;
    socket.settled().await;
    (socket, operation)
}

fn pairs(pairs: &[(&str, &str)]) -> Value {
    let entry = |(key, value): &(&str, &str)| json!({ "key": key, "value": value });
    pairs.iter().map(entry).collect()
}

#[tokio::test]
async fn marks_are_set_and_removed_once_and_published() {
    let server = Server::offline().await;
    let id = server.database.seed(&Owner::local(), 1, 1).await.remove(0);
    let before = shown(&server, &id).await;
    let (mut socket, operation) = watch(&server).await;
    let mut revision = before["revision"].as_i64().unwrap();
    for (set, remove, field) in [
        ("archiveConversation", "unarchiveConversation", "archivedAt"),
        ("pinConversation", "unpinConversation", "pinnedAt"),
    ] {
        for (mutation, is_set) in [(set, true), (remove, false)] {
            let after = change(&server, mutation, json!({ "conversationId": id })).await;
            revision += 1;
            assert_eq!(after["revision"], revision, "{mutation}");
            assert_eq!(after[field].is_string(), is_set, "{mutation}: {after}");
            assert_eq!(after["lastMessageAt"], before["lastMessageAt"]);
            assert_eq!(shown(&server, &id).await, after, "{mutation}");
            // The next event is the next change, so a repetition published none.
            assert_eq!(
                socket.next_of(&operation, "conversationUpdated").await,
                after
            );
            let again = change(&server, mutation, json!({ "conversationId": id })).await;
            assert_eq!(again, after, "{mutation}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_conversation_is_named_by_one_of_its_ids() {
    let server = Server::offline().await;
    send_message(
        &server.url,
        json!({ "text": "Plan a trip to Kyoto", "externalId": "trip/1" }),
    )
    .await;
    let name = json!({ "externalId": "trip/1" });
    for (mutation, field) in [
        ("archiveConversation", "archivedAt"),
        ("pinConversation", "pinnedAt"),
    ] {
        let after = change(&server, mutation, name.clone()).await;
        assert!(after[field].is_string(), "{mutation}: {after}");
    }
    for mutation in ["unarchiveConversation", "unpinConversation"] {
        change(&server, mutation, name.clone()).await;
    }
    let pair = json!({ "externalId": "trip/1", "set": [{ "key": "a", "value": "b" }] });
    let after = change(&server, "setConversationMetadata", pair).await;
    assert_eq!(after["metadata"], pairs(&[("a", "b")]));
    let id = after["id"].clone();
    for (input, argument) in [
        (json!({}), "input.conversationId"),
        (
            json!({ "externalId": "a", "conversationId": id }),
            "input.externalId",
        ),
    ] {
        let refused = ask(&server, "archiveConversation", input).await;
        assert_eq!(code(&refused), "INVALID_INPUT", "{refused}");
        assert_eq!(refused["errors"][0]["extensions"]["argument"], argument);
    }
    server.stop().await;
}

#[tokio::test]
async fn an_archived_conversation_is_in_no_list_and_stays_archived_when_messages_follow() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let kept = settled_conversation(&server.url, json!({ "text": "Plan a trip to Nara" })).await;
    let id = settled_conversation(&server.url, json!({ "text": "Plan a trip to Kyoto" })).await;
    change(
        &server,
        "archiveConversation",
        json!({ "conversationId": id }),
    )
    .await;
    assert_eq!(listed(&server).await, [kept.as_str()]);
    let (status, list) = server.get("/api/v1/conversations").await;
    assert_eq!(status, 200, "{list}");
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list["items"][0]["conversation_id"], kept.as_str());

    let (mut socket, operation) = watch(&server).await;
    send_message(
        &server.url,
        json!({ "text": "And in May?", "conversationId": id }),
    )
    .await;
    let event = socket.next_of(&operation, "conversationUpdated").await;
    assert_eq!(event["id"], id.as_str(), "subscribers see archived ones");
    assert!(event["archivedAt"].is_string(), "{event}");
    replied(&server.url, &id, 4).await;
    assert_eq!(listed(&server).await, [kept.as_str()]);
    let query =
        "{ searchConversations(query: \"kyoto\") { nodes { conversation { id archivedAt } } } }";
    let found = server.data(query, json!({})).await;
    let found = &found["searchConversations"]["nodes"][0]["conversation"];
    assert_eq!(found["id"], id.as_str(), "a search finds it");

    change(
        &server,
        "unarchiveConversation",
        json!({ "conversationId": id }),
    )
    .await;
    assert_eq!(listed(&server).await, [id.as_str(), kept.as_str()]);
    server.stop().await;
}

#[tokio::test]
async fn metadata_is_changed_pair_by_pair() {
    let server = Server::offline().await;
    let id = server.database.seed(&Owner::local(), 1, 1).await.remove(0);
    let (mut socket, operation) = watch(&server).await;
    let before = shown(&server, &id).await;
    assert_eq!(before["metadata"], json!([]));
    let set = async |set: &[(&str, &str)], remove: &[&str]| {
        let input = json!({ "conversationId": id, "set": pairs(set), "remove": remove });
        change(&server, "setConversationMetadata", input).await
    };
    let first = set(
        &[("color", "red"), ("app.tag", "ü \"quoted\" \\")],
        &["unknown"],
    )
    .await;
    let expected = pairs(&[("app.tag", "ü \"quoted\" \\"), ("color", "red")]);
    assert_eq!(first["metadata"], expected, "sorted by key");
    assert_eq!(first["revision"], before["revision"].as_i64().unwrap() + 1);
    assert_eq!(
        socket.next_of(&operation, "conversationUpdated").await,
        first
    );
    // What is so already changes nothing.
    assert_eq!(set(&[("color", "red")], &["unknown"]).await, first);
    assert_eq!(set(&[], &[]).await, first);
    // A key that is removed and set has the new value.
    let second = set(&[("color", "blue")], &["color", "app.tag"]).await;
    assert_eq!(second["metadata"], pairs(&[("color", "blue")]));
    assert_eq!(
        socket.next_of(&operation, "conversationUpdated").await,
        second
    );
    let none = set(&[], &["color"]).await;
    assert_eq!(none["metadata"], json!([]));
    assert_eq!(
        socket.next_of(&operation, "conversationUpdated").await,
        none
    );
    server.stop().await;
}

#[tokio::test]
async fn metadata_has_limits() {
    let server = Server::offline().await;
    let id = server.database.seed(&Owner::local(), 1, 1).await.remove(0);
    let set = async |set: Value, remove: Value| {
        let input = json!({ "conversationId": id, "set": set, "remove": remove });
        ask(&server, "setConversationMetadata", input).await
    };
    let many = |count: usize| -> Value {
        let entry = |number| json!({ "key": format!("key{number}"), "value": "x" });
        (0..count).map(entry).collect()
    };
    let (key, value) = ("k".repeat(65), "v".repeat(513));
    for (pairs, remove, argument) in [
        (pairs(&[("", "x")]), json!([]), "input.set"),
        (pairs(&[("a b", "x")]), json!([]), "input.set"),
        (pairs(&[(&key, "x")]), json!([]), "input.set"),
        (pairs(&[("key", &value)]), json!([]), "input.set"),
        (pairs(&[("key", "a\u{0}b")]), json!([]), "input.set"),
        (pairs(&[("key", "a\nb")]), json!([]), "input.set"),
        (many(17), json!([]), "input.set"),
        (json!([]), json!(["a b"]), "input.remove"),
    ] {
        let answer = set(pairs, remove).await;
        assert_eq!(code(&answer), "INVALID_INPUT", "{answer}");
        let named = &answer["errors"][0]["extensions"]["argument"];
        assert_eq!(named, argument, "{answer}");
    }
    assert_eq!(set(many(16), json!([])).await.get("errors"), None);
    let answer = set(pairs(&[("another", "x")]), json!([])).await;
    assert_eq!(code(&answer), "INVALID_INPUT", "the seventeenth: {answer}");
    let answer = set(pairs(&[("another", "x")]), json!(["key3"])).await;
    assert_eq!(answer.get("errors"), None, "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn changes_of_metadata_at_once_are_all_kept() {
    let server = Server::offline().await;
    let id = server.database.seed(&Owner::local(), 1, 1).await.remove(0);
    let mut changes = tokio::task::JoinSet::new();
    for number in 0..16 {
        let (url, id) = (server.url.clone(), id.clone());
        changes.spawn(async move {
            let query = "mutation ($input: SetConversationMetadataInput!) {
                setConversationMetadata(input: $input) { conversation { id } }
            }";
            let key = format!("key{number}");
            let set = json!([{ "key": key, "value": "x" }]);
            let input = json!({ "input": { "conversationId": id, "set": set } });
            titlecast_testing::calls::data(&url, query, input).await;
        });
    }
    changes.join_all().await;
    let after = shown(&server, &id).await;
    assert_eq!(after["metadata"].as_array().unwrap().len(), 16, "{after}");
    server.stop().await;
}

#[tokio::test]
async fn unknown_conversations_are_not_found_and_deleted_ones_keep_nothing() {
    let server = Server::offline().await;
    let id = server.database.seed(&Owner::local(), 1, 1).await.remove(0);
    let set = json!({ "conversationId": id, "set": pairs(&[("color", "red")]) });
    change(&server, "setConversationMetadata", set).await;
    for mutation in ["archiveConversation", "pinConversation"] {
        change(&server, mutation, json!({ "conversationId": id })).await;
    }
    let (mut socket, operation) = watch(&server).await;
    delete(&server.url, &id).await;
    let tombstone = socket.next_of(&operation, "conversationUpdated").await;
    assert_eq!(tombstone["metadata"], json!([]));
    assert_eq!(
        [&tombstone["archivedAt"], &tombstone["pinnedAt"]],
        [&Value::Null; 2]
    );
    let rows = Rows::of(&server.database).await;
    let left = "SELECT 1 FROM agent_conversations WHERE metadata IS NOT NULL";
    assert_eq!(rows.all(left, []).await.len(), 0);
    for id in [id, Uuid::now_v7().to_string()] {
        for mutation in [
            "archiveConversation",
            "unarchiveConversation",
            "pinConversation",
            "unpinConversation",
            "setConversationMetadata",
        ] {
            let answer = ask(&server, mutation, json!({ "conversationId": id })).await;
            assert_eq!(code(&answer), "NOT_FOUND", "{mutation}: {answer}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn metadata_that_the_previous_version_left_in_a_tombstone_is_not_shown_and_goes() {
    let server = Server::offline().await;
    let id = server.database.seed(&Owner::local(), 1, 1).await.remove(0);
    let rows = Rows::of(&server.database).await;
    let left =
        "UPDATE agent_conversations SET status = 'deleted', metadata = '{\"color\":\"red\"}'";
    rows.run(left, []).await.unwrap();
    let owner = Owner::local();
    let id = id.parse().unwrap();
    let db = server.app.database();
    let row = db.find_row(&owner, id).await.unwrap().unwrap();
    assert!(row.metadata.is_empty());
    db.erase_left_metadata().await.unwrap();
    let left = "SELECT 1 FROM agent_conversations WHERE metadata IS NOT NULL";
    assert_eq!(rows.all(left, []).await.len(), 0);
    server.stop().await;
}
