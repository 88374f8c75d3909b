//! `titlecast stats`: titles, failures by reason, tokens, latency.

use std::fmt::Write;

use chrono::SecondsFormat;

use crate::{
    db::{Database, StatsFilter, TitleStats},
    error::Result,
};

/// The statistics, as a table or as a line of JSON.
///
/// # Errors
/// [`Error::Database`](crate::error::Error::Database).
pub async fn report(db: &Database, scope: &StatsFilter, json: bool) -> Result<String> {
    let stats = db.title_stats(scope).await?;
    Ok(match json {
        true => format!("{}\n", serde_json::json!(stats)),
        false => table(&stats),
    })
}

fn table(stats: &TitleStats) -> String {
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut page, stats);
    page
}

fn write(page: &mut String, stats: &TitleStats) -> std::fmt::Result {
    writeln!(page, "conversations")?;
    for row in &stats.titles {
        writeln!(
            page,
            "{:>10}  {} ({})",
            row.conversations, row.status, row.source
        )?;
    }
    if !stats.failures.is_empty() {
        writeln!(page, "\nfailed titles by reason")?;
    }
    for row in &stats.failures {
        let reason = row.reason.as_deref().unwrap_or("unknown");
        writeln!(page, "{:>10}  {reason}", row.conversations)?;
    }
    if let Some(oldest) = stats.waiting.oldest {
        let waiting = stats.waiting.conversations;
        let oldest = oldest.to_rfc3339_opts(SecondsFormat::Secs, true);
        writeln!(
            page,
            "\n{waiting:>10}  wait for their next try, the oldest since {oldest}"
        )?;
    }
    writeln!(
        page,
        "\n     calls  prompt tokens  completion  reasoning  model, outcome"
    )?;
    for row in &stats.calls {
        writeln!(
            page,
            "{:>10}  {:>13}  {:>10}  {:>9}  {}, {}",
            row.calls,
            row.prompt_tokens,
            row.completion_tokens,
            row.reasoning_tokens,
            row.model,
            row.outcome
        )?;
    }
    if !stats.replies.is_empty() {
        writeln!(
            page,
            "\n   replies  prompt tokens  completion  reasoning  agent, model"
        )?;
    }
    for row in &stats.replies {
        writeln!(
            page,
            "{:>10}  {:>13}  {:>10}  {:>9}  {}, {}",
            row.replies,
            row.prompt_tokens,
            row.completion_tokens,
            row.reasoning_tokens,
            row.agent,
            row.model
        )?;
    }
    match stats.latency {
        Some(latency) => writeln!(
            page,
            "\nlatency of calls that returned a title: {} ms (p50), {} ms (p95), {} ms (max)",
            latency.p50_ms, latency.p95_ms, latency.max_ms
        ),
        None => writeln!(page, "\nno call has returned a title"),
    }
}
