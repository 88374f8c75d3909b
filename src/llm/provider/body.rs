//! Reads response bodies with limits on size and idle time, and decodes UTF-8 leniently.

use std::{io, time::Duration};

use axum::body::Bytes;
use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use reqwest::Response;
use tokio::time::timeout;

use super::failure::Failure;
use crate::llm::ModelErrorKind;

/// The largest stream. A reply of 512 KiB in events of one token each takes about 50 MiB.
const MAX_STREAM_BYTES: usize = 64 * 1024 * 1024;

/// Reads into `body` up to `limit_bytes`. Returns whether the whole body was read.
pub(super) async fn read(
    response: &mut Response,
    limit_bytes: usize,
    idle_timeout: Duration,
    body: &mut Vec<u8>,
) -> Result<bool, Failure> {
    while body.len() <= limit_bytes {
        match timeout(idle_timeout, response.chunk()).await {
            Err(_) => return Err(Failure::new(ModelErrorKind::Timeout)),
            Ok(Err(_)) => return Err(Failure::new(ModelErrorKind::Interrupted)),
            Ok(Ok(None)) => return Ok(true),
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
        }
    }
    body.truncate(limit_bytes);
    Ok(false)
}

/// The text of a streamed body, chunk by chunk.
pub(super) type TextStream = BoxStream<'static, io::Result<String>>;

/// Decodes a streamed body: drops a byte order mark, and replaces invalid UTF-8 with U+FFFD.
pub(super) fn text_stream(response: Response) -> TextStream {
    // Drop the client's error: it contains the URL.
    let body = response.bytes_stream();
    decoded(
        body.map_err(|_| io::ErrorKind::ConnectionAborted.into())
            .boxed(),
    )
}

/// Like [`text_stream`], for a body from any source.
pub(super) fn decoded(body: BoxStream<'static, io::Result<Bytes>>) -> TextStream {
    stream::try_unfold(
        (body, Utf8Decoder::default()),
        |(mut body, mut decoder)| async move {
            while let Some(chunk) = body.next().await {
                let text = decoder.push(&chunk?)?;
                if !text.is_empty() {
                    return Ok(Some((text, (body, decoder))));
                }
            }
            Ok(None)
        },
    )
    .boxed()
}

#[derive(Default)]
struct Utf8Decoder {
    /// An incomplete character at the end of the last chunk.
    pending: Vec<u8>,
    started: bool,
    stream_bytes: usize,
}

impl Utf8Decoder {
    fn push(&mut self, chunk: &[u8]) -> io::Result<String> {
        self.pending.extend_from_slice(chunk);
        let bytes = std::mem::take(&mut self.pending);
        let mut text = String::with_capacity(bytes.len());
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let error = match str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    break;
                }
                Err(error) => error,
            };
            let (valid, broken) = rest.split_at(error.valid_up_to());
            text.push_str(&String::from_utf8_lossy(valid));
            match error.error_len() {
                Some(length) => {
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &broken[length..];
                }
                None => {
                    self.pending = broken.to_vec();
                    break;
                }
            }
        }
        if !self.started && !text.is_empty() {
            self.started = true;
            if text.starts_with('\u{feff}') {
                text.remove(0);
            }
        }
        self.stream_bytes += text.len();
        match self.stream_bytes > MAX_STREAM_BYTES {
            true => Err(io::ErrorKind::InvalidData.into()),
            false => Ok(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(chunks: &[&[u8]]) -> String {
        let mut decoder = Utf8Decoder::default();
        chunks
            .iter()
            .map(|chunk| decoder.push(chunk).unwrap())
            .collect()
    }

    #[test]
    fn characters_survive_any_split() {
        let text = "\u{feff}data: 京都 🎌 é\n\n";
        for size in 1..text.len() {
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            assert_eq!(
                pushed(&chunks),
                "data: 京都 🎌 é\n\n",
                "in pieces of {size}"
            );
        }
    }

    #[test]
    fn invalid_bytes_become_replacement_characters() {
        assert_eq!(
            pushed(&[b"a\xffb", b"\xe4\xba", b"c", b"\n"]),
            "a\u{fffd}b\u{fffd}c\n"
        );
    }
}
