//! Adds to each operation what its path, scope and body imply: path parameters, the headers for services, and errors.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use strum::VariantArray;

use crate::{
    api::{GRAPHQL_PATH, rest::status},
    error::ErrorCode,
};

/// The extension in which a handler lists errors of its own.
const OWN_CODES: &str = "x-error-codes";

/// The scope whose operations may act on behalf of other users.
const INGEST: &str = "conversations:ingest";

/// The format of an error body.
#[derive(Clone, Copy)]
enum ErrorFormat {
    Json,
    Text,
    Graphql,
}

impl ErrorFormat {
    fn of(path: &str) -> Self {
        let is_front_end = ["/api/v1/ui/", "/api/v1/agui"]
            .iter()
            .any(|prefix| path.starts_with(prefix));
        match path {
            GRAPHQL_PATH => Self::Graphql,
            _ if is_front_end => Self::Text,
            _ => Self::Json,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Json => "",
            Self::Text => ".text",
            Self::Graphql => ".graphql",
        }
    }

    fn content(self) -> Value {
        let schema =
            |name: &str| json!({ "schema": { "$ref": format!("#/components/schemas/{name}") } });
        match self {
            Self::Json => json!({ "application/json": schema("Error") }),
            Self::Text => {
                json!({ "text/plain; charset=utf-8": { "schema": { "type": "string" } } })
            }
            Self::Graphql => json!({
                "application/json": schema("GraphqlAnswer"),
                "application/graphql-response+json": schema("GraphqlAnswer"),
            }),
        }
    }
}

/// The document with everything added that its operations imply.
pub(super) fn completed(mut document: Value) -> Value {
    let mut errors = Map::new();
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (path, operations) in paths {
        for operation in operations.as_object_mut().into_iter().flatten() {
            complete(path, operation.1, &mut errors);
        }
    }
    if let Some(info) = document["info"].as_object_mut() {
        // utoipa writes an empty license, because the project has not chosen one yet.
        info.remove("license");
    }
    let components = &mut document["components"];
    components["responses"] = errors.into();
    components["parameters"] = parameters();
    components["securitySchemes"] = json!({ "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A token with the scopes of the operation (docs/auth.md). Pages may use the cookie that \
            `--auth-cookie` names.",
    } });
    let codes: Vec<&str> = ErrorCode::VARIANTS
        .iter()
        .map(|code| code.as_str())
        .collect();
    components["schemas"]["Error"]["properties"]["code"]["enum"] = json!(codes);
    document
}

fn complete(path: &str, operation: &mut Value, errors: &mut Map<String, Value>) {
    let scopes = operation["security"][0]["bearer"].as_array().cloned();
    let mut references = Vec::new();
    for name in ["id", "reply_id"] {
        if path.contains(&format!("{{{name}}}")) {
            references.push(name);
        }
    }
    let is_ingest = scopes
        .as_ref()
        .is_some_and(|scopes| scopes.contains(&INGEST.into()));
    if is_ingest || path == GRAPHQL_PATH {
        references.extend(["Titlecast-On-Behalf-Of", "Titlecast-Tenant"]);
    }
    let mut all: Vec<Value> = references
        .iter()
        .map(|name| json!({ "$ref": format!("#/components/parameters/{name}") }))
        .collect();
    all.extend(
        operation["parameters"]
            .as_array()
            .cloned()
            .unwrap_or_default(),
    );
    let codes = codes(path, operation, scopes.is_some(), &all);
    let Some(operation) = operation.as_object_mut() else {
        return;
    };
    if !all.is_empty() {
        operation.insert("parameters".into(), all.into());
    }
    if scopes.is_none() {
        // An empty list means that no token is needed; an absent one would leave that open.
        operation.insert("security".into(), json!([]));
    }
    let format = ErrorFormat::of(path);
    let mut by_status: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for code in ErrorCode::VARIANTS
        .iter()
        .filter(|code| codes.contains(code.as_str()))
    {
        by_status
            .entry(status(*code).as_u16())
            .or_default()
            .push(code.as_str());
    }
    for (status, codes) in by_status {
        let name = format!("{}{}", codes.join("."), format.suffix());
        let reference = json!({ "$ref": format!("#/components/responses/{name}") });
        let responses = operation
            .get_mut("responses")
            .and_then(Value::as_object_mut);
        let Some(responses) = responses else { continue };
        // If the operation describes this status itself, keep its description.
        responses.entry(status.to_string()).or_insert(reference);
        errors
            .entry(name)
            .or_insert_with(|| response(status, &codes, format));
    }
}

/// The codes of the errors that an operation can return.
fn codes(
    path: &str,
    operation: &Value,
    has_scopes: bool,
    parameters: &[Value],
) -> BTreeSet<&'static str> {
    let mut codes = BTreeSet::from(
        [
            ErrorCode::InvalidHost,
            ErrorCode::ForbiddenHost,
            ErrorCode::ForbiddenOrigin,
            ErrorCode::RateLimited,
            ErrorCode::Overloaded,
            ErrorCode::Internal,
        ]
        .map(ErrorCode::as_str),
    );
    let mut add = |more: &[ErrorCode]| codes.extend(more.iter().map(|code| code.as_str()));
    let has_body = !operation["requestBody"].is_null();
    if has_scopes {
        add(&[
            ErrorCode::Unauthenticated,
            ErrorCode::AuthExpired,
            ErrorCode::Forbidden,
            ErrorCode::DatabaseUnavailable,
            ErrorCode::ShuttingDown,
        ]);
        if !has_body {
            add(&[ErrorCode::Timeout]);
        }
    }
    if has_body {
        add(&[
            ErrorCode::InvalidJson,
            ErrorCode::UnsupportedMediaType,
            ErrorCode::PayloadTooLarge,
            ErrorCode::RequestTimeout,
        ]);
    }
    if path != GRAPHQL_PATH && (has_body || !parameters.is_empty()) {
        add(&[ErrorCode::InvalidInput]);
    }
    if parameters
        .iter()
        .any(|parameter| parameter["name"] == "cursor")
    {
        add(&[ErrorCode::InvalidCursor]);
    }
    // Operations that return 204 do so for a missing resource too.
    if path.contains("{id}") && operation["responses"]["204"].is_null() {
        add(&[ErrorCode::NotFound]);
    }
    let own = operation[OWN_CODES].as_array().into_iter().flatten();
    add(&own
        .filter_map(Value::as_str)
        .map(ErrorCode::named)
        .collect::<Vec<_>>());
    codes
}

fn response(status: u16, codes: &[&str], format: ErrorFormat) -> Value {
    let names: Vec<String> = codes.iter().map(|code| format!("`{code}`")).collect();
    let mut response = json!({
        "description": names.join(", "),
        "content": format.content(),
        OWN_CODES: codes,
    });
    match status {
        401 | 403 => {
            response["headers"] = json!({ "WWW-Authenticate": {
                "description": "The challenge of RFC 6750.",
                "schema": { "type": "string" },
            } });
        }
        429 | 503 => {
            response["headers"] = json!({ "Retry-After": {
                "description": "The seconds after which a retry may succeed, if they are known.",
                "schema": { "type": "integer", "minimum": 0 },
            } });
        }
        _ => {}
    }
    response
}

/// The parameters that several operations share.
fn parameters() -> Value {
    let header = |name: &str, description: &str| {
        json!({
            "name": name,
            "in": "header",
            "description": description,
            "schema": { "type": "string" },
        })
    };
    json!({
        "id": {
            "name": "id",
            "in": "path",
            "required": true,
            "description": "The conversation: the server's id (a UUID), or an id of the caller's own system, \
                percent-encoded.",
            "schema": { "type": "string", "minLength": 1, "maxLength": 255 },
        },
        "reply_id": {
            "name": "reply_id",
            "in": "path",
            "required": true,
            "description": "The reply.",
            "schema": { "type": "string", "format": "uuid" },
        },
        "Titlecast-On-Behalf-Of": header(
            "Titlecast-On-Behalf-Of",
            "The user that the service acts for, in percent-encoded UTF-8. Absent: the token's own.",
        ),
        "Titlecast-Tenant": header(
            "Titlecast-Tenant",
            "The user's tenant, in percent-encoded UTF-8. Absent: the token's own.",
        ),
    })
}
