//! The floor's client for a model: sends requests over persistent connections and extracts the texts from the
//! responses.

use std::{
    borrow::Cow,
    net::{Ipv4Addr, SocketAddr},
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::store::Usage;
use crate::{Result, decode::Decoder, http, requests::Client};

pub const NAME: &str = "gpt-6-luna";

#[derive(Serialize)]
pub struct Message {
    role: &'static str,
    content: String,
}

impl Message {
    pub fn new(role: &'static str, content: String) -> Self {
        Self { role, content }
    }
}

pub struct Model {
    address: SocketAddr,
    streams: Mutex<Vec<TcpStream>>,
    clients: Mutex<Vec<Client>>,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    choices: Vec<Choice<'a>>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    delta: Delta<'a>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
}

impl Model {
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address,
            streams: Mutex::default(),
            clients: Mutex::default(),
        }
    }

    /// Requests a reply and passes on its texts as they arrive. Returns its token counts.
    pub async fn stream(&self, messages: &[Message], mut delta: impl FnMut(&str)) -> Result<Usage> {
        let mut stream = match taken(&self.streams) {
            Some(stream) => stream,
            None => http::connect(Ipv4Addr::LOCALHOST, self.address).await?,
        };
        let body = json!({ "model": NAME, "messages": messages, "stream": true,
            "stream_options": { "include_usage": true } });
        stream.write_all(&request(&body)).await?;
        let (mut decoder, mut part) = (Decoder::events(), vec![0; 4096]);
        let (mut usage, mut done) = (None, false);
        while !decoder.ended() {
            let length = stream.read(&mut part).await?;
            if length == 0 {
                return Err("the model has closed the connection".into());
            }
            decoder.take(&part[..length], |payload| {
                if payload == b"[DONE]" {
                    done = true;
                    return Ok(());
                }
                let chunk: Chunk = serde_json::from_slice(payload)?;
                for choice in chunk.choices {
                    if let Some(text) = choice.delta.content.filter(|text| !text.is_empty()) {
                        delta(&text);
                    }
                }
                usage = chunk.usage.or(usage);
                Ok(())
            })?;
        }
        self.streams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(stream);
        match (usage, done) {
            (Some(usage), true) => Ok(usage),
            _ => Err("a reply without its end".into()),
        }
    }

    /// Requests a text in one piece. Returns it with its token counts.
    pub async fn ask(&self, messages: &[Message]) -> Result<(String, Usage)> {
        let mut client = match taken(&self.clients) {
            Some(client) => client,
            None => Client::connect(self.address).await?,
        };
        let body = json!({ "model": NAME, "messages": messages, "max_tokens": 60 });
        let answer: Value = serde_json::from_slice(client.ask(&request(&body)).await?)?;
        self.clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(client);
        let text = answer["choices"][0]["message"]["content"].as_str();
        let text = text.ok_or("an answer without a text")?.to_owned();
        Ok((text, Usage::deserialize(&answer["usage"])?))
    }
}

fn request(body: &Value) -> Vec<u8> {
    http::request("POST", "/v1/chat/completions", "*/*", Some(body))
}

fn taken<T>(pool: &Mutex<Vec<T>>) -> Option<T> {
    pool.lock().unwrap_or_else(PoisonError::into_inner).pop()
}
