//! Cutting a connection to PostgreSQL at the `COMMIT` of one transaction, before it or behind it.

use std::sync::Mutex;

use super::Way;

/// Which `COMMIT` is lost, and where.
#[derive(Clone, Debug)]
pub(super) struct LostCommit {
    /// What the transaction sends before: a text among its parameters.
    pub(super) of: String,
    pub(super) at: Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It never arrives.
    Request,
    /// It arrives and is done; its answer is lost.
    Answer,
}

/// Looks for the commit that is to be lost, in one connection.
#[derive(Default)]
pub(super) struct Watched {
    seen: Mutex<Seen>,
    lost: tokio::sync::Notify,
}

#[derive(Default)]
struct Seen {
    /// What was sent since the last commit.
    sent: Vec<u8>,
    /// The commit was sent, and its answer must not be received.
    is_committing: bool,
}

impl Watched {
    pub(super) async fn is_lost(&self) {
        self.lost.notified().await;
    }

    /// Whether these bytes go on.
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
        // A simple query, which is sent on its own: 'Q', four bytes of length, the text, a zero.
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
