//! Replies whose requests reach several nodes.

use serde_json::{Value, json};
use titlecast_testing::{
    Server,
    calls::{conversation_when, stop_reply},
    eventually, nats,
    replies::Reader,
};

use super::{Reply, Upload, asked, open, refused, replies, serve, serve_on};

/// Two nodes on one database, connected or not; each test runs with both.
async fn two_nodes(settings: &[&str]) -> (Server, Server) {
    let one = serve(settings).await;
    let other = serve_on(one.database.shared(), settings).await;
    (one, other)
}

async fn alternating(settings: &[&str]) {
    let (one, other) = two_nodes(settings).await;
    let id = asked(&one.url).await;
    let reply_id = open(&one.url, &id).await;
    let mut readers = Vec::new();
    for url in [&one.url, &other.url] {
        readers.push(Reader::join(url, &id, &json!(reply_id)).await);
    }
    let (mut offset, mut text) = (0, String::new());
    for (turn, word) in ["First ", "we ", "go ", "to ", "Kyoto", "."]
        .into_iter()
        .enumerate()
    {
        let url = match turn % 2 {
            0 => &other.url,
            _ => &one.url,
        };
        let reply = Reply {
            url,
            id: &id,
            reply: &reply_id,
        };
        reply.appended(offset, word).await;
        // A repetition that reaches the same node, and one with other bytes.
        reply.appended(offset, word).await;
        let (status, answer) = reply.append(0, "Other").await;
        assert_eq!((status, &answer["code"]), (409, &json!("OFFSET_MISMATCH")));
        offset += word.len();
        text += word;
        for reader in &mut readers {
            reader.read_to(&text).await;
        }
    }
    let reply = Reply {
        url: &other.url,
        id: &id,
        reply: &reply_id,
    };
    assert_eq!(reply.finish("completed").await.0, 200);
    for reader in readers {
        assert_eq!(reader.end().await["text"], "First we go to Kyoto.");
    }
    assert_eq!(
        replies(&one, &id).await,
        json!([["COMPLETED", "First we go to Kyoto."]])
    );
    other.stop().await;
    one.stop().await;
}

#[tokio::test]
async fn appends_that_reach_two_nodes_by_turns_are_one_reply() {
    alternating(&[]).await;
}

#[tokio::test]
async fn nodes_that_are_connected_do_it_too() {
    let Some(nats) = nats::shared().await else {
        return;
    };
    alternating(&["--nats-url", &nats]).await;
}

#[tokio::test]
async fn a_cut_upload_goes_on_at_another_node() {
    let (one, other) = two_nodes(&[]).await;
    let id = asked(&one.url).await;
    let mine = uuid::Uuid::new_v4().to_string();
    let query = format!("?reply_id={mine}");
    let upload = Upload::begin(&one.url, &id, &query, "application/x-ndjson");
    upload.text("First we");
    let at = |url| Reply {
        url,
        id: &id,
        reply: &mine,
    };
    eventually(async || {
        let progress = at(&other.url).progress_if_known().await?;
        (progress["offset"] == 8).then_some(())
    })
    .await;
    let here = Reader::join(&one.url, &id, &json!(mine)).await;
    let there = Reader::join(&other.url, &id, &json!(mine)).await;
    upload.cut().await;
    let upload = Upload::begin(&other.url, &id, &query, "application/x-ndjson");
    upload.text("First we go.");
    upload.line(json!({ "type": "finish" }));
    let (status, message) = upload.end().await;
    assert_eq!((status, &message["content"]), (201, &json!("First we go.")));
    for reader in [here, there] {
        assert_eq!(reader.end().await["text"], "First we go.");
    }
    assert_eq!(
        replies(&one, &id).await,
        json!([["COMPLETED", "First we go."]])
    );
    other.stop().await;
    one.stop().await;
}

#[tokio::test]
async fn an_open_upload_is_not_taken_over_and_a_stop_reaches_it_from_anywhere() {
    let Some(nats) = nats::shared().await else {
        return;
    };
    let settings = ["--nats-url", nats.as_str()];
    let (one, other) = two_nodes(&settings).await;
    for server in [&one, &other] {
        nats::nats_is(&server.url, "ok").await;
    }
    let id = asked(&one.url).await;
    let mine = uuid::Uuid::new_v4().to_string();
    let query = format!("?reply_id={mine}");
    let upload = Upload::begin(&one.url, &id, &query, "application/x-ndjson");
    upload.text("First we");
    let reply = Reply {
        url: &other.url,
        id: &id,
        reply: &mine,
    };
    eventually(async || {
        let progress = reply.progress_if_known().await?;
        (progress["offset"] == 8).then_some(())
    })
    .await;
    assert_eq!(
        refused(reply.append(8, " go").await),
        (409, "REPLY_BUSY".into())
    );
    assert!(stop_reply(&other.url, &id).await);
    assert_eq!(
        refused(upload.answer().await),
        (409, "REPLY_STOPPED".into())
    );
    assert_eq!(replies(&other, &id).await, json!([["STOPPED", "First we"]]));
    other.stop().await;
    one.stop().await;
}

#[tokio::test]
async fn a_reply_goes_on_after_its_node_has_stopped() {
    let (one, other) = two_nodes(&[]).await;
    let id = asked(&one.url).await;
    let reply_id = open(&other.url, &id).await;
    let reader = Reader::join(&one.url, &id, &json!(reply_id)).await;
    let at = |url| Reply {
        url,
        id: &id,
        reply: &reply_id,
    };
    let there = other.url.clone();
    at(&there).appended(0, "First we").await;
    other.stop().await;
    at(&one.url).appended(8, " go.").await;
    assert_eq!(at(&one.url).finish("completed").await.0, 200);
    assert_eq!(reader.end().await["text"], "First we go.");
    conversation_when(&one.url, &id, |now| now["messageCount"] == 2).await;
    one.stop().await;
}

impl Reply<'_> {
    /// How far the reply is; `None` before it is opened.
    async fn progress_if_known(&self) -> Option<Value> {
        let Self { url, id, reply } = self;
        let path = format!("/api/v1/conversations/{id}/replies/{reply}");
        let (status, answer) = titlecast_testing::server::request(url, "GET", &path, None).await;
        (status == 200).then_some(answer)
    }
}
