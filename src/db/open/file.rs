//! What is known of a file before SQLite opens it for writing, which changes its journal mode.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    path::Path,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use migration::{foreign, run};
use sea_orm::{
    DatabaseConnection, DbErr, RuntimeErr,
    sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

use super::super::{LOCK_TIMEOUT, open_error::OpenError};

/// What an SQLite file begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// The byte that says how a file is written, and the value of the write-ahead log, which all of ours have.
const WRITE_VERSION: usize = 18;
const WAL: u8 = 2;

/// The pause between two tries to open a file that others open.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Refuses a file that is no SQLite database, or another program's. One that is not there, cannot be read or is
/// empty is for SQLite to judge.
pub(super) async fn check(path: &Path) -> Result<(), OpenError> {
    let mut header = [0; 32];
    let Some(read) = read(path, &mut header) else {
        return Ok(());
    };
    if read == 0 {
        return Ok(());
    }
    if header[..read.min(MAGIC.len())] != MAGIC[..read.min(MAGIC.len())] || read < header.len() {
        return Err(OpenError::of_other_format(path));
    }
    if header[WRITE_VERSION] == WAL {
        // Opening it changes nothing.
        return Ok(());
    }
    // A file that cannot be looked at is for the writer to judge, which says why.
    match other_program(path).boxed().await {
        Ok(Some(difference)) => Err(OpenError::of_foreign_file(path, &difference)),
        Ok(None) | Err(_) => Ok(()),
    }
}

/// Whether a file that is there may be written to. Only asked before SQLite opens it: the locks of POSIX belong to the
/// process, so closing the file once takes away those that SQLite holds. Another program then takes itself for the last
/// one to have the database open, and removes the write-ahead log that this one goes on writing to.
pub(super) fn look_for_write(path: &Path) -> io::Result<()> {
    match File::options().write(true).open(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn read(path: &Path, header: &mut [u8]) -> Option<usize> {
    let mut file = File::open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut read = 0;
    while read < header.len() {
        match file.read(&mut header[read..]).ok()? {
            0 => break,
            count => read += count,
        }
    }
    Some(read)
}

async fn other_program(path: &Path) -> Result<Option<String>, DbErr> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(LOCK_TIMEOUT);
    let pool = SqlitePoolOptions::new().max_connections(1);
    let pool = pool
        .connect_with(options)
        .await
        .map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(error.into())))?;
    let db = DatabaseConnection::from(pool);
    let found = async {
        let (_, difference) = foreign::look(&db).await?;
        Ok(difference)
    };
    let found = found.await;
    // It was read only.
    let _ = db.close().await;
    found
}

/// Opens a file that others may be about to open too. The change to the write-ahead log does not wait for locks.
pub(super) async fn retry_locked<T, F>(open: impl Fn() -> F) -> Result<T, DbErr>
where
    F: Future<Output = Result<T, DbErr>>,
{
    let began = Instant::now();
    loop {
        match open().await {
            Err(error) if run::is_locked(&error) && began.elapsed() < LOCK_TIMEOUT => {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            opened => return opened,
        }
    }
}
