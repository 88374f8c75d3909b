//! `titlecast backfill`: titles for conversations that never got one.

use std::io::IsTerminal;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::progress::Progress;
use crate::{
    config::Price,
    error::Result,
    titles::{
        Titles,
        backfill::{Backfill, StopReason, Totals},
    },
};

const BAR: &str = "{bar:40} {pos}/{len} conversations, {eta} left, {msg}";

/// Prints what a backfill would do and cost.
///
/// # Errors
/// [`Error::Database`](crate::error::Error::Database).
pub async fn dry_run(titles: &Titles, backfill: &Backfill, price: Option<Price>) -> Result<()> {
    let estimate = titles.estimate_backfill(backfill).await?;
    let (input, output) = (estimate.prompt_tokens, estimate.completion_tokens);
    let cost = price.map(|price| price.of(input, output));
    let minutes = estimate.titles.div_ceil(u64::from(backfill.per_minute));
    if !std::io::stdout().is_terminal() {
        println!(
            "{}",
            json!({ "event": "dry_run", "estimate": estimate, "minutes": minutes, "cost": cost })
        );
        return Ok(());
    }
    println!(
        "{} conversations would get a title from the model",
        estimate.titles
    );
    println!(
        "{} would get one from a file name, without a call",
        estimate.from_file_names
    );
    println!("{} have no message with a topic", estimate.nothing_to_title);
    println!(
        "about {input} input and {output} output tokens; at least {minutes} min at {} titles per minute",
        backfill.per_minute
    );
    match cost {
        Some(cost) => println!("about {cost:.4} at the given price"),
        None => println!("for the cost, add --price INPUT/OUTPUT (per million tokens)"),
    }
    Ok(())
}

/// Runs a backfill and shows its progress. Returns whether it finished.
///
/// # Errors
/// [`Error::Database`](crate::error::Error::Database).
pub async fn run(
    titles: &Titles,
    backfill: &Backfill,
    interrupt: &CancellationToken,
) -> Result<bool> {
    let found = titles.count_untitled(backfill).await?;
    let total = backfill.limit.map_or(found, |limit| limit.min(found));
    let mut progress = Progress::new(Some(total), BAR);
    let (done, end) = titles
        .backfill(backfill, interrupt, |done| {
            let words = || format!("{} failed, {} tokens", done.failed, done.tokens);
            progress.update(all(done), words, done);
        })
        .await?;
    let words = format!(
        "{} titled, {} failed, {} without a topic, {} superseded, {} tokens",
        done.titled, done.failed, done.nothing_to_title, done.superseded, done.tokens
    );
    progress.finish(reason(end), &words, &done);
    Ok(matches!(
        end,
        StopReason::Finished | StopReason::Limit | StopReason::Budget
    ))
}

fn all(done: &Totals) -> u64 {
    done.titled + done.failed + done.nothing_to_title + done.superseded
}

fn reason(end: StopReason) -> &'static str {
    match end {
        StopReason::Finished => "finished",
        StopReason::Limit => "limit",
        StopReason::Budget => "budget",
        StopReason::Interrupted => "interrupted",
        StopReason::Refused(failure) => failure.as_str(),
    }
}
