//! Fills a database with conversations as the service would have written them, in minutes instead of hours. The same
//! seed produces the same conversations.
//!
//! A tenth belongs to the local user, whom a server without settings serves; the rest belongs to other users, a hundred
//! each. Word frequencies are like those of a language: the most common word is in most messages, most words are in
//! few.

mod rows;
mod sink;
pub mod text;

#[path = "../../../migration/src/search_text.rs"]
#[expect(
    dead_code,
    reason = "the service reads entries, the bench only writes them"
)]
pub mod search_text;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use self::{rows::Maker, sink::Sink};
use crate::Result;

/// Conversations that are generated and written together.
const BATCH: u64 = 1_000;

#[derive(clap::Args)]
pub struct Arguments {
    /// The database to fill; its tables must be empty
    #[arg(long, value_name = "URL")]
    database_url: String,

    /// How many conversations
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    conversations: u64,

    /// How many messages, all of them together; each conversation gets at least one
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    messages: u64,

    /// Seed of all random values
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// The program that makes the tables
    #[arg(long, value_name = "PATH", default_value = "target/release/titlecast")]
    titlecast: PathBuf,
}

/// Creates the tables and fills them.
pub async fn run(arguments: Arguments) -> Result<()> {
    let Arguments {
        database_url,
        conversations,
        messages,
        seed,
        titlecast,
    } = arguments;
    migrate(&titlecast, &database_url)?;
    let begun = Instant::now();
    fill(&database_url, conversations, messages, seed).await?;
    println!("{conversations} conversations in {:.0?}", begun.elapsed());
    Ok(())
}

/// Fills existing empty tables.
pub async fn fill(database_url: &str, conversations: u64, messages: u64, seed: u64) -> Result<()> {
    let begun = Instant::now();
    let mut sink = Sink::open(database_url).await?;
    let mut maker = Maker::new(seed, conversations, messages.max(conversations));
    let mut done = 0;
    while done < conversations {
        let count = BATCH.min(conversations - done);
        sink.write(&maker.batch(count)).await?;
        done += count;
        if done % 50_000 == 0 {
            eprintln!("{done} of {conversations} after {:.0?}", begun.elapsed());
        }
    }
    sink.finish().await
}

/// Creates the tables.
pub fn migrate(titlecast: &Path, database_url: &str) -> Result<()> {
    let migrated = Command::new(titlecast)
        .args(["migrate", "up", "--database-url", database_url])
        .output()
        .map_err(|error| format!("{}: {error}", titlecast.display()))?;
    match migrated.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&migrated.stderr);
            Err(format!("the tables could not be made:\n{said}").into())
        }
    }
}
