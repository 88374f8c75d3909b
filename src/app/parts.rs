//! Builds the parts of the service from the settings.

use std::{sync::Arc, time::Duration};

use tokio_util::task::TaskTracker;

use super::{Background, StartError, error::Elsewhere};
use crate::{
    auth::Access,
    commands,
    config::Settings,
    conversation::Owner,
    db::{BadRow, Database, SchemaState},
    events::{
        EventBroker,
        relay::{ReadRows, RowQuery, Servers},
    },
    llm::{
        LanguageModel,
        offline::Offline,
        openai::{self, OpenAi, OpenAiConfig},
        traced::TracedModel,
    },
    server::{self, Limits},
    supervisor::Heartbeat,
    titles::{TitleSettings, Titles},
};

/// The delay between two words of the offline model, slow enough to see it stream.
const OFFLINE_WORD_INTERVAL: Duration = Duration::from_millis(25);

/// How long the provider may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Builds the access rules; refreshes published keys in the background.
pub(super) async fn access(
    settings: &Settings,
    background: &Background,
) -> Result<Access, StartError> {
    let tokens = settings.jwt.settings().tokens(&background.tasks).await?;
    Ok(match tokens {
        Some(tokens) => {
            tokens.keep_up(&background.loops, &background.closing);
            Access::Tokens(Arc::new(tokens))
        }
        None => Access::Open(Owner::local()),
    })
}

/// Opens the database and compares its schema with the program's. Writes nothing.
///
/// # Errors
/// [`StartError`], also when the schema belongs to a newer version or another program.
pub async fn open(
    settings: &Settings,
    connections: u32,
) -> Result<(Database, SchemaState), StartError> {
    let db = Database::connect(&settings.database_url, connections)
        .await?
        .with_command_deadlines();
    let mut state = db.schema_state().await.map_err(StartError::Schema)?;
    if let Some(difference) = state.foreign.take() {
        return Err(StartError::Foreign(difference));
    }
    match state.unknown.pop() {
        Some(newest) => Err(StartError::Ahead(newest)),
        None => Ok((db, state)),
    }
}

/// Refuses to create tables in the default schema if another schema contains them.
///
/// # Errors
/// [`StartError::Misled`].
pub fn misled(state: &SchemaState) -> Result<(), StartError> {
    match &state.elsewhere {
        Some(schema) if state.is_in_public => Err(StartError::Misled(schema.clone())),
        _ => Ok(()),
    }
}

/// Opens the database. Migrates it with `--migrate`, and always if it is embedded.
///
/// # Errors
/// [`StartError`].
pub async fn database(settings: &Settings) -> Result<Database, StartError> {
    let (db, state) = open(settings, settings.database_connections).await?;
    let pending = &state.pending;
    match pending.first() {
        Some(_) if db.is_embedded() || settings.migrate => {
            misled(&state)?;
            commands::migrate::logged(db.migrate_up(None))
                .await
                .map_err(StartError::Migration)?;
            tracing::info!(migrations = pending.len(), "database migrated");
        }
        Some(first) => {
            return Err(StartError::Behind {
                pending: pending.len(),
                first: first.clone(),
                elsewhere: state.elsewhere.map(Elsewhere),
            });
        }
        None => {}
    }
    Ok(db)
}

/// Builds only the database and the titles, for commands. Their changes are not published: running servers
/// find them in their next sweep.
///
/// # Errors
/// [`StartError`].
pub async fn titles(settings: &Settings) -> Result<(Database, Titles), StartError> {
    let model = model(settings)?;
    let db = database(settings).await?;
    let (events, _) = EventBroker::new(db.clock().clone());
    let tasks = TaskTracker::new();
    let titles = Titles::new(db.clone(), events, model, tasks, title_settings(settings));
    Ok((db, titles))
}

pub(super) fn limits(settings: &Settings) -> Result<Limits, StartError> {
    let limits = &settings.limits;
    Ok(Limits::new(server::Settings {
        connections: limits.max_connections,
        per_address: limits.connections_per_address,
        proxies: server::parse_networks(&limits.trusted_proxies).map_err(StartError::Proxy)?,
    }))
}

pub(super) fn nats(settings: &Settings) -> Result<Option<Servers>, StartError> {
    let url = settings.nats_url.as_ref().filter(|url| !url.is_empty());
    url.map(|url| url.parse().map_err(StartError::Nats))
        .transpose()
}

/// Reads rows that other nodes changed, for the relay. An unreadable row is skipped: a retry would fail again and
/// block the rows after it.
pub(super) fn read_rows(db: Database, heartbeat: &Heartbeat) -> ReadRows {
    let heartbeat = heartbeat.clone();
    Arc::new(move |wanted| {
        let (db, heartbeat) = (db.clone(), heartbeat.clone());
        Box::pin(async move {
            let (rows, bad) = match wanted {
                RowQuery::Row(owner, id) => match db.find_row(&owner, id).await {
                    Ok(row) => (row.into_iter().collect(), Vec::new()),
                    Err(error) => (Vec::new(), vec![BadRow::of(id.0, error)?]),
                },
                RowQuery::Changed(owner, since, after) => {
                    db.rows_changed_since(&owner, since, after).await?
                }
            };
            for BadRow { id, error } in bad {
                heartbeat.skip_row(id, &error);
            }
            Ok(rows)
        })
    })
}

pub(super) fn title_settings(settings: &Settings) -> TitleSettings {
    let budget = settings.title_budget.clone();
    TitleSettings {
        openers: settings.title_openers,
        probe_every: settings.title_probe,
        deadline: settings.title_deadline,
        max_in_flight: settings.title_concurrency as usize,
        sweep_every: settings.title_sweep,
        language: settings.title_language.clone(),
        budget: budget.map(|tokens| (tokens > 0).then_some(tokens)),
    }
}

pub(super) fn model(settings: &Settings) -> Result<Arc<dyn LanguageModel>, StartError> {
    if !settings.has_provider() {
        tracing::warn!(
            "OPENAI_API_KEY and OPENAI_BASE_URL are not set: the offline model answers, for demonstration only"
        );
        let offline = Arc::new(Offline::new(OFFLINE_WORD_INTERVAL));
        return Ok(Arc::new(TracedModel::new(offline, "offline", None)));
    }
    let model = OpenAi::new(OpenAiConfig {
        api_key: settings
            .openai_api_key
            .clone()
            .filter(|key| !key.is_empty()),
        base_url: settings
            .openai_base_url
            .clone()
            .filter(|url| !url.is_empty()),
        chat_model: settings.chat_model.clone(),
        title_model: settings.title_model.clone(),
        title_parameters: settings.title_parameters.clone().unwrap_or_default(),
        first_event_timeout: settings.reply_first_event,
        idle_timeout: settings.reply_idle,
        connect_timeout: CONNECT_TIMEOUT,
        proxy: settings.proxy(),
    })?;
    let url = settings.openai_base_url.as_deref();
    let url = url.filter(|url| !url.is_empty());
    let url = url.unwrap_or(openai::DEFAULT_BASE_URL);
    Ok(Arc::new(TracedModel::new(
        Arc::new(model),
        "openai",
        Some(url),
    )))
}
