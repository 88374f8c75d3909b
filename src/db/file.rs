//! Detects that SQLite's file was removed or replaced while the process has it open.
//!
//! The process keeps reading and writing the old file, which disappears with its last connection. Device and inode
//! distinguish the old file from the one at the path.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::timeout;

/// The maximum wait for a check. Statements detect a hanging file system as well.
const CHECK_TIMEOUT: Duration = Duration::from_millis(700);

/// The maximum number of concurrent checks: each blocks a thread while a file system hangs.
const MAX_CHECKS: usize = 8;

/// Device and inode.
type Identity = (u64, u64);

/// The file and its write-ahead log.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    path: PathBuf,
    file: Option<Identity>,
    /// SQLite creates the log at the first write, and keeps it while there are connections.
    log: Mutex<Option<Identity>>,
    /// Never reset: if the path refers to the old file again, it lacks the writes made meanwhile.
    is_gone: AtomicBool,
    checks: AtomicUsize,
}

impl DatabaseFile {
    /// Records the identity of a file that was just opened.
    pub(super) fn opened(path: PathBuf) -> Self {
        Self {
            file: identity(&path).ok().flatten(),
            log: Mutex::new(identity(&log_of(&path)).ok().flatten()),
            is_gone: AtomicBool::new(false),
            checks: AtomicUsize::new(0),
            path,
        }
    }

    /// Whether the path still refers to the opened file and its log.
    ///
    /// Blocks on the file system. Returns true on an I/O error, and the next check tries again.
    pub(super) fn is_there(&self) -> bool {
        if self.file.is_some() && identity(&self.path).is_ok_and(|found| found != self.file) {
            return false;
        }
        let Ok(log) = identity(&log_of(&self.path)) else {
            return true;
        };
        let mut known = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        match *known {
            Some(_) => *known == log,
            None => {
                *known = log;
                true
            }
        }
    }

    /// Whether a check has found the file removed or replaced.
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }

    /// Checks whether the file was removed or replaced, right after a commit to it.
    ///
    /// Reads two inodes on the async worker, a few microseconds: the file system has just answered the commit, and a
    /// thread for it would cost as much as a statement.
    pub(super) fn is_gone_after_commit(&self) -> bool {
        self.check();
        self.is_gone()
    }

    /// Checks the path, and logs the first time that the file is gone.
    fn check(&self) {
        if !self.is_there() && !self.is_gone.swap(true, Ordering::Relaxed) {
            tracing::error!(
                path = %self.path.display(),
                "the SQLite file or its write-ahead log was removed or replaced while open; writes are refused. \
                 Export what the API still returns, put the file and its log back, and restart"
            );
        }
    }

    /// Checks whether the file was removed or replaced, and logs it the first time.
    pub(super) async fn check_is_gone(file: &Arc<Self>) -> bool {
        if file.checks.fetch_add(1, Ordering::Relaxed) >= MAX_CHECKS {
            file.checks.fetch_sub(1, Ordering::Relaxed);
            return file.is_gone();
        }
        let checked = Arc::clone(file);
        #[expect(
            clippy::disallowed_methods,
            reason = "file system access, which uses no processor time"
        )]
        let check = tokio::task::spawn_blocking(move || {
            checked.check();
            checked.checks.fetch_sub(1, Ordering::Relaxed);
        });
        // After a timeout, the next check tries again.
        let _ = timeout(CHECK_TIMEOUT, check).await;
        file.is_gone()
    }
}

/// Whether the file has a write-ahead log with content: it is in use, or its last process was killed.
pub(super) fn has_log(path: &Path) -> bool {
    std::fs::metadata(log_of(path)).is_ok_and(|log| log.len() > 0)
}

fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Device and inode of the file at a path; `None` if it does not exist.
#[cfg(unix)]
fn identity(path: &Path) -> io::Result<Option<Identity>> {
    use std::os::unix::fs::MetadataExt;
    match std::fs::metadata(path) {
        Ok(file) => Ok(Some((file.dev(), file.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Non-Unix systems do not allow an open file to be removed or replaced.
#[cfg(not(unix))]
fn identity(_: &Path) -> io::Result<Option<Identity>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_or_a_log_that_is_removed_or_replaced_is_detected() {
        let folder = std::env::temp_dir().join(format!("titlecast-file-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("a.db");
        let open = || {
            std::fs::write(&path, "").unwrap();
            DatabaseFile::opened(path.clone())
        };
        let file = open();
        assert!(file.is_there());
        std::fs::write(folder.join("a.db-wal"), "").unwrap();
        assert!(file.is_there(), "the log came with the first write");
        std::fs::remove_file(folder.join("a.db-wal")).unwrap();
        assert!(!file.is_there(), "the log is gone");

        let file = open();
        std::fs::write(folder.join("b.db"), "").unwrap();
        std::fs::rename(folder.join("b.db"), &path).unwrap();
        assert!(!file.is_there(), "another file has the name");

        let file = open();
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&path, &path).unwrap();
        assert!(
            file.is_there(),
            "a symlink loop is an I/O error, not a removed file"
        );
        std::fs::remove_file(&path).unwrap();
        assert!(!file.is_there());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
