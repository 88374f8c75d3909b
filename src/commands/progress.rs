//! Progress of a long command: a bar on a terminal, otherwise JSON lines, one per second and one at the end.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;

/// Interval of JSON lines.
const PRINT_INTERVAL: Duration = Duration::from_secs(1);

/// The output of progress.
pub(super) enum Progress {
    Bar(ProgressBar),
    Lines {
        total: Option<u64>,
        printed: Instant,
    },
}

impl Progress {
    /// Starts to show progress. `template` is an indicatif template for the bar.
    pub(super) fn new(total: Option<u64>, template: &str) -> Self {
        if !std::io::stdout().is_terminal() {
            let printed = Instant::now();
            return Self::Lines { total, printed };
        }
        let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self::Bar(bar)
    }

    /// Updates the progress; `words` is shown beside the bar.
    pub(super) fn update(
        &mut self,
        position: u64,
        words: impl FnOnce() -> String,
        done: &impl Serialize,
    ) {
        match self {
            Self::Bar(bar) => {
                bar.set_position(position);
                bar.set_message(words());
            }
            Self::Lines { total, printed } if printed.elapsed() >= PRINT_INTERVAL => {
                *printed = Instant::now();
                println!(
                    "{}",
                    json!({ "event": "progress", "total": total, "done": done })
                );
            }
            Self::Lines { .. } => {}
        }
    }

    /// Prints an error to standard error, without disturbing the bar.
    pub(super) fn print_error(&self, line: &str) {
        match self {
            Self::Bar(bar) => bar.suspend(|| eprintln!("{line}")),
            Self::Lines { .. } => eprintln!("{line}"),
        }
    }

    /// Ends the display before other output. On a terminal the bar stays; otherwise nothing is printed.
    pub(super) fn end(&self, reason: &str) {
        if let Self::Bar(bar) = self {
            match reason {
                "finished" => bar.finish(),
                _ => bar.abandon(),
            }
        }
    }

    /// Prints the reason for the end and the result; `words` is the text for a terminal.
    pub(super) fn finish(&self, reason: &str, words: &str, done: &impl Serialize) {
        match self {
            Self::Bar(bar) => {
                match reason {
                    "finished" => bar.finish(),
                    // `abandon` keeps the position; `finish` would draw the bar full.
                    _ => bar.abandon(),
                }
                println!("{reason}: {words}");
            }
            Self::Lines { .. } => {
                println!(
                    "{}",
                    json!({ "event": "end", "reason": reason, "done": done })
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_bar_stays_where_it_is() {
        for (reason, position) in [("finished", 10), ("interrupted", 3), ("budget", 3)] {
            let bar =
                ProgressBar::with_draw_target(Some(10), indicatif::ProgressDrawTarget::hidden());
            let mut progress = Progress::Bar(bar.clone());
            progress.update(3, String::new, &json!({}));
            progress.finish(reason, "", &json!({}));
            assert_eq!(bar.position(), position, "{reason}");
            assert!(bar.is_finished());
        }
    }
}
