//! Checks of a file before SQLite opens it for writing, which changes its journal mode.

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

/// The first bytes of an SQLite file.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// The offset of the file format's write version, and its value in WAL mode, which all of our files use.
const WRITE_VERSION: usize = 18;
const WAL: u8 = 2;

/// The pause between two attempts to open a locked file.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Rejects a file that is not an SQLite database, or belongs to another program.
///
/// Accepts a missing, unreadable or empty file; SQLite reports the error for those.
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
        // Opening the file does not change its journal mode.
        return Ok(());
    }
    // If the file cannot be inspected, opening the writer reports the error.
    match other_program(path).boxed().await {
        Ok(Some(difference)) => Err(OpenError::of_foreign_file(path, &difference)),
        Ok(None) | Err(_) => Ok(()),
    }
}

/// Checks that an existing file is writable. Call it only before SQLite opens the file.
///
/// POSIX locks belong to the process: closing any descriptor of the file drops the locks that SQLite holds. Another
/// program would then assume that it has the last connection, and remove the write-ahead log that this process still
/// writes to.
pub(super) fn check_writable(path: &Path) -> io::Result<()> {
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
        let (_, difference) = foreign::inspect(&db).await?;
        Ok(difference)
    };
    let found = found.await;
    // The connection was read-only, so an error on close loses nothing.
    let _ = db.close().await;
    found
}

/// Opens a file, with retries while it is locked. SQLite's switch to WAL mode ignores the busy timeout.
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
