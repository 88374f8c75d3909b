//! What a model was found not to take, and whether it reasons: learned from its answers, for each model by itself.
//!
//! A refusal is remembered on evidence alone: the same request without the parameter was answered. It is forgotten
//! after an hour, so that a mended server gets the full request again, and what one odd message caused does not last.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::wire::{Param, Request};

/// How long a refusal is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(3600);

/// So many full requests in a row failed for a reason that names nothing, while the plain ones behind them were
/// answered: then requests are plain from the start.
const PLAIN_AFTER: u32 = 3;

#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<HashMap<String, Model>>);

#[derive(Debug, Default)]
struct Model {
    refused: BTreeMap<Param, Instant>,
    /// Full requests that failed in a row where a plain one was answered.
    plain_in_a_row: u32,
    plain_since: Option<Instant>,
    reasons: bool,
}

impl Memory {
    /// Leaves out of a request what its model refuses.
    pub(super) fn apply(&self, model: &str, body: &mut Request<'_>, now: Instant) {
        self.with(model, |known| {
            let is_fresh = |since: &Instant| now - *since < REMEMBERED_FOR;
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

    /// A request was answered after these were left out of it.
    pub(super) fn refused(&self, model: &str, params: &[Param]) {
        self.with(model, |known| {
            for param in params {
                if known.refused.insert(*param, Instant::now()).is_none() {
                    let parameter: &str = (*param).into();
                    tracing::warn!(
                        model,
                        parameter,
                        "the model refuses a parameter: it is left out of requests for an hour"
                    );
                }
            }
        });
    }

    /// A full request was answered.
    pub(super) fn answered_in_full(&self, model: &str) {
        self.with(model, |known| known.plain_in_a_row = 0);
    }

    /// A plain request was answered after the full one had failed.
    pub(super) fn answered_when_plain(&self, model: &str) {
        self.with(model, |known| {
            known.plain_in_a_row += 1;
            if known.plain_in_a_row >= PLAIN_AFTER && known.plain_since.is_none() {
                known.plain_in_a_row = 0;
                known.plain_since = Some(Instant::now());
                tracing::warn!(
                    model,
                    "the model answers plain requests alone: optional parameters are left out for an hour"
                );
            }
        });
    }

    /// The model was seen to reason.
    pub(super) fn has_reasoned(&self, model: &str) {
        self.with(model, |known| known.reasons = true);
    }

    /// Whether the model was seen to reason.
    pub(super) fn reasons(&self, model: &str) -> bool {
        self.with(model, |known| known.reasons)
    }

    fn with<T>(&self, model: &str, look: impl FnOnce(&mut Model) -> T) -> T {
        // A panic elsewhere cannot leave a set of flags half changed.
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

    /// The names of what a title's request has, an hour and so on after now.
    fn keys(memory: &Memory, model: &str, after: Duration) -> Vec<String> {
        let request = TitleRequest {
            instruction: "Name it.".to_owned(),
            input: "a".to_owned(),
            max_tokens: 512,
            plain: false,
        };
        let profile = Profile::title("gpt-5-mini");
        let mut body = Request::title("gpt-5-mini", &profile, &request, true);
        memory.apply(model, &mut body, Instant::now() + after);
        json!(body).as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn what_a_model_refuses_is_left_out_for_an_hour() {
        let memory = Memory::default();
        let all = keys(&memory, "a", Duration::ZERO);
        memory.refused("a", &[Param::Verbosity, Param::JsonSchema]);
        memory.refused("a", &[Param::ResponseFormat]);
        let mut rest = all.clone();
        rest.retain(|key| key != "verbosity" && key != "response_format");
        assert_eq!(keys(&memory, "a", Duration::from_secs(3590)), rest);
        assert_eq!(keys(&memory, "b", Duration::ZERO), all, "another model");
        assert_eq!(keys(&memory, "a", REMEMBERED_FOR), all, "tried again");
    }

    #[test]
    fn only_what_helps_three_times_in_a_row_makes_requests_plain() {
        let memory = Memory::default();
        let all = keys(&memory, "a", Duration::ZERO);
        memory.answered_when_plain("a");
        memory.answered_when_plain("a");
        memory.answered_in_full("a");
        memory.answered_when_plain("a");
        memory.answered_when_plain("a");
        assert_eq!(keys(&memory, "a", Duration::ZERO), all);
        memory.answered_when_plain("a");
        assert_eq!(
            keys(&memory, "a", Duration::ZERO),
            ["messages", "model", "stream"]
        );
        assert_eq!(keys(&memory, "a", REMEMBERED_FOR), all);
    }
}
