//! Owners: an owner's data does not exist for others on any route or in any list, and others cannot change it.

use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    Answer, GraphqlSocket, ModelServer, Server, Step,
    calls::{FIELDS, code, conversation, data, rename, send_message, settled_conversation},
    eventually,
    server::{graphql, request},
};

/// Another person of the same organisation, and the same person of another one.
fn others() -> [Owner; 2] {
    let owner = |tenant: &str, user: &str| Owner {
        tenant: tenant.into(),
        user: user.into(),
    };
    [owner("local", "other"), owner("other", "local")]
}

/// A server with a settled conversation of the local owner, and where the others are served.
async fn shared(model: &ModelServer) -> (Server, String, Vec<String>) {
    let mut server = Server::start(model).await;
    let id = settled_conversation(&server.url, json!({ "text": "Plan a trip to Kyoto" })).await;
    let mut urls = Vec::new();
    for other in others() {
        urls.push(server.serve(other).await);
    }
    (server, id, urls)
}

#[tokio::test]
async fn no_query_finds_what_is_anothers() {
    let model = ModelServer::start().await;
    let (server, id, urls) = shared(&model).await;
    let mine = conversation(&server.url, &id).await;
    let ids = [
        id.as_str(),
        mine["messages"]["nodes"][0]["id"].as_str().unwrap(),
        mine["messages"]["nodes"][1]["id"].as_str().unwrap(),
    ];
    for url in &urls {
        for id in ids {
            let query = "query ($id: ID!) { node(id: $id) { id } conversation(id: $id) { id } }";
            let found = data(url, query, json!({ "id": id })).await;
            assert_eq!(found, json!({ "node": null, "conversation": null }));
        }
        let own = settled_conversation(url, json!({ "text": "My own trip to Kyoto" })).await;
        let query = "{
            conversations { nodes { id messages { nodes { conversationId } } } pageInfo { hasNextPage } }
            searchConversations(query: \"kyoto\") { nodes { conversation { id } } pageInfo { hasNextPage } }
        }";
        let found = data(url, query, json!({})).await;
        let message = json!({ "conversationId": own });
        let listed = json!({ "id": own, "messages": { "nodes": [message, message] } });
        let info = json!({ "hasNextPage": false });
        assert_eq!(
            found["conversations"],
            json!({ "nodes": [listed], "pageInfo": info })
        );
        let hit = json!({ "conversation": { "id": own } });
        assert_eq!(
            found["searchConversations"],
            json!({ "nodes": [hit], "pageInfo": info })
        );
        // A cursor of another's list moves about in one's own.
        let list = "{ conversations { pageInfo { endCursor } } }";
        let cursor =
            data(&server.url, list, json!({})).await["conversations"]["pageInfo"]["endCursor"]
                .take();
        let after = "query ($after: String) { conversations(after: $after) { nodes { id } } }";
        let found = data(url, after, json!({ "after": cursor })).await;
        assert_eq!(
            found["conversations"]["nodes"],
            json!([]),
            "it is newer than that place"
        );
    }
    let found = server
        .data("{ conversations { nodes { id } } }", json!({}))
        .await;
    assert_eq!(found["conversations"]["nodes"], json!([{ "id": id }]));
}

#[tokio::test]
async fn no_mutation_and_no_subscription_reaches_what_is_anothers() {
    let model = ModelServer::start().await;
    let (server, id, urls) = shared(&model).await;
    let mine = conversation(&server.url, &id).await;
    let before = server.database.census().await;
    let calls = (model.reply_requests().len(), model.title_requests().len());
    for url in &urls {
        for query in [
            "mutation ($id: ID!) { sendMessage(input: { conversationId: $id, text: \"Hi\" }) { replyId } }",
            "mutation ($id: ID!) { renameConversation(input: { id: $id, displayName: \"Theirs\" }) {
                conversation { id } } }",
            "mutation ($id: ID!) { deleteConversation(input: { id: $id }) { deletedConversationId } }",
            "mutation ($id: ID!) { stopReply(input: { conversationId: $id }) { stopped } }",
        ] {
            let answer = graphql(url, query, json!({ "id": id })).await;
            assert_eq!(code(&answer), "NOT_FOUND", "{query}");
        }
        for query in [
            "subscription ($id: ID!) { conversationUpdated(id: $id) { id } }",
            "subscription ($id: ID!) { reply(conversationId: $id) { __typename } }",
        ] {
            let mut socket = GraphqlSocket::connect(url).await;
            let operation = socket.subscribe(query, json!({ "id": id })).await;
            assert_eq!(socket.refusal(&operation).await, "NOT_FOUND", "{query}");
        }
    }
    assert_eq!(server.database.census().await, before);
    assert_eq!(conversation(&server.url, &id).await, mine);
    assert_eq!(
        (model.reply_requests().len(), model.title_requests().len()),
        calls
    );
}

#[tokio::test]
async fn no_legacy_route_reaches_what_is_anothers() {
    let model = ModelServer::start().await;
    let (server, id, urls) = shared(&model).await;
    let (_, mine) = server.get(&format!("/api/v1/conversations/{id}")).await;
    let before = server.database.census().await;
    for url in &urls {
        for (method, path, body) in [
            ("GET", format!("/api/v1/conversations/{id}"), None),
            ("GET", format!("/api/v1/conversations/{id}/messages"), None),
            ("GET", format!("/api/v1/conversations/{id}/stream"), None),
            ("GET", format!("/api/v1/conversations/{id}/events"), None),
            (
                "GET",
                format!("/api/v1/conversations/{id}/ledger/events"),
                None,
            ),
            (
                "GET",
                format!("/api/v1/conversations/{id}/ledger/stream"),
                None,
            ),
            (
                "PATCH",
                format!("/api/v1/conversations/{id}/title"),
                Some(json!({ "display_name": "Theirs" })),
            ),
            ("DELETE", format!("/api/v1/conversations/{id}"), None),
            (
                "POST",
                "/api/v1/chat".into(),
                Some(json!({ "message": "Hi", "conversation_id": id })),
            ),
            (
                "POST",
                "/api/v1/chat/stream".into(),
                Some(json!({ "message": "Hi", "conversation_id": id })),
            ),
        ] {
            let (status, answer) = request(url, method, &path, body).await;
            // The answer of an unknown one.
            let expected = match method {
                "DELETE" => (204, &Value::Null),
                _ => (404, &json!("NOT_FOUND")),
            };
            assert_eq!((status, &answer["code"]), expected, "{method} {path}");
        }
        for list in [
            "/api/v1/conversations",
            "/api/v1/conversations/search?q=kyoto",
        ] {
            let (status, answer) = request(url, "GET", list, None).await;
            let nothing = json!({ "items": [], "next_cursor": null });
            assert_eq!((status, answer), (200, nothing), "{list}");
        }
    }
    assert_eq!(server.database.census().await, before);
    assert_eq!(
        server.get(&format!("/api/v1/conversations/{id}")).await,
        (200, mine)
    );
}

#[tokio::test]
async fn a_reply_that_runs_is_neither_heard_nor_stopped_by_another() {
    let model = ModelServer::start().await;
    let (server, _, urls) = shared(&model).await;
    let (answer, steps) = Answer::live();
    model.reply(answer);
    let input = json!({ "text": "Plan a trip to Nara", "autoTitle": false });
    let sent = send_message(&server.url, input).await;
    let id = sent["conversation"]["id"].as_str().unwrap();
    steps.send(Step::Delta("Nara is".into())).unwrap();
    let stop = "mutation ($id: ID!) { stopReply(input: { conversationId: $id }) { stopped } }";
    let send = "mutation ($id: ID!) {
        sendMessage(input: { conversationId: $id, text: \"Hi\" }) { replyId }
    }";
    for url in &urls {
        for query in [stop, send] {
            let answer = graphql(url, query, json!({ "id": id })).await;
            assert_eq!(code(&answer), "NOT_FOUND");
        }
        let node = "query ($id: ID!) { node(id: $id) { id } }";
        let found = data(url, node, json!({ "id": sent["replyId"] })).await;
        assert_eq!(found["node"], Value::Null);
    }
    steps.send(Step::Delta(" near".into())).unwrap();
    steps.send(Step::Finish).unwrap();
    let now = eventually(async || {
        let now = conversation(&server.url, id).await;
        (now["messageCount"] == 2).then_some(now)
    })
    .await;
    assert_eq!(now["messages"]["nodes"][1]["content"], "Nara is near");
    assert_eq!(now["messages"]["nodes"][1]["status"], "COMPLETE");
}

#[tokio::test]
async fn an_idempotency_key_is_its_owners() {
    let model = ModelServer::start().await;
    let (server, _, urls) = shared(&model).await;
    let mut begun = Vec::new();
    for url in urls.iter().chain([&server.url]) {
        let input = json!({ "text": "The same", "idempotencyKey": "key-1", "autoTitle": false });
        let sent = send_message(url, input.clone()).await;
        let again = send_message(url, input).await;
        assert_eq!(again["message"], sent["message"]);
        begun.push(sent["conversation"]["id"].to_string());
    }
    begun.sort();
    begun.dedup();
    assert_eq!(begun.len(), 3);
}

#[tokio::test]
async fn a_deleted_id_stays_taken_for_everyone() {
    let model = ModelServer::start().await;
    let (server, id, urls) = shared(&model).await;
    rename(&server.url, &id, "Mine").await;
    titlecast_testing::calls::delete(&server.url, &id).await;
    let before = server.database.census().await;
    let send = format!(
        "mutation ($id: ID!) {{ sendMessage(input: {{ conversationId: $id, text: \"Hi\" }}) {{
            conversation {{ {FIELDS} }}
        }} }}"
    );
    for url in urls.iter().chain([&server.url]) {
        let answer = graphql(url, &send, json!({ "id": id })).await;
        assert_eq!(code(&answer), "NOT_FOUND");
        let body = json!({ "message": "Hi", "conversation_id": id });
        let (status, _) = request(url, "POST", "/api/v1/chat", Some(body)).await;
        assert_eq!(status, 404);
    }
    assert_eq!(server.database.census().await, before);
}
