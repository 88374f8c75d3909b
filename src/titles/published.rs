//! Records published revisions in the database, in batches off the request path.
//!
//! The sweep republishes committed revisions that have no such record.

use std::{collections::HashMap, time::Duration};

use tokio::{sync::mpsc::UnboundedReceiver, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    conversation::ConversationId,
    db::{BadRow, Database},
    events::PublishedRevision,
    supervisor::Heartbeat,
};

/// How long a batch collects revisions before it is written.
const BATCH_WINDOW: Duration = Duration::from_millis(200);

/// The time limit of writing one batch.
const RECORD_TIMEOUT: Duration = Duration::from_secs(30);

/// Records revisions until `closing`, then the revisions that are still queued.
pub(super) async fn record(
    db: &Database,
    published: &mut UnboundedReceiver<PublishedRevision>,
    heartbeat: &Heartbeat,
    closing: &CancellationToken,
) {
    let mut batch: HashMap<ConversationId, i64> = HashMap::new();
    loop {
        let is_last = tokio::select! {
            next = published.recv() => match next {
                Some(revision) => {
                    add(&mut batch, revision);
                    tokio::select! {
                        () = sleep(BATCH_WINDOW) => false,
                        () = closing.cancelled() => true,
                    }
                }
                None => true,
            },
            () = closing.cancelled() => true,
        };
        while let Ok(revision) = published.try_recv() {
            add(&mut batch, revision);
        }
        let mut rows: Vec<PublishedRevision> = batch
            .iter()
            .map(|(id, revision)| (*id, *revision))
            .collect();
        if !rows.is_empty() {
            match heartbeat
                .iteration(RECORD_TIMEOUT, db.record_published(&mut rows))
                .await
            {
                Ok(bad) => {
                    batch.clear();
                    for BadRow { id, error } in bad {
                        heartbeat.skip_row(id, &error);
                    }
                }
                // The batch is retried with the next one; until then the sweep may republish its revisions.
                Err(error) => error.log(),
            }
        }
        if is_last {
            return;
        }
    }
}

fn add(batch: &mut HashMap<ConversationId, i64>, (id, revision): PublishedRevision) {
    let newest = batch.entry(id).or_insert(revision);
    *newest = revision.max(*newest);
}
