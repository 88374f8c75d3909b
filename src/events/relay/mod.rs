//! Relay between nodes: sends wake-ups for changes of this node through NATS, and applies those of other nodes.
//!
//! Nodes share the database; NATS carries only hints. After each publish a node sends a wake-up with the conversation's
//! id and revision (`subjects`). A node subscribes to the wake-ups of each topic that has subscribers
//! (`subscriptions`), reads the row that a wake-up names, and publishes it to its own subscribers (`inbox`). The broker
//! drops revisions that it has published already, so each change is delivered once. Received changes are not relayed.
//!
//! **Publishing never waits for NATS.** Wake-ups go through a bounded queue; on overflow they are dropped and counted.
//! A node starts without NATS and connects later.
//!
//! **No change is missed.** A change on another node can fall between a subscriber's first read of the row and the
//! moment when the NATS server has processed this node's subscription. Subscribers do not wait for that moment.
//! Instead, the node sends itself an *echo* after each subscription. The server processes a connection in order, so
//! after the echo arrives, all later wake-ups arrive too; the rows are then read once for what changed before. This
//! *resync* also runs for all topics after a reconnect, from the last echo on. Wake-ups of this node may have been lost
//! as well, so after a reconnect or an overflow it sends other nodes a `ResyncRequest`.
//!
//! The resync of one conversation is exact. The resync of an owner's list reads rows changed since a time, with a
//! margin of two seconds for clock skew, although all nodes use the database's clock. So a new subscriber of a list may
//! receive a change that another node made up to two seconds earlier.
//!
//! **Running replies are pulled, not pushed.** A node that follows a reply of another node requests the text after an
//! offset, and repeats that after each answer (`remote_replies`). Without readers nothing is sent, a lost answer is
//! requested again, and text that arrives in between is sent in one answer.

mod inbox;
mod remote_replies;
mod servers;
mod subjects;
mod subscriptions;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{Client, Event};
use chrono::{DateTime, Utc};
use tokio::{
    sync::{
        Notify,
        mpsc::{Receiver, Sender, channel, error::TrySendError},
        watch,
    },
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(super) use self::remote_replies::read_here;
use self::{inbox::Inbox, subjects::WakeUp, subscriptions::Subscriptions};
pub use self::{
    inbox::{ReadRows, RowQuery},
    remote_replies::{RemoteEnd, RemoteSlice},
    servers::Servers,
};
use super::{run::Runs, topics::Topics};
use crate::{
    conversation::{Conversation, ConversationId, MessageId, Owner},
    supervisor::{Heartbeat, Loop, Supervisor},
};

/// The capacity of the send queue, in wake-ups.
const QUEUE_CAPACITY: usize = 4_096;

/// How long an echo may take before the connection counts as degraded. Also the timeout of a connection attempt, and
/// how long an outage lasts before its cause is logged.
const NATS_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest delay between two connection attempts.
const MAX_RECONNECT_DELAY: Duration = Duration::from_millis(500);

/// The time limit for sending the queued wake-ups at shutdown.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Connection state and counters of the relay.
#[derive(Debug, Default)]
pub struct Status {
    connected: AtomicBool,
    published: AtomicU64,
    received: AtomicU64,
    dropped: AtomicU64,
    reads: AtomicU64,
    subscriptions: AtomicU64,
    /// The time since when wake-ups of this node may have been lost.
    gap: Mutex<Option<DateTime<Utc>>>,
    /// The time up to which all wake-ups have arrived; `None` before the first connection.
    synced_until: Mutex<Option<DateTime<Utc>>>,
}

impl Status {
    /// Whether wake-ups of other nodes arrive.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Wake-ups sent.
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// Wake-ups received from other nodes.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Wake-ups dropped because the queue was full or the send failed.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Reads from the database, each of a row or of a page of rows.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Topics subscribed to at NATS.
    pub fn subscriptions(&self) -> u64 {
        self.subscriptions.load(Ordering::Relaxed)
    }

    /// Stores the connection state and logs a change.
    fn set_connected(&self, is_connected: bool) {
        let was_connected = self.connected.swap(is_connected, Ordering::Relaxed);
        match (was_connected, is_connected) {
            (false, true) => tracing::info!("connected to NATS"),
            (true, false) => {
                tracing::warn!(
                    "NATS disconnected; cross-node updates are delayed until it reconnects"
                );
            }
            _ => {}
        }
    }

    fn record_gap(&self, since: DateTime<Utc>) {
        let mut gap = self.gap();
        *gap = Some(gap.map_or(since, |oldest| oldest.min(since)));
    }

    fn synced_until(&self) -> MutexGuard<'_, Option<DateTime<Utc>>> {
        self.synced_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn gap(&self) -> MutexGuard<'_, Option<DateTime<Utc>>> {
        // Each critical section is one assignment, so a panic cannot leave a partial update.
        self.gap.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sending side of the relay, for the broker. Never blocks.
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
            self.status.record_gap(conversation.updated_at);
        }
    }

    /// See [`EventBroker::read_remote`](super::EventBroker::read_remote).
    pub(super) async fn read(
        &self,
        node: Uuid,
        reply: MessageId,
        offset: usize,
        changes: u64,
    ) -> Option<RemoteSlice> {
        remote_replies::read(&self.client()?, node, reply, offset, changes).await
    }

    /// See [`EventBroker::stop_remote`](super::EventBroker::stop_remote).
    pub(super) async fn stop(&self, node: Uuid, reply: MessageId) {
        if let Some(client) = self.client() {
            remote_replies::stop(&client, node, reply).await;
        }
    }

    /// See [`EventBroker::is_held_remotely`](super::EventBroker::is_held_remotely).
    pub(super) async fn is_held(&self, node: Uuid, reply: MessageId) -> bool {
        match self.client() {
            Some(client) => remote_replies::is_held(&client, node, reply)
                .await
                .unwrap_or_default(),
            None => false,
        }
    }

    /// The client while it is connected. A disconnected client would buffer messages.
    fn client(&self) -> Option<Client> {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        client.clone().filter(|_| self.status.is_connected())
    }
}

/// The client of the current run of the relay.
type CurrentClient = Arc<Mutex<Option<Client>>>;

/// Queued wake-ups.
type Queue = Receiver<(Owner, ConversationId, i64)>;

/// The relay's background loop. Start it with [`start`](Self::start).
#[derive(Debug)]
pub struct Relay {
    node: Uuid,
    topics: Arc<Topics>,
    runs: Arc<Runs>,
    /// Kept here so that it survives a panic of the loop.
    queue: tokio::sync::Mutex<Queue>,
    client: CurrentClient,
    status: Arc<Status>,
}

impl Relay {
    pub(super) fn new(node: Uuid, topics: Arc<Topics>, runs: Arc<Runs>) -> (Outbox, Self) {
        let (sender, queue) = channel(QUEUE_CAPACITY);
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

    /// Starts a supervised loop that exchanges wake-ups until `closing`.
    pub fn start(
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

    /// Connects, and reconnects after each failure, until `closing`.
    async fn run(
        &self,
        servers: Servers,
        read: ReadRows,
        heartbeat: &Heartbeat,
        closing: CancellationToken,
    ) {
        let _disconnect = DisconnectOnDrop(&self.status);
        let changed = Arc::new(Notify::new());
        let options = servers
            .options()
            .name("titlecast")
            .retry_on_initial_connect()
            .max_reconnects(None)
            .reconnect_delay_callback(|attempt| {
                // Jitter, so that nodes do not reconnect all at once.
                let pause = Duration::from_millis(50).saturating_mul(attempt.min(10) as u32);
                pause
                    .min(MAX_RECONNECT_DELAY)
                    .mul_f64(0.75 + 0.25 * fastrand::f64())
            })
            .ping_interval(NATS_TIMEOUT)
            .event_callback({
                let (changed, status) = (changed.clone(), self.status.clone());
                move |event| {
                    match event {
                        Event::Disconnected => status.set_connected(false),
                        Event::ClientError(_) => tracing::debug!("NATS connection attempt failed"),
                        // The error may name subjects, which contain no user text.
                        Event::ServerError(error) => {
                            tracing::warn!(%error, "NATS server rejected a command")
                        }
                        _ => {}
                    }
                    changed.notify_one();
                    async {}
                }
            });
        let client = match options.connect(servers.addresses.clone()).await {
            Ok(client) => client,
            // A failed connection is retried, so this is an invalid setting.
            Err(error) => {
                tracing::error!(%error, "invalid NATS settings; the relay does not start. Check --nats-url (TITLECAST_NATS_URL)");
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
        let watched = connected.clone();
        let mut subscriptions = Subscriptions::new(
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
                    () = inbox.run(topics, &read, status) => {}
                    () = subscriptions.run(&changed, heartbeat) => {}
                    () = remote_replies::serve(&client, node, runs) => {}
                    () = log_connect_failures(servers, watched) => {}
                    () = closing.cancelled() => {}
                }
            }
        );
    }
}

/// Reports the relay as disconnected when a run ends, even by a panic.
struct DisconnectOnDrop<'a>(&'a Status);

impl Drop for DisconnectOnDrop<'_> {
    fn drop(&mut self) {
        self.0.connected.store(false, Ordering::Relaxed);
    }
}

/// Logs why there is no connection, once for each outage that lasts [`NATS_TIMEOUT`]. The client retries, but does not
/// report the cause, so this makes one attempt of its own. Never completes.
async fn log_connect_failures(servers: Servers, mut connected: watch::Receiver<bool>) {
    // `wait_for` fails when the sender is dropped, at the end of the run.
    while connected
        .wait_for(|is_connected| !is_connected)
        .await
        .is_ok()
    {
        let returned = connected.wait_for(|is_connected| *is_connected);
        if timeout(NATS_TIMEOUT, returned).await.is_err() {
            let tried = servers.names();
            if let Err(error) = servers.options().connect(servers.addresses.clone()).await {
                tracing::warn!(
                    servers = tried,
                    %error,
                    "NATS cannot be reached; cross-node updates are delayed until it can, and the connection is \
                     retried. Start NATS, or check --nats-url (TITLECAST_NATS_URL), its user and password, and \
                     --nats-ca (TITLECAST_NATS_CA)"
                );
            }
        }
        if connected
            .wait_for(|is_connected| *is_connected)
            .await
            .is_err()
        {
            break;
        }
    }
    std::future::pending().await
}

/// Sends queued wake-ups while connected, and flushes the queue at shutdown.
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
        let subject = subjects::conversation(&owner, id);
        match client.publish(subject, body.into()).await {
            Ok(()) => status.published.fetch_add(1, Ordering::Relaxed),
            Err(_) => status.dropped.fetch_add(1, Ordering::Relaxed),
        };
    };
    let sending = async {
        // A disconnected client buffers messages until it is full, then blocks.
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
    let flushing = async {
        while let Ok(hint) = queue.try_recv() {
            send(hint).await;
        }
        // The process ends either way.
        let _ = client.flush().await;
    };
    let _ = timeout(FLUSH_TIMEOUT, flushing).await;
}
