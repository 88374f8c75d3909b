//! One query reads at most 4 MiB of message text: pages end early and say so.

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::Server;

/// The length of each message's text in these tests, in bytes.
const TEXT_BYTES: usize = 200_000;

/// A server with conversations of 60 messages, each as long as messages may be.
async fn with_large_messages(conversations: usize) -> (Server, Vec<String>) {
    let server = Server::offline().await;
    let ids = server
        .database
        .seed(&Owner::local(), conversations, 60)
        .await;
    let connection = server.database.connect().await;
    let text = match server.database.is_sqlite() {
        true => format!("hex(zeroblob({}))", TEXT_BYTES / 2),
        false => format!("repeat('0', {TEXT_BYTES})"),
    };
    connection
        .execute_unprepared(&format!("UPDATE agent_messages SET content = {text}"))
        .await
        .unwrap();
    connection.close().await.unwrap();
    (server, ids)
}

#[tokio::test]
async fn a_page_of_large_messages_ends_early_and_the_next_one_goes_on() {
    let (server, ids) = with_large_messages(1).await;
    for (count, cursor, further) in [
        ("first", "after", "hasNextPage"),
        ("last", "before", "hasPreviousPage"),
    ] {
        let mut read = Vec::new();
        let mut place = Value::Null;
        let mut pages = 0;
        loop {
            let query = format!(
                "query ($id: ID!, $at: String) {{ conversation(id: $id) {{
                    messages({count}: 50, {cursor}: $at) {{
                        edges {{ cursor }} nodes {{ id content }} pageInfo {{ {further} }}
                    }}
                }} }}"
            );
            let data = server
                .data(&query, json!({ "id": ids[0], "at": place }))
                .await;
            let page = &data["conversation"]["messages"];
            let nodes = page["nodes"].as_array().unwrap();
            assert!(nodes.len() <= 4 * 1024 * 1024 / TEXT_BYTES);
            assert!(
                nodes
                    .iter()
                    .all(|node| node["content"].as_str().unwrap().len() == TEXT_BYTES)
            );
            let mut page_ids: Vec<String> =
                nodes.iter().map(|node| node["id"].to_string()).collect();
            let edges = page["edges"].as_array().unwrap();
            if count == "last" {
                page_ids.reverse();
                place = edges.first().unwrap()["cursor"].clone();
            } else {
                place = edges.last().unwrap()["cursor"].clone();
            }
            read.extend(page_ids);
            pages += 1;
            if page["pageInfo"][further] == false {
                break;
            }
        }
        assert_eq!(pages, 3);
        assert_eq!(read.len(), 60);
        read.sort();
        read.dedup();
        assert_eq!(read.len(), 60);
    }
}

#[tokio::test]
async fn pages_without_room_for_one_message_are_refused_with_what_to_do() {
    let (server, _) = with_large_messages(50).await;
    let query = "query ($n: Int!) { conversations(first: $n) {
        nodes { messages(last: 1) { nodes { content } } } } }";
    let answer = server.graphql(query, json!({ "n": 50 })).await;
    let error = &answer["errors"][0];
    assert_eq!(error["extensions"]["code"], "QUERY_TOO_COMPLEX");
    assert!(error["message"].as_str().unwrap().contains("4 MiB"));
    let answer = server.data(query, json!({ "n": 20 })).await;
    assert_eq!(
        answer["conversations"]["nodes"].as_array().unwrap().len(),
        20
    );
}
