//! What a token allows: each operation needs one scope, and no other helps.

use std::collections::BTreeSet;

use async_graphql::parser::{
    parse_schema,
    types::{TypeKind, TypeSystemDefinition},
};
use serde_json::{Value, json};
use strum::VariantArray;
use titlecast::{auth::Scope, conversation::Owner};
use titlecast_testing::{
    ModelServer, Server, Step,
    auth::{claims, graphql_as, signed, with},
    calls::code,
    eventually,
    raw_socket::RawSocket,
    server::client,
    within,
};

/// A token of the same user with these scopes.
fn token(scopes: &[Scope]) -> String {
    let scopes: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    signed(&with(
        claims("acme", "ada"),
        "scope",
        scopes.join(" ").into(),
    ))
}

/// All scopes but this one.
fn without(needed: Scope) -> Vec<Scope> {
    let scopes = Scope::VARIANTS.iter().copied();
    scopes.filter(|scope| *scope != needed).collect()
}

/// A server with a conversation; it needs its model.
pub async fn filled() -> (ModelServer, Server, String) {
    let model = ModelServer::start().await;
    let server = Server::guarded(&model).await;
    let owner = Owner {
        tenant: "acme".into(),
        user: "ada".into(),
    };
    let id = server.database.seed(&owner, 1, 2).await.remove(0);
    (model, server, id)
}

/// A reply from outside, by the id that the rows choose.
const REPLY: &str = "0198d5b2-6f0e-4b8a-9a55-4f3e2d1c0b9a";

/// The legacy routes on this conversation: the scope, the method, the path and the body of each.
pub fn legacy_routes(id: &str) -> Vec<(Scope, &'static str, String, Option<Value>)> {
    let at = |rest: &str| format!("/api/v1/conversations{rest}");
    let message = json!({ "message": "Hi", "conversation_id": id });
    // Deleting comes last: the others need something to work on.
    vec![
        (Scope::Read, "GET", at(""), None),
        (Scope::Read, "GET", at("/search?q=kyoto"), None),
        (Scope::Read, "GET", at("/changes"), None),
        (Scope::Read, "GET", at(&format!("/{id}")), None),
        (Scope::Read, "GET", at(&format!("/{id}/messages")), None),
        (Scope::Read, "GET", at(&format!("/{id}/stream")), None),
        (Scope::Read, "GET", at(&format!("/{id}/events")), None),
        (
            Scope::Read,
            "GET",
            at(&format!("/{id}/ledger/events")),
            None,
        ),
        (
            Scope::Read,
            "GET",
            at(&format!("/{id}/ledger/stream")),
            None,
        ),
        (Scope::Read, "GET", "/api/v1/export".to_owned(), None),
        (
            Scope::Write,
            "PATCH",
            at(&format!("/{id}/title")),
            Some(json!({ "display_name": "Kyoto" })),
        ),
        (
            Scope::Write,
            "POST",
            "/api/v1/chat".into(),
            Some(message.clone()),
        ),
        (
            Scope::Write,
            "POST",
            "/api/v1/chat/stream".into(),
            Some(message),
        ),
        (
            Scope::Ingest,
            "POST",
            at(&format!("/{id}/messages")),
            Some(json!({ "role": "user", "content": "Hi" })),
        ),
        (
            Scope::Ingest,
            "POST",
            at(&format!("/{id}/replies")),
            Some(json!({ "reply_id": REPLY })),
        ),
        (
            Scope::Ingest,
            "POST",
            at(&format!("/{id}/replies/{REPLY}/append")),
            Some(json!({ "offset": 0, "text": "Hi" })),
        ),
        (
            Scope::Ingest,
            "GET",
            at(&format!("/{id}/replies/{REPLY}")),
            None,
        ),
        (
            Scope::Ingest,
            "POST",
            at(&format!("/{id}/replies/{REPLY}/finish")),
            Some(json!({})),
        ),
        (Scope::Delete, "DELETE", at(&format!("/{id}")), None),
        (Scope::Erase, "DELETE", "/api/v1/me".into(), None),
    ]
}

#[tokio::test]
async fn every_legacy_route_needs_one_scope() {
    let (_model, server, id) = filled().await;
    for (needed, method, path, body) in legacy_routes(&id) {
        for (scopes, is_allowed) in [
            (without(needed), false),
            (vec![], false),
            (vec![needed], true),
        ] {
            let mut request = client()
                .request(method.parse().unwrap(), format!("{}{path}", server.url))
                .bearer_auth(token(&scopes));
            if let Some(body) = &body {
                request = request.header("content-type", "application/json");
                request = request.body(body.to_string());
            }
            let response = within(request.send()).await.unwrap();
            let status = response.status().as_u16();
            let what = format!("{method} {path} with {scopes:?}");
            if is_allowed {
                assert!(status < 300, "{what}: {status}");
                continue;
            }
            let challenge = response.headers()["www-authenticate"].to_str().unwrap();
            let expected = format!(
                "Bearer error=\"insufficient_scope\", scope=\"{}\"",
                needed.as_str()
            );
            assert_eq!((status, challenge), (403, expected.as_str()), "{what}");
            let body: Value =
                serde_json::from_str(&within(response.text()).await.unwrap()).unwrap();
            assert_eq!(body["code"], "FORBIDDEN", "{what}");
        }
    }
}

pub const QUERIES: [(&str, &str); 9] = [
    ("conversation", "{ conversation(id: \"<id>\") { id } }"),
    ("conversations", "{ conversations { nodes { id } } }"),
    ("conversationChanges", "{ conversationChanges { cursor } }"),
    (
        "searchConversations",
        "{ searchConversations(query: \"kyoto\") { nodes { snippet } } }",
    ),
    ("auditLog", "{ auditLog { nodes { actor } } }"),
    ("agents", "{ agents { name } }"),
    ("viewer", "{ viewer { userId } }"),
    ("node", "{ node(id: \"<id>\") { id } }"),
    (
        "_entities",
        "{ _entities(representations: [{ __typename: \"Conversation\", id: \"<id>\" }]) { __typename } }",
    ),
];

pub const MUTATIONS: [(&str, &str); 18] = [
    (
        "sendMessage",
        "mutation { sendMessage(input: { text: \"Hi\" }) { replyId } }",
    ),
    (
        "renameConversation",
        "mutation { renameConversation(input: { id: \"<id>\", displayName: \"K\" }) { conversation { id } } }",
    ),
    (
        "regenerateTitle",
        "mutation { regenerateTitle(input: { id: \"<id>\", replaceManual: true }) { conversation { id } } }",
    ),
    (
        "resetTitle",
        "mutation { resetTitle(input: { id: \"<id>\" }) { conversation { id } } }",
    ),
    (
        "restoreTitle",
        "mutation { restoreTitle(input: { id: \"<id>\" }) { conversation { id } } }",
    ),
    (
        "archiveConversation",
        "mutation { archiveConversation(input: { conversationId: \"<id>\" }) { conversation { id } } }",
    ),
    (
        "unarchiveConversation",
        "mutation { unarchiveConversation(input: { conversationId: \"<id>\" }) { conversation { id } } }",
    ),
    (
        "pinConversation",
        "mutation { pinConversation(input: { conversationId: \"<id>\" }) { conversation { id } } }",
    ),
    (
        "unpinConversation",
        "mutation { unpinConversation(input: { conversationId: \"<id>\" }) { conversation { id } } }",
    ),
    (
        "setConversationMetadata",
        "mutation { setConversationMetadata(input: { conversationId: \"<id>\" }) { conversation { id } } }",
    ),
    (
        "stopReply",
        "mutation { stopReply(input: { conversationId: \"<id>\" }) { stopped } }",
    ),
    (
        "regenerateReply",
        "mutation { regenerateReply(input: { messageId: \"<message>\" }) { replyId } }",
    ),
    (
        "editMessage",
        "mutation { editMessage(input: { messageId: \"<message>\", text: \"Hi\" }) { replyId } }",
    ),
    (
        "recordMessage",
        "mutation { recordMessage(input: { conversationId: \"<id>\", role: USER, text: \"Hi\" }) { created } }",
    ),
    (
        "openReply",
        "mutation { openReply(input: { conversationId: \"<id>\", replyId: \"0198d5b2-6f0e-4b8a-9a55-4f3e2d1c0b9a\" }) \
            { offset } }",
    ),
    (
        "appendReply",
        "mutation { appendReply(input: { conversationId: \"<id>\", replyId: \"0198d5b2-6f0e-4b8a-9a55-4f3e2d1c0b9a\", \
            offset: 0, text: \"Hi\" }) { offset } }",
    ),
    (
        "finishReply",
        "mutation { finishReply(input: { conversationId: \"<id>\", replyId: \"0198d5b2-6f0e-4b8a-9a55-4f3e2d1c0b9a\" }) \
            { offset } }",
    ),
    (
        "deleteConversation",
        "mutation { deleteConversation(input: { id: \"<id>\" }) { deletedConversationId } }",
    ),
];

const SUBSCRIPTIONS: [(&str, &str); 3] = [
    (
        "conversationUpdated",
        "subscription { conversationUpdated { id } }",
    ),
    (
        "conversationsChanged",
        "subscription { conversationsChanged { __typename } }",
    ),
    (
        "reply",
        "subscription { reply(conversationId: \"<id>\") { __typename } }",
    ),
];

#[test]
fn every_root_field_has_a_row() {
    let sdl = parse_schema(include_str!("../../schema.graphql")).unwrap();
    let mut missing: BTreeSet<String> = BTreeSet::new();
    let mut roots = 0;
    for definition in sdl.definitions {
        let TypeSystemDefinition::Type(definition) = definition else {
            continue;
        };
        let rows: Vec<&str> = match definition.node.name.node.as_str() {
            "Query" => QUERIES.iter().map(|(name, _)| *name).collect(),
            "Mutation" => MUTATIONS.iter().map(|(name, _)| *name).collect(),
            "Subscription" => SUBSCRIPTIONS.iter().map(|(name, _)| *name).collect(),
            _ => continue,
        };
        let TypeKind::Object(object) = definition.node.kind else {
            panic!("roots are objects")
        };
        roots += 1;
        let names = object
            .fields
            .iter()
            .map(|field| field.node.name.node.to_string());
        // The schema is no conversation.
        missing.extend(names.filter(|name| name != "_service" && !rows.contains(&name.as_str())));
    }
    assert_eq!(missing, BTreeSet::new(), "what scope do they need?");
    assert_eq!(roots, 3);
}

#[tokio::test]
async fn every_query_and_mutation_needs_one_scope() {
    let (_model, server, id) = filled().await;
    let query = format!("{{ conversation(id: \"{id}\") {{ messages {{ nodes {{ id }} }} }} }}");
    let answer = graphql_as(&token(&[Scope::Read]), &server.url, &query).await;
    let message = &answer["data"]["conversation"]["messages"]["nodes"][0]["id"];
    let message = message.as_str().unwrap();
    let needed = |name: &str| match name {
        "deleteConversation" => Scope::Delete,
        "auditLog" => Scope::Audit,
        "recordMessage" | "openReply" | "appendReply" | "finishReply" => Scope::Ingest,
        name if MUTATIONS.iter().any(|(mutation, _)| *mutation == name) => Scope::Write,
        _ => Scope::Read,
    };
    // A token may see what it says itself.
    let queries = QUERIES.iter().filter(|(name, _)| *name != "viewer");
    for (name, query) in queries.chain(&MUTATIONS) {
        let query = query.replace("<id>", &id).replace("<message>", message);
        let needed = needed(name);
        for scopes in [without(needed), vec![]] {
            let answer = graphql_as(&token(&scopes), &server.url, &query).await;
            let errors = answer["errors"].as_array().unwrap();
            assert_eq!(errors.len(), 1, "{answer}");
            assert_eq!(errors[0]["extensions"]["code"], "FORBIDDEN", "{name}");
            let text = errors[0]["message"].as_str().unwrap();
            assert!(text.contains(needed.as_str()), "{name}: {text}");
            let data = answer["data"].get(*name);
            assert!(data.is_none_or(Value::is_null), "{name}: {answer}");
        }
        let allowed = token(&[needed]);
        // A reply that is being written is not written anew.
        let answer = eventually(async || {
            let answer = graphql_as(&allowed, &server.url, &query).await;
            let is_running = answer["errors"][0]["extensions"]["code"] == "REPLY_RUNNING";
            (!is_running).then_some(answer)
        })
        .await;
        assert_eq!(answer.get("errors"), None, "{name}: {answer}");
    }
}

#[tokio::test]
async fn every_subscription_needs_to_read_though_others_share_it() {
    let (_model, server, id) = filled().await;
    for (name, query) in SUBSCRIPTIONS {
        let query = query.replace("<id>", &id);
        let ready = async |scopes: &[Scope]| {
            let mut socket = RawSocket::open(&server.url, "graphql-transport-ws").await;
            let payload = json!({ "token": token(scopes) });
            socket
                .say(json!({ "type": "connection_init", "payload": payload }))
                .await;
            assert_eq!(socket.message().await["type"], "connection_ack");
            let payload = json!({ "query": query });
            socket
                .say(json!({ "type": "subscribe", "id": "1", "payload": payload }))
                .await;
            socket
        };
        let mut reader = ready(&[Scope::Read]).await;
        match name {
            "conversationUpdated" => server.topics(1).await,
            "conversationsChanged" => assert_eq!(reader.message().await["type"], "next"),
            _ => assert_eq!(
                reader.message().await["type"],
                "complete",
                "nothing was replied"
            ),
        }
        for scopes in [without(Scope::Read), vec![]] {
            let mut other = ready(&scopes).await;
            let refusal = other.message().await;
            let errors = match refusal["type"] == "error" {
                true => &refusal["payload"],
                false => &refusal["payload"]["errors"],
            };
            assert_eq!(errors[0]["extensions"]["code"], "FORBIDDEN", "{refusal}");
        }
    }
}

#[tokio::test]
async fn to_write_is_not_to_read_what_is_there() {
    let (model, server, id) = filled().await;
    let query = format!(
        "mutation {{ renameConversation(input: {{ id: \"{id}\", displayName: \"K\" }}) {{
            conversation {{ displayName messages {{ nodes {{ content }} }} }} }} }}"
    );
    let answer = graphql_as(&token(&[Scope::Write]), &server.url, &query).await;
    assert_eq!(code(&answer), "FORBIDDEN");
    // Nor was the change made.
    let title = format!("{{ conversation(id: \"{id}\") {{ displayName }} }}");
    let now = graphql_as(&token(&[Scope::Read]), &server.url, &title).await;
    assert_ne!(now["data"]["conversation"]["displayName"], "K", "{now}");
    // The reply is still being written when the mutation is answered.
    let steps = model.live_reply();
    let sent = "sendMessage(input: { text: \"Hi\", autoTitle: false }) { replyId message { id }";
    for (fields, is_sent) in [
        ("conversation { activeReplies { replyId } }", true),
        ("conversation { ...F }", false),
        ("message { versions { id } }", false),
    ] {
        let query = format!(
            "mutation {{ {sent} {fields} }} }} fragment F on Conversation {{ messages {{ nodes {{ id }} }} }}"
        );
        let query = match fields.contains("...F") {
            true => query,
            false => query.split(" fragment").next().unwrap().to_owned(),
        };
        let answer = graphql_as(&token(&[Scope::Write]), &server.url, &query).await;
        match is_sent {
            true => {
                let payload = &answer["data"]["sendMessage"];
                let active = &payload["conversation"]["activeReplies"];
                assert_eq!(active[0]["replyId"], payload["replyId"], "{answer}");
            }
            false => assert_eq!(code(&answer), "FORBIDDEN", "{fields}"),
        }
    }
    steps.send(Step::Finish).unwrap();
    let all = "{ conversations { nodes { id } } }";
    let all = graphql_as(&token(&[Scope::Read]), &server.url, all).await;
    let nodes = all["data"]["conversations"]["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 2, "one message was sent: {all}");
    let answer = graphql_as(&token(&[Scope::Write, Scope::Read]), &server.url, &query).await;
    let conversation = &answer["data"]["renameConversation"]["conversation"];
    assert_eq!(
        conversation["messages"]["nodes"].as_array().unwrap().len(),
        2
    );
}

#[tokio::test]
async fn the_answer_to_a_change_has_message_text_only_for_readers() {
    let (_model, server, id) = filled().await;
    let fields = "conversation { title topicHint displayName lastMessagePreview }";
    let on = format!("id: \"{id}\"");
    let changes = [
        (
            "renameConversation",
            format!("renameConversation(input: {{ {on}, displayName: \"K\" }})"),
        ),
        (
            "regenerateTitle",
            format!("regenerateTitle(input: {{ {on}, replaceManual: true }})"),
        ),
        ("resetTitle", format!("resetTitle(input: {{ {on} }})")),
        (
            "stopReply",
            format!("stopReply(input: {{ conversationId: \"{id}\" }})"),
        ),
        (
            "sendMessage",
            format!("sendMessage(input: {{ conversationId: \"{id}\", text: \"Hi\" }})"),
        ),
    ];
    let (writer, both) = (token(&[Scope::Write]), token(&[Scope::Write, Scope::Read]));
    for (name, change) in &changes {
        for (token, reads) in [(&writer, false), (&both, true)] {
            let query = format!("mutation {{ {change} {{ {fields} }} }}");
            let answer = graphql_as(token, &server.url, &query).await;
            assert_eq!(answer.get("errors"), None, "{name}: {answer}");
            let conversation = &answer["data"][name]["conversation"];
            assert_eq!(
                conversation["lastMessagePreview"].is_string(),
                reads,
                "{answer}"
            );
            assert!(reads || conversation["topicHint"].is_null(), "{answer}");
            let untitled = json!("New conversation");
            let shown = match &conversation["displayName"] {
                Value::Null => &untitled,
                title => title,
            };
            assert!(reads || conversation["title"] == *shown, "{answer}");
        }
    }
    for (token, reads) in [(&writer, false), (&both, true)] {
        let url = format!("{}/api/v1/conversations/{id}/title", server.url);
        let request = client().patch(url).bearer_auth(token);
        let request = request.header("content-type", "application/json");
        let body = json!({ "display_name": "Kyoto" }).to_string();
        let response = within(request.body(body).send()).await.unwrap();
        let text = within(response.text()).await.unwrap();
        let summary: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            summary["last_message_preview"].is_string(),
            reads,
            "{summary}"
        );
        assert!(reads || summary["topic_hint"].is_null(), "{summary}");
        assert_eq!(summary["display_name"], "Kyoto");
    }
}

#[tokio::test]
async fn without_a_claim_of_scopes_nothing_is_allowed() {
    let (_model, server, id) = filled().await;
    let query = format!("{{ conversation(id: \"{id}\") {{ id }} }}");
    for claim in [
        Value::Null,
        json!(""),
        json!("openid"),
        json!([]),
        json!(true),
    ] {
        let token = signed(&with(claims("acme", "ada"), "scope", claim));
        let answer = graphql_as(&token, &server.url, &query).await;
        assert_eq!(answer["data"], json!({ "conversation": null }));
        assert_eq!(answer["errors"][0]["extensions"]["code"], "FORBIDDEN");
    }
    let list = signed(&with(
        claims("acme", "ada"),
        "scope",
        json!(["conversations:read"]),
    ));
    let answer = graphql_as(&list, &server.url, &query).await;
    assert_eq!(answer["data"]["conversation"]["id"], id);
}
