//! Prometheus metrics of titles in this process: outcomes, latency, calls, tokens.

use std::{sync::atomic::AtomicU64, time::Duration};

use chrono::TimeDelta;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::task::TitleOutcome;
use crate::{
    conversation::TitleFailure,
    db::TitleCall,
    telemetry::label::{Bounded, LabelText},
};

/// The number of tenants, and of models, that get a label value of their own. Bounds the number of series.
const NAMED_TENANTS: usize = 200;
const NAMED_MODELS: usize = 50;

/// Histogram buckets in seconds: from a fast local model to a long deadline.
const LATENCIES: [f64; 11] = [0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0];

/// The counters of titles. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    generations: Family<OutcomeLabels, Counter>,
    duration: Histogram,
    calls: Family<CallLabels, Counter>,
    call_duration: Histogram,
    tokens: Family<TokenLabels, Counter>,
    claims: Family<ClaimLabels, Counter>,
    sweeps: Counter,
    retold: Counter,
    waiting: Gauge,
    waiting_for: Gauge<f64, AtomicU64>,
    tenants: Bounded<NAMED_TENANTS>,
    models: Bounded<NAMED_MODELS>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    tenant: LabelText,
    model: LabelText,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    tenant: LabelText,
    model: LabelText,
    outcome: &'static str,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClaimLabels {
    by: &'static str,
}

/// What triggered a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Trigger {
    /// A message with content.
    Message,
    /// A user's request: regenerate or reset.
    Person,
    /// A sweep: the previous claim expired.
    Sweep,
    /// A reply after which the subject may have moved.
    Drift,
    /// A sweep: the next try of a failed title is due.
    Retry,
    /// A backfill.
    Backfill,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            generations: Family::default(),
            duration: Histogram::new(LATENCIES),
            calls: Family::default(),
            call_duration: Histogram::new(LATENCIES),
            tokens: Family::default(),
            claims: Family::default(),
            sweeps: Counter::default(),
            retold: Counter::default(),
            waiting: Gauge::default(),
            waiting_for: Gauge::default(),
            tenants: Bounded::default(),
            models: Bounded::default(),
        }
    }
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "title_generations",
            "Finished titles, by outcome",
            self.generations.clone(),
        );
        registry.register_with_unit(
            "title_duration",
            "Time from the claim to the outcome of a title, the wait in the call queue included",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register(
            "title_calls",
            "Calls of the title model; those without a tenant are startup checks",
            self.calls.clone(),
        );
        registry.register_with_unit(
            "title_call_duration",
            "Duration of title model calls",
            Unit::Seconds,
            self.call_duration.clone(),
        );
        registry.register(
            "title_tokens",
            "Tokens of title calls; completion includes reasoning",
            self.tokens.clone(),
        );
        registry.register(
            "title_claims",
            "Titles claimed by this process, by trigger",
            self.claims.clone(),
        );
        registry.register(
            "title_sweeps",
            "Sweeps for interrupted titles and unpublished changes",
            self.sweeps.clone(),
        );
        registry.register(
            "title_retold_changes",
            "Changes that a sweep found committed but not published, and published",
            self.retold.clone(),
        );
        registry.register(
            "titles_waiting",
            "Failed titles of all nodes that wait for a retry, as of this node's last sweep",
            self.waiting.clone(),
        );
        registry.register_with_unit(
            "titles_waiting_oldest",
            "Time since the first failure of the title that has waited longest for a model, 0 if none waits",
            Unit::Seconds,
            self.waiting_for.clone(),
        );
    }

    /// The number of sweeps.
    pub fn sweeps(&self) -> u64 {
        self.sweeps.get()
    }

    pub(super) fn claimed(&self, by: Trigger) {
        self.claims
            .get_or_create(&ClaimLabels { by: by.into() })
            .inc();
    }

    pub(super) fn finished(&self, outcome: &TitleOutcome, duration: Duration) {
        self.generation(outcome.as_str());
        self.duration.observe(duration.as_secs_f64());
    }

    pub(super) fn abandoned(&self) {
        self.generation(TitleFailure::Abandoned.as_str());
    }

    fn generation(&self, outcome: &'static str) {
        self.generations
            .get_or_create(&OutcomeLabels { outcome })
            .inc();
    }

    pub(super) fn called(&self, tenant: &str, call: &TitleCall) {
        let (tenant, model, outcome) = (
            self.tenants.label(tenant),
            self.models.label(&call.model),
            call.outcome(),
        );
        for (kind, tokens) in [
            ("prompt", call.usage.prompt_tokens),
            ("completion", call.usage.completion_tokens),
            ("reasoning", call.usage.reasoning_tokens),
        ] {
            let labels = TokenLabels {
                tenant: tenant.clone(),
                model: model.clone(),
                outcome,
                kind,
            };
            self.tokens.get_or_create(&labels).inc_by(tokens);
        }
        let labels = CallLabels {
            tenant,
            model,
            outcome,
        };
        self.calls.get_or_create(&labels).inc();
        self.call_duration.observe(call.duration.as_secs_f64());
    }

    pub(super) fn swept(&self) {
        self.sweeps.inc();
    }

    /// Records the number of titles that wait for their next try, and the wait of the oldest one that is not held back
    /// by a budget.
    pub(super) fn waiting(&self, titles: i64, oldest: Option<TimeDelta>) {
        self.waiting.set(titles);
        let seconds = oldest.map_or(0.0, TimeDelta::as_seconds_f64);
        self.waiting_for.set(seconds.max(0.0));
    }

    pub(super) fn retold(&self, changes: usize) {
        self.retold.inc_by(changes as u64);
    }
}
