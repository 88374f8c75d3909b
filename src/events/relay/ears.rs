//! What a node listens to: the topics that somebody watches, its own echo, and the wish of others that it
//! look again.

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
    PATIENCE, Status,
    inbox::Inbox,
    subject::{self, LookAgain, WakeUp},
};
use crate::{
    conversation::ConversationId,
    events::topics::{Topic, Topics},
    supervisor::Heartbeat,
};

/// How often a node listens for its own echo, to know that it hears everything.
const BEAT: Duration = Duration::from_secs(1);

/// What a node listens to.
pub(super) struct Ears {
    node: Uuid,
    client: Client,
    topics: Arc<Topics>,
    inbox: Arc<Inbox>,
    status: Arc<Status>,
    tasks: TaskTracker,
    /// Dropping a guard ends a subscription.
    subscribed: HashMap<Topic, DropGuard>,
    /// Echoes that are on their way, oldest first.
    echoes: VecDeque<Echo>,
    last_echo: u64,
    /// Which of the connections so far this is.
    connection: u64,
    /// Up to then every wake-up has arrived.
    heard_until: DateTime<Utc>,
    is_connected: watch::Sender<bool>,
}

/// Something that the node said to itself, behind what it subscribed to.
struct Echo {
    number: u64,
    sent_at: DateTime<Utc>,
    sent: Instant,
    /// What is read once it is back.
    topics: Behind,
}

enum Behind {
    These(Vec<Topic>),
    All,
}

impl Ears {
    pub(super) fn new(
        node: Uuid,
        client: Client,
        topics: Arc<Topics>,
        inbox: Arc<Inbox>,
        status: Arc<Status>,
        is_connected: watch::Sender<bool>,
    ) -> Self {
        // After a run that panicked others may have missed what this node did meanwhile, and it what they did.
        let before = *status.heard_until();
        if let Some(before) = before {
            status.note_gap(before);
        }
        Self {
            heard_until: before.unwrap_or_else(|| topics.now()),
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

    /// Never ends, unless the client does.
    pub(super) async fn listen(&mut self, changed: &Notify, heartbeat: &Heartbeat) {
        let Ok(mut own) = self.client.subscribe(subject::echo(self.node)).await else {
            return;
        };
        let Ok(mut again) = self.client.subscribe(subject::LOOK_AGAIN).await else {
            return;
        };
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = changed.notified() => self.look().await,
                stirred = { let topics = self.topics.clone(); async move { topics.stirred().await } } => {
                    // Without a connection all is made good when it is there.
                    if self.is_open() {
                        self.follow(stirred).await;
                    }
                }
                Some(echo) = own.next() => self.hear(&echo.payload),
                Some(said) = again.next() => self.look_again(&said.payload),
                _ = beat.tick() => {
                    let beating = async {
                        self.look().await;
                        self.beat().await;
                        Ok(())
                    };
                    // What it left undone is seen at the next beat.
                    let _ = heartbeat.iteration(PATIENCE, beating).await;
                }
            }
        }
    }

    /// Whether there is a connection, and its beginning was seen: until then nothing that comes on it
    /// says that everything before was heard.
    fn is_open(&self) -> bool {
        self.connection > 0
            && self.connection == self.connections()
            && self.client.connection_state() == State::Connected
    }

    /// How many connections there were.
    fn connections(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    /// Sees whether there is a new connection. What the old one had subscribed to, the client subscribes
    /// to again by itself.
    async fn look(&mut self) {
        let connection = self.connections();
        if self.client.connection_state() != State::Connected {
            self.is_connected.send_replace(false);
            self.status.connect(false);
            return;
        }
        if connection == self.connection {
            return;
        }
        self.is_connected.send_replace(true);
        if self.connection > 0 {
            self.status.note_gap(self.heard_until);
        }
        self.connection = connection;
        self.echoes.clear();
        let mut topics: Vec<Topic> = self.topics.watched();
        topics.extend(self.subscribed.keys().cloned());
        for topic in topics {
            self.subscribe_if_watched(topic).await;
        }
        self.say(Behind::All).await;
    }

    /// Subscribes to topics that came, and leaves those that went.
    async fn follow(&mut self, stirred: impl IntoIterator<Item = Topic>) {
        let mut new = Vec::new();
        for topic in stirred {
            if self.subscribe_if_watched(topic.clone()).await {
                new.push(topic);
            }
        }
        if !new.is_empty() {
            self.say(Behind::These(new)).await;
        }
    }

    /// Whether there is somebody who listens.
    async fn subscribe_if_watched(&mut self, topic: Topic) -> bool {
        let is_watched = self.topics.watched_since(&topic).is_some();
        if !is_watched {
            self.subscribed.remove(&topic);
        } else if !self.subscribed.contains_key(&topic) {
            let Ok(subscriber) = self.client.subscribe(subject::topic(&topic)).await else {
                return false;
            };
            let left = CancellationToken::new();
            self.tasks.spawn(take_in(
                subscriber,
                self.node,
                topic.clone(),
                self.inbox.clone(),
                self.status.clone(),
                left.clone(),
            ));
            self.subscribed.insert(topic, left.drop_guard());
        }
        let count = self.subscribed.len() as u64;
        self.status.subscriptions.store(count, Ordering::Relaxed);
        is_watched
    }

    async fn say(&mut self, topics: Behind) {
        self.last_echo += 1;
        self.echoes.push_back(Echo {
            number: self.last_echo,
            sent_at: self.topics.now(),
            sent: Instant::now(),
            topics,
        });
        let body = self.last_echo.to_string();
        // When it fails, the echo does not come, which is noticed.
        let _ = self
            .client
            .publish(subject::echo(self.node), body.into())
            .await;
    }

    /// The echo is back: from here on everything is heard; what was before is looked up.
    fn hear(&mut self, payload: &[u8]) {
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
            let topics = match echo.topics {
                Behind::These(topics) => topics,
                Behind::All => self.topics.watched(),
            };
            for topic in topics {
                self.inbox.look_again(topic, self.heard_until);
            }
            self.heard_until = echo.sent_at;
            *self.status.heard_until() = Some(echo.sent_at);
            self.status.connect(true);
        }
    }

    /// Another node lost wake-ups, maybe.
    fn look_again(&self, payload: &[u8]) {
        let Ok(said) = serde_json::from_slice::<LookAgain>(payload) else {
            return;
        };
        if said.node != self.node {
            for topic in self.topics.watched() {
                self.inbox.look_again(topic, said.since);
            }
        }
    }

    async fn beat(&mut self) {
        if !self.is_open() {
            return;
        }
        match self.echoes.front() {
            None => self.say(Behind::These(Vec::new())).await,
            Some(echo) if echo.sent.elapsed() > PATIENCE => self.status.connect(false),
            Some(_) => {}
        }
        let gap = self.status.gap().take();
        if let Some(since) = gap {
            let node = self.node;
            if let Ok(body) = serde_json::to_vec(&LookAgain { node, since }) {
                // When it fails, there is another connection soon, and another gap.
                let _ = self.client.publish(subject::LOOK_AGAIN, body.into()).await;
            }
        }
    }
}

/// Takes in the wake-ups of one topic until it is left.
async fn take_in(
    mut subscriber: Subscriber,
    node: Uuid,
    topic: Topic,
    inbox: Arc<Inbox>,
    status: Arc<Status>,
    left: CancellationToken,
) {
    let (Topic::Conversation(owner, _) | Topic::Owner(owner)) = topic;
    loop {
        let message = tokio::select! {
            message = subscriber.next() => message,
            () = left.cancelled() => return,
        };
        let Some(message) = message else { return };
        let Ok(wake_up) = serde_json::from_slice::<WakeUp>(&message.payload) else {
            continue;
        };
        if wake_up.node != node {
            status.received.fetch_add(1, Ordering::Relaxed);
            inbox.wake_up(owner.clone(), ConversationId(wake_up.id), wake_up.revision);
        }
    }
}
