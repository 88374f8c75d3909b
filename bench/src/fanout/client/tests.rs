//! Servers that send something other than what was published, and how the load reports it.

use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
};

use serde_json::json;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use super::{
    super::{contestant::ALL, titles::title},
    *,
};

/// The number of subscribers to the conversation.
const SUBSCRIBERS: usize = 2;

/// The titles that a subscriber receives when an event is published.
type Plan = fn(subscriber: usize, number: u64) -> Vec<u64>;

/// The load's result when five events are published, of which the first only shows that the subscriptions are
/// established.
fn found(transport: Transport, plan: Plan) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let server = thread::spawn(move || serve(&listener, transport, plan));
    let conversations = ["c".to_owned()];
    let mut client = Client::connect(
        &ALL[0],
        transport,
        address,
        &conversations,
        SUBSCRIBERS,
        &[],
    )?;
    let mut publisher = Publisher::connect(&ALL[0], address, None)?;
    client.settle(&mut publisher, &conversations)?;
    client.patience = Duration::from_secs(1);
    for _ in 0..4 {
        client.tell(&mut publisher, 0, &conversations[0])?;
    }
    thread::sleep(Duration::from_millis(100));
    client.expect_silence()?;
    drop((client, publisher));
    server.join().map_err(|_| "the server panicked")?
}

/// The subscribers connect first, then the publisher.
fn serve(listener: &TcpListener, transport: Transport, plan: Plan) -> Result<()> {
    let mut subscribers = Vec::new();
    for _ in 0..SUBSCRIBERS {
        subscribers.push(Subscriber::accept(listener, transport)?);
    }
    let (mut publisher, _) = listener.accept()?;
    while let Some(request) = request(&mut publisher)? {
        let (_, rest) = request.rsplit_once(MARK).ok_or("no title")?;
        let (number, _) = rest.split_once('"').ok_or("no end of the title")?;
        let number = number.parse()?;
        for (place, subscriber) in subscribers.iter_mut().enumerate() {
            for number in plan(place, number) {
                subscriber.tell(number)?;
            }
        }
        publisher.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")?;
    }
    Ok(())
}

/// Reads a whole request; `None` at the end of the stream.
fn request(stream: &mut TcpStream) -> Result<Option<String>> {
    let (mut text, mut part) = (String::new(), [0; 4096]);
    while !text.ends_with("}}") {
        let length = stream.read(&mut part)?;
        if length == 0 {
            return Ok(None);
        }
        text += std::str::from_utf8(&part[..length])?;
    }
    Ok(Some(text))
}

enum Subscriber {
    Events(TcpStream),
    WebSocket(Box<WebSocket<TcpStream>>),
}

impl Subscriber {
    fn accept(listener: &TcpListener, transport: Transport) -> Result<Self> {
        let (mut stream, _) = listener.accept()?;
        match transport {
            Transport::Sse => {
                request(&mut stream)?.ok_or("no request")?;
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
                Ok(Self::Events(stream))
            }
            Transport::Websocket => {
                let mut socket = tungstenite::accept(stream).map_err(|error| error.to_string())?;
                socket.read()?;
                socket.send(Message::text(r#"{"type":"connection_ack"}"#))?;
                socket.read()?;
                Ok(Self::WebSocket(Box::new(socket)))
            }
        }
    }

    fn tell(&mut self, number: u64) -> Result<()> {
        let payload = json!({ "data": { "conversationUpdated": { "title": title(number) } } });
        match self {
            Self::Events(stream) => {
                let event = format!("event: next\ndata: {payload}\n\n");
                write!(stream, "{:x}\r\n{event}\r\n", event.len())?;
            }
            Self::WebSocket(socket) => {
                let next = json!({ "type": "next", "id": "1", "payload": payload });
                socket.send(Message::text(next.to_string()))?;
            }
        }
        Ok(())
    }
}

/// Asserts that the load reports this error, over both transports.
fn finds(expected: &str, plan: Plan) {
    for transport in [Transport::Websocket, Transport::Sse] {
        let error = found(transport, plan).unwrap_err().to_string();
        assert!(error.contains(expected), "{transport:?}: {error}");
    }
}

#[test]
fn each_event_once_and_in_order_is_right() {
    for transport in [Transport::Websocket, Transport::Sse] {
        found(transport, |_, number| vec![number]).unwrap();
    }
}

#[test]
fn an_event_that_comes_twice_is_found() {
    finds("got event 3 after Some(3)", |subscriber, number| {
        let times = if (subscriber, number) == (1, 3) { 2 } else { 1 };
        vec![number; times]
    });
}

#[test]
fn also_when_it_is_the_last_one() {
    finds("got event 5 after Some(5)", |_, number| {
        vec![number; if number == 5 { 2 } else { 1 }]
    });
}

#[test]
fn an_event_that_is_missing_is_found() {
    finds("only 1 of 2 subscribers got", |subscriber, number| {
        vec![number; usize::from((subscriber, number) != (1, 3))]
    });
}

#[test]
fn one_subscriber_does_not_make_up_for_another() {
    finds("got event 3 after Some(3)", |subscriber, number| {
        vec![number; if number == 3 { 2 * (1 - subscriber) } else { 1 }]
    });
}

#[test]
fn events_in_another_order_are_found() {
    // One subscriber receives the fourth event before the third.
    finds(
        "got event 4 after Some(2) when 3 was published",
        |subscriber, number| match (subscriber, number) {
            (1, 3) => vec![4, 3],
            _ => vec![number],
        },
    );
    // An older event instead of a newer one.
    finds(
        "got event 2 after Some(2) when 3 was published",
        |subscriber, number| {
            vec![if (subscriber, number) == (1, 3) {
                2
            } else {
                number
            }]
        },
    );
}
