//! The gate in front of a schema on plain `axum::serve`, with GraphQL over HTTP written by hand. The only argument is
//! the address to listen on; the default is 127.0.0.1:8000.

use std::{collections::HashMap, env::args, error::Error};

use async_graphql::{
    EmptyMutation, EmptySubscription, Object, Request, Response, Schema,
    parser::types::OperationType,
};
use axum::{
    Router,
    body::Bytes,
    extract::{Query, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use graphql_gate::{Limits, admit};
use serde_json::{Value, json};
use tokio::net::TcpListener;

struct Hello;

#[Object]
impl Hello {
    async fn hello(&self) -> &str {
        "Hello, world"
    }
}

type HelloSchema = Schema<Hello, EmptyMutation, EmptySubscription>;

async fn graphql(
    State(schema): State<HelloSchema>,
    method: Method,
    headers: HeaderMap,
    Query(parameters): Query<HashMap<String, String>>,
    body: Bytes,
) -> impl IntoResponse {
    let has = |name, value: &str| {
        let header = headers.get(name).and_then(|header| header.to_str().ok());
        header.is_some_and(|header| header.contains(value))
    };
    let request = match method {
        Method::GET => by_get(&parameters),
        _ if has(header::CONTENT_TYPE, "application/json") => serde_json::from_slice(&body).ok(),
        _ => None,
    };
    let media = match has(header::ACCEPT, "application/graphql-response+json") {
        true => "application/graphql-response+json; charset=utf-8",
        false => "application/json; charset=utf-8",
    };
    let (status, body) = match request.and_then(well_formed) {
        Some(request) => execute(&schema, request, method == Method::GET).await,
        None => (
            StatusCode::BAD_REQUEST,
            json!({ "errors": [{ "message": "malformed" }] }),
        ),
    };
    // With application/json, a well-formed request that is refused still gets status 200.
    let status = match status {
        StatusCode::UNPROCESSABLE_ENTITY if media.starts_with("application/json") => StatusCode::OK,
        StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
        other => other,
    };
    (status, [(header::CONTENT_TYPE, media)], body.to_string())
}

fn by_get(parameters: &HashMap<String, String>) -> Option<Value> {
    let fields = parameters.iter().map(|(name, value)| {
        let value = match name.as_str() {
            "variables" | "extensions" => serde_json::from_str(value).ok()?,
            _ => Value::from(value.as_str()),
        };
        Some((name.clone(), value))
    });
    fields.collect()
}

fn well_formed(body: Value) -> Option<Request> {
    let is_map = |name| body[name].is_object() || body[name].is_null();
    let is_valid = body["query"].is_string() && is_map("variables") && is_map("extensions");
    serde_json::from_value(body).ok().filter(|_| is_valid)
}

async fn execute(schema: &HelloSchema, mut request: Request, by_get: bool) -> (StatusCode, Value) {
    let response = match admit(&mut request, &Limits::default()) {
        Ok(admitted) if by_get && admitted.kind == OperationType::Mutation => {
            return (StatusCode::METHOD_NOT_ALLOWED, Value::Null);
        }
        Ok(_) => schema.execute(request).await,
        Err(refusal) => Response::from_errors(vec![refusal.to_error()]),
    };
    match response.data == async_graphql::Value::Null {
        true => (
            StatusCode::UNPROCESSABLE_ENTITY,
            json!({ "errors": response.errors }),
        ),
        false => (StatusCode::OK, json!(response)),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let schema = HelloSchema::new(Hello, EmptyMutation, EmptySubscription);
    let app = Router::new()
        .route("/graphql", get(graphql).post(graphql))
        .with_state(schema);
    let address = args().nth(1).unwrap_or("127.0.0.1:8000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("http://{}/graphql", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
