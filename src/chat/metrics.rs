//! Prometheus metrics of the replies that this process writes.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::{
    conversation::Usage,
    db::Removed,
    telemetry::label::{Bounded, LabelText},
};

/// Buckets of the reply duration, in seconds.
const DURATIONS: [f64; 11] = [
    0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 90.0, 240.0, 600.0,
];

/// Buckets of the time to the first text, in seconds.
const FIRST_TEXT: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0];

/// The number of tenants that get a label of their own; the rest share one, which bounds the cardinality.
const NAMED_TENANTS: usize = 200;
const NAMED_AGENTS: usize = 50;
const NAMED_MODELS: usize = 50;

/// The metrics of replies. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    ended: Family<OutcomeLabels, Counter>,
    duration: Histogram,
    first_text: Histogram,
    pruned: Family<TableLabels, Counter>,
    tokens: Family<TokenLabels, Counter>,
    tenants: Bounded<NAMED_TENANTS>,
    agents: Bounded<NAMED_AGENTS>,
    models: Bounded<NAMED_MODELS>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    tenant: LabelText,
    agent: LabelText,
    model: LabelText,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TableLabels {
    table: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            ended: Family::default(),
            duration: Histogram::new(DURATIONS),
            first_text: Histogram::new(FIRST_TEXT),
            pruned: Family::default(),
            tokens: Family::default(),
            tenants: Bounded::default(),
            agents: Bounded::default(),
            models: Bounded::default(),
        }
    }
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "replies_ended",
            "Finished replies of this process, by outcome: completed, incomplete or failed",
            self.ended.clone(),
        );
        registry.register(
            "reply_tokens",
            "Tokens of replies; completion includes reasoning",
            self.tokens.clone(),
        );
        registry.register(
            "pruned_rows",
            "Rows that retention removed, by table; deleted_conversations are those that became tombstones",
            self.pruned.clone(),
        );
        registry.register_with_unit(
            "reply_duration",
            "Time from the stored message to the stored reply",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register_with_unit(
            "reply_first_text",
            "Time from the stored message to the first text of its reply",
            Unit::Seconds,
            self.first_text.clone(),
        );
    }

    /// Counts the rows that retention removed.
    pub(super) fn pruned(&self, removed: &Removed) {
        for (table, rows) in &removed.0 {
            let labels = TableLabels { table };
            self.pruned.get_or_create(&labels).inc_by(*rows);
        }
    }

    pub(super) fn ended(&self, outcome: &'static str, duration: Duration) {
        self.ended.get_or_create(&OutcomeLabels { outcome }).inc();
        self.duration.observe(duration.as_secs_f64());
    }

    pub(super) fn first_text(&self, waited: Duration) {
        self.first_text.observe(waited.as_secs_f64());
    }

    /// Counts the tokens that the provider reported for a reply.
    pub(super) fn used(&self, tenant: &str, agent: &str, model: &str, usage: Usage) {
        for (kind, tokens) in [
            ("prompt", usage.prompt_tokens),
            ("completion", usage.completion_tokens),
            ("reasoning", usage.reasoning_tokens),
        ] {
            let labels = TokenLabels {
                tenant: self.tenants.label(tenant),
                agent: self.agents.label(agent),
                model: self.models.label(model),
                kind,
            };
            self.tokens.get_or_create(&labels).inc_by(tokens);
        }
    }
}
