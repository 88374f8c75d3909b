//! SQLite's file as the process opened it.
//!
//! A file that is removed or replaced under a running process goes on answering: the process holds the old one, which
//! is gone with its last connection. Device and inode tell the two apart.

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

/// How long a look at the file is waited for: a file system that hangs shows in statements, too.
const LOOK_TIME: Duration = Duration::from_millis(700);

/// How many looks may be under way: a file system that hangs keeps their threads.
const MOST_LOOKS: usize = 8;

/// Device and inode.
type Identity = (u64, u64);

/// The file and its write-ahead log.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    path: PathBuf,
    file: Option<Identity>,
    /// SQLite creates the log with the first write, and keeps it while there are connections.
    log: Mutex<Option<Identity>>,
    /// It was seen to be gone. That stays so: what was written meanwhile is in the other file.
    is_gone: AtomicBool,
    looks: AtomicUsize,
}

impl DatabaseFile {
    /// A file that was opened just now.
    pub(super) fn opened(path: PathBuf) -> Self {
        Self {
            file: identity(&path).ok().flatten(),
            log: Mutex::new(identity(&log_of(&path)).ok().flatten()),
            is_gone: AtomicBool::new(false),
            looks: AtomicUsize::new(0),
            path,
        }
    }

    /// Whether the path still leads to the file that was opened, and to its log. Asks the file system: off the async
    /// workers. A file system that does not say is asked again another time.
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

    /// Whether it was seen to be gone.
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }

    /// Looks whether it is gone, and logs it the first time.
    pub(super) async fn look(file: &Arc<Self>) -> bool {
        if file.looks.fetch_add(1, Ordering::Relaxed) >= MOST_LOOKS {
            file.looks.fetch_sub(1, Ordering::Relaxed);
            return file.is_gone();
        }
        let looking = Arc::clone(file);
        #[expect(
            clippy::disallowed_methods,
            reason = "it looks at a file, and does not compute"
        )]
        let look = tokio::task::spawn_blocking(move || {
            if !looking.is_there() && !looking.is_gone.swap(true, Ordering::Relaxed) {
                tracing::error!(
                    path = %looking.path.display(),
                    "SQLite's file or its write-ahead log was removed or replaced while it is open: writes are refused. \
                     Copy what the API still shows, put the file and its log back, and restart"
                );
            }
            looking.looks.fetch_sub(1, Ordering::Relaxed);
        });
        // What is not known in time is asked again.
        let _ = timeout(LOOK_TIME, look).await;
        file.is_gone()
    }
}

fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// What a path leads to, or nothing.
#[cfg(unix)]
fn identity(path: &Path) -> io::Result<Option<Identity>> {
    use std::os::unix::fs::MetadataExt;
    match std::fs::metadata(path) {
        Ok(file) => Ok(Some((file.dev(), file.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Elsewhere an open file can be neither removed nor replaced.
#[cfg(not(unix))]
fn identity(_: &Path) -> io::Result<Option<Identity>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_or_a_log_that_is_removed_or_replaced_is_noticed() {
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
            "what a path in a circle leads to is unknown"
        );
        std::fs::remove_file(&path).unwrap();
        assert!(!file.is_there());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
