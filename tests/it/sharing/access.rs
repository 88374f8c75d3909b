//! What each policy allows a user in a conversation of another one, in GraphQL.

use serde_json::{Value, json};
use titlecast_testing::{
    Answer, ModelServer, Rows,
    calls::{code, conversation, data, send_message, settled_conversation, stop_reply},
    replies::{Reader, write},
    server::graphql,
    titles::replied,
};

use super::{Team, found, listed};

/// What changes a conversation. `<conversation>`, `<message>` and `<reply>` stand for its ids.
const CHANGES: [&str; 11] = [
    r#"mutation { sendMessage(input: { conversationId: "<conversation>", text: "And Nara?" }) { replyId } }"#,
    r#"mutation { renameConversation(input: { id: "<conversation>", displayName: "K" }) { conversation { id } } }"#,
    r#"mutation { regenerateTitle(input: { id: "<conversation>", replaceManual: true }) { conversation { id } } }"#,
    r#"mutation { resetTitle(input: { id: "<conversation>" }) { conversation { id } } }"#,
    r#"mutation { archiveConversation(input: { conversationId: "<conversation>" }) { conversation { id } } }"#,
    r#"mutation { pinConversation(input: { conversationId: "<conversation>" }) { conversation { id } } }"#,
    r#"mutation { setConversationMetadata(input: { conversationId: "<conversation>", set: [{ key: "a", value: "b" }] }) { conversation { id } } }"#,
    r#"mutation { regenerateReply(input: { messageId: "<reply>" }) { replyId } }"#,
    r#"mutation { editMessage(input: { messageId: "<message>", text: "And Osaka?" }) { replyId } }"#,
    r#"mutation { stopReply(input: { replyId: "<reply>" }) { stopped } }"#,
    r#"mutation { deleteConversation(input: { id: "<conversation>" }) { deletedConversationId } }"#,
];

/// A change of a new conversation of Ada's.
async fn filled(team: &Team, change: &str) -> (String, String) {
    let id = team.conversation().await;
    let now = conversation(&team.ada, &id).await;
    let message = |number: usize| now["messages"]["nodes"][number]["id"].as_str().unwrap();
    let change = change
        .replace("<conversation>", &id)
        .replace("<message>", message(0))
        .replace("<reply>", message(1));
    (id, change)
}

#[tokio::test]
async fn each_policy_allows_what_it_says_and_no_policy_another_tenant() {
    let model = ModelServer::start().await;
    for (visibility, refusal) in [
        ("private", Some("NOT_FOUND")),
        ("read", Some("FORBIDDEN")),
        ("tenant", None),
    ] {
        let team = Team::start(&model, visibility).await;
        for change in CHANGES {
            let (id, change) = filled(&team, change).await;
            let before = team.server.database.census_at_rest().await;
            let refused = graphql(&team.eve, &change, json!({})).await;
            assert_eq!(code(&refused), "NOT_FOUND", "{visibility}: {change}");
            let answer = graphql(&team.bob, &change, json!({})).await;
            match refusal {
                Some(expected) => {
                    assert_eq!(code(&answer), expected, "{visibility}: {change}");
                    assert_eq!(team.server.database.census().await, before, "{change}");
                }
                None => assert_eq!(answer.get("errors"), None, "{change}: {answer}"),
            }
            // The owner is never refused.
            let own = conversation(&team.ada, &id).await;
            assert_eq!(
                own.is_null(),
                refusal.is_none() && change.contains("delete")
            );
        }
    }
}

#[tokio::test]
async fn what_is_shared_is_in_lists_searches_and_nodes_of_the_tenant_alone() {
    let model = ModelServer::start().await;
    for visibility in ["private", "read", "tenant"] {
        let is_shared = visibility != "private";
        let team = Team::start(&model, visibility).await;
        let id = team.conversation().await;
        let own = settled_conversation(&team.bob, json!({ "text": "A recipe for ramen" })).await;
        for order in ["", ", order: CREATED_DESC", ", order: PINNED_FIRST"] {
            let expected = match is_shared {
                true => vec![own.clone(), id.clone()],
                false => vec![own.clone()],
            };
            assert_eq!(listed(&team.bob, order).await, expected, "{visibility}");
            assert_eq!(listed(&team.eve, order).await, [""; 0], "{visibility}");
        }
        assert_eq!(found(&team.bob, "kyoto").await.contains(&id), is_shared);
        assert_eq!(found(&team.bob, "ramen").await, [own.as_str()]);
        assert_eq!(found(&team.ada, "ramen").await.contains(&own), is_shared);
        assert_eq!(found(&team.eve, "kyoto").await, [""; 0]);
        let theirs = conversation(&team.ada, &id).await;
        let message = &theirs["messages"]["nodes"][0]["id"];
        let query = "query ($id: ID!, $message: ID!) {
            conversation(id: $id) { id ownerId messages { nodes { id content author } } activeReplies { replyId } }
            node(id: $message) { id }
        }";
        let variables = json!({ "id": id, "message": message });
        for (url, is_seen) in [
            (&team.bob, is_shared),
            (&team.ada, true),
            (&team.eve, false),
        ] {
            let seen = data(url, query, variables.clone()).await;
            assert_eq!(!seen["conversation"].is_null(), is_seen, "{seen}");
            assert_eq!(!seen["node"].is_null(), is_seen, "{seen}");
            if is_seen {
                assert_eq!(seen["conversation"]["ownerId"], "ada");
                let authors = &seen["conversation"]["messages"]["nodes"];
                assert_eq!(authors[0]["author"], "ada", "{seen}");
                assert_eq!(authors[1]["author"], Value::Null, "{seen}");
            }
        }
    }
}

#[tokio::test]
async fn a_guests_message_has_its_author_and_keeps_the_owner() {
    let model = ModelServer::start().await;
    let team = Team::start(&model, "tenant").await;
    let id = team.conversation().await;
    let sent = send_message(
        &team.bob,
        json!({ "conversationId": id, "text": "And Nara?" }),
    )
    .await;
    replied(&team.ada, &id, 4).await;
    let query = "query ($id: ID!) { conversation(id: $id) {
        ownerId messages { nodes { role author versions { author } } }
    } }";
    let seen = data(&team.ada, query, json!({ "id": id })).await["conversation"].take();
    let authors = |seen: &Value| -> Vec<Value> {
        let nodes = seen["messages"]["nodes"].as_array().unwrap();
        nodes.iter().map(|node| node["author"].clone()).collect()
    };
    assert_eq!(seen["ownerId"], "ada");
    assert_eq!(
        authors(&seen),
        [json!("ada"), Value::Null, json!("bob"), Value::Null]
    );
    // The owner edits what the guest wrote: the former text keeps its author.
    let edit =
        "mutation ($id: ID!) { editMessage(input: { messageId: $id, text: \"And Osaka?\" }) {
        message { author versions { author content } }
    } }";
    let edited = data(&team.ada, edit, json!({ "id": sent["message"]["id"] })).await;
    let message = &edited["editMessage"]["message"];
    assert_eq!(message["author"], "ada");
    assert_eq!(
        message["versions"],
        json!([{ "author": "bob", "content": "And Nara?" }])
    );
    // The conversation, its turns and its index entries are still the owner's: without a policy Bob has nothing.
    team.reload("private");
    assert_eq!(listed(&team.bob, "").await, [""; 0]);
    assert_eq!(found(&team.bob, "osaka").await, [""; 0]);
    assert_eq!(found(&team.ada, "nara").await, [""; 0], "it was replaced");
    assert_eq!(found(&team.ada, "osaka").await, [id]);
}

#[tokio::test]
async fn keys_and_external_ids_are_each_users_own() {
    let model = ModelServer::start().await;
    let team = Team::start(&model, "tenant").await;
    let id = team.conversation().await;
    let rows = Rows::of(&team.server.database).await;
    let input = json!({ "conversationId": id, "text": "And Nara?", "idempotencyKey": "one" });
    let first = send_message(&team.bob, input.clone()).await;
    replied(&team.ada, &id, 4).await;
    let again = send_message(&team.bob, input.clone()).await;
    assert_eq!(again["replyId"], first["replyId"], "a retry");
    // The same key of the owner is another one.
    let own = send_message(&team.ada, input).await;
    assert_ne!(own["replyId"], first["replyId"]);
    replied(&team.ada, &id, 6).await;
    assert_eq!(rows.messages(&id).await.len(), 6);
    let other = json!({ "conversationId": id, "text": "Something else", "idempotencyKey": "one" });
    let send = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { replyId } }";
    let refused = graphql(&team.bob, send, json!({ "input": other })).await;
    assert_eq!(code(&refused), "IDEMPOTENCY_KEY_REUSED");
    // The same external id of two users are two conversations.
    let mut ids = Vec::new();
    for url in [&team.ada, &team.bob] {
        let sent = send_message(url, json!({ "externalId": "ticket-7", "text": "Help me" })).await;
        ids.push(sent["conversation"]["id"].clone());
    }
    assert_ne!(ids[0], ids[1]);
    let by_name = "{ conversation(externalId: \"ticket-7\") { id } }";
    let found = data(&team.bob, by_name, json!({})).await;
    assert_eq!(found["conversation"]["id"], ids[1]);
}

#[tokio::test]
async fn a_guest_follows_and_stops_a_reply_that_runs() {
    let model = ModelServer::start().await;
    let team = Team::start(&model, "tenant").await;
    let (answer, steps) = Answer::live();
    model.reply(answer);
    let sent = send_message(&team.ada, json!({ "text": "Plan a trip to Kyoto" })).await;
    let id = sent["conversation"]["id"].as_str().unwrap();
    write(&steps, "First day");
    let mut reader = Reader::join(&team.bob, id, &sent["replyId"]).await;
    reader.read_to("First day").await;
    assert!(stop_reply(&team.bob, id).await, "it was running");
    assert_eq!(reader.end().await["text"], "First day");
    replied(&team.ada, id, 2).await;
}
