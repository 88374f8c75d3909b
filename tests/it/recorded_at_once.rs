//! Recording the same messages by several requests at once.

use serde_json::{Value, json};
use titlecast_testing::{ModelServer, Server};

use crate::recorded::{assistant, record, user};

#[tokio::test]
async fn equal_requests_at_once_store_their_messages_once() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let requests = (0..40).map(|_| {
        record(
            &server,
            json!([user("Plan a trip", "1"), assistant("Gladly", "2")]),
        )
    });
    let answers = futures_util::future::join_all(requests).await;
    let created = answers.iter().filter(|(status, _)| *status == 201).count();
    assert!(
        answers
            .iter()
            .all(|(status, _)| [200, 201].contains(status)),
        "{answers:?}"
    );
    assert_eq!(created, 1);
    assert_eq!(server.database.row_counts().await, [1, 2, 0]);
}

#[tokio::test]
async fn growing_histories_at_once_store_each_message_once_and_in_order() {
    const AT_ONCE: usize = 8;
    const ROUNDS: usize = 10;
    let model = ModelServer::start().await;
    let server = &Server::start(&model).await;
    let all: Vec<Value> = (0..2 + 2 * AT_ONCE)
        .map(|place| match place % 2 {
            0 => user(&format!("text {place}"), &format!("e{place}")),
            _ => assistant(&format!("text {place}"), &format!("e{place}")),
        })
        .collect();
    let expected: Vec<&Value> = all.iter().map(|message| &message["content"]).collect();
    for round in 0..ROUNDS {
        let path = format!("/api/v1/conversations/growing-{round}/messages");
        let (path, all) = (path.as_str(), all.as_slice());
        let requests = (1..=AT_ONCE).map(async |steps| {
            let history = json!(all[..2 + 2 * steps]);
            server.send("POST", path, history).await
        });
        let answers = futures_util::future::join_all(requests).await;
        let mut created = 0;
        for (status, answer) in &answers {
            assert!([200, 201].contains(status), "{status} {answer}");
            let items = answer["items"].as_array().unwrap().iter();
            created += items.filter(|item| item["status"] == "created").count();
        }
        assert_eq!(created, all.len());
        let (_, page) = server.get(&format!("{path}?direction=asc")).await;
        let items = page["items"].as_array().unwrap().iter();
        let stored: Vec<&Value> = items.map(|item| &item["content"]).collect();
        assert_eq!(stored, expected);
    }
}
