//! Reading what a server sends without trusting its size, its pace or its encoding.

use std::{io, time::Duration};

use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use reqwest::Response;
use tokio::time::timeout;

use super::failure::Failure;
use crate::llm::ModelErrorKind;

/// The most that one stream may hold. A reply of 512 KiB that comes in events of one token each needs about 50 MiB.
const MAX_STREAM_BYTES: usize = 64 * 1024 * 1024;

/// Reads into `body` until the end or until `limit_bytes` are there; true at the end.
pub(super) async fn read(
    response: &mut Response,
    limit_bytes: usize,
    idle_timeout: Duration,
    body: &mut Vec<u8>,
) -> Result<bool, Failure> {
    while body.len() <= limit_bytes {
        match timeout(idle_timeout, response.chunk()).await {
            Err(_) => return Err(Failure::new(ModelErrorKind::Timeout)),
            Ok(Err(_)) => return Err(Failure::new(ModelErrorKind::Connection)),
            Ok(Ok(None)) => return Ok(true),
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
        }
    }
    body.truncate(limit_bytes);
    Ok(false)
}

/// The text of a stream, in pieces as it comes.
pub(super) type Pieces = BoxStream<'static, io::Result<String>>;

/// The body of a stream as text: without a byte order mark, and with U+FFFD for what is no UTF-8.
pub(super) fn pieces(response: Response) -> Pieces {
    stream::try_unfold(
        (response, Tidy::default()),
        |(mut response, mut tidy)| async move {
            // The client's errors name the URL; nobody needs to read that here.
            while let Some(chunk) = response
                .chunk()
                .await
                .map_err(|_| io::ErrorKind::ConnectionAborted)?
            {
                let text = tidy.push(&chunk)?;
                if !text.is_empty() {
                    return Ok(Some((text, (response, tidy))));
                }
            }
            Ok(None)
        },
    )
    .boxed()
}

#[derive(Default)]
struct Tidy {
    /// The first bytes of a character whose others have not come yet.
    pending: Vec<u8>,
    started: bool,
    stream_bytes: usize,
}

impl Tidy {
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
        let mut tidy = Tidy::default();
        chunks
            .iter()
            .map(|chunk| tidy.push(chunk).unwrap())
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
