//! `/openapi.json`: matches the code, and covers exactly what the server serves.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde_json::{Value, json};
use titlecast::error::ErrorCode;
use titlecast_testing::{
    ModelServer, Server,
    auth::{claims, signed, with},
    server::client,
    within,
};

const SCOPES: [&str; 5] = [
    "conversations:read",
    "conversations:write",
    "conversations:delete",
    "conversations:ingest",
    "account:erase",
];

/// Paths for people, and aliases: not part of the API.
const PAGES: [&str; 5] = [
    "/",
    "/explorer",
    "/graphiql",
    "/graphiql/cdn",
    "/graphiql/{*path}",
];

const REPLY: &str = "0198d5b2-6f0e-4b8a-9a55-4f3e2d1c0b9a";

pub(super) fn document() -> Value {
    serde_json::from_str(&titlecast::api::openapi::document()).unwrap()
}

/// The operations: path, method in capitals, and the description.
fn operations() -> Vec<(String, String, Value)> {
    let document = document();
    let mut found = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            found.push((path.clone(), method.to_uppercase(), operation.clone()));
        }
    }
    assert!(found.len() > 20, "{}", found.len());
    found
}

/// What follows a reference, and anything else as it is.
fn resolved<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).unwrap(),
        None => value,
    }
}

/// The path of a request, with this conversation.
fn filled(path: &str, id: &str) -> String {
    path.replace("{id}", id).replace("{reply_id}", REPLY)
}

#[test]
fn the_committed_document_is_what_the_code_says() {
    let committed = include_str!("../../openapi.json");
    assert!(
        committed == titlecast::api::openapi::document(),
        "openapi.json is stale; if the change is meant, run: just openapi"
    );
}

/// The paths of all `.route(` calls below `src/api`, tests left out.
fn routes(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            routes(&path, found);
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        let source = source.split("#[cfg(test)]").next().unwrap();
        for call in source.split(".route(").skip(1) {
            let argument = call.split([',', ')']).next().unwrap().trim();
            let route = match argument {
                "GRAPHQL_PATH" => "/graphql",
                _ => argument
                    .strip_prefix('"')
                    .and_then(|text| text.strip_suffix('"'))
                    .unwrap_or_else(|| panic!("no path: {argument} in {}", path.display())),
            };
            found.insert(route.to_owned());
        }
    }
}

#[test]
fn every_route_in_the_code_is_described() {
    let mut expected = BTreeSet::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api");
    routes(&source, &mut expected);
    for page in PAGES {
        assert!(expected.remove(page), "there is no page {page} any more");
    }
    let described: BTreeSet<String> = operations().into_iter().map(|(path, ..)| path).collect();
    assert_eq!(described, expected);
}

#[tokio::test]
async fn every_method_is_described_and_answers() {
    let mut server = Server::offline().await;
    let metrics = server.serve_metrics().await;
    let id = server.begin("Plan a trip to Kyoto").await;
    let mut methods: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, method, _) in operations() {
        let url = match &*path {
            "/metrics" => &metrics,
            _ => &server.url,
        };
        let address = format!("{url}{}", filled(&path, &id));
        let request = client()
            .request(method.parse().unwrap(), &address)
            .header("content-type", "application/json");
        let request = match method.as_str() {
            "GET" | "DELETE" => request,
            _ => request.body("{}"),
        };
        let response = within(request.send()).await.unwrap();
        let status = response.status().as_u16();
        assert_ne!(status, 405, "{method} {path}");
        if status == 404 {
            let answer = within(response.text()).await.unwrap();
            assert!(!answer.contains("path not found"), "{method} {path}");
        }
        // What the router has at this path.
        let request = client().request("REPORT".parse().unwrap(), &address);
        let response = within(request.send()).await.unwrap();
        assert_eq!(response.status(), 405, "{path}");
        let allowed = response.headers()["allow"].to_str().unwrap().split(',');
        let allowed = allowed.map(|method| method.trim().to_owned());
        let served = allowed.filter(|method| method != "HEAD").collect();
        methods.insert(path, served);
    }
    let mut described: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, method, _) in operations() {
        described.entry(path).or_default().insert(method);
    }
    assert_eq!(described, methods);
    server.stop().await;
}

#[tokio::test]
async fn every_scope_is_the_one_that_the_route_asks_for() {
    let model = ModelServer::start().await;
    let server = Server::guarded(&model).await;
    for (path, method, operation) in operations() {
        if path == "/metrics" {
            continue;
        }
        let send = async |token: Option<String>| {
            let request = client()
                .request(
                    method.parse().unwrap(),
                    format!("{}{}", server.url, filled(&path, "unknown")),
                )
                .header("content-type", "application/json")
                .body("{}");
            let request = match token {
                Some(token) => request.bearer_auth(token),
                None => request,
            };
            let response = within(request.send()).await.unwrap();
            let status = response.status().as_u16();
            if status == 200 && path == "/api/v1/conversations/changes" {
                // It has no end.
                return (status, String::new());
            }
            (status, within(response.text()).await.unwrap())
        };
        let (status, _) = send(None).await;
        let Some(needed) = operation["security"][0]["bearer"].as_array() else {
            assert_eq!(operation["security"], json!([]), "{method} {path}");
            assert_eq!(status, 200, "{method} {path}");
            continue;
        };
        assert_eq!(status, 401, "{method} {path}");
        // In GraphQL, a scope belongs to a field.
        let Some(needed) = needed.first() else {
            assert_eq!(path, "/graphql");
            continue;
        };
        let others: Vec<&str> = SCOPES.into_iter().filter(|scope| scope != needed).collect();
        let claims = claims("acme", "ada");
        let (status, text) = send(Some(signed(&with(
            claims.clone(),
            "scope",
            others.join(" ").into(),
        ))))
        .await;
        assert_eq!(status, 403, "{method} {path}: {text}");
        assert!(text.contains(needed.as_str().unwrap()), "{text}");
        let (status, text) = send(Some(signed(&with(claims, "scope", needed.clone())))).await;
        assert_ne!(status, 403, "{method} {path}: {text}");
    }
    server.stop().await;
}

/// A value of another type than the schema has, if it has one besides null.
fn wrong(schema: &Value) -> Option<Value> {
    let kinds = match &schema["type"] {
        Value::String(kind) => vec![kind.as_str()],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    let kind = kinds.into_iter().find(|kind| *kind != "null")?;
    Some(match kind {
        "string" => json!(7),
        "integer" => json!("seven"),
        "boolean" | "object" | "array" => json!("text"),
        _ => return None,
    })
}

#[tokio::test]
async fn every_described_field_of_a_body_is_read() {
    let server = Server::offline().await;
    let id = server.begin("Plan a trip to Kyoto").await;
    let document = document();
    let mut read = 0;
    for (path, method, operation) in operations() {
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        // The wires of front ends and GraphQL name a place in the body instead of a field.
        if schema.is_null() || path == "/graphql" || path.contains("/ui/") || path.ends_with("agui")
        {
            continue;
        }
        let schema = resolved(&document, schema);
        // One, or a list of them.
        let schema = match schema["oneOf"].as_array() {
            Some(either) => resolved(&document, &either[0]),
            None => schema,
        };
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, property) in schema["properties"].as_object().unwrap() {
            let property = match property["oneOf"].as_array() {
                Some(either) => resolved(&document, either.last().unwrap()),
                None => resolved(&document, property),
            };
            // Files that cannot be read are left out there.
            let is_lenient = path.starts_with("/api/v1/chat") && name == "attachments";
            let Some(wrong) = wrong(property).filter(|_| !is_lenient) else {
                continue;
            };
            let mut body = json!({});
            for other in &required {
                let other = other.as_str().unwrap();
                body[other] = match other {
                    "role" => "user".into(),
                    "offset" => 0.into(),
                    _ => "text".into(),
                };
            }
            body[name] = wrong;
            let path = filled(&path, &id);
            let (status, answer) = server.send(&method, &path, body).await;
            let message = answer["message"].as_str().unwrap_or_default();
            assert!(
                status == 422 && message.contains(name.as_str()),
                "{method} {path} takes a wrong {name}: {status} {answer}"
            );
            read += 1;
        }
    }
    assert!(read > 20, "{read}");
    server.stop().await;
}

#[test]
fn every_error_code_and_every_reference_exists() {
    let document = document();
    let codes: BTreeSet<&str> =
        document["components"]["schemas"]["Error"]["properties"]["code"]["enum"]
            .as_array()
            .unwrap()
            .iter()
            .map(|code| code.as_str().unwrap())
            .collect();
    assert!(codes.iter().all(|code| code.parse::<ErrorCode>().is_ok()));
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    // A misspelt code of an operation would be INTERNAL.
    for (path, method, operation) in operations() {
        for code in operation["x-error-codes"].as_array().into_iter().flatten() {
            assert!(codes.contains(code.as_str().unwrap()), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn the_document_is_open_and_there_without_the_pages() {
    let model = ModelServer::start().await;
    let settings: Vec<&str> = titlecast_testing::auth::GUARDED
        .into_iter()
        .chain(["--pages", "false"])
        .collect();
    let server = Server::start_with(&model, &settings).await;
    let response = within(client().get(format!("{}/openapi.json", server.url)).send()).await;
    let response = response.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
    let text = within(response.text()).await.unwrap();
    assert_eq!(text, include_str!("../../openapi.json"));
    server.stop().await;
}

/// Where a value is not as its schema says. Fields that the schema lacks count as well.
pub(super) fn faults(
    document: &Value,
    schema: &Value,
    value: &Value,
    at: &str,
    found: &mut Vec<String>,
) {
    let schema = resolved(document, schema);
    if let Some(either) = schema["oneOf"].as_array() {
        let fits = either.iter().any(|schema| {
            let mut faults_of_one = Vec::new();
            faults(document, schema, value, at, &mut faults_of_one);
            faults_of_one.is_empty()
        });
        if !fits {
            found.push(format!("{at} fits none: {value}"));
        }
        return;
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let takes = |name: &str| {
        schema["type"] == *name
            || schema["type"]
                .as_array()
                .is_some_and(|kinds| kinds.contains(&name.into()))
    };
    let has_type = !schema["type"].is_null() && schema["allOf"].is_null();
    let is_typed = takes(kind) || kind == "integer" && takes("number");
    if has_type && !is_typed {
        found.push(format!("{at} is of another type: {value}"));
        return;
    }
    if let Some(values) = schema["enum"].as_array()
        && !values.contains(value)
    {
        found.push(format!("{at} is none of its values: {value}"));
    }
    match value {
        Value::Array(items) => {
            for item in items {
                faults(document, &schema["items"], item, &format!("{at}[]"), found);
            }
        }
        Value::Object(fields) => {
            let all = schema["allOf"].as_array().cloned();
            let parts = all.unwrap_or_else(|| vec![schema.clone()]);
            let mut known = BTreeMap::new();
            for part in &parts {
                let part = resolved(document, part);
                for name in part["required"].as_array().into_iter().flatten() {
                    if !fields.contains_key(name.as_str().unwrap()) {
                        found.push(format!("{at} lacks {name}"));
                    }
                }
                let properties = part["properties"].as_object();
                known.extend(properties.into_iter().flatten());
            }
            let is_open = known.is_empty() || !schema["additionalProperties"].is_null();
            for (name, value) in fields {
                match known.get(name) {
                    Some(schema) => faults(document, schema, value, &format!("{at}.{name}"), found),
                    None if is_open => {}
                    None => found.push(format!("{at}.{name} is not described")),
                }
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn answers_are_as_described() {
    let server = Server::offline().await;
    let document = document();
    let mut checked = BTreeSet::new();
    let mut ask = async |operation_id: &str, path: &str, body: Value| {
        let operations = operations();
        let mut all = operations.iter();
        let found = all.find(|(.., operation)| operation["operationId"] == operation_id);
        let (_, method, operation) = found.unwrap_or_else(|| panic!("no {operation_id}"));
        let (status, answer) = match body.is_null() {
            true => titlecast_testing::server::request(&server.url, method, path, None).await,
            false => server.send(method, path, body).await,
        };
        let response = resolved(&document, &operation["responses"][status.to_string()]);
        assert!(
            !response.is_null(),
            "{operation_id}: {status} is not described: {answer}"
        );
        let mut found = Vec::new();
        let schema = &response["content"]["application/json"]["schema"];
        match schema.is_null() {
            true => assert_eq!(answer, Value::Null, "{operation_id}"),
            false => faults(&document, schema, &answer, operation_id, &mut found),
        }
        assert_eq!(found, Vec::<String>::new(), "{answer}");
        checked.insert(operation_id.to_owned());
        answer
    };
    let message = json!({
        "message": "Plan a trip to Kyoto", "conversation_id": "trip",
        "attachments": [{ "filename": "map.pdf", "mime_type": "application/pdf" }],
    });
    let turn = ask("chat", "/api/v1/chat", message).await;
    let id = turn["conversation_id"].as_str().unwrap().to_owned();
    let at = |rest: &str| format!("/api/v1/conversations/{id}{rest}");
    let record = json!({ "role": "user", "content": "And Osaka?", "external_id": "m-1" });
    ask("recordMessages", &at("/messages"), json!([record])).await;
    ask("recordMessages", &at("/messages"), record).await;
    let open = ask("createReply", &at("/replies"), json!({ "reply_id": REPLY })).await;
    assert_eq!(open["reply_id"], REPLY);
    let parts = json!([{ "type": "tool", "id": "c1", "name": "maps", "result": { "km": 40 } }]);
    let step = |name: &str| at(&format!("/replies/{REPLY}{name}"));
    let more = json!({ "offset": 0, "text": "Close by.", "parts": parts });
    ask("appendReply", &step("/append"), more).await;
    let gap = json!({ "offset": 99, "text": "?" });
    ask("appendReply", &step("/append"), gap).await;
    ask(
        "finishReply",
        &step("/finish"),
        json!({ "usage": { "prompt_tokens": 3 } }),
    )
    .await;
    ask("getReply", &step(""), Value::Null).await;
    ask("listConversations", "/api/v1/conversations", Value::Null).await;
    ask(
        "searchConversations",
        "/api/v1/conversations/search?q=kyoto",
        Value::Null,
    )
    .await;
    ask(
        "searchConversations",
        "/api/v1/conversations/search",
        Value::Null,
    )
    .await;
    ask(
        "renameConversation",
        &at("/title"),
        json!({ "display_name": "Kyoto" }),
    )
    .await;
    ask("getConversation", &at(""), Value::Null).await;
    ask("listMessages", &at("/messages?limit=1"), Value::Null).await;
    ask("listMessages", &at("/messages?cursor=none"), Value::Null).await;
    ask("listEvents", &at("/events"), Value::Null).await;
    ask("listLedger", &at("/ledger/events"), Value::Null).await;
    ask("uiStop", "/api/v1/ui/chat/trip/stop", Value::Null).await;
    ask("graphql", "/graphql", json!({ "query": "{ nothing }" })).await;
    ask("graphql", "/graphql", json!({ "query": "{ __typename }" })).await;
    ask("alive", "/healthz", Value::Null).await;
    ask("ready", "/readyz", Value::Null).await;
    ask("openapi", "/openapi.json", Value::Null).await;
    ask("deleteConversation", &at(""), Value::Null).await;
    ask("getConversation", &at(""), Value::Null).await;
    ask("eraseMe", "/api/v1/me", Value::Null).await;
    // The others answer with streams or text.
    let expected = operations().into_iter().filter_map(|(.., operation)| {
        let is_json = operation["responses"]["200"]["content"]["application/json"].is_object();
        let id = operation["operationId"].as_str().unwrap();
        (is_json && id != "graphqlQuery").then(|| id.to_owned())
    });
    let missing: Vec<String> = expected.filter(|id| !checked.contains(id)).collect();
    assert_eq!(missing, Vec::<String>::new());
    server.stop().await;
}
