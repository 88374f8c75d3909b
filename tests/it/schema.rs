//! The schema: the committed file is what the code says, and everything in it is described.

use serde_json::{Value, json};
use titlecast_testing::{ModelServer, Server};

#[test]
fn the_committed_schema_is_what_the_code_says() {
    let committed = include_str!("../../schema.graphql");
    let current = titlecast::api::graphql::sdl();
    assert!(
        committed == current,
        "schema.graphql is stale; if the change is meant, run: cargo run -- schema > schema.graphql"
    );
}

/// What the library makes for each list, without a way to describe it.
const UNDESCRIBED: [&str; 4] = [
    "type AuditEntryConnection",
    "type ConversationConnection",
    "type MessageConnection",
    "type SearchHitConnection",
];

#[tokio::test]
async fn everything_has_a_description() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let query = "{ __schema { types {
        name description
        fields { name description args { name description } }
        inputFields { name description }
        enumValues { name description }
    } } }";
    let data = server.data(query, json!({})).await;
    let mut missing = Vec::new();
    let mut look_at = |what: String, described: &Value| {
        let description = described["description"].as_str().unwrap_or_default();
        if description.trim().is_empty() {
            missing.push(what);
        }
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut seen = 0;
    for kind in list(&data["__schema"]["types"]) {
        let name = kind["name"].as_str().unwrap();
        let is_built_in = ["Boolean", "Float", "ID", "Int", "String"].contains(&name);
        // One underscore is federation's, two are introspection's.
        if is_built_in || name.starts_with('_') {
            continue;
        }
        seen += 1;
        look_at(format!("type {name}"), &kind);
        for part in ["fields", "inputFields", "enumValues"] {
            for member in list(&kind[part]) {
                if member["name"].as_str().unwrap().starts_with('_') {
                    continue;
                }
                let member_name = format!("{name}.{}", member["name"].as_str().unwrap());
                look_at(member_name.clone(), &member);
                for argument in list(&member["args"]) {
                    let argument_name = argument["name"].as_str().unwrap();
                    look_at(format!("{member_name}({argument_name})"), &argument);
                }
            }
        }
    }
    assert!(seen > 30, "{seen} types are not all there are");
    missing.sort();
    assert_eq!(missing, UNDESCRIBED);
}
