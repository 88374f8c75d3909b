//! Serving, and ending well.

use std::{future::Future, time::Duration};

use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{App, Background};
use crate::{
    api,
    auth::Access,
    server::{self, Limits, Server},
};

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

impl App {
    /// Serves those who may call on a listener until `shutdown` is ready: then nothing new is accepted, streams
    /// that only watch end at once, and replies and titles under way get the time to finish that the
    /// settings give them.
    pub async fn serve(
        &self,
        access: Access,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) {
        let (leaving, closing) = (self.leaving.clone(), CancellationToken::new());
        let router = api::router(api::Services {
            access,
            db: self.db.clone(),
            events: self.events.clone(),
            model: self.model.clone(),
            titles: self.titles.clone(),
            chat: self.chat.clone(),
            tasks: self.tasks.clone(),
            health: self.health(),
            closing: closing.clone(),
            http: self.http.clone(),
            title_grace: self.settings.title_grace,
            keep_alive: self.settings.keep_alive,
            cohorts: self.settings.cohorts,
            cursors: self.cursors.clone(),
            users: self.users.clone(),
            subscriptions: self.subscriptions.clone(),
            allowed_origins: self.origins.clone(),
            allowed_hosts: self.hosts.clone(),
            pages: self.settings.pages,
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
        let watched = api::metrics::MetricSources {
            http: self.http.clone(),
            chat: self.chat.clone(),
            titles: self.titles.clone(),
            subscriptions: self.subscriptions.clone(),
            events: self.events.clone(),
            db: self.db.clone(),
            connections: self.limits.clone(),
            users: self.users.clone(),
            health: self.health(),
        };
        let router = api::metrics::router(watched, self.hosts.clone());
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

    fn health(&self) -> api::health::Health {
        api::health::Health {
            db: self.db.clone(),
            model: self.model.clone(),
            titles: self.titles.clone(),
            events: self.events.clone(),
            access: self.access.clone(),
            loops: self.background.loops.clone(),
            leaving: self.leaving.clone(),
        }
    }

    /// Closes the database once nothing is served any more.
    pub async fn close(self) {
        self.background.draining.cancel();
        self.background.closing.cancel();
        let Background { tasks, loops, .. } = &self.background;
        tasks.close();
        loops.tasks().close();
        let ended = async { tokio::join!(tasks.wait(), loops.tasks().wait()) };
        if timeout(NOTES, ended).await.is_err() {
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
    pub fn force_shutdown(&self) {
        self.force_shutdown.cancel();
    }

    /// Goes on as before, until those who look at readiness have seen it.
    async fn delay_drain(&self) {
        let delay = self.settings.drain_delay;
        if !delay.is_zero() {
            tracing::info!(delay_ms = delay.as_millis() as u64, "not ready any more");
            self.force_shutdown.run_until_cancelled(sleep(delay)).await;
        }
    }

    /// Waits for replies and titles; cuts short what takes too long.
    async fn drain(&self) {
        self.tasks.close();
        let finished = timeout(self.settings.drain, self.tasks.wait());
        if let Some(Ok(())) = self.force_shutdown.run_until_cancelled(finished).await {
            return;
        }
        tracing::warn!(tasks = self.tasks.len(), "cutting replies short");
        self.abort.cancel();
        if timeout(CUT, self.tasks.wait()).await.is_err() {
            tracing::error!(tasks = self.tasks.len(), "tasks did not end");
        }
    }
}
