//! Retries a reply's reads while the database is unreachable, so that a reply that has not begun survives a failover,
//! like one that is being written.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    db::Fault,
    error::{Error, Result},
};

/// How long a reply waits for the database.
pub(super) const READ_DEADLINE: Duration = Duration::from_secs(60);

const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Runs a read, and retries it until `deadline` while the database is unreachable.
///
/// # Errors
/// The error of the last attempt.
pub(super) async fn patiently<T, F>(deadline: Duration, read: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let give_up = Instant::now() + deadline;
    let mut pause = FIRST_PAUSE;
    loop {
        match read().await {
            Err(error) if is_passing(&error) && Instant::now() + pause < give_up => {
                tracing::warn!(
                    error.cause = %error.code().as_str(),
                    "cannot read for a reply yet; retrying"
                );
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
            result => return result,
        }
    }
}

fn is_passing(error: &Error) -> bool {
    Fault::of_error(error) == Some(Fault::Transient)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use sea_orm::{DbErr, RuntimeErr};

    use super::*;

    fn unreachable() -> Error {
        Error::Database(DbErr::Conn(RuntimeErr::Internal("gone".into())).into())
    }

    #[tokio::test]
    async fn a_read_waits_for_the_database_and_not_for_ever() {
        let reads = AtomicU32::new(0);
        let read = patiently(READ_DEADLINE, || async {
            match reads.fetch_add(1, Ordering::Relaxed) {
                0..2 => Err(unreachable()),
                _ => Ok("there"),
            }
        });
        assert_eq!(read.await.unwrap(), "there");

        let reads = AtomicU32::new(0);
        let never = patiently(2 * FIRST_PAUSE, || async {
            reads.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(unreachable())
        });
        assert!(matches!(never.await, Err(Error::Database(_))));
        assert_eq!(reads.load(Ordering::Relaxed), 2);

        let reads = AtomicU32::new(0);
        let refused = patiently(READ_DEADLINE, || async {
            reads.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(Error::InvalidJson)
        });
        assert!(matches!(refused.await, Err(Error::InvalidJson)));
        assert_eq!(reads.load(Ordering::Relaxed), 1);
    }
}
