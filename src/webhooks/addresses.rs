//! Which addresses a webhook may reach: public ones, and the networks that its configuration allows.
//!
//! A name is resolved here, and a connection is made only to addresses that passed: there is no second lookup that
//! could return a different address. The client does not resolve an IP address in a URL, so that address is checked
//! before each request.

use std::{
    error::Error,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

/// The metadata services of cloud providers, which return credentials. Refused even inside an allowed network.
const METADATA: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// The addresses that a webhook may reach.
#[derive(Clone, Debug)]
pub(super) struct Reachable {
    /// The non-public networks that are allowed.
    pub(super) allowed: Arc<[IpNet]>,
    /// Whether only those networks are allowed, because the request is not encrypted.
    pub(super) only_allowed: bool,
}

/// The receiver has an address that is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address is not public, and allow_private does not contain it")]
pub(super) struct NotReachable;

impl Reachable {
    /// The addresses that a webhook with this URL may reach.
    pub(super) fn of(url: &Url, allow_private: &[IpNet]) -> Self {
        Self {
            allowed: allow_private.into(),
            only_allowed: url.scheme() != "https",
        }
    }

    /// Whether this address may be reached.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        let address = embedded(address);
        if METADATA.contains(&address) {
            return false;
        }
        let is_allowed = self
            .allowed
            .iter()
            .any(|network| network.contains(&address));
        is_allowed || !self.only_allowed && is_public(address)
    }

    /// Checks the host of a URL if it is an address.
    ///
    /// # Errors
    /// [`NotReachable`].
    pub(super) fn check(&self, url: &Url) -> Result<(), NotReachable> {
        let host = url.host_str().unwrap_or_default();
        let literal: Result<IpAddr, _> = host.trim_matches(['[', ']']).parse();
        match literal {
            Ok(address) if !self.has(address) => Err(NotReachable),
            _ => Ok(()),
        }
    }
}

impl Resolve for Reachable {
    fn resolve(&self, name: Name) -> Resolving {
        let reachable = self.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let (reached, refused): (Vec<SocketAddr>, Vec<SocketAddr>) =
                found.partition(|address| reachable.has(address.ip()));
            if reached.is_empty() && !refused.is_empty() {
                return Err(Box::new(NotReachable) as Box<dyn Error + Send + Sync>);
            }
            let addresses: Addrs = Box::new(reached.into_iter());
            Ok(addresses)
        })
    }
}

/// The IPv4 address embedded in an IPv6 address: IPv4-mapped, or translated by NAT64 (RFC 6052).
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address.to_canonical() else {
        return address.to_canonical();
    };
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let bits = u32::from(high) << 16 | u32::from(low);
            IpAddr::V4(bits.into())
        }
        _ => IpAddr::V6(v6),
    }
}

/// Whether an address belongs to the public internet, by IANA's registries. Unlisted ranges are refused.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = match (a, b, c) {
        // This network, private networks, loopback, multicast, reserved, broadcast.
        (0 | 10 | 127 | 224..=255, _, _) => true,
        // Shared between customers of a carrier (CGNAT).
        (100, 64..=127, _) => true,
        // Link-local.
        (169, 254, _) => true,
        (172, 16..=31, _) => true,
        // Protocol assignments, documentation, 6to4 relays, AMT, private, AS112.
        (192, 0, 0 | 2) | (192, 88, 99) | (192, 52, 193) | (192, 168, _) => true,
        (192, 31, 196) | (192, 175, 48) => true,
        // Benchmarks, documentation.
        (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) => true,
        _ => false,
    };
    !is_special
}

/// Global unicast without its special-purpose ranges. Loopback, mapped, link-local, unique-local and multicast
/// addresses are outside it.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, third, ..] = address.segments();
    match (first, second) {
        // Protocol assignments (Teredo among them), documentation.
        (0x2001, 0..=0x1ff | 0xdb8) => false,
        // 6to4 leads to any IPv4 address.
        (0x2002, _) => false,
        // AS112.
        (0x2620, 0x4f) => third != 0x8000,
        // Documentation, segment routing.
        (0x3fff, 0..=0xfff) => false,
        (0x2000..=0x3fff, _) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reachable(allowed: &[&str], only_allowed: bool) -> Reachable {
        Reachable {
            allowed: allowed.iter().map(|text| text.parse().unwrap()).collect(),
            only_allowed,
        }
    }

    #[test]
    fn only_public_addresses_are_reached() {
        let none = reachable(&[], false);
        for refused in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.1.1",
            "169.254.169.254",
            "169.254.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "100.100.100.200",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "5f00::1",
            "4000::1",
        ] {
            assert!(!none.has(refused.parse().unwrap()), "{refused}");
        }
        for reached in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
        ] {
            assert!(none.has(reached.parse().unwrap()), "{reached}");
        }
    }

    #[test]
    fn allowed_networks_are_reached_but_for_the_metadata_services() {
        let some = reachable(&["10.1.0.0/16", "fd00::/8"], false);
        for (address, is_reached) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.2.2.3", false),
            ("fd00::7", true),
            ("fd00:ec2::254", false),
            ("1.1.1.1", true),
        ] {
            assert_eq!(some.has(address.parse().unwrap()), is_reached, "{address}");
        }
        let all = reachable(&["0.0.0.0/0"], false);
        assert!(all.has("127.0.0.1".parse().unwrap()));
        assert!(!all.has("169.254.169.254".parse().unwrap()));
        assert!(!all.has("::ffff:169.254.169.254".parse().unwrap()));
        // Without encryption.
        let only = reachable(&["10.1.0.0/16"], true);
        assert!(only.has("10.1.2.3".parse().unwrap()));
        assert!(!only.has("1.1.1.1".parse().unwrap()));
    }

    #[test]
    fn an_address_in_a_url_is_checked_in_every_notation() {
        let none = reachable(&[], false);
        for url in [
            "https://127.0.0.1/",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f.0.0.1/",
            "https://0177.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:7f00:1]/",
            "https://①②⑦.0.0.1/",
        ] {
            assert_eq!(
                none.check(&url.parse().unwrap()),
                Err(NotReachable),
                "{url}"
            );
        }
        for url in [
            "https://1.1.1.1/",
            "https://hooks.example/",
            "https://[2606:4700::1111]/",
        ] {
            assert_eq!(none.check(&url.parse().unwrap()), Ok(()), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_of_a_refused_address_does_not_resolve() {
        let none = reachable(&[], false);
        let refused = none
            .resolve("localhost".parse().unwrap())
            .await
            .err()
            .unwrap();
        assert!(
            refused.downcast_ref::<NotReachable>().is_some(),
            "{refused}"
        );
        let loopback = reachable(&["127.0.0.0/8", "::1/128"], false);
        let found = loopback.resolve("localhost".parse().unwrap()).await;
        assert!(found.ok().unwrap().count() > 0);
    }
}
