//! A tab of a user's browser: one connection that receives events.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    Result,
    decode::{Decoder, TEXT, client_frame, head},
    http,
    requests::Client,
};

/// Size of the read buffer: enough for a few tokens or a whole title.
const PART: usize = 4096;

pub struct Tab {
    stream: TcpStream,
    decoder: Decoder,
    received: usize,
}

impl Tab {
    /// Opens a connection for consecutive requests, each answered with an event stream.
    pub async fn http(to: SocketAddr) -> Result<Self> {
        let stream = http::connect(Ipv4Addr::LOCALHOST, to).await?;
        Ok(Self::over(stream))
    }

    /// Like [`Self::http`], after a first request, because servers soon close a connection without one.
    pub async fn used(to: SocketAddr, request: &[u8], status: u16) -> Result<Self> {
        let mut client = Client::connect(to).await?;
        client.answered(request, status).await?;
        Ok(Self::over(client.into_stream()))
    }

    fn over(stream: TcpStream) -> Self {
        Self {
            stream,
            decoder: Decoder::events(),
            received: 0,
        }
    }

    /// Opens a GraphQL WebSocket with an additional header.
    pub async fn websocket(to: SocketAddr, header: &str) -> Result<Self> {
        let mut stream = http::connect(Ipv4Addr::LOCALHOST, to).await?;
        let upgrade = b"GET /graphql HTTP/1.1\r\nhost: 127.0.0.1\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
              sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
              sec-websocket-protocol: graphql-transport-ws\r\n\r\n";
        stream
            .write_all(&http::with_header(upgrade, header))
            .await?;
        let mut received = Vec::new();
        let used = loop {
            if let Some(used) = head(&received, "101")? {
                break used;
            }
            if stream.read_buf(&mut received).await? == 0 {
                return Err("a WebSocket was refused".into());
            }
        };
        let rest = received.split_off(used);
        let mut tab = Self {
            stream,
            decoder: Decoder::WebSocket { rest },
            received: 0,
        };
        tab.say(&serde_json::json!({ "type": "connection_init" }))
            .await?;
        let mut acknowledged = false;
        while !acknowledged {
            tab.read(|payload| {
                acknowledged = payload.starts_with(br#"{"type":"connection_ack""#);
                match acknowledged {
                    true => Ok(()),
                    false => Err(String::from_utf8_lossy(payload).into()),
                }
            })
            .await?;
        }
        Ok(tab)
    }

    /// Sends a request, which replaces the previous one.
    pub async fn ask(&mut self, request: &[u8]) -> Result<()> {
        self.decoder = Decoder::events();
        Ok(self.stream.write_all(request).await?)
    }

    /// Sends a message over the WebSocket.
    pub async fn say(&mut self, message: &Value) -> Result<()> {
        let frame = client_frame(TEXT, message.to_string().as_bytes());
        Ok(self.stream.write_all(&frame).await?)
    }

    /// Waits for data and passes on each payload. The end of the connection is an error.
    pub async fn read(&mut self, payload: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut part = vec![0; PART];
        let length = self.stream.read(&mut part).await?;
        if length == 0 {
            return Err("a connection was closed".into());
        }
        self.received += length;
        let answers = self.decoder.take(&part[..length], payload)?;
        if !answers.is_empty() {
            self.stream.write_all(&answers).await?;
        }
        Ok(())
    }

    /// Fails unless the connection is open. Discards what has arrived.
    pub fn check(&self) -> Result<()> {
        let mut part = [0; PART];
        match self.stream.try_read(&mut part) {
            Ok(0) => Err("a connection was closed".into()),
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Whether the response is complete according to HTTP.
    pub fn ended(&self) -> bool {
        self.decoder.ended()
    }

    /// The number of bytes received.
    pub fn received(&self) -> usize {
        self.received
    }
}
