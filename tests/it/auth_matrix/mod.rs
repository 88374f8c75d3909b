//! Every field and argument of the schema that takes or returns an id × who must not get at it: another
//! tenant with the same user, another user of the same tenant, nobody, and one whose token has expired.
//!
//! What has to be in the table is read from `schema.graphql`: a new field without a row fails here.

mod rows;

use std::collections::BTreeSet;

use async_graphql::parser::{
    parse_schema,
    types::{BaseType, Type, TypeKind, TypeSystemDefinition},
};
use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    ModelServer, Server,
    auth::{claims, now, signed, with},
    calls,
    legacy::post,
    within,
};

use self::rows::{Others, ROWS, Row};

/// Whether values of this type are ids, or hold some.
fn is_id(ty: &Type) -> bool {
    match &ty.base {
        BaseType::Named(name) => ["ID", "_Any"].contains(&name.as_str()),
        BaseType::List(inner) => is_id(inner),
    }
}

/// All that has to be tried: what takes or returns an id, and the roots, through which everything else
/// is reached.
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
    // The schema is nobody's.
    members.remove("Query._service");
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
    for (place, id) in ["<conversation>", "<message>", "<reply>"].iter().zip(&ids) {
        document = document.replace(place, id);
    }
    (document, ids)
}

#[tokio::test]
async fn nobody_else_gets_at_anything_by_any_of_them() {
    let model = ModelServer::start().await;
    let mut server = Server::guarded(&model).await;
    let owner = |tenant: &str, user: &str| Owner {
        tenant: tenant.into(),
        user: user.into(),
    };
    // The same parts without a door, to have something there.
    let open = server.serve(owner("acme", "ada")).await;
    let url = server.url.clone();
    let ada = signed(&claims("acme", "ada"));
    let old = signed(&with(claims("acme", "ada"), "exp", (now() - 60).into()));
    let mut asked = 0;
    for row in &ROWS {
        let (document, ids) = filled(&open, row).await;
        let before = server.database.census().await;
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
        // The owner gets at it, or the above would prove nothing.
        if document.starts_with("subscription { conversationUpdated {") {
            continue;
        }
        let answer = first_answer(Some(&ada), &url, &document).await;
        assert_eq!(answer.get("errors"), None, "{document}: {answer}");
        let text = answer.to_string();
        let is_told = ids.iter().any(|id| text.contains(id)) || text.contains("replyId");
        assert!(is_told, "{document}: {text}");
    }
    assert!(asked > ROWS.len(), "{asked}");
}
