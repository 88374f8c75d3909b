//! NATS subscriptions of a node: watched topics, its own echo, and resync requests of other nodes.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_nats::{Client, Subscriber, connection::State};
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use uuid::Uuid;

use super::{
    NATS_TIMEOUT, Status,
    inbox::Inbox,
    subjects::{self, ResyncRequest, WakeUp},
};
use crate::{
    conversation::{Audience, ConversationId},
    events::topics::{Topic, Topics},
    supervisor::Heartbeat,
};

/// How often a node sends an echo to verify that messages arrive.
const ECHO_INTERVAL: Duration = Duration::from_secs(1);

/// Subscriptions of a node, and the echoes that confirm them.
pub(super) struct Subscriptions {
    node: Uuid,
    client: Client,
    topics: Arc<Topics>,
    inbox: Arc<Inbox>,
    status: Arc<Status>,
    tasks: TaskTracker,
    /// Dropping a guard ends the subscription.
    subscribed: HashMap<Topic, DropGuard>,
    /// Echoes that have not arrived yet, oldest first.
    echoes: VecDeque<Echo>,
    last_echo: u64,
    /// The number of the current connection, counted from 1; 0 before the first.
    connection: u64,
    /// All wake-ups up to this time have arrived.
    synced_until: DateTime<Utc>,
    is_connected: watch::Sender<bool>,
}

/// A message of the node to itself, sent after the subscriptions that it confirms.
struct Echo {
    number: u64,
    sent_at: DateTime<Utc>,
    sent: Instant,
    /// What to resync when the echo arrives.
    resync: ResyncScope,
}

enum ResyncScope {
    Topics(Vec<Topic>),
    All,
}

impl Subscriptions {
    pub(super) fn new(
        node: Uuid,
        client: Client,
        topics: Arc<Topics>,
        inbox: Arc<Inbox>,
        status: Arc<Status>,
        is_connected: watch::Sender<bool>,
    ) -> Self {
        // After a panic of the previous run, wake-ups may be lost in both directions.
        let before = *status.synced_until();
        if let Some(before) = before {
            status.record_gap(before);
        }
        Self {
            synced_until: before.unwrap_or_else(|| topics.now()),
            node,
            client,
            topics,
            inbox,
            status,
            tasks: TaskTracker::new(),
            subscribed: HashMap::new(),
            echoes: VecDeque::new(),
            last_echo: 0,
            connection: 0,
            is_connected,
        }
    }

    /// Receives until the client is closed.
    pub(super) async fn run(&mut self, changed: &Notify, heartbeat: &Heartbeat) {
        let Ok(mut echoes) = self.client.subscribe(subjects::echo(self.node)).await else {
            return;
        };
        let Ok(mut resyncs) = self.client.subscribe(subjects::RESYNC).await else {
            return;
        };
        let mut ticks = interval(ECHO_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = changed.notified() => self.check_connection().await,
                changed_topics = { let topics = self.topics.clone(); async move { topics.changed().await } } => {
                    // Nothing to do while disconnected: a new connection subscribes to all watched topics.
                    if self.is_open() {
                        self.apply(changed_topics).await;
                    }
                }
                Some(echo) = echoes.next() => self.receive_echo(&echo.payload),
                Some(request) = resyncs.next() => self.receive_resync(&request.payload),
                _ = ticks.tick() => {
                    let ticking = async {
                        self.check_connection().await;
                        self.tick().await;
                        Ok(())
                    };
                    // On a timeout the next tick retries.
                    let _ = heartbeat.iteration(NATS_TIMEOUT, ticking).await;
                }
            }
        }
    }

    /// Whether the client is connected and [`check_connection`](Self::check_connection) has seen this connection.
    /// Before that, an echo may belong to the previous connection and confirms nothing.
    fn is_open(&self) -> bool {
        self.connection > 0
            && self.connection == self.connections()
            && self.client.connection_state() == State::Connected
    }

    /// How many connections the client has made.
    fn connections(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    /// On a new connection, subscribes to topics added in the meantime and resyncs all. The client renews its existing
    /// subscriptions itself.
    async fn check_connection(&mut self) {
        let connection = self.connections();
        if self.client.connection_state() != State::Connected {
            self.is_connected.send_replace(false);
            self.status.set_connected(false);
            return;
        }
        if connection == self.connection {
            return;
        }
        self.is_connected.send_replace(true);
        if self.connection > 0 {
            self.status.record_gap(self.synced_until);
        }
        self.connection = connection;
        self.echoes.clear();
        let mut topics: Vec<Topic> = self.topics.watched();
        topics.extend(self.subscribed.keys().cloned());
        for topic in topics {
            self.subscribe_if_watched(topic).await;
        }
        self.send_echo(ResyncScope::All).await;
    }

    /// Subscribes to topics that got their first subscriber, and unsubscribes from those that lost their last.
    async fn apply(&mut self, changed_topics: impl IntoIterator<Item = Topic>) {
        let mut new = Vec::new();
        for topic in changed_topics {
            if self.subscribe_if_watched(topic.clone()).await {
                new.push(topic);
            }
        }
        if !new.is_empty() {
            self.send_echo(ResyncScope::Topics(new)).await;
        }
    }

    /// Subscribes to a topic if it has subscribers, else unsubscribes. Returns whether it is subscribed.
    async fn subscribe_if_watched(&mut self, topic: Topic) -> bool {
        let is_watched = self.topics.watched_since(&topic).is_some();
        if !is_watched {
            self.subscribed.remove(&topic);
        } else if !self.subscribed.contains_key(&topic) {
            let Ok(subscriber) = self.client.subscribe(subjects::topic(&topic)).await else {
                return false;
            };
            let cancelled = CancellationToken::new();
            self.tasks.spawn(receive_wake_ups(
                subscriber,
                self.node,
                topic.clone(),
                self.inbox.clone(),
                self.status.clone(),
                cancelled.clone(),
            ));
            self.subscribed.insert(topic, cancelled.drop_guard());
        }
        let count = self.subscribed.len() as u64;
        self.status.subscriptions.store(count, Ordering::Relaxed);
        is_watched
    }

    /// Sends an echo that resyncs these topics when it arrives.
    async fn send_echo(&mut self, resync: ResyncScope) {
        self.last_echo += 1;
        self.echoes.push_back(Echo {
            number: self.last_echo,
            sent_at: self.topics.now(),
            sent: Instant::now(),
            resync,
        });
        let body = self.last_echo.to_string();
        // If sending fails, the missing echo marks the connection as degraded.
        let _ = self
            .client
            .publish(subjects::echo(self.node), body.into())
            .await;
    }

    /// An echo arrived: all later wake-ups arrive too, so resync what changed before it.
    fn receive_echo(&mut self, payload: &[u8]) {
        let number = std::str::from_utf8(payload).ok();
        let Some(number) = number.and_then(|text| text.parse::<u64>().ok()) else {
            return;
        };
        if !self.is_open() {
            return;
        }
        while self
            .echoes
            .front()
            .is_some_and(|echo| echo.number <= number)
        {
            let Some(echo) = self.echoes.pop_front() else {
                break;
            };
            let topics = match echo.resync {
                ResyncScope::Topics(topics) => topics,
                ResyncScope::All => self.topics.watched(),
            };
            for topic in topics {
                self.inbox.request_resync(topic, self.synced_until);
            }
            self.synced_until = echo.sent_at;
            *self.status.synced_until() = Some(echo.sent_at);
            self.status.set_connected(true);
        }
    }

    /// Another node may have lost wake-ups: resync all watched topics.
    fn receive_resync(&self, payload: &[u8]) {
        let Ok(request) = serde_json::from_slice::<ResyncRequest>(payload) else {
            return;
        };
        if request.node != self.node {
            for topic in self.topics.watched() {
                self.inbox.request_resync(topic, request.since);
            }
        }
    }

    /// Sends an echo and pending resync requests; reports a late echo.
    async fn tick(&mut self) {
        if !self.is_open() {
            return;
        }
        match self.echoes.front() {
            None => self.send_echo(ResyncScope::Topics(Vec::new())).await,
            Some(echo) if echo.sent.elapsed() > NATS_TIMEOUT => self.status.set_connected(false),
            Some(_) => {}
        }
        let gap = self.status.gap().take();
        if let Some(since) = gap {
            let node = self.node;
            if let Ok(body) = serde_json::to_vec(&ResyncRequest { node, since }) {
                // If sending fails, the next reconnect records a gap again.
                let _ = self.client.publish(subjects::RESYNC, body.into()).await;
            }
        }
    }
}

/// Receives the wake-ups of one topic until it is unsubscribed.
async fn receive_wake_ups(
    mut subscriber: Subscriber,
    node: Uuid,
    topic: Topic,
    inbox: Arc<Inbox>,
    status: Arc<Status>,
    cancelled: CancellationToken,
) {
    // A conversation is read as a row of its owner.
    let audience = match topic {
        Topic::Conversation(owner, _) => Audience::User(owner),
        Topic::Audience(audience) => audience,
    };
    loop {
        let message = tokio::select! {
            message = subscriber.next() => message,
            () = cancelled.cancelled() => return,
        };
        let Some(message) = message else { return };
        let Ok(wake_up) = serde_json::from_slice::<WakeUp>(&message.payload) else {
            continue;
        };
        if wake_up.node != node {
            status.received.fetch_add(1, Ordering::Relaxed);
            inbox.wake_up(
                audience.clone(),
                ConversationId(wake_up.id),
                wake_up.revision,
            );
        }
    }
}
