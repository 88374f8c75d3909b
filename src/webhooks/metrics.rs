//! Prometheus metrics of webhooks. The label `hook` is a configured name, so it has few values.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::{db::WebhookBacklog, telemetry::label::LabelText};

/// Histogram buckets in seconds.
const LATENCIES: [f64; 9] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];

/// The counters of webhooks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    deliveries: Family<OutcomeLabels, Counter>,
    duration: Histogram,
    given_up: Family<HookLabels, Counter>,
    dropped: Family<HookLabels, Counter>,
    waiting: Family<StateLabels, Gauge>,
    oldest: Family<HookLabels, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HookLabels {
    hook: LabelText,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    hook: LabelText,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    hook: LabelText,
    state: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            deliveries: Family::default(),
            duration: Histogram::new(LATENCIES),
            given_up: Family::default(),
            dropped: Family::default(),
            waiting: Family::default(),
            oldest: Family::default(),
        }
    }
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "webhook_deliveries",
            "Requests to receivers of webhooks, by outcome",
            self.deliveries.clone(),
        );
        registry.register_with_unit(
            "webhook_delivery_duration",
            "Time of a request to the receiver of a webhook",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register(
            "webhook_given_up",
            "Events of webhooks that were given up after their last try (retry_for)",
            self.given_up.clone(),
        );
        registry.register(
            "webhook_dropped",
            "Events removed without delivery: given up longer ago than keep, or of webhooks that are no longer configured",
            self.dropped.clone(),
        );
        registry.register(
            "webhook_conversations",
            "Conversations with events of a webhook to send, by state, up to 10,000: queued, failing (some of the queued) \
             or parked",
            self.waiting.clone(),
        );
        registry.register_with_unit(
            "webhook_waiting_oldest",
            "The longest time for which a conversation, parked ones left out, has had events of a webhook to send and none \
             was received",
            Unit::Seconds,
            self.oldest.clone(),
        );
    }

    pub(super) fn sent(&self, hook: &str, outcome: &'static str, took: Duration) {
        let hook = hook.into();
        self.deliveries
            .get_or_create(&OutcomeLabels { hook, outcome })
            .inc();
        self.duration.observe(took.as_secs_f64());
    }

    pub(super) fn parked(&self, hook: &str) {
        let hook = hook.into();
        self.given_up.get_or_create(&HookLabels { hook }).inc();
    }

    pub(super) fn dropped(&self, hook: &str, events: u64) {
        let hook = hook.into();
        self.dropped
            .get_or_create(&HookLabels { hook })
            .inc_by(events);
    }

    pub(super) fn waiting(&self, hook: &str, backlog: &WebhookBacklog) {
        for (state, count) in [
            ("queued", backlog.queued),
            ("failing", backlog.failing),
            ("parked", backlog.parked),
        ] {
            let hook = hook.into();
            let gauge = self.waiting.get_or_create(&StateLabels { hook, state });
            gauge.set(count.try_into().unwrap_or(i64::MAX));
        }
        let hook = hook.into();
        let seconds = backlog.oldest.as_secs().try_into().unwrap_or(i64::MAX);
        self.oldest.get_or_create(&HookLabels { hook }).set(seconds);
    }

    /// Resets the counts of waiting events, because the webhooks have changed.
    pub(super) fn forget_backlogs(&self) {
        self.waiting.clear();
        self.oldest.clear();
    }
}
