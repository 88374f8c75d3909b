//! Checks the `Host` header of every request against the allowed names.
//!
//! Prevents DNS rebinding: a web page makes its own name resolve to this machine, so the browser treats the page and
//! the service as one origin. The browser still sends the page's name as `Host`. An IP address cannot be rebound, so IP
//! literals pass.

use std::{fmt, net::Ipv4Addr, net::Ipv6Addr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Uri, header, uri::Scheme},
    middleware::Next,
    response::Response,
};

use super::refuse;
use crate::error::Error;

/// The longest DNS name, in bytes.
const MAX_NAME_BYTES: usize = 253;

/// The longest label of a DNS name, in bytes.
const MAX_LABEL_BYTES: usize = 63;

/// A valid `Host` header: an address or a name, with an optional port.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HostPort {
    host: Host,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    V4(Ipv4Addr),
    V6(Ipv6Addr),
    /// In lower case, without the trailing dot.
    Name(String),
}

impl HostPort {
    /// Parses `uri-host [ ":" port ]` (RFC 9110, section 7.2). Stricter than the RFC: no percent-encoding, no
    /// sub-delimiters, no user.
    fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix('[') {
            let (address, port) = rest.split_once(']')?;
            let port = match port {
                "" => None,
                port => Self::port(port.strip_prefix(':')?)?,
            };
            let host = Host::V6(address.parse().ok()?);
            return Some(Self { host, port });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Self::port(port)?),
            None => (text, None),
        };
        let host = match host.parse() {
            Ok(address) => Host::V4(address),
            Err(_) => Host::Name(name(host)?),
        };
        Some(Self { host, port })
    }

    /// Parses the port after the host; the digits may be empty.
    fn port(text: &str) -> Option<Option<u16>> {
        if text.is_empty() {
            return Some(None);
        }
        let has_digits = text.bytes().all(|byte| byte.is_ascii_digit());
        has_digits.then(|| text.parse().ok().map(Some))?
    }

    /// The port, or the default port of the scheme.
    fn port_or(&self, scheme: &str) -> u16 {
        let default = if scheme.eq_ignore_ascii_case("https") {
            443
        } else {
            80
        };
        self.port.unwrap_or(default)
    }
}

/// A DNS name in lower case, without the trailing dot. Allows underscores, which container networks use.
fn name(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=MAX_LABEL_BYTES).contains(&label.len()) && label.bytes().all(is_part)
    };
    let is_name = text.len() <= MAX_NAME_BYTES && text.split('.').all(is_label);
    is_name.then(|| text.to_ascii_lowercase())
}

/// The allowed names, in addition to IP literals, `localhost` and its subdomains.
#[derive(Clone, Debug, Default)]
pub struct AllowedHosts(Vec<HostPattern>);

#[derive(Clone, Debug)]
struct HostPattern {
    host: Host,
    /// `None` allows any port.
    port: Option<u16>,
    /// Whether the pattern matches the host's subdomains instead of the host itself.
    is_suffix: bool,
}

impl AllowedHosts {
    /// Parses names such as `chat.example`, `chat.example:8443` or `*.chat.example`. Empty entries are ignored.
    ///
    /// # Errors
    /// The first invalid entry.
    pub fn parse(hosts: &[String]) -> Result<Self, String> {
        let parse = |text: &String| {
            let text = text.trim();
            let (is_suffix, rest) = match text.strip_prefix("*.") {
                Some(rest) => (true, rest),
                None => (false, text),
            };
            match HostPort::parse(rest) {
                Some(HostPort { host, port }) if !is_suffix || matches!(host, Host::Name(_)) => {
                    Ok(HostPattern {
                        host,
                        port,
                        is_suffix,
                    })
                }
                _ => Err(text.to_owned()),
            }
        };
        // An empty environment variable parses as one empty entry.
        let hosts = hosts.iter().filter(|text| !text.trim().is_empty());
        hosts.map(parse).collect::<Result<_, _>>().map(Self)
    }

    fn allows(&self, asked: &HostPort) -> bool {
        let Host::Name(name) = &asked.host else {
            return true;
        };
        let is_below = |suffix: &str| {
            let rest = name.strip_suffix(suffix);
            rest.is_some_and(|rest| rest.ends_with('.'))
        };
        if name == "localhost" || is_below("localhost") {
            return true;
        }
        self.0.iter().any(|allowed| {
            let is_host = match &allowed.host {
                Host::Name(suffix) if allowed.is_suffix => is_below(suffix),
                host => *host == asked.host,
            };
            is_host && (allowed.port.is_none() || allowed.port == asked.port)
        })
    }
}

/// Which hosts a listener accepts.
#[derive(Clone, Debug)]
pub(super) enum HostRule {
    /// Any valid host. Rebinding is harmless, because the page has no token.
    Any,
    /// IP literals, `localhost`, and the listed hosts.
    Listed(AllowedHosts),
}

/// The host of a request.
///
/// # Errors
/// [`Error::InvalidHost`] unless the request names exactly one host.
fn requested_host(uri: &Uri, headers: &HeaderMap) -> Result<HostPort, Error> {
    let mut values = headers.get_all(header::HOST).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Error::InvalidHost);
    };
    let parsed = value.to_str().ok().and_then(HostPort::parse);
    let host = parsed.ok_or(Error::InvalidHost)?;
    // An absolute request target (`GET http://host/`) must name the same host.
    if let Some(target) = uri.authority() {
        let scheme = uri.scheme().map_or("http", Scheme::as_str);
        let is_same = HostPort::parse(target.as_str()).is_some_and(|target| {
            target.host == host.host && target.port_or(scheme) == host.port_or(scheme)
        });
        if !is_same {
            return Err(Error::InvalidHost);
        }
    }
    Ok(host)
}

/// Whether an origin is the service's own: the same host and port. The scheme may differ, because a proxy may terminate
/// TLS.
pub(super) fn is_own(origin: &str, headers: &HeaderMap) -> bool {
    let Some((scheme, origin)) = origin.split_once("://") else {
        return false;
    };
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let (Some(origin), Some(host)) = (HostPort::parse(origin), host.and_then(HostPort::parse))
    else {
        return false;
    };
    ["http", "https"]
        .iter()
        .any(|own| scheme.eq_ignore_ascii_case(own))
        && origin.host == host.host
        && origin.port_or(scheme) == host.port_or(scheme)
}

/// Rejects requests without exactly one valid, allowed host.
pub(super) async fn check(
    State(rule): State<Arc<HostRule>>,
    request: Request,
    next: Next,
) -> Response {
    let host = requested_host(request.uri(), request.headers());
    let refusal = match (host, &*rule) {
        (Err(error), _) => error,
        (Ok(host), HostRule::Listed(hosts)) if !hosts.allows(&host) => Error::ForbiddenHost,
        (Ok(_), _) => return next.run(request).await,
    };
    refuse(request.uri().path(), refusal)
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::V4(address) => address.fmt(f)?,
            Host::V6(address) => write!(f, "[{address}]")?,
            Host::Name(name) => f.write_str(name)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_hosts_parse_and_others_do_not() {
        for (text, read) in [
            ("localhost", "localhost"),
            ("LocalHost.:80", "localhost:80"),
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("[::1]", "[::1]"),
            ("[::FFFF:192.0.2.1]:1", "[::ffff:192.0.2.1]:1"),
            ("node_a:9464", "node_a:9464"),
            ("xn--bcher-kva.example:", "xn--bcher-kva.example"),
        ] {
            let host = HostPort::parse(text).map(|host| host.to_string());
            assert_eq!(host.as_deref(), Some(read), "{text}");
        }
        for text in [
            "",
            ".",
            "a..b",
            ".localhost",
            "localhost..",
            "::1",
            "[::1",
            "[::1]8080",
            "[::1]evil",
            "[::1]:8765x",
            "[::1].evil.example",
            "127.0.0.1:8765x",
            "[::1%25lo]",
            "[v1.x]",
            "[]",
            "a:b",
            "a:65536",
            "a:+1",
            "a:1:2",
            "user@localhost",
            "local host",
            "a/b",
            "a%2eb",
            "b\u{fc}cher.example",
            "localhost,evil.example",
            "127.0.0.1:80:80",
            "localhost#",
            "localhost?x",
            "\\localhost",
            "*.localhost",
        ] {
            assert_eq!(HostPort::parse(text), None, "{text}");
        }
        assert_eq!(HostPort::parse(&"a".repeat(64)), None);
        assert_eq!(HostPort::parse(&"a.".repeat(128)), None);
    }

    #[test]
    fn addresses_localhost_and_listed_names_pass() {
        let listed = ["chat.example", "api.example:8443", "*.tenants.example", ""];
        let hosts = AllowedHosts::parse(&listed.map(str::to_owned)).unwrap();
        let allows = |text: &str| hosts.allows(&HostPort::parse(text).unwrap());
        for text in [
            "127.0.0.1",
            "10.1.2.3:99",
            "[2001:db8::1]:1",
            "localhost:3000",
            "a.localhost",
            "LOCALHOST.",
            "chat.example:1",
            "Chat.Example.",
            "api.example:8443",
            "a.b.tenants.example",
        ] {
            assert!(allows(text), "{text}");
        }
        for text in [
            "evil.example",
            "localhost.evil.example",
            "notlocalhost",
            "127.0.0.1.evil.example",
            "127.1",
            "0x7f000001",
            "2130706433",
            "127.0.0.01",
            "api.example",
            "api.example:80",
            "tenants.example",
            "xtenants.example",
            "xchat.example",
            "chat.example.evil",
            "a.chat.example",
        ] {
            assert!(!allows(text), "{text}");
        }
        for bad in [
            "*",
            "*.",
            "https://chat.example",
            "chat.example/",
            "*.127.0.0.1",
            "a b",
        ] {
            assert_eq!(AllowedHosts::parse(&[bad.into()]).unwrap_err(), bad);
        }
    }
}
