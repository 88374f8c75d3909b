//! Health endpoints: `/healthz` (liveness) and `/readyz` (readiness).

use std::sync::Arc;

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Services;
use crate::{
    auth::{Access, KeyState},
    db::{Database, DatabaseState},
    events::EventBroker,
    llm::LanguageModel,
    supervisor::{LoopState, Supervisor},
    titles::{ModelState, Titles},
};

pub(super) fn routes() -> Router<Arc<Services>> {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
}

/// The sources of the health endpoints and gauges.
#[derive(Clone)]
pub struct Health {
    /// The state of the database.
    pub db: Database,
    /// The names of the models.
    pub model: Arc<dyn LanguageModel>,
    /// The state of the title model.
    pub titles: Titles,
    /// The state of the relay.
    pub events: EventBroker,
    /// Whether tokens can be verified.
    pub access: Access,
    /// The state of the background loops.
    pub loops: Supervisor,
    /// Cancelled when shutdown begins.
    pub leaving: CancellationToken,
}

/// Liveness: 503 with the names of the loops if a background loop is stuck, which only a restart fixes; else 200. Does
/// not query the database, because a restart does not fix an outage.
async fn alive(State(services): State<Arc<Services>>) -> (StatusCode, Json<Value>) {
    let Health { db, model, .. } = &services.health;
    let stuck = services.health.loops_that_are(LoopState::Stuck);
    let (code, status) = match stuck.is_empty() {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "stuck"),
    };
    let mut page = json!({
        "status": status,
        "version": env!("CARGO_PKG_VERSION"),
        "database": db.kind(),
        "chat_model": model.chat_model(),
        "title_model": model.title_model(),
    });
    if !stuck.is_empty() {
        page["stuck"] = stuck.into();
    }
    (code, Json(page))
}

/// The state of one part of the service: its name, the word on the page, and the severity.
struct Part {
    name: &'static str,
    word: String,
    status: PartStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PartStatus {
    Ok,
    /// The service works, but a feature is unavailable or late.
    Degraded,
    /// The service does not work.
    Unavailable,
}

/// The states of all parts.
pub(super) struct Report {
    parts: Vec<Part>,
    is_leaving: bool,
    /// The state of the database.
    pub(super) database: DatabaseState,
}

impl Report {
    pub(super) fn is_ready(&self) -> bool {
        !self.is_leaving && self.with(PartStatus::Unavailable).is_empty()
    }

    fn with(&self, status: PartStatus) -> Vec<&'static str> {
        let parts = self.parts.iter().filter(|part| part.status == status);
        parts.map(|part| part.name).collect()
    }
}

/// Readiness: 503 if the database is unavailable or read-only, no token can be verified, a background loop is stuck, or
/// shutdown has begun; else 200. The page has the state of each part, and lists degraded parts under `degraded`.
/// Answers within one second.
async fn ready(State(services): State<Arc<Services>>) -> (StatusCode, Json<Value>) {
    let report = services.health.report().await;
    let is_ready = report.is_ready();
    let status = if report.is_leaving {
        "shutting_down"
    } else if is_ready {
        "ready"
    } else {
        "not_ready"
    };
    let mut page = json!({ "status": status, "degraded": report.with(PartStatus::Degraded) });
    for part in &report.parts {
        page[part.name] = part.word.as_str().into();
    }
    let code = match is_ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, Json(page))
}

impl Health {
    /// Collects the states of all parts, within one second.
    pub(super) async fn report(&self) -> Report {
        let database = self.db.state().await;
        let mut parts = vec![database_part(database), self.title_model(), self.loops()];
        parts.extend(self.token_keys());
        parts.extend(self.nats());
        Report {
            parts,
            is_leaving: self.leaving.is_cancelled(),
            database,
        }
    }

    fn loops_that_are(&self, state: LoopState) -> Vec<&'static str> {
        let report = self.loops.report().into_iter();
        report
            .filter(|one| one.state == state)
            .map(|one| one.kind.name())
            .collect()
    }

    /// `ok`, or the loops that are not, by state: `stuck: relay; late: erasure, title_sweep; failing: dead_replies`.
    fn loops(&self) -> Part {
        let mut words = Vec::new();
        let mut status = PartStatus::Ok;
        for (state, word, means) in [
            (LoopState::Stuck, "stuck", PartStatus::Unavailable),
            (LoopState::Late, "late", PartStatus::Degraded),
            (LoopState::Failing, "failing", PartStatus::Degraded),
        ] {
            let names = self.loops_that_are(state);
            if !names.is_empty() {
                words.push(format!("{word}: {}", names.join(", ")));
                status = status.max(means);
            }
        }
        let word = match words.is_empty() {
            true => "ok".to_owned(),
            false => words.join("; "),
        };
        Part {
            name: "loops",
            word,
            status,
        }
    }

    /// Never unavailable: the service works without titles.
    fn title_model(&self) -> Part {
        let state = self.titles.model_state();
        Part {
            name: "title_model",
            word: state.as_str().to_owned(),
            status: match state {
                ModelState::Unknown | ModelState::Answers => PartStatus::Ok,
                _ => PartStatus::Degraded,
            },
        }
    }

    /// Only with published keys. Without a valid key, no token can be verified.
    fn token_keys(&self) -> Option<Part> {
        let Access::Tokens(tokens) = &self.access else {
            return None;
        };
        let state = tokens.key_state()?;
        Some(Part {
            name: "token_keys",
            word: <&str>::from(state).to_owned(),
            status: match state {
                KeyState::Ok => PartStatus::Ok,
                KeyState::Stale => PartStatus::Degraded,
                KeyState::Expired => PartStatus::Unavailable,
            },
        })
    }

    /// Only with several nodes. While disconnected, changes of other nodes arrive late.
    fn nats(&self) -> Option<Part> {
        let (word, status) = match self.events.relay()?.is_connected() {
            true => ("ok", PartStatus::Ok),
            false => ("degraded", PartStatus::Degraded),
        };
        Some(Part {
            name: "nats",
            word: word.to_owned(),
            status,
        })
    }
}

fn database_part(state: DatabaseState) -> Part {
    Part {
        name: "database",
        word: <&str>::from(state).to_owned(),
        status: match state {
            DatabaseState::Ok => PartStatus::Ok,
            DatabaseState::Unavailable
            | DatabaseState::RefusesWrites
            | DatabaseState::FileReplaced => PartStatus::Unavailable,
        },
    }
}
