//! Connection limits, in total and per address, shared by all listeners, with counts of refusals.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ipnet::IpNet;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{
    client::{ClientSource, Proxies, address_key},
    slots::{Slot, Slots},
};
use crate::error::Error;

/// The most refusals sent concurrently. Further connections over the limit are closed without a response.
const MAX_REFUSALS: u32 = 64;

/// The `Retry-After` of refusals.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Connection limits; 0 is unlimited.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The most connections in total.
    pub connections: u32,
    /// The most connections per address. Behind a trusted proxy, the most concurrent requests, streams and WebSockets.
    pub per_address: u32,
    /// Networks of the trusted proxies.
    pub proxies: Vec<IpNet>,
    /// Where the proxies state the address of their client.
    pub client_source: ClientSource,
}

/// The limits shared by a service's listeners. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Limits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    proxies: Proxies,
    all: Arc<Slots<()>>,
    addresses: Arc<Slots<IpAddr>>,
    refusing: Arc<Slots<()>>,
    full: AtomicU64,
    crowded: AtomicU64,
    slow_bodies: AtomicU64,
    bad_proxy_headers: AtomicU64,
}

/// Connection counts, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Open connections.
    pub connections: u32,
    /// Connections refused by the total limit.
    pub full: u64,
    /// Connections and requests refused by the per-address limit.
    pub crowded: u64,
    /// Requests whose body missed its deadline.
    pub slow_bodies: u64,
    /// Connections from trusted proxies that did not begin with a PROXY protocol header.
    pub bad_proxy_headers: u64,
}

/// The slots that a connection occupies.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    _all: Slot<()>,
    _address: Option<Slot<IpAddr>>,
    _token: TaskTrackerToken,
}

impl ConnectionPermit {
    /// Adds the slot of an address that became known later.
    pub(super) fn with_address(self, slot: Slot<IpAddr>) -> Self {
        Self {
            _address: Some(slot),
            ..self
        }
    }
}

/// Which limit a connection or request exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The total number of connections.
    Full,
    /// The connections of its address.
    Crowded,
}

impl Refusal {
    pub(super) fn error(self) -> Error {
        match self {
            Self::Full => Error::Overloaded {
                retry_after: RETRY_AFTER,
            },
            Self::Crowded => Error::RateLimited {
                what: "connections from one address",
                retry_after: RETRY_AFTER,
            },
        }
    }
}

impl Limits {
    /// Creates the limits from settings.
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(Inner {
            proxies: Proxies::new(settings.proxies, settings.client_source),
            all: Slots::new(settings.connections),
            addresses: Slots::new(settings.per_address),
            refusing: Slots::new(MAX_REFUSALS),
            full: AtomicU64::new(0),
            crowded: AtomicU64::new(0),
            slow_bodies: AtomicU64::new(0),
            bad_proxy_headers: AtomicU64::new(0),
        }))
    }

    /// Reads the current counts.
    pub fn counts(&self) -> Counts {
        Counts {
            connections: self.0.all.held(&()),
            full: self.0.full.load(Ordering::Relaxed),
            crowded: self.0.crowded.load(Ordering::Relaxed),
            slow_bodies: self.0.slow_bodies.load(Ordering::Relaxed),
            bad_proxy_headers: self.0.bad_proxy_headers.load(Ordering::Relaxed),
        }
    }

    /// The address key under which a connection is counted; `None` for a trusted proxy, whose requests are counted one
    /// by one.
    pub(super) fn direct(&self, peer: IpAddr) -> Option<IpAddr> {
        (!self.0.proxies.trusts(peer)).then(|| address_key(peer))
    }

    /// Whether trusted proxies begin their connections with a PROXY protocol header.
    pub(super) fn is_proxy_protocol(&self) -> bool {
        self.0.proxies.source == ClientSource::ProxyProtocol
    }

    /// The address key under which a trusted proxy's request is counted; `None` for the proxy's own requests.
    pub(super) fn forwarded(&self, headers: &http::HeaderMap) -> Option<IpAddr> {
        self.0.proxies.client(headers).map(address_key)
    }

    /// Takes the slots of a connection.
    pub(super) fn permit(
        &self,
        address: Option<IpAddr>,
        token: TaskTrackerToken,
    ) -> Result<ConnectionPermit, Refusal> {
        let all = self.0.all.take(());
        let all = all.ok_or_else(|| self.refuse(Refusal::Full))?;
        let address = address.map(|address| self.address(address)).transpose()?;
        Ok(ConnectionPermit {
            _all: all,
            _address: address,
            _token: token,
        })
    }

    /// Takes a permit to send a refusal, unless [`MAX_REFUSALS`] are in progress.
    pub(super) fn refusal_permit(&self, token: TaskTrackerToken) -> Option<ConnectionPermit> {
        Some(ConnectionPermit {
            _all: self.0.refusing.take(())?,
            _address: None,
            _token: token,
        })
    }

    /// Takes a slot of an address.
    pub(super) fn address(&self, address: IpAddr) -> Result<Slot<IpAddr>, Refusal> {
        let slot = self.0.addresses.take(address);
        slot.ok_or_else(|| {
            tracing::debug!(client.address = %address, "refused: too many connections from one address");
            self.refuse(Refusal::Crowded)
        })
    }

    pub(super) fn count_bad_proxy_header(&self) {
        self.0.bad_proxy_headers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_slow_body(&self) {
        self.0.slow_bodies.fetch_add(1, Ordering::Relaxed);
    }

    fn refuse(&self, refusal: Refusal) -> Refusal {
        let counter = match refusal {
            Refusal::Full => &self.0.full,
            Refusal::Crowded => &self.0.crowded,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        refusal
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::task::TaskTracker;

    use super::*;

    fn limits(connections: u32, per_address: u32) -> Limits {
        Limits::new(Settings {
            connections,
            per_address,
            ..Settings::default()
        })
    }

    #[test]
    fn connections_take_slots_in_total_and_per_address_and_give_them_back() {
        let tasks = TaskTracker::new();
        let limits = limits(3, 2);
        let place = |last: u8| limits.permit(Some([192, 0, 2, last].into()), tasks.token());
        let mut places = vec![place(1).unwrap(), place(1).unwrap()];
        assert_eq!(place(1).unwrap_err(), Refusal::Crowded);
        places.push(place(2).unwrap());
        assert_eq!(place(2).unwrap_err(), Refusal::Full);
        let counts = limits.counts();
        assert_eq!((counts.connections, counts.full, counts.crowded), (3, 1, 1));
        places.remove(0);
        places.push(place(1).unwrap());
        drop(places);
        assert_eq!(limits.counts().connections, 0);
    }

    #[test]
    fn without_limits_no_connection_is_refused_and_few_refusals_run_at_once() {
        let tasks = TaskTracker::new();
        let limits = limits(0, 0);
        let address = Some([192, 0, 2, 1].into());
        let places: Vec<_> = (0..1_000)
            .map(|_| limits.permit(address, tasks.token()).unwrap())
            .collect();
        assert_eq!(limits.counts().connections, 1_000);
        drop(places);
        let refused: Vec<_> = (0..1_000)
            .filter_map(|_| limits.refusal_permit(tasks.token()))
            .collect();
        assert_eq!(refused.len(), MAX_REFUSALS as usize);
    }

    #[test]
    fn requests_of_this_machine_and_of_trusted_proxies_are_counted_by_the_forwarded_address() {
        let limits = Limits::new(Settings {
            proxies: vec!["10.0.0.0/8".parse().unwrap()],
            ..Settings::default()
        });
        for (peer, counted) in [
            ("127.0.0.1", None),
            ("::1", None),
            ("10.1.2.3", None),
            ("::ffff:10.1.2.3", None),
            ("192.0.2.1", Some("192.0.2.1")),
            ("2001:db8::1:2:3:4", Some("2001:db8::")),
        ] {
            let counted = counted.map(|text| text.parse().unwrap());
            assert_eq!(limits.direct(peer.parse().unwrap()), counted, "{peer}");
        }
    }
}
