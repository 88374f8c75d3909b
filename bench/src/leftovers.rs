//! Cleans up after a run, even if it is interrupted. Only SIGKILL leaves something behind.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread::sleep,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, postgres::PgConnectOptions};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Mutex,
};

use crate::{Result, usage::descendants};

/// How many times to look for children that were started in the meantime.
const LOOKS: usize = 20;

/// The number of folders created so far.
static FOLDERS: AtomicUsize = AtomicUsize::new(0);

/// A folder for the files of a measurement. Removed on drop.
pub struct Folder(PathBuf);

impl Folder {
    pub fn create() -> io::Result<Self> {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let path = root().join(number.to_string());
        fs::create_dir_all(root())?;
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Failure is harmless, because the writing process has ended. Removing the root succeeds only for the last
        // folder.
        let _ = fs::remove_dir_all(&self.0);
        let _ = fs::remove_dir(root());
    }
}

/// The parent of all folders of this process.
fn root() -> PathBuf {
    std::env::temp_dir().join(format!("titlecast-bench-{}", std::process::id()))
}

/// Databases that exist, each with its server.
static DATABASES: Mutex<Vec<(PgConnectOptions, String)>> = Mutex::const_new(Vec::new());

/// Creates a database on this server.
pub async fn create_database(server: &PgConnectOptions, name: &str) -> Result<()> {
    // Held until the database exists, so that it is not missed by a concurrent removal.
    let mut databases = DATABASES.lock().await;
    let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
    server.connect().await?.execute(create).await?;
    databases.push((server.clone(), name.to_owned()));
    Ok(())
}

/// Removes all created databases, even if they have open connections.
pub async fn remove_databases() -> Result<()> {
    let mut databases = DATABASES.lock().await;
    while let Some((server, name)) = databases.last() {
        let drop = AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"));
        server.connect().await?.execute(drop).await?;
        databases.pop();
    }
    Ok(())
}

/// Locked once a signal has arrived.
static ENDING: Mutex<()> = Mutex::const_new(());

/// Waits forever if a signal is ending this program: measurements fail then, before everything is removed.
pub async fn wait_if_ending() {
    drop(ENDING.lock().await);
}

/// From this call on, a signal that ends this program also ends its servers. The kernel lists the processes, so the
/// list is always right.
pub fn clean_up_on_signals() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    #[expect(clippy::disallowed_methods, reason = "it ends with the program")]
    tokio::spawn(async move {
        let kind = tokio::select! {
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
            _ = hangup.recv() => SignalKind::hangup(),
        };
        let _ending = ENDING.lock().await;
        kill_descendants(std::process::id());
        if let Err(error) = remove_databases().await {
            eprintln!("titlecast-bench: a database is left: {error}");
        }
        // Kill processes that were started for a database in the meantime.
        kill_descendants(std::process::id());
        let _ = fs::remove_dir_all(root());
        // The shells' exit code for a program ended by a signal.
        std::process::exit(128 + kind.as_raw_value());
    });
    Ok(())
}

/// Kills all descendants of a process, including those that are started in the meantime.
pub fn kill_descendants(of: u32) {
    for _ in 0..LOOKS {
        let running = descendants(of);
        if running.is_empty() {
            return;
        }
        for pid in running
            .into_iter()
            .filter_map(|pid| i32::try_from(pid).ok())
        {
            // The process may have ended by itself.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        sleep(Duration::from_millis(10));
    }
}
