//! Serves requests and shuts down gracefully.

use std::{future::Future, time::Duration};

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{App, Background};
use crate::{
    api,
    auth::Access,
    server::{self, Limits, Listener, Server},
};

/// The most connections to the metrics listener.
const METRICS_CONNECTIONS: u32 = 100;

// Shutdown time beyond `--drain`: these times, plus those for the traces and the database connections, add up to less
// than the 10 seconds that `main` allows.

/// How long it may take to store aborted replies.
const ABORT_GRACE: Duration = Duration::from_secs(4);

/// How long clients may take to read the end of their streams.
const STREAM_GRACE: Duration = Duration::from_secs(2);

/// How long background tasks may take to end.
const BACKGROUND_GRACE: Duration = Duration::from_secs(1);

impl App {
    /// Serves requests until `shutdown`, then drains.
    ///
    /// Draining accepts no new connections and ends read-only streams at once. Running replies and titles have the
    /// configured time to finish.
    pub async fn serve(
        &self,
        access: Access,
        listener: impl Into<Listener>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) {
        let (leaving, closing) = (self.leaving.clone(), CancellationToken::new());
        let base_path = self.settings.base_path.clone();
        let refuse = api::edge_errors(base_path.clone(), self.origins.clone(), &access);
        let router = api::router(api::Services {
            access,
            sharing: self.sharing.clone(),
            db: self.db.clone(),
            events: self.events.clone(),
            titles: self.titles.clone(),
            chat: self.chat.clone(),
            tasks: self.tasks.clone(),
            health: self.health(),
            closing: closing.clone(),
            http: self.http.clone(),
            title_grace: self.settings.title_grace,
            legacy_contract: self.settings.legacy_contract,
            upload_limits: (self.settings.ingest_idle, self.settings.reply_deadline),
            keep_alive: self.settings.keep_alive,
            cohorts: self.settings.cohorts,
            users: self.users.clone(),
            feed_reads: Default::default(),
            subscriptions: self.subscriptions.clone(),
            allowed_origins: self.origins.clone(),
            allowed_hosts: self.hosts.clone(),
            base_path,
            pages: self.settings.pages,
            graphql: api::graphql::GraphqlSettings {
                documents: self.documents.clone(),
                introspection: self.settings.introspection,
                suggestions: self.settings.suggestions,
            },
        });
        let server = Server::new(router, self.limits.clone(), refuse);
        let mut serving = std::pin::pin!(server.serve(listener, closing.clone()));
        tokio::select! {
            () = &mut serving => return,
            () = async { shutdown.await; leaving.cancel(); self.delay_drain().await } => closing.cancel(),
        }
        tracing::info!(tasks = self.tasks.len(), "shutting down");
        self.background.draining.cancel();
        // Keep polling the server, which closes its listener; otherwise new connections would queue up.
        let drained = CancellationToken::new();
        let drain = async {
            self.drain().await;
            drained.cancel();
        };
        let end = async {
            tokio::select! {
                () = &mut serving => {}
                // By then every stream has ended; do not wait for clients that do not read.
                () = async { drained.cancelled().await; sleep(STREAM_GRACE).await } => {}
            }
        };
        tokio::join!(drain, end);
    }

    /// Serves metrics on a separate listener until `shutdown`.
    pub async fn serve_metrics(
        &self,
        listener: impl Into<Listener>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) {
        let watched = api::metrics::MetricSources {
            http: self.http.clone(),
            chat: self.chat.clone(),
            titles: self.titles.clone(),
            webhooks: self.webhooks.clone(),
            subscriptions: self.subscriptions.clone(),
            events: self.events.clone(),
            db: self.db.clone(),
            connections: self.limits.clone(),
            users: self.users.clone(),
            health: self.health(),
        };
        let router = api::metrics::router(watched, self.hosts.clone());
        // Separate limits, so that monitoring still works when the service is at its connection limit.
        let limits = Limits::new(server::Settings {
            connections: METRICS_CONNECTIONS,
            ..server::Settings::default()
        });
        let closing = CancellationToken::new();
        let refuse = Box::new(|path: &str, _: Option<&_>, error| api::refuse(path, error));
        let server = Server::new(router, limits, refuse);
        let mut serving = std::pin::pin!(server.serve(listener, closing.clone()));
        tokio::select! {
            () = &mut serving => {}
            // Do not wait for clients that keep their connections open.
            () = async { shutdown.await; closing.cancel(); sleep(Duration::from_secs(1)).await } => {}
        }
    }

    fn health(&self) -> api::health::Health {
        api::health::Health {
            db: self.db.clone(),
            chat: self.chat.clone(),
            titles: self.titles.clone(),
            webhooks: self.webhooks.clone(),
            events: self.events.clone(),
            access: self.access.clone(),
            loops: self.background.loops.clone(),
            leaving: self.leaving.clone(),
        }
    }

    /// After serving: ends the background loops and closes the database.
    pub async fn close(self) {
        self.background.draining.cancel();
        self.background.closing.cancel();
        let Background { tasks, loops, .. } = &self.background;
        tasks.close();
        loops.tasks().close();
        let ended = async { tokio::join!(tasks.wait(), loops.tasks().wait()) };
        if timeout(BACKGROUND_GRACE, ended).await.is_err() {
            tracing::warn!(
                "timed out recording the last publications; they will be published again"
            );
        }
        // Do not wait for a hanging connection.
        match timeout(Duration::from_secs(1), self.db.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => error.log(),
            Err(_) => tracing::warn!("timed out closing database connections"),
        }
    }

    /// Stops waiting for running replies: they are aborted and stored as incomplete.
    pub fn force_shutdown(&self) {
        self.force_shutdown.cancel();
    }

    /// Keeps serving for `--drain-delay`, so that load balancers notice that the node is not ready.
    async fn delay_drain(&self) {
        let delay = self.settings.drain_delay;
        if !delay.is_zero() {
            tracing::info!(
                delay_ms = delay.as_millis() as u64,
                "shutdown signal received; still serving while /readyz answers 503 (--drain-delay)"
            );
            self.force_shutdown.run_until_cancelled(sleep(delay)).await;
        }
    }

    /// Waits for replies and titles; aborts them after the drain time.
    async fn drain(&self) {
        self.tasks.close();
        let finished = timeout(self.settings.drain, self.tasks.wait());
        let tasks = || self.tasks.len();
        match self.force_shutdown.run_until_cancelled(finished).await {
            Some(Ok(())) => return,
            Some(Err(_)) => tracing::warn!(
                tasks = tasks(),
                "drain time exceeded; running replies are stored as incomplete (--drain)"
            ),
            None => tracing::warn!(
                tasks = tasks(),
                "second shutdown signal received; running replies are stored as incomplete"
            ),
        }
        self.abort.cancel();
        if timeout(ABORT_GRACE, self.tasks.wait()).await.is_err() {
            tracing::error!(
                tasks = self.tasks.len(),
                "tasks did not end after the abort; leases and sweeps recover them"
            );
        }
    }
}
