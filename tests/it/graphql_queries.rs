//! One conversation in GraphQL: every field, by id and as a node, its messages in pages, by GET too, in the requested
//! order, and the result of a field that fails.

use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    ModelServer, Server,
    calls::{FIELDS, code, conversation, settled_conversation},
    server::{client, request},
    within,
};

#[tokio::test]
async fn a_titled_conversation_has_all_its_fields() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = settled_conversation(&server.url, json!({ "text": "Plan a *trip* to Kyoto" })).await;
    let query = format!(
        "query ($id: ID!) {{ conversation(id: $id) {{
            __typename {FIELDS}
            messages {{
                edges {{ cursor }}
                nodes {{ __typename id conversationId role content status createdAt }}
                pageInfo {{ hasPreviousPage hasNextPage startCursor endCursor }}
            }}
        }} }}"
    );
    let data = server.data(&query, json!({ "id": id })).await;
    let found = &data["conversation"];
    assert_eq!(found["id"], id);
    for message in found["messages"]["nodes"].as_array().unwrap() {
        assert_eq!(message["conversationId"], id);
        assert_ne!(message["id"], id);
    }
    assert_eq!(
        found["lastMessageAt"],
        found["messages"]["nodes"][1]["createdAt"]
    );
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "[id]");
    settings.add_filter(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)",
        "[time]",
    );
    settings.bind(|| insta::assert_json_snapshot!(data));
}

#[tokio::test]
async fn what_is_there_is_found_by_its_id_and_what_is_not_is_null() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = settled_conversation(&server.url, json!({ "text": "Plan a trip to Kyoto" })).await;
    let messages = conversation(&server.url, &id).await["messages"]["nodes"].take();

    let node = "query ($id: ID!) { node(id: $id) {
        __typename id ... on Conversation { title } ... on Message { content role }
    } }";
    let found = server.data(node, json!({ "id": id })).await;
    let expected = json!({ "__typename": "Conversation", "id": id, "title": ModelServer::TITLE });
    assert_eq!(found["node"], expected);
    let reply = &messages[1];
    let found = server.data(node, json!({ "id": reply["id"] })).await;
    let expected = json!({
        "__typename": "Message", "id": reply["id"], "content": "Hello from the model.", "role": "ASSISTANT"
    });
    assert_eq!(found["node"], expected);

    let unknown = uuid::Uuid::now_v7().to_string();
    for nothing in [unknown.as_str(), "", "7", "conversation:1"] {
        let found = server.data(node, json!({ "id": nothing })).await;
        assert_eq!(found["node"], Value::Null, "{nothing}");
    }
    let by_id = "query ($id: ID!) { conversation(id: $id) { id } }";
    for nothing in [unknown.as_str(), messages[0]["id"].as_str().unwrap()] {
        let found = server.data(by_id, json!({ "id": nothing })).await;
        assert_eq!(found["conversation"], Value::Null, "{nothing}");
    }
}

#[tokio::test]
async fn messages_are_paged_from_both_ends_in_the_order_of_the_conversation() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = server.database.seed(&Owner::local(), 2, 7).await.remove(0);
    let read = async |arguments: &str| {
        let arguments = match arguments {
            "" => String::new(),
            arguments => format!("({arguments})"),
        };
        let query = format!(
            "query ($id: ID!) {{ conversation(id: $id) {{ messages{arguments} {{
                edges {{ cursor node {{ content }} }} pageInfo {{ hasPreviousPage hasNextPage }}
            }} }} }}"
        );
        let mut data = server.data(&query, json!({ "id": id })).await;
        data["conversation"]["messages"].take()
    };
    let all = read("").await;
    let cursors: Vec<String> = all["edges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|edge| edge["cursor"].to_string())
        .collect();
    assert_eq!(cursors.len(), 7);
    let cursor = |number: usize| &cursors[number - 1];
    for (arguments, expected, has_previous, has_next) in [
        (String::new(), 1..=7, false, false),
        ("first: 7".into(), 1..=7, false, false),
        ("first: 3".into(), 1..=3, false, true),
        (format!("first: 3, after: {}", cursor(3)), 4..=6, true, true),
        (
            format!("first: 3, after: {}", cursor(6)),
            7..=7,
            true,
            false,
        ),
        (format!("after: {}", cursor(5)), 6..=7, true, false),
        ("last: 7".into(), 1..=7, false, false),
        ("last: 3".into(), 5..=7, true, false),
        (format!("last: 3, before: {}", cursor(5)), 2..=4, true, true),
        (
            format!("last: 3, before: {}", cursor(2)),
            1..=1,
            false,
            true,
        ),
        (
            format!("first: 2, before: {}", cursor(5)),
            1..=2,
            false,
            true,
        ),
        (format!("last: 2, after: {}", cursor(2)), 6..=7, true, false),
        (
            format!("first: 5, after: {}, before: {}", cursor(2), cursor(5)),
            3..=4,
            true,
            false,
        ),
    ] {
        let list = read(&arguments).await;
        let contents: Vec<&str> = list["edges"]
            .as_array()
            .unwrap()
            .iter()
            .map(|edge| edge["node"]["content"].as_str().unwrap())
            .collect();
        let expected: Vec<String> = expected.map(|n| format!("message {n}")).collect();
        assert_eq!(contents, expected, "{arguments}");
        let info = json!({ "hasPreviousPage": has_previous, "hasNextPage": has_next });
        assert_eq!(list["pageInfo"], info, "{arguments}");
    }
    let nothing = read(&format!("after: {}", cursor(7))).await;
    assert_eq!(nothing["edges"], json!([]));
    let query = format!(
        "{{ node(id: \"{id}\") {{ ... on Conversation {{ messages(first: 1, last: 1) {{ nodes {{ id }} }} }} }} }}"
    );
    let both = server.graphql(&query, json!({})).await;
    assert_eq!(both["data"], json!({ "node": null }));
    assert_eq!(both["errors"][0]["extensions"]["code"], "INVALID_INPUT");
}

#[tokio::test]
async fn get_runs_a_query_and_refuses_what_is_none() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = server.database.seed(&Owner::local(), 1, 1).await.remove(0);
    let get = async |parameters: &[(&str, &str)]| {
        let url = reqwest::Url::parse_with_params("http://x/graphql", parameters).unwrap();
        let path = format!("/graphql?{}", url.query().unwrap());
        server.get(&path).await
    };
    let query =
        "query One($id: ID!) { conversation(id: $id) { topicHint } } query Two { __typename }";
    let variables = json!({ "id": id }).to_string();
    let asked = [
        ("query", query),
        ("operationName", "One"),
        ("variables", &variables),
    ];
    let found = json!({ "data": { "conversation": { "topicHint": "conversation 0" } } });
    assert_eq!(get(&asked).await, (200, found));

    let before = server.database.census().await;
    let change = format!(
        "mutation Change {{ deleteConversation(input: {{ id: \"{id}\" }}) {{ deletedConversationId }} }}"
    );
    let with_query = format!("query Read {{ __typename }} {change}");
    let watch = "subscription { conversationUpdated { id } }";
    for refused in [
        vec![("query", change.as_str())],
        vec![("query", &with_query), ("operationName", "Change")],
    ] {
        let (status, answer) = get(&refused).await;
        assert_eq!(
            (status, code(&answer)),
            (405, "METHOD_NOT_ALLOWED"),
            "{refused:?}"
        );
    }
    let (status, answer) = get(&[("query", watch)]).await;
    assert_eq!((status, code(&answer)), (406, "NOT_ACCEPTABLE"));
    assert_eq!(server.database.census().await, before);
    let reads = [("query", with_query.as_str()), ("operationName", "Read")];
    assert_eq!(get(&reads).await.1["data"]["__typename"], "Query");
}

#[tokio::test]
async fn keys_stand_in_the_order_of_the_request() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = server.database.seed(&Owner::local(), 1, 1).await.remove(0);
    // The slow fields first: an executor that answers as things complete would turn them around.
    let query = "query ($id: ID!) {
        z: conversation(id: $id) { messages { nodes { role content } } title b: status a: revision }
        a: __typename
        list: conversations { nodes { topicHint id } }
    }";
    let body = json!({ "query": query, "variables": { "id": id } });
    let response = client()
        .post(format!("{}/graphql", server.url))
        .header("content-type", "application/json")
        .body(body.to_string())
        .send();
    let text = within(within(response).await.unwrap().text())
        .await
        .unwrap();
    let expected = [
        r#"{"data":{"z":{"messages":{"nodes":[{"role":"USER","content":"message 1"}]},"#,
        r#""title":"conversation 0","b":"ACTIVE","a":1},"a":"Query","#,
        &format!(r#""list":{{"nodes":[{{"topicHint":"conversation 0","id":"{id}"}}]}}}}}}"#),
    ];
    assert_eq!(text, expected.concat());
}

#[tokio::test]
async fn a_field_that_fails_takes_its_nearest_nullable_parent_along_and_nothing_else() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = server.database.seed(&Owner::local(), 1, 1).await.remove(0);
    let ask = async |query: &str| {
        let body = json!({ "query": query, "variables": { "id": id } });
        request(&server.url, "POST", "/graphql", Some(body)).await.1
    };
    // `messages` is not nullable, the conversation around it is.
    let answer = ask("query ($id: ID!) {
        before: conversation(id: $id) { topicHint }
        broken: conversation(id: $id) { topicHint messages(first: 0) { nodes { id } } }
        after: conversation(id: $id) { topicHint }
    }")
    .await;
    let whole = json!({ "topicHint": "conversation 0" });
    assert_eq!(
        answer["data"],
        json!({ "before": whole, "broken": null, "after": whole })
    );
    assert_eq!(answer["errors"].as_array().unwrap().len(), 1);
    assert_eq!(answer["errors"][0]["path"], json!(["broken", "messages"]));
    assert_eq!(answer["errors"][0]["extensions"]["code"], "INVALID_INPUT");

    // The nullable field itself fails.
    let answer = ask(r#"query ($id: ID!) {
        broken: conversation(id: "nonsense") { topicHint }
        whole: conversation(id: $id) { topicHint }
    }"#)
    .await;
    assert_eq!(answer["data"], json!({ "broken": null, "whole": whole }));
    assert_eq!(answer["errors"][0]["path"], json!(["broken"]));
    assert_eq!(answer["errors"][0]["extensions"]["code"], "INVALID_INPUT");

    // Nothing up to the root is nullable.
    let answer = ask("query ($id: ID!) {
        conversation(id: $id) { topicHint }
        conversations(first: 3) { nodes { messages(last: 101) { nodes { id } } } }
    }")
    .await;
    assert_eq!(answer["data"], Value::Null);
    // Inside a list the library forgets the field's own name.
    let path = answer["errors"][0]["path"].as_array().unwrap();
    assert_eq!(
        path[..3],
        [json!("conversations"), json!("nodes"), json!(0)]
    );
}
