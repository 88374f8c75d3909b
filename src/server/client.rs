//! Which address a request comes from, past the proxies that stand before the server.

use std::net::{IpAddr, Ipv6Addr};

use http::HeaderMap;
use ipnet::IpNet;

/// The networks of a setting: an address, or a network as `10.0.0.0/8`.
///
/// # Errors
/// The first text that is neither.
pub fn parse_networks(texts: &[String]) -> Result<Vec<IpNet>, String> {
    let parse = |text: &String| {
        let text = text.trim();
        let network = text.parse().or_else(|_| text.parse().map(IpAddr::into));
        network.map_err(|_| text.to_owned())
    };
    // An empty environment variable is one empty text.
    let texts = texts.iter().filter(|text| !text.is_empty());
    texts.map(parse).collect()
}

/// The proxies that tell whom they speak for.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxies(Vec<IpNet>);

impl Proxies {
    pub(super) fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether what this address says about others is believed. Who reaches the loopback address runs on
    /// this machine.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_loopback() || self.0.iter().any(|network| network.contains(&address))
    }

    /// For whom a trusted proxy speaks: the rightmost address of `X-Forwarded-For` that is not trusted,
    /// as anybody may have written what stands left of it. `None` when it speaks for itself.
    pub(super) fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let values = headers.get_all("x-forwarded-for").iter().rev();
        let addresses = values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
        for text in addresses {
            // What is no address was not written by a proxy that can be trusted to write one.
            let address = parse_address(text.trim())?;
            if !self.trusts(address) {
                return Some(address);
            }
        }
        None
    }
}

/// An address, with or without a port.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = || text.parse().ok();
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || Some(text.parse::<std::net::SocketAddr>().ok()?.ip());
    bare().or_else(bracketed).or_else(with_port)
}

/// Who is counted as one: an IPv4 address, or the /64 of an IPv6 one, of which a host has as many as it
/// likes.
pub(super) fn address_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &[&str], forwarded: &[&'static str]) -> Option<String> {
        let trusted: Vec<String> = trusted.iter().map(|&text| text.to_owned()).collect();
        let proxies = Proxies::new(parse_networks(&trusted).unwrap());
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        Some(proxies.client(&headers)?.to_string())
    }

    #[test]
    fn the_rightmost_address_that_is_not_trusted_is_the_clients() {
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(client(&[], &["192.0.2.1"]), is("192.0.2.1"));
        assert_eq!(
            client(&[], &["198.51.100.7, 192.0.2.1"]),
            is("192.0.2.1"),
            "what the client itself wrote"
        );
        let proxies = ["10.0.0.0/8", "2001:db8::5"];
        assert_eq!(
            client(&proxies, &["192.0.2.1, 10.1.2.3", "2001:db8::5, 127.0.0.1"]),
            is("192.0.2.1")
        );
        assert_eq!(client(&[], &["192.0.2.1:4711"]), is("192.0.2.1"));
        assert_eq!(client(&[], &["[2001:db8::1]:47"]), is("2001:db8::1"));
        assert_eq!(client(&[], &["[2001:db8::1]"]), is("2001:db8::1"));
        for itself in [vec![], vec!["127.0.0.1"], vec!["192.0.2.1, unknown"]] {
            assert_eq!(client(&[], &itself), None, "{itself:?}");
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_and_ipv4_is_itself_however_written() {
        let one = |text: &str| address_key(text.parse().unwrap());
        assert_eq!(one("2001:db8:1:2:3::4"), one("2001:db8:1:2:ffff::1"));
        assert_ne!(one("2001:db8:1:2::1"), one("2001:db8:1:3::1"));
        assert_eq!(one("::ffff:192.0.2.1"), one("192.0.2.1"));
        assert_ne!(one("192.0.2.1"), one("192.0.2.2"));
    }

    #[test]
    fn what_is_no_network_is_named() {
        assert_eq!(parse_networks(&[String::new()]).unwrap(), []);
        let error = parse_networks(&["10.0.0.0/8".into(), "proxy".into()]).unwrap_err();
        assert_eq!(error, "proxy");
    }
}
