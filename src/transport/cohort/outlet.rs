//! Where the events of one member go.

use std::{
    collections::VecDeque,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_stream::stream;
use futures_util::{FutureExt, Stream};
use tokio::sync::Notify;

use super::{Attachment, End};
use crate::transport::payload::Payload;

/// Takes the events of a cohort for one of its members.
pub(in crate::transport) trait Outlet: Debug + Send + Sync {
    /// Takes an event, without waiting. With `is_state` the newest is all that is of interest, once there is
    /// room again. `buffer` is for whatever use, and has anything in it.
    fn deliver(&self, payload: &Payload, is_state: bool, buffer: &mut Vec<u8>) -> Delivery;

    /// Nothing must come any more.
    fn leave(&self) {}
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport) enum Delivery {
    /// It is there, or will be.
    Taken,
    /// The member is behind: an older state will not be told.
    Skipped,
    /// The member is behind, and cannot go on.
    Lost,
}

/// How many events a mailbox holds, and how many states, of which an old one is worth little.
const EVENTS: usize = 64;
const STATES: usize = 4;

/// An outlet for who reads at a pace of its own.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    events: Mutex<VecDeque<Payload>>,
    news: Notify,
}

impl Outlet for Mailbox {
    fn deliver(&self, payload: &Payload, is_state: bool, _buffer: &mut Vec<u8>) -> Delivery {
        let mut events = self.lock();
        let is_full = events.len() >= if is_state { STATES } else { EVENTS };
        if is_full && !is_state {
            return Delivery::Lost;
        }
        if is_full {
            events.pop_front();
        }
        events.push_back(payload.clone());
        self.news.notify_one();
        match is_full {
            true => Delivery::Skipped,
            false => Delivery::Taken,
        }
    }
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Payload>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What comes in, up to the end; a refusal is the last event.
    pub(super) fn events(
        self: Arc<Self>,
        mut attachment: Attachment,
    ) -> impl Stream<Item = Payload> + Send {
        stream! {
            let mut end = None;
            loop {
                let event = self.lock().pop_front();
                if let Some(event) = event {
                    yield event;
                    continue;
                }
                match end {
                    None => {}
                    Some(End::Completed) => break,
                    Some(End::Refused(payload)) => {
                        yield payload;
                        break;
                    }
                }
                end = tokio::select! {
                    biased;
                    // What came before the end is told before it.
                    end = attachment.ended().map(Some) => end,
                    () = self.news.notified() => None,
                };
            }
        }
    }
}
