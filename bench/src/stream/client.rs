//! The load: streams that are read to their end in one thread, with consecutive replies on each.

use std::{
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token};
use serde_json::json;

use super::{
    check::{Reply, Wire},
    script::Script,
};
use crate::{Result, decode::Decoder, http};

/// The longest time without any event.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Load {
    poll: Poll,
    ready: Events,
    links: Vec<Link>,
    buffer: Vec<u8>,
    wire: Wire,
}

/// One connection, kept from reply to reply as a browser does.
struct Link {
    stream: mio::net::TcpStream,
    decoder: Decoder,
    asked: Option<Asked>,
    /// The number of replies still to be requested.
    left: usize,
}

/// A requested reply.
struct Asked {
    reply: Reply,
    at: Instant,
    first: Option<Duration>,
}

/// The parameters of a turn.
#[derive(Clone, Copy)]
pub struct Turn {
    /// The number of concurrent streams.
    pub streams: usize,
    /// The number of consecutive replies on each stream.
    pub replies: usize,
    /// The number of tokens in a reply.
    pub tokens: usize,
    /// The time over which the streams' starts are spread.
    pub stagger: Duration,
}

/// The results of a turn.
#[derive(Default)]
pub struct Found {
    pub replies: usize,
    pub tokens: usize,
    /// The number of pieces in which the text arrived.
    pub deltas: usize,
    /// From the request to the first token.
    pub first: Vec<Duration>,
}

impl Load {
    pub fn connect(address: SocketAddr, streams: usize, wire: Wire) -> Result<Self> {
        let poll = Poll::new()?;
        let mut links = Vec::with_capacity(streams);
        for number in 0..streams {
            let stream = std::net::TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = mio::net::TcpStream::from_std(stream);
            poll.registry()
                .register(&mut stream, Token(number), Interest::READABLE)?;
            links.push(Link {
                stream,
                decoder: Decoder::events(),
                asked: None,
                left: 0,
            });
        }
        Ok(Self {
            poll,
            ready: Events::with_capacity(1024),
            links,
            buffer: vec![0; 64 * 1024],
            wire,
        })
    }

    /// Requests and reads all replies of a turn.
    pub fn take(&mut self, turn: Turn) -> Result<Found> {
        let (mut found, mut asked, all) = (Found::default(), 0, turn.streams * turn.replies);
        for link in &mut self.links[..turn.streams] {
            link.left = turn.replies;
        }
        let (started, mut last) = (Instant::now(), Instant::now());
        let mut begun = 0;
        while found.replies < all {
            let mut wait = PATIENCE;
            while begun < turn.streams {
                let due = turn.stagger.mul_f64(begun as f64 / turn.streams as f64);
                let early = due.saturating_sub(started.elapsed());
                if !early.is_zero() {
                    wait = early;
                    break;
                }
                self.links[begun].ask(self.wire, asked, turn.tokens)?;
                (begun, asked) = (begun + 1, asked + 1);
            }
            match self.poll.poll(&mut self.ready, Some(wait)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                polled => polled?,
            }
            for event in &self.ready {
                last = Instant::now();
                let link = &mut self.links[event.token().0];
                let Some(Asked { reply, first, .. }) = link.read(&mut self.buffer)? else {
                    continue;
                };
                found.replies += 1;
                found.tokens += turn.tokens;
                found.deltas += reply.deltas;
                found.first.extend(first);
                if link.left > 0 {
                    link.ask(self.wire, asked, turn.tokens)?;
                    asked += 1;
                }
            }
            if last.elapsed() > PATIENCE {
                return Err(format!("only {} of {all} replies have ended", found.replies).into());
            }
        }
        if found.first.len() != all {
            return Err("a reply without its first token".into());
        }
        Ok(found)
    }
}

impl Link {
    fn ask(&mut self, wire: Wire, reply: usize, tokens: usize) -> Result<()> {
        let script = Script { reply, tokens };
        let request = request(wire, script);
        self.left -= 1;
        self.decoder = Decoder::events();
        self.asked = Some(Asked {
            reply: Reply::new(wire, script.text()),
            at: Instant::now(),
            first: None,
        });
        Ok(self.stream.write_all(&request)?)
    }

    /// Reads what has arrived. Returns the reply once it has ended.
    fn read(&mut self, buffer: &mut [u8]) -> Result<Option<Asked>> {
        loop {
            let length = match self.stream.read(buffer) {
                Ok(0) => return Err("a connection was closed".into()),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let Some(Asked { reply, at, first }) = &mut self.asked else {
                let more = String::from_utf8_lossy(&buffer[..length]);
                return Err(format!("unrequested: {more}").into());
            };
            let came = at.elapsed();
            self.decoder
                .take(&buffer[..length], |payload| reply.take(payload))?;
            if reply.begun() {
                first.get_or_insert(came);
            }
            if self.decoder.ended() {
                reply.end()?;
                return Ok(self.asked.take());
            }
            // A socket that returned less than requested is empty.
            if length < buffer.len() {
                return Ok(None);
            }
        }
    }
}

/// The request for a reply, in a new conversation.
fn request(wire: Wire, script: Script) -> Vec<u8> {
    let message = script.message();
    let (path, body) = match wire {
        // The request that Titlecast sends to the model.
        Wire::Model => (
            "/v1/chat/completions",
            json!({
                "model": "gpt-6-luna",
                "messages": [{ "role": "user", "content": message }],
                "stream": true,
                "stream_options": { "include_usage": true },
            }),
        ),
        Wire::Titlecast { titles } => (
            "/api/v1/chat/stream",
            json!({ "message": message, "context": { "auto_title": titles } }),
        ),
    };
    http::request("POST", path, "text/event-stream", Some(&body))
}
