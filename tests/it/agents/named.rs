//! Agents by name on each surface.

use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{Recorder, Server, eventually, server::graphql};

use super::{Folder, serve};

const SEND: &str = "mutation A($input: SendMessageInput!) { sendMessage(input: $input) {
    conversation { id agentEntrypoint activeAgent agent { name description models } } } }";

/// Three agents: the default one, one that shows its models and belongs to the tenant `acme`, and an external one.
async fn agents(provider: &Recorder) -> (Folder, Server) {
    let file = format!(
        r#"
[providers.desk]
base_url = "{}"

[agents.default]
models = ["desk/one"]
description = "Answers everything."

[agents.billing]
models = ["desk/two", "desk/one"]
show_models = true
tenants = ["acme"]

[agents.support]
source = "external"
"#,
        provider.url
    );
    let folder = Folder::new().file("titlecast.toml", &file);
    let server = serve(&folder, &[]).await;
    (folder, server)
}

async fn send(url: &str, input: Value) -> Value {
    graphql(url, SEND, json!({ "input": input })).await
}

/// `POST /api/v1/chat`; the answer.
async fn chat(server: &Server, body: Value) -> Value {
    let (status, answer) = server.send("POST", "/api/v1/chat", body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// A conversation as the legacy list has it.
async fn listed(server: &Server, id: &str) -> Value {
    let (_, list) = server.get("/api/v1/conversations").await;
    let items = list["items"].as_array().unwrap();
    let found = items.iter().find(|item| item["conversation_id"] == id);
    found.unwrap().clone()
}

#[tokio::test]
async fn graphql_refuses_agents_that_the_caller_does_not_have() {
    let provider = Recorder::start().await;
    let (_folder, mut server) = agents(&provider).await;
    let acme = server
        .serve(Owner {
            tenant: "acme".into(),
            user: "ada".into(),
        })
        .await;
    for (url, agent) in [
        (&server.url, "nobody"),
        (&server.url, "billing"),
        (&server.url, ""),
        (&acme, "Billing"),
    ] {
        let answer = send(url, json!({ "text": "Hello there", "agent": agent })).await;
        let error = &answer["errors"][0];
        assert_eq!(error["extensions"]["code"], "INVALID_INPUT", "{answer}");
        assert_eq!(error["extensions"]["argument"], "input.agent", "{answer}");
    }
    assert!(provider.requests().is_empty());
    let answer = send(&acme, json!({ "text": "My invoice", "agent": "billing" })).await;
    let conversation = &answer["data"]["sendMessage"]["conversation"];
    assert_eq!(
        conversation["agent"],
        json!({ "name": "billing", "description": null, "models": ["desk/two", "desk/one"] })
    );
    let query = "{ agents { name description models } }";
    let listed = server.data(query, json!({})).await;
    let default = json!({ "name": "default", "description": "Answers everything.", "models": [] });
    let support = json!({ "name": "support", "description": null, "models": [] });
    assert_eq!(listed["agents"], json!([default, support]));
    let listed = graphql(&acme, "{ agents { name } }", json!({})).await;
    let names = json!([{ "name": "billing" }, { "name": "default" }, { "name": "support" }]);
    assert_eq!(listed["data"]["agents"], names);
}

#[tokio::test]
async fn on_the_legacy_routes_the_default_agent_answers_for_an_unknown_one() {
    let provider = Recorder::start().await;
    let (_folder, server) = agents(&provider).await;
    for agent in ["nobody", "billing"] {
        let answer = chat(
            &server,
            json!({ "message": "Hello there", "agent_type": agent }),
        )
        .await;
        assert_eq!(answer["agent_used"], "default");
        assert_eq!(answer["response"], "From one.");
        let id = answer["conversation_id"].as_str().unwrap();
        let page = listed(&server, id).await;
        assert_eq!(page["agent_entrypoint"], agent);
        assert_eq!(page["active_agent"], "default");
    }
    let events = server
        .stream(json!({ "message": "Hello there", "agent_type": "nobody" }))
        .await
        .rest()
        .await;
    for event in events.iter().filter(|event| !event["agent_used"].is_null()) {
        assert_eq!(event["agent_used"], "default", "{event}");
    }
}

#[tokio::test]
async fn a_conversation_keeps_its_agent_until_a_message_names_another() {
    let provider = Recorder::start().await;
    let (folder, server) = agents(&provider).await;
    let first = send(
        &server.url,
        json!({ "text": "Hello there", "agent": "support" }),
    )
    .await;
    let id = first["data"]["sendMessage"]["conversation"]["id"].clone();
    let again = send(
        &server.url,
        json!({ "text": "Still there?", "conversationId": id }),
    )
    .await;
    let conversation = &again["data"]["sendMessage"]["conversation"];
    assert_eq!(conversation["activeAgent"], "support");
    let answer = chat(
        &server,
        json!({ "message": "Anyone?", "conversation_id": id, "agent_type": "default" }),
    )
    .await;
    assert_eq!(answer["agent_used"], "default");
    let page = listed(&server, id.as_str().unwrap()).await;
    assert_eq!(page["agent_entrypoint"], "support");
    assert_eq!(page["active_agent"], "default");

    // An agent that is gone from the file is replaced by the default one with the next message.
    send(
        &server.url,
        json!({ "text": "And now?", "conversationId": id, "agent": "support" }),
    )
    .await;
    let file = format!(
        "[providers.desk]\nbase_url = \"{}\"\n[agents.default]\nmodels = [\"desk/one\"]\n",
        provider.url
    );
    let _folder = folder.file("titlecast.toml", &file);
    server.app.reload().unwrap();
    let answer = chat(
        &server,
        json!({ "message": "And then?", "conversation_id": id }),
    )
    .await;
    assert_eq!(answer["agent_used"], "default");
    let page = listed(&server, id.as_str().unwrap()).await;
    assert_eq!(page["active_agent"], "default");
}

#[tokio::test]
async fn no_model_is_asked_for_an_external_agent() {
    let provider = Recorder::start().await;
    let (_folder, server) = agents(&provider).await;
    let events = server
        .stream(json!({ "message": "Plan a trip to Kyoto", "agent_type": "support" }))
        .await
        .rest()
        .await;
    let last = events.last().unwrap();
    assert_eq!(last["is_terminal"], true, "{last}");
    let id = last["conversation_id"].as_str().unwrap();
    let page = eventually(async || {
        let (_, page) = server.get(&format!("/api/v1/conversations/{id}")).await;
        (page["display_name"] == "Planning a Trip to Kyoto").then_some(page)
    })
    .await;
    let messages = page["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 1, "{page}");
    assert_eq!(messages[0]["content"], "Plan a trip to Kyoto");
    let query = "query A($id: ID!) { conversation(id: $id) { messages { nodes { content } } } }";
    let listed = graphql(&server.url, query, json!({ "id": id })).await;
    let nodes = &listed["data"]["conversation"]["messages"]["nodes"];
    assert_eq!(nodes, &json!([{ "content": "Plan a trip to Kyoto" }]));
    // Another reply would replace one that the agent's program wrote.
    let query = "query A($id: ID!) { conversation(id: $id) { messages { nodes { id } } } }";
    let message = graphql(&server.url, query, json!({ "id": id })).await;
    let message = &message["data"]["conversation"]["messages"]["nodes"][0]["id"];
    let anew = "mutation A($id: ID!) { regenerateReply(input: { messageId: $id }) { replyId } }";
    let refused = graphql(&server.url, anew, json!({ "id": message })).await;
    assert_eq!(
        refused["errors"][0]["extensions"]["code"], "INVALID_INPUT",
        "{refused}"
    );
    // By its id the reply has an end, and the reason for it.
    let sent = "mutation A($input: SendMessageInput!) { sendMessage(input: $input) { replyId message { id } } }";
    let input = json!({ "text": "Are you there?", "conversationId": id });
    let sent = server.data(sent, json!({ "input": input })).await["sendMessage"].take();
    for target in [&sent["replyId"], &sent["message"]["id"]] {
        let query = "subscription ($id: ID!) { reply(messageId: $id) {
            ... on ReplySoFar { messageId text } ... on ReplyEnded { messageId outcome reason }
        } }";
        let mut socket = server.socket().await;
        let following = socket.subscribe(query, json!({ "id": target })).await;
        let so_far = socket.next_of(&following, "reply").await;
        assert_eq!(so_far, json!({ "messageId": sent["replyId"], "text": "" }));
        let ended = socket.next_of(&following, "reply").await;
        assert_eq!(ended["outcome"], "INCOMPLETE", "{ended}");
    }
    let stop = "mutation ($id: ID!) { stopReply(input: { replyId: $id }) { stopped } }";
    let stopped = server.data(stop, json!({ "id": sent["replyId"] })).await;
    assert_eq!(stopped["stopReply"]["stopped"], false);
    let answer = chat(
        &server,
        json!({ "message": "Hello?", "conversation_id": id }),
    )
    .await;
    assert_eq!(answer["response"], "");
    let metadata = json!({ "response_id": null, "is_complete": false, "reason": "external_agent" });
    assert_eq!(answer["metadata"], metadata);
    // Its title alone.
    let asked = provider.requests();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_ne!(asked[0]["body"]["stream"], true);
}

#[tokio::test]
async fn without_agents_in_the_file_any_name_is_accepted() {
    let provider = Recorder::start().await;
    let file = format!("[providers.desk]\nbase_url = \"{}\"\n", provider.url);
    let folder = Folder::new().file("titlecast.toml", &file);
    let server = serve(&folder, &["--chat-model", "desk/one"]).await;
    let answer = chat(
        &server,
        json!({ "message": "Hello there", "agent_type": "whoever" }),
    )
    .await;
    assert_eq!(answer["agent_used"], "whoever");
    assert_eq!(answer["response"], "From one.");
    let sent = send(
        &server.url,
        json!({ "text": "Hello there", "agent": "someone" }),
    )
    .await;
    let conversation = &sent["data"]["sendMessage"]["conversation"];
    assert_eq!(conversation["agentEntrypoint"], "someone");
    assert_eq!(conversation["agent"]["name"], "someone");
    let listed = server.data("{ agents { name } }", json!({})).await;
    assert_eq!(listed["agents"], json!([{ "name": "triage" }]));
}

#[tokio::test]
async fn a_reply_is_not_replaced_by_one_that_another_program_would_write() {
    let provider = Recorder::start().await;
    let (folder, server) = agents(&provider).await;
    let answer = chat(&server, json!({ "message": "Hello there" })).await;
    let id = answer["conversation_id"].clone();
    let file = format!(
        "[providers.desk]\nbase_url = \"{}\"\n[agents.default]\nsource = \"external\"\n[titles]\nmodels = [\"desk/one\"]\n",
        provider.url
    );
    let _folder = folder.file("titlecast.toml", &file);
    server.app.reload().unwrap();
    let query = "query ($id: ID!) { conversation(id: $id) { messageCount messages { nodes { id content } } } }";
    let before = server.data(query, json!({ "id": id })).await;
    let nodes = &before["conversation"]["messages"]["nodes"];
    assert_eq!(nodes[1]["content"], "From one.");
    for (mutation, target) in [
        ("regenerateReply(input: { messageId: $id })", &nodes[1]),
        (
            "editMessage(input: { messageId: $id, text: \"Hi\" })",
            &nodes[0],
        ),
    ] {
        let query = format!("mutation ($id: ID!) {{ {mutation} {{ replyId }} }}");
        let answer = server.graphql(&query, json!({ "id": target["id"] })).await;
        let error = &answer["errors"][0]["extensions"];
        assert_eq!(error["code"], "INVALID_INPUT", "{answer}");
        assert_eq!(error["argument"], "input.messageId", "{answer}");
    }
    assert_eq!(server.data(query, json!({ "id": id })).await, before);
    server.stop().await;
}
