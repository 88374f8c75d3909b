//! The users: each executes the plan of one conversation, retries like a client, and records the answers.

use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use titlecast_testing::server::client;
use tokio::time::{Instant, sleep, timeout};

use super::{
    checker::{Done, Remembered},
    plan::{Deed, Life},
    servers::Servers,
};

/// The timeout of one answer, and the time limit of retries.
const PATIENCE: Duration = Duration::from_secs(2);
const PERSISTENCE: Duration = Duration::from_secs(30);

/// The pause before the same is tried again.
const PAUSE: Duration = Duration::from_millis(30);

/// What came of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// It is done.
    Done,
    /// It is not, and never will be.
    Refused,
    /// The connection broke or the server failed: it is done by now, or will not be.
    Broken,
    /// None in time: the server may do it yet.
    None,
}

/// Lives a life.
pub async fn live(servers: &Servers, life: &Life, seed: u64) -> Remembered {
    let mut rng = Rng::with_seed(seed ^ life.number as u64);
    let mut remembered = Remembered {
        number: life.number,
        id: life.id,
        done: Vec::new(),
    };
    sleep(life.after).await;
    for (place, (pause, deed)) in life.deeds.iter().enumerate() {
        sleep(*pause).await;
        remembered
            .done
            .push(act(servers, life, place, deed, &mut rng).await);
    }
    remembered
}

async fn act(servers: &Servers, life: &Life, place: usize, deed: &Deed, rng: &mut Rng) -> Done {
    let until = Instant::now() + PERSISTENCE;
    let mut done = Done {
        deed: deed.clone(),
        accepted: false,
        sent: 0,
        may_come_late: false,
    };
    // A second wish for another title would be a wish for a second title.
    let is_repeatable = !matches!(deed, Deed::Regenerate { .. } | Deed::Reset);
    loop {
        let url = servers.any(rng).await;
        done.sent += 1;
        let request = request(&url, life, place, deed);
        let answer = timeout(PATIENCE, answered(request, deed)).await;
        match answer.unwrap_or(Answer::None) {
            Answer::Done => done.accepted = true,
            // An earlier attempt may have deleted it.
            Answer::Refused => done.accepted = *deed == Deed::Delete && done.sent > 1,
            answer => {
                done.may_come_late |= answer == Answer::None;
                if is_repeatable && Instant::now() < until {
                    sleep(PAUSE).await;
                    continue;
                }
            }
        }
        return done;
    }
}

fn request(url: &str, life: &Life, place: usize, deed: &Deed) -> reqwest::RequestBuilder {
    let id = life.id.to_string();
    let path = format!("{url}/api/v1/conversations/{id}");
    let graphql = |field: &str, kind: &str, input: Value| {
        let query =
            format!("mutation ($input: {kind}!) {{ {field}(input: $input) {{ __typename }} }}");
        let body = json!({ "query": query, "variables": { "input": input } });
        (client().post(format!("{url}/graphql")), body)
    };
    let (request, body) = match deed {
        Deed::Say(text) => {
            let request = client().post(format!("{url}/api/v1/chat/stream"));
            let request = request.header("idempotency-key", format!("{id}-{place}"));
            let body = json!({ "conversation_id": id, "message": text });
            (request, body)
        }
        Deed::Rename(name) => {
            let request = client().patch(format!("{path}/title"));
            (request, json!({ "display_name": name }))
        }
        Deed::Regenerate { replace_manual } => {
            let input = json!({ "id": id, "replaceManual": replace_manual });
            graphql("regenerateTitle", "RegenerateTitleInput", input)
        }
        Deed::Reset => graphql("resetTitle", "ResetTitleInput", json!({ "id": id })),
        Deed::Delete => return client().delete(path),
    };
    request
        .header("content-type", "application/json")
        .body(body.to_string())
}

/// The answer to a request; of a reply's stream only the beginning.
async fn answered(request: reqwest::RequestBuilder, deed: &Deed) -> Answer {
    let Ok(mut response) = request.send().await else {
        return Answer::Broken;
    };
    if !response.status().is_success() {
        return match response.status().is_client_error() {
            true => Answer::Refused,
            false => Answer::Broken,
        };
    }
    let mut body = Vec::new();
    loop {
        if matches!(deed, Deed::Say(_)) && is_accepted(&body) {
            return Answer::Done;
        }
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend(chunk),
            Ok(None) => break,
            Err(_) => return Answer::Broken,
        }
    }
    match deed {
        Deed::Say(_) => Answer::Broken,
        Deed::Rename(_) | Deed::Delete => Answer::Done,
        Deed::Regenerate { .. } | Deed::Reset => {
            let answer: Value = serde_json::from_slice(&body).unwrap();
            match answer["errors"][0]["extensions"]["code"].as_str() {
                None => Answer::Done,
                Some("NOT_FOUND" | "MANUAL_TITLE" | "INVALID_INPUT") => Answer::Refused,
                Some(_) => Answer::Broken,
            }
        }
    }
}

fn is_accepted(body: &[u8]) -> bool {
    String::from_utf8_lossy(body).contains("\"response.created\"")
}
