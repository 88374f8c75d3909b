//! Whether the service lives, and whether it can do its work.

use std::sync::Arc;

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use serde_json::{Value, json};

use super::Services;
use crate::auth::{Access, KeyState};

pub(super) fn routes() -> Router<Arc<Services>> {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
}

/// Answers as long as the process does, and says what it runs on.
async fn alive(State(services): State<Arc<Services>>) -> Json<Value> {
    Json(json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "database": services.db.kind(),
        "chat_model": services.model.chat_model(),
        "title_model": services.model.title_model(),
    }))
}

/// 503 while the database does not answer or the server is going away. Tells besides whether the title
/// model answered the last time it was asked, how the keys of tokens stand where they are published, and,
/// of several nodes, whether this one hears the others.
async fn ready(State(services): State<Arc<Services>>) -> (StatusCode, Json<Value>) {
    let database = match services.db.ping().await {
        Ok(()) => "ok",
        Err(error) => {
            error.log();
            "unavailable"
        }
    };
    let is_closing = services.closing.is_cancelled();
    // Without keys nobody can be let in.
    let keys = match &services.access {
        Access::Open(_) => None,
        Access::Tokens(tokens) => tokens.key_state(),
    };
    let is_ready = database == "ok" && !is_closing && keys != Some(KeyState::Expired);
    let status = match is_ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let state = if is_closing {
        "shutting_down"
    } else if is_ready {
        "ready"
    } else {
        "not_ready"
    };
    // Titles are no condition: a service without them still answers.
    let title_model = services.titles.model_state().as_str();
    let mut told = json!({ "status": state, "database": database, "title_model": title_model });
    if let Some(keys) = keys {
        told["token_keys"] = <&str>::from(keys).into();
    }
    // Nor are the other nodes: what they do is seen, only later.
    if let Some(relay) = services.events.relay() {
        told["nats"] = match relay.is_connected() {
            true => "ok".into(),
            false => "degraded".into(),
        };
    }
    (status, Json(told))
}
