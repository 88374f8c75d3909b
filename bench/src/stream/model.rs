//! The model: a Chat Completions server that writes scripted replies, one token at a time at a steady pace. It is a
//! thread of the load's process, on the load's core, and is the same for all measured programs.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io::{ErrorKind, Write},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use memchr::memmem;
use mio::{
    Events, Interest, Poll, Token, Waker,
    net::{TcpListener, TcpStream},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Result, http::receive};

const LISTENER: Token = Token(usize::MAX);
const END: Token = Token(usize::MAX - 1);

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
                    transfer-encoding: chunked\r\n\r\n";

/// The script of the model's replies.
pub trait Author: Send + 'static {
    /// The answer to a request: a reply if the request asks for a stream, otherwise a title.
    fn write(&self, request: &Request) -> Result<Written>;
}

/// An answer of the model.
pub struct Written {
    pub tokens: Vec<String>,
    /// The prompt tokens to report.
    pub prompt_tokens: usize,
}

/// A running model. Stops when it is dropped.
pub struct Model {
    pub address: SocketAddr,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Model {
    /// Starts the model on the current thread's core.
    pub fn start(pace: Duration, author: impl Author) -> Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = listener.local_addr()?;
        let registry = poll.registry();
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(registry, END)?);
        let serving = Serving {
            poll,
            listener,
            pace,
            author: Box::new(author),
            connections: Vec::new(),
            due: BinaryHeap::new(),
        };
        Ok(Self {
            address,
            waker,
            thread: Some(std::thread::spawn(move || serving.run())),
        })
    }

    /// Fails with the reason if the model has ended.
    pub fn check(&mut self) -> Result<()> {
        let Some(thread) = self.thread.take_if(|thread| thread.is_finished()) else {
            return Ok(());
        };
        match thread.join() {
            Ok(Err(error)) => Err(format!("the model: {error}").into()),
            _ => Err("the model has ended".into()),
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take()
            && self.waker.wake().is_ok()
        {
            // An error in the thread also shows in the replies.
            let _ = thread.join();
        }
    }
}

/// The relevant parts of a request.
#[derive(Deserialize)]
pub struct Request {
    pub messages: Vec<Message>,
    #[serde(default)]
    pub stream: bool,
    /// The schema of a title, for title requests.
    #[serde(default)]
    pub response_format: Value,
}

#[derive(Deserialize)]
pub struct Message {
    #[serde(default)]
    pub role: String,
    pub content: String,
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    writing: Option<Writing>,
}

/// A reply that is being written.
struct Writing {
    written: Written,
    begun: Instant,
    /// The number of the next token. After the last token, the end is written.
    next: usize,
}

struct Serving {
    poll: Poll,
    listener: TcpListener,
    pace: Duration,
    author: Box<dyn Author>,
    connections: Vec<Option<Connection>>,
    /// The schedule of the streams, soonest first.
    due: BinaryHeap<Reverse<(Instant, usize)>>,
}

impl Serving {
    fn run(mut self) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            let next = self.due.peek();
            let wait = next.map(|Reverse((due, _))| due.saturating_duration_since(Instant::now()));
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                polled => polled?,
            }
            for event in &events {
                match event.token() {
                    END => return Ok(()),
                    LISTENER => self.accept()?,
                    Token(number) => self.receive(number)?,
                }
            }
            while let Some(Reverse((due, number))) = self.due.peek().copied()
                && due <= Instant::now()
            {
                self.due.pop();
                self.go_on(number)?;
            }
        }
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            stream.set_nodelay(true)?;
            let token = Token(self.connections.len());
            let registry = self.poll.registry();
            registry.register(&mut stream, token, Interest::READABLE)?;
            self.connections.push(Some(Connection {
                stream,
                received: Vec::new(),
                writing: None,
            }));
        }
    }

    /// Reads what has arrived, and starts to answer once a request is complete.
    fn receive(&mut self, number: usize) -> Result<()> {
        let Some(connection) = &mut self.connections[number] else {
            return Ok(());
        };
        if !receive(&mut connection.stream, &mut connection.received)? {
            self.connections[number] = None;
            return Ok(());
        }
        let Some(request) = request(&mut connection.received)? else {
            return Ok(());
        };
        if connection.writing.is_some() {
            return Err("a request before the answer to the one before".into());
        }
        let written = self.author.write(&request)?;
        if !request.stream {
            return self.send(number, whole(&written).as_bytes());
        }
        connection.writing = Some(Writing {
            written,
            begun: Instant::now(),
            next: 0,
        });
        self.go_on(number)
    }

    /// Writes the next token, or the end after the last one.
    fn go_on(&mut self, number: usize) -> Result<()> {
        let Some(connection) = &mut self.connections[number] else {
            return Ok(());
        };
        let Some(writing) = &mut connection.writing else {
            return Ok(());
        };
        let mut bytes = String::new();
        if writing.next == 0 {
            bytes.push_str(HEAD);
            let opening = json!({ "role": "assistant", "content": "", "refusal": null });
            bytes.push_str(&chunk(&event(&choice(&opening, None), &Value::Null)));
        }
        if let Some(token) = writing.written.tokens.get(writing.next) {
            bytes.push_str(&chunk(&self::token(token)));
            writing.next += 1;
            // Relative to the beginning, so that delays do not add up.
            let due = writing.begun + self.pace * u32::try_from(writing.next)?;
            self.due.push(Reverse((due, number)));
        } else {
            let usage = writing.written.usage();
            bytes.push_str(&chunk(&event(
                &choice(&json!({}), Some("stop")),
                &Value::Null,
            )));
            bytes.push_str(&chunk(&event(&json!([]), &usage)));
            bytes.push_str(&chunk("data: [DONE]\n\n"));
            bytes.push_str("0\r\n\r\n");
            connection.writing = None;
        }
        self.send(number, bytes.as_bytes())
    }

    fn send(&mut self, number: usize, bytes: &[u8]) -> Result<()> {
        let Some(connection) = &mut self.connections[number] else {
            return Ok(());
        };
        match connection.stream.write_all(bytes) {
            Ok(()) => Ok(()),
            // The client has disconnected; the next read shows it.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                ) =>
            {
                self.connections[number] = None;
                Ok(())
            }
            Err(error) => Err(format!("what it writes is not taken: {error}").into()),
        }
    }
}

/// Takes a complete request out of the received bytes, if there is one.
fn request(received: &mut Vec<u8>) -> Result<Option<Request>> {
    let Some(end) = memmem::find(received, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&received[..end])?;
    if !head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n") {
        return Err(format!("no request for a completion: {head}").into());
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>())
    });
    let length = length.ok_or("a request without its length")??;
    let begin = end + 4;
    let Some(body) = received.get(begin..begin + length) else {
        return Ok(None);
    };
    let request = serde_json::from_slice(body)?;
    received.drain(..begin + length);
    Ok(Some(request))
}

impl Written {
    fn usage(&self) -> Value {
        let Self {
            tokens,
            prompt_tokens,
        } = self;
        json!({
            "prompt_tokens": prompt_tokens,
            "completion_tokens": tokens.len(),
            "total_tokens": prompt_tokens + tokens.len(),
            "completion_tokens_details": { "reasoning_tokens": 0 }
        })
    }
}

/// The response with a title, in one piece.
fn whole(written: &Written) -> String {
    let answer = json!({
        "id": "chatcmpl-title",
        "object": "chat.completion",
        "created": 1_763_800_000,
        "model": "gpt-6-luna-2026-09-22",
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": written.tokens.concat(), "refusal": null },
            "finish_reason": "stop"
        }],
        "usage": written.usage()
    })
    .to_string();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
        answer.len()
    )
}

fn choice(delta: &Value, finish_reason: Option<&str>) -> Value {
    json!([{ "index": 0, "delta": delta, "finish_reason": finish_reason }])
}

/// An event with all fields that OpenAI sends.
fn event(choices: &Value, usage: &Value) -> String {
    let event = json!({
        "id": "chatcmpl-reply",
        "object": "chat.completion.chunk",
        "created": 1_763_800_000,
        "model": "gpt-6-luna-2026-09-22",
        "service_tier": "default",
        "system_fingerprint": null,
        "choices": choices,
        "usage": usage,
    });
    format!("data: {event}\n\n")
}

/// The event of a token.
pub fn token(token: &str) -> String {
    event(&choice(&json!({ "content": token }), None), &Value::Null)
}

/// The events after the last of this many tokens.
pub fn end(tokens: usize) -> String {
    let usage =
        json!({ "prompt_tokens": 20, "completion_tokens": tokens, "total_tokens": 20 + tokens });
    let stop = event(&choice(&json!({}), Some("stop")), &Value::Null);
    format!("{stop}{}data: [DONE]\n\n", event(&json!([]), &usage))
}

pub fn chunk(content: &str) -> String {
    format!("{:x}\r\n{content}\r\n", content.len())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::{
        decode::Decoder,
        http,
        stream::{
            check::{Reply, Wire},
            script::{Script, Scripted},
        },
    };

    #[test]
    fn it_writes_what_is_asked_for_and_keeps_the_connection() {
        let mut model = Model::start(Duration::from_millis(1), Scripted).unwrap();
        let mut stream = std::net::TcpStream::connect(model.address).unwrap();
        for reply in [3, 4] {
            let script = Script { reply, tokens: 20 };
            let body = json!({ "stream": true, "messages": [{ "content": script.message() }] });
            let request = http::request("POST", "/v1/chat/completions", "*/*", Some(&body));
            stream.write_all(&request).unwrap();
            let (mut decoder, mut check) =
                (Decoder::events(), Reply::new(Wire::Model, script.text()));
            let begun = Instant::now();
            while !decoder.ended() {
                let mut part = [0; 100];
                let length = stream.read(&mut part).unwrap();
                assert_ne!(length, 0);
                decoder
                    .take(&part[..length], |payload| check.take(payload))
                    .unwrap();
            }
            check.end().unwrap();
            assert_eq!(check.deltas, script.tokens);
            assert!(begun.elapsed() >= Duration::from_millis(20));
        }
        model.check().unwrap();
    }
}
