//! The client address of a request behind trusted proxies.

use std::net::{IpAddr, Ipv6Addr};

use clap::ValueEnum;
use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

/// Parses the networks in a setting: addresses, or networks such as `10.0.0.0/8`.
///
/// # Errors
/// The first entry that is neither.
pub fn parse_networks(texts: &[String]) -> Result<Vec<IpNet>, String> {
    let parse = |text: &String| {
        let text = text.trim();
        let network = text.parse().or_else(|_| text.parse().map(IpAddr::into));
        network.map_err(|_| text.to_owned())
    };
    // An empty environment variable parses as one empty entry.
    let texts = texts.iter().filter(|text| !text.is_empty());
    texts.map(parse).collect()
}

/// Where trusted proxies state the address of their client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[expect(
    missing_docs,
    reason = "doc comments on the variants would lengthen the help"
)]
pub enum ClientSource {
    #[default]
    XForwardedFor,
    Forwarded,
    ProxyProtocol,
}

/// The trusted proxies, and where they state their client's address. Only one place counts: proxies forward the headers
/// that they do not write, with values that the client chose.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxies {
    networks: Vec<IpNet>,
    pub(super) source: ClientSource,
}

impl Proxies {
    pub(super) fn new(networks: Vec<IpNet>, source: ClientSource) -> Self {
        Self { networks, source }
    }

    /// Whether this is a trusted proxy's address. Loopback always is, because its peers run on this machine.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_loopback()
            || self
                .networks
                .iter()
                .any(|network| network.contains(&address))
    }

    /// The client behind a trusted proxy: the rightmost untrusted address of the header.
    ///
    /// The client can forge the entries to its left. `None` if the proxy sends a request of its own.
    pub(super) fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let (name, parse): (_, fn(&str) -> Option<IpAddr>) = match self.source {
            ClientSource::XForwardedFor => (X_FORWARDED_FOR, parse_address),
            ClientSource::Forwarded => (header::FORWARDED, parse_element),
            ClientSource::ProxyProtocol => return None,
        };
        let values = headers.get_all(name).iter().rev();
        let entries = values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
        for entry in entries {
            // A trusted proxy writes only addresses, so anything else and what precedes it is untrusted.
            let address = parse(entry.trim())?;
            if !self.trusts(address) {
                return Some(address);
            }
        }
        None
    }
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address in an element of `Forwarded` (RFC 7239), such as `for="[2001:db8::1]:4711";proto=https`. Elements are
/// split at every comma, even within quotes: an address contains no comma, and a quote left open by a client must not
/// hide what a proxy appended.
fn parse_element(text: &str) -> Option<IpAddr> {
    let pairs = text.split(';').filter_map(|pair| pair.split_once('='));
    let mut clients = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    let (_, client) = clients.next()?;
    parse_address(client.trim().trim_matches('"'))
}

/// Parses an address with or without a port.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = || text.parse().ok();
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || Some(text.parse::<std::net::SocketAddr>().ok()?.ip());
    bare().or_else(bracketed).or_else(with_port)
}

/// The key for per-address limits: an IPv4 address, or the IPv6 /64, within which a host can choose any address.
pub(super) fn address_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client according to one header, while the other header names a different one.
    fn stated(source: ClientSource, trusted: &[&str], values: &[&'static str]) -> Option<String> {
        let trusted: Vec<String> = trusted.iter().map(|&text| text.to_owned()).collect();
        let proxies = Proxies::new(parse_networks(&trusted).unwrap(), source);
        let (name, other, claim) = match source {
            ClientSource::Forwarded => ("forwarded", "x-forwarded-for", "203.0.113.9"),
            _ => ("x-forwarded-for", "forwarded", "for=203.0.113.9"),
        };
        let mut headers = HeaderMap::new();
        headers.append(other, claim.parse().unwrap());
        for value in values {
            headers.append(name, value.parse().unwrap());
        }
        Some(proxies.client(&headers)?.to_string())
    }

    fn client(trusted: &[&str], forwarded: &[&'static str]) -> Option<String> {
        stated(ClientSource::XForwardedFor, trusted, forwarded)
    }

    #[test]
    fn elements_of_forwarded_name_the_client() {
        let is = |text: &str| Some(text.to_owned());
        let client =
            |values: &[&'static str]| stated(ClientSource::Forwarded, &["10.0.0.0/8"], values);
        assert_eq!(client(&["for=192.0.2.1"]), is("192.0.2.1"));
        let chain = [
            "for=198.51.100.7, For=\"[2001:db8::1]:47\";proto=https;by=10.0.0.1",
            "proto=http;for=10.1.2.3",
        ];
        assert_eq!(client(&chain), is("2001:db8::1"));
        assert_eq!(
            client(&["for=192.0.2.1:4711;host=a.example"]),
            is("192.0.2.1")
        );
        assert_eq!(client(&["for=\"left open, for=192.0.2.1"]), is("192.0.2.1"));
        for none in ["", "for=unknown", "for=_hidden", "by=192.0.2.1", "for"] {
            assert_eq!(client(&[none]), None, "{none:?}");
        }
        assert_eq!(
            stated(ClientSource::ProxyProtocol, &[], &["192.0.2.1"]),
            None
        );
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
