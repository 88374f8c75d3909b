//! Decodes the bytes of a socket into payloads: WebSocket frames, and events in HTTP chunks.

use memchr::memmem;

use crate::Result;

/// The received bytes of a subscriber's socket that have not been decoded yet.
pub enum Decoder {
    WebSocket {
        rest: Vec<u8>,
    },
    /// The head of the response, then the body in chunks. An event may span several chunks.
    Events {
        rest: Vec<u8>,
        event: Vec<u8>,
        place: Place,
    },
}

/// The position in a response.
#[derive(PartialEq)]
pub enum Place {
    Head,
    Body,
    /// After the last chunk.
    End,
}

impl Decoder {
    pub fn events() -> Self {
        Self::Events {
            rest: Vec::new(),
            event: Vec::new(),
            place: Place::Head,
        }
    }

    /// Whether the response is complete according to HTTP.
    pub fn ended(&self) -> bool {
        matches!(
            self,
            Self::Events {
                place: Place::End,
                ..
            }
        )
    }

    /// Decodes bytes and passes on each complete payload. Returns the bytes to send back, which answer pings.
    pub fn take(
        &mut self,
        bytes: &[u8],
        mut payload: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<Vec<u8>> {
        let mut answers = Vec::new();
        match self {
            Self::WebSocket { rest } => whole(rest, bytes, |bytes| {
                let Some((kind, content, used)) = frame(bytes)? else {
                    return Ok(None);
                };
                match kind {
                    TEXT if content.starts_with(br#"{"type":"ping""#) => {
                        answers.extend(client_frame(TEXT, br#"{"type":"pong"}"#));
                    }
                    TEXT => payload(content)?,
                    PING => answers.extend(client_frame(PONG, content)),
                    CLOSE => {
                        let said = String::from_utf8_lossy(content);
                        return Err(format!("the WebSocket was closed: {said}").into());
                    }
                    _ => {}
                }
                Ok(Some(used))
            })?,
            Self::Events { rest, event, place } => whole(rest, bytes, |bytes| {
                match place {
                    Place::Head => {
                        let used = head(bytes, "200")?;
                        if used.is_some() {
                            *place = Place::Body;
                        }
                        return Ok(used);
                    }
                    Place::Body => {}
                    Place::End => {
                        let more = String::from_utf8_lossy(bytes);
                        return Err(format!("behind the end of the stream: {more}").into());
                    }
                }
                let Some((content, used)) = chunk(bytes)? else {
                    return Ok(None);
                };
                if content.is_empty() {
                    if !event.is_empty() {
                        return Err("the event stream has ended inside an event".into());
                    }
                    *place = Place::End;
                    return Ok(Some(used));
                }
                // Almost always, an event is exactly one chunk.
                whole(event, content, |bytes| {
                    let Some((event, used)) = event_at(bytes) else {
                        return Ok(None);
                    };
                    for line in event.split(|&byte| byte == b'\n') {
                        let Some(data) = line.strip_prefix(b"data:") else {
                            continue;
                        };
                        let data = data.trim_ascii();
                        if !data.is_empty() {
                            payload(data)?;
                        }
                    }
                    Ok(Some(used))
                })?;
                Ok(Some(used))
            })?,
        }
        Ok(answers)
    }
}

pub const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Passes bytes to `one` as long as it finds a complete item and returns the item's length. Keeps the rest.
fn whole(
    rest: &mut Vec<u8>,
    bytes: &[u8],
    mut one: impl FnMut(&[u8]) -> Result<Option<usize>>,
) -> Result<()> {
    let kept = std::mem::take(rest);
    let joined;
    let mut left = if kept.is_empty() {
        bytes
    } else {
        joined = [&kept, bytes].concat();
        &joined
    };
    while !left.is_empty() {
        let Some(used) = one(left)? else {
            break;
        };
        left = &left[used..];
    }
    if !left.is_empty() {
        *rest = left.to_vec();
    }
    Ok(())
}

/// The length of a response head, which must have this status; `None` if it is incomplete.
pub fn head(bytes: &[u8], status: &str) -> Result<Option<usize>> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    if !bytes.starts_with(format!("HTTP/1.1 {status}").as_bytes()) {
        return Err(String::from_utf8_lossy(bytes).into());
    }
    Ok(Some(end + 4))
}

/// A server's frame: its kind, its content, and its total length.
pub fn frame(bytes: &[u8]) -> Result<Option<(u8, &[u8], usize)>> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    if first & 0x80 == 0 || second & 0x80 != 0 {
        return Err("a WebSocket frame in parts, or masked".into());
    }
    let (head, length) = match (second, rest) {
        (126, [high, low, ..]) => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        (126, _) => return Ok(None),
        (127, _) => return Err("a WebSocket frame above 64 KiB".into()),
        (&length, _) => (2, usize::from(length)),
    };
    let content = bytes.get(head..head + length);
    Ok(content.map(|content| (first & 0x0f, content, head + length)))
}

/// A client's frame, masked with zeros as required.
pub fn client_frame(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | kind];
    match (u8::try_from(content.len()), u16::try_from(content.len())) {
        (Ok(length @ ..126), _) => frame.push(0x80 | length),
        (_, length) => {
            frame.push(0x80 | 126);
            frame.extend(length.unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(content);
    frame
}

/// One chunk's content, and the chunk's length with its size and line ends.
fn chunk(bytes: &[u8]) -> Result<Option<(&[u8], usize)>> {
    let Some(line) = memmem::find(bytes, b"\r\n") else {
        return Ok(None);
    };
    let size = std::str::from_utf8(&bytes[..line])?;
    let size = usize::from_str_radix(size, 16).map_err(|_| format!("no chunk: {size:?}"))?;
    let begin = line + 2;
    let content = bytes.get(begin..begin + size + 2);
    Ok(content.map(|content| (&content[..size], begin + size + 2)))
}

/// One event, and its length with the empty line at its end.
fn event_at(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let unix = memmem::find(bytes, b"\n\n").map(|end| (end, 2));
    let found = unix.or_else(|| memmem::find(bytes, b"\r\n\r\n").map(|end| (end, 4)));
    found.map(|(end, length)| (&bytes[..end], end + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut decoder: Decoder, bytes: &[u8], step: usize) -> Vec<String> {
        let mut payloads = Vec::new();
        for part in bytes.chunks(step) {
            decoder
                .take(part, |payload| {
                    payloads.push(String::from_utf8_lossy(payload).into_owned());
                    Ok(())
                })
                .unwrap();
        }
        payloads
    }

    #[test]
    fn events_come_whole_however_they_are_cut() {
        let bytes = b"HTTP/1.1 200 OK\r\na: b\r\n\r\n7\r\n: hi\n\n\n\r\n1d\r\nevent: next\ndata: {\"a\":1}\n\nda\r\n9\r\nta: {}\n\nd\r\n";
        for step in 1..=bytes.len() {
            assert_eq!(
                all(Decoder::events(), bytes, step),
                [r#"{"a":1}"#, "{}"],
                "in parts of {step}"
            );
        }
    }

    #[test]
    fn an_answer_ends_with_its_last_chunk() {
        let bytes = b"HTTP/1.1 200 OK\r\n\r\ne\r\ndata: {\"a\":1}\n\r\n1\r\n\n\r\n0\r\n\r\n";
        let mut decoder = Decoder::events();
        let before = bytes.len() - 1;
        decoder.take(&bytes[..before], |_| Ok(())).unwrap();
        assert!(!decoder.ended());
        decoder.take(&bytes[before..], |_| Ok(())).unwrap();
        assert!(decoder.ended());
        assert!(decoder.take(b"1", |_| Ok(())).is_err());

        let cut = b"HTTP/1.1 200 OK\r\n\r\n1\r\nd\r\n0\r\n\r\n";
        assert!(Decoder::events().take(cut, |_| Ok(())).is_err());
    }

    #[test]
    fn frames_come_whole_however_they_are_cut() {
        let long = "x".repeat(300);
        let mut bytes = vec![0x81, 2, b'h', b'i', 0x81, 126, 1, 44];
        bytes.extend(long.as_bytes());
        for step in 1..=bytes.len() {
            let decoder = Decoder::WebSocket { rest: Vec::new() };
            assert_eq!(
                all(decoder, &bytes, step),
                ["hi", &long],
                "in parts of {step}"
            );
        }
    }
}
