//! `titlecast export`: conversations as JSON lines on standard output.

use std::io::{self, Write};

use futures_util::StreamExt;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::{
    db::{Act, Database, ExportScope, MAX_LINE_BYTES, NO_TENANT, OPERATOR, caused},
    error::Error,
};

/// Why an export fails.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Write(#[source] io::Error),
    /// Some lines are longer than an import accepts. They are written anyway.
    #[error(
        "{0} line(s) are longer than {MAX_LINE_BYTES} bytes, so import does not read them; all others are whole"
    )]
    TooLong(u64),
    /// The database failed.
    #[error("{0}{cause}. The last line may be cut; export again", cause = caused(.0))]
    Failed(#[from] Error),
}

/// Prints all conversations of the scope. Returns whether it reached the end.
///
/// # Errors
/// [`ExportError`]. A closed pipe is an error too, because the export is incomplete.
pub async fn run(
    db: &Database,
    scope: ExportScope,
    interrupt: &CancellationToken,
) -> Result<bool, ExportError> {
    let tenant = scope.tenant.as_deref().unwrap_or(NO_TENANT);
    db.record_act_on(tenant, OPERATOR, Act::Exported, scope.user.as_deref())
        .await?;
    let lines = db.export(scope).await.inspect_err(Error::log)?;
    let mut lines = std::pin::pin!(lines);
    // The length of the current line so far. A piece with several lines ends with a line feed.
    let (mut length, mut too_long) = (0, 0);
    loop {
        let next = interrupt.run_until_cancelled(lines.next()).await;
        let Some(next) = next else { return Ok(false) };
        let Some(piece) = next else { break };
        let piece = piece.inspect_err(Error::log)?;
        length += piece.len();
        if piece.ends_with('\n') {
            too_long += u64::from(length > MAX_LINE_BYTES);
            length = 0;
        }
        print(piece).await.map_err(ExportError::Write)?;
    }
    match too_long {
        0 => Ok(true),
        lines => Err(ExportError::TooLong(lines)),
    }
}

/// Writes off the async workers: the pipe's reader may be slow, and the database connection must stay alive meanwhile.
#[expect(clippy::disallowed_methods, reason = "a command's output")]
async fn print(piece: String) -> io::Result<()> {
    let write = spawn_blocking(move || {
        let mut out = io::stdout().lock();
        out.write_all(piece.as_bytes())?;
        out.flush()
    });
    let died = |error| io::Error::other(error);
    write.await.map_err(died)?
}
