//! Learned capabilities of a model: the parameters that it rejects, and whether it reasons.
//!
//! A rejection is recorded only if the same request without the parameter succeeded. It expires after an hour, so that
//! a repaired server gets full requests again, and an odd message has no lasting effect.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::wire::{Param, Request};
use crate::llm::ModelName;

/// How long a rejected parameter is omitted.
const REFUSAL_TTL: Duration = Duration::from_secs(3600);

/// After this many full requests in a row that failed where the plain retry succeeded, requests are plain from the
/// start.
const PLAIN_AFTER: u32 = 3;

/// The capabilities of one model.
#[derive(Debug)]
pub(super) struct Capabilities {
    name: ModelName,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    refused: BTreeMap<Param, Instant>,
    /// Full requests in a row that failed where the plain retry succeeded.
    plain_in_a_row: u32,
    plain_since: Option<Instant>,
    reasons: bool,
}

impl Known {
    /// Drops records older than [`REFUSAL_TTL`].
    fn refresh(&mut self, now: Instant) {
        let is_fresh = |since: &Instant| now.saturating_duration_since(*since) < REFUSAL_TTL;
        self.refused.retain(|_, since| is_fresh(since));
        self.plain_since = self.plain_since.filter(is_fresh);
    }
}

impl Capabilities {
    pub(super) fn new(name: ModelName) -> Self {
        Self {
            name,
            known: Mutex::default(),
        }
    }

    /// Removes the parameters that the model rejects. Returns whether it removed all optional ones.
    pub(super) fn apply(&self, request: &mut Request, now: Instant) -> bool {
        let mut known = self.lock();
        known.refresh(now);
        if known.plain_since.is_some() {
            request.make_plain();
        }
        for param in known.refused.keys() {
            request.remove(*param);
        }
        known.plain_since.is_some()
    }

    /// The parameters that requests omit now; `all` if they omit every optional one.
    pub(super) fn refused(&self, now: Instant) -> Vec<&'static str> {
        let mut known = self.lock();
        known.refresh(now);
        match known.plain_since {
            Some(_) => vec!["all"],
            None => known.refused.keys().map(|param| (*param).into()).collect(),
        }
    }

    /// Records that a request succeeded without these parameters.
    pub(super) fn record_refused(&self, params: &[Param]) {
        let mut known = self.lock();
        for param in params {
            if known.refused.insert(*param, Instant::now()).is_none() {
                let parameter: &str = (*param).into();
                tracing::warn!(
                    model = %self.name,
                    parameter,
                    "the model rejects a parameter; requests omit it for an hour"
                );
            }
        }
    }

    /// Records that a full request succeeded.
    pub(super) fn record_full_answer(&self) {
        self.lock().plain_in_a_row = 0;
    }

    /// Records that a plain request succeeded after the full one failed.
    pub(super) fn record_plain_answer(&self) {
        let mut known = self.lock();
        known.plain_in_a_row += 1;
        if known.plain_in_a_row >= PLAIN_AFTER && known.plain_since.is_none() {
            known.plain_in_a_row = 0;
            known.plain_since = Some(Instant::now());
            tracing::warn!(
                model = %self.name,
                "the model answers only plain requests; requests omit optional parameters for an hour"
            );
        }
    }

    /// Records that the model reasons.
    pub(super) fn record_reasoning(&self) {
        self.lock().reasons = true;
    }

    /// Whether the model has been seen to reason.
    pub(super) fn reasons(&self) -> bool {
        self.lock().reasons
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Each update is a single assignment, so the state is valid after a panic.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::{
        TitleRequest,
        profile::Profile,
        provider::wire::{Target, WireFormat, chat_completions::ChatCompletions},
    };

    fn capabilities() -> Capabilities {
        Capabilities::new(ModelName::new("openai", "gpt-5-mini"))
    }

    /// The fields of a title request, at the time `after` from now.
    fn keys(capabilities: &Capabilities, after: Duration) -> Vec<String> {
        let target = Target {
            model: "gpt-5-mini",
            openai: true,
            reasoning: true,
        };
        let profile = Profile::title("gpt-5-mini");
        let fields = ChatCompletions.title(target, &profile, &TitleRequest::default());
        let mut request = Request::new(&ChatCompletions, fields);
        capabilities.apply(&mut request, Instant::now() + after);
        request.fields.keys().cloned().collect()
    }

    #[test]
    fn what_a_model_refuses_is_left_out_for_an_hour() {
        let capabilities = capabilities();
        let all = keys(&capabilities, Duration::ZERO);
        capabilities.record_refused(&[Param::Verbosity, Param::JsonSchema]);
        capabilities.record_refused(&[Param::ResponseFormat]);
        let mut rest = all.clone();
        rest.retain(|key| key != "verbosity" && key != "response_format");
        assert_eq!(keys(&capabilities, Duration::from_secs(3590)), rest);
        assert_eq!(
            capabilities.refused(Instant::now()),
            ["verbosity", "json_schema", "response_format"]
        );
        assert_eq!(keys(&capabilities, REFUSAL_TTL), all, "tried again");
    }

    #[test]
    fn only_what_helps_three_times_in_a_row_makes_requests_plain() {
        let capabilities = capabilities();
        let all = keys(&capabilities, Duration::ZERO);
        capabilities.record_plain_answer();
        capabilities.record_plain_answer();
        capabilities.record_full_answer();
        capabilities.record_plain_answer();
        capabilities.record_plain_answer();
        assert_eq!(keys(&capabilities, Duration::ZERO), all);
        capabilities.record_plain_answer();
        assert_eq!(
            keys(&capabilities, Duration::ZERO),
            ["messages", "model", "stream"]
        );
        assert_eq!(keys(&capabilities, REFUSAL_TTL), all);
    }
}
