//! Another program, such as a backup or a shell, opens the server's SQLite file and closes it. If the server holds no
//! lock on the file, that program assumes that it has the last connection, and removes the write-ahead log, to which
//! the server keeps writing. All later writes are lost when the server is killed.

use std::{fs, os::unix::fs::MetadataExt};

use titlecast_testing::{ModelServer, Node, TestDatabase, eventually};

/// Whether any process holds a lock on a file.
fn is_locked(path: &str) -> bool {
    let inode = format!(":{} ", fs::metadata(path).unwrap().ino());
    let locks = fs::read_to_string("/proc/locks").unwrap();
    locks.lines().any(|lock| lock.contains(&inode))
}

#[tokio::test]
async fn a_server_holds_the_lock_that_keeps_others_from_removing_its_log() {
    if TestDatabase::is_on_server() {
        return;
    }
    let database = TestDatabase::new().await;
    let model = ModelServer::start().await;
    let path = database.url.strip_prefix("sqlite://").unwrap();
    let path = path.split('?').next().unwrap();
    // The database is migrated already, so the file exists at each start.
    for _ in 0..2 {
        let node = Node::of(Node::command(&database.url, &model.url, &[])).await;
        eventually(async || is_locked(path).then_some(())).await;
        node.stop().await;
        assert!(!is_locked(path));
    }
}
