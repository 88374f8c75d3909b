//! Progress of a migration: a bar on a terminal, otherwise log lines.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use migration::progress::{At, Progress};
use tokio::time::{MissedTickBehavior, interval};

/// Interval of log lines.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Interval of updates of the bar.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);

const BAR: &str = "{msg} {bar:40} {pos}/{len} rows, {eta} left";
const SPINNER: &str = "{spinner} {msg}, {elapsed}";

/// Runs a migration and shows its progress on the terminal.
pub async fn shown<T>(run: impl Future<Output = T>) -> T {
    if !std::io::stderr().is_terminal() {
        return logged(run).await;
    }
    let bar = ProgressBar::no_length();
    let mut last = None;
    let result = observed(run, DRAW_INTERVAL, |at, _| draw(&bar, &mut last, at)).await;
    bar.finish_and_clear();
    result
}

/// Runs a migration and logs its progress.
pub async fn logged<T>(run: impl Future<Output = T>) -> T {
    observed(run, LOG_INTERVAL, |at, elapsed| {
        tracing::info!(
            migration = at.migration,
            rows = at.done,
            of = at.total,
            elapsed_s = elapsed.as_secs(),
            "migrating"
        );
    })
    .await
}

async fn observed<T>(
    run: impl Future<Output = T>,
    every: Duration,
    mut show: impl FnMut(&At, Duration),
) -> T {
    let progress = Progress::default();
    let began = Instant::now();
    let mut run = std::pin::pin!(progress.follow(run));
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Skips the immediate first tick.
    ticks.tick().await;
    loop {
        tokio::select! {
            biased;
            result = &mut run => return result,
            _ = ticks.tick() => {
                if let Some(at) = progress.at() {
                    show(&at, began.elapsed());
                }
            }
        }
    }
}

fn draw(bar: &ProgressBar, last: &mut Option<(String, bool)>, at: &At) {
    let shown = (at.migration.clone(), at.total.is_some());
    if last.as_ref() != Some(&shown) {
        bar.reset();
        let template = if shown.1 { BAR } else { SPINNER };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(at.migration.clone());
        *last = Some(shown);
    }
    if let Some(total) = at.total {
        bar.set_length(total);
        bar.set_position(at.done);
    }
    bar.tick();
}
