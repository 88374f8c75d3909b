//! `titlecast health`: reports whether the server on the configured address is ready. Containers and service
//! managers need no other program for health checks.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use reqwest::{Client, StatusCode};

/// Timeout of the request: shorter than the usual timeout of a health check.
const DEADLINE: Duration = Duration::from_secs(4);

/// Why the health check fails.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The server does not listen, or hangs.
    #[error(
        "{address} does not answer. Check that the server listens there (--listen, TITLECAST_LISTEN)"
    )]
    NoAnswer {
        /// The address.
        address: SocketAddr,
    },
    /// The server reports that it is not ready.
    #[error("not ready: {0}")]
    NotReady(String),
}

/// Requests `/readyz` and prints the response.
///
/// # Errors
/// When the server is not ready or does not answer.
pub async fn run(listen: SocketAddr) -> Result<(), HealthError> {
    let address = from_this_machine(listen);
    let (status, page) = ask(address)
        .await
        .map_err(|_| HealthError::NoAnswer { address })?;
    if status != StatusCode::OK {
        return Err(HealthError::NotReady(page));
    }
    println!("{page}");
    Ok(())
}

async fn ask(address: SocketAddr) -> reqwest::Result<(StatusCode, String)> {
    // Fails if the process has a provider already, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().timeout(DEADLINE).build()?;
    let response = client
        .get(format!("http://{address}/readyz"))
        .send()
        .await?;
    Ok((response.status(), response.text().await?))
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
