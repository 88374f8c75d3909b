//! Builds the parts of the service from the settings.

use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::{Background, InForce, StartError, agents, error::Elsewhere};
use crate::{
    agents::Registry,
    auth::Access,
    commands,
    config::{Plan, Settings},
    conversation::Owner,
    db::{BadRow, Database, SchemaState},
    events::{
        EventBroker,
        relay::{ReadRows, RowQuery, Servers},
    },
    server::{self, Limits},
    supervisor::Heartbeat,
    titles::{TitleSettings, Titles},
};

/// Builds the access rules and refreshes published keys in the background.
pub(super) async fn access(
    settings: &Settings,
    background: &Background,
) -> Result<Access, StartError> {
    let tokens = settings.jwt.settings().tokens(&background.tasks).await?;
    Ok(match tokens {
        Some(tokens) => {
            tokens.start_refresh(&background.loops, &background.closing);
            Access::Tokens(Arc::new(tokens))
        }
        None => Access::Open(Owner::local()),
    })
}

/// Opens the database and compares its schema with the program's, without writing anything.
///
/// # Errors
/// [`StartError`], also if the schema belongs to a newer version or another program.
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
/// [`StartError::Misled`] if the migration would do that.
pub fn misled(state: &SchemaState) -> Result<(), StartError> {
    match &state.elsewhere {
        Some(schema) if state.is_in_public => Err(StartError::Misled(schema.clone())),
        _ => Ok(()),
    }
}

/// Opens the database. Migrates it with `--migrate`, and always if it is embedded.
///
/// # Errors
/// [`StartError`] if the database cannot be opened, or its schema does not fit.
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

/// Opens the database for reading, without migrating it.
///
/// # Errors
/// [`StartError`], also if migrations are pending.
pub async fn database_as_it_is(settings: &Settings) -> Result<Database, StartError> {
    let (db, state) = open(settings, settings.database_connections).await?;
    match state.pending.first() {
        Some(first) => Err(StartError::Behind {
            pending: state.pending.len(),
            first: first.clone(),
            elsewhere: state.elsewhere.map(Elsewhere),
        }),
        None => Ok(db),
    }
}

/// Builds only the database and the titles, for commands. Their changes are not published; running servers find them in
/// their next sweep.
///
/// # Errors
/// [`StartError`] if the settings are invalid or the database cannot be opened.
pub async fn titles(settings: &Settings) -> Result<(Database, Titles), StartError> {
    let plan = Plan::read(settings)?;
    let InForce {
        agents,
        titles: policies,
        ..
    } = in_force(&plan)?;
    let db = database(settings).await?;
    let (events, _) = EventBroker::new(db.clock().clone());
    let tasks = TaskTracker::new();
    let titles = Titles::new(
        db.clone(),
        events,
        Registry::new(agents),
        policies,
        tasks,
        title_settings(settings),
    );
    Ok((db, titles))
}

pub(super) fn limits(settings: &Settings) -> Result<Limits, StartError> {
    let limits = &settings.limits;
    Ok(Limits::new(server::Settings {
        connections: limits.max_connections,
        per_address: limits.connections_per_address,
        proxies: server::parse_networks(&limits.trusted_proxies).map_err(StartError::Proxy)?,
        client_source: limits.client_address,
    }))
}

pub(super) fn nats(settings: &Settings) -> Result<Option<Servers>, StartError> {
    let url = settings.nats_url.as_ref().filter(|url| !url.is_empty());
    let Some(url) = url else { return Ok(None) };
    let servers: Servers = url.parse().map_err(StartError::Nats)?;
    let authorities = settings.nats_ca.as_deref();
    match authorities.filter(|path| !path.as_os_str().is_empty()) {
        Some(path) => servers
            .with_authorities(path)
            .map(Some)
            .map_err(StartError::NatsAuthorities),
        None => Ok(Some(servers)),
    }
}

/// Reads rows that other nodes have changed, for the relay. Skips unreadable rows: a retry would fail again and block
/// the rows after them.
pub(super) fn read_rows(db: Database, heartbeat: &Heartbeat) -> ReadRows {
    let heartbeat = heartbeat.clone();
    Arc::new(move |wanted| {
        let (db, heartbeat) = (db.clone(), heartbeat.clone());
        Box::pin(async move {
            let (rows, bad) = match wanted {
                RowQuery::Row(audience, id) => match db.find_row(&audience, id).await {
                    Ok(row) => (row.into_iter().collect(), Vec::new()),
                    Err(error) => (Vec::new(), vec![BadRow::of(id.0, error)?]),
                },
                RowQuery::Changed(audience, since, after) => {
                    db.rows_changed_since(&audience, since, after).await?
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
    TitleSettings {
        deadline: settings.title_deadline,
        max_in_flight: settings.title_concurrency as usize,
        sweep_every: settings.title_sweep,
        parameters: Arc::new(settings.title_parameters.clone().unwrap_or_default()),
    }
}

/// Builds the agents and title policies of a configuration, for commands. Sends no requests.
///
/// # Errors
/// [`StartError::Model`], [`StartError::Provider`] or [`StartError::Webhook`].
pub fn configured(plan: &Plan) -> Result<InForce, StartError> {
    agents::build(plan, None)
}

/// Builds the agents and title policies of a configuration, and logs its notes.
pub(super) fn in_force(plan: &Plan) -> Result<InForce, StartError> {
    if plan.providers.is_empty() {
        tracing::warn!(
            "OPENAI_API_KEY and OPENAI_BASE_URL are not set: the offline model answers, for demonstration only"
        );
    }
    for note in &plan.notes {
        tracing::warn!("{note}");
    }
    configured(plan)
}
