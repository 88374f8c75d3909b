//! The bytes of an upload: at most [`MAX_UPLOAD_BYTES`], with bounded pauses.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::StreamExt;
use tokio::{sync::Mutex as AsyncMutex, time::timeout};

/// The largest upload, in bytes.
pub const MAX_UPLOAD_BYTES: usize = 4 * 1024 * 1024;

/// The body of an upload. Clones share it.
#[derive(Clone)]
pub struct UploadBody(Arc<Shared>);

struct Shared {
    stream: AsyncMutex<BodyDataStream>,
    idle: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    read_bytes: usize,
    /// Bytes that were pushed back; the next read returns them first.
    unread: Option<Bytes>,
    end: Option<BodyEnd>,
}

/// How a body has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyEnd {
    /// The client has sent all of it.
    Complete,
    /// The connection broke.
    Broken,
    /// It is larger than [`MAX_UPLOAD_BYTES`].
    TooLarge,
    /// The client paused for too long.
    Idle,
}

impl UploadBody {
    /// Wraps a request's body. A pause longer than `idle` ends it.
    pub fn new(body: Body, idle: Duration) -> Self {
        Self(Arc::new(Shared {
            stream: AsyncMutex::new(body.into_data_stream()),
            idle,
            state: Mutex::default(),
        }))
    }

    /// The next bytes; `None` after the end.
    pub(super) async fn next(&self) -> Option<Bytes> {
        {
            let mut state = self.state();
            if let Some(bytes) = state.unread.take() {
                return Some(bytes);
            }
            if state.end.is_some() {
                return None;
            }
        }
        let mut stream = self.0.stream.lock().await;
        let read = timeout(self.0.idle, stream.next()).await;
        let mut state = self.state();
        let end = match read {
            Err(_) => BodyEnd::Idle,
            Ok(None) => BodyEnd::Complete,
            Ok(Some(Err(_))) => BodyEnd::Broken,
            Ok(Some(Ok(bytes))) => {
                state.read_bytes += bytes.len();
                match state.read_bytes > MAX_UPLOAD_BYTES {
                    true => BodyEnd::TooLarge,
                    false => return Some(bytes),
                }
            }
        };
        state.end = Some(end);
        None
    }

    /// Pushes bytes back, so that the next read returns them first.
    pub(super) fn unread(&self, bytes: Bytes) {
        self.state().unread = Some(bytes).filter(|bytes| !bytes.is_empty());
    }

    /// How the body ended; `None` before its end.
    pub(super) fn end(&self) -> Option<BodyEnd> {
        self.state().end
    }

    /// Whether the client has sent all of it.
    pub(super) fn is_complete(&self) -> bool {
        self.end() == Some(BodyEnd::Complete)
    }

    /// Whether the connection broke.
    pub(super) fn is_broken(&self) -> bool {
        self.end() == Some(BodyEnd::Broken)
    }

    /// Keeps reading for at most this time and discards the data: closing a connection with unread data resets it,
    /// which can discard the answer.
    pub async fn discard(&self, at_most: Duration) {
        let reading = async {
            let mut stream = self.0.stream.lock().await;
            while let Some(Ok(_)) = stream.next().await {}
        };
        if !matches!(self.end(), Some(BodyEnd::Complete | BodyEnd::Broken)) {
            // The answer does not depend on it.
            let _ = timeout(at_most, reading).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
