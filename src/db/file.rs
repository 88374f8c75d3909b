//! SQLite's file as the process opened it.
//!
//! A file that is removed or replaced under a running process goes on answering: the process holds the old one, which
//! is gone with its last connection. Device and inode tell the two apart.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Device and inode.
type Identity = (u64, u64);

/// The file and its write-ahead log.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    path: PathBuf,
    file: Option<Identity>,
    /// SQLite creates the log with the first write, and keeps it while there are connections.
    log: Mutex<Option<Identity>>,
}

impl DatabaseFile {
    /// A file that was opened just now.
    pub(super) fn opened(path: PathBuf) -> Self {
        Self {
            file: identity(&path),
            log: Mutex::new(identity(&log_of(&path))),
            path,
        }
    }

    /// Whether the path still leads to the file that was opened, and to its log. Asks the file system: off the async
    /// workers.
    pub(super) fn is_there(&self) -> bool {
        if self.file.is_some() && identity(&self.path) != self.file {
            return false;
        }
        let log = identity(&log_of(&self.path));
        let mut known = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        match *known {
            Some(_) => *known == log,
            None => {
                *known = log;
                true
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    let file = std::fs::metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

/// Elsewhere an open file can be neither removed nor replaced.
#[cfg(not(unix))]
fn identity(_: &Path) -> Option<Identity> {
    None
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
        assert!(!file.is_there());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
