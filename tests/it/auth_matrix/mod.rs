//! Every field and argument of the schema that takes or returns an id × callers without access: the same user of another
//! tenant, another user of the same tenant, a caller without a token, and one whose token has expired.
//!
//! The required rows of the table are derived from `schema.graphql`: a new field without a row fails here.

mod rows;

use std::collections::BTreeSet;

use async_graphql::parser::{
    parse_schema,
    types::{BaseType, Type, TypeKind, TypeSystemDefinition},
};
use serde_json::{Value, json};
use titlecast_testing::{
    ModelServer, Server,
    auth::{GUARDED, claims, now, signed, with},
    calls,
    legacy::post,
    within,
};

use self::rows::{Others, ROWS, Row};
use crate::{
    agents::Folder,
    sharing::{owner, policy},
};

/// Whether values of this type are ids, or hold some.
fn is_id(ty: &Type) -> bool {
    match &ty.base {
        BaseType::Named(name) => ["ID", "_Any"].contains(&name.as_str()),
        BaseType::List(inner) => is_id(inner),
    }
}

/// Everything that must be tested: fields that take or return an id, and the roots, through which everything else is
/// reached.
fn members(sdl: &str) -> BTreeSet<String> {
    let mut members = BTreeSet::new();
    for definition in parse_schema(sdl).unwrap().definitions {
        let TypeSystemDefinition::Type(definition) = definition else {
            continue;
        };
        let name = definition.node.name.node.to_string();
        let fields = match definition.node.kind {
            TypeKind::Object(object) => object.fields,
            TypeKind::Interface(interface) => interface.fields,
            TypeKind::InputObject(input) => {
                let ids = input
                    .fields
                    .iter()
                    .filter(|field| is_id(&field.node.ty.node));
                members.extend(ids.map(|field| format!("{name}.{}", field.node.name.node)));
                continue;
            }
            _ => continue,
        };
        for field in fields {
            let path = format!("{name}.{}", field.node.name.node);
            let ids = field.node.arguments.iter();
            let ids = ids.filter(|argument| is_id(&argument.node.ty.node));
            let taken: Vec<String> = ids
                .map(|argument| format!("{path}({})", argument.node.name.node))
                .collect();
            let is_root = ["Query", "Mutation", "Subscription"].contains(&name.as_str());
            if is_id(&field.node.ty.node) || (is_root && taken.is_empty()) {
                members.insert(path);
            }
            members.extend(taken);
        }
    }
    // The schema has no owner.
    members.remove("Query._service");
    // Agents belong to tenants; `agents::named` tries them.
    members.remove("Query.agents");
    // The log is of a tenant; `audit` tries it.
    for member in [
        "Query.auditLog",
        "AuditEntry.id",
        "AuditEntry.conversationId",
    ] {
        members.remove(member);
    }
    // It has only what the token says.
    members.remove("Query.viewer");
    members
}

/// What of the schema no row tries.
fn untried(sdl: &str) -> Vec<String> {
    let tried: BTreeSet<&str> = ROWS.iter().flat_map(|row| row.0).copied().collect();
    let all = members(sdl).into_iter();
    all.filter(|member| !tried.contains(member.as_str()))
        .collect()
}

const SDL: &str = include_str!("../../../schema.graphql");

#[test]
fn every_member_of_the_schema_that_knows_an_id_has_a_row() {
    assert_eq!(untried(SDL), [""; 0], "add a row to ROWS for each");
    let known = members(SDL);
    for member in ROWS.iter().flat_map(|row| row.0) {
        let is_root = ["Query.", "Subscription."]
            .iter()
            .any(|root| member.starts_with(root));
        assert!(is_root || known.contains(*member), "{member} is gone");
    }
}

#[test]
fn a_new_member_without_a_row_is_noticed() {
    for (place, more, missing) in [
        (
            "type Message implements Node {",
            "parentId: ID",
            "Message.parentId",
        ),
        (
            "type Conversation implements Node {",
            "linked: [ID!]!",
            "Conversation.linked",
        ),
        (
            "type Conversation implements Node {",
            "reply(id: ID!): Int",
            "Conversation.reply(id)",
        ),
        (
            "input SendMessageInput {",
            "after: ID",
            "SendMessageInput.after",
        ),
        ("type Mutation {", "clear: Int!", "Mutation.clear"),
        (
            "type Subscription {",
            "typing(in: ID!): Int!",
            "Subscription.typing(in)",
        ),
    ] {
        let sdl = SDL.replace(place, &format!("{place} {more}\n"));
        assert_eq!(untried(&sdl), [missing], "{more}");
    }
}

/// The first answer to a document, whatever it is: of a subscription its first event.
async fn first_answer(token: Option<&str>, url: &str, document: &str) -> Value {
    let mut request = post(url, "/graphql", json!({ "query": document }))
        .header("accept", "application/json, text/event-stream");
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let mut response = within(request.send()).await.unwrap();
    let is_stream = response.headers()["content-type"] == "text/event-stream";
    let mut text = String::new();
    while let Some(bytes) = within(response.chunk()).await.unwrap() {
        text.push_str(std::str::from_utf8(&bytes).unwrap());
        if is_stream && text.contains("\n\n") {
            break;
        }
    }
    let json = match is_stream {
        true => text
            .split_once("data: ")
            .unwrap()
            .1
            .split("\n\n")
            .next()
            .unwrap(),
        false => &text,
    };
    serde_json::from_str(json).unwrap()
}

/// The document of a row with the ids of a new conversation of this owner's, and these ids.
async fn filled(open: &str, row: &Row) -> (String, [String; 3]) {
    let id = calls::settled_conversation(open, json!({ "text": "Plan a trip to Kyoto" })).await;
    let now = calls::conversation(open, &id).await;
    let message = |number: usize| now["messages"]["nodes"][number]["id"].as_str().unwrap();
    let ids = [id.clone(), message(0).to_owned(), message(1).to_owned()];
    let mut document = row.1.to_owned();
    if document.contains("<external>") {
        let opening =
            "mutation ($id: ID!) { openReply(input: { conversationId: $id }) { replyId } }";
        let opened = calls::data(open, opening, json!({ "id": id })).await;
        let reply = opened["openReply"]["replyId"].as_str().unwrap();
        document = document.replace("<external>", reply);
    }
    for (place, id) in ["<conversation>", "<message>", "<reply>"].iter().zip(&ids) {
        document = document.replace(place, id);
    }
    (document, ids)
}

#[tokio::test]
async fn no_other_owner_gets_access_by_any_of_them() {
    let model = ModelServer::start().await;
    let mut server = Server::guarded(&model).await;
    // The same parts without a door, to have something there.
    let open = server.serve(owner("acme", "ada")).await;
    let url = server.url.clone();
    let ada = signed(&claims("acme", "ada"));
    let old = signed(&with(claims("acme", "ada"), "exp", (now() - 60).into()));
    let mut asked = 0;
    for row in &ROWS {
        let (document, ids) = filled(&open, row).await;
        let before = server.database.census_at_rest().await;
        let mine = calls::conversation(&open, &ids[0]).await;
        for (tenant, user) in [("globex", "ada"), ("acme", "bob")] {
            let token = signed(&claims(tenant, user));
            if matches!(row.2, Others::OnlyTheirs) && document.starts_with("subscription") {
                // Nothing comes, which another test waits for.
                continue;
            }
            asked += 1;
            let answer = first_answer(Some(&token), &url, &document).await;
            match row.2 {
                Others::Nothing(data) => {
                    let data: Value = serde_json::from_str(data).unwrap();
                    assert_eq!(
                        answer,
                        json!({ "data": data }),
                        "{tenant} {user}: {document}"
                    );
                }
                Others::NotFound => assert_eq!(calls::code(&answer), "NOT_FOUND", "{document}"),
                Others::OnlyTheirs => {
                    assert_eq!(answer.get("errors"), None, "{document}");
                    let text = answer.to_string();
                    assert!(
                        !ids.iter().any(|id| text.contains(id)),
                        "{document}: {text}"
                    );
                }
            }
        }
        for (token, code) in [
            (None, "UNAUTHENTICATED"),
            (Some(old.as_str()), "AUTH_EXPIRED"),
        ] {
            let answer = first_answer(token, &url, &document).await;
            assert_eq!(calls::code(&answer), code, "{document}");
        }
        assert_eq!(server.database.census().await, before, "{document}");
        assert_eq!(
            calls::conversation(&open, &ids[0]).await,
            mine,
            "{document}"
        );
        // The owner has access, otherwise the checks above would prove nothing.
        let is_silent = [
            "conversationUpdated {",
            "conversationsChanged",
            "conversationChanges",
        ];
        if is_silent.iter().any(|field| document.contains(field)) {
            // It has nothing without a change; `feed` tries it.
            continue;
        }
        let answer = first_answer(Some(&ada), &url, &document).await;
        // It has no former title, which is an error for its owner alone.
        if document.contains("restoreTitle") {
            assert_eq!(calls::code(&answer), "INVALID_INPUT", "{document}");
            continue;
        }
        assert_eq!(answer.get("errors"), None, "{document}: {answer}");
        let text = answer.to_string();
        let is_disclosed = ids.iter().any(|id| text.contains(id)) || text.contains("replyId");
        assert!(is_disclosed, "{document}: {text}");
    }
    assert!(asked > ROWS.len(), "{asked}");
}

/// The same rows in a tenant that shares its conversations: another user of it gets what its policy allows, and another
/// tenant nothing.
#[tokio::test]
async fn a_policy_of_sharing_gives_access_to_the_tenant_alone() {
    let model = ModelServer::start().await;
    for visibility in ["read", "tenant"] {
        let folder = Folder::new().file("titlecast.toml", &policy(visibility));
        let path = folder.path("titlecast.toml");
        let settings = [&GUARDED[..], &["--config", path.as_str()]].concat();
        let mut server = Server::start_with(&model, &settings).await;
        let open = server.serve(owner("acme", "ada")).await;
        let url = server.url.clone();
        let bob = signed(&claims("acme", "bob"));
        let stranger = signed(&claims("globex", "ada"));
        let mut shared = 0;
        for row in &ROWS {
            if matches!(row.2, Others::OnlyTheirs) && row.1.starts_with("subscription") {
                continue;
            }
            let (document, ids) = filled(&open, row).await;
            let before = server.database.census_at_rest().await;
            let answer = first_answer(Some(&stranger), &url, &document).await;
            let text = answer.to_string();
            assert!(
                !ids.iter().any(|id| text.contains(id)),
                "{document}: {text}"
            );
            assert_eq!(server.database.census().await, before, "{document}");
            let answer = first_answer(Some(&bob), &url, &document).await;
            let is_change = document.starts_with("mutation");
            if is_change && visibility == "read" {
                assert_eq!(calls::code(&answer), "FORBIDDEN", "{document}");
                assert_eq!(server.database.census().await, before, "{document}");
                continue;
            }
            if document.contains("restoreTitle") {
                assert_eq!(calls::code(&answer), "INVALID_INPUT", "{document}");
                continue;
            }
            assert_eq!(answer.get("errors"), None, "{document}: {answer}");
            let text = answer.to_string();
            // A page of changes from now on is empty; `feed` tries the others.
            let is_empty = document.contains("conversationChanges");
            let is_disclosed = ids.iter().any(|id| text.contains(id)) || text.contains("replyId");
            assert!(is_disclosed || is_empty, "{visibility}: {document}: {text}");
            shared += 1;
        }
        assert!(shared >= 10, "{shared}");
    }
}
