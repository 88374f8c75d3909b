//! The load: many subscribers in one thread. Checks that each subscriber receives each event once and in order.

use std::{
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use memchr::memmem;
use mio::{Events, Interest, Poll, Token};
use serde_json::Value;

use super::{
    contestant::{Contestant, Transport},
    publisher::Publisher,
    session::{PATIENCE, UPGRADE, events, websocket},
    titles::MARK,
};
use crate::{Result, decode::Decoder, http::with_header};

#[cfg(test)]
mod tests;

pub struct Client {
    poll: Poll,
    ready: Events,
    links: Vec<Link>,
    /// The number of each conversation's last published event.
    published: Vec<u64>,
    buffer: Vec<u8>,
    known: Known,
    /// The longest that an event may take.
    patience: Duration,
}

struct Link {
    stream: mio::net::TcpStream,
    decoder: Decoder,
    conversation: usize,
    /// The number of the last event it received.
    received: Option<u64>,
}

/// The last decoded payload. Most payloads equal the previous one, and then need no decoding.
struct Known {
    payload: Vec<u8>,
    number: Option<u64>,
    place: &'static str,
}

/// When the first and the last subscriber received an event.
pub struct Receipt {
    pub first: Instant,
    pub last: Instant,
}

impl Client {
    /// Connects the subscribers. Subscriber k follows conversation k modulo the number of conversations, with header k
    /// if there are headers.
    pub fn connect(
        contestant: &Contestant,
        transport: Transport,
        address: SocketAddr,
        conversations: &[String],
        subscribers: usize,
        headers: &[String],
    ) -> Result<Self> {
        let poll = Poll::new()?;
        let mut links = Vec::with_capacity(subscribers);
        for number in 0..subscribers {
            let conversation = number % conversations.len();
            let id = &conversations[conversation];
            let as_user = |request: &[u8]| match headers.get(number) {
                Some(header) => with_header(request, header),
                None => request.to_vec(),
            };
            let (stream, decoder) = match transport {
                Transport::Websocket => {
                    let subscription = (contestant.subscription)(id);
                    websocket(address, &as_user(UPGRADE), &subscription)
                }
                Transport::Sse => events(address, &as_user(&(contestant.events)(id))),
            }
            .map_err(|error| format!("subscriber {}: {error}", number + 1))?;
            stream.set_nonblocking(true)?;
            let mut stream = mio::net::TcpStream::from_std(stream);
            poll.registry()
                .register(&mut stream, Token(number), Interest::READABLE)?;
            links.push(Link {
                stream,
                decoder,
                conversation,
                received: None,
            });
        }
        Ok(Self {
            poll,
            ready: Events::with_capacity(1024),
            links,
            published: vec![0; conversations.len()],
            buffer: vec![0; 64 * 1024],
            known: Known {
                payload: Vec::new(),
                number: None,
                place: match transport {
                    Transport::Websocket => "/payload/data/conversationUpdated/title",
                    Transport::Sse => contestant.title_in_event,
                },
            },
            patience: PATIENCE,
        })
    }

    /// Publishes to every conversation until each subscriber has received one event: the protocol does not acknowledge
    /// a subscription.
    pub fn settle(&mut self, publisher: &mut Publisher, conversations: &[String]) -> Result<()> {
        let begun = Instant::now();
        while self
            .links
            .iter()
            .any(|link| link.received != Some(self.published[link.conversation]))
        {
            if begun.elapsed() > self.patience {
                return Err("not every subscriber receives what is published".into());
            }
            for (id, published) in conversations.iter().zip(&mut self.published) {
                *published += 1;
                publisher.publish(id, *published)?;
                publisher.confirm()?;
            }
            let round = Instant::now();
            while round.elapsed() < Duration::from_millis(500) {
                self.turn(Duration::from_millis(50), false)?;
            }
        }
        Ok(())
    }

    /// Publishes one event to a conversation and waits until all of its subscribers have it.
    pub fn tell(
        &mut self,
        publisher: &mut Publisher,
        conversation: usize,
        id: &str,
    ) -> Result<Receipt> {
        self.published[conversation] += 1;
        publisher.publish(id, self.published[conversation])?;
        let all = self.links.len() / self.published.len();
        let (begun, mut count, mut first) = (Instant::now(), 0, None);
        loop {
            if begun.elapsed() > self.patience {
                return Err(format!("only {count} of {all} subscribers got an event").into());
            }
            let (came, at) = self.turn(self.patience, true)?;
            count += came;
            if came > 0 {
                first.get_or_insert(at);
            }
            if let (true, Some(first)) = (count >= all, first) {
                let last = Instant::now();
                publisher.confirm()?;
                return Ok(Receipt { first, last });
            }
        }
    }

    /// Fails if a subscriber has received anything since the last awaited event.
    pub fn expect_silence(&mut self) -> Result<()> {
        self.turn(Duration::ZERO, true).map(drop)
    }

    /// Reads what has arrived. Returns the number of events and the time of reading. With `strict`, each event must be
    /// the newest published one, and its subscriber must have received the one before.
    fn turn(&mut self, longest: Duration, strict: bool) -> Result<(usize, Instant)> {
        let Self {
            poll,
            ready,
            links,
            published,
            buffer,
            known,
            ..
        } = self;
        match poll.poll(ready, Some(longest)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            polled => polled?,
        }
        let since = Instant::now();
        let mut count = 0;
        for event in &*ready {
            let Link {
                stream,
                decoder,
                conversation,
                received,
            } = &mut links[event.token().0];
            loop {
                let length = match stream.read(buffer) {
                    Ok(0) => return Err("a subscriber's connection was closed".into()),
                    Ok(length) => length,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                };
                let answers = decoder.take(&buffer[..length], |payload| {
                    let Some(number) = known.number_of(payload)? else {
                        return Ok(());
                    };
                    let expected = published[*conversation];
                    if strict && (number != expected || *received != Some(expected - 1)) {
                        return Err(format!(
                            "a subscriber got event {number} after {received:?} when {expected} was published"
                        )
                        .into());
                    }
                    *received = Some(number);
                    count += 1;
                    Ok(())
                })?;
                if decoder.ended() {
                    return Err("the event stream has ended".into());
                }
                if !answers.is_empty() {
                    stream.write_all(&answers)?;
                }
                // A socket that returned less than requested is empty.
                if length < buffer.len() {
                    break;
                }
            }
        }
        Ok((count, since))
    }
}

impl Known {
    /// The number in this payload's title; none in an older title, or without a title.
    fn number_of(&mut self, payload: &[u8]) -> Result<Option<u64>> {
        if payload != self.payload {
            let message: Value = serde_json::from_slice(payload)?;
            if message["type"] == "error" || memmem::find(payload, b"\"errors\"").is_some() {
                return Err(format!("received an error: {message}").into());
            }
            let title = message.pointer(self.place).and_then(Value::as_str);
            let number = title.and_then(|title| title.rsplit_once(MARK));
            self.number = number.map(|(_, number)| number.parse()).transpose()?;
            self.payload.clear();
            self.payload.extend_from_slice(payload);
        }
        Ok(self.number)
    }
}
