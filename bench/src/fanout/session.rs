//! Opens a subscriber's connection according to the protocol.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use memchr::memmem;
use serde_json::{Value, json};

use crate::{
    Result,
    decode::{Decoder, TEXT, client_frame, frame, head},
};

/// The longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn open(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Requests an event stream. Does not wait for the response head, which some servers only send with the first event.
pub fn events(address: SocketAddr, request: &[u8]) -> Result<(TcpStream, Decoder)> {
    let mut stream = open(address)?;
    stream.write_all(request)?;
    Ok((stream, Decoder::events()))
}

/// The request that opens a WebSocket.
pub const UPGRADE: &[u8] =
    b"GET /graphql HTTP/1.1\r\nhost: 127.0.0.1\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
      sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
      sec-websocket-protocol: graphql-transport-ws\r\n\r\n";

/// Initialises the connection, waits for the acknowledgement, and subscribes.
pub fn websocket(
    address: SocketAddr,
    upgrade: &[u8],
    subscription: &Value,
) -> Result<(TcpStream, Decoder)> {
    let mut stream = open(address)?;
    stream.write_all(upgrade)?;
    let mut received = Vec::new();
    let answered = until(&mut stream, &mut received, |received| head(received, "101"))?;
    received.drain(..answered);
    stream.write_all(&client_frame(TEXT, br#"{"type":"connection_init"}"#))?;
    let acknowledged = until(&mut stream, &mut received, |received| {
        match frame(received)? {
            Some((_, content, used)) if memmem::find(content, b"connection_ack").is_some() => {
                Ok(Some(used))
            }
            Some((_, content, _)) => Err(String::from_utf8_lossy(content).into()),
            None => Ok(None),
        }
    })?;
    let rest = received.split_off(acknowledged);
    let subscribe = json!({ "id": "1", "type": "subscribe", "payload": subscription }).to_string();
    stream.write_all(&client_frame(TEXT, subscribe.as_bytes()))?;
    Ok((stream, Decoder::WebSocket { rest }))
}

/// Reads until `find` returns a value.
pub fn until<T>(
    stream: &mut TcpStream,
    received: &mut Vec<u8>,
    find: impl Fn(&[u8]) -> Result<Option<T>>,
) -> Result<T> {
    let mut part = [0; 4096];
    loop {
        if let Some(found) = find(received)? {
            return Ok(found);
        }
        match stream.read(&mut part)? {
            0 => {
                return Err(format!("closed after {:?}", String::from_utf8_lossy(received)).into());
            }
            length => received.extend_from_slice(&part[..length]),
        }
    }
}
