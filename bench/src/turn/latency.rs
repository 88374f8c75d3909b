//! The latency that the service adds to a title, at a steady rate of first messages.
//!
//! Messages are sent on schedule, regardless of how long earlier ones take. One WebSocket subscriber follows all of
//! their owner's conversations. The added latency is the time from sending a message until the subscriber has its
//! title, minus the time that the model took. Sender, model and subscriber share one thread, whose own delays are
//! included.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
    time::{sleep, sleep_until, timeout},
};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use super::{
    Arguments,
    database::Kind,
    meter::Meter,
    model::Call,
    service::{Service, send},
    words::{number_in, title},
};
use crate::{
    Result, http,
    machine::{Cores, Measured},
    requests::{Client, percentile},
    subscriber::websocket,
    usage::own_cpu,
};

const SUBSCRIPTION: &str =
    "subscription { conversationUpdated { id displayName titleStatus revision } }";

/// Messages sent one after another before the measurement starts.
const WARM_UP: u64 = 32;

/// Connections for sending messages. If none is free, another one is opened.
const CONNECTIONS: usize = 16;

/// How long a title may take.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    pub database: Kind,
    /// First messages per second.
    pub rate: u64,
    /// How long the model takes for a title, in milliseconds.
    pub model_ms: u64,
}

/// The results of one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    pub case: Case,
    pub messages: u64,
    /// The total added latency.
    pub added: Spread,
    /// From sending a message until the model receives the title request.
    pub asking: Spread,
    /// From the model's answer until the subscriber receives the title.
    pub telling: Spread,
    /// The largest delay of a message behind its schedule, in milliseconds.
    pub late: f64,
    /// The share of its core that the load used, including the model.
    pub load: f64,
    /// The share of one core that other programs used.
    pub others: f64,
}

/// Percentiles of a duration, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Spread {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub most: f64,
}

/// A received title and when it arrived.
type Event = Result<(u64, Instant)>;

/// Idle connections.
type Free = Arc<Mutex<Vec<Client>>>;

pub async fn run(arguments: &Arguments, cores: Cores, case: Case) -> Result<Run> {
    let takes = Duration::from_millis(case.model_ms);
    Service::with(arguments, cores, case.database, takes, async |service| {
        let address = service.running.address;
        let mut events = subscribe(address).await?;
        warm_up(address, &mut events).await?;

        let meter = Meter::start(&[service.running.pid, std::process::id()])?;
        let (begun, own) = (Instant::now(), own_cpu()?);
        let count = (arguments.seconds * case.rate as f64).ceil() as u64;
        let sent = send_steadily(address, case.rate, count).await?;
        let mut received: HashMap<u64, Instant> = HashMap::new();
        while (received.len() as u64) < count {
            let next = timeout(PATIENCE, events.recv()).await.ok().flatten();
            let missing = || format!("of {count} titles {} were received", received.len());
            let (number, at) = next.ok_or_else(missing)??;
            received.entry(number).or_insert(at);
        }
        let (elapsed, own) = (begun.elapsed(), own_cpu()? - own);
        let others = meter.others()?;

        let calls = service.model.titles(WARM_UP + count)?;
        let mut reader = service.database.reader().await?;
        reader.finished(WARM_UP + count).await?;
        reader.check(WARM_UP + count).await?;
        Ok(Run {
            case,
            messages: count,
            late: sent.late.as_secs_f64() * 1e3,
            load: own.as_secs_f64() / elapsed.as_secs_f64(),
            others,
            ..Run::of(case, &sent.at, &calls, &received)?
        })
    })
    .await
}

impl Measured for Run {
    fn others(&self) -> f64 {
        self.others
    }

    fn load(&self) -> f64 {
        self.load
    }
}

impl Run {
    fn of(
        case: Case,
        sent: &HashMap<u64, Instant>,
        calls: &HashMap<u64, Call>,
        received: &HashMap<u64, Instant>,
    ) -> Result<Self> {
        let (mut added, mut asking, mut telling) = (Vec::new(), Vec::new(), Vec::new());
        for (number, sent) in sent {
            let (Some(call), Some(received)) = (calls.get(number), received.get(number)) else {
                return Err(format!("message {number} was not titled").into());
            };
            let before = call.asked.duration_since(*sent);
            let behind = received.duration_since(call.answered);
            added.push(before + behind);
            asking.push(before);
            telling.push(behind);
        }
        Ok(Self {
            case,
            messages: sent.len() as u64,
            added: Spread::of(&mut added),
            asking: Spread::of(&mut asking),
            telling: Spread::of(&mut telling),
            late: 0.0,
            load: 0.0,
            others: 0.0,
        })
    }
}

impl Spread {
    fn of(times: &mut [Duration]) -> Self {
        times.sort_unstable();
        let part = |part| percentile(times, part).as_secs_f64() * 1e3;
        Self {
            p50: part(0.5),
            p90: part(0.9),
            p99: part(0.99),
            most: part(1.0),
        }
    }
}

/// Follows all conversations. Counts how often a row with each title is received.
async fn subscribe(address: SocketAddr) -> Result<UnboundedReceiver<Event>> {
    let stream = http::connect(Ipv4Addr::LOCALHOST, address).await?;
    let socket = websocket(stream, &json!({ "query": SUBSCRIPTION })).await?;
    let (sender, received) = unbounded_channel();
    #[expect(clippy::disallowed_methods, reason = "it ends with the runtime")]
    tokio::spawn(async move {
        if let Err(error) = listen(socket, &sender).await {
            // Fails if the receiver is gone.
            let _ = sender.send(Err(error));
        }
    });
    Ok(received)
}

async fn listen(
    mut socket: WebSocketStream<TcpStream>,
    sender: &UnboundedSender<Event>,
) -> Result<()> {
    loop {
        let message = socket.next().await.ok_or("the WebSocket has ended")??;
        let at = Instant::now();
        let text = match message {
            Message::Text(text) => text,
            Message::Close(frame) => return Err(format!("closed: {frame:?}").into()),
            _ => continue,
        };
        let received: Value = serde_json::from_str(&text)?;
        match received["type"].as_str() {
            Some("ping") => {
                let pong = json!({ "type": "pong" }).to_string();
                socket.send(Message::text(pong)).await?;
            }
            Some("next") if received["payload"]["errors"].is_null() => {
                let conversation = &received["payload"]["data"]["conversationUpdated"];
                if let Some(name) = conversation["displayName"].as_str() {
                    let number = number_in(name).filter(|number| title(*number) == name);
                    let number =
                        number.ok_or_else(|| format!("not a title of the model: {name}"))?;
                    if sender.send(Ok((number, at))).is_err() {
                        return Ok(());
                    }
                }
            }
            Some("connection_ack") => {}
            _ => return Err(format!("the subscriber received {received}").into()),
        }
    }
}

/// Sends some messages until the subscription is established and everything is warmed up: the protocol does not
/// acknowledge a subscription.
async fn warm_up(address: SocketAddr, received: &mut UnboundedReceiver<Event>) -> Result<()> {
    let mut client = Client::connect(address).await?;
    for number in 0..WARM_UP {
        ask(&mut client, number).await?;
        sleep(Duration::from_millis(10)).await;
    }
    let mut newest = None;
    while newest != Some(WARM_UP - 1) {
        let next = timeout(PATIENCE, received.recv()).await.ok().flatten();
        newest = Some(
            next.ok_or("the subscriber does not receive the newest title")??
                .0,
        );
    }
    // Discard late events of the warm-up.
    sleep(Duration::from_millis(500)).await;
    while let Ok(received) = received.try_recv() {
        received?;
    }
    Ok(())
}

async fn ask(client: &mut Client, number: u64) -> Result<()> {
    let answer: Value = serde_json::from_slice(client.ask(&send(number)).await?)?;
    match answer["data"]["sendMessage"]["replyId"].is_string() && answer["errors"].is_null() {
        true => Ok(()),
        false => Err(format!("message {number}: {answer}").into()),
    }
}

struct Sent {
    at: HashMap<u64, Instant>,
    late: Duration,
}

/// Sends this many messages per second and waits until all are accepted.
async fn send_steadily(address: SocketAddr, rate: u64, count: u64) -> Result<Sent> {
    let mut connections = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        connections.push(Client::connect(address).await?);
    }
    let free: Free = Arc::new(Mutex::new(connections));
    let mut sent = Sent {
        at: HashMap::new(),
        late: Duration::ZERO,
    };
    let mut accepting = JoinSet::new();
    let begun = tokio::time::Instant::now();
    for place in 0..count {
        let due = begun + Duration::from_secs(1).mul_f64(place as f64 / rate as f64);
        sleep_until(due).await;
        let number = WARM_UP + place;
        let now = Instant::now();
        sent.late = sent.late.max(now - due.into_std());
        sent.at.insert(number, now);
        accepting.spawn(accept(address, free.clone(), number));
        while let Some(accepted) = accepting.try_join_next() {
            accepted??;
        }
    }
    while let Some(accepted) = accepting.join_next().await {
        accepted??;
    }
    Ok(sent)
}

async fn accept(address: SocketAddr, free: Free, number: u64) -> Result<()> {
    let known = free.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut client = match known {
        Some(client) => client,
        None => Client::connect(address).await?,
    };
    ask(&mut client, number).await?;
    let mut free = free.lock().unwrap_or_else(PoisonError::into_inner);
    free.push(client);
    Ok(())
}
