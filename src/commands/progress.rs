//! How far a long command is: a bar on a terminal, and for a program that reads along a JSON object a line, one a second
//! and one at the end.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;

/// How often a program that reads along is told.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Who reads along.
pub(super) enum Progress {
    Bar(ProgressBar),
    Lines { total: Option<u64>, told: Instant },
}

impl Progress {
    /// Begins. `template` is the bar's, in indicatif's words.
    pub(super) fn new(total: Option<u64>, template: &str) -> Self {
        if !std::io::stdout().is_terminal() {
            let told = Instant::now();
            return Self::Lines { total, told };
        }
        let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self::Bar(bar)
    }

    /// Tells what was done until now: `words` stand beside the bar.
    pub(super) fn at(
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
            Self::Lines { total, told } if told.elapsed() >= TELL_EVERY => {
                *told = Instant::now();
                println!(
                    "{}",
                    json!({ "event": "progress", "total": total, "done": done })
                );
            }
            Self::Lines { .. } => {}
        }
    }

    /// Says on standard error what cannot be done.
    pub(super) fn complain(&self, line: &str) {
        match self {
            Self::Bar(bar) => bar.suspend(|| eprintln!("{line}")),
            Self::Lines { .. } => eprintln!("{line}"),
        }
    }

    /// Tells why it ends, and what was done: `words` for people.
    pub(super) fn end(&self, reason: &str, words: &str, done: &impl Serialize) {
        match self {
            Self::Bar(bar) => {
                match reason {
                    "finished" => bar.finish(),
                    // It stays where it is: `finish` would draw it full.
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
            progress.at(3, String::new, &json!({}));
            progress.end(reason, "", &json!({}));
            assert_eq!(bar.position(), position, "{reason}");
            assert!(bar.is_finished());
        }
    }
}
