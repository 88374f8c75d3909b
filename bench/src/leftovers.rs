//! Cleans up after a run, also after an interruption. Only SIGKILL leaves something behind.

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

/// The interval of the search for children that were started in the meantime.
const LOOKS: usize = 20;

/// How many folders there were.
static FOLDERS: AtomicUsize = AtomicUsize::new(0);

/// A folder for what is measured. Removed when it is dropped.
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
        // The writing process has ended, so a failure is harmless. Only the last removal also removes the root.
        let _ = fs::remove_dir_all(&self.0);
        let _ = fs::remove_dir(root());
    }
}

/// Where all folders of this process are.
fn root() -> PathBuf {
    std::env::temp_dir().join(format!("titlecast-bench-{}", std::process::id()))
}

/// Databases that were made and are still there, each with where its server is.
static DATABASES: Mutex<Vec<(PgConnectOptions, String)>> = Mutex::const_new(Vec::new());

/// Makes a database beside the one that is named.
pub async fn create_database(server: &PgConnectOptions, name: &str) -> Result<()> {
    // Held until it exists, so that no other process removes it earlier.
    let mut databases = DATABASES.lock().await;
    let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
    server.connect().await?.execute(create).await?;
    databases.push((server.clone(), name.to_owned()));
    Ok(())
}

/// Removes all that were made, even with open connections.
pub async fn remove_databases() -> Result<()> {
    let mut databases = DATABASES.lock().await;
    while let Some((server, name)) = databases.last() {
        let drop = AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"));
        server.connect().await?.execute(drop).await?;
        databases.pop();
    }
    Ok(())
}

/// Held from a signal on.
static ENDING: Mutex<()> = Mutex::const_new(());

/// Continues unless a signal is ending this program: measurements then fail before everything is removed.
pub async fn wait_if_ending() {
    drop(ENDING.lock().await);
}

/// From now on, a signal that ends this program ends its servers too. The kernel lists them, so no list of ours can be
/// wrong.
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
        // What was started for a database meanwhile.
        kill_descendants(std::process::id());
        let _ = fs::remove_dir_all(root());
        // The exit code of shells for a program that was ended by a signal.
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
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        sleep(Duration::from_millis(10));
    }
}
