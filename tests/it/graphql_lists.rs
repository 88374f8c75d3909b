//! The list of conversations: its order, its pages, its filter, and how many statements it takes.

use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    Answer, ModelServer, Server,
    calls::{conversation_when, delete, rename, send_message, settled_conversation},
};

/// A page of the list of conversations: their ids and the page's info.
async fn page(server: &Server, arguments: &str) -> (Vec<String>, Value) {
    let query = format!(
        "{{ conversations({arguments}) {{
            edges {{ cursor node {{ id }} }} nodes {{ id }}
            pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }}
        }} }}"
    );
    let mut data = server.data(&query, json!({})).await;
    let list = data["conversations"].take();
    let edges = list["edges"].as_array().unwrap();
    let nodes: Vec<Value> = edges
        .iter()
        .map(|edge| json!({ "id": edge["node"]["id"] }))
        .collect();
    assert_eq!(list["nodes"], json!(nodes));
    let cursor = |edge: Option<&Value>| edge.map_or(Value::Null, |edge| edge["cursor"].clone());
    assert_eq!(list["pageInfo"]["startCursor"], cursor(edges.first()));
    assert_eq!(list["pageInfo"]["endCursor"], cursor(edges.last()));
    let ids = nodes
        .iter()
        .map(|node| node["id"].as_str().unwrap().to_owned())
        .collect();
    (ids, list["pageInfo"].clone())
}

#[tokio::test]
async fn the_newest_activity_comes_first_and_a_title_is_no_activity() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let (title, open) = Answer::held(Answer::Text("Late Title"));
    model.title(title);
    let sent = send_message(&server.url, json!({ "text": "The oldest" })).await;
    let oldest = sent["conversation"]["id"].as_str().unwrap().to_owned();
    let has_reply = |now: &Value| now["messageCount"] == 2;
    conversation_when(&server.url, &oldest, has_reply).await;
    let middle = settled_conversation(&server.url, json!({ "text": "The middle one" })).await;
    let newest = settled_conversation(&server.url, json!({ "text": "The newest" })).await;
    assert_eq!(
        page(&server, "first: 10").await.0,
        [&*newest, &*middle, &*oldest]
    );

    open.send(()).unwrap();
    let is_titled = |now: &Value| now["displayName"] == "Late Title";
    conversation_when(&server.url, &oldest, is_titled).await;
    let renamed = rename(&server.url, &middle, "Another title").await;
    assert_ne!(renamed["updatedAt"], renamed["lastMessageAt"]);
    assert_eq!(
        page(&server, "first: 10").await.0,
        [&*newest, &*middle, &*oldest]
    );

    let input = json!({ "conversationId": oldest, "text": "And once more" });
    send_message(&server.url, input).await;
    assert_eq!(
        page(&server, "first: 10").await.0,
        [&*oldest, &*newest, &*middle]
    );
}

#[tokio::test]
async fn pages_hold_every_conversation_once_whatever_comes_meanwhile() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let seeded = server.database.seed(&Owner::local(), 23, 1).await;
    let (all, info) = page(&server, "first: 100").await;
    assert_eq!(all, seeded);
    assert_eq!(info["hasNextPage"], false);
    assert_eq!(info["hasPreviousPage"], false);
    assert_eq!(page(&server, "first: 23").await.1["hasNextPage"], false);

    let mut read = Vec::new();
    let mut arguments = "first: 5".to_owned();
    for number in 0..5 {
        let (ids, info) = page(&server, &arguments).await;
        assert_eq!(ids.len(), if number == 4 { 3 } else { 5 });
        assert_eq!(info["hasNextPage"], number < 4);
        assert_eq!(info["hasPreviousPage"], number > 0);
        read.extend(ids);
        arguments = format!("first: 5, after: {}", info["endCursor"]);
        // What is new or gone must not shift the pages behind it.
        send_message(
            &server.url,
            json!({ "text": "meanwhile", "autoTitle": false }),
        )
        .await;
        if number == 1 {
            delete(&server.url, &read[0]).await;
        }
    }
    assert_eq!(read, seeded);
    let (rest, info) = page(&server, &arguments).await;
    assert_eq!(rest.len(), 0);
    assert_eq!(info["endCursor"], Value::Null);
}

#[tokio::test]
async fn a_list_can_hold_the_conversations_of_one_agent_only() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let begin = async |agent: Option<&str>| {
        let body = json!({ "message": "Hello there", "agent_type": agent });
        let (status, answer) = server.send("POST", "/api/v1/chat", body).await;
        assert_eq!(status, 200, "{answer}");
        answer["conversation_id"].as_str().unwrap().to_owned()
    };
    let (first, other, second) = (
        begin(Some("researcher")).await,
        begin(None).await,
        begin(Some("researcher")).await,
    );
    let filter = |agent: &str| format!("filter: {{ agentEntrypoint: \"{agent}\" }}");
    assert_eq!(
        page(&server, &filter("researcher")).await.0,
        [&*second, &*first]
    );
    assert_eq!(page(&server, &filter("triage")).await.0, [&*other]);
    assert!(page(&server, &filter("research")).await.0.is_empty());
    for all in [
        "filter: {}",
        "filter: null",
        "filter: { agentEntrypoint: null }",
    ] {
        assert_eq!(page(&server, all).await.0, [&*second, &*other, &*first]);
    }
    let (ids, info) = page(&server, &format!("first: 1, {}", filter("researcher"))).await;
    assert_eq!((ids, &info["hasNextPage"]), (vec![second], &json!(true)));
    let after = format!(
        "first: 1, after: {}, {}",
        info["endCursor"],
        filter("researcher")
    );
    let (ids, info) = page(&server, &after).await;
    assert_eq!((ids, &info["hasNextPage"]), (vec![first], &json!(false)));
}

#[tokio::test]
async fn a_list_with_its_last_messages_takes_two_statements_however_long_it_is() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    server.database.seed(&Owner::local(), 50, 5).await;
    let statements = async |count: usize| {
        let query = "query ($count: Int!) { conversations(first: $count) { nodes {
            id title messages(last: 3) { nodes { content } pageInfo { hasPreviousPage } }
        } } }";
        let before = server.app.database().statement_count();
        let data = server.data(query, json!({ "count": count })).await;
        let after = server.app.database().statement_count();
        let nodes = data["conversations"]["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), count);
        let last = json!({
            "nodes": [
                { "content": "message 3" }, { "content": "message 4" }, { "content": "message 5" }
            ],
            "pageInfo": { "hasPreviousPage": true },
        });
        assert!(nodes.iter().all(|node| node["messages"] == last));
        after - before
    };
    // Background loops run statements of their own, so the smallest of several counts is the list's.
    for count in [5, 50] {
        let mut smallest = u64::MAX;
        for _ in 0..5 {
            smallest = smallest.min(statements(count).await);
        }
        assert_eq!(smallest, 2, "{count} conversations");
    }
}
