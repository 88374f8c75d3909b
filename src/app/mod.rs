//! Builds the service and serves it. Only this module names concrete backends.

mod agents;
mod audit;
mod check;
mod error;
mod parts;
mod serve;

use std::time::Duration;

use graphql_transport::{cohort::Counters, persisted::Documents};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::audit::AuditLog;
use self::parts::{access, in_force, limits, nats, read_rows, title_settings};
pub use self::{
    agents::InForce,
    check::{check, check_agent, check_exposure},
    error::StartError,
    parts::{configured, database, database_as_it_is, misled, open, titles},
};
use crate::{
    agents::Registry,
    api::{host::AllowedHosts, limits::UserLimits, observe::HttpMetrics, origin::AllowedOrigins},
    auth::{Access, Sharing},
    chat::{Chat, ChatSettings},
    config::{Plan, Settings},
    db::Database,
    events::EventBroker,
    server::Limits,
    supervisor::{Loop, LoopState, Supervisor},
    titles::Titles,
    webhooks::Webhooks,
    work,
};

/// How long a reload waits for a blocking thread.
const RELOAD_WAIT: Duration = Duration::from_secs(30);

/// The setting for the service's address, as errors name it.
pub const LISTEN: &str = "--listen (TITLECAST_LISTEN)";
/// The setting for the metrics address, as errors name it.
pub const METRICS_LISTEN: &str = "--metrics-listen (TITLECAST_METRICS_LISTEN)";

/// A running service. Cheap to clone.
#[derive(Clone)]
pub struct App {
    db: Database,
    events: EventBroker,
    registry: Registry,
    titles: Titles,
    chat: Chat,
    webhooks: Webhooks,
    audit: AuditLog,
    tasks: TaskTracker,
    background: Background,
    abort: CancellationToken,
    /// Cancelled when shutdown begins: the server is no longer ready.
    leaving: CancellationToken,
    /// Cancelled on the second signal: stop waiting for replies.
    force_shutdown: CancellationToken,
    subscriptions: Counters,
    http: HttpMetrics,
    origins: AllowedOrigins,
    hosts: AllowedHosts,
    documents: Documents,
    access: Access,
    sharing: Sharing,
    users: UserLimits,
    limits: Limits,
    settings: Settings,
}

/// Background tasks and loops.
#[derive(Clone, Debug, Default)]
struct Background {
    tasks: TaskTracker,
    loops: Supervisor,
    /// Cancelled when draining begins: no new work starts.
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
    /// [`StartError`] if any part cannot be built; no request has been served then.
    pub async fn build(settings: Settings) -> Result<Self, StartError> {
        // Validate everything else before touching the database.
        let plan = Plan::read(&settings)?;
        let InForce {
            agents,
            titles: policies,
            sharing,
            webhooks,
            retentions,
            audit,
        } = in_force(&plan)?;
        let registry = Registry::new(agents);
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
        let (events, published) = match nats {
            Some(servers) => {
                let (events, published, relay) = EventBroker::relayed(db.clock().clone());
                let db = db.clone();
                relay.start(
                    servers,
                    move |heartbeat| read_rows(db.clone(), heartbeat),
                    &background.loops,
                    &background.closing,
                );
                (events, published)
            }
            None => EventBroker::new(db.clock().clone()),
        };
        watch_database(&db, &background);
        let tasks = TaskTracker::new();
        let abort = CancellationToken::new();
        let titles = Titles::new(
            db.clone(),
            events.clone(),
            registry.clone(),
            policies,
            tasks.clone(),
            title_settings(&settings),
        );
        let Background {
            loops,
            draining,
            closing,
            ..
        } = &background;
        titles.start_loops(loops, published, draining, closing);
        if !plan.providers.is_empty() && settings.title_check {
            let (titles, draining) = (titles.clone(), background.draining.clone());
            background.tasks.spawn(async move {
                draining.run_until_cancelled(titles.check_model()).await;
            });
        }
        let chat = Chat::new(
            db.clone(),
            events.clone(),
            registry.clone(),
            titles.clone(),
            tasks.clone(),
            abort.clone(),
            ChatSettings {
                budget: (settings.reply_budget.clone())
                    .map(|tokens| (tokens > 0).then_some(tokens)),
                reply_deadline: settings.reply_deadline,
                reply_lease: settings.reply_lease,
                external_lease: settings.ingest_idle,
            },
        );
        chat.replace_retentions(retentions);
        chat.start_loops(loops, draining, closing);
        let (sending, draining) = (background.tasks.clone(), draining.clone());
        let webhooks = Webhooks::new(db.clone(), webhooks, sending, draining, closing.clone());
        webhooks.start_loop(loops);
        let audit = AuditLog::new(db.clone(), audit);
        audit.start_loop(loops, &background.closing);
        Ok(Self {
            db,
            events,
            registry,
            titles,
            chat,
            webhooks,
            audit,
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
            sharing: Sharing::new(sharing),
            users: UserLimits::new(
                settings.limits.messages_per_minute,
                settings.limits.streams_per_user,
                settings.limits.title_changes_per_minute,
                settings.limits.ingest_streams,
            ),
            limits,
            settings,
        })
    }

    /// Reloads the file of providers, agents, titles and webhooks, and the files it refers to. After an error the
    /// current configuration stays in force. Running replies keep their agent; unchanged providers keep the state of
    /// their breakers.
    ///
    /// # Errors
    /// [`StartError`], which has already been logged.
    pub fn reload(&self) -> Result<(), StartError> {
        let (current, hooks) = (self.registry.current(), self.webhooks.current());
        let built = Plan::reread(&self.settings)
            .map_err(StartError::from)
            .and_then(|plan| agents::build(&plan, Some((&current, &hooks))))
            .and_then(|built| {
                let is_lost =
                    built.agents.providers().is_empty() && !current.providers().is_empty();
                match is_lost {
                    true => Err(StartError::NoProviders),
                    false => Ok(built),
                }
            });
        match built {
            Ok(InForce {
                agents,
                titles,
                sharing,
                webhooks,
                retentions,
                audit,
            }) => {
                self.chat.replace_retentions(retentions);
                self.titles.replace_policies(titles);
                self.sharing.replace(sharing);
                self.webhooks.replace(webhooks);
                self.audit.replace(audit);
                self.registry.replace(agents);
                tracing::info!("configuration reloaded");
                Ok(())
            }
            Err(error) => {
                self.registry.record_failed_reload();
                let lines = match &error {
                    StartError::Config(errors) => errors.lines().collect(),
                    error => vec![error.to_string()],
                };
                for line in lines {
                    tracing::error!(
                        "configuration not reloaded; the current one stays in force: {line}"
                    );
                }
                Err(error)
            }
        }
    }

    /// [`Self::reload`] on a blocking thread, because a file system may be slow. Logs the outcome.
    pub async fn reload_apart(&self) {
        let app = self.clone();
        let reloaded = work::heavy(RELOAD_WAIT, move |_| app.reload().is_ok());
        if let Err(error) = reloaded.await {
            self.registry.record_failed_reload();
            tracing::error!("configuration not reloaded; the current one stays in force: {error}");
        }
    }

    /// Whether no background loop is stuck, which is the rule of `/healthz`.
    pub fn is_alive(&self) -> bool {
        let loops = self.background.loops.report();
        loops.iter().all(|one| one.state != LoopState::Stuck)
    }

    /// The access rules from the settings.
    pub fn access(&self) -> Access {
        self.access.clone()
    }

    /// The database, for tests that inspect rows.
    pub fn database(&self) -> &Database {
        &self.db
    }

    /// The turns, for tests that read a reply slowly.
    pub fn chat(&self) -> &Chat {
        &self.chat
    }

    /// Whether no reply or title is in progress, for tests that wait for all of them.
    pub fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The titles, for tests that wait for a sweep.
    pub fn titles(&self) -> &Titles {
        &self.titles
    }

    /// The background loops, for tests that make them fail.
    pub fn loops(&self) -> &Supervisor {
        &self.background.loops
    }

    /// The broker, for tests that count topics.
    pub fn events(&self) -> &EventBroker {
        &self.events
    }
}
