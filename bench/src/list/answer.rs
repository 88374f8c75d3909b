//! Checks the content of lists, so that their costs are comparable: the same conversations in the same order with the
//! same fields.

use serde_json::Value;

use crate::Result;

/// The length of a list.
const LENGTH: usize = 50;

/// The fields that all servers write alike. Times and numbers differ in form.
const SAME: [&str; 4] = ["id", "displayName", "topicHint", "lastMessagePreview"];

/// The conversations in a response.
#[derive(Debug)]
pub struct List {
    nodes: Vec<Value>,
}

impl List {
    /// Reads the list at this JSON pointer of a response.
    pub fn read(answer: &[u8], place: &str) -> Result<Self> {
        let text = || String::from_utf8_lossy(answer);
        let all: Value = serde_json::from_slice(answer)?;
        let nodes = all.pointer(place).and_then(Value::as_array);
        let nodes = nodes.ok_or_else(|| format!("no list at {place}: {}", text()))?;
        if nodes.len() != LENGTH {
            return Err(format!("{} conversations instead of {LENGTH}", nodes.len()).into());
        }
        if nodes.iter().any(|node| !node["id"].is_string()) {
            return Err(format!("a conversation without an id: {}", text()).into());
        }
        Ok(Self {
            nodes: nodes.clone(),
        })
    }

    /// Fails unless both lists are the same.
    pub fn compare(&self, other: &Self) -> Result<()> {
        let fields = |node: &Value| -> Vec<String> {
            let fields = node.as_object().into_iter().flatten();
            let mut names: Vec<_> = fields.map(|(name, _)| name.clone()).collect();
            names.sort_unstable();
            names
        };
        for (place, (ours, theirs)) in self.nodes.iter().zip(&other.nodes).enumerate() {
            let same = SAME.iter().all(|name| ours[name] == theirs[name]);
            if !same || fields(ours) != fields(theirs) {
                return Err(
                    format!("another list: at {place} is {ours} instead of {theirs}").into(),
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(change: impl Fn(&mut Vec<Value>)) -> Result<List> {
        let node = |number| json!({ "id": format!("{number}"), "displayName": "Kyoto", "revision": number });
        let mut nodes = (0..LENGTH).map(node).collect();
        change(&mut nodes);
        List::read(
            json!({ "data": { "nodes": nodes } }).to_string().as_bytes(),
            "/data/nodes",
        )
    }

    #[test]
    fn the_same_list_is_known_by_what_everybody_writes_alike() {
        let other = list(|nodes| nodes[3]["revision"] = json!("3")).unwrap();
        list(|_| ()).unwrap().compare(&other).unwrap();
    }

    #[test]
    fn another_order_other_texts_and_other_fields_are_refused() {
        let right = list(|_| ()).unwrap();
        let wrong = [
            list(|nodes| nodes.swap(7, 8)),
            list(|nodes| nodes[49]["displayName"] = json!("Osaka")),
            list(|nodes| nodes[0]["more"] = json!(1)),
        ];
        for wrong in wrong {
            let error = wrong.unwrap().compare(&right).unwrap_err();
            assert!(error.to_string().contains("another list"), "{error}");
        }
    }

    #[test]
    fn a_list_that_is_short_or_no_list_is_refused() {
        let short = list(|nodes| nodes.truncate(49)).unwrap_err();
        assert_eq!(short.to_string(), "49 conversations instead of 50");
        let nameless = list(|nodes| nodes[1]["id"] = Value::Null).unwrap_err();
        assert!(nameless.to_string().contains("without an id"), "{nameless}");
        let failed = List::read(br#"{"errors":[]}"#, "/data/nodes").unwrap_err();
        assert!(failed.to_string().contains("no list at"), "{failed}");
    }
}
