//! Requests of all kinds on both nodes, repeatedly, and the outcome of each.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt,
    future::{LocalBoxFuture, join_all},
};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use titlecast_testing::{Events, legacy::post, server::client, talkative::TalkativeModel};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// One of the two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site(pub usize);

/// Between two requests of one client.
const PAUSE: Duration = Duration::from_millis(150);

/// What a busy machine may add to a deadline.
const SLACK: Duration = Duration::from_secs(2);

/// How many long replies run at once on each node.
const LONG_REPLIES: usize = 3;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The list, by REST.
    List,
    /// The list with messages, by GraphQL.
    Query,
    /// A conversation's history, by REST.
    History,
    /// A search, by REST.
    Search,
    /// A title by a person, by REST.
    Rename,
    /// A message, until its reply begins.
    Message,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::List,
        Self::Query,
        Self::History,
        Self::Search,
        Self::Rename,
        Self::Message,
    ];

    /// How long a client has to wait at most: what docs/errors.md says, for a message what ARCHITECTURE.md says.
    fn deadline(self) -> Duration {
        match self {
            Self::Message => Duration::from_secs(20),
            _ => Duration::from_secs(10),
        }
    }
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Served,
    Refused,
}

/// A request that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub site: Site,
    pub kind: Kind,
    pub began: Instant,
    pub ended: Instant,
    pub outcome: Outcome,
}

/// A look at `/readyz`.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    pub site: Site,
    pub began: Instant,
    pub ended: Instant,
    pub is_ready: bool,
}

/// A reply that was read to its end.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Whether it was read from the node that does not write it.
    pub is_elsewhere: bool,
    /// When its last text came, and when its end.
    pub last_text: Instant,
    pub ended: Instant,
    /// What is wrong with it.
    pub fault: Option<String>,
}

/// All that was seen.
#[derive(Clone, Debug, Default)]
pub struct Records {
    pub requests: Vec<Request>,
    pub probes: Vec<Probe>,
    pub replies: Vec<Reply>,
    /// Violations: an answer after its deadline, or of a wrong kind.
    pub faults: Vec<String>,
}

/// The clients.
pub struct Load {
    urls: [String; 2],
    records: RefCell<Records>,
    /// When each request began that has not ended.
    under_way: RefCell<Vec<(Site, Kind, Instant)>>,
    is_over: Cell<bool>,
}

impl Load {
    /// On nodes that are there.
    pub fn on(urls: [String; 2]) -> Self {
        Self {
            urls,
            records: RefCell::default(),
            under_way: RefCell::default(),
            is_over: Cell::new(false),
        }
    }

    /// Ends it, once what is under way has ended.
    pub fn stop(&self) {
        self.is_over.set(true);
    }

    /// Asks both nodes until it is stopped.
    pub async fn run(&self) -> Records {
        let clients = [Site(0), Site(1)].into_iter().flat_map(|site| {
            let mut clients: Vec<LocalBoxFuture<()>> = vec![
                self.read(site).boxed_local(),
                self.probe(site).boxed_local(),
                self.send(site, "briefly").boxed_local(),
                self.send(site, "briefly").boxed_local(),
            ];
            for _ in 0..LONG_REPLIES {
                let long = self.send(site, TalkativeModel::AT_LENGTH);
                clients.push(long.boxed_local());
            }
            clients
        });
        join_all(clients).await;
        self.records.take()
    }

    /// Whether both nodes serve every kind of request that was begun after this, have ended those from before, and say
    /// that they are ready.
    pub fn serves(&self, since: Instant) -> bool {
        self.unserved(since).is_empty()
    }

    /// What is missing for that.
    pub fn unserved(&self, since: Instant) -> Vec<String> {
        let records = self.records.borrow();
        let under_way = self.under_way.borrow();
        let old = under_way.iter().filter(|(.., began)| *began <= since);
        let mut missing: Vec<String> = old.map(|old| format!("under way: {old:?}")).collect();
        for site in [Site(0), Site(1)] {
            for kind in Kind::ALL {
                let mut of_kind = records.requests.iter().rev();
                let last = of_kind.find(|request| request.site == site && request.kind == kind);
                let is_served = last.is_some_and(|request| {
                    request.began > since && request.outcome == Outcome::Served
                });
                if !is_served {
                    missing.push(format!("{site:?} {kind:?}: {last:?}"));
                }
            }
            let mut probes = records.probes.iter().rev();
            let last = probes.find(|probe| probe.site == site);
            if !last.is_some_and(|probe| probe.began > since && probe.is_ready) {
                missing.push(format!("{site:?}: {last:?}"));
            }
        }
        missing
    }

    fn fault(&self, fault: String) {
        self.records.borrow_mut().faults.push(fault);
    }

    fn url(&self, site: Site, path: &str) -> String {
        format!("{}{path}", self.urls[site.0])
    }

    /// One client for each kind of request but messages.
    async fn read(&self, site: Site) {
        let id = loop {
            let begun = self.begin(site, "To be read and renamed").await;
            match begun {
                Some((id, mut events)) => {
                    while let Ok(Some(_)) = events.try_next().await {}
                    break id;
                }
                None => sleep(PAUSE).await,
            }
        };
        const LIST: &str =
            "{ conversations(first: 5) { nodes { id messages(first: 5) { nodes { id } } } } }";
        let conversation = format!("/api/v1/conversations/{id}");
        let list = || client().get(self.url(site, "/api/v1/conversations?limit=5"));
        let query = || post(&self.urls[site.0], "/graphql", json!({ "query": LIST }));
        let history = || client().get(self.url(site, &conversation));
        let search = || {
            let path = "/api/v1/conversations/search?q=renamed&limit=5";
            client().get(self.url(site, path))
        };
        let rename = || {
            let title = json!({ "display_name": format!("Renamed {}", fastrand::u32(..)) });
            let url = self.url(site, &format!("{conversation}/title"));
            let request = client().patch(url);
            request
                .header("content-type", "application/json")
                .body(title.to_string())
        };
        let requests: [(Kind, &dyn Fn() -> RequestBuilder); 5] = [
            (Kind::List, &list),
            (Kind::Query, &query),
            (Kind::History, &history),
            (Kind::Search, &search),
            (Kind::Rename, &rename),
        ];
        let asking = requests.map(|(kind, request)| async move {
            while !self.is_over.get() {
                self.ask(site, kind, request()).await;
                sleep(PAUSE).await;
            }
        });
        join_all(asking).await;
    }

    /// Sends one request; its response if it was served.
    async fn ask(&self, site: Site, kind: Kind, request: RequestBuilder) -> Option<Served> {
        let began = Instant::now();
        let answering = async {
            let response = request.send().await?;
            let status = response.status().as_u16();
            let is_stream = kind == Kind::Message && status == 200;
            match is_stream {
                true => Ok(Answer::Stream(Events::from(response))),
                false => {
                    let body = response.text().await?;
                    let json = serde_json::from_str(&body).unwrap_or_default();
                    Ok::<_, reqwest::Error>(Answer::Json(status, json))
                }
            }
        };
        self.under_way.borrow_mut().push((site, kind, began));
        let answer = timeout(kind.deadline() + SLACK, answering).await;
        let ended = |request: &(Site, Kind, Instant)| *request != (site, kind, began);
        self.under_way.borrow_mut().retain(ended);
        let took = began.elapsed();
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                self.fault(format!("{site:?} {kind:?} after {took:.1?}: {error}"));
                return None;
            }
            Err(_) => {
                self.fault(format!("{site:?} {kind:?}: no answer within {took:.1?}"));
                return None;
            }
        };
        let (outcome, served) = match answer {
            Answer::Stream(events) => (Outcome::Served, Some(Served::Stream(events))),
            Answer::Json(200, page) if page.get("errors").is_none() => {
                (Outcome::Served, Some(Served::Page))
            }
            Answer::Json(status, page) => {
                // REST, then GraphQL.
                let code = match page["code"].as_str() {
                    Some(code) => (503, code),
                    None => {
                        let code = page["errors"][0]["extensions"]["code"].as_str();
                        (200, code.unwrap_or_default())
                    }
                };
                if !matches!(
                    code,
                    (expected, "DATABASE_UNAVAILABLE" | "TIMEOUT") if expected == status
                ) {
                    self.fault(format!("{site:?} {kind:?}: {status} {page}"));
                }
                (Outcome::Refused, None)
            }
        };
        self.records.borrow_mut().requests.push(Request {
            site,
            kind,
            began,
            ended: Instant::now(),
            outcome,
        });
        served
    }

    /// Sends a message until it is accepted. `None` when the test is over.
    async fn begin(&self, site: Site, message: &str) -> Option<(Uuid, Events)> {
        let id = Uuid::new_v4();
        let body = json!({
            "message": message, "conversation_id": id, "context": { "auto_title": false }
        });
        while !self.is_over.get() {
            let request = post(&self.urls[site.0], "/api/v1/chat/stream", body.clone());
            let request = request.header("idempotency-key", id.to_string());
            if let Some(Served::Stream(events)) = self.ask(site, Kind::Message, request).await {
                return Some((id, events));
            }
            sleep(PAUSE).await;
        }
        None
    }

    /// Sends one message after the other and reads each reply to its end, a long one on the other node as well.
    async fn send(&self, site: Site, how: &str) {
        let mut number = 0;
        while !self.is_over.get() {
            number += 1;
            let message = format!("Message {number} to node {}, {how}", site.0);
            let Some((id, events)) = self.begin(site, &message).await else {
                return;
            };
            let here = self.read_reply(site, false, &message, events);
            if how != TalkativeModel::AT_LENGTH {
                here.await;
                continue;
            }
            let other = Site(1 - site.0);
            let there = async {
                let url = self.url(other, &format!("/api/v1/conversations/{id}/reply"));
                match client().get(url).send().await {
                    Ok(response) if response.status() == 200 => {
                        let events = Events::from(response);
                        self.read_reply(other, true, &message, events).await;
                    }
                    // The other node is frozen and cannot be read.
                    Ok(response) if response.status() == 503 => {}
                    other => self.fault(format!("{site:?} read elsewhere: {other:?}")),
                }
            };
            futures_util::join!(here, there);
        }
    }

    async fn read_reply(&self, site: Site, is_elsewhere: bool, message: &str, mut events: Events) {
        let whole = TalkativeModel::reply_to(message);
        let (mut text, mut last_text) = (String::new(), Instant::now());
        let end = loop {
            match events.try_next().await {
                Ok(Some(event)) if event["is_terminal"] == true => break Ok(event),
                Ok(Some(event)) => match event["raw_type"].as_str() {
                    Some("response.output_text.delta") => {
                        text += event["text_delta"].as_str().unwrap_or_default();
                        last_text = Instant::now();
                    }
                    Some("response.in_progress") => {
                        text = event["response_text"].as_str().unwrap_or_default().into();
                    }
                    _ => {}
                },
                Ok(None) => break Err("it ended without an end".to_owned()),
                Err(error) => break Err(error.to_string()),
            }
        };
        let fault = match end {
            Ok(end) if end["raw_type"] != "response.completed" => Some(end.to_string()),
            Ok(end) if end["response_text"] != *whole => Some(format!("not all of it: {end}")),
            Ok(_) if text != whole => Some(format!("with a gap: {text}")),
            Ok(_) => None,
            Err(error) => Some(error),
        };
        self.records.borrow_mut().replies.push(Reply {
            is_elsewhere,
            last_text,
            ended: Instant::now(),
            fault: fault.map(|fault| format!("{message}, read from {site:?}: {fault}")),
        });
    }

    /// Asks whether it is ready.
    async fn probe(&self, site: Site) {
        while !self.is_over.get() {
            let began = Instant::now();
            match client().get(self.url(site, "/readyz")).send().await {
                Ok(response) => {
                    let probe = Probe {
                        site,
                        began,
                        ended: Instant::now(),
                        is_ready: response.status() == 200,
                    };
                    self.records.borrow_mut().probes.push(probe);
                }
                Err(error) => self.fault(format!("{site:?} /readyz: {error}")),
            }
            sleep(PAUSE).await;
        }
    }
}

enum Answer {
    Stream(Events),
    Json(u16, Value),
}

enum Served {
    Stream(Events),
    Page,
}
