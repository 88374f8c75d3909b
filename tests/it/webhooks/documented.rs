//! docs/webhooks.md has an example of each event: with the fields that are sent, and no others.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;
use titlecast_testing::calls::delete;

use super::Scene;

/// The fields of a value with their types; ids, names, times and numbers differ.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(key, value)| (key.clone(), shape(value)));
            Value::Object(fields.collect())
        }
        Value::Null => "null or text".into(),
        Value::String(_) => "null or text".into(),
        Value::Number(_) => "number".into(),
        other => other.clone(),
    }
}

#[tokio::test]
async fn each_event_is_documented_as_it_is_sent() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/webhooks.md");
    let page = fs::read_to_string(page).unwrap();
    let blocks = page.split("```json\n").skip(1);
    let examples = blocks.map(|rest| rest.split("```").next().unwrap());
    let examples: Vec<Value> = examples
        .map(|text| serde_json::from_str(text).unwrap())
        .collect();
    let documented: BTreeMap<&str, &Value> = examples
        .iter()
        .filter_map(|example| Some((example["type"].as_str()?, example)))
        .collect();
    let scene = Scene::new("include_text = true").await;
    let id = scene.begin("Plan a trip to Kyoto in April").await;
    scene.all_is_told().await;
    let mut sent = scene.receiver.taken();
    delete(&scene.server.url, &id).await;
    scene.all_is_told().await;
    sent.extend(scene.receiver.taken().into_iter().rev().take(1));
    let mut kinds = Vec::new();
    for one in &sent {
        let documented = documented[one.kind()];
        assert_eq!(shape(&one.body), shape(documented), "{}", one.kind());
        kinds.push(one.kind());
    }
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, documented.keys().copied().collect::<Vec<_>>());
}
