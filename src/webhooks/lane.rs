//! Sends the events of one conversation to one webhook, one after the other, under the claim of its lane.

use std::{sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use chrono::TimeDelta;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{
    Inner,
    hook::Hook,
    payload,
    send::{Outcome, send},
};
use crate::{
    db::{BadRow, WebhookEvent, WebhookLane},
    error::Result,
    step::{Step, step},
};

/// The maximum number of a conversation's events sent under one claim, before other conversations get their turn.
const MAX_EVENTS: usize = 20;

/// How much longer a claim's lease is than the timeout of a try: for the statements before and after it.
const LEASE_MARGIN: Duration = Duration::from_secs(10);

/// The pause after the first failure; each further pause is three times as long.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const PAUSE_FACTOR: u32 = 3;

/// The maximum pause, and the maximum wait that a receiver can ask for.
const MAX_PAUSE: Duration = Duration::from_secs(3600);

/// The wait of an event that another node's configuration has and this one's does not, as during a rolling reload.
const OTHER_CONFIGURATION: Duration = Duration::from_secs(30);

/// The lease of a lane.
pub(super) fn lease(hook: &Hook) -> Duration {
    hook.settings.timeout + LEASE_MARGIN
}

/// Sends the events of a claimed lane.
pub(super) async fn run(
    inner: Arc<Inner>,
    hook: Arc<Hook>,
    lane: WebhookLane,
    slot: OwnedSemaphorePermit,
) {
    let sending = send_events(&inner, &hook, lane);
    // After an error the claim expires, and any node continues.
    if let Some(Err(error)) = inner.closing.run_until_cancelled(sending).await {
        error.log();
    }
    drop(slot);
    if hook.is_saturated.load(Relaxed) {
        inner.wake.notify_one();
    }
}

async fn send_events(inner: &Inner, hook: &Hook, mut lane: WebhookLane) -> Result<()> {
    let db = &inner.db;
    for _ in 0..MAX_EVENTS {
        if inner.draining.is_cancelled() {
            break;
        }
        let Some(event) = db.first_webhook_event(&lane).await? else {
            return db.close_webhook_lane(&lane).await;
        };
        if !hook.settings.wants(&lane.owner.tenant, &event.kind) {
            let (tenant, name) = (&lane.owner.tenant, hook.name());
            if db.is_webhook_routed(tenant, &event.kind, name).await? {
                return db.release_webhook_lane(&lane, OTHER_CONFIGURATION).await;
            }
            // No node's configuration has this event any more.
            if !db.webhook_delivered(&lane, &event, lease(hook)).await? {
                return Ok(());
            }
            inner.metrics.dropped(hook.name(), 1);
            continue;
        }
        match attempt(inner, hook, &lane, &event).await? {
            Outcome::Received => {
                if !db.webhook_delivered(&lane, &event, lease(hook)).await? {
                    tracing::debug!(
                        hook = hook.name(),
                        "the claim expired while an event was sent; it is sent again"
                    );
                    return Ok(());
                }
                (lane.attempts, lane.failing_since) = (0, None);
            }
            Outcome::Gone => {
                db.webhook_is_gone(hook.name()).await?;
                tracing::warn!(
                    hook = hook.name(),
                    "the receiver answered 410 Gone; nothing is sent to it until `titlecast webhooks retry`"
                );
                return db
                    .webhook_failed(&lane, "status 410", Some(db.clock().now()))
                    .await;
            }
            Outcome::Failed(failure, wait) => {
                return failed(inner, hook, &lane, &event, &failure, wait).await;
            }
        }
    }
    db.release_webhook_lane(&lane, Duration::ZERO).await
}

/// Tries to send an event. Unreadable rows fail the event, not the lane's task.
async fn attempt(
    inner: &Inner,
    hook: &Hook,
    lane: &WebhookLane,
    event: &WebhookEvent,
) -> Result<Outcome> {
    let content = match inner.db.webhook_content(lane, event).await {
        Ok(content) => content,
        Err(error) => {
            BadRow::of(lane.conversation.0, error)?;
            return Ok(Outcome::Failed("unreadable_rows".to_owned(), None));
        }
    };
    let include_text = hook.settings.include_text;
    let body = payload::body(
        &lane.owner,
        lane.conversation,
        event,
        &content,
        include_text,
    );
    let began = Instant::now();
    let now = inner.db.clock().now().timestamp();
    // Removes events before they are sent, to prove that the tests notice a lost one.
    if lose_before_sending() {
        inner.db.webhook_delivered(lane, event, lease(hook)).await?;
    }
    step(Step::WebhookSending, lane.conversation);
    let outcome = send(hook, event.id, body, now).await;
    step(Step::WebhookSent, lane.conversation);
    let is_received = outcome == Outcome::Received;
    hook.record_outcome(is_received);
    inner
        .metrics
        .sent(hook.name(), outcome.label(), began.elapsed());
    Ok(outcome)
}

/// Stores a failure: the event is tried again, or given up.
async fn failed(
    inner: &Inner,
    hook: &Hook,
    lane: &WebhookLane,
    event: &WebhookEvent,
    failure: &str,
    wait: Option<Duration>,
) -> Result<()> {
    let now = inner.db.clock().now();
    let pause = pause(lane.attempts, fastrand::f64()).max(wait.unwrap_or_default().min(MAX_PAUSE));
    let until = now + TimeDelta::from_std(pause).unwrap_or_default();
    let last = lane.failing_since.unwrap_or(now) + hook.settings.retry_for;
    let next = (until <= last).then_some(until);
    if next.is_none() {
        inner.metrics.parked(hook.name());
        tracing::warn!(
            hook = hook.name(),
            conversation.id = %lane.conversation,
            event = event.kind,
            failure,
            attempts = lane.attempts + 1,
            "an event of a webhook was given up; it and later events wait for `titlecast webhooks retry`"
        );
    }
    inner.db.webhook_failed(lane, failure, next).await
}

/// The pause after a failed try that follows `before` earlier ones. `random`: from 0 to 1.
fn pause(before: u32, random: f64) -> Duration {
    fail::fail_point!("webhooks.pause", |ms| {
        Duration::from_millis(ms.and_then(|ms| ms.parse().ok()).unwrap_or(0))
    });
    let factor = PAUSE_FACTOR.saturating_pow(before);
    let pause = FIRST_PAUSE.saturating_mul(factor).min(MAX_PAUSE);
    // Jitter, so that nodes do not all send at once to a receiver that is back.
    pause.mul_f64(0.75 + 0.5 * random)
}

/// The failpoint of [`attempt`].
fn lose_before_sending() -> bool {
    fail::fail_point!("webhooks.lose", |_| true);
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_an_hour_and_a_day_has_about_thirty_tries() {
        let seconds = |before| pause(before, 0.5).as_secs();
        let first: Vec<u64> = (0..8).map(seconds).collect();
        assert_eq!(first, [5, 15, 45, 135, 405, 1215, 3600, 3600]);
        assert_eq!(seconds(u32::MAX), 3600);
        assert_eq!(pause(0, 0.0), FIRST_PAUSE.mul_f64(0.75));
        assert_eq!(pause(0, 1.0), FIRST_PAUSE.mul_f64(1.25));
        let mut tries = 0;
        let mut waited = 0;
        while waited < 24 * 3600 {
            waited += seconds(tries);
            tries += 1;
        }
        assert!((25..35).contains(&tries), "{tries}");
    }
}
