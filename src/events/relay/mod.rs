//! Other nodes: what changes here is told there, and the other way round, through NATS.
//!
//! Nodes share the database; NATS carries only hints. After each publish a node sends a wake-up, the
//! conversation's id and revision (`subject`). A node that somebody watches on subscribes for them,
//! once a topic; it reads the row that a wake-up names and tells its own subscribers (`inbox`). The
//! broker drops revisions that it has told, so a node hears its own change once, and so does everybody
//! else. Nothing that is heard is sent again.
//!
//! **Nothing waits for NATS.** Wake-ups go through a bounded queue; what does not fit is dropped and
//! counted. A node that starts without NATS works, and connects when it can.
//!
//! **Nothing is missed.** A change on another node can be told between a subscriber's first look at the
//! row and the moment at which the server knows this node's subscription; subscribers do not wait for
//! that moment. Instead the node says something to itself behind each subscription, the *echo*. A server
//! takes what a connection says in order, so once the echo is back every later wake-up arrives, and
//! what changed before is read from the rows, once. The same is done for all topics after a
//! reconnection, from the last echo on that was heard, and the other nodes are asked to do it too
//! (`LookAgain`), since wake-ups may have been lost on their way out; likewise after wake-ups were
//! dropped. For one conversation that look is exact. For all of an owner's it asks for rows that changed
//! since a time, and bears clocks of nodes that are two seconds apart, though all go by the database's; so whoever begins to watch a list
//! may be told of a change of the two seconds before, from another node.
//!
//! **Running replies are read, not sent.** Whoever follows a reply that another node writes asks that node
//! for what is behind a place of the text, and again when the answer is there (`replies`). Nothing is sent
//! that nobody reads; an answer that is lost is asked for again; and what came meanwhile comes as one.

mod ears;
mod inbox;
mod replies;
mod subject;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use chrono::{DateTime, Utc};
use tokio::{
    sync::{
        Notify,
        mpsc::{Receiver, Sender, channel, error::TrySendError},
        watch,
    },
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::{ears::Ears, inbox::Inbox, subject::WakeUp};
pub use self::{
    inbox::{ReadRows, Wanted},
    replies::{Ended, ReadElsewhere},
};
use super::{run::Runs, topics::Topics};
use crate::{
    conversation::{Conversation, ConversationId, MessageId, Owner},
    supervisor::{Heartbeat, Loop, Supervisor},
};

/// How many wake-ups may wait to be sent.
const CAPACITY: usize = 4_096;

/// How long an echo may take before the connection counts as degraded, and the first connection before an operator
/// is told why there is none.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest pause between two tries to connect.
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// How long the last wake-ups may take at the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the relay has done, and whether it is connected.
#[derive(Debug, Default)]
pub struct Status {
    connected: AtomicBool,
    published: AtomicU64,
    received: AtomicU64,
    dropped: AtomicU64,
    reads: AtomicU64,
    subscriptions: AtomicU64,
    /// Since when other nodes may have missed what this one did.
    gap: Mutex<Option<DateTime<Utc>>>,
    /// Up to then every wake-up has arrived; none: it was never connected.
    heard_until: Mutex<Option<DateTime<Utc>>>,
}

impl Status {
    /// Whether everything that other nodes do is heard.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Wake-ups that were sent.
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// Wake-ups of other nodes that arrived.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Wake-ups that were not sent because too many waited.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Rows, and pages of rows, that were asked for.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Topics that are subscribed to.
    pub fn subscriptions(&self) -> u64 {
        self.subscriptions.load(Ordering::Relaxed)
    }

    /// Says it once, and again when it has changed.
    fn connect(&self, is_connected: bool) {
        let was_connected = self.connected.swap(is_connected, Ordering::Relaxed);
        match (was_connected, is_connected) {
            (false, true) => tracing::info!("connected to NATS"),
            (true, false) => {
                tracing::warn!("NATS is lost: changes on other nodes are seen when it is back");
            }
            _ => {}
        }
    }

    fn note_gap(&self, since: DateTime<Utc>) {
        let mut gap = self.gap();
        *gap = Some(gap.map_or(since, |oldest| oldest.min(since)));
    }

    fn heard_until(&self) -> MutexGuard<'_, Option<DateTime<Utc>>> {
        self.heard_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn gap(&self) -> MutexGuard<'_, Option<DateTime<Utc>>> {
        // Nothing under the lock can leave it half changed.
        self.gap.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The broker's end: takes what was published, and never waits.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    queue: Sender<(Owner, ConversationId, i64)>,
    client: CurrentClient,
    pub(super) status: Arc<Status>,
}

impl Outbox {
    pub(super) fn send(&self, conversation: &Conversation) {
        let owner = conversation.owner.clone();
        let hint = (owner, conversation.id, conversation.revision);
        if let Err(TrySendError::Full(_)) = self.queue.try_send(hint) {
            self.status.dropped.fetch_add(1, Ordering::Relaxed);
            self.status.note_gap(conversation.updated_at);
        }
    }

    /// See [`EventBroker::read_elsewhere`](super::EventBroker::read_elsewhere).
    pub(super) async fn read(
        &self,
        node: Uuid,
        reply: MessageId,
        place: usize,
    ) -> Option<ReadElsewhere> {
        replies::read(&self.client()?, node, reply, place).await
    }

    /// See [`EventBroker::stop_elsewhere`](super::EventBroker::stop_elsewhere).
    pub(super) async fn stop(&self, node: Uuid, reply: MessageId) {
        if let Some(client) = self.client() {
            replies::stop(&client, node, reply).await;
        }
    }

    /// The client, while there is a connection: it would keep what it is given meanwhile.
    fn client(&self) -> Option<Client> {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        client.clone().filter(|_| self.status.is_connected())
    }
}

/// The client of the present run of the relay.
type CurrentClient = Arc<Mutex<Option<Client>>>;

/// Wake-ups that wait to be sent.
type Queue = Receiver<(Owner, ConversationId, i64)>;

/// The other end, which has to be run.
#[derive(Debug)]
pub struct Relay {
    node: Uuid,
    topics: Arc<Topics>,
    runs: Arc<Runs>,
    /// It outlives a panic of the loop.
    queue: tokio::sync::Mutex<Queue>,
    client: CurrentClient,
    status: Arc<Status>,
}

/// The servers of one NATS, any of which will do: URLs, separated by commas.
#[derive(Clone, Debug)]
pub struct Servers(Vec<ServerAddr>);

impl std::str::FromStr for Servers {
    type Err = std::io::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let servers = text.split(',').map(|url| url.trim().parse());
        servers.collect::<Result<_, _>>().map(Self)
    }
}

impl Relay {
    pub(super) fn new(node: Uuid, topics: Arc<Topics>, runs: Arc<Runs>) -> (Outbox, Self) {
        let (sender, queue) = channel(CAPACITY);
        let (client, status) = (CurrentClient::default(), Arc::<Status>::default());
        let outbox = Outbox {
            queue: sender,
            client: Arc::clone(&client),
            status: status.clone(),
        };
        let relay = Self {
            node,
            topics,
            runs,
            queue: tokio::sync::Mutex::new(queue),
            client,
            status,
        };
        (outbox, relay)
    }

    /// Exchanges wake-ups until `closing`, as a supervised loop.
    pub fn keep_up(
        self,
        servers: Servers,
        read: impl Fn(&Heartbeat) -> ReadRows + Send + 'static,
        supervisor: &Supervisor,
        closing: &CancellationToken,
    ) {
        let (relay, end) = (Arc::new(self), closing.clone());
        supervisor.spawn(Loop::Relay, closing.clone(), move |heartbeat| {
            let (relay, servers, read, end) = (
                relay.clone(),
                servers.clone(),
                read(&heartbeat),
                end.clone(),
            );
            async move { relay.run(servers, read, &heartbeat, end).await }
        });
    }

    /// Connects and goes on until `closing`; whatever happens to NATS, it tries again.
    async fn run(
        &self,
        servers: Servers,
        read: ReadRows,
        heartbeat: &Heartbeat,
        closing: CancellationToken,
    ) {
        let _unheard = Unheard(&self.status);
        let changed = Arc::new(Notify::new());
        let options = ConnectOptions::new()
            .name("titlecast")
            .retry_on_initial_connect()
            .max_reconnects(None)
            .reconnect_delay_callback(|attempt| {
                // Nodes that lost the same server shall not all come back at once.
                let pause = Duration::from_millis(50).saturating_mul(attempt.min(10) as u32);
                pause.min(MAX_PAUSE).mul_f64(0.75 + 0.25 * fastrand::f64())
            })
            .connection_timeout(PATIENCE)
            .ping_interval(PATIENCE)
            .event_callback({
                let (changed, status) = (changed.clone(), self.status.clone());
                move |event| {
                    match event {
                        Event::Disconnected => status.connect(false),
                        Event::ClientError(_) => tracing::debug!("NATS cannot be reached"),
                        // What a server refuses names subjects, which are nobody's text.
                        Event::ServerError(error) => tracing::warn!(%error, "NATS refuses"),
                        _ => {}
                    }
                    changed.notify_one();
                    async {}
                }
            });
        let client = match options.connect(servers.0.clone()).await {
            Ok(client) => client,
            // The first connection is tried again too: this is a setting that cannot be met.
            Err(error) => {
                tracing::error!(%error, "the connection to NATS cannot be set up");
                return;
            }
        };
        let Self {
            node,
            topics,
            runs,
            queue,
            client: current,
            status,
        } = self;
        let node = *node;
        *current.lock().unwrap_or_else(PoisonError::into_inner) = Some(client.clone());
        let inbox = Arc::<Inbox>::default();
        let (is_connected, connected) = watch::channel(false);
        let mut ears = Ears::new(
            node,
            client.clone(),
            topics.clone(),
            inbox.clone(),
            status.clone(),
            is_connected,
        );
        tokio::join!(
            send(node, &client, queue, status, connected, &closing),
            async {
                tokio::select! {
                    () = inbox.tell(topics, &read, status) => {}
                    () = ears.listen(&changed, heartbeat) => {}
                    () = replies::answer(&client, node, runs) => {}
                    () = complain(servers, status) => {}
                    () = closing.cancelled() => {}
                }
            }
        );
    }
}

/// Nothing is heard from the end of a run on, however it ends.
struct Unheard<'a>(&'a Status);

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        self.0.connected.store(false, Ordering::Relaxed);
    }
}

/// Says why there is no connection, if there is none after a while. The client, which goes on trying, only says of
/// what kind its failures are, so this tries for itself. Never ends.
async fn complain(servers: Servers, status: &Status) {
    sleep(PATIENCE).await;
    if !status.is_connected() {
        let tried: Vec<String> = servers.0.iter().map(place).collect();
        let options = ConnectOptions::new().connection_timeout(PATIENCE);
        if let Err(error) = options.connect(servers.0).await {
            tracing::warn!(
                servers = tried.join(","),
                %error,
                "NATS cannot be reached: other nodes are not heard until it can, and it is tried again and again. \
                 Start NATS, or check --nats-url (TITLECAST_NATS_URL)"
            );
        }
    }
    std::future::pending().await
}

/// Where a server is, without the password that its URL may hold.
fn place(server: &ServerAddr) -> String {
    format!("{}:{}", server.host(), server.port())
}

/// Sends wake-ups while there is a connection, and the last ones at the end.
async fn send(
    node: Uuid,
    client: &Client,
    queue: &tokio::sync::Mutex<Queue>,
    status: &Status,
    mut connected: watch::Receiver<bool>,
    closing: &CancellationToken,
) {
    let mut queue = queue.lock().await;
    let send = async |(owner, id, revision): (Owner, ConversationId, i64)| {
        let wake_up = WakeUp {
            node,
            id: id.0,
            revision,
        };
        let Ok(body) = serde_json::to_vec(&wake_up) else {
            return;
        };
        let subject = subject::conversation(&owner, id);
        match client.publish(subject, body.into()).await {
            Ok(()) => status.published.fetch_add(1, Ordering::Relaxed),
            Err(_) => status.dropped.fetch_add(1, Ordering::Relaxed),
        };
    };
    let sending = async {
        // The client would keep what it is given meanwhile, and then take nothing any more.
        while connected
            .wait_for(|is_connected| *is_connected)
            .await
            .is_ok()
        {
            match queue.recv().await {
                Some(hint) => send(hint).await,
                None => return,
            }
        }
    };
    tokio::select! {
        () = sending => {}
        () = closing.cancelled() => {}
    }
    if !*connected.borrow() {
        return;
    }
    let farewell = async {
        while let Ok(hint) = queue.try_recv() {
            send(hint).await;
        }
        // When it fails, nobody can be told.
        let _ = client.flush().await;
    };
    let _ = timeout(FAREWELL, farewell).await;
}
