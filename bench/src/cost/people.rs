//! Users who talk, each over its own connection and with its own token: they send a message to `POST
//! /api/v1/chat/stream`, read the reply to its end, and send the next one.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

use super::{command, words};
use crate::{
    Result,
    decode::Decoder,
    http,
    stream::check::{Reply, Wire},
};

/// Follows a reply on another node.
const REPLY: &str = "subscription ($id: ID!) { reply(conversationId: $id) { __typename
    ... on ReplySoFar { text } ... on ReplyDelta { text cursor } ... on ReplyEnded { outcome text } } }";

/// Follows all conversations of a user.
const LIST: &str = "subscription { conversationUpdated { id title titleStatus revision } }";

pub struct Person {
    stream: TcpStream,
    /// The header with the user's token.
    token: String,
    random: fastrand::Rng,
    /// The conversations to continue.
    conversations: Vec<String>,
}

/// What each person does in one turn.
#[derive(Clone, Copy)]
pub struct Turn {
    /// Start this many conversations, or continue each existing one.
    pub begin: Option<usize>,
    /// Whether new conversations get a title.
    pub titles: bool,
    /// How many tokens a reply has.
    pub tokens: usize,
    /// The time over which the beginnings are spread.
    pub stagger: Duration,
    /// A node on which each reply is also followed.
    pub follow: Option<SocketAddr>,
}

/// The results of the turns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said {
    pub replies: usize,
    pub tokens: usize,
    /// The number of pieces in which the text arrived.
    pub deltas: usize,
    /// Bytes of all answers, and of the followed replies.
    pub received: usize,
    pub followed: usize,
    /// The prompt tokens that the model reported.
    pub prompt_tokens: u64,
}

impl Person {
    /// Connects with a token issued by the measured program.
    pub async fn connect(number: u16, titlecast: &Path, to: SocketAddr) -> Result<Self> {
        // Before connecting, because a server soon closes a connection without a request.
        let token = command::token(titlecast, &format!("person-{number}"))?;
        Ok(Self {
            stream: http::connect(Ipv4Addr::LOCALHOST, to).await?,
            token,
            random: fastrand::Rng::with_seed(number.into()),
            conversations: Vec::new(),
        })
    }

    /// Follows all conversations of the user; the reader counts the events.
    pub async fn watch(&self, on: SocketAddr) -> Result<TcpStream> {
        self.subscribe(on, &json!({ "query": LIST })).await
    }

    async fn subscribe(&self, on: SocketAddr, query: &Value) -> Result<TcpStream> {
        let mut stream = http::connect(Ipv4Addr::LOCALHOST, on).await?;
        let request = self.request("/graphql", query);
        stream.write_all(&request).await?;
        Ok(stream)
    }

    fn request(&self, path: &str, body: &Value) -> Vec<u8> {
        let request = http::request("POST", path, "text/event-stream", Some(body));
        http::with_header(&request, &self.token)
    }

    async fn take(&mut self, turn: Turn, after: Duration) -> Result<Said> {
        sleep(after).await;
        let mut said = Said::default();
        match turn.begin {
            Some(count) => {
                for _ in 0..count {
                    let id = self.say(None, turn, &mut said).await?;
                    // Only conversations with a title are continued.
                    self.conversations.extend(turn.titles.then_some(id));
                }
            }
            None => {
                for id in self.conversations.clone() {
                    self.say(Some(&id), turn, &mut said).await?;
                }
            }
        }
        Ok(said)
    }

    /// Sends a message and reads the reply. Returns the conversation's id.
    async fn say(&mut self, id: Option<&str>, turn: Turn, said: &mut Said) -> Result<String> {
        let message = words::message(&mut self.random, turn.tokens);
        let reply = words::reply(&message)?.concat();
        let context = json!({ "auto_title": turn.titles });
        let body = json!({ "message": message, "conversation_id": id, "context": context });
        let request = self.request("/api/v1/chat/stream", &body);
        self.stream.write_all(&request).await?;

        let titles = turn.titles;
        let mut check = Reply::new(Wire::Titlecast { titles }, reply.clone());
        let (mut decoder, mut part) = (Decoder::events(), vec![0; 16 * 1024]);
        let (mut id, mut following) = (None, None);
        while !decoder.ended() {
            let length = self.stream.read(&mut part).await?;
            if length == 0 {
                return Err("a connection was closed".into());
            }
            said.received += length;
            decoder.take(&part[..length], |payload| {
                check.take(payload)?;
                if id.is_none() {
                    let event: Value = serde_json::from_slice(payload)?;
                    id = event["conversation_id"].as_str().map(str::to_owned);
                }
                if payload.starts_with(br#"{"kind":"usage""#) {
                    let event: Value = serde_json::from_slice(payload)?;
                    let prompt = event["payload"]["prompt_tokens"].as_u64();
                    said.prompt_tokens += prompt.ok_or("no usage")?;
                }
                Ok(())
            })?;
            if let (Some(id), Some(on), None) = (&id, turn.follow, &following) {
                let query = json!({ "query": REPLY, "variables": { "id": id } });
                let stream = self.subscribe(on, &query).await?;
                #[expect(clippy::disallowed_methods, reason = "it is awaited below")]
                let task = tokio::spawn(follow(stream, reply.clone()));
                following = Some(task);
            }
        }
        check.end()?;
        if let Some(following) = following {
            said.followed += following.await??;
        }
        said.replies += 1;
        said.tokens += turn.tokens;
        said.deltas += check.deltas;
        Ok(id.ok_or("a conversation without an id")?)
    }
}

/// Every user takes a turn, all concurrently.
pub async fn all(people: &mut [Person], turn: Turn) -> Result<Said> {
    let count = people.len() as f64;
    let turns = people.iter_mut().enumerate().map(|(place, person)| {
        let after = turn.stagger.mul_f64(place as f64 / count);
        person.take(turn, after)
    });
    let mut all = Said::default();
    for said in try_join_all(turns).await? {
        all.replies += said.replies;
        all.tokens += said.tokens;
        all.deltas += said.deltas;
        all.received += said.received;
        all.followed += said.followed;
        all.prompt_tokens += said.prompt_tokens;
    }
    Ok(all)
}

/// Reads a followed reply, which must be this one. Returns its size in bytes.
async fn follow(mut stream: TcpStream, reply: String) -> Result<usize> {
    let (mut decoder, mut part) = (Decoder::events(), vec![0; 16 * 1024]);
    let (mut text, mut ended, mut received) = (String::new(), false, 0);
    while !decoder.ended() {
        let length = stream.read(&mut part).await?;
        if length == 0 {
            return Err("a connection was closed".into());
        }
        received += length;
        decoder.take(&part[..length], |payload| {
            let message: Value = serde_json::from_slice(payload)?;
            let event = &message["data"]["reply"];
            let more = event["text"].as_str().unwrap_or_default();
            match event["__typename"].as_str() {
                Some("ReplySoFar" | "ReplyDelta") => text.push_str(more),
                Some("ReplyEnded") => ended = more == reply && event["outcome"] == "COMPLETED",
                _ => return Err(format!("a reply's reader received {message}").into()),
            }
            Ok(())
        })?;
    }
    match ended && text == reply {
        true => Ok(received),
        false => Err(format!("a reply is followed as {text:?}, not {reply:?}").into()),
    }
}
