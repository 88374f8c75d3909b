//! Publishes events.

use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use super::{
    contestant::Contestant,
    session::{open, until},
    titles::title,
};
use crate::{Result, http::with_header};

/// Reconnect after this long, because servers close idle connections, some after 5 seconds.
const IDLE: Duration = Duration::from_secs(2);

/// Publishes over one connection.
pub struct Publisher {
    address: SocketAddr,
    stream: TcpStream,
    used: Instant,
    contestant: &'static Contestant,
    /// The header of each request, if any.
    header: Option<String>,
}

impl Publisher {
    pub fn connect(
        contestant: &'static Contestant,
        address: SocketAddr,
        header: Option<String>,
    ) -> Result<Self> {
        Ok(Self {
            address,
            stream: open(address)?,
            used: Instant::now(),
            contestant,
            header,
        })
    }

    /// Sends a publish request. [`Self::confirm`] must follow.
    pub fn publish(&mut self, id: &str, number: u64) -> Result<()> {
        let request = (self.contestant.publish)(id, &title(number));
        self.send(&request)
    }

    fn send(&mut self, request: &[u8]) -> Result<()> {
        if self.used.elapsed() > IDLE {
            self.stream = open(self.address)?;
        }
        self.used = Instant::now();
        match &self.header {
            Some(header) => self.stream.write_all(&with_header(request, header))?,
            None => self.stream.write_all(request)?,
        }
        Ok(())
    }

    /// Waits for the answer to the publish request.
    pub fn confirm(&mut self) -> Result<()> {
        let mut received = Vec::new();
        until(&mut self.stream, &mut received, |received| {
            let text = std::str::from_utf8(received)?;
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                return Ok(None);
            };
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length").then_some(value)
            });
            let whole = match length {
                Some(length) => body.len() >= length.parse()?,
                None => body.ends_with("0\r\n\r\n"), // in chunks
            };
            if !whole {
                return Ok(None);
            }
            if !head.starts_with("HTTP/1.1 200") || body.contains("\"errors\"") {
                return Err(format!("it does not publish: {text}").into());
            }
            Ok(Some(()))
        })
    }

    /// Sends any other request and waits for its answer.
    pub fn ask(&mut self, request: &[u8]) -> Result<()> {
        self.send(request)?;
        self.confirm()
    }
}
