//! Whether the service lives, and whether it can do its work.

use std::sync::Arc;

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use serde_json::{Value, json};

use super::Services;
use crate::{
    auth::{Access, KeyState},
    titles::ModelState,
};

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

/// A part of the service: what it is called, the word for how it stands, and what that means.
struct Part {
    name: &'static str,
    word: &'static str,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Good,
    /// The service does its work, and something is missing or late.
    Degraded,
    /// It does not.
    Broken,
}

/// 503 while the database does not answer or refuses writes, while nobody can be let in, and from the signal to
/// stop on. Tells how each part stands, and names under `degraded` those that keep the service from nothing
/// essential: titles, other nodes, keys that are old.
async fn ready(State(services): State<Arc<Services>>) -> (StatusCode, Json<Value>) {
    let mut parts = vec![database(&services).await, title_model(&services)];
    parts.extend(token_keys(&services));
    parts.extend(nats(&services));
    let with = |standing| {
        let parts = parts.iter().filter(move |part| part.standing == standing);
        parts.map(|part| part.name).collect::<Vec<_>>()
    };
    let is_leaving = services.leaving.is_cancelled();
    let is_ready = with(Standing::Broken).is_empty() && !is_leaving;
    let status = if is_leaving {
        "shutting_down"
    } else if is_ready {
        "ready"
    } else {
        "not_ready"
    };
    let mut told = json!({ "status": status, "degraded": with(Standing::Degraded) });
    for part in &parts {
        told[part.name] = part.word.into();
    }
    let code = match is_ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, Json(told))
}

async fn database(services: &Services) -> Part {
    let (word, standing) = match services.db.ping().await {
        Err(error) => {
            error.log();
            ("unavailable", Standing::Broken)
        }
        Ok(()) if !services.db.takes_writes().await => ("refuses_writes", Standing::Broken),
        Ok(()) => ("ok", Standing::Good),
    };
    Part {
        name: "database",
        word,
        standing,
    }
}

/// Titles are no condition: a service without them still answers.
fn title_model(services: &Services) -> Part {
    let state = services.titles.model_state();
    Part {
        name: "title_model",
        word: state.as_str(),
        standing: match state {
            ModelState::Unknown | ModelState::Answers => Standing::Good,
            ModelState::Fails(_) | ModelState::Malformed | ModelState::Useless => {
                Standing::Degraded
            }
        },
    }
}

/// Where keys are published. Without any nobody can be let in.
fn token_keys(services: &Services) -> Option<Part> {
    let Access::Tokens(tokens) = &services.access else {
        return None;
    };
    let state = tokens.key_state()?;
    Some(Part {
        name: "token_keys",
        word: state.into(),
        standing: match state {
            KeyState::Ok => Standing::Good,
            KeyState::Stale => Standing::Degraded,
            KeyState::Expired => Standing::Broken,
        },
    })
}

/// Where there are several nodes. What the others do is seen without it too, only later.
fn nats(services: &Services) -> Option<Part> {
    let is_connected = services.events.relay()?.is_connected();
    let (word, standing) = match is_connected {
        true => ("ok", Standing::Good),
        false => ("degraded", Standing::Degraded),
    };
    Some(Part {
        name: "nats",
        word,
        standing,
    })
}
