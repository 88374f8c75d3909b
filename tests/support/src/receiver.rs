//! A webhook receiver that records deliveries and reacts to each as the test specifies.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::eventually;

/// One webhook request.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// By lower-case name.
    pub headers: HashMap<String, String>,
    pub bytes: Vec<u8>,
    pub body: Value,
    /// Whether the receiver accepted it with a 2xx status.
    pub is_taken: bool,
}

impl Delivery {
    pub fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    pub fn kind(&self) -> &str {
        self.body["type"].as_str().unwrap()
    }

    pub fn conversation(&self) -> &str {
        self.body["data"]["conversation_id"].as_str().unwrap()
    }

    pub fn revision(&self) -> i64 {
        self.body["data"]["revision"].as_i64().unwrap()
    }
}

/// How the receiver reacts to a request.
#[derive(Clone, Debug)]
pub enum Reaction {
    /// Answers with this status and these header lines.
    Answer(u16, &'static str),
    /// Never answers.
    Hang,
    /// Closes the connection without answering.
    Close,
    /// Closes the connection in the middle of the response head.
    CloseInHead,
    /// Answers 200 byte by byte, slower than any client waits.
    Drip,
    /// Answers 200 with an endless body.
    Endless,
}

pub const TAKEN: Reaction = Reaction::Answer(204, "");

type React = Arc<Mutex<Box<dyn FnMut(&Delivery) -> Reaction + Send>>>;

/// The receiver. Dropping it closes all connections.
pub struct Receiver {
    /// The receiver's URL.
    pub url: String,
    address: std::net::SocketAddr,
    react: React,
    deliveries: Arc<Mutex<Vec<Delivery>>>,
    serving: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Starts a receiver that accepts everything.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut receiver = Self {
            url: format!("http://{address}/hook"),
            address,
            react: Arc::new(Mutex::new(Box::new(|_| TAKEN))),
            deliveries: Arc::default(),
            serving: None,
        };
        receiver.serve(listener);
        receiver
    }

    /// Sets the reaction to all further requests.
    pub fn reacts(&self, react: impl FnMut(&Delivery) -> Reaction + Send + 'static) {
        *self.react.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(react);
    }

    /// Stops, as if the machine were gone: the port refuses connections.
    pub async fn die(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
    }

    /// Starts again on the same port.
    pub async fn revive(&mut self) {
        let address = self.address;
        let listener = eventually(async || TcpListener::bind(address).await.ok()).await;
        self.serve(listener);
    }

    /// All requests so far, including rejected ones.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.deliveries.lock().unwrap().clone()
    }

    /// The accepted deliveries, each id once, in the order in which they were first accepted.
    pub fn taken(&self) -> Vec<Delivery> {
        let mut seen = std::collections::HashSet::new();
        let all = self.deliveries().into_iter();
        all.filter(|one| one.is_taken && seen.insert(one.id().to_owned()))
            .collect()
    }

    /// The accepted events of a conversation, as `type revision`.
    pub fn story(&self, conversation: &str) -> Vec<String> {
        let taken = self.taken().into_iter();
        taken
            .filter(|one| one.conversation() == conversation)
            .map(|one| {
                format!(
                    "{} {}",
                    one.kind().trim_start_matches("conversation."),
                    one.revision()
                )
            })
            .collect()
    }

    /// Waits until this many requests have arrived.
    pub async fn until(&self, count: usize) -> Vec<Delivery> {
        eventually(async || {
            let deliveries = self.deliveries();
            (deliveries.len() >= count).then_some(deliveries)
        })
        .await
    }

    fn serve(&mut self, listener: TcpListener) {
        let (react, deliveries) = (self.react.clone(), self.deliveries.clone());
        #[expect(clippy::disallowed_methods, reason = "ends when it is dropped")]
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let (react, deliveries) = (react.clone(), deliveries.clone());
                connections.spawn(async move {
                    let _ = connection(stream, &react, &deliveries).await;
                });
            }
        });
        self.serving = Some(serving);
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

async fn connection(
    stream: TcpStream,
    react: &React,
    deliveries: &Mutex<Vec<Delivery>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length: usize = headers["content-length"].parse().unwrap();
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).await?;
        let body = serde_json::from_slice(&bytes).unwrap();
        let mut delivery = Delivery {
            headers,
            bytes,
            body,
            is_taken: false,
        };
        let reaction = react.lock().unwrap_or_else(PoisonError::into_inner)(&delivery);
        delivery.is_taken = matches!(reaction, Reaction::Answer(200..=299, _) | Reaction::Endless);
        deliveries.lock().unwrap().push(delivery);
        match reaction {
            Reaction::Answer(status, head) => {
                let length = if status == 204 {
                    ""
                } else {
                    "content-length: 0\r\n"
                };
                let answer = format!("HTTP/1.1 {status} Status\r\n{length}{head}\r\n");
                stream.write_all(answer.as_bytes()).await?;
            }
            Reaction::Hang => std::future::pending().await,
            Reaction::Close => return Ok(()),
            Reaction::CloseInHead => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le").await?;
                return stream.shutdown().await;
            }
            Reaction::Drip => {
                for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".chunks(1) {
                    stream.write_all(byte).await?;
                    stream.flush().await?;
                    tokio::time::sleep(Duration::from_millis(400)).await;
                }
            }
            Reaction::Endless => {
                let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
                stream.write_all(head).await?;
                loop {
                    stream.write_all(b"5\r\nagain\r\n").await?;
                    stream.flush().await?;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
        stream.flush().await?;
    }
}
