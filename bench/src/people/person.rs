//! A user with two tabs, one with the list of conversations, the other with a chat. Everything received is checked: a
//! reply that differs from the model's text, or a list without the title or the last message, ends the run.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde::Deserialize;
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    reply::Reply,
    tab::Tab,
    wire::{self, Change, Message, Wire},
};
use crate::{Result, cost::words, requests::Client};

/// How long a list may take to show a change.
const PATIENCE: Duration = Duration::from_secs(30);

/// The poll interval of users without live updates for the title.
const LOOK: Duration = Duration::from_millis(100);

/// The prefix of titles, which their fallbacks do not have.
const TITLE: &str = "Notes on ";

pub struct Person {
    wire: Wire,
    to: SocketAddr,
    /// The header with the user's identity.
    header: String,
    chat: Tab,
    list: Option<List>,
    random: fastrand::Rng,
    conversation: Option<Conversation>,
    /// The number of messages sent, which makes each request unique.
    sent: usize,
}

struct Conversation {
    id: String,
    messages: usize,
    titled: bool,
}

/// The tab with the list.
enum List {
    /// A list with live updates.
    Told {
        changes: UnboundedReceiver<Result<(Instant, Change)>>,
        reader: JoinHandle<()>,
    },
    /// A list that is reloaded after each reply.
    Read(Box<Client>),
}

/// What a user requests in one turn.
#[derive(Clone, Copy)]
pub struct Ask {
    /// The number of tokens in the reply.
    pub tokens: usize,
    /// Whether a new conversation gets a title.
    pub titles: bool,
    /// Whether the user has a tab with the list.
    pub lists: bool,
}

/// How long a user waited.
#[derive(Clone, Copy, Debug)]
pub struct Waited {
    /// Until the first text of the reply.
    pub text: Duration,
    /// Until the list showed the user's message.
    pub list: Option<Duration>,
    /// Until the list showed the title, in the turn that generated it.
    pub title: Option<Duration>,
}

impl Person {
    /// Opens both tabs.
    pub async fn connect(wire: Wire, to: SocketAddr, header: String, seed: u64) -> Result<Self> {
        let chat = match wire {
            Wire::Graphql => Tab::websocket(to, &header).await?,
            Wire::AiSdk => Tab::used(to, &wire.list(&header), 200).await?,
            _ => {
                let (request, status, _) = wire.blank(&header);
                Tab::used(to, &request, status).await?
            }
        };
        Ok(Self {
            wire,
            to,
            list: Some(List::open(wire, to, &header).await?),
            header,
            chat,
            random: fastrand::Rng::with_seed(seed),
            conversation: None,
            sent: 0,
        })
    }

    /// Opens or closes the tab with the list.
    pub async fn show_list(&mut self, shown: bool) -> Result<()> {
        self.list = match (self.list.take(), shown) {
            (_, false) => None,
            (None, true) => Some(List::open(self.wire, self.to, &self.header).await?),
            (list, true) => list,
        };
        Ok(())
    }

    /// Leaves the conversation; the next message starts another one.
    pub fn leave(&mut self) {
        self.conversation = None;
    }

    /// Bytes of all replies so far.
    pub fn received(&self) -> usize {
        self.chat.received()
    }

    /// Fails unless both tabs are still connected.
    pub fn check(&mut self) -> Result<()> {
        self.chat.check()?;
        match &mut self.list {
            Some(List::Told { changes, .. }) => match changes.try_recv() {
                Ok(Err(error)) => Err(error),
                Ok(Ok(_)) => Err("a list has changed by itself".into()),
                Err(_) => Ok(()),
            },
            Some(List::Read(_)) | None => Ok(()),
        }
    }

    /// The number of messages sent so far.
    pub fn sent(&self) -> usize {
        self.sent
    }

    /// A message without content, the status of its answer, and a part of the answer's body.
    pub fn blank(&self) -> (Vec<u8>, u16, &'static str) {
        self.wire.blank(&self.header)
    }

    /// Sends a message, reads the reply to its end, and waits until the list shows both and the title.
    pub async fn say(&mut self, ask: Ask) -> Result<Waited> {
        let text = words::message(&mut self.random, ask.tokens);
        let reply = words::reply(&text)?.concat();
        self.sent += 1;
        let sent = Instant::now();
        let (id, text) = self.converse(&text, reply, ask.titles, sent).await?;
        let conversation = self.conversation.get_or_insert_with(|| Conversation {
            id: id.clone(),
            messages: 0,
            titled: !ask.titles,
        });
        if conversation.id != id {
            return Err(format!("{} is answered as {id}", conversation.id).into());
        }
        let awaited = conversation.messages + 2;
        let (mut list, mut title) = (None, None);
        if let Some(shown) = &mut self.list {
            let needs_title = !conversation.titled;
            let late =
                |_| format!("a list does not show {id} with {awaited} messages and its title");
            let waited = shown.until(&id, awaited, needs_title, &self.header);
            let (shown, titled) = timeout(PATIENCE, waited).await.map_err(late)??;
            list = Some(shown - sent);
            title = titled.map(|at| at - sent);
            conversation.titled = true;
        }
        conversation.messages = awaited;
        Ok(Waited { text, list, title })
    }

    /// Sends the message and reads the reply. Returns the conversation's id and when the first text arrived.
    async fn converse(
        &mut self,
        text: &str,
        reply: String,
        titles: bool,
        sent: Instant,
    ) -> Result<(String, Duration)> {
        let fresh = uuid::Builder::from_random_bytes(self.random.u128(..).to_ne_bytes());
        let fresh = fresh.into_uuid().to_string();
        let known = self.conversation.as_ref().map(|one| one.id.clone());
        let id = match self.wire.makes_ids() {
            true => known.or_else(|| Some(fresh.clone())),
            false => known,
        };
        let message = Message {
            text,
            conversation: id.as_deref(),
            titles,
            fresh: &fresh,
        };
        let mut reply = Reply::new(self.wire, reply, id.clone());
        match self.wire.request(&self.header, &message) {
            Some(request) => {
                self.chat.ask(&request).await?;
                while !self.chat.ended() {
                    self.chat.read(|payload| reply.take(payload)).await?;
                }
            }
            None => {
                let (asking, following) = (format!("m{}", self.sent), format!("r{}", self.sent));
                self.chat.say(&wire::send(&asking, &message)).await?;
                while reply.conversation().is_none() {
                    self.chat.read(|payload| reply.take(payload)).await?;
                }
                let id = reply.conversation().unwrap_or_default().to_owned();
                self.chat.say(&wire::follow_reply(&following, &id)).await?;
                while !reply.over() {
                    self.chat.read(|payload| reply.take(payload)).await?;
                }
            }
        }
        let (id, first) = reply.end()?;
        Ok((id, first - sent))
    }
}

impl List {
    async fn open(wire: Wire, to: SocketAddr, header: &str) -> Result<Self> {
        if wire == Wire::AiSdk {
            return Ok(Self::Read(Box::new(Client::connect(to).await?)));
        }
        let tab = match wire {
            Wire::Graphql => {
                let mut tab = Tab::websocket(to, header).await?;
                tab.say(&wire::follow_list()).await?;
                tab
            }
            _ => {
                let mut tab = Tab::http(to).await?;
                tab.ask(&wire.list(header)).await?;
                tab
            }
        };
        let (sender, changes) = unbounded_channel();
        #[expect(clippy::disallowed_methods, reason = "it ends with the list")]
        let reader = tokio::spawn(async move {
            let mut tab = tab;
            loop {
                let mut found = Vec::new();
                let read = tab.read(|payload| {
                    found.extend(wire.change(payload)?);
                    Ok(())
                });
                let read = read.await;
                let at = Instant::now();
                for change in found {
                    // Fails if the tab has been closed.
                    let _ = sender.send(Ok((at, change)));
                }
                if let Err(error) = read {
                    let _ = sender.send(Err(format!("a list: {error}").into()));
                    return;
                }
            }
        });
        Ok(Self::Told { changes, reader })
    }

    /// Waits until the list shows this many messages of a conversation, and its title if one is expected. Returns when
    /// it showed the user's own message, and when the title.
    async fn until(
        &mut self,
        id: &str,
        messages: usize,
        needs_title: bool,
        header: &str,
    ) -> Result<(Instant, Option<Instant>)> {
        let (mut shown, mut title, mut all) = (None, None, false);
        while !all || (needs_title && title.is_none()) {
            let (at, change) = match self {
                Self::Told { changes, .. } => changes.recv().await.ok_or("a list has ended")??,
                Self::Read(client) => {
                    if shown.is_some() {
                        sleep(LOOK).await;
                    }
                    let answer = client.ask(&Wire::AiSdk.list(header)).await?;
                    let list: Vec<Change> =
                        Vec::deserialize(&mut serde_json::Deserializer::from_slice(answer))?;
                    let change = list.into_iter().find(|one| one.id == id);
                    let change = change.ok_or("a list without its newest conversation")?;
                    (Instant::now(), change)
                }
            };
            if change.id != id {
                continue;
            }
            if change.message_count + 1 >= messages {
                shown.get_or_insert(at);
            }
            all |= change.message_count == messages;
            let titled = change
                .display_name
                .is_some_and(|title| title.starts_with(TITLE));
            if titled && title.is_none() && needs_title {
                title = Some(at);
            }
        }
        Ok((shown.ok_or("a list without the message")?, title))
    }
}

impl Drop for List {
    fn drop(&mut self) {
        if let Self::Told { reader, .. } = self {
            reader.abort();
        }
    }
}
