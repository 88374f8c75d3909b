//! The audit log of a server: whether it is on, and how long entries are kept.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    config::AuditPlan,
    db::Database,
    supervisor::{Loop, Supervisor},
};

/// Time limit of one iteration.
const DEADLINE: Duration = Duration::from_secs(30);

/// Pause between two removals, once no old entries are left.
const INTERVAL: Duration = Duration::from_secs(3600);

/// Pause between two iterations, short enough to show that the loop is alive.
const PAUSE: Duration = Duration::from_secs(60);

/// The audit log's setting in force. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct AuditLog {
    db: Database,
    plan: watch::Sender<AuditPlan>,
}

impl AuditLog {
    /// Puts a first setting in force.
    pub(super) fn new(db: Database, plan: AuditPlan) -> Self {
        db.audit(plan.is_on);
        Self {
            db,
            plan: watch::Sender::new(plan),
        }
    }

    /// Puts another setting in force.
    pub(super) fn replace(&self, plan: AuditPlan) {
        self.db.audit(plan.is_on);
        self.plan.send_replace(plan);
    }

    /// Starts the loop that removes old entries while the log is on.
    pub(super) fn start_loop(&self, loops: &Supervisor, closing: &CancellationToken) {
        let (log, end) = (self.clone(), closing.clone());
        loops.spawn(Loop::Audit, closing.clone(), move |heartbeat| {
            let (log, end) = (log.clone(), end.clone());
            async move {
                let mut next = tokio::time::Instant::now();
                while !end.is_cancelled() {
                    let plan = *log.plan.borrow();
                    let is_due = plan.is_on && tokio::time::Instant::now() >= next;
                    let pruning = async {
                        match is_due {
                            true => log.db.prune_audit(plan.keep).await,
                            false => Ok(false),
                        }
                    };
                    let pruned = heartbeat.iteration(DEADLINE, pruning);
                    match end.run_until_cancelled(pruned).await {
                        None => return,
                        Some(Err(error)) => error.log(),
                        Some(Ok(true)) => continue,
                        Some(Ok(false)) if is_due => next += INTERVAL,
                        Some(Ok(false)) => {}
                    }
                    end.run_until_cancelled(heartbeat.pause(PAUSE)).await;
                }
            }
        });
    }
}
