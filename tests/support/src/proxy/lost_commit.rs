//! Cuts a connection to PostgreSQL at the `COMMIT` of one transaction, before or after it takes effect.

use std::sync::Mutex;

use super::Way;

/// Which `COMMIT` is lost, and at which point.
#[derive(Clone, Debug)]
pub(super) struct LostCommit {
    /// A text that the transaction sends before, among its parameters.
    pub(super) of: String,
    pub(super) at: Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The request is lost, so nothing is committed.
    Request,
    /// The commit takes effect, but its answer is lost.
    Answer,
}

/// Watches one connection for the commit to lose.
#[derive(Default)]
pub(super) struct Watched {
    seen: Mutex<Seen>,
    lost: tokio::sync::Notify,
}

#[derive(Default)]
struct Seen {
    /// Everything sent since the last commit.
    sent: Vec<u8>,
    /// The commit has been sent, and its answer must not arrive.
    is_committing: bool,
}

impl Watched {
    pub(super) async fn is_lost(&self) {
        self.lost.notified().await;
    }

    /// Whether to forward these bytes.
    pub(super) fn lets_pass(
        &self,
        way: Way,
        bytes: &[u8],
        lost: &Mutex<Option<LostCommit>>,
    ) -> bool {
        let mut seen = self.seen.lock().unwrap();
        if way == Way::Back {
            let is_answer = seen.is_committing && !bytes.is_empty();
            if is_answer {
                self.lost.notify_one();
            }
            return !is_answer;
        }
        let mut lost = lost.lock().unwrap();
        let Some(wanted) = lost.as_ref() else {
            return true;
        };
        seen.sent.extend(bytes);
        // A simple query, which is sent by itself: 'Q', a four-byte length, the text, a zero byte.
        if !contains(bytes, b"COMMIT\0") {
            return true;
        }
        let is_wanted = contains(&seen.sent, wanted.of.as_bytes());
        seen.sent.clear();
        if !is_wanted {
            return true;
        }
        let at = wanted.at;
        *lost = None;
        match at {
            Lost::Request => self.lost.notify_one(),
            Lost::Answer => seen.is_committing = true,
        }
        at == Lost::Answer
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
