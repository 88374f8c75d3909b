//! Maps the finish reasons of many providers to [`Finish`].
//!
//! Compared without case, `-` and `_`. Only the listed natural ends are complete answers. Unknown reasons are never
//! success, since a partial answer would be stored as complete.

use serde_json::Value;

use crate::llm::Finish;

/// Natural ends: the answer is complete.
const NATURAL: [&str; 8] = [
    "stop",
    "endturn",
    "stopsequence",
    "eos",
    "eostoken",
    "end",
    "complete",
    "completed",
];

/// Natural ends with tool calls.
const TOOLS: [&str; 3] = ["toolcalls", "functioncall", "tooluse"];

/// Parts of content filter reasons.
const FILTER: [&str; 13] = [
    "filter",
    "safety",
    "recitation",
    "refus",
    "guardrail",
    "blocklist",
    "blocked",
    "prohibited",
    "spii",
    "moderat",
    "sensitive",
    "policy",
    "censor",
];

/// Parts of token limit reasons.
const LENGTH: [&str; 3] = ["length", "token", "context"];

/// Parts of server failure reasons.
const FAILURE: [&str; 5] = [
    "error",
    "insufficientsystemresource",
    "overload",
    "unavailable",
    "timeout",
];

/// The longest reason that is compared.
const MAX_WORD_BYTES: usize = 64;

/// One classified finish reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Known(Finish),
    /// The model called tools: a natural end, unless the server runs the tools itself and continues.
    Tools,
    /// The server failed.
    Failure,
    /// Any other reason, sanitised for the log.
    Unknown(String),
}

impl Ending {
    /// Converts to a [`Finish`]; failures and unknown reasons leave an incomplete answer.
    pub(super) fn finish(&self) -> Finish {
        match self {
            Self::Known(finish) => *finish,
            Self::Tools => Finish::Stop,
            Self::Failure | Self::Unknown(_) => Finish::Unknown,
        }
    }
}

/// What may still follow in an answer. Some servers send a finish reason with each delta, or after each round of tools
/// that they run themselves, so content after a finish reason shows that it was not final.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Progress {
    /// Content, or a final finish reason.
    #[default]
    Open,
    /// Like `Open`, after content has followed an earlier finish reason: a finish reason that comes with content is no
    /// longer final.
    Doubtful,
    /// Perhaps content: tools were called.
    Tools,
    /// Nothing but token counts.
    Over,
}

impl Progress {
    /// The progress after an event with this finish reason.
    pub(super) fn after(self, ending: Option<&Ending>, has_content: bool) -> Self {
        match (self, ending) {
            (Self::Over | Self::Doubtful, _) if has_content => Self::Doubtful,
            (_, Some(Ending::Tools)) => Self::Tools,
            (_, Some(_)) => Self::Over,
            (_, None) if has_content => Self::Open,
            (_, None) => self,
        }
    }
}

/// Reads the finish reason from a choice or its event. `None` while the answer continues.
pub(super) fn read(choice: Option<&Value>, event: &Value) -> Option<Ending> {
    let named = |name: &str| {
        let places = [choice, Some(event)].into_iter().flatten();
        places.filter_map(|place| word(place.get(name))).next()
    };
    // Some providers call it `stop_reason`; vLLM puts the stop sequence there, next to `finish_reason`.
    let ending = match named("finish_reason") {
        Some(word) => classify(&word),
        None => classify(&named("native_finish_reason").or_else(|| named("stop_reason"))?),
    };
    // Routers report many reasons as `stop`; a known native reason is more precise.
    let native = named("native_finish_reason").map(|word| classify(&word));
    match (&ending, native) {
        (Ending::Tools, Some(Ending::Known(Finish::Stop))) => Some(ending),
        (Ending::Known(Finish::Stop) | Ending::Tools, Some(native))
            if !matches!(native, Ending::Unknown(_)) =>
        {
            Some(native)
        }
        _ => Some(ending),
    }
}

/// The reason in a field. Empty values and `null`, also as a string, mean that the answer continues.
pub(super) fn word(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::Null | Value::Bool(false) => None,
        Value::String(word) => {
            let word = word.trim();
            let is_none = word.is_empty()
                || word.eq_ignore_ascii_case("null")
                || word.eq_ignore_ascii_case("none");
            (!is_none).then(|| word.to_owned())
        }
        Value::Object(object) => ["type", "reason"]
            .iter()
            .find_map(|name| word(object.get(*name))),
        other => Some(other.to_string()),
    }
}

pub(super) fn classify(word: &str) -> Ending {
    let plain = |c: &char| c.is_ascii_alphanumeric();
    let short: String = word
        .chars()
        .filter(plain)
        .take(MAX_WORD_BYTES)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let holds = |parts: &[&str]| parts.iter().any(|part| short.contains(part));
    if NATURAL.contains(&short.as_str()) {
        Ending::Known(Finish::Stop)
    } else if TOOLS.contains(&short.as_str()) {
        Ending::Tools
    } else if holds(&FILTER) {
        Ending::Known(Finish::ContentFilter)
    } else if holds(&LENGTH) {
        Ending::Known(Finish::Length)
    } else if holds(&FAILURE) {
        Ending::Failure
    } else {
        Ending::Unknown(short)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_of_many_providers() {
        use Finish::*;
        #[rustfmt::skip]
        let table: [(&[&str], Option<Finish>); 5] = [
            (&["stop", "STOP", "Stop", "end_turn", "END-TURN", "stop_sequence", "eos", "eos_token", "end", "complete", "COMPLETED", "tool_calls",
               "tool-calls", "TOOL_CALLS", "function_call", "tool_use", "ToolUse"], Some(Stop)),
            (&["length", "LENGTH", "max_tokens", "MAX_TOKENS", "max-tokens", "max_output_tokens", "model_length", "token_limit",
               "model_context_window_exceeded", "context_length_exceeded"], Some(Length)),
            (&["content_filter", "content-filter", "CONTENT_FILTERED", "SAFETY", "RECITATION", "refusal", "REFUSED", "guardrail_intervened", "BLOCKLIST",
               "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "moderation"], Some(ContentFilter)),
            (&["error", "network_error", "insufficient_system_resource", "SERVER-ERROR", "overloaded"], None),
            (&["abort", "ABORTED", "cancelled", "OTHER", "FINISH_REASON_UNSPECIFIED", "MALFORMED_FUNCTION_CALL", "LANGUAGE", "pause_turn", "stopped?",
               "終わり", "stop it"], Some(Unknown)),
        ];
        for (words, finish) in table {
            for word in words {
                let ending = classify(word);
                match finish {
                    Some(finish) => assert_eq!(ending.finish(), finish, "{word}"),
                    None => assert_eq!(ending, Ending::Failure, "{word}"),
                }
            }
        }
    }

    #[test]
    fn the_places_where_the_word_stands() {
        use Finish::*;
        #[rustfmt::skip]
        let table = [
            (json!({}), None),
            (json!({ "finish_reason": null }), None),
            (json!({ "finish_reason": "" }), None),
            (json!({ "finish_reason": "null" }), None),
            (json!({ "finish_reason": false }), None),
            (json!({ "finish_reason": null, "native_finish_reason": null, "stop_reason": null }), None),
            (json!({ "native_finish_reason": "STOP" }), Some(Stop)),
            (json!({ "stop_reason": "end_turn" }), Some(Stop)),
            (json!({ "stop_reason": "max_tokens" }), Some(Length)),
            (json!({ "finish_reason": "stop", "stop_reason": "\n\n" }), Some(Stop)),
            (json!({ "finish_reason": "stop", "stop_reason": 151645 }), Some(Stop)),
            (json!({ "finish_reason": "stop", "native_finish_reason": "MAX_TOKENS" }), Some(Length)),
            (json!({ "finish_reason": "stop", "native_finish_reason": "SAFETY" }), Some(ContentFilter)),
            (json!({ "finish_reason": "stop", "native_finish_reason": "stop_string" }), Some(Stop)),
            (json!({ "finish_reason": "length", "native_finish_reason": "STOP" }), Some(Length)),
            (json!({ "finish_reason": { "type": "stop" } }), Some(Stop)),
            (json!({ "finish_reason": 7 }), Some(Unknown)),
            (json!({ "finish_reason": true }), Some(Unknown)),
        ];
        for (choice, finish) in table {
            let in_choice = read(Some(&choice), &json!({}));
            assert_eq!(in_choice.map(|ending| ending.finish()), finish, "{choice}");
            let beside = read(None, &choice);
            assert_eq!(beside.map(|ending| ending.finish()), finish, "{choice}");
        }
    }
}
