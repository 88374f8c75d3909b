//! Replies in steps.

use futures_util::future::join;
use serde_json::json;
use titlecast_testing::{
    Events, ModelServer, Server,
    auth::{GUARDED, claims, signed, with},
    calls::{conversation_when, delete, stop_reply},
    eventually,
    replies::Reader,
    server::{client, request},
    within,
};

use super::{Reply, asked, open, refused, replies, serve};

#[tokio::test]
async fn a_reply_in_steps_is_stored_once_and_read_by_everybody() {
    let server = serve(&[]).await;
    let url = &server.url;
    let id = asked(url).await;
    let reply_id = open(url, &id).await;
    let reply = Reply {
        url,
        id: &id,
        reply: &reply_id,
    };
    let mut reader = Reader::join(url, &id, &json!(reply_id)).await;
    reply.appended(0, "Grüße").await;
    reader.read_to("Grüße").await;
    // The same again, a part of it again, more than that, nothing.
    for (offset, text) in [(0, "Grüße"), (0, "Gr"), (2, "üße aus"), (11, "")] {
        let (status, answer) = reply.append(offset, text).await;
        assert_eq!(status, 200, "{answer}");
    }
    reader.read_to("Grüße aus").await;
    for (offset, text) in [(12, "!"), (0, "Hallo"), (3, "x")] {
        let (status, answer) = reply.append(offset, text).await;
        assert_eq!((status, &answer["code"]), (409, &json!("OFFSET_MISMATCH")));
        assert_eq!(answer["expected_offset"], 11, "{answer}");
    }
    let progress = reply.progress().await;
    assert_eq!(
        (&progress["offset"], &progress["status"]),
        (&json!(11), &json!("running"))
    );
    assert!((1..=30).contains(&progress["lease_seconds"].as_u64().unwrap()));

    reply.appended(11, " Kyoto.").await;
    let usage = json!({ "prompt_tokens": 12, "completion_tokens": 5 });
    let finish = json!({ "outcome": "completed", "usage": usage, "model": "mine" });
    let (status, finished) = reply.post("finish", finish).await;
    assert_eq!((status, &finished["offset"]), (200, &json!(18)));
    let ended = reader.end().await;
    assert_eq!(ended["text"], "Grüße aus Kyoto.");
    assert_eq!(ended["outcome"], "COMPLETED");

    // Nothing more can be written, and the same end is no change.
    assert_eq!(
        refused(reply.append(18, "!").await),
        (409, "REPLY_ENDED".into())
    );
    assert_eq!(reply.finish("completed").await.0, 200);
    assert_eq!(
        refused(reply.finish("failed").await),
        (409, "REPLY_ENDED".into())
    );
    let progress = reply.progress().await;
    assert_eq!(progress["status"], "completed");
    assert_eq!(
        (&progress["offset"], &progress["lease_seconds"]),
        (&json!(18), &json!(0))
    );
    assert_eq!(
        replies(&server, &id).await,
        json!([["COMPLETED", "Grüße aus Kyoto."]])
    );
    let query =
        "query ($id: ID!) { conversation(id: $id) { messages(last: 1) { nodes { model } } } }";
    let stored = server.data(query, json!({ "id": id })).await;
    assert_eq!(
        stored["conversation"]["messages"]["nodes"][0]["model"],
        "mine"
    );
    server.stop().await;
}

#[tokio::test]
async fn parts_stand_where_they_were_appended_and_come_once() {
    let server = serve(&[]).await;
    let id = asked(&server.url).await;
    let reply_id = open(&server.url, &id).await;
    let reply = Reply {
        url: &server.url,
        id: &id,
        reply: &reply_id,
    };
    reply.appended(0, "Looking. ").await;
    let call =
        json!({ "type": "tool", "id": "c1", "name": "search", "arguments": { "q": "Kyoto" } });
    let data = json!({ "type": "data", "name": "map", "data": [35, 135] });
    let pin = |place: &str| json!({ "type": "data", "name": "pin", "id": "p", "data": place });
    let result = json!({ "type": "tool", "id": "c1", "result": "sunny" });
    for parts in [json!([call, data, pin("Osaka")]), json!([call, data])] {
        let body = json!({ "offset": 9, "parts": parts });
        let (status, answer) = reply.post("append", body).await;
        assert_eq!(status, 200, "{answer}");
    }
    reply.appended(9, "It is ").await;
    // A reader that leaves here resumes after the result, and after the newer pin.
    let path = format!("{}/api/v1/conversations/{id}/reply", server.url);
    let mut reader = Events::of(client().get(&path)).await;
    let first = reader.next().await.unwrap();
    assert_eq!(first["response_text"], "Looking. It is ");
    let place = reader.last_id();
    drop(reader);
    let body = json!({ "offset": 15, "parts": [result, pin("Kyoto")] });
    let (status, answer) = reply.post("append", body).await;
    assert_eq!(status, 200, "{answer}");
    reply.appended(15, "sunny.").await;
    assert_eq!(reply.finish("completed").await.0, 200);
    let mut again = Events::of(client().get(&path).header("last-event-id", place)).await;
    let rest = again.rest().await;
    let output = rest.iter().find(|event| event["event"] == "tool_output");
    assert_eq!(
        output.unwrap()["payload"]["output"],
        "\"sunny\"",
        "{rest:?}"
    );
    let query = "query ($id: ID!) { conversation(id: $id) { messages(last: 1) { nodes { parts {
        __typename ... on TextPart { text } ... on ToolPart { name arguments result state }
        ... on DataPart { dataId name json } } } } } }";
    let stored = server.data(query, json!({ "id": id })).await;
    assert_eq!(
        stored["conversation"]["messages"]["nodes"][0]["parts"],
        json!([
            { "__typename": "TextPart", "text": "Looking. " },
            {
                "__typename": "ToolPart", "name": "search", "arguments": "{\"q\":\"Kyoto\"}",
                "result": "\"sunny\"", "state": "COMPLETED",
            },
            { "__typename": "DataPart", "dataId": null, "name": "map", "json": "[35,135]" },
            { "__typename": "DataPart", "dataId": "p", "name": "pin", "json": "\"Kyoto\"" },
            { "__typename": "TextPart", "text": "It is sunny." },
        ])
    );
    server.stop().await;
}

#[tokio::test]
async fn a_stopped_reply_keeps_its_text_and_takes_no_more() {
    let server = serve(&[]).await;
    let id = asked(&server.url).await;
    let reply_id = open(&server.url, &id).await;
    let reply = Reply {
        url: &server.url,
        id: &id,
        reply: &reply_id,
    };
    reply.appended(0, "First we").await;
    assert!(stop_reply(&server.url, &id).await);
    let stopped = (409, "REPLY_STOPPED".to_owned());
    assert_eq!(refused(reply.append(8, " go").await), stopped);
    assert_eq!(refused(reply.finish("completed").await), stopped);
    assert_eq!(reply.progress().await["status"], "stopped");
    assert_eq!(
        replies(&server, &id).await,
        json!([["STOPPED", "First we"]])
    );
    server.stop().await;
}

#[tokio::test]
async fn an_abandoned_reply_ends_incomplete_when_its_lease_is_over() {
    let server = serve(&["--ingest-idle", "1s"]).await;
    let id = asked(&server.url).await;
    let reply_id = open(&server.url, &id).await;
    let reply = Reply {
        url: &server.url,
        id: &id,
        reply: &reply_id,
    };
    reply.appended(0, "First we").await;
    conversation_when(&server.url, &id, |now| now["messageCount"] == 2).await;
    assert_eq!(
        refused(reply.append(8, " go").await),
        (409, "REPLY_ENDED".into())
    );
    assert_eq!(reply.progress().await["status"], "incomplete");
    assert_eq!(
        replies(&server, &id).await,
        json!([["INCOMPLETE", "First we"]])
    );
    server.stop().await;
}

#[tokio::test]
async fn of_two_programs_at_one_offset_one_is_refused() {
    let server = serve(&[]).await;
    let id = asked(&server.url).await;
    let reply_id = open(&server.url, &id).await;
    let reply = Reply {
        url: &server.url,
        id: &id,
        reply: &reply_id,
    };
    let (one, other) = join(reply.append(0, "Hello"), reply.append(0, "Good day")).await;
    let mut statuses = [one.0, other.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{one:?} {other:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_further_reply_is_a_further_message_and_ids_are_unique() {
    let server = serve(&[]).await;
    let url = &server.url;
    let (id, other) = (asked(url).await, asked(url).await);
    let path = format!("/api/v1/conversations/{id}/replies");
    for text in ["One.", "Two."] {
        let reply_id = open(url, &id).await;
        let reply = Reply {
            url,
            id: &id,
            reply: &reply_id,
        };
        reply.appended(0, text).await;
        assert_eq!(reply.finish("completed").await.0, 200);
    }
    let both = json!([["COMPLETED", "One."], ["COMPLETED", "Two."]]);
    assert_eq!(replies(&server, &id).await, both);

    let mine = "0198d5b2-6f0e-4b8a-9a55-4f3e2d1c0b9a";
    let body = json!({ "reply_id": mine });
    assert_eq!(request(url, "POST", &path, Some(body.clone())).await.0, 201);
    assert_eq!(request(url, "POST", &path, Some(body.clone())).await.0, 200);
    let elsewhere = format!("/api/v1/conversations/{other}/replies");
    let taken = request(url, "POST", &elsewhere, Some(body)).await;
    assert_eq!(refused(taken), (409, "ID_TAKEN".into()));
    // No message takes the id of a reply that is open.
    let path_of_messages = format!("/api/v1/conversations/{id}/messages");
    let message = json!({ "role": "user", "content": "And Nara?", "message_id": mine });
    let taken = request(url, "POST", &path_of_messages, Some(message)).await;
    assert_eq!(refused(taken), (409, "ID_TAKEN".into()));
    let unknown = json!({ "in_reply_to": mine });
    let refusal = request(url, "POST", &path, Some(unknown)).await;
    assert_eq!(refused(refusal), (404, "NOT_FOUND".into()));
    let nowhere = format!("/api/v1/conversations/{mine}/replies");
    let refusal = request(url, "POST", &nowhere, Some(json!({}))).await;
    assert_eq!(refused(refusal), (404, "NOT_FOUND".into()));
    let reply = Reply {
        url,
        id: &other,
        reply: mine,
    };
    assert_eq!(
        refused(reply.append(0, "x").await),
        (404, "NOT_FOUND".into())
    );
    server.stop().await;
}

#[tokio::test]
async fn a_failed_reply_does_not_count_and_a_deleted_one_leaves_nothing() {
    let server = serve(&[]).await;
    let id = asked(&server.url).await;
    let reply_id = open(&server.url, &id).await;
    let reply = Reply {
        url: &server.url,
        id: &id,
        reply: &reply_id,
    };
    reply.appended(0, "Well").await;
    assert_eq!(reply.finish("failed").await.0, 200);
    let query = "query ($id: ID!) { conversation(id: $id) { messageCount } }";
    let now = server.data(query, json!({ "id": id })).await;
    assert_eq!(now["conversation"]["messageCount"], 1);
    assert_eq!(reply.progress().await["status"], "failed");

    let reply_id = open(&server.url, &id).await;
    let reply = Reply {
        url: &server.url,
        id: &id,
        reply: &reply_id,
    };
    reply.appended(0, "Well").await;
    delete(&server.url, &id).await;
    let gone = eventually(async || {
        let (status, answer) = reply.append(4, "!").await;
        (status != 200).then_some((status, answer))
    })
    .await;
    assert!([404, 409].contains(&gone.0), "{gone:?}");
    server.stop().await;
}

#[tokio::test]
async fn the_limit_of_text_holds() {
    let server = serve(&[]).await;
    let id = asked(&server.url).await;
    let reply_id = open(&server.url, &id).await;
    let reply = Reply {
        url: &server.url,
        id: &id,
        reply: &reply_id,
    };
    let part = "x".repeat(200 * 1024);
    for number in 0..2 {
        reply.appended(number * part.len(), &part).await;
    }
    let full = reply.append(2 * part.len(), &part).await;
    assert_eq!(refused(full), (413, "PAYLOAD_TOO_LARGE".into()));
    assert_eq!(reply.progress().await["offset"], 2 * part.len());
    assert_eq!(reply.finish("completed").await.0, 200);
    server.stop().await;
}

#[tokio::test]
async fn graphql_writes_a_reply_in_steps() {
    const OPEN: &str = "mutation ($input: OpenReplyInput!) { openReply(input: $input) {
        replyId offset outcome leaseSeconds } }";
    const APPEND: &str = "mutation ($input: AppendReplyInput!) { appendReply(input: $input) {
        offset outcome } }";
    const FINISH: &str = "mutation ($input: FinishReplyInput!) { finishReply(input: $input) {
        offset outcome leaseSeconds } }";
    let server = serve(&[]).await;
    let id = asked(&server.url).await;
    let input = json!({ "conversationId": id });
    let opened = server.data(OPEN, json!({ "input": input })).await;
    let opened = &opened["openReply"];
    assert_eq!(opened["outcome"], json!(null));
    // What is no number of bytes, or no JSON, has a code.
    for bad in [
        json!({ "offset": -1, "text": "x" }),
        json!({ "offset": 0, "text": "", "parts": [{ "data": { "name": "n", "json": "{not json" } }] }),
    ] {
        let mut input = bad;
        input["conversationId"] = json!(id);
        input["replyId"] = opened["replyId"].clone();
        let answer = server.graphql(APPEND, json!({ "input": input })).await;
        let code = &answer["errors"][0]["extensions"]["code"];
        assert_eq!(code, "INVALID_INPUT", "{answer}");
    }
    assert_eq!(
        (&opened["offset"], &opened["leaseSeconds"]),
        (&json!(0), &json!(30))
    );
    let reply = &opened["replyId"];
    let input = |offset: u32, text: &str, parts: serde_json::Value| {
        json!({ "input": {
            "conversationId": id, "replyId": reply, "offset": offset, "text": text, "parts": parts,
        } })
    };
    let parts = json!([{ "tool": { "callId": "c", "name": "search" } }, { "reasoning": "Hm" }]);
    let appended = server.data(APPEND, input(0, "Well", parts)).await;
    assert_eq!(
        appended["appendReply"],
        json!({ "offset": 4, "outcome": null })
    );
    let gap = server.graphql(APPEND, input(5, "!", json!([]))).await;
    let error = &gap["errors"][0]["extensions"];
    assert_eq!(error["code"], "OFFSET_MISMATCH");
    assert_eq!(error["expectedOffset"], 4);
    let mixed = server.graphql(APPEND, input(4, "", json!([{}]))).await;
    assert_eq!(mixed["errors"][0]["extensions"]["argument"], "input.parts");
    let finish = json!({ "input": { "conversationId": id, "replyId": reply } });
    let finished = server.data(FINISH, finish).await;
    let expected = json!({ "offset": 4, "outcome": "COMPLETED", "leaseSeconds": 0 });
    assert_eq!(finished["finishReply"], expected);
    assert_eq!(replies(&server, &id).await, json!([["COMPLETED", "Well"]]));
    server.stop().await;
}

#[tokio::test]
async fn a_reply_that_has_ended_holds_no_slot_of_the_limit() {
    let model = ModelServer::start().await;
    // Its lease would hold the slot for longer than the test waits.
    let limits = ["--ingest-streams", "1", "--ingest-idle", "120s"];
    let server = Server::start_with(&model, &[&GUARDED[..], &limits].concat()).await;
    let scoped = with(
        claims("acme", "ada"),
        "scope",
        json!("conversations:ingest"),
    );
    let token = signed(&scoped);
    let post = async |path: &str, body: serde_json::Value| {
        let url = format!("{}/api/v1/conversations/slots/{path}", server.url);
        let request = client().post(url).bearer_auth(&token).json(&body);
        let response = within(request.send()).await.unwrap();
        let status = response.status().as_u16();
        (status, response.json::<serde_json::Value>().await.unwrap())
    };
    let message = json!({ "role": "user", "content": "Plan a trip to Kyoto" });
    assert_eq!(post("messages", message).await.0, 201);
    for _ in 0..3 {
        // The slot of the reply before is free as soon as the task of that reply has ended.
        let reply = eventually(async || {
            let (status, opened) = post("replies", json!({})).await;
            let reply = opened["reply_id"].as_str().map(str::to_owned);
            reply.filter(|_| status == 201)
        })
        .await;
        assert_eq!(post("replies", json!({})).await.0, 429);
        let (status, end) = post(&format!("replies/{reply}/finish"), json!({})).await;
        assert_eq!(status, 200, "{end}");
    }
    server.stop().await;
}
