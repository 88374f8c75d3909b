//! Tool calls for front ends: makes their ids unique and their errors plain text.

use std::collections::HashMap;

/// The ids of one reply's tool calls. Clients of these wires distinguish calls by id, but a provider's ids can be empty
/// or repeat.
pub(super) struct CallIds {
    reply_id: String,
    by_part: HashMap<usize, String>,
}

impl CallIds {
    pub(super) fn new(reply_id: &str) -> Self {
        Self {
            reply_id: reply_id.to_owned(),
            by_part: HashMap::new(),
        }
    }

    /// The id of a part's call: the provider's, unless it is empty or an earlier call of the reply uses it. A part
    /// keeps its id. `clients/js/src/ui-messages.js` assigns the same ids to stored calls.
    pub(super) fn of(&mut self, part: usize, given: &str) -> String {
        if let Some(id) = self.by_part.get(&part) {
            return id.clone();
        }
        // Includes the reply's id, because AG-UI clients search all messages for a call.
        let mut own = format!("{}-call-{}", self.reply_id, self.by_part.len());
        let mut id = given.to_owned();
        while id.is_empty() || self.by_part.values().any(|used| *used == id) {
            id.clone_from(&own);
            own.push('-');
        }
        self.by_part.insert(part, id.clone());
        id
    }
}

/// The text of a failed call. The stored result is JSON, but clients show the text as it is.
pub(super) fn error_text(result: &str) -> String {
    serde_json::from_str(result).unwrap_or_else(|_| result.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_with_empty_or_equal_ids_have_ids_of_their_own() {
        let given = ["", "c", "", "c", "r-call-5", "", "d"];
        let expected = [
            "r-call-0",
            "c",
            "r-call-2",
            "r-call-3",
            "r-call-5",
            "r-call-5-",
            "d",
        ];
        let mut ids = CallIds::new("r");
        // Two rounds, because a part must keep its id. Parts of other kinds leave gaps in the indexes.
        for _ in 0..2 {
            for (index, (given, expected)) in given.into_iter().zip(expected).enumerate() {
                assert_eq!(ids.of(index * 2, given), expected);
            }
        }
    }

    #[test]
    fn an_error_is_its_text_without_quotes() {
        assert_eq!(error_text(r#""the \"deer\" ran""#), r#"the "deer" ran"#);
        assert_eq!(error_text(r#"{"code":1}"#), r#"{"code":1}"#);
        assert_eq!(error_text("no JSON"), "no JSON");
        assert_eq!(error_text(""), "");
    }
}
