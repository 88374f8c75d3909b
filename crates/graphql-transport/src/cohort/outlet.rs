//! Outlets: where a member's events go.

use std::{
    collections::VecDeque,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_stream::stream;
use futures_util::{FutureExt, Stream};
use tokio::sync::Notify;

use super::{Attachment, MemberEnd};
use crate::payload::Payload;

/// Receives the events of a cohort for one member.
pub(crate) trait Outlet: Debug + Send + Sync {
    /// Accepts an event without waiting. With `is_state`, a lagging outlet may keep only the newest. `buffer` is
    /// scratch space with arbitrary contents.
    fn deliver(&self, payload: &Payload, is_state: bool, buffer: &mut Vec<u8>) -> Delivery;

    /// The member has left. The outlet must not deliver anything after this call.
    fn leave(&self) {}
}

/// The outcome of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// The event is delivered, or queued.
    Taken,
    /// The member lags: an older state was dropped.
    Skipped,
    /// The member lags and lost the event.
    Lost,
}

/// Capacity of a mailbox for events and for states. States need less: an old state has little value.
const MAX_EVENTS: usize = 64;
const MAX_STATES: usize = 4;

/// An outlet with a bounded queue, for subscribers that read at their own pace.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    events: Mutex<VecDeque<Payload>>,
    arrived: Notify,
}

impl Outlet for Mailbox {
    fn deliver(&self, payload: &Payload, is_state: bool, _buffer: &mut Vec<u8>) -> Delivery {
        let mut events = self.lock();
        let is_full = events.len() >= if is_state { MAX_STATES } else { MAX_EVENTS };
        if is_full && !is_state {
            return Delivery::Lost;
        }
        if is_full {
            events.pop_front();
        }
        events.push_back(payload.clone());
        self.arrived.notify_one();
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

    /// Yields the queued events until the membership ends; a refusal is the last event.
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
                    Some(MemberEnd::Completed) => break,
                    Some(MemberEnd::Refused(payload)) => {
                        yield payload;
                        break;
                    }
                }
                end = tokio::select! {
                    biased;
                    // The next iteration drains events queued before the end.
                    end = attachment.ended().map(Some) => end,
                    () = self.arrived.notified() => None,
                };
            }
        }
    }
}
