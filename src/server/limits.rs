//! Who is let in: connections in all and of an address, for all listeners together, and what was refused.

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
    client::{Proxies, address_key},
    slots::{Slot, Slots},
};
use crate::error::Error;

/// How many connections over a limit are told so at once; beyond these they are closed without a word.
const MAX_REFUSALS: u32 = 64;

/// When to try again, for who is over a limit.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What is let in; 0 is any number.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The most connections in all.
    pub connections: u32,
    /// The most connections of an address; of one behind a proxy, the most requests, streams and WebSockets
    /// that it has open.
    pub per_address: u32,
    /// The networks of proxies whose `X-Forwarded-For` is believed.
    pub proxies: Vec<IpNet>,
}

/// The limits of the listeners of a service. Cheap to clone.
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
}

/// What was let in and what was not, for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Connections there are.
    pub connections: u32,
    /// Connections that were one too many in all.
    pub full: u64,
    /// Connections and requests that were one too many of an address.
    pub crowded: u64,
    /// Requests whose body came too slowly.
    pub slow_bodies: u64,
}

/// What a connection is counted by.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    _all: Slot<()>,
    _address: Option<Slot<IpAddr>>,
    _token: TaskTrackerToken,
}

/// Why something is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There are as many connections as there may be.
    Full,
    /// The address has as many as it may have.
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
    /// These limits.
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(Inner {
            proxies: Proxies::new(settings.proxies),
            all: Slots::new(settings.connections),
            addresses: Slots::new(settings.per_address),
            refusing: Slots::new(MAX_REFUSALS),
            full: AtomicU64::new(0),
            crowded: AtomicU64::new(0),
            slow_bodies: AtomicU64::new(0),
        }))
    }

    /// How the counts stand.
    pub fn counts(&self) -> Counts {
        Counts {
            connections: self.0.all.held(&()),
            full: self.0.full.load(Ordering::Relaxed),
            crowded: self.0.crowded.load(Ordering::Relaxed),
            slow_bodies: self.0.slow_bodies.load(Ordering::Relaxed),
        }
    }

    /// The address that a connection is counted by; `None` for a trusted proxy, whose requests are counted
    /// one by one.
    pub(super) fn direct(&self, peer: IpAddr) -> Option<IpAddr> {
        (!self.0.proxies.trusts(peer)).then(|| address_key(peer))
    }

    /// The address that a request of a trusted proxy is counted by; `None` when the proxy speaks for itself.
    pub(super) fn forwarded(&self, headers: &http::HeaderMap) -> Option<IpAddr> {
        self.0.proxies.client(headers).map(address_key)
    }

    /// A place for a connection.
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

    /// A place for a connection that is told why it has none, if there is one left for that.
    pub(super) fn refusal_permit(&self, token: TaskTrackerToken) -> Option<ConnectionPermit> {
        Some(ConnectionPermit {
            _all: self.0.refusing.take(())?,
            _address: None,
            _token: token,
        })
    }

    /// One more of an address.
    pub(super) fn address(&self, address: IpAddr) -> Result<Slot<IpAddr>, Refusal> {
        let slot = self.0.addresses.take(address);
        slot.ok_or_else(|| self.refuse(Refusal::Crowded))
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
            proxies: Vec::new(),
        })
    }

    #[test]
    fn connections_have_places_in_all_and_of_their_address_and_give_them_back() {
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
    fn without_limits_nobody_is_refused_and_few_are_refused_at_once() {
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
    fn this_machine_and_trusted_proxies_are_counted_by_whom_they_speak_for() {
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
