//! `titlecast prune`: removes at once what the servers remove when it becomes too old.

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::progress::Progress;
use crate::{
    config::ModelRef,
    conversation::retention::Retentions,
    db::{Database, Prune, PrunePlace, Removed},
    error::{Error, Result},
    titles::policy::Policies,
};

const COUNTER: &str = "{spinner} {msg}";

const NO_LIMIT: &str = "nothing to prune: [retention] sets no limit";

/// Conversations per step.
const PAGE: u64 = 200;

/// Prunes all conversations once; with `is_dry`, only counts. Returns whether it reached the end. The servers' sweeps
/// publish the changes.
///
/// # Errors
/// [`Error::Database`]. Removed rows stay removed.
pub async fn run(
    db: &Database,
    retentions: &Retentions,
    policies: &Policies<Vec<ModelRef>>,
    is_dry: bool,
    interrupt: &CancellationToken,
) -> Result<bool> {
    let redacts = |tenant: &str| policies.of_tenant(tenant).redact;
    let prune = Prune {
        retentions,
        redacts: &redacts,
        is_dry,
        page: PAGE,
    };
    let mut progress = Progress::new(None, COUNTER);
    // On a terminal the end says it.
    if retentions.are_off() && matches!(progress, Progress::Lines { .. }) {
        progress.print_error(NO_LIMIT);
    }
    let mut place = PrunePlace::default();
    let mut removed = Removed::default();
    let mut steps = 0;
    let is_finished = loop {
        if retentions.are_off() {
            break true;
        }
        let step = interrupt.run_until_cancelled(db.prune_next(&prune, &mut place));
        let Some(step) = step.await else { break false };
        let Some(pruned) = step.inspect_err(Error::log)? else {
            break true;
        };
        steps += 1;
        removed.extend(&pruned.removed);
        for row in &pruned.bad {
            progress.print_error(&format!("conversation {} cannot be pruned", row.id));
        }
        progress.update(steps, || words(&removed), &removed);
    };
    // Also erases what an interrupted run removed. If a server keeps the file busy, that server erases the text later.
    if !is_dry && !removed.0.is_empty() {
        db.compact(false).await.inspect_err(Error::log)?;
    }
    let reason = match (is_finished, is_dry) {
        (true, false) => "finished",
        (true, true) => "dry_run",
        (false, _) => "interrupted",
    };
    let words = match retentions.are_off() {
        true => NO_LIMIT.to_owned(),
        false => words(&removed),
    };
    progress.finish(reason, &words, &json!({ "rows": removed }));
    Ok(is_finished)
}

fn words(removed: &Removed) -> String {
    let counts = removed
        .0
        .iter()
        .map(|(table, rows)| format!("{table} {rows}"));
    match removed.0.is_empty() {
        true => "nothing is older than the limits".to_owned(),
        false => counts.collect::<Vec<_>>().join(", "),
    }
}
