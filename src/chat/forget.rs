//! Erasure of a user: tombstones first, so that replies stop and clients are notified; then the rows.

use std::{collections::HashSet, time::Duration};

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::Chat;
use crate::{
    conversation::{Conversation, ConversationStatus, Owner},
    db::{Act, Database, ForgetPlace, Forgotten, Removed},
    error::Result,
};

/// How long an erasure waits for replies to stop and for nodes to notify their clients: longer than the sweep takes to
/// publish a command's changes.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The interval at which the wait checks whether replies have stopped.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// How long other nodes have to read a tombstone after it was published.
const RELAY_GRACE: Duration = Duration::from_millis(500);

/// The maximum number of passes. Later passes erase conversations that were created before the erasure began but appear
/// during it: a message in flight may have created one.
const PASSES: usize = 3;

/// A report of what an erasure removed, without names of users.
#[derive(Clone, Debug, Serialize)]
pub struct Certificate {
    /// The tenant.
    pub tenant: String,
    /// A keyed hash of tenant and user.
    pub subject: String,
    /// When the erasure began.
    pub at: DateTime<Utc>,
    /// The removed rows, by table.
    pub rows: Removed,
    /// The number of conversations that exist after the erasure, because they were created in the meantime.
    pub left: u64,
}

/// Erases everything of a tenant or a user. `changed` publishes each tombstone, and each conversation that others wrote
/// in and that remains without the user's messages; `patience` is the longest wait before the rows are removed.
///
/// # Errors
/// [`Error::Database`](crate::error::Error::Database). Rows that were already removed stay removed; a retry removes the
/// rest.
pub async fn forget(
    db: &Database,
    of: &Forgotten,
    patience: Duration,
    mut changed: impl FnMut(Conversation),
) -> Result<Certificate> {
    let at = db.clock().now();
    let subject = db.forgotten_hash(of).await?;
    let mut removed = Removed::default();
    let mut ids = HashSet::new();
    for pass in 0..PASSES {
        // The first pass takes all conversations, because the nodes' clocks may differ.
        let until = (pass > 0).then_some(at);
        let mut place = ForgetPlace::default();
        let mut is_any = false;
        while let Some(tombstones) = db.entomb_next(of, until, &mut place, &mut removed).await? {
            is_any = true;
            tombstones.into_iter().for_each(&mut changed);
        }
        // A second step removes the user's messages from conversations in which others wrote, also if they wrote only
        // in the meantime.
        let mut place = ForgetPlace::default();
        let mut owners = vec![of.clone()];
        while let Some(parted) = db
            .part_next(of, until, &subject, &mut place, &mut removed)
            .await?
        {
            is_any = true;
            for conversation in parted {
                // Erasing the last guest of a placeholder's conversation deletes it, so erase the placeholder too.
                let user = Some(&conversation.owner.user);
                let is_deleted = conversation.status == ConversationStatus::Deleted;
                if is_deleted && owners.iter().all(|owner| owner.user.as_ref() != user) {
                    let (tenant, user) = (of.tenant.clone(), user.cloned());
                    owners.push(Forgotten { tenant, user });
                }
                changed(conversation);
            }
        }
        let known = ids.len();
        for owner in &owners {
            if is_any {
                wait_for_nodes(db, owner, patience).await?;
            }
            let mut place = ForgetPlace::default();
            while db.find_tombstones(owner, &mut place, &mut ids).await? {}
        }
        // Calls are found by their conversations. A retry of a killed erasure finds the tombstones again, but not the
        // calls of conversations that are already removed. The calls of a whole tenant are found without conversations.
        if of.user.is_some() && ids.len() > known {
            db.remove_calls(of, &ids, &mut removed).await?;
        }
        for owner in &owners {
            let mut place = ForgetPlace::default();
            while db
                .remove_tombstones(owner, &mut place, &mut ids, &mut removed)
                .await?
            {}
        }
        if !is_any {
            break;
        }
    }
    db.remove_queues(of, &mut removed).await?;
    // Calls that ended in the meantime.
    db.remove_calls(of, &ids, &mut removed).await?;
    db.forget_actors(of).await?;
    let left = db.count_left(of).await?;
    Ok(Certificate {
        left,
        tenant: of.tenant.clone(),
        subject,
        at,
        rows: removed,
    })
}

/// Waits until no reply of a tombstone is running and all tombstones are published, for at most `patience`. A reply
/// that is still running then fails, because its rows are gone.
async fn wait_for_nodes(db: &Database, of: &Forgotten, patience: Duration) -> Result<()> {
    let end = Instant::now() + patience;
    while Instant::now() < end {
        if db.unfinished_tombstones(of).await? == (0, 0) {
            sleep(RELAY_GRACE).await;
            return Ok(());
        }
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

impl Chat {
    /// Erases everything of a user, as [`forget`] does, and stops replies that run here.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn forget(&self, owner: &Owner) -> Result<Certificate> {
        let of = Forgotten {
            tenant: owner.tenant.clone(),
            user: Some(owner.user.clone()),
        };
        let publish = |changed: Conversation| {
            if changed.status == ConversationStatus::Deleted {
                for run in self.inner.events.find_runs(&changed.owner, changed.id) {
                    run.stop();
                }
            }
            self.inner.events.publish(changed);
        };
        let db = &self.inner.db;
        let certificate = forget(db, &of, PATIENCE, publish).await?;
        let actor = db.erased_name(&owner.tenant, &owner.user).await?;
        db.record_act_on(&owner.tenant, &actor, Act::Erased, None)
            .await?;
        tracing::info!(rows = ?certificate.rows.0, "everything of a user was erased at the user's request");
        Ok(certificate)
    }
}
