//! The webhook loop: registers routes, claims lanes that are due, removes expired events.

use std::{sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::{sync::Semaphore, time::Instant};

use super::{Hook, Inner, lane};
use crate::{error::Result, supervisor::Heartbeat};

/// The poll interval for due events, and the longest delay of an event while its receiver keeps up.
const POLL: Duration = Duration::from_millis(500);

/// The deadline of an iteration.
const DEADLINE: Duration = Duration::from_secs(30);

/// The pause between two renewals of routes, and the age at which a route is renewed.
const RENEW: Duration = Duration::from_secs(300);

/// The age at which a route counts as removed from every node's configuration.
const ROUTE_TTL: Duration = Duration::from_secs(1200);

/// The interval between two counts of the backlog.
const COUNT: Duration = Duration::from_secs(15);

/// The pause between two removals of events without a configured webhook, and how long such events are kept.
const CLEAN: Duration = Duration::from_secs(3600);
const KEEP_UNROUTED: Duration = Duration::from_secs(24 * 3600);

/// Lanes removed at a time.
const LANES: u64 = 200;

/// When each part of the work was last done.
#[derive(Debug, Default)]
struct Done {
    renewed: Option<Instant>,
    counted: Option<Instant>,
    cleaned: Option<Instant>,
    /// The configuration that was registered.
    hooks: Arc<Vec<Arc<Hook>>>,
}

/// Sends until the shutdown.
pub(super) async fn run(inner: &Arc<Inner>, heartbeat: &Heartbeat) {
    let mut done = Done {
        // A node without webhooks has nothing to remove at its start.
        cleaned: Some(Instant::now()),
        ..Done::default()
    };
    while !inner.draining.is_cancelled() {
        let iteration = heartbeat.iteration(DEADLINE, iterate(inner, &mut done));
        let Some(iterated) = inner.draining.run_until_cancelled(iteration).await else {
            return;
        };
        if let Err(error) = iterated {
            error.log();
        }
        // Jitter: nodes must not keep claiming at the same times.
        let pause = POLL.mul_f64(0.75 + 0.5 * fastrand::f64());
        tokio::select! {
            () = heartbeat.pause(pause) => {}
            () = inner.wake.notified() => {}
            () = inner.draining.cancelled() => {}
        }
    }
}

/// Whether a periodic task is due.
fn is_due(last: Option<Instant>, every: Duration) -> bool {
    last.is_none_or(|last| last.elapsed() >= every)
}

async fn iterate(inner: &Arc<Inner>, done: &mut Done) -> Result<()> {
    let hooks = inner.current();
    if !Arc::ptr_eq(&hooks, &done.hooks) {
        (done.renewed, done.counted) = (None, None);
        done.hooks = hooks.clone();
    }
    if !hooks.is_empty() && is_due(done.renewed, RENEW) {
        let routes = hooks.iter().flat_map(|hook| hook.routes());
        inner.db.register_webhooks(routes.collect(), RENEW).await?;
        // After the registration: after an outage, no node's routes are removed before it could renew them.
        inner.db.expire_webhook_routes(ROUTE_TTL).await?;
        done.renewed = Some(Instant::now());
    }
    for hook in hooks.iter() {
        claim(inner, hook).await?;
    }
    if !hooks.is_empty() && is_due(done.counted, COUNT) {
        for hook in hooks.iter() {
            count(inner, hook).await?;
        }
        done.counted = Some(Instant::now());
    }
    if is_due(done.cleaned, CLEAN) {
        if hooks.is_empty() {
            inner.db.expire_webhook_routes(ROUTE_TTL).await?;
        }
        let dropped = inner.db.drop_unrouted_webhooks(KEEP_UNROUTED).await?;
        if dropped > 0 {
            tracing::warn!(
                events = dropped,
                "removed events of webhooks that are no longer configured"
            );
        }
        done.cleaned = Some(Instant::now());
    }
    Ok(())
}

/// Claims as many lanes as there are free slots, and sends their events.
async fn claim(inner: &Arc<Inner>, hook: &Arc<Hook>) -> Result<()> {
    let free = hook.slots.available_permits();
    // Set before the claim, so that a slot that becomes free in the meantime wakes the loop again.
    hook.is_saturated.store(true, Relaxed);
    if free == 0 {
        return Ok(());
    }
    let limit = free as u64;
    let lanes = inner
        .db
        .claim_webhook_lanes(hook.name(), limit, lane::lease(hook))
        .await?;
    hook.is_saturated
        .store(lanes.len() as u64 == limit, Relaxed);
    for lane in lanes {
        // Only this loop takes slots, so there is one for each lane.
        let slots: Arc<Semaphore> = hook.slots.clone();
        let Ok(slot) = slots.acquire_owned().await else {
            return Ok(());
        };
        inner
            .tasks
            .spawn(lane::run(inner.clone(), hook.clone(), lane, slot));
    }
    Ok(())
}

/// Counts waiting events, and removes those that were given up too long ago.
async fn count(inner: &Inner, hook: &Hook) -> Result<()> {
    let name = hook.name();
    let before = inner.db.clock().now() - hook.settings.keep;
    for id in inner.db.webhooks_parked_before(name, before, LANES).await? {
        let dropped = inner.db.drop_webhook_lane(name, id, Some(before)).await?;
        inner.metrics.dropped(name, dropped);
        tracing::warn!(
            hook = name,
            conversation.id = %id,
            events = dropped,
            "removed events of a webhook: they were given up longer ago than `keep`"
        );
    }
    let backlog = inner.db.webhook_backlog(name).await?;
    if backlog.is_gone {
        for id in inner.db.webhooks_due_before(name, before, LANES).await? {
            let dropped = inner.db.drop_webhook_lane(name, id, None).await?;
            inner.metrics.dropped(name, dropped);
        }
    }
    hook.record_backlog(backlog);
    inner.metrics.waiting(name, &backlog);
    Ok(())
}
