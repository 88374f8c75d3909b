//! Learned capabilities of each model: the parameters that it rejects, and whether it reasons.
//!
//! A rejection is recorded only if the same request without the parameter succeeded. It expires after an hour, so that
//! a repaired server gets full requests again, and an odd message has no lasting effect.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::wire::{Param, Request};

/// How long a rejected parameter is omitted.
const REFUSAL_TTL: Duration = Duration::from_secs(3600);

/// After this many full requests in a row that failed where the plain retry succeeded, requests are plain from the
/// start.
const PLAIN_AFTER: u32 = 3;

#[derive(Debug, Default)]
pub(super) struct Capabilities(Mutex<HashMap<String, ModelCapabilities>>);

#[derive(Debug, Default)]
struct ModelCapabilities {
    refused: BTreeMap<Param, Instant>,
    /// Full requests in a row that failed where the plain retry succeeded.
    plain_in_a_row: u32,
    plain_since: Option<Instant>,
    reasons: bool,
}

impl Capabilities {
    /// Removes the parameters that the model rejects.
    pub(super) fn apply(&self, model: &str, body: &mut Request<'_>, now: Instant) {
        self.with(model, |known| {
            let is_fresh = |since: &Instant| now - *since < REFUSAL_TTL;
            known.refused.retain(|_, since| is_fresh(since));
            known.plain_since = known.plain_since.filter(is_fresh);
            if known.plain_since.is_some() {
                return body.make_plain();
            }
            for param in known.refused.keys() {
                body.remove(*param);
            }
        });
    }

    /// Records that a request succeeded without these parameters.
    pub(super) fn record_refused(&self, model: &str, params: &[Param]) {
        self.with(model, |known| {
            for param in params {
                if known.refused.insert(*param, Instant::now()).is_none() {
                    let parameter: &str = (*param).into();
                    tracing::warn!(
                        model,
                        parameter,
                        "the model rejects a parameter; requests omit it for an hour"
                    );
                }
            }
        });
    }

    /// Records that a full request succeeded.
    pub(super) fn record_full_answer(&self, model: &str) {
        self.with(model, |known| known.plain_in_a_row = 0);
    }

    /// Records that a plain request succeeded after the full one failed.
    pub(super) fn record_plain_answer(&self, model: &str) {
        self.with(model, |known| {
            known.plain_in_a_row += 1;
            if known.plain_in_a_row >= PLAIN_AFTER && known.plain_since.is_none() {
                known.plain_in_a_row = 0;
                known.plain_since = Some(Instant::now());
                tracing::warn!(
                    model,
                    "the model answers only plain requests; requests omit optional parameters for an hour"
                );
            }
        });
    }

    /// Records that the model reasons.
    pub(super) fn record_reasoning(&self, model: &str) {
        self.with(model, |known| known.reasons = true);
    }

    /// Whether the model has been seen to reason.
    pub(super) fn reasons(&self, model: &str) -> bool {
        self.with(model, |known| known.reasons)
    }

    fn with<T>(&self, model: &str, look: impl FnOnce(&mut ModelCapabilities) -> T) -> T {
        // Each update is a single assignment, so the state is valid after a panic.
        let mut models = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match models.get_mut(model) {
            Some(known) => look(known),
            None => look(models.entry(model.to_owned()).or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::llm::{TitleRequest, profile::Profile};

    /// The fields of a title request, `after` from now.
    fn keys(capabilities: &Capabilities, model: &str, after: Duration) -> Vec<String> {
        let request = TitleRequest {
            instruction: "Name it.".to_owned(),
            input: "a".to_owned(),
            max_tokens: 512,
            plain: false,
        };
        let profile = Profile::title("gpt-5-mini");
        let mut body = Request::title("gpt-5-mini", &profile, &request, true);
        capabilities.apply(model, &mut body, Instant::now() + after);
        json!(body).as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn what_a_model_refuses_is_left_out_for_an_hour() {
        let capabilities = Capabilities::default();
        let all = keys(&capabilities, "a", Duration::ZERO);
        capabilities.record_refused("a", &[Param::Verbosity, Param::JsonSchema]);
        capabilities.record_refused("a", &[Param::ResponseFormat]);
        let mut rest = all.clone();
        rest.retain(|key| key != "verbosity" && key != "response_format");
        assert_eq!(keys(&capabilities, "a", Duration::from_secs(3590)), rest);
        assert_eq!(
            keys(&capabilities, "b", Duration::ZERO),
            all,
            "another model"
        );
        assert_eq!(keys(&capabilities, "a", REFUSAL_TTL), all, "tried again");
    }

    #[test]
    fn only_what_helps_three_times_in_a_row_makes_requests_plain() {
        let capabilities = Capabilities::default();
        let all = keys(&capabilities, "a", Duration::ZERO);
        capabilities.record_plain_answer("a");
        capabilities.record_plain_answer("a");
        capabilities.record_full_answer("a");
        capabilities.record_plain_answer("a");
        capabilities.record_plain_answer("a");
        assert_eq!(keys(&capabilities, "a", Duration::ZERO), all);
        capabilities.record_plain_answer("a");
        assert_eq!(
            keys(&capabilities, "a", Duration::ZERO),
            ["messages", "model", "stream"]
        );
        assert_eq!(keys(&capabilities, "a", REFUSAL_TTL), all);
    }
}
