//! The PROXY protocol, versions 1 and 2: a header with which a TCP proxy names its client at the start of a connection
//! (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::stream::Stream;

/// The first bytes of a version 2 header.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The longest version 1 header, in bytes, according to the specification.
const MAX_TEXT_BYTES: usize = 107;

/// The longest variable part of a version 2 header, in bytes. Proxies add a few hundred bytes of extensions to the
/// addresses.
const MAX_REST_BYTES: usize = 2048;

/// Reads the header of a connection, and not a byte more. Returns the client's address; `None` if the proxy itself is
/// the client, as in health checks.
///
/// # Errors
/// `InvalidData` if there is no valid header; the errors of the stream.
pub(super) async fn read_client(stream: &Stream) -> io::Result<Option<IpAddr>> {
    // Every header is longer than the signature.
    let mut head = [0; SIGNATURE.len()];
    read_exactly(stream, &mut head).await?;
    if head == SIGNATURE {
        let mut fixed = [0; 4];
        read_exactly(stream, &mut fixed).await?;
        let [version, family, high, low] = fixed;
        let mut rest = vec![0; usize::from(u16::from_be_bytes([high, low]))];
        if rest.len() > MAX_REST_BYTES {
            return Err(malformed());
        }
        read_exactly(stream, &mut rest).await?;
        return parse_binary(version, family, &rest);
    }
    let mut text = head.to_vec();
    while !text.ends_with(b"\r\n") {
        if text.len() >= MAX_TEXT_BYTES || !text.starts_with(b"PROXY ") {
            return Err(malformed());
        }
        let mut next = [0];
        read_exactly(stream, &mut next).await?;
        text.extend(next);
    }
    parse_text(&text)
}

async fn read_exactly(stream: &Stream, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        match stream.try_read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => buffer = &mut buffer[read..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.readable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Parses `PROXY TCP4 192.0.2.1 198.51.100.1 4711 443`, or `PROXY UNKNOWN` followed by anything.
fn parse_text(line: &[u8]) -> io::Result<Option<IpAddr>> {
    let line = std::str::from_utf8(line).map_err(|_| malformed())?;
    let mut words = line.trim_end_matches("\r\n").split(' ').skip(1);
    let is_v4 = match words.next() {
        Some("UNKNOWN") => return Ok(None),
        Some("TCP4") => true,
        Some("TCP6") => false,
        _ => return Err(malformed()),
    };
    let words: Vec<&str> = words.collect();
    let [source, target, source_port, target_port] = words[..] else {
        return Err(malformed());
    };
    let address = |text: &str| -> io::Result<IpAddr> {
        let address: IpAddr = text.parse().map_err(|_| malformed())?;
        match address.is_ipv4() == is_v4 {
            true => Ok(address),
            false => Err(malformed()),
        }
    };
    for port in [source_port, target_port] {
        // `parse` alone would accept a sign.
        if !port.bytes().all(|byte| byte.is_ascii_digit()) || port.parse::<u16>().is_err() {
            return Err(malformed());
        }
    }
    address(target)?;
    address(source).map(Some)
}

fn parse_binary(version: u8, family: u8, rest: &[u8]) -> io::Result<Option<IpAddr>> {
    match (version, family) {
        // LOCAL: the proxy's own connection.
        (0x20, _) => Ok(None),
        // PROXY over IPv4: two addresses and two ports.
        (0x21, 0x11 | 0x12) => {
            let source: &[u8; 4] = rest
                .get(..12)
                .and_then(|rest| rest.first_chunk())
                .ok_or_else(malformed)?;
            Ok(Some(Ipv4Addr::from(*source).into()))
        }
        (0x21, 0x21 | 0x22) => {
            let source: &[u8; 16] = rest
                .get(..36)
                .and_then(|rest| rest.first_chunk())
                .ok_or_else(malformed)?;
            Ok(Some(Ipv6Addr::from(*source).into()))
        }
        // Unspecified or a Unix domain socket, so there is no address.
        (0x21, 0x00 | 0x31 | 0x32) => Ok(None),
        _ => Err(malformed()),
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a PROXY protocol header")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &str) -> Result<Option<String>, io::ErrorKind> {
        let client = parse_text(line.as_bytes()).map_err(|error| error.kind())?;
        Ok(client.map(|client| client.to_string()))
    }

    #[test]
    fn a_line_names_the_client() {
        let is = |client: &str| Ok(Some(client.to_owned()));
        assert_eq!(
            text("PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n"),
            is("192.0.2.1")
        );
        assert_eq!(
            text("PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n"),
            is("2001:db8::1")
        );
        assert_eq!(text("PROXY UNKNOWN\r\n"), Ok(None));
        assert_eq!(text("PROXY UNKNOWN ff:: ff:: 1 2\r\n"), Ok(None));
        for line in [
            "PROXY TCP4 192.0.2.1 198.51.100.1 4711\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 4711 443 1\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            "PROXY TCP6 192.0.2.1 2001:db8::2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 4711 99999\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 +4711 443\r\n",
            "PROXY TCP4 192.0.2.1  198.51.100.1 4711 443\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.1 4711 443\r\n",
            "PROXY \r\n",
        ] {
            assert_eq!(text(line), Err(io::ErrorKind::InvalidData), "{line:?}");
        }
    }

    #[test]
    fn binary_headers_name_the_client() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x34, 1, 0xbb];
        let client = |version, family, rest: &[u8]| {
            parse_binary(version, family, rest).map_err(|error| error.kind())
        };
        assert_eq!(client(0x21, 0x11, &v4), Ok(Some([192, 0, 2, 1].into())));
        let extended = [&v4[..], &[3, 0, 4, 1, 2, 3, 4]].concat();
        assert_eq!(
            client(0x21, 0x11, &extended),
            Ok(Some([192, 0, 2, 1].into()))
        );
        let mut v6 = [0; 36];
        v6[..2].copy_from_slice(&[0x20, 1]);
        let expected: IpAddr = "2001::".parse().unwrap();
        assert_eq!(client(0x21, 0x21, &v6), Ok(Some(expected)));
        assert_eq!(client(0x20, 0, &[]), Ok(None));
        assert_eq!(client(0x21, 0x31, &[0; 216]), Ok(None));
        for (version, family, rest) in [
            (0x21, 0x11, &v4[..11]),
            (0x21, 0x21, &v4),
            (0x11, 0x11, &v4),
            (0x21, 0x77, &v4),
        ] {
            assert_eq!(
                client(version, family, rest),
                Err(io::ErrorKind::InvalidData)
            );
        }
    }
}
