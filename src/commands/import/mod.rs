//! `titlecast import`: imports conversations from another system, as JSON lines.
//!
//! One thread reads and validates lines in batches. Each batch is stored in one transaction while the next is read, so
//! memory holds two batches, however long the file is. Runs keep no state: a repeated run is idempotent, because it
//! finds stored conversations by id.

mod line;
mod lines;

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    time::Instant,
};

use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use self::{
    line::Defaults,
    lines::{Line, Lines},
};
use super::progress::Progress;
use crate::{
    config::{ImportArguments, ModelRef},
    conversation::Owner,
    db::{Database, Imported, MAX_LINE_BYTES, NewConversation, caused},
    error::Error,
    titles::policy::Policies,
};

/// The maximum number of lines in a batch. Other writers to an SQLite file wait for its transaction.
const BATCH_LINES: usize = 100;

/// The pause after a batch on SQLite is its duration, divided by this. SQLite has no queue for its lock: a waiting
/// process polls it every few milliseconds, and must find it free before its own deadline.
const PAUSE_DIVISOR: u32 = 2;

/// A batch ends after this many bytes.
const BATCH_BYTES: u64 = 1024 * 1024;

const BAR: &str = "{bar:40} {bytes}/{total_bytes}, {eta} left, {msg}";
/// For standard input, whose length is unknown.
const COUNTER: &str = "{spinner} {bytes}, {msg}";

/// Why an import fails, as a whole or in part.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("cannot read {path}: {cause}")]
    Read {
        /// The file.
        path: String,
        /// The operating system's error.
        #[source]
        cause: io::Error,
    },
    /// The database failed.
    #[error("{0}{cause}. Imported conversations are kept; run it again to continue", cause = caused(.0))]
    Failed(#[from] Error),
    /// Some lines were rejected, or differ from the stored conversations, and were reported. All others are stored,
    /// unless it is a dry run.
    #[error(
        "{refused} line(s) rejected, {diverged} differ(s) from the stored conversation; the reasons are above"
    )]
    Lines {
        /// Rejected lines.
        refused: u64,
        /// Lines whose stored conversation has other messages.
        diverged: u64,
    },
}

/// The counts of an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
struct Done {
    /// Bytes read.
    bytes: u64,
    /// Lines read, empty ones excluded.
    lines: u64,
    /// New conversations.
    added: u64,
    /// Existing conversations that received new messages.
    continued: u64,
    /// New messages.
    messages: u64,
    /// Existing conversations without new messages.
    unchanged: u64,
    /// Conversations that were deleted here, and stay deleted.
    deleted: u64,
    /// Existing conversations with different messages.
    diverged: u64,
    /// Rejected lines.
    refused: u64,
}

/// The number of a non-empty line, and its parsed conversation.
type ParsedLine = (u64, Result<NewConversation, String>);

/// Lines that are stored in one transaction.
#[derive(Default)]
struct Batch {
    lines: Vec<ParsedLine>,
    /// The bytes read for the batch.
    bytes: u64,
}

/// Imports all conversations of a file; with `dry_run` it only checks them.
///
/// Conversations without an owner get that of the arguments, else `owner`. Returns whether it reached the end of the
/// file.
///
/// # Errors
/// [`ImportError`].
pub async fn run(
    db: &Database,
    arguments: &ImportArguments,
    owner: Option<Owner>,
    policies: Policies<Vec<ModelRef>>,
    interrupt: &CancellationToken,
) -> Result<bool, ImportError> {
    let defaults = Defaults {
        tenant: arguments
            .tenant
            .clone()
            .or(owner.clone().map(|owner| owner.tenant)),
        user: arguments.user.clone().or(owner.map(|owner| owner.user)),
        now: db.clock().now(),
        policies,
    };
    let unreadable = |cause| ImportError::Read {
        path: arguments.file.display().to_string(),
        cause,
    };
    let mut reader = Reader::begin(&arguments.file, defaults).map_err(unreadable)?;
    let template = reader.length.map_or(COUNTER, |_| BAR);
    let mut progress = Progress::new(reader.length, template);
    let mut done = Done::default();
    let is_finished = loop {
        let next = interrupt.run_until_cancelled(reader.batches.recv()).await;
        let Some(next) = next else { break false };
        let Some(batch) = next else { break true };
        let batch = batch.map_err(unreadable)?;
        let began = Instant::now();
        store(db, batch, arguments.dry_run, &progress, &mut done).await?;
        progress.update(done.bytes, || done.short_summary(), &done);
        if db.is_embedded() && !arguments.dry_run {
            sleep(began.elapsed() / PAUSE_DIVISOR).await;
        }
    };
    if is_finished {
        // The channel also closes if the thread panics, before the end of the file.
        let read = reader.thread.await;
        read.map_err(|died| Error::Internal(died.into()))?;
    }
    let reason = match (is_finished, arguments.dry_run) {
        (true, false) => "finished",
        (true, true) => "dry_run",
        (false, _) => "interrupted",
    };
    let would_be = if arguments.dry_run {
        "dry run, nothing stored; would be: "
    } else {
        ""
    };
    progress.finish(reason, &format!("{would_be}{}", done.summary()), &done);
    let Done {
        refused, diverged, ..
    } = done;
    match refused + diverged {
        lines if is_finished && lines > 0 => Err(ImportError::Lines { refused, diverged }),
        _ => Ok(is_finished),
    }
}

/// The reader thread and its batches.
struct Reader {
    batches: Receiver<io::Result<Batch>>,
    thread: JoinHandle<()>,
    /// The length in bytes; `None` for standard input and pipes.
    length: Option<u64>,
}

impl Reader {
    #[expect(clippy::disallowed_methods, reason = "a command's reader thread")]
    fn begin(path: &Path, defaults: Defaults) -> io::Result<Self> {
        let (sender, batches) = channel(1);
        let (thread, length) = if path == Path::new("-") {
            let thread = spawn_blocking(move || read(io::stdin(), &defaults, &sender));
            (thread, None)
        } else {
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            let length = metadata.is_file().then_some(metadata.len());
            let thread = spawn_blocking(move || read(file, &defaults, &sender));
            (thread, length)
        };
        Ok(Self {
            batches,
            thread,
            length,
        })
    }
}

/// Reads to the end of the file, or until the receiver is dropped.
fn read(source: impl Read, defaults: &Defaults, batches: &Sender<io::Result<Batch>>) {
    let mut lines = Lines::of(source, MAX_LINE_BYTES);
    loop {
        let batch = next_batch(&mut lines, defaults).transpose();
        let Some(batch) = batch else { return };
        let is_last = batch.is_err();
        if batches.blocking_send(batch).is_err() || is_last {
            return;
        }
    }
}

fn next_batch(lines: &mut Lines<impl Read>, defaults: &Defaults) -> io::Result<Option<Batch>> {
    let begin = lines.bytes;
    let mut batch = Batch::default();
    while batch.lines.len() < BATCH_LINES && lines.bytes - begin < BATCH_BYTES {
        let conversation = match lines.next()? {
            None if lines.bytes == begin => return Ok(None),
            None => break,
            Some(Line::Whole(line)) if line.trim_ascii().is_empty() => continue,
            Some(Line::Whole(line)) => defaults.conversation(&line),
            Some(Line::TooLong) => Err(format!("the line is longer than {MAX_LINE_BYTES} bytes")),
        };
        batch.lines.push((lines.number, conversation));
    }
    batch.bytes = lines.bytes - begin;
    Ok(Some(batch))
}

/// Stores a batch, counts the outcomes, and reports rejected lines.
async fn store(
    db: &Database,
    batch: Batch,
    is_dry: bool,
    progress: &Progress,
    done: &mut Done,
) -> Result<(), Error> {
    done.bytes += batch.bytes;
    let (mut numbers, mut conversations) = (Vec::new(), Vec::new());
    let mut errors = Vec::new();
    for (number, line) in batch.lines {
        done.lines += 1;
        match line {
            Ok(conversation) => {
                numbers.push(number);
                conversations.push(conversation);
            }
            Err(why) => {
                done.refused += 1;
                errors.push((number, why));
            }
        }
    }
    let stored = match is_dry {
        true => db.find_imported(&conversations).await,
        false => db.import(&conversations).await,
    };
    let outcomes = stored.inspect_err(Error::log)?;
    for ((number, conversation), outcome) in numbers.into_iter().zip(conversations).zip(outcomes) {
        if let Some(why) = done.count(&conversation, outcome) {
            errors.push((number, why.to_owned()));
        }
    }
    errors.sort_by_key(|(number, _)| *number);
    for (number, why) in errors {
        progress.print_error(&format!("line {number}: {why}"));
    }
    Ok(())
}

impl Done {
    /// Counts an outcome; returns the reason if the conversation is rejected.
    fn count(&mut self, conversation: &NewConversation, outcome: Imported) -> Option<&'static str> {
        match outcome {
            Imported::Added => {
                self.added += 1;
                self.messages += conversation.messages.len() as u64;
            }
            Imported::Continued { messages } => {
                self.continued += 1;
                self.messages += messages as u64;
            }
            Imported::Unchanged => self.unchanged += 1,
            Imported::Deleted => self.deleted += 1,
            Imported::Diverged => {
                self.diverged += 1;
                return Some("the stored conversation has other messages, and stays unchanged");
            }
            Imported::Foreign => {
                self.refused += 1;
                return Some("id belongs to another user's conversation");
            }
            Imported::MessageTaken => {
                self.refused += 1;
                return Some(
                    "a message's id belongs to another conversation; omit it to get a new one",
                );
            }
        }
        None
    }

    fn short_summary(&self) -> String {
        format!(
            "{} added, {} rejected",
            self.added,
            self.diverged + self.refused
        )
    }

    fn summary(&self) -> String {
        format!(
            "{} conversations added, {} continued, {} messages; {} unchanged, {} stay deleted, {} differ from the \
             stored ones, {} lines rejected",
            self.added,
            self.continued,
            self.messages,
            self.unchanged,
            self.deleted,
            self.diverged,
            self.refused
        )
    }
}
