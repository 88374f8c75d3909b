//! The baseline for the service: a separate process that only runs the statements of a first message in a loop.
//!
//! It has the service's structure. Several senders run concurrently; each continues once its message is accepted, while
//! the reply and the title are stored in separate transactions, as if the model had answered at once. It uses
//! connections like the service's: on SQLite one writer with WAL, `synchronous = FULL` and immediate transactions; on
//! PostgreSQL as many as the service. It does not test connections before or after use, and computes nothing, because
//! the rows are generated before the clock starts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{
    Row,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{CONNECTIONS, database::Kind, meter::Meter, on_one_thread, statements as sql, words};
use crate::{
    Result,
    seed::search_text::{capped, entry_of_marked, marked, owner_mark, words as words_of},
    usage::cpu,
};

/// The owner of all data on a server without authentication.
const OWNER: &str = "local";

const AGENT: &str = "triage";
const MODEL: &str = "gpt-6-luna";

/// The leases of a title and of a reply: the service's defaults.
const TITLE_LEASE: Duration = Duration::from_secs(30);
const REPLY_LEASE: Duration = Duration::from_secs(15);

#[derive(clap::Args)]
pub struct BareArguments {
    #[arg(long)]
    database_url: String,

    /// Messages to send before the measurement starts
    #[arg(long)]
    warm_up: u64,

    /// Messages to measure after those
    #[arg(long)]
    messages: u64,

    /// How many send at the same time
    #[arg(long)]
    at_once: usize,
}

/// The report on standard output.
#[derive(Serialize, Deserialize)]
pub struct Bare {
    pub elapsed: Duration,
    pub cpu: Duration,
    /// The share of one core that other programs used.
    pub others: f64,
}

/// Everything that is written for one message.
struct Rows {
    id: Uuid,
    message_id: Uuid,
    reply_id: Uuid,
    call_id: Uuid,
    token: Uuid,
    message: String,
    message_words: String,
    hint: String,
    hint_words: String,
    reply: String,
    reply_words: String,
    preview: String,
    title: String,
    title_words: String,
}

/// Runs the statements and reports their durations.
pub fn bare(arguments: &BareArguments) -> Result<()> {
    let bare = on_one_thread(measure(arguments))?;
    println!("{}", serde_json::to_string(&bare)?);
    Ok(())
}

async fn measure(arguments: &BareArguments) -> Result<Bare> {
    let mut random = fastrand::Rng::new();
    let last = arguments.warm_up + arguments.messages;
    let url = &arguments.database_url;
    let kind = match url.starts_with("sqlite:") {
        true => Kind::Sqlite,
        false => Kind::Postgres,
    };
    let mut rows: Vec<Rows> = (0..last)
        .map(|number| Rows::of(number, &mut random, kind))
        .collect();
    let measured = rows.split_off(arguments.warm_up as usize);
    if kind == Kind::Sqlite {
        let options: SqliteConnectOptions = url.parse()?;
        let options = options
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true);
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .test_before_acquire(false)
            .connect_with(options)
            .await?;
        sqlite::all(&pool, rows, arguments.at_once).await?;
        timed(sqlite::all(&pool, measured, arguments.at_once)).await
    } else {
        let options: PgConnectOptions = url.parse()?;
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .test_before_acquire(false)
            .connect_with(options)
            .await?;
        postgres::all(&pool, rows, arguments.at_once).await?;
        timed(postgres::all(&pool, measured, arguments.at_once)).await
    }
}

async fn timed(all: impl Future<Output = Result<()>>) -> Result<Bare> {
    let pid = std::process::id();
    let meter = Meter::start(&[pid])?;
    let (begun, before) = (Instant::now(), cpu(pid)?);
    all.await?;
    Ok(Bare {
        elapsed: begun.elapsed(),
        cpu: cpu(pid)? - before,
        others: meter.others()?,
    })
}

impl Rows {
    fn of(number: u64, random: &mut fastrand::Rng, kind: Kind) -> Self {
        let mark = owner_mark(OWNER, OWNER);
        let indexed = |text: &str| {
            let body = marked(&mark, &capped(&words_of(text)));
            match kind {
                Kind::Sqlite => body,
                Kind::Postgres => entry_of_marked(&body),
            }
        };
        let mut id = || {
            let mut chance = [0; 10];
            random.fill(&mut chance);
            let now = Utc::now().timestamp_millis() as u64;
            uuid::Builder::from_unix_timestamp_millis(now, &chance).into_uuid()
        };
        let (message, title) = (words::message(number), words::title(number));
        let reply = words::reply(number).concat();
        // As long as the service's own hint, which is derived more carefully.
        let hint: String = message.chars().take(50).collect();
        Self {
            id: id(),
            message_id: id(),
            reply_id: id(),
            call_id: id(),
            token: uuid::Builder::from_random_bytes(std::array::from_fn(|_| random.u8(..)))
                .into_uuid(),
            message_words: indexed(&message),
            hint_words: indexed(&hint),
            reply_words: indexed(&reply),
            title_words: indexed(&title),
            preview: reply.chars().take(120).collect(),
            message,
            hint,
            reply,
            title,
        }
    }
}

/// Defines the functions for one database. sqlx has separate types for each.
macro_rules! on {
    ($module:ident, $database:ty, $begin:literal, $counts:literal) => {
        mod $module {
            use super::*;

            type Pool = sqlx::Pool<$database>;

            /// Sends all messages, `at_once` concurrently, and waits until the last one has its reply and title.
            pub async fn all(pool: &Pool, rows: Vec<Rows>, at_once: usize) -> Result<()> {
                let (rows, next) = (Arc::new(rows), Arc::new(AtomicUsize::new(0)));
                let mut senders = JoinSet::new();
                for _ in 0..at_once {
                    senders.spawn(send(pool.clone(), rows.clone(), next.clone()));
                }
                while let Some(sent) = senders.join_next().await {
                    let mut stored = sent??;
                    while let Some(one) = stored.join_next().await {
                        one??;
                    }
                }
                Ok(())
            }

            /// Sends messages one after another. Returns the tasks that are still storing replies and titles.
            async fn send(
                pool: Pool,
                rows: Arc<Vec<Rows>>,
                next: Arc<AtomicUsize>,
            ) -> Result<JoinSet<Result<()>>> {
                let mut storing = JoinSet::new();
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(one) = rows.get(place) else {
                        return Ok(storing);
                    };
                    accept(&pool, one).await?;
                    let (reply, title) =
                        ((pool.clone(), rows.clone()), (pool.clone(), rows.clone()));
                    storing.spawn(async move { store_reply(&reply.0, &reply.1[place]).await });
                    storing.spawn(async move { store_title(&title.0, &title.1[place]).await });
                    while let Some(stored) = storing.try_join_next() {
                        stored??;
                    }
                }
            }

            async fn accept(pool: &Pool, rows: &Rows) -> Result<()> {
                let mut tx = pool.begin_with($begin).await?;
                let at = Utc::now();
                sqlx::query(sql::INSERT_CONVERSATION)
                    .bind(rows.id)
                    .bind(OWNER)
                    .bind(OWNER)
                    .bind(&rows.hint)
                    .bind(AGENT)
                    .bind(AGENT)
                    .bind("active")
                    .bind(1_i64)
                    .bind(&rows.message)
                    .bind(at)
                    .bind(at)
                    .bind(at)
                    .bind("hint")
                    .bind("pending")
                    .bind(1_i64)
                    .bind(rows.token)
                    .bind(at + TITLE_LEASE)
                    .bind(1_i32)
                    .bind(0_i64)
                    .fetch_one(&mut *tx)
                    .await?;
                sqlx::query(sql::INSERT_MESSAGE)
                    .bind(rows.message_id)
                    .bind(rows.id)
                    .bind(1_i64)
                    .bind("user")
                    .bind(&rows.message)
                    .bind("complete")
                    .bind(at)
                    .fetch_one(&mut *tx)
                    .await?;
                sqlx::query(sql::INSERT_TURN)
                    .bind(rows.message_id)
                    .bind(rows.id)
                    .bind(rows.reply_id)
                    .bind(OWNER)
                    .bind(OWNER)
                    .bind("running")
                    .bind(at)
                    .bind(Uuid::max())
                    .bind(at + REPLY_LEASE)
                    .bind(false)
                    .execute(&mut *tx)
                    .await?;
                sqlx::query(sql::INDEX_MESSAGE_AND_TITLE)
                    .bind(rows.id)
                    .bind(rows.message_id)
                    .bind(&rows.message_words)
                    .bind(rows.id)
                    .bind(None::<Uuid>)
                    .bind(&rows.hint_words)
                    .execute(&mut *tx)
                    .await?;
                Ok(tx.commit().await?)
            }

            async fn store_reply(pool: &Pool, rows: &Rows) -> Result<()> {
                let mut tx = pool.begin_with($begin).await?;
                let at = Utc::now();
                let conversation = sqlx::query(sql::COUNT_REPLY)
                    .bind(1_i64)
                    .bind(at)
                    .bind(1_i64)
                    .bind(&rows.preview)
                    .bind(at)
                    .bind(rows.id)
                    .bind(OWNER)
                    .bind(OWNER)
                    .bind("active")
                    .fetch_one(&mut *tx)
                    .await?;
                let ended = sqlx::query(sql::END_TURN)
                    .bind("completed")
                    .bind(rows.message_id)
                    .bind("running")
                    .execute(&mut *tx)
                    .await?;
                one(ended.rows_affected())?;
                sqlx::query(sql::INSERT_REPLY)
                    .bind(rows.reply_id)
                    .bind(rows.id)
                    .bind(conversation.try_get::<i64, _>("message_count")?)
                    .bind("assistant")
                    .bind(&rows.reply)
                    .bind("complete")
                    .bind(at)
                    .bind(rows.message_id)
                    .bind("completed")
                    .bind(MODEL)
                    .execute(&mut *tx)
                    .await?;
                sqlx::query(sql::INDEX_REPLY)
                    .bind(rows.id)
                    .bind(rows.reply_id)
                    .bind(&rows.reply_words)
                    .execute(&mut *tx)
                    .await?;
                sqlx::query(sql::INSERT_REPLY_CALL)
                    .bind(rows.reply_id)
                    .bind(OWNER)
                    .bind(rows.id)
                    .bind(AGENT)
                    .bind(MODEL)
                    .bind(20_i64)
                    .bind(40_i64)
                    .bind(0_i64)
                    .bind(at)
                    .execute(&mut *tx)
                    .await?;
                Ok(tx.commit().await?)
            }

            async fn store_title(pool: &Pool, rows: &Rows) -> Result<()> {
                let mut tx = pool.begin_with($begin).await?;
                let at: DateTime<Utc> = Utc::now();
                sqlx::query(sql::INSERT_TITLE_CALL)
                    .bind(rows.call_id)
                    .bind(OWNER)
                    .bind(rows.id)
                    .bind(MODEL)
                    .bind("title")
                    .bind(90_i64)
                    .bind(12_i64)
                    .bind(0_i64)
                    .bind(1_i64)
                    .bind(at)
                    .bind(AGENT)
                    .execute(&mut *tx)
                    .await?;
                sqlx::query(sql::STORE_TITLE)
                    .bind(1_i64)
                    .bind(at)
                    .bind(&rows.title)
                    .bind("generated")
                    .bind("ready")
                    .bind(at)
                    .bind(rows.id)
                    .bind(OWNER)
                    .bind(OWNER)
                    .bind("active")
                    .bind(rows.token)
                    .fetch_one(&mut *tx)
                    .await?;
                let indexed = sqlx::query(sql::INDEX_TITLE)
                    .bind(&rows.title_words)
                    .bind(rows.id)
                    .execute(&mut *tx)
                    .await?;
                if $counts {
                    one(indexed.rows_affected())?;
                }
                Ok(tx.commit().await?)
            }
        }
    };
}

// SQLite does not count rows that triggers change behind a view, such as the search's.
on!(sqlite, sqlx::Sqlite, "BEGIN IMMEDIATE", false);
on!(postgres, sqlx::Postgres, "BEGIN", true);

/// Fails unless one row changed: a statement that changes nothing costs less than it should.
fn one(rows: u64) -> Result<()> {
    match rows {
        1 => Ok(()),
        _ => Err(format!("a statement changed {rows} rows, not 1").into()),
    }
}
