//! Request bodies with a size limit.

use std::{future::poll_fn, pin::Pin};

use axum::body::{Body, Bytes, HttpBody};

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The body exceeds the limit.
    TooLarge,
    /// The body is malformed or ended early.
    Malformed,
}

/// Reads a whole body of at most `max_bytes`. An announced length is checked before reading.
///
/// # Errors
/// [`BodyError::TooLarge`] if the body is longer; [`BodyError::Malformed`] if it is malformed or ends early.
pub async fn read_body(mut body: Body, max_bytes: usize) -> Result<Bytes, BodyError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > max_bytes {
        return Err(BodyError::TooLarge);
    }
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        // A frame without data holds trailers.
        let Ok(data) = frame.map_err(|_| BodyError::Malformed)?.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > max_bytes {
            return Err(BodyError::TooLarge);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.into())
}
