//! Sequential requests on persistent connections, and the duration of each.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::Result;

/// A persistent connection.
pub struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    pub async fn connect(to: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            read: Vec::new(),
        })
    }

    /// The connection. Nothing is left to be read from it.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Sends a request and reads the whole response, which must have status 200 and a length. Returns the body.
    pub async fn ask(&mut self, request: &[u8]) -> Result<&[u8]> {
        self.answered(request, 200).await
    }

    /// Like [`Self::ask`], for a response with another status.
    pub async fn answered(&mut self, request: &[u8], status: u16) -> Result<&[u8]> {
        self.stream.write_all(request).await?;
        self.read.clear();
        loop {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err("the connection was closed".into());
            }
            let Some(end) = self.read.windows(4).position(|part| part == b"\r\n\r\n") else {
                continue;
            };
            let head = std::str::from_utf8(&self.read[..end])?.to_ascii_lowercase();
            if !head.starts_with(&format!("http/1.1 {status}")) {
                return Err(format!("refused: {}", String::from_utf8_lossy(&self.read)).into());
            }
            let length = head
                .split("content-length:")
                .nth(1)
                .ok_or("an answer without a length")?;
            let length: usize = length.lines().next().unwrap_or_default().trim().parse()?;
            while self.read.len() < end + 4 + length {
                if self.stream.read_buf(&mut self.read).await? == 0 {
                    return Err("the connection was closed".into());
                }
            }
            return Ok(&self.read[end + 4..]);
        }
    }
}

/// Sends all requests over this many concurrent connections. Returns the sorted durations.
pub async fn all(
    to: SocketAddr,
    requests: &[Vec<u8>],
    connections: usize,
) -> Result<Vec<Duration>> {
    let share = requests.len().div_ceil(connections);
    let clients = requests
        .chunks(share)
        .map(async |requests| -> Result<Vec<Duration>> {
            let mut client = Client::connect(to).await?;
            let mut took = Vec::with_capacity(requests.len());
            for request in requests {
                let begun = Instant::now();
                let body = client.ask(request).await?;
                took.push(begun.elapsed());
                if body.windows(9).any(|part| part == b"\"errors\":") {
                    return Err(format!("an error: {}", String::from_utf8_lossy(body)).into());
                }
            }
            Ok(took)
        });
    let mut took = try_join_all(clients).await?.concat();
    took.sort_unstable();
    Ok(took)
}

/// The duration that this fraction of the requests did not exceed.
pub fn percentile(sorted: &[Duration], part: f64) -> Duration {
    let place = (sorted.len().saturating_sub(1) as f64 * part).round();
    sorted.get(place as usize).copied().unwrap_or_default()
}
