//! A minimal HTTP client, so that no library code runs between the clock and the socket.

use std::{
    io::{ErrorKind, Read},
    net::{Ipv4Addr, SocketAddr},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::Result;

/// Connects from this local address.
pub async fn connect(from: Ipv4Addr, to: SocketAddr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The bytes of a request.
pub fn request(method: &str, path: &str, accept: &str, body: Option<&Value>) -> Vec<u8> {
    let body = body.map(Value::to_string).unwrap_or_default();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: {accept}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Inserts a header, `name: value`, into a request.
pub fn with_header(request: &[u8], header: &str) -> Vec<u8> {
    let line = request.iter().position(|&byte| byte == b'\n');
    let (line, rest) = request.split_at(line.map_or(0, |end| end + 1));
    [line, header.as_bytes(), b"\r\n", rest].concat()
}

/// Sends a request and reads the whole answer, which must be JSON.
pub async fn json(to: SocketAddr, method: &str, path: &str, body: &Value) -> Result<Value> {
    let mut stream = connect(Ipv4Addr::LOCALHOST, to).await?;
    // HTTP/1.0, so that the response ends when the connection closes.
    let request = request(method, path, "application/json", Some(body));
    let request = String::from_utf8(request)?.replacen("HTTP/1.1", "HTTP/1.0", 1);
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.contains(" 200 ") => Ok(serde_json::from_str(body)?),
        _ => Err(format!("{method} {path}: {answer}").into()),
    }
}

/// Appends everything that a non-blocking socket has received. Returns false at the end of the stream.
pub fn receive(stream: &mut impl Read, received: &mut Vec<u8>) -> Result<bool> {
    let mut part = [0; 4096];
    loop {
        match stream.read(&mut part) {
            Ok(0) => return Ok(false),
            Ok(length) => received.extend_from_slice(&part[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}
