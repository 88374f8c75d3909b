//! Conversations named by the ids of the caller's own system: on every route, in GraphQL, and as imported.

use serde_json::{Value, json};
use titlecast_testing::{
    ModelServer, Server, Titlecast,
    auth::{claims, graphql_as, signed},
    calls::{conversation_when, send_message},
    legacy::post,
    stored::Rows,
    within,
};

/// An id with every character that a path has to escape.
const EXTERNAL: &str = "thread 1/2?x=ä#%25";
const IN_PATH: &str = "thread%201%2F2%3Fx=%C3%A4%23%2525";

#[tokio::test]
async fn an_external_id_is_one_conversation_on_every_route_and_in_graphql() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let body = json!({ "message": "Plan a trip to Kyoto", "conversation_id": EXTERNAL });
    let (status, sent) = server.send("POST", "/api/v1/chat", body.clone()).await;
    assert_eq!(
        (status, &sent["external_id"]),
        (200, &json!(EXTERNAL)),
        "{sent}"
    );
    let id = sent["conversation_id"].as_str().unwrap();
    assert!(id.parse::<uuid::Uuid>().is_ok());
    conversation_when(&server.url, id, |now| now["displayName"].is_string()).await;

    let events = server.stream(body).await.rest().await;
    for event in &events {
        assert_eq!(event["conversation_id"], id, "{event}");
        assert_eq!(event["external_id"], EXTERNAL, "{event}");
    }
    let input = json!({ "text": "And then?", "externalId": EXTERNAL });
    let sent = send_message(&server.url, input).await;
    assert_eq!(sent["conversation"]["id"], id, "{sent}");

    // Both histories are read of the same state.
    conversation_when(&server.url, id, |now| now["messageCount"] == 6).await;

    let path = format!("/api/v1/conversations/{IN_PATH}");
    let (_, by_id) = server.get(&format!("/api/v1/conversations/{id}")).await;
    assert_eq!(server.get(&path).await, (200, by_id.clone()));
    assert_eq!(
        (&by_id["conversation_id"], &by_id["external_id"]),
        (&json!(id), &json!(EXTERNAL))
    );
    let (_, list) = server.get("/api/v1/conversations").await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(list["items"][0]["external_id"], EXTERNAL);
    let query = "query ($id: String!) { conversation(externalId: $id) { id externalId messages { nodes { externalId } } } }";
    let found = server.data(query, json!({ "id": EXTERNAL })).await;
    let found = &found["conversation"];
    assert_eq!(
        (&found["id"], &found["externalId"]),
        (&json!(id), &json!(EXTERNAL))
    );
    assert_eq!(found["messages"]["nodes"][0], json!({ "externalId": null }));
    let unknown = server.data(query, json!({ "id": "thread 2" })).await;
    assert_eq!(unknown["conversation"], Value::Null);

    let rename = json!({ "display_name": "Kyoto" });
    let (status, renamed) = server.send("PATCH", &format!("{path}/title"), rename).await;
    assert_eq!((status, &renamed["external_id"]), (200, &json!(EXTERNAL)));
    for below in ["/messages", "/reply"] {
        let (status, _) = request_status(&server, &format!("{path}{below}")).await;
        assert_eq!(status, 200, "{below}");
    }
    assert_eq!(server.send("DELETE", &path, Value::Null).await.0, 204);
    assert_eq!(server.get(&path).await.0, 404);
    // A tombstone stays one, by whichever name.
    let again = json!({ "message": "Back?", "conversation_id": EXTERNAL });
    assert_eq!(server.send("POST", "/api/v1/chat", again).await.0, 404);
}

async fn request_status(server: &Server, path: &str) -> (u16, String) {
    let request = titlecast_testing::server::client().get(format!("{}{path}", server.url));
    let response = within(request.send()).await.unwrap();
    (response.status().as_u16(), path.to_owned())
}

#[tokio::test]
async fn the_same_external_id_is_another_conversation_for_each_owner() {
    let model = ModelServer::start().await;
    let server = Server::guarded(&model).await;
    let send = "mutation { sendMessage(input: { text: \"Hi\", externalId: \"1\" }) { conversation { id } } }";
    let mut ids = Vec::new();
    for (tenant, user) in [("acme", "ada"), ("acme", "bob"), ("globex", "ada")] {
        let token = signed(&claims(tenant, user));
        let sent = graphql_as(&token, &server.url, send).await;
        let id = sent["data"]["sendMessage"]["conversation"]["id"].clone();
        assert!(!ids.contains(&id));
        let request = post(
            &server.url,
            "/api/v1/chat",
            json!({ "message": "Hi", "conversation_id": "1" }),
        );
        let answer = within(request.bearer_auth(token).send()).await.unwrap();
        let answer: Value = serde_json::from_str(&within(answer.text()).await.unwrap()).unwrap();
        assert_eq!(answer["conversation_id"], id);
        ids.push(id);
    }
}

#[tokio::test]
async fn a_conversation_with_an_id_of_ours_has_no_field_for_another() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = server.begin("Plan a trip to Kyoto").await;
    let path = format!("/api/v1/conversations/{id}");
    for path in [
        path.clone(),
        format!("{path}/messages"),
        "/api/v1/conversations".into(),
    ] {
        let (_, page) = server.get(&path).await;
        assert!(!page.to_string().contains("external_id"), "{page}");
    }
    let body = json!({ "message": "And then?", "conversation_id": id });
    let (_, answer) = server.send("POST", "/api/v1/chat", body).await;
    assert_eq!(answer.get("external_id"), None);
}

#[tokio::test]
async fn an_imported_conversation_goes_on_under_its_external_id() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let line = json!({ "id": 17, "messages": [
        { "id": "m-1", "role": "user", "content": "Plan a trip to Kyoto" },
        { "role": "assistant", "content": "Gladly." },
    ] });
    let import = Titlecast::new(&["import", "lines.jsonl"])
        .env("DATABASE_URL", &server.database.url)
        .file("lines.jsonl", &format!("{line}\n"));
    let ended = import.start().ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let query =
        "{ conversation(externalId: \"17\") { id externalId messages { nodes { externalId } } } }";
    let found = server.data(query, Value::Null).await;
    let nodes = json!([{ "externalId": "m-1" }, { "externalId": null }]);
    assert_eq!(found["conversation"]["externalId"], "17");
    assert_eq!(found["conversation"]["messages"]["nodes"], nodes);
    let (_, page) = server
        .get("/api/v1/conversations/17/messages?direction=asc")
        .await;
    assert_eq!(page["items"][0]["external_id"], "m-1");
    assert_eq!(page["items"][1].get("external_id"), None);
    // As an earlier version imported it.
    let rows = Rows::of(&server.database).await;
    rows.run("UPDATE agent_conversations SET external_id = NULL", [])
        .await
        .unwrap();
    let body = json!({ "message": "And then?", "conversation_id": "17" });
    let (status, sent) = server.send("POST", "/api/v1/chat", body).await;
    assert_eq!((status, &sent["external_id"]), (200, &json!("17")));
    assert_eq!(sent["conversation_id"], found["conversation"]["id"]);
}
