//! `titlecast health`: whether the server on the configured address is ready. It lets a container or a
//! service manager ask without another program beside this one.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use reqwest::{Client, StatusCode};

/// The longest time for an answer: shorter than whoever asks will wait.
const DEADLINE: Duration = Duration::from_secs(4);

/// Why it is not.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// There is no such server, or it hangs.
    #[error(
        "{address} does not answer. Is that where the server listens (--listen, TITLECAST_LISTEN)?"
    )]
    NoAnswer {
        /// Where it was asked.
        address: SocketAddr,
    },
    /// The server says so itself.
    #[error("not ready: {0}")]
    NotReady(String),
}

/// Asks `/readyz` of the server that listens there, and prints what it says.
///
/// # Errors
/// When it is not ready, or does not say.
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
    // An error only says that the process has a provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().timeout(DEADLINE).build()?;
    let response = client
        .get(format!("http://{address}/readyz"))
        .send()
        .await?;
    Ok((response.status(), response.text().await?))
}

/// Where this machine itself finds what listens on an address: what listens on all of them, on the loopback one.
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
