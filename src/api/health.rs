//! Whether the service lives, and whether it can do its work.

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

/// What health pages and gauges are made of.
#[derive(Clone)]
pub struct Health {
    /// How the database stands.
    pub db: Database,
    /// Which models answer.
    pub model: Arc<dyn LanguageModel>,
    /// How the title model stands.
    pub titles: Titles,
    /// Whether other nodes are connected.
    pub events: EventBroker,
    /// Whether tokens can be verified.
    pub access: Access,
    /// How the background loops stand.
    pub loops: Supervisor,
    /// Cancelled from the signal to stop on.
    pub leaving: CancellationToken,
}

/// 200 while the process works; 503 and the names of the loops when a background loop is stuck, which only a restart of
/// the process mends. Never asks the database, whose absence a restart does not mend.
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

/// A part of the service: what it is called, the word for how it stands, and what that means.
struct Part {
    name: &'static str,
    word: String,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Good,
    /// The service does its work, and something is missing or late.
    Degraded,
    /// It does not.
    Broken,
}

/// How the service stands.
pub(super) struct Report {
    parts: Vec<Part>,
    is_leaving: bool,
    /// What the database answered.
    pub(super) database: DatabaseState,
}

impl Report {
    pub(super) fn is_ready(&self) -> bool {
        !self.is_leaving && self.with(Standing::Broken).is_empty()
    }

    fn with(&self, standing: Standing) -> Vec<&'static str> {
        let parts = self.parts.iter().filter(|part| part.standing == standing);
        parts.map(|part| part.name).collect()
    }
}

/// 503 while the database does not answer or refuses writes, while no token can be verified, while a background loop is
/// stuck, and from the signal to stop on. Says how each part stands, and names under `degraded` those whose absence
/// keeps the service from nothing essential. Answers within a second.
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
    let mut page = json!({ "status": status, "degraded": report.with(Standing::Degraded) });
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
    /// How the service stands. Answers within a second.
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

    /// `ok`, or the names of those that are not: `stuck: relay; late: erasure, title_sweep; failing: dead_replies`.
    fn loops(&self) -> Part {
        let mut words = Vec::new();
        let mut standing = Standing::Good;
        for (state, word, means) in [
            (LoopState::Stuck, "stuck", Standing::Broken),
            (LoopState::Late, "late", Standing::Degraded),
            (LoopState::Failing, "failing", Standing::Degraded),
        ] {
            let names = self.loops_that_are(state);
            if !names.is_empty() {
                words.push(format!("{word}: {}", names.join(", ")));
                standing = standing.max(means);
            }
        }
        let word = match words.is_empty() {
            true => "ok".to_owned(),
            false => words.join("; "),
        };
        Part {
            name: "loops",
            word,
            standing,
        }
    }

    /// Titles are no condition: a service without them still answers.
    fn title_model(&self) -> Part {
        let state = self.titles.model_state();
        Part {
            name: "title_model",
            word: state.as_str().to_owned(),
            standing: match state {
                ModelState::Unknown | ModelState::Answers => Standing::Good,
                _ => Standing::Degraded,
            },
        }
    }

    /// Where keys are published: without a key no token can be verified.
    fn token_keys(&self) -> Option<Part> {
        let Access::Tokens(tokens) = &self.access else {
            return None;
        };
        let state = tokens.key_state()?;
        Some(Part {
            name: "token_keys",
            word: <&str>::from(state).to_owned(),
            standing: match state {
                KeyState::Ok => Standing::Good,
                KeyState::Stale => Standing::Degraded,
                KeyState::Expired => Standing::Broken,
            },
        })
    }

    /// Where there are several nodes: changes on the others are then seen late.
    fn nats(&self) -> Option<Part> {
        let (word, standing) = match self.events.relay()?.is_connected() {
            true => ("ok", Standing::Good),
            false => ("degraded", Standing::Degraded),
        };
        Some(Part {
            name: "nats",
            word: word.to_owned(),
            standing,
        })
    }
}

fn database_part(state: DatabaseState) -> Part {
    Part {
        name: "database",
        word: <&str>::from(state).to_owned(),
        standing: match state {
            DatabaseState::Ok => Standing::Good,
            DatabaseState::Unavailable
            | DatabaseState::RefusesWrites
            | DatabaseState::FileReplaced => Standing::Broken,
        },
    }
}
