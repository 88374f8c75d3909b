//! Admits connections within the limits and determines their clients.

use std::{io, net::IpAddr, time::Duration};

use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::{
    Server,
    limits::{ConnectionPermit, Refusal},
    proxy_protocol,
    stream::Stream,
};

/// How long a trusted proxy may take to send the PROXY protocol header at the start of a connection.
const PROXY_HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// An accepted connection: its slots, its client, and the refusal if it is over a limit.
pub(super) struct Admitted {
    pub(super) place: ConnectionPermit,
    pub(super) client: Client,
    pub(super) refusal: Option<Refusal>,
}

/// Who sends the requests of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// One client, with this address key.
    Direct(IpAddr),
    /// The clients that a trusted proxy names in each request, or the proxy itself.
    Proxied,
    /// A client that a trusted proxy will name before the first request.
    Unnamed,
}

impl Client {
    pub(super) fn address(self) -> Option<IpAddr> {
        match self {
            Self::Direct(address) => Some(address),
            Self::Proxied | Self::Unnamed => None,
        }
    }
}

impl Server {
    /// Admits a connection, to be served or refused with a response. `None` means that it is closed without a response.
    pub(super) fn admit(
        &self,
        stream: &Stream,
        peer: IpAddr,
        connections: &TaskTracker,
    ) -> Option<Admitted> {
        if let Err(error) = stream.send_at_once() {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let client = match self.limits.direct(peer) {
            Some(address) => Client::Direct(address),
            None if self.limits.is_proxy_protocol() => Client::Unnamed,
            None => Client::Proxied,
        };
        let (place, refusal) = match self.limits.permit(client.address(), connections.token()) {
            Ok(place) => (place, None),
            Err(refusal) => {
                let place = self.limits.refusal_permit(connections.token())?;
                (place, Some(refusal))
            }
        };
        Some(Admitted {
            place,
            client,
            refusal,
        })
    }

    /// Reads the client's address, if a trusted proxy states it at the start of the connection.
    pub(super) async fn name_client(
        &self,
        stream: &Stream,
        admitted: Admitted,
    ) -> io::Result<Admitted> {
        let header = proxy_protocol::read_client(stream);
        let stated = match timeout(PROXY_HEADER_TIMEOUT, header).await {
            Ok(stated) => stated,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let stated = stated.inspect_err(|error| {
            self.limits.count_bad_proxy_header();
            tracing::debug!(%error, "a trusted proxy sent no header of the PROXY protocol (--client-address)");
        })?;
        let client = match stated.and_then(|stated| self.limits.direct(stated)) {
            Some(address) => Client::Direct(address),
            None => Client::Proxied,
        };
        let (Client::Direct(address), None) = (client, admitted.refusal) else {
            return Ok(Admitted { client, ..admitted });
        };
        Ok(match self.limits.address(address) {
            Ok(slot) => Admitted {
                place: admitted.place.with_address(slot),
                client,
                refusal: None,
            },
            Err(refusal) => Admitted {
                refusal: Some(refusal),
                ..admitted
            },
        })
    }
}
