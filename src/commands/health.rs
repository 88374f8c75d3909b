//! `titlecast health`: reports whether the server on the configured address is ready. Containers and service
//! managers need no other program for health checks.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::server::{ClientSource, ListenAddress};

/// Timeout of the request: shorter than the usual timeout of a health check.
const DEADLINE: Duration = Duration::from_secs(4);

/// The maximum length of the response, in bytes.
const MAX_RESPONSE_BYTES: u64 = 64 * 1024;

/// HTTP/1.0, so that the response ends with the connection.
const REQUEST: &str = "GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n";

/// The PROXY protocol header of a connection without a client.
const OWN_CONNECTION: &str = "PROXY UNKNOWN\r\n";

/// Why the health check fails.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The server does not listen, or hangs.
    #[error(
        "{address} does not answer. Check that the server listens there (--listen, TITLECAST_LISTEN)"
    )]
    NoAnswer {
        /// The address.
        address: ListenAddress,
    },
    /// The server reports that it is not ready.
    #[error("not ready: {0}")]
    NotReady(String),
}

/// Requests `/readyz` and prints the response.
///
/// # Errors
/// If the server is not ready or does not answer.
pub async fn run(listen: &ListenAddress, source: ClientSource) -> Result<(), HealthError> {
    let address = match listen {
        ListenAddress::Tcp(address) => ListenAddress::Tcp(from_this_machine(*address)),
        #[cfg(unix)]
        unix => unix.clone(),
    };
    let asked = timeout(DEADLINE, ask(&address, source)).await;
    let Ok(Ok((status, page))) = asked else {
        return Err(HealthError::NoAnswer { address });
    };
    if status != 200 {
        return Err(HealthError::NotReady(page));
    }
    println!("{page}");
    Ok(())
}

async fn ask(address: &ListenAddress, source: ClientSource) -> io::Result<(u16, String)> {
    match address {
        ListenAddress::Tcp(address) => exchange(TcpStream::connect(address).await?, source).await,
        #[cfg(unix)]
        ListenAddress::Unix { path, .. } => {
            exchange(UnixStream::connect(path).await?, source).await
        }
    }
}

/// Sends the request, and returns the status and body of the response.
async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    source: ClientSource,
) -> io::Result<(u16, String)> {
    let first = match source {
        ClientSource::ProxyProtocol => OWN_CONNECTION,
        ClientSource::XForwardedFor | ClientSource::Forwarded => "",
    };
    stream
        .write_all(format!("{first}{REQUEST}").as_bytes())
        .await?;
    let mut response = String::new();
    stream
        .take(MAX_RESPONSE_BYTES)
        .read_to_string(&mut response)
        .await?;
    let parse = || {
        let (head, page) = response.split_once("\r\n\r\n")?;
        let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
        Some((status.parse().ok()?, page.to_owned()))
    };
    parse().ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The address to reach a listener from this machine: loopback if it listens on all addresses.
pub fn from_this_machine(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_are_asked_on_the_loopback_one() {
        for (listen, asked) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("127.0.0.2:80", "127.0.0.2:80"),
        ] {
            assert_eq!(
                from_this_machine(listen.parse().unwrap()).to_string(),
                asked
            );
        }
    }
}
