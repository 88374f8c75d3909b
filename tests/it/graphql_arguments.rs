//! What clients learn of a request that fails: the argument, what it costs, and what became of its other fields.

use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{Server, raw_socket::RawSocket, server::client, within};

const NO_UUID: &str = "no-uuid";

#[tokio::test]
async fn an_argument_that_cannot_be_used_is_named() {
    let server = Server::offline().await;
    let id = server.begin("Plan a trip to Kyoto").await;
    let rename = "mutation ($i: RenameConversationInput!) { renameConversation(input: $i) { conversation { id } } }";
    let send = "mutation ($i: SendMessageInput!) { sendMessage(input: $i) { replyId } }";
    let regenerate = "mutation ($i: RegenerateTitleInput!) { regenerateTitle(input: $i) { conversation { id } } }";
    let files: Vec<_> = (0..21)
        .map(|n| json!({ "name": format!("{n}.txt") }))
        .collect();
    let long = "x".repeat(300);
    #[rustfmt::skip]
    let table = [
        // What the service refuses.
        ("{ conversation(id: \"no-uuid\") { id } }", json!({}), "INVALID_INPUT", "id"),
        ("{ conversation { id } }", json!({}), "INVALID_INPUT", "id"),
        ("{ conversation(externalId: \"search\") { id } }", json!({}), "INVALID_INPUT", "externalId"),
        ("query ($id: String!) { conversation(externalId: $id) { id } }", json!({ "id": id }), "INVALID_INPUT", "externalId"),
        ("{ conversations(first: 0) { nodes { id } } }", json!({}), "INVALID_INPUT", "first"),
        ("{ conversations(first: 101) { nodes { id } } }", json!({}), "INVALID_INPUT", "first"),
        ("{ conversations(after: \"x\") { nodes { id } } }", json!({}), "INVALID_CURSOR", "after"),
        ("{ searchConversations(query: \"a\", first: 0) { nodes { score } } }", json!({}), "INVALID_INPUT", "first"),
        ("{ searchConversations(query: \"a\", after: \"x\") { nodes { score } } }", json!({}), "INVALID_CURSOR", "after"),
        ("{ conversations { nodes { messages(first: 1, last: 1) { nodes { id } } } } }", json!({}), "INVALID_INPUT", "last"),
        ("{ conversations { nodes { messages(last: 0) { nodes { id } } } } }", json!({}), "INVALID_INPUT", "last"),
        ("{ conversations { nodes { messages(before: \"x\") { nodes { id } } } } }", json!({}), "INVALID_CURSOR", "before"),
        (rename, json!({ "i": { "id": NO_UUID, "displayName": "Kyoto" } }), "INVALID_INPUT", "input.id"),
        (rename, json!({ "i": { "id": id, "displayName": " " } }), "INVALID_INPUT", "input.displayName"),
        (rename, json!({ "i": { "id": id, "displayName": long } }), "INVALID_INPUT", "input.displayName"),
        (send, json!({ "i": { "text": " " } }), "INVALID_INPUT", "input.text"),
        (send, json!({ "i": { "text": "a", "conversationId": NO_UUID } }), "INVALID_INPUT", "input.conversationId"),
        (send, json!({ "i": { "text": "a", "externalId": id } }), "INVALID_INPUT", "input.externalId"),
        (send, json!({ "i": { "text": "a", "externalId": "a\nb" } }), "INVALID_INPUT", "input.externalId"),
        (send, json!({ "i": { "text": "a", "externalId": "t", "conversationId": id } }), "INVALID_INPUT", "input.externalId"),
        (send, json!({ "i": { "text": "a", "idempotencyKey": "ü" } }), "INVALID_INPUT", "input.idempotencyKey"),
        (send, json!({ "i": { "text": "a", "attachments": files } }), "INVALID_INPUT", "input.attachments"),
        (regenerate, json!({ "i": { "id": id, "hint": long } }), "INVALID_INPUT", "input.hint"),
        ("mutation { stopReply(input: { conversationId: \"no-uuid\" }) { stopped } }", json!({}), "INVALID_INPUT", "input.conversationId"),
        ("mutation { deleteConversation(input: { id: \"no-uuid\" }) { deletedConversationId } }", json!({}), "INVALID_INPUT", "input.id"),
        ("mutation { resetTitle(input: { id: \"no-uuid\" }) { conversation { id } } }", json!({}), "INVALID_INPUT", "input.id"),
        ("mutation { restoreTitle(input: { id: \"no-uuid\" }) { conversation { id } } }", json!({}), "INVALID_INPUT", "input.id"),
        ("mutation { archiveConversation(input: { conversationId: \"no-uuid\" }) { conversation { id } } }", json!({}), "INVALID_INPUT", "input.conversationId"),
        ("mutation { unarchiveConversation(input: { conversationId: \"no-uuid\" }) { conversation { id } } }", json!({}), "INVALID_INPUT", "input.conversationId"),
        ("mutation { pinConversation(input: { conversationId: \"no-uuid\" }) { conversation { id } } }", json!({}), "INVALID_INPUT", "input.conversationId"),
        ("mutation { unpinConversation(input: { conversationId: \"no-uuid\" }) { conversation { id } } }", json!({}), "INVALID_INPUT", "input.conversationId"),
        ("mutation { setConversationMetadata(input: { conversationId: \"no-uuid\" }) { conversation { id } } }", json!({}), "INVALID_INPUT", "input.conversationId"),
        // What does not fit the document or the schema.
        ("query ($id: ID!) { conversation(id: $id) { id } }", json!({}), "GRAPHQL_VALIDATION_FAILED", "id"),
        ("query ($id: ID!) { conversation(id: $id) { id } }", json!({ "id": null }), "GRAPHQL_VALIDATION_FAILED", "id"),
        ("query ($n: Int) { conversations(first: $n) { nodes { id } } }", json!({ "n": "3" }), "GRAPHQL_VALIDATION_FAILED", "first"),
        ("{ conversations(last: 1) { nodes { id } } }", json!({}), "GRAPHQL_VALIDATION_FAILED", "last"),
        (send, json!({ "i": { "text": 7 } }), "GRAPHQL_VALIDATION_FAILED", "input.text"),
        (send, json!({ "i": {} }), "GRAPHQL_VALIDATION_FAILED", "input.text"),
        (send, json!({ "i": { "text": "a", "texts": "b" } }), "GRAPHQL_VALIDATION_FAILED", "input.texts"),
        (send, json!({ "i": { "text": "a", "attachments": [{ "name": "a" }, {}] } }), "GRAPHQL_VALIDATION_FAILED", "input.attachments.1.name"),
        ("mutation { sendMessage(input: {}) { replyId } }", json!({}), "GRAPHQL_VALIDATION_FAILED", "input.text"),
    ];
    let before = server.database.census().await;
    for (query, variables, code, argument) in table {
        let answer = server.graphql(query, variables).await;
        let extensions = &answer["errors"][0]["extensions"];
        assert_eq!(extensions["code"], code, "{query}: {answer}");
        assert_eq!(extensions["argument"], argument, "{query}: {answer}");
    }
    assert_eq!(server.database.census().await, before);
    let mut socket = server.socket().await;
    for (query, argument) in [
        (
            "subscription { conversationUpdated(id: \"no-uuid\") { id } }",
            "id",
        ),
        (
            "subscription { reply(conversationId: \"no-uuid\") { __typename } }",
            "conversationId",
        ),
        (
            "subscription ($id: ID!) { reply(conversationId: $id, after: \"x\") { __typename } }",
            "after",
        ),
    ] {
        socket.subscribe(query, json!({ "id": id })).await;
        loop {
            let message = socket.message().await.unwrap();
            let errors = match message["type"].as_str().unwrap() {
                "error" => &message["payload"],
                "next" => &message["payload"]["errors"],
                _ => break,
            };
            assert_eq!(errors[0]["extensions"]["argument"], argument, "{message}");
            if message["type"] == "error" {
                break;
            }
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_mutation_that_fails_takes_none_of_its_siblings_along() {
    let server = Server::offline().await;
    let ids = server.database.seed(&Owner::local(), 2, 1).await;
    let query = "mutation ($a: ID!, $b: ID!) {
        first: renameConversation(input: { id: $a, displayName: \"One\" }) { conversation { displayName } }
        broken: renameConversation(input: { id: \"no-uuid\", displayName: \"Two\" }) { conversation { id } }
        empty: sendMessage(input: { text: \"\" }) { replyId }
        gone: deleteConversation(input: { id: \"01a21208-b9e1-7544-948b-8337c239aed0\" }) { deletedConversationId }
        last: renameConversation(input: { id: $b, displayName: \"Three\" }) { conversation { displayName } }
    }";
    let answer = server
        .graphql(query, json!({ "a": ids[0], "b": ids[1] }))
        .await;
    let expected = json!({
        "first": { "conversation": { "displayName": "One" } },
        "broken": null,
        "empty": null,
        "gone": null,
        "last": { "conversation": { "displayName": "Three" } },
    });
    assert_eq!(answer["data"], expected, "{answer}");
    let errors = answer["errors"].as_array().unwrap().iter();
    let paths: Vec<_> = errors.map(|error| error["path"].clone()).collect();
    assert_eq!(
        paths,
        [json!(["broken"]), json!(["empty"]), json!(["gone"])]
    );
    server.stop().await;
}

#[tokio::test]
async fn an_operation_over_the_limit_receives_its_cost_on_every_wire() {
    let server = Server::offline().await;
    let list = "conversations(first: 100) { nodes { messages(first: 100) { nodes { id } } } }";
    let query = format!("{{ {list} }}");
    let watch = "subscription { conversationUpdated { a: messages(first: 100) { nodes { id content role } } \
         b: messages(first: 100) { nodes { id } } } }";
    let check = |answer: &Value, field: Option<&str>| {
        let extensions = &answer["errors"][0]["extensions"];
        assert_eq!(extensions["code"], "QUERY_TOO_COMPLEX", "{answer}");
        let (cost, limit) = (extensions["cost"].as_u64(), extensions["limit"].as_u64());
        assert!(cost.unwrap() > limit.unwrap(), "{answer}");
        if let Some(field) = field {
            assert_eq!(extensions["field"], field, "{answer}");
            assert_eq!(limit, Some(8_000));
        }
    };
    let dearest = Some("conversations.nodes.messages");
    check(&server.graphql(&query, json!({})).await, dearest);
    let path = format!(
        "/graphql?query={}",
        query
            .replace(' ', "%20")
            .replace('{', "%7B")
            .replace('}', "%7D")
    );
    check(&server.get(&path).await.1, dearest);
    let body = json!({ "query": query }).to_string();
    let request = client()
        .post(format!("{}/graphql", server.url))
        .header("content-type", "application/json")
        .header("accept", "text/event-stream")
        .body(body);
    let text = within(within(request.send()).await.unwrap().text())
        .await
        .unwrap();
    let data = text.lines().find_map(|line| line.strip_prefix("data: "));
    check(&serde_json::from_str(data.unwrap()).unwrap(), dearest);
    let large = format!(
        "subscription {{ conversationUpdated {{ {} }} }}",
        "id ".repeat(501)
    );
    for (query, field) in [(query.as_str(), dearest), (&large, None)] {
        let mut socket = RawSocket::ready(&server.url).await;
        socket
            .say(json!({ "type": "subscribe", "id": "1", "payload": { "query": query } }))
            .await;
        let message = socket.message().await;
        check(&json!({ "errors": message["payload"] }), field);
    }
    // A subscription of two pages costs little.
    let mut socket = RawSocket::ready(&server.url).await;
    socket
        .say(json!({ "type": "subscribe", "id": "1", "payload": { "query": watch } }))
        .await;
    socket.say(json!({ "type": "ping" })).await;
    assert_eq!(socket.message().await["type"], "pong");
    let fits = "{conversations{nodes{id messages{nodes{id content}}}}}";
    server.data(fits, json!({})).await;
    server.stop().await;
}

#[tokio::test]
async fn a_deleted_conversation_has_no_title_and_says_so() {
    let server = Server::offline().await;
    let id = server.begin("Plan a trip to Kyoto").await;
    let query = "mutation ($id: ID!) { deleteConversation(input: { id: $id }) {
        deletedConversationId
        conversation { status displayName title titleStatus titleSource titleGeneratedAt titleError { code } }
    } }";
    // An id in capitals is the same, and is answered as it is stored.
    let answer = server.data(query, json!({ "id": id.to_uppercase() })).await;
    let deleted = &answer["deleteConversation"];
    assert_eq!(deleted["deletedConversationId"], id);
    let expected = json!({
        "status": "DELETED", "displayName": null, "title": "New conversation", "titleStatus": "SKIPPED",
        "titleSource": "HINT", "titleGeneratedAt": null, "titleError": null,
    });
    assert_eq!(deleted["conversation"], expected);
    server.stop().await;
}
