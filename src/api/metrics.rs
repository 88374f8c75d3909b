//! Prometheus metrics. They have their own listener, so that clients cannot read them.

use std::{fmt, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::header,
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use graphql_transport::cohort::{Counters, Counts};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text},
    metrics::{
        MetricType,
        counter::ConstCounter,
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::Registry,
};
use strum::VariantArray;

use super::{
    health::Health,
    host::{self, AllowedHosts, HostRule},
    limits::UserLimits,
    model_metrics::ModelEntries,
    observe::HttpMetrics,
    origin::{self, AllowedOrigins},
    rest::{self, RestError},
};
use crate::{
    chat::Chat,
    db::{Connections, Database, DatabaseState},
    error::Error,
    events::EventBroker,
    server::Limits,
    supervisor::{LoopReport, LoopState},
    telemetry,
    titles::Titles,
    webhooks::Webhooks,
};

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The router of the metrics listener. It has no authentication, so it checks hosts even if the API requires tokens.
pub fn router(watched: MetricSources, hosts: AllowedHosts) -> Router {
    let hosts = Arc::new(HostRule::Listed(hosts));
    let origins = Arc::new(AllowedOrigins::default());
    let mut registry = Registry::with_prefix("titlecast");
    watched.http.register(&mut registry);
    watched.chat.metrics().register(&mut registry);
    watched.titles.metrics().register(&mut registry);
    watched.webhooks.metrics().register(&mut registry);
    let readiness = Readiness::new(watched.health.clone(), &mut registry);
    registry.register_collector(Box::new(watched));
    Router::new()
        .route("/metrics", get(page))
        .fallback(rest::no_such_path)
        .method_not_allowed_fallback(rest::method_not_allowed)
        .with_state(Arc::new(Page {
            registry,
            readiness,
        }))
        .layer(middleware::from_fn_with_state(origins, origin::check))
        .layer(middleware::from_fn_with_state(hosts, host::check))
}

/// Returns the metrics, on the listener of `--metrics-listen`.
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "operations",
    servers((url = "http://127.0.0.1:9464", description = "`--metrics-listen`")),
    responses((
        status = 200, description = "OpenMetrics", body = String,
        content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8",
    )),
)]
pub(super) async fn page(State(page): State<Arc<Page>>) -> Result<Response, RestError> {
    let Page {
        registry,
        readiness,
    } = &*page;
    readiness.update().await;
    let mut page = String::new();
    text::encode(&mut page, registry).map_err(|error| Error::Internal(error.into()))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], page).into_response())
}

pub(super) struct Page {
    registry: Registry,
    readiness: Readiness,
}

/// The state of `/readyz` as gauges, updated on each scrape.
struct Readiness {
    health: Health,
    ready: Gauge,
    database_up: Gauge,
    database_states: Family<[(&'static str, &'static str); 1], Gauge>,
}

impl Readiness {
    fn new(health: Health, registry: &mut Registry) -> Self {
        let (ready, database_up) = (Gauge::default(), Gauge::default());
        registry.register(
            "ready",
            "1 if /readyz answers 200, 0 if it answers 503",
            ready.clone(),
        );
        registry.register(
            "database_up",
            "1 if the database answers, else 0",
            database_up.clone(),
        );
        let database_states = Family::default();
        registry.register(
            "database_state",
            "1 for the current state of the database in /readyz, 0 for the other states",
            database_states.clone(),
        );
        Self {
            health,
            ready,
            database_up,
            database_states,
        }
    }

    async fn update(&self) {
        let report = self.health.report().await;
        let is_up = report.database != DatabaseState::Unavailable;
        self.database_up.set(i64::from(is_up));
        for state in DatabaseState::VARIANTS {
            let gauge = self
                .database_states
                .get_or_create(&[("state", state.into())]);
            gauge.set(i64::from(*state == report.database));
        }
        self.ready.set(i64::from(report.is_ready()));
    }
}

/// The sources of the metrics.
pub struct MetricSources {
    /// Requests by route, method and status; open streams.
    pub http: HttpMetrics,
    /// Replies.
    pub chat: Chat,
    /// Titles.
    pub titles: Titles,
    /// Webhooks.
    pub webhooks: Webhooks,
    /// Subscriptions.
    pub subscriptions: Counters,
    /// Runs, and other nodes.
    pub events: EventBroker,
    /// Statements and connections of the database.
    pub db: Database,
    /// Connections of clients.
    pub connections: Limits,
    /// Requests rejected by user limits.
    pub users: UserLimits,
    /// Readiness and background loops.
    pub health: Health,
}

impl fmt::Debug for MetricSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricSources").finish_non_exhaustive()
    }
}

impl Collector for MetricSources {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let mut metric = |name: &str, help: &str, metric: &dyn EncodeMetric| {
            let encoder = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
            metric.encode(encoder)
        };
        metric(
            "replies_running",
            "Running replies of this process",
            &ConstGauge::new(self.events.runs().len() as i64),
        )?;
        metric(
            "log_lines_dropped",
            "Log lines that were dropped because nothing read standard error",
            &ConstCounter::new(telemetry::dropped_lines()),
        )?;
        let has_failed = ConstGauge::new(i64::from(self.chat.has_failed_reload()));
        metric(
            "config_reload_failed",
            "1 if the last reload of --config failed, so that an older configuration is in force, else 0",
            &has_failed,
        )?;
        let is_open = ConstGauge::new(i64::from(self.titles.breaker_is_open()));
        metric(
            "title_breaker_open",
            "1 while the breaker of a policy's models is open: they refuse all calls, and only probes reach them",
            &is_open,
        )?;
        let used_up = ConstGauge::new(self.titles.used_up_budgets() as i64);
        metric(
            "title_budgets_used_up",
            "Title budgets of tenants, and of agents for tenants, that this process found to be used up for the day",
            &used_up,
        )?;
        let health = self.titles.model_health();
        let is_up = health.iter().filter_map(|one| one.state.is_up());
        // With several policy chains, every chain must answer.
        if let Some(is_up) = is_up.reduce(|all, one| all && one) {
            metric(
                "title_model_up",
                "1 if the last call of the title model, and of each policy's, succeeded, else 0; absent before the first call",
                &ConstGauge::new(i64::from(is_up)),
            )?;
        }
        let entries = ModelEntries::new(&self.chat, &self.titles);
        metric(
            "model_open",
            "1 while the breaker of a model is open: it is asked only by probes, or if no other model is left",
            &entries.gauge(|entry| entry.refusal.is_some()),
        )?;
        metric(
            "model_failing",
            "1 if the last call of a model failed, also while its breaker is open; 0 after an answer",
            &entries.gauge(|entry| entry.failure.is_some()),
        )?;
        metric(
            "model_answering",
            "1 for the model of each chain that answers, 0 for the others",
            &entries.gauge(|entry| entry.is_answering),
        )?;
        metric(
            "model_refused_parameters",
            "Parameters that requests to a model omit, because it rejected them",
            &entries.refused_parameters(),
        )?;
        if let Some(relay) = self.events.relay() {
            metric(
                "nats_connected",
                "1 while this node receives the other nodes' wake-ups through NATS, else 0",
                &ConstGauge::new(i64::from(relay.is_connected())),
            )?;
            metric(
                "nats_subscriptions",
                "NATS subscriptions of this node, one per watched topic",
                &ConstGauge::new(relay.subscriptions() as i64),
            )?;
            metric(
                "nats_published",
                "Wake-ups sent to other nodes",
                &ConstCounter::new(relay.published()),
            )?;
            metric(
                "nats_received",
                "Wake-ups received from other nodes",
                &ConstCounter::new(relay.received()),
            )?;
            metric(
                "nats_dropped",
                "Wake-ups dropped because the send queue was full",
                &ConstCounter::new(relay.dropped()),
            )?;
            metric(
                "nats_reads",
                "Row reads caused by other nodes",
                &ConstCounter::new(relay.reads()),
            )?;
        }
        let connections = self.connections.counts();
        metric(
            "connections",
            "Open client connections",
            &ConstGauge::new(i64::from(connections.connections)),
        )?;
        for (name, help, count) in [
            (
                "refused_connections",
                "Connections rejected by the total limit",
                connections.full,
            ),
            (
                "refused_of_address",
                "Connections, and requests through proxies, rejected by the limit per address",
                connections.crowded,
            ),
            (
                "refused_slow_bodies",
                "Requests rejected because their body arrived too slowly",
                connections.slow_bodies,
            ),
            (
                "refused_proxy_headers",
                "Connections of trusted proxies closed because they did not begin with a header of the PROXY protocol",
                connections.bad_proxy_headers,
            ),
            (
                "refused_streams",
                "Streams and WebSockets rejected by the limit per user",
                self.users.refused_streams(),
            ),
            (
                "refused_messages",
                "Messages rejected by the limit per user and minute",
                self.users.refused_messages(),
            ),
        ] {
            metric(name, help, &ConstCounter::new(count))?;
        }
        let (run, failed) = self.db.statements_for_operators();
        metric(
            "database_statements",
            "Database statements executed, or failed because no connection was available",
            &ConstCounter::new(run),
        )?;
        metric(
            "database_statements_failed",
            "Database statements that failed, also for lack of a connection; includes races between requests, which are \
             retried",
            &ConstCounter::new(failed),
        )?;
        let loops = self.health.loops.report();
        metric(
            "loop_restarts",
            "Restarts of a background loop after it ended",
            &LoopCounts(&loops, |one| one.restarts),
        )?;
        metric(
            "loop_failures",
            "Iterations of a background loop that failed or timed out",
            &LoopCounts(&loops, |one| one.failures),
        )?;
        metric(
            "loop_bad_rows",
            "Rows skipped by a background loop because they cannot be read or stored",
            &LoopCounts(&loops, |one| one.bad_rows),
        )?;
        metric(
            "loop_up",
            "1 while a background loop is healthy, 0 while it is failing, late or stuck",
            &LoopsUp(&loops),
        )?;
        let pools = Pools(self.db.connections());
        metric(
            "database_connections",
            "Open database connections, by pool and state (used or idle)",
            &pools,
        )?;
        let Counts {
            sockets,
            cohorts,
            members,
            executions,
            deliveries,
            lagged,
        } = self.subscriptions.read();
        metric(
            "websockets_open",
            "Open WebSockets",
            &ConstGauge::new(sockets as i64),
        )?;
        metric(
            "subscription_cohorts",
            "Groups of equal subscriptions that share one execution",
            &ConstGauge::new(cohorts as i64),
        )?;
        metric(
            "subscription_members",
            "Subscriptions in all cohorts",
            &ConstGauge::new(members as i64),
        )?;
        metric(
            "subscription_executions",
            "Events executed and serialised",
            &ConstCounter::new(executions),
        )?;
        metric(
            "subscription_deliveries",
            "Events delivered to subscribers",
            &ConstCounter::new(deliveries),
        )?;
        metric(
            "subscription_lagged",
            "Events lost by subscribers that fell behind",
            &ConstCounter::new(lagged),
        )
    }
}

/// Open connections of each pool, as a labelled gauge.
struct Pools(Vec<Connections>);

impl EncodeMetric for Pools {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        for Connections { pool, open, idle } in &self.0 {
            for (state, number) in [("used", open.saturating_sub(*idle)), ("idle", *idle)] {
                let labels = [("pool", *pool), ("state", state)];
                let gauge = ConstGauge::new(i64::from(number));
                gauge.encode(encoder.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

/// A counter labelled by background loop.
struct LoopCounts<'a>(&'a [LoopReport], fn(&LoopReport) -> u64);

impl EncodeMetric for LoopCounts<'_> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        for one in self.0 {
            let counter = ConstCounter::new((self.1)(one));
            counter.encode(encoder.encode_family(&[("loop", one.kind.name())])?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

/// A gauge labelled by background loop: 1 if its state is good.
struct LoopsUp<'a>(&'a [LoopReport]);

impl EncodeMetric for LoopsUp<'_> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        for one in self.0 {
            let gauge = ConstGauge::new(i64::from(one.state == LoopState::Good));
            gauge.encode(encoder.encode_family(&[("loop", one.kind.name())])?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}
