//! What titles have come to and what they have cost, in one process, for Prometheus.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::task::Ended;
use crate::{
    conversation::TitleFailure,
    db::TitleCall,
    telemetry::label::{Bounded, LabelText},
};

/// The most tenants, and the most models, that are counted by name; each is a series of its own.
const NAMED_TENANTS: usize = 200;
const NAMED_MODELS: usize = 50;

/// From a fast local model to a slow deadline, in seconds.
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

/// Why a title was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Begun {
    /// A message says something.
    Message,
    /// A person asked for it.
    Person,
    /// Whoever began it did not finish.
    Sweep,
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
            tenants: Bounded::default(),
            models: Bounded::default(),
        }
    }
}

impl Metrics {
    /// Names the counters to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "title_generations",
            "Titles that were begun and ended, by how",
            self.generations.clone(),
        );
        registry.register_with_unit(
            "title_duration",
            "From the claim to the end of a title, waiting for a turn included",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register(
            "title_calls",
            "Calls of the title model; those without a tenant checked whether it answers",
            self.calls.clone(),
        );
        registry.register_with_unit(
            "title_call_duration",
            "How long calls of the title model take",
            Unit::Seconds,
            self.call_duration.clone(),
        );
        registry.register(
            "title_tokens",
            "Tokens of title calls; reasoning is part of the completion",
            self.tokens.clone(),
        );
        registry.register(
            "title_claims",
            "Titles that this process began, by why",
            self.claims.clone(),
        );
        registry.register(
            "title_sweeps",
            "Looks for what a crash left behind",
            self.sweeps.clone(),
        );
        registry.register(
            "title_retold_changes",
            "Changes that were found committed and not told, and told by a sweep",
            self.retold.clone(),
        );
    }

    /// How often was swept.
    pub fn sweeps(&self) -> u64 {
        self.sweeps.get()
    }

    pub(super) fn claimed(&self, by: Begun) {
        self.claims
            .get_or_create(&ClaimLabels { by: by.into() })
            .inc();
    }

    pub(super) fn ended(&self, ended: &Ended, duration: Duration) {
        self.generation(ended.outcome());
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

    pub(super) fn retold(&self, changes: usize) {
        self.retold.inc_by(changes as u64);
    }
}
