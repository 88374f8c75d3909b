//! Concurrent attackers: connections that send nothing, send slowly or do not read, and a sequence of hostile requests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use titlecast_testing::{
    eventually,
    hostile::{Wire, requests},
    server::request,
    within,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::requests::Hostile;

const SILENT: usize = 100;
const SLOW_HEADS: usize = 100;
const SLOW_BODIES: usize = 100;

/// Unread streams, which are harmless until they are sent more than their buffers hold.
pub(super) const STALLED: usize = 50;

/// All that hold a connection.
const HOLDING: usize = SILENT + SLOW_HEADS + SLOW_BODIES + STALLED;

/// Between two bytes of the slow.
const DRIP: Duration = Duration::from_millis(500);

/// Between two hostile requests: what all attackers together may ask of a machine that they share with the
/// server and with those whose waits are measured.
const BETWEEN: Duration = Duration::from_millis(50);

pub(super) struct Attackers {
    connected: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
    stop: CancellationToken,
    tasks: JoinSet<Option<TcpStream>>,
}

impl Attackers {
    /// Those that hold connections, and those that send requests.
    pub(super) fn start(url: &str) -> Self {
        let mut attackers = Self::holding(url);
        attackers.ask(url.to_owned());
        attackers.change(url.to_owned());
        attackers
    }

    /// Those that hold connections.
    pub(super) fn holding(url: &str) -> Self {
        let mut attackers = Self {
            connected: Arc::default(),
            sent: Arc::default(),
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
        };
        let (head, drip) = ("GET /healthz HTTP/1.1\r\nhost: localhost\r\n", "x");
        for _ in 0..SILENT {
            attackers.hold_on(url, String::new(), "");
        }
        for _ in 0..SLOW_HEADS {
            attackers.hold_on(url, head.to_owned(), drip);
        }
        let post = "POST /api/v1/chat HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                    content-length: 200000\r\n\r\n";
        for _ in 0..SLOW_BODIES {
            attackers.hold_on(url, post.to_owned(), drip);
        }
        // Of an event there are 10 KiB.
        let titles: String = (0..29).map(|n| format!(" t{n}: title")).collect();
        let query = format!("subscription {{ conversationUpdated {{ id{titles} }} }}");
        let body = json!({ "query": query }).to_string();
        let stream = format!(
            "POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             accept: text/event-stream\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        for _ in 0..STALLED {
            attackers.hold_on(url, stream.clone(), "");
        }
        attackers
    }

    /// Holds a connection open: sends this, and then a few bytes now and then.
    fn hold_on(&mut self, url: &str, said: String, drip: &'static str) {
        let address = url.trim_start_matches("http://").parse().unwrap();
        let (connected, stop) = (self.connected.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(4 * 1024).unwrap();
            let mut stream = socket.connect(address).await.ok()?;
            stream.write_all(said.as_bytes()).await.ok()?;
            connected.fetch_add(1, Ordering::Relaxed);
            let mut slowly = interval(DRIP);
            while stop.run_until_cancelled(slowly.tick()).await.is_some() {
                if stream.write_all(drip.as_bytes()).await.is_err() {
                    break;
                }
            }
            Some(stream)
        });
    }

    /// Sends hostile requests one after the other.
    fn ask(&mut self, url: String) {
        let (sent, stop) = (self.sent.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let documents = requests();
            for turn in 0.. {
                let sending = async {
                    match turn % 4 {
                        0 => drop(Hostile::ALL[turn / 4 % Hostile::ALL.len()].send(&url).await),
                        _ => {
                            let (_, document, _) = &documents[turn % documents.len()];
                            drop(Wire::ALL[turn % Wire::ALL.len()].send(&url, document).await);
                        }
                    }
                    sleep(BETWEEN).await;
                };
                stop.run_until_cancelled(sending).await?;
                sent.fetch_add(1, Ordering::Relaxed);
            }
            None
        });
    }

    /// Changes a title repeatedly, so that unread data accumulates.
    fn change(&mut self, url: String) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let (_, list) = request(&url, "GET", "/api/v1/conversations?limit=1", None).await;
            let id = list["items"][0]["conversation_id"].as_str()?.to_owned();
            let path = format!("/api/v1/conversations/{id}/title");
            for turn in 0.. {
                let title = format!("{turn}{}", "京".repeat(110));
                let body = Some(json!({ "display_name": title }));
                let changing = async {
                    request(&url, "PATCH", &path, body).await;
                    sleep(BETWEEN).await;
                };
                stop.run_until_cancelled(changing).await?;
            }
            None
        });
    }

    /// Waits until all that can be held is held.
    pub(super) async fn established(&self) {
        eventually(async || (self.connected.load(Ordering::Relaxed) == HOLDING).then_some(()))
            .await;
    }

    /// Ends it. Returns how many requests were sent in addition to the held connections.
    pub(super) async fn stop(self) -> usize {
        let sent = self.sent.clone();
        drop(self.hold().await);
        sent.load(Ordering::Relaxed)
    }

    /// Stops sending. Returns the connections, which stay open.
    pub(super) async fn hold(mut self) -> Vec<TcpStream> {
        self.stop.cancel();
        let mut held = Vec::new();
        while let Some(stream) = within(self.tasks.join_next()).await {
            held.extend(stream.unwrap());
        }
        held
    }
}

/// Connects ten more times and returns what each connection receives within three seconds.
pub(super) async fn ask_briefly(url: &str) -> Vec<String> {
    let address = url.trim_start_matches("http://");
    let mut answers = Vec::new();
    for _ in 0..10 {
        let mut stream = within(TcpStream::connect(address)).await.unwrap();
        let mut received = Vec::new();
        let asking = async {
            stream
                .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                .await?;
            stream.read_to_end(&mut received).await
        };
        // A connection that is closed at once received nothing.
        let _ = timeout(Duration::from_secs(3), asking).await;
        answers.push(String::from_utf8_lossy(&received).into_owned());
    }
    answers
}
