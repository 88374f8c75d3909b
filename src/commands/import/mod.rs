//! `titlecast import`: conversations of another system, a JSON object a line.
//!
//! One thread reads and checks lines, in batches; each batch is stored in one transaction while the next is read. So
//! memory holds two batches, however long the file is. Nothing is remembered of a run: the next one finds what is
//! stored already by its ids.

mod line;
mod lines;

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    task::{JoinHandle, spawn_blocking},
};
use tokio_util::sync::CancellationToken;

use self::{
    line::Defaults,
    lines::{Line, Lines, MAX_LINE_BYTES},
};
use super::progress::Progress;
use crate::{
    config::ImportArguments,
    conversation::Owner,
    db::{Database, Imported, NewConversation},
    error::Error,
};

/// A batch ends with so many lines: other writers to an SQLite file wait for one transaction.
const BATCH_LINES: usize = 100;

/// A batch ends behind so many bytes.
const BATCH_BYTES: u64 = 1024 * 1024;

const BAR: &str = "{bar:40} {bytes}/{total_bytes}, {eta} left, {msg}";
/// Nobody knows how long standard input is.
const COUNTER: &str = "{spinner} {bytes}, {msg}";

/// Why an import fails, as a whole or in part.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("cannot read {path}: {cause}")]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// The database failed.
    #[error("{0}. What was stored is stored; run it again to go on")]
    Failed(#[from] Error),
    /// Some lines cannot be used. They were named; all others were stored, or would be.
    #[error("{0} line(s) cannot be used; each is named above")]
    Lines(u64),
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
struct Done {
    /// Bytes that were read.
    bytes: u64,
    /// Lines that were read, empty ones not counted.
    lines: u64,
    /// Conversations that are new.
    added: u64,
    /// Conversations that were there, and messages were added to them.
    continued: u64,
    /// Messages that are new.
    messages: u64,
    /// Conversations that were there with all their messages.
    unchanged: u64,
    /// Conversations that were there and were deleted.
    deleted: u64,
    /// Conversations that are there with other messages.
    diverged: u64,
    /// Lines that cannot be used.
    refused: u64,
}

/// A line that is no empty one, its number, and what it holds.
type Numbered = (u64, Result<NewConversation, String>);

/// Lines that are stored together.
#[derive(Default)]
struct Batch {
    lines: Vec<Numbered>,
    /// How many bytes were read with it.
    bytes: u64,
}

/// Takes all conversations of a file over; with `dry_run` only looks what would become of each. Conversations that name
/// nobody are `owner`'s, unless the arguments say whose. Returns whether it came to the end.
///
/// # Errors
/// [`ImportError`].
pub async fn run(
    db: &Database,
    arguments: &ImportArguments,
    owner: Option<Owner>,
    interrupt: &CancellationToken,
) -> Result<bool, ImportError> {
    let defaults = Defaults {
        tenant: arguments
            .tenant
            .clone()
            .or(owner.clone().map(|owner| owner.tenant)),
        user: arguments.user.clone().or(owner.map(|owner| owner.user)),
        now: db.clock().now(),
    };
    let unreadable = |cause| ImportError::Read {
        path: arguments.file.display().to_string(),
        cause,
    };
    let mut reading = Reading::begin(&arguments.file, defaults).map_err(unreadable)?;
    let template = reading.length.map_or(COUNTER, |_| BAR);
    let mut progress = Progress::new(reading.length, template);
    let mut done = Done::default();
    let is_finished = loop {
        let next = interrupt.run_until_cancelled(reading.batches.recv()).await;
        let Some(next) = next else { break false };
        let Some(batch) = next else { break true };
        let batch = batch.map_err(unreadable)?;
        store(db, batch, arguments.dry_run, &progress, &mut done).await?;
        progress.at(done.bytes, || done.in_short(), &done);
    };
    if is_finished {
        // A thread that died has read no end.
        let read = reading.thread.await;
        read.map_err(|died| Error::Internal(died.into()))?;
    }
    let reason = match (is_finished, arguments.dry_run) {
        (true, false) => "finished",
        (true, true) => "dry_run",
        (false, _) => "interrupted",
    };
    let would_be = if arguments.dry_run {
        "nothing was stored; it would be "
    } else {
        ""
    };
    progress.end(reason, &format!("{would_be}{}", done.in_words()), &done);
    match done.diverged + done.refused {
        lines if is_finished && lines > 0 => Err(ImportError::Lines(lines)),
        _ => Ok(is_finished),
    }
}

/// A thread that reads, and what it has read.
struct Reading {
    batches: Receiver<io::Result<Batch>>,
    thread: JoinHandle<()>,
    /// The bytes of a file that has a length.
    length: Option<u64>,
}

impl Reading {
    #[expect(
        clippy::disallowed_methods,
        reason = "the thread that reads the file, of a command"
    )]
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

/// Reads until the end, or until nobody wants more.
fn read(source: impl Read, defaults: &Defaults, batches: &Sender<io::Result<Batch>>) {
    let mut lines = Lines::of(source);
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
            Some(Line::TooLong) => Err(format!("longer than {MAX_LINE_BYTES} bytes")),
        };
        batch.lines.push((lines.number, conversation));
    }
    batch.bytes = lines.bytes - begin;
    Ok(Some(batch))
}

/// Stores a batch, counts what became of it, and says which lines cannot be used.
async fn store(
    db: &Database,
    batch: Batch,
    is_dry: bool,
    progress: &Progress,
    done: &mut Done,
) -> Result<(), Error> {
    done.bytes += batch.bytes;
    let (mut numbers, mut conversations) = (Vec::new(), Vec::new());
    let mut complaints = Vec::new();
    for (number, line) in batch.lines {
        done.lines += 1;
        match line {
            Ok(conversation) => {
                numbers.push(number);
                conversations.push(conversation);
            }
            Err(why) => {
                done.refused += 1;
                complaints.push((number, why));
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
            complaints.push((number, why.to_owned()));
        }
    }
    complaints.sort_by_key(|(number, _)| *number);
    for (number, why) in complaints {
        progress.complain(&format!("line {number}: {why}"));
    }
    Ok(())
}

impl Done {
    /// Counts what became of a conversation, and says why it cannot be used, if it cannot.
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
                return Some("the conversation is here with other messages, and stays as it is");
            }
            Imported::Foreign => {
                self.refused += 1;
                return Some("id is that of somebody else's conversation");
            }
            Imported::MessageTaken => {
                self.refused += 1;
                return Some(
                    "the id of a message is that of one in another conversation; leave it out",
                );
            }
        }
        None
    }

    fn in_short(&self) -> String {
        format!(
            "{} added, {} cannot be used",
            self.added,
            self.diverged + self.refused
        )
    }

    fn in_words(&self) -> String {
        format!(
            "{} conversations added, {} continued, {} messages; {} were there, {} deleted ones stay deleted, \
             {} have other messages here, {} lines refused",
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
