//! A person who talks to two nodes as a good client does: when a connection is refused or cut, the same request goes to
//! the other one, with the same idempotency key and the place where the reply was. Every second client also wanders: it
//! hangs up in the middle, and resumes on the other node.

use std::time::Duration;

use serde_json::{Value, json};
use titlecast_testing::{Events, legacy::post};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::rolling::Places;

/// How long one message and its reply may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The pause before the other node is tried.
const PAUSE: Duration = Duration::from_millis(50);

/// A message that was sent, and the events of its reply.
#[derive(Debug, Default)]
pub struct Said {
    pub message: String,
    pub reply: String,
    /// Times that a request did not get to its end.
    pub retries: usize,
    /// Times that a reply that had begun went on.
    pub resumes: usize,
    /// The number of resumes from an unknown cursor.
    pub begun_anew: usize,
}

/// The number of events after which a wandering client hangs up.
const STAY: usize = 10;

/// Says one thing after the other until it is over.
pub async fn talk(places: &Places, person: usize) -> Vec<Said> {
    let mut all = Vec::new();
    while !places.is_over() {
        let said = timeout(PATIENCE, say(places, person)).await;
        all.push(said.expect("a reply comes to its end, whatever is restarted"));
    }
    all
}

async fn say(places: &Places, person: usize) -> Said {
    let key = Uuid::now_v7().to_string();
    let mut said = Said {
        message: format!("Message {key} of person {person}"),
        ..Said::default()
    };
    let mut place: Option<String> = None;
    let mut node = person;
    let stay = if person % 2 == 1 { STAY } else { usize::MAX };
    while !attempt(places.url(node), &key, &mut said, &mut place, stay).await {
        said.retries += 1;
        said.resumes += usize::from(place.is_some());
        node += 1;
        sleep(PAUSE).await;
    }
    said
}

/// Whether the reply was read to its end.
async fn attempt(
    url: &str,
    key: &str,
    said: &mut Said,
    place: &mut Option<String>,
    mut stay: usize,
) -> bool {
    let body = json!({ "message": said.message });
    let mut request = post(url, "/api/v1/chat/stream?ids=true", body);
    request = request.header("idempotency-key", key);
    if let Some(place) = place {
        request = request.header("last-event-id", &*place);
    } else {
        // Without a place, everything comes again.
        said.reply.clear();
    }
    let Ok(response) = request.send().await else {
        return false;
    };
    if response.status() == 503 {
        return false;
    }
    assert_eq!(response.status(), 200, "{:?}", response.text().await);
    let mut events = Events::from(response);
    while let Ok(Some((event, id))) = events.try_next_with_id().await {
        if id.is_some() {
            *place = id;
        }
        match event["raw_type"].as_str() {
            Some("response.output_text.delta") => said.reply += text(&event["text_delta"]),
            // The cursor is unknown: this is the full text.
            Some("response.in_progress") if event["payload"]["recovered"] == false => {
                said.reply = text(&event["response_text"]).to_owned();
                said.begun_anew += 1;
            }
            _ => {}
        }
        if event["is_terminal"] == true {
            assert_eq!(event["raw_type"], "response.completed", "{event}");
            assert_eq!(text(&event["response_text"]), said.reply, "a gap: {event}");
            return true;
        }
        stay -= 1;
        if stay == 0 {
            return false;
        }
    }
    false
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
