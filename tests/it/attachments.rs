//! Attachments: a message may be files and nothing else. Their names are what is shown, found and sent to
//! the model, and a name that says something is the title, at once and without a call.

use serde_json::{Value, json};
use titlecast_testing::{
    Events, ModelServer, Rows, Server, Watched,
    calls::{code, data},
    server::{client, graphql},
    titles::{decided, regenerate, replied, settled},
};

const SEND: &str = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) {
    conversation {
        id title displayName titleGeneratedAt titleSource titleStatus topicHint lastMessagePreview
        messages { nodes { content attachments { name mediaType } } }
    }
    message { id content attachments { name mediaType } }
    replyId
} }";

/// A message of these files; the payload.
async fn attach(server: &Server, text: &str, files: Value) -> Value {
    let input = json!({ "text": text, "attachments": files });
    let mut sent = data(&server.url, SEND, json!({ "input": input })).await;
    sent["sendMessage"].take()
}

fn id_of(sent: &Value) -> &str {
    sent["conversation"]["id"].as_str().unwrap()
}

#[tokio::test]
async fn a_name_that_says_something_is_the_title_at_once() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let mut list = Watched::list(&server.url).await;
    let files = json!([
        { "name": "IMG_1234.jpg" },
        { "name": "quarterly_report-2025.pdf", "mediaType": "application/pdf" },
    ]);
    let sent = attach(&server, "", files).await;
    let begun = &sent["conversation"];
    assert_eq!(begun["displayName"], "Quarterly report 2025");
    assert_eq!(begun["title"], "Quarterly report 2025");
    assert_eq!(begun["titleSource"], "GENERATED");
    assert_eq!(begun["titleStatus"], "READY");
    assert!(begun["titleGeneratedAt"].is_string());
    // The first event of the conversation has the title already.
    let received = list.next().await;
    assert_eq!(received["id"], begun["id"]);
    assert_eq!(received["displayName"], "Quarterly report 2025");
    assert_eq!(received["revision"], 1);
    let id = id_of(&sent);
    let mut one = Watched::one(&server.url, id).await;
    assert_eq!(one.next().await["displayName"], "Quarterly report 2025");
    let stream = format!("{}/api/v1/conversations/{id}/stream", server.url);
    let event = Events::of(client().get(stream)).await.next().await.unwrap();
    assert_eq!(event["kind"], "conversation.title.generated");
    assert_eq!(event["display_name"], "Quarterly report 2025");

    replied(&server.url, id, 2).await;
    let stored = Rows::of(&server.database).await.title(id).await;
    assert_eq!(stored.title_source, "generated");
    assert_eq!(stored.title_status, "ready");
    assert_eq!(stored.revision, 2);
    assert_eq!(model.title_requests().len(), 0);
}

#[tokio::test]
async fn a_name_that_a_camera_gave_is_no_title() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let sent = attach(&server, "", json!([{ "name": "IMG_1234.jpg" }])).await;
    let id = id_of(&sent);
    replied(&server.url, id, 2).await;
    let shown = server.title(id).await;
    assert_eq!(shown["titleStatus"], "SKIPPED");
    assert_eq!(shown["displayName"], Value::Null);
    assert_eq!(shown["title"], "IMG_1234.jpg");
    assert_eq!(model.title_requests().len(), 0);
}

#[tokio::test]
async fn a_text_beside_them_is_titled_as_ever() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let text = "Plan a trip to Kyoto";
    let sent = attach(&server, text, json!([{ "name": "Tax return.pdf" }])).await;
    let id = id_of(&sent);
    assert_eq!(sent["conversation"]["titleStatus"], "PENDING");
    assert_eq!(sent["conversation"]["topicHint"], text);
    let shown = decided(&server.url, id).await;
    assert_eq!(shown["displayName"], ModelServer::TITLE);
    let [request] = model.title_requests().try_into().unwrap();
    let input = &request["messages"][1]["content"];
    assert_eq!(
        input,
        &format!(
            "<message>\n{text}\n</message>\nWrite a title for this message. Do not answer it."
        )
    );
}

#[tokio::test]
async fn names_are_shown_and_found_and_the_chat_model_reads_them() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let other = settled(&server.url, "Something else").await;
    let files = json!([
        { "name": " Lebenslauf\nMüller.docx ", "mediaType": null },
        { "name": "Zeugnisse.zip", "mediaType": "application/zip" },
    ]);
    let sent = attach(&server, "", files).await;
    let expected = json!([
        { "name": "Lebenslauf Müller.docx", "mediaType": null },
        { "name": "Zeugnisse.zip", "mediaType": "application/zip" },
    ]);
    let names = "Lebenslauf Müller.docx, Zeugnisse.zip";
    assert_eq!(sent["message"]["attachments"], expected);
    assert_eq!(sent["message"]["content"], "");
    let begun = &sent["conversation"];
    assert_eq!(begun["messages"]["nodes"][0]["attachments"], expected);
    assert_eq!(begun["topicHint"], names);
    assert_eq!(begun["lastMessagePreview"], names);

    let id = id_of(&sent);
    replied(&server.url, id, 2).await;
    let requests = model.reply_requests();
    let messages = requests[1]["messages"].as_array().unwrap();
    let seen = messages[messages.len() - 1]["content"].as_str().unwrap();
    assert!(seen.contains("Lebenslauf Müller.docx") && seen.contains("Zeugnisse.zip"));

    let search = "query ($words: String!) {
        searchConversations(query: $words) { nodes { conversation { id } } }
    }";
    for (words, found) in [("zeugnisse", id), ("else", &other)] {
        let hits = server.data(search, json!({ "words": words })).await;
        let expected = json!([{ "conversation": { "id": found } }]);
        assert_eq!(hits["searchConversations"]["nodes"], expected, "{words}");
    }
    // A reply has none.
    let query = "query ($id: ID!) { conversation(id: $id) {
        messages { nodes { role attachments { name } } }
    } }";
    let shown = server.data(query, json!({ "id": id })).await;
    let reply = &shown["conversation"]["messages"]["nodes"][1];
    assert_eq!(reply, &json!({ "role": "ASSISTANT", "attachments": [] }));
}

#[tokio::test]
async fn what_is_no_attachment_is_refused_and_nothing_is_stored() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let before = server.database.census().await;
    let file = json!({ "name": "a.pdf" });
    for files in [
        json!(vec![&file; 21]),
        json!([file, { "name": "" }]),
        json!([{ "name": " \u{200B}\n" }]),
        json!([{ "name": "x".repeat(256) }]),
        json!([{ "name": "a.pdf", "mediaType": "" }]),
        json!([{ "name": "a.pdf", "mediaType": "pdf" }]),
        json!([{ "name": "a.pdf", "mediaType": "application/ pdf" }]),
        json!([{ "name": "a.pdf", "mediaType": format!("a/{}", "x".repeat(126)) }]),
    ] {
        let input = json!({ "text": "Look", "attachments": files });
        let answer = graphql(&server.url, SEND, json!({ "input": input })).await;
        assert_eq!(code(&answer), "INVALID_INPUT", "{files}");
    }
    assert_eq!(server.database.census().await, before);
    let most = attach(&server, "", json!(vec![&file; 20])).await;
    assert_eq!(most["message"]["attachments"].as_array().unwrap().len(), 20);
}

#[tokio::test]
async fn a_retry_with_other_files_is_another_request() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let input = |files: Value| json!({ "input": { "text": "", "attachments": files, "idempotencyKey": "key-1" } });
    let plan = json!([{ "name": "Plan.pdf" }]);
    let first = data(&server.url, SEND, input(plan.clone())).await;
    let id = id_of(&first["sendMessage"]);
    replied(&server.url, id, 2).await;
    let again = data(&server.url, SEND, input(plan)).await;
    for same in ["message", "replyId"] {
        assert_eq!(again["sendMessage"][same], first["sendMessage"][same]);
    }
    for files in [
        json!([]),
        json!([{ "name": "plan.pdf" }]),
        json!([{ "name": "Plan.pdf", "mediaType": "application/pdf" }]),
        json!([{ "name": "Plan.pdf" }, { "name": "Plan.pdf" }]),
    ] {
        // Without a file there is no message at all.
        let expected = match files == json!([]) {
            true => "INVALID_INPUT",
            false => "IDEMPOTENCY_KEY_REUSED",
        };
        let answer = graphql(&server.url, SEND, input(files)).await;
        assert_eq!(code(&answer), expected);
    }
    assert_eq!(server.database.row_counts().await, [1, 2, 1]);
    assert_eq!(model.reply_requests().len(), 1);
}

#[tokio::test]
async fn another_title_than_the_name_of_a_file_is_asked_of_the_model() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let sent = attach(
        &server,
        "",
        json!([{ "name": "quarterly_report-2025.pdf" }]),
    )
    .await;
    let id = id_of(&sent);
    regenerate(&server.url, json!({ "id": id, "hint": "shorter" })).await;
    let title = decided(&server.url, id).await;
    assert_eq!(title["displayName"], ModelServer::TITLE);
    let [request] = model.title_requests().try_into().unwrap();
    let input = request["messages"][1]["content"].as_str().unwrap();
    for part in [
        "<message>\nQuarterly report 2025\n",
        "<previous>\nQuarterly",
        "<wish>\nshorter\n",
    ] {
        assert!(input.contains(part), "{part}: {input}");
    }
}
