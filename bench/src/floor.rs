//! The floor: the cost of notifying subscribers with nothing but the kernel, one thread and one write() per socket.
//! Implements only as much of HTTP, event streams and graphql-transport-ws as the load needs, without validation.

use std::{collections::HashMap, io::Write, net::Ipv4Addr};

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use serde::Deserialize;
use serde_json::json;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::{Result, http::receive};

const LISTENER: Token = Token(usize::MAX);

#[derive(clap::Args)]
pub struct Arguments {
    /// The port of 127.0.0.1 to listen on
    port: u16,
}

/// A GraphQL request, of which only the variables matter: with a title it publishes, otherwise it subscribes.
#[derive(Deserialize)]
struct Request {
    variables: Variables,
}

#[derive(Deserialize)]
struct Variables {
    id: String,
    title: Option<String>,
}

/// A message of graphql-transport-ws.
#[derive(Deserialize)]
struct Message {
    r#type: String,
    payload: Option<Request>,
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    speaks: Speaks,
}

#[derive(Clone, Copy, PartialEq)]
enum Speaks {
    Http,
    Events,
    WebSocket,
}

/// The subscribers of each conversation, in the order of their subscriptions.
type Topics = HashMap<String, Vec<Token>>;

/// Serves until the process is killed.
pub fn serve(Arguments { port }: Arguments) -> Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port).into())?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut topics = Topics::new();
    let mut revision = 0;
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let token = Token(connections.len());
                    poll.registry()
                        .register(&mut stream, token, Interest::READABLE)?;
                    connections.push(Some(Connection {
                        stream,
                        received: Vec::new(),
                        speaks: Speaks::Http,
                    }));
                }
                continue;
            }
            let token = event.token();
            let Some(connection) = &mut connections[token.0] else {
                continue;
            };
            if !receive(&mut connection.stream, &mut connection.received)? {
                connections[token.0] = None;
                topics
                    .values_mut()
                    .for_each(|all| all.retain(|one| *one != token));
                continue;
            }
            let published = match connection.speaks {
                Speaks::Http => http(connection, token, &mut topics)?,
                Speaks::WebSocket => {
                    websocket(connection, token, &mut topics)?;
                    None
                }
                Speaks::Events => None,
            };
            if let Some((id, title)) = published {
                revision += 1;
                if let Some(subscribers) = topics.get(&id) {
                    tell(&mut connections, subscribers, &id, &title, revision)?;
                }
                if let Some(Some(publisher)) = connections.get_mut(token.0) {
                    let answer = r#"{"data":{}}"#;
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                        answer.len()
                    );
                    publisher.stream.write_all((head + answer).as_bytes())?;
                }
            }
        }
    }
}

/// Handles a request if it is complete. Returns the conversation and title that it publishes.
fn http(
    connection: &mut Connection,
    token: Token,
    topics: &mut Topics,
) -> Result<Option<(String, String)>> {
    let received = String::from_utf8_lossy(&connection.received);
    let Some((head, body)) = received.split_once("\r\n\r\n") else {
        return Ok(None);
    };
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    if let Some(key) = header("sec-websocket-key") {
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-protocol: graphql-transport-ws\r\nsec-websocket-accept: {}\r\n\r\n",
            derive_accept_key(key.as_bytes())
        );
        connection.stream.write_all(answer.as_bytes())?;
        (connection.received, connection.speaks) = (Vec::new(), Speaks::WebSocket);
        return Ok(None);
    }
    let length: usize = header("content-length").unwrap_or("0").parse()?;
    if body.len() < length {
        return Ok(None);
    }
    let Variables { id, title } = serde_json::from_str::<Request>(body)?.variables;
    connection.received = Vec::new();
    if title.is_none() {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                    transfer-encoding: chunked\r\n\r\n";
        connection.stream.write_all(head.as_bytes())?;
        connection.speaks = Speaks::Events;
        topics.entry(id.clone()).or_default().push(token);
    }
    Ok(title.map(|title| (id, title)))
}

/// Handles all complete frames.
fn websocket(connection: &mut Connection, token: Token, topics: &mut Topics) -> Result<()> {
    while let [_, length, rest @ ..] = connection.received.as_slice() {
        // Clients mask their frames.
        let (length, rest) = match (length & 0x7f, rest) {
            (126, [high, low, rest @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), rest),
            (126, _) => return Ok(()),
            (length, rest) => (usize::from(length), rest),
        };
        let Some((mask, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(());
        };
        let Some((masked, rest)) = rest.split_at_checked(length) else {
            return Ok(());
        };
        let clear: Vec<u8> = masked
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask)
            .collect();
        let rest = rest.to_vec();
        let message: Message = serde_json::from_slice(&clear)?;
        match (message.r#type.as_str(), message.payload) {
            ("connection_init", _) => {
                let acknowledged = json!({ "type": "connection_ack" }).to_string();
                connection.stream.write_all(&frame(&acknowledged))?;
            }
            ("subscribe", Some(Request { variables })) => {
                topics.entry(variables.id).or_default().push(token);
            }
            (other, _) => return Err(format!("unknown message: {other}").into()),
        }
        connection.received = rest;
    }
    Ok(())
}

fn tell(
    connections: &mut [Option<Connection>],
    subscribers: &[Token],
    id: &str,
    title: &str,
    revision: u64,
) -> Result<()> {
    let result = json!({
        "data": { "conversationUpdated": { "id": id, "title": title, "revision": revision } }
    });
    let event = format!("event: next\ndata: {result}\n\n");
    let event = format!("{:x}\r\n{event}\r\n", event.len()).into_bytes();
    let next = json!({ "type": "next", "id": "1", "payload": result });
    let next = frame(&next.to_string());
    for subscriber in subscribers {
        if let Some(connection) = &mut connections[subscriber.0] {
            let message = match connection.speaks {
                Speaks::WebSocket => &next,
                _ => &event,
            };
            // If a subscriber does not accept the bytes, the floor fails, and the runner notices.
            connection.stream.write_all(message)?;
        }
    }
    Ok(())
}

/// A server's text frame.
fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(length @ ..126), _) => frame.push(length),
        (_, length) => {
            frame.push(126);
            frame.extend(length.unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    frame.extend(text.as_bytes());
    frame
}
