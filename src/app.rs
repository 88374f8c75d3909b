//! Builds everything once and serves it. The only place that names concrete backends.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    api::{self, limits::UserLimits, observe::HttpMetrics, origin::AllowedOrigins},
    auth::{Access, SetupError},
    chat::{Chat, ChatSettings},
    commands::health::HealthError,
    config::Settings,
    conversation::Owner,
    db::{Database, cursor::CursorKey},
    events::{
        EventBroker,
        relay::{ReadRows, Servers, Wanted},
    },
    llm::{
        LanguageModel,
        offline::Offline,
        openai::{self, OpenAi, OpenAiConfig},
        traced::Traced,
    },
    server::{self, Limits, Server},
    titles::{TitleSettings, Titles},
    transport::{
        cohort::Counters,
        persisted::{Documents, ReadError},
    },
};

/// The pause between two words of the offline model: slow enough to be seen streaming.
const OFFLINE_PACE: Duration = Duration::from_millis(25);

/// How long the provider may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The most connections of those who read the metrics.
const METRICS_CONNECTIONS: u32 = 100;

// What the end may take beside `--drain`: these times, and those of the traces and of the database's
// connections, come to less than the 10 seconds that `main` allows.

/// How long replies that are cut short may take to be stored.
const CUT: Duration = Duration::from_secs(4);

/// How long clients may leave the end of their streams unread.
const UNREAD: Duration = Duration::from_secs(2);

/// How long what goes on beside the requests may take to end.
const NOTES: Duration = Duration::from_secs(1);

/// How the addresses are set.
pub const LISTEN: &str = "--listen (TITLECAST_LISTEN)";
/// See [`LISTEN`].
pub const METRICS_LISTEN: &str = "--metrics-listen (TITLECAST_METRICS_LISTEN)";

/// The parts of a running service. Cheap to clone.
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
    /// Nothing more is waited for.
    hurry: CancellationToken,
    subscriptions: Counters,
    http: HttpMetrics,
    origins: AllowedOrigins,
    documents: Documents,
    access: Access,
    cursors: CursorKey,
    users: UserLimits,
    limits: Limits,
    settings: Settings,
}

/// What goes on beside the requests until the end.
#[derive(Clone, Debug, Default)]
struct Background {
    tasks: TaskTracker,
    /// Nothing new is begun any more.
    draining: CancellationToken,
    /// Everything has ended.
    closing: CancellationToken,
}

/// Why the service cannot start; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database does not open.
    #[error("cannot open the database: {0}. Check --database-url (DATABASE_URL)")]
    Database(#[source] sea_orm::DbErr),
    /// A migration failed.
    #[error("cannot migrate the database: {0}")]
    Migration(#[source] sea_orm::DbErr),
    /// The schema is older than the program.
    #[error(
        "the database is behind by {pending} migration(s), the first being {first}. Run `titlecast migrate up` \
         with the same database URL, or start with --migrate"
    )]
    Behind {
        /// How many are missing.
        pending: usize,
        /// The oldest of them.
        first: String,
    },
    /// The schema is newer than the program.
    #[error(
        "the database is ahead: it has the migration {0} of a newer version. Run that version, or take the migration \
         back with it (`titlecast migrate down`)"
    )]
    Ahead(String),
    /// The model client cannot be built.
    #[error("cannot set up the model's client: {0}. Check OPENAI_BASE_URL and OPENAI_API_KEY")]
    Model(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Other hosts would reach a service without authentication.
    #[error(
        "{0} can be reached from other hosts and there is no authentication: listen on 127.0.0.1, set up tokens \
         with --jwt-secret or --jwt-keys, or add --allow-unauthenticated if that is meant"
    )]
    Exposed(std::net::SocketAddr),
    /// Other hosts would reach the metrics.
    #[error(
        "{0} can be reached from other hosts and there is no authentication for metrics: serve them on 127.0.0.1 \
         with --metrics-listen, or add --allow-unauthenticated if that is meant"
    )]
    ExposedMetrics(std::net::SocketAddr),
    /// Tokens could not be verified, or not be made.
    #[error("{0}")]
    Tokens(#[from] SetupError),
    /// No NATS can be there.
    #[error("{0}. Check --nats-url (TITLECAST_NATS_URL)")]
    Nats(#[source] std::io::Error),
    /// An allowed origin is none.
    #[error("{0:?} is no origin: write it as https://app.example, without a path")]
    Origin(String),
    /// A command failed half-way.
    #[error("{0}")]
    Command(#[source] crate::error::Error),
    /// A command ended before all was done.
    #[error("not all was done; run it again to go on")]
    Unfinished,
    /// A trusted proxy is none.
    #[error(
        "{0:?} is neither an address nor a network such as 10.0.0.0/8. Check --trusted-proxies (TITLECAST_TRUSTED_PROXIES)"
    )]
    Proxy(String),
    /// Something did not end when everything was to end.
    #[error(
        "not all has ended in {0:?}; what is stored is stored, and another start goes on with it"
    )]
    Hung(Duration),
    /// The server that was asked for its health is not well.
    #[error("{0}")]
    Health(#[from] HealthError),
    /// The trusted documents cannot be read.
    #[error("{0}. Check --trusted-documents (TITLECAST_TRUSTED_DOCUMENTS)")]
    Documents(#[source] ReadError),
    /// The address cannot be had.
    #[error("cannot listen on {address}: {cause}. Choose another with {setting}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Where it was set.
        setting: &'static str,
        /// What the system says.
        #[source]
        cause: std::io::Error,
    },
}

impl App {
    /// Opens the database, brings an embedded one up to date, and connects the parts.
    ///
    /// # Errors
    /// [`StartError`], before anything was served.
    pub async fn build(settings: Settings) -> Result<Self, StartError> {
        // What can be wrong without the database comes before it is touched.
        let model = model(&settings)?;
        let origins =
            AllowedOrigins::parse(&settings.allowed_origins).map_err(StartError::Origin)?;
        let documents = match &settings.trusted_documents {
            Some(path) => Documents::trusted(path).map_err(StartError::Documents)?,
            None => Documents::default(),
        };
        let background = Background::default();
        let access = access(&settings, &background).await?;
        let nats = nats(&settings)?;
        let limits = limits(&settings)?;
        let db = database(&settings).await?;
        let cursors = db.cursor_key().await.map_err(StartError::Command)?;
        let (events, told) = match nats {
            Some(servers) => {
                let (events, told, relay) = EventBroker::relayed(db.clock().clone());
                let closing = background.closing.clone();
                let relay = relay.run(servers, read_rows(db.clone()), closing);
                background.tasks.spawn(relay);
                (events, told)
            }
            None => EventBroker::new(db.clock().clone()),
        };
        background.tasks.spawn({
            let (db, closing) = (db.clone(), background.closing.clone());
            async move { db.keep_time(closing).await }
        });
        let tasks = TaskTracker::new();
        let abort = CancellationToken::new();
        let titles = Titles::new(
            db.clone(),
            events.clone(),
            model.clone(),
            tasks.clone(),
            title_settings(&settings),
        );
        background.tasks.spawn({
            let (titles, background) = (titles.clone(), background.clone());
            async move {
                let Background {
                    draining, closing, ..
                } = background;
                titles.keep_up(told, draining, closing).await;
            }
        });
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
        background.tasks.spawn({
            let (chat, background) = (chat.clone(), background.clone());
            async move {
                let Background {
                    draining, closing, ..
                } = background;
                chat.keep_up(draining, closing).await;
            }
        });
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
            hurry: CancellationToken::new(),
            origins,
            documents,
            access,
            cursors,
            users: UserLimits::new(
                settings.limits.messages_per_minute,
                settings.limits.streams_per_user,
            ),
            limits,
            settings,
        })
    }

    /// Who may call, as the settings say.
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

    /// The broker, for tests that count topics.
    pub fn events(&self) -> &EventBroker {
        &self.events
    }

    /// Serves those who may call on a listener until `shutdown` is ready: then nothing new is accepted, streams
    /// that only watch end at once, and replies and titles under way get the time to finish that the
    /// settings give them.
    pub async fn serve(
        &self,
        access: Access,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) {
        let (leaving, closing) = (CancellationToken::new(), CancellationToken::new());
        let router = api::router(api::Services {
            access,
            db: self.db.clone(),
            events: self.events.clone(),
            model: self.model.clone(),
            titles: self.titles.clone(),
            chat: self.chat.clone(),
            tasks: self.tasks.clone(),
            leaving: leaving.clone(),
            closing: closing.clone(),
            http: self.http.clone(),
            title_grace: self.settings.title_grace,
            keep_alive: self.settings.keep_alive,
            cohorts: self.settings.cohorts,
            cursors: self.cursors.clone(),
            users: self.users.clone(),
            subscriptions: self.subscriptions.clone(),
            allowed_origins: self.origins.clone(),
            graphql: api::graphql::GraphqlSettings {
                documents: self.documents.clone(),
                introspection: self.settings.introspection,
                suggestions: self.settings.suggestions,
            },
        });
        let server = Server::new(router, self.limits.clone(), api::refuse);
        let mut serving = std::pin::pin!(server.serve(listener, closing.clone()));
        tokio::select! {
            () = &mut serving => return,
            () = async { shutdown.await; leaving.cancel(); self.delay_drain().await } => closing.cancel(),
        }
        tracing::info!(tasks = self.tasks.len(), "shutting down");
        self.background.draining.cancel();
        // The server is polled meanwhile, or its listener would stay open and let new connections wait.
        let drained = CancellationToken::new();
        let drain = async {
            self.drain().await;
            drained.cancel();
        };
        let end = async {
            tokio::select! {
                () = &mut serving => {}
                // Every stream has ended by then; a client that does not read must not hold us.
                () = async { drained.cancelled().await; sleep(UNREAD).await } => {}
            }
        };
        tokio::join!(drain, end);
    }

    /// Serves what the service has done, for monitoring, on a listener of its own, until `shutdown`.
    pub async fn serve_metrics(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) {
        let router = api::metrics::router(api::metrics::Watched {
            http: self.http.clone(),
            chat: self.chat.clone(),
            titles: self.titles.clone(),
            subscriptions: self.subscriptions.clone(),
            events: self.events.clone(),
            db: self.db.clone(),
            connections: self.limits.clone(),
            users: self.users.clone(),
        });
        // Not counted with the others: monitoring has to work when they are too many.
        let limits = Limits::new(server::Settings {
            connections: METRICS_CONNECTIONS,
            ..server::Settings::default()
        });
        let closing = CancellationToken::new();
        let server = Server::new(router, limits, api::refuse);
        let mut serving = std::pin::pin!(server.serve(listener, closing.clone()));
        tokio::select! {
            () = &mut serving => {}
            // A client that keeps its connection must not hold us.
            () = async { shutdown.await; closing.cancel(); sleep(Duration::from_secs(1)).await } => {}
        }
    }

    /// Closes the database once nothing is served any more.
    pub async fn close(self) {
        self.background.draining.cancel();
        self.background.closing.cancel();
        self.background.tasks.close();
        if timeout(NOTES, self.background.tasks.wait()).await.is_err() {
            tracing::warn!("what was told last was not noted: it will be told again");
        }
        // A connection that is stuck, since its database is, must not hold us.
        match timeout(Duration::from_secs(1), self.db.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => error.log(),
            Err(_) => tracing::warn!("the database did not say goodbye"),
        }
    }

    /// Lets nothing be waited for any more: replies that still run are cut short and stored as they are.
    pub fn hurry(&self) {
        self.hurry.cancel();
    }

    /// Goes on as before, until those who look at readiness have seen it.
    async fn delay_drain(&self) {
        let delay = self.settings.drain_delay;
        if !delay.is_zero() {
            tracing::info!(delay_ms = delay.as_millis() as u64, "not ready any more");
            self.hurry.run_until_cancelled(sleep(delay)).await;
        }
    }

    /// Waits for replies and titles; cuts short what takes too long.
    async fn drain(&self) {
        self.tasks.close();
        let finished = timeout(self.settings.drain, self.tasks.wait());
        if let Some(Ok(())) = self.hurry.run_until_cancelled(finished).await {
            return;
        }
        tracing::warn!(tasks = self.tasks.len(), "cutting replies short");
        self.abort.cancel();
        if timeout(CUT, self.tasks.wait()).await.is_err() {
            tracing::error!(tasks = self.tasks.len(), "tasks did not end");
        }
    }
}

/// Who may call; follows published keys in the background.
async fn access(settings: &Settings, background: &Background) -> Result<Access, StartError> {
    let tokens = settings.jwt.settings().tokens(&background.tasks).await?;
    Ok(match tokens {
        Some(tokens) => {
            tokens.keep_up(&background.tasks, background.closing.clone());
            Access::Tokens(Arc::new(tokens))
        }
        None => Access::Open(Owner::local()),
    })
}

/// The database as it is, and the migrations that it does not have yet.
///
/// # Errors
/// [`StartError`], also when a newer version has changed it.
pub async fn open(
    settings: &Settings,
    connections: u32,
) -> Result<(Database, Vec<String>), StartError> {
    let db = Database::connect(&settings.database_url, connections)
        .await
        .map_err(StartError::Database)?;
    match db.pending_migrations().await {
        Ok(pending) => Ok((db, pending)),
        Err(error) => match db.unknown_migrations().await.unwrap_or_default().pop() {
            Some(newest) => Err(StartError::Ahead(newest)),
            None => Err(StartError::Database(error)),
        },
    }
}

/// The database, brought up to date where that is asked for or where nobody else could have a say in it.
///
/// # Errors
/// [`StartError`].
pub async fn database(settings: &Settings) -> Result<Database, StartError> {
    let (db, pending) = open(settings, settings.database_connections).await?;
    match pending.first() {
        Some(_) if db.is_embedded() || settings.migrate => {
            db.migrate_up(None).await.map_err(StartError::Migration)?;
        }
        Some(first) => {
            return Err(StartError::Behind {
                pending: pending.len(),
                first: first.clone(),
            });
        }
        None => {}
    }
    Ok(db)
}

/// The database and the titles alone, for commands. Nobody is told of what they change: that is left to
/// the servers' next sweep.
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

fn limits(settings: &Settings) -> Result<Limits, StartError> {
    let limits = &settings.limits;
    Ok(Limits::new(server::Settings {
        connections: limits.max_connections,
        per_address: limits.connections_per_address,
        proxies: server::parse_networks(&limits.trusted_proxies).map_err(StartError::Proxy)?,
    }))
}

fn nats(settings: &Settings) -> Result<Option<Servers>, StartError> {
    let url = settings.nats_url.as_ref().filter(|url| !url.is_empty());
    url.map(|url| url.parse().map_err(StartError::Nats))
        .transpose()
}

/// How the relay reads what other nodes changed.
fn read_rows(db: Database) -> ReadRows {
    Arc::new(move |wanted| {
        let db = db.clone();
        Box::pin(async move {
            match wanted {
                Wanted::Row(owner, id) => {
                    let row = db.find_row(&owner, id).await?;
                    Ok(row.into_iter().collect())
                }
                Wanted::Changed(owner, since, after) => {
                    db.rows_changed_since(&owner, since, after).await
                }
            }
        })
    })
}

fn title_settings(settings: &Settings) -> TitleSettings {
    let budget = settings.title_budget.clone();
    TitleSettings {
        deadline: settings.title_deadline,
        max_in_flight: settings.title_concurrency as usize,
        sweep_every: settings.title_sweep,
        language: settings.title_language.clone(),
        budget: budget.map(|tokens| (tokens > 0).then_some(tokens)),
    }
}

fn model(settings: &Settings) -> Result<Arc<dyn LanguageModel>, StartError> {
    if !settings.has_provider() {
        tracing::warn!(
            "no OPENAI_API_KEY and no OPENAI_BASE_URL: the offline model answers, which only shows that things work"
        );
        let offline = Arc::new(Offline::new(OFFLINE_PACE));
        return Ok(Arc::new(Traced::new(offline, "offline", None)));
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
        idle_timeout: settings.reply_idle,
        connect_timeout: CONNECT_TIMEOUT,
    })
    .map_err(|error| StartError::Model(error.into()))?;
    let url = settings.openai_base_url.as_deref();
    let url = url.filter(|url| !url.is_empty());
    let url = url.unwrap_or(openai::DEFAULT_BASE_URL);
    Ok(Arc::new(Traced::new(Arc::new(model), "openai", Some(url))))
}
