//! Health endpoints: `/healthz` (liveness) and `/readyz` (readiness).

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::Services;
use crate::{
    auth::{Access, KeyState},
    chat::Chat,
    db::{Database, DatabaseState},
    events::EventBroker,
    llm::{Chain, ModelErrorKind, Task},
    supervisor::{LoopState, Supervisor},
    titles::{ChainHealth, ModelState, Titles},
    webhooks::Webhooks,
};

/// How many chains of models `/readyz` names at most.
const MAX_SHOWN: usize = 8;

pub(super) fn routes() -> Router<Arc<Services>> {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
}

/// The parts that the health endpoints and gauges report on.
#[derive(Clone)]
pub struct Health {
    /// The database.
    pub db: Database,
    /// The chains of models that write replies.
    pub chat: Chat,
    /// The chains of models that generate titles.
    pub titles: Titles,
    /// The receivers of webhooks.
    pub webhooks: Webhooks,
    /// The relay between nodes.
    pub events: EventBroker,
    /// The keys that verify tokens.
    pub access: Access,
    /// The background loops.
    pub loops: Supervisor,
    /// Cancelled when shutdown begins.
    pub leaving: CancellationToken,
}

/// The page of `/healthz`.
#[derive(Serialize, ToSchema)]
pub(super) struct Liveness {
    /// `ok` or `stuck`.
    status: &'static str,
    /// The server's version.
    version: &'static str,
    /// `sqlite` or `postgresql`.
    database: &'static str,
    /// The models that write replies.
    chat_model: String,
    /// The models that make titles.
    title_model: String,
    /// The background loops that are stuck.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    stuck: Vec<&'static str>,
}

/// The page of `/readyz`.
#[derive(Serialize, ToSchema)]
pub(super) struct Readiness {
    /// `ready`, `not_ready` or `shutting_down`.
    status: &'static str,
    /// The parts that are degraded.
    degraded: Vec<&'static str>,
    /// The state of each part, such as `database`.
    #[serde(flatten)]
    parts: BTreeMap<&'static str, String>,
}

/// Returns whether the server is alive.
///
/// 503 with the names of the loops if a background loop is stuck, which only a restart fixes; else 200. Does not query
/// the database, because a restart does not fix an outage.
#[utoipa::path(
    get, path = "/healthz", operation_id = "alive", tag = "operations",
    responses(
        (status = 200, description = "It is", body = Liveness),
        (status = 503, description = "It has to be restarted", body = Liveness),
    ),
)]
pub(super) async fn alive(State(services): State<Arc<Services>>) -> (StatusCode, Json<Liveness>) {
    let Health {
        db, chat, titles, ..
    } = &services.health;
    let stuck = services.health.loops_that_are(LoopState::Stuck);
    let (code, status) = match stuck.is_empty() {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "stuck"),
    };
    let page = Liveness {
        status,
        version: env!("CARGO_PKG_VERSION"),
        database: db.kind(),
        chat_model: model_names(chat.agents().chains()),
        title_model: model_names([&titles.chain()]),
        stuck,
    };
    (code, Json(page))
}

/// The state of one part of the service: its name, the word shown for it, and the severity.
struct Part {
    name: &'static str,
    word: String,
    status: PartStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PartStatus {
    Ok,
    /// The service works, but a feature is unavailable or delayed.
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

/// Returns whether the server can serve requests.
///
/// 503 if the database is unavailable or read-only, no token can be verified, a background loop is stuck, or shutdown
/// has begun; else 200. Answers within one second.
#[utoipa::path(
    get, path = "/readyz", operation_id = "ready", tag = "operations",
    responses(
        (status = 200, description = "It can; parts may be degraded", body = Readiness),
        (status = 503, description = "It cannot", body = Readiness),
    ),
)]
pub(super) async fn ready(State(services): State<Arc<Services>>) -> (StatusCode, Json<Readiness>) {
    let report = services.health.report().await;
    let is_ready = report.is_ready();
    let status = if report.is_leaving {
        "shutting_down"
    } else if is_ready {
        "ready"
    } else {
        "not_ready"
    };
    let page = Readiness {
        status,
        degraded: report.with(PartStatus::Degraded),
        parts: report
            .parts
            .into_iter()
            .map(|part| (part.name, part.word))
            .collect(),
    };
    let code = match is_ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, Json(page))
}

impl Health {
    /// Collects the states of all parts within one second.
    pub(super) async fn report(&self) -> Report {
        let database = self.db.state().await;
        let mut parts = vec![
            database_part(database),
            self.chat_model(),
            self.title_model(),
            self.loops(),
        ];
        parts.extend(self.token_keys());
        parts.extend(self.nats());
        parts.extend(self.webhooks());
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

    /// `ok`, or the loops in any other state, grouped by state: `stuck: relay; late: erasure, title_sweep; failing:
    /// dead_replies`.
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

    /// Never unavailable, because stored conversations can be read without a chat model.
    fn chat_model(&self) -> Part {
        let agents = self.chat.agents();
        let is_only = agents.chains().count() == 1;
        let word = |chain: &Chain| match chain.outage(Task::Reply) {
            Some(failure) if is_only => Some(reason(failure).to_owned()),
            Some(failure) => Some(format!("{}: {}", chain.first().name(), reason(failure))),
            None => fallback(chain, Task::Reply),
        };
        model_part("chat_model", joined(agents.chains().filter_map(word)))
    }

    /// Never unavailable, because the service works without titles.
    fn title_model(&self) -> Part {
        let chains = self.titles.model_health();
        let word = |health: &ChainHealth| match health.state.is_up() {
            Some(false) if chains.len() == 1 => Some(health.state.as_str().to_owned()),
            Some(false) => Some(format!("{}: {}", health.model, health.state.as_str())),
            _ => fallback(&health.chain, Task::Title),
        };
        let is_known = chains.iter().any(|health| health.state.is_up().is_some());
        match joined(chains.iter().filter_map(word)) {
            None if !is_known => Part {
                name: "title_model",
                word: ModelState::Unknown.as_str().to_owned(),
                status: PartStatus::Ok,
            },
            word => model_part("title_model", word),
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

    /// Only with several nodes. While NATS is disconnected, changes on other nodes arrive late.
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

impl Health {
    /// Only with webhooks. Never unavailable, because events wait until they can be sent.
    fn webhooks(&self) -> Option<Part> {
        let complaints = self.webhooks.complaints()?;
        Some(model_part("webhooks", joined(complaints.into_iter())))
    }
}

/// A model part: degraded if there is a word for it, otherwise `ok`.
fn model_part(name: &'static str, word: Option<String>) -> Part {
    Part {
        name,
        status: match word {
            Some(_) => PartStatus::Degraded,
            None => PartStatus::Ok,
        },
        word: word.unwrap_or_else(|| "ok".to_owned()),
    }
}

/// The states of several chains in one line, without duplicates: several agents or policies may have the same chain.
fn joined(words: impl Iterator<Item = String>) -> Option<String> {
    let mut found: Vec<String> = Vec::new();
    for word in words {
        if !found.contains(&word) {
            found.push(word);
        }
    }
    let others = found.len().saturating_sub(MAX_SHOWN);
    found.truncate(MAX_SHOWN);
    if others > 0 {
        found.push(format!("{others} more"));
    }
    (!found.is_empty()).then(|| found.join("; "))
}

/// Which model answers in place of the first one in its chain, and why.
fn fallback(chain: &Chain, task: Task) -> Option<String> {
    let failure = reason(chain.first().failure(task)?);
    let (first, answering) = (chain.first().name(), chain.answering(task).name());
    (first != answering).then(|| format!("{answering} answers in place of {first}: {failure}"))
}

/// The models' names at their providers, in order, without duplicates.
fn model_names<'c>(chains: impl IntoIterator<Item = &'c Chain>) -> String {
    let models = chains.into_iter().flat_map(Chain::models);
    let mut names: Vec<&str> = Vec::new();
    for name in models.map(|model| model.name().model()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(", ")
}

/// The name of a failure, the same as in title errors.
pub(super) fn reason(failure: ModelErrorKind) -> &'static str {
    match failure {
        ModelErrorKind::NotFound => "model_not_found",
        other => other.into(),
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
