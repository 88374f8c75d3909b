//! Builds the service and serves it. The only module that names concrete backends.

mod error;
mod parts;
mod serve;

use std::sync::Arc;

use graphql_transport::{cohort::Counters, persisted::Documents};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::parts::{access, limits, model, nats, read_rows, title_settings};
pub use self::{
    error::StartError,
    parts::{database, misled, open, titles},
};
use crate::{
    api::{host::AllowedHosts, limits::UserLimits, observe::HttpMetrics, origin::AllowedOrigins},
    auth::Access,
    chat::{Chat, ChatSettings},
    config::Settings,
    db::Database,
    events::EventBroker,
    llm::LanguageModel,
    server::Limits,
    supervisor::{Loop, Supervisor},
    titles::Titles,
};

/// The setting of the service's address, for errors.
pub const LISTEN: &str = "--listen (TITLECAST_LISTEN)";
/// See [`LISTEN`].
pub const METRICS_LISTEN: &str = "--metrics-listen (TITLECAST_METRICS_LISTEN)";

/// A running service. Cheap to clone.
#[derive(Clone)]
pub struct App {
    db: Database,
    events: EventBroker,
    model: Arc<dyn LanguageModel>,
    titles: Titles,
    chat: Chat,
    tasks: TaskTracker,
    background: Background,
    abort: CancellationToken,
    /// Cancelled when a shutdown begins: the server is not ready.
    leaving: CancellationToken,
    /// Cancelled on a second signal: stop waiting for replies.
    force_shutdown: CancellationToken,
    subscriptions: Counters,
    http: HttpMetrics,
    origins: AllowedOrigins,
    hosts: AllowedHosts,
    documents: Documents,
    access: Access,
    users: UserLimits,
    limits: Limits,
    settings: Settings,
}

/// Background tasks and loops.
#[derive(Clone, Debug, Default)]
struct Background {
    tasks: TaskTracker,
    loops: Supervisor,
    /// Cancelled at the start of draining: no new work starts.
    draining: CancellationToken,
    /// Cancelled after draining: the loops end.
    closing: CancellationToken,
}

/// Starts the database loops: clock, erasure of deleted rows, pool replacement, and health probe.
fn watch_database(db: &Database, background: &Background) {
    let Background { loops, closing, .. } = background;
    let (clock, end) = (db.clone(), closing.clone());
    loops.spawn(Loop::DatabaseClock, closing.clone(), move |heartbeat| {
        let (db, end) = (clock.clone(), end.clone());
        async move { db.keep_time(&heartbeat, &end).await }
    });
    let (erased, end) = (db.clone(), closing.clone());
    loops.spawn(Loop::Erasure, closing.clone(), move |heartbeat| {
        let (db, end) = (erased.clone(), end.clone());
        async move { db.keep_erasing(&heartbeat, &end).await }
    });
    let (kept, end) = (db.clone(), closing.clone());
    loops.spawn(
        Loop::DatabaseConnections,
        closing.clone(),
        move |heartbeat| {
            let (db, end) = (kept.clone(), end.clone());
            async move { db.keep_connections(&heartbeat, &end).await }
        },
    );
    let (asked, end) = (db.clone(), closing.clone());
    loops.spawn(Loop::DatabaseProbe, closing.clone(), move |heartbeat| {
        let (db, end) = (asked.clone(), end.clone());
        async move { db.keep_asking(&heartbeat, &end).await }
    });
}

impl App {
    /// Builds the service: opens the database, migrates an embedded one, and starts the background loops.
    ///
    /// # Errors
    /// [`StartError`], before any request is served.
    pub async fn build(settings: Settings) -> Result<Self, StartError> {
        // Validate everything else before touching the database.
        let model = model(&settings)?;
        let origins =
            AllowedOrigins::parse(&settings.allowed_origins).map_err(StartError::Origin)?;
        let hosts = AllowedHosts::parse(&settings.allowed_hosts).map_err(StartError::Host)?;
        let documents = match &settings.trusted_documents {
            Some(path) => Documents::trusted(path).map_err(StartError::Documents)?,
            None => Documents::default(),
        };
        let background = Background::default();
        let access = access(&settings, &background).await?;
        let nats = nats(&settings)?;
        let limits = limits(&settings)?;
        let db = database(&settings).await?.with_deadlines();
        let (events, told) = match nats {
            Some(servers) => {
                let (events, told, relay) = EventBroker::relayed(db.clock().clone());
                let db = db.clone();
                relay.keep_up(
                    servers,
                    move |heartbeat| read_rows(db.clone(), heartbeat),
                    &background.loops,
                    &background.closing,
                );
                (events, told)
            }
            None => EventBroker::new(db.clock().clone()),
        };
        watch_database(&db, &background);
        let tasks = TaskTracker::new();
        let abort = CancellationToken::new();
        let titles = Titles::new(
            db.clone(),
            events.clone(),
            model.clone(),
            tasks.clone(),
            title_settings(&settings),
        );
        let Background {
            loops,
            draining,
            closing,
            ..
        } = &background;
        titles.keep_up(loops, told, draining, closing);
        if settings.has_provider() && settings.title_check {
            let (titles, draining) = (titles.clone(), background.draining.clone());
            background.tasks.spawn(async move {
                draining.run_until_cancelled(titles.check_model()).await;
            });
        }
        let chat = Chat::new(
            db.clone(),
            events.clone(),
            model.clone(),
            titles.clone(),
            tasks.clone(),
            abort.clone(),
            ChatSettings {
                history_budget_chars: settings.history_budget,
                reply_deadline: settings.reply_deadline,
                reply_lease: settings.reply_lease,
            },
        );
        chat.keep_up(loops, draining, closing);
        Ok(Self {
            db,
            events,
            model,
            titles,
            chat,
            tasks,
            background,
            abort,
            subscriptions: Counters::default(),
            http: HttpMetrics::default(),
            leaving: CancellationToken::new(),
            force_shutdown: CancellationToken::new(),
            origins,
            hosts,
            documents,
            access,
            users: UserLimits::new(
                settings.limits.messages_per_minute,
                settings.limits.streams_per_user,
                settings.limits.title_changes_per_minute,
            ),
            limits,
            settings,
        })
    }

    /// The access rules of the settings.
    pub fn access(&self) -> Access {
        self.access.clone()
    }

    /// The database, for tests that look at rows.
    pub fn database(&self) -> &Database {
        &self.db
    }

    /// The titles, for tests that wait for a sweep.
    pub fn titles(&self) -> &Titles {
        &self.titles
    }

    /// The background loops, for tests that let them fail.
    pub fn loops(&self) -> &Supervisor {
        &self.background.loops
    }

    /// The broker, for tests that count topics.
    pub fn events(&self) -> &EventBroker {
        &self.events
    }
}
