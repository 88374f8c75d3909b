//! Notes which revisions were told, in batches: one transaction for what happens within a moment, and none
//! that anybody waits for.

use std::{collections::HashMap, time::Duration};

use tokio::{sync::mpsc::UnboundedReceiver, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    conversation::ConversationId,
    db::{BadRow, Database},
    events::Told,
    supervisor::Heartbeat,
};

/// How long a batch is collected.
const BATCH: Duration = Duration::from_millis(200);

/// How long storing a batch may take.
const NOTE_TIME: Duration = Duration::from_secs(30);

/// Notes until `closing`, and then what is left.
pub(super) async fn note(
    db: &Database,
    told: &mut UnboundedReceiver<Told>,
    heartbeat: &Heartbeat,
    closing: &CancellationToken,
) {
    let mut batch: HashMap<ConversationId, i64> = HashMap::new();
    loop {
        let is_last = tokio::select! {
            next = told.recv() => match next {
                Some(news) => {
                    add(&mut batch, news);
                    tokio::select! {
                        () = sleep(BATCH) => false,
                        () = closing.cancelled() => true,
                    }
                }
                None => true,
            },
            () = closing.cancelled() => true,
        };
        while let Ok(news) = told.try_recv() {
            add(&mut batch, news);
        }
        let mut rows: Vec<Told> = batch
            .iter()
            .map(|(id, revision)| (*id, *revision))
            .collect();
        if !rows.is_empty() {
            match heartbeat
                .iteration(NOTE_TIME, db.note_told(&mut rows))
                .await
            {
                Ok(bad) => {
                    batch.clear();
                    for BadRow { id, error } in bad {
                        heartbeat.step_over(id, &error);
                    }
                }
                // It stays in the batch, and in the sweep's eyes untold.
                Err(error) => error.log(),
            }
        }
        if is_last {
            return;
        }
    }
}

fn add(batch: &mut HashMap<ConversationId, i64>, (id, revision): Told) {
    let newest = batch.entry(id).or_insert(revision);
    *newest = revision.max(*newest);
}
