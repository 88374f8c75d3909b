//! What a run leaves on the machine: nothing, also when it is interrupted. Only who kills it with SIGKILL has to clean up.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::Result;

/// How often children are looked for that were started meanwhile.
const LOOKS: usize = 20;

/// A folder for what is measured; one at a time. Removed when it is dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn create() -> io::Result<Self> {
        let path = path();
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Whoever wrote there has ended, so what could fail is no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn path() -> PathBuf {
    std::env::temp_dir().join(format!("titlecast-bench-{}", std::process::id()))
}

/// From now on a signal that ends this program ends its servers too. The kernel tells who they are, so that no list of
/// them can be wrong.
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
        end_children();
        let _ = fs::remove_dir_all(path());
        // As shells tell of a program that a signal has ended.
        std::process::exit(128 + kind.as_raw_value());
    });
    Ok(())
}

fn end_children() {
    for _ in 0..LOOKS {
        let running = descendants(std::process::id());
        if running.is_empty() {
            return;
        }
        for pid in running {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        sleep(Duration::from_millis(10));
    }
}

/// The processes that this one has started, and those that they have, as far as they run.
fn descendants(of: u32) -> HashSet<i32> {
    let processes: Vec<(i32, i32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| parent(&entry.ok()?.path()))
        .collect();
    let mut found = HashSet::new();
    let mut parents: Vec<i32> = i32::try_from(of).into_iter().collect();
    while let Some(of) = parents.pop() {
        for &(pid, parent) in &processes {
            if parent == of && found.insert(pid) {
                parents.push(pid);
            }
        }
    }
    found
}

/// A process and its parent, unless it has ended and only its parent has not looked yet.
fn parent(folder: &Path) -> Option<(i32, i32)> {
    let pid = folder.file_name()?.to_str()?.parse().ok()?;
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    // The name is in brackets and may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (state != "Z").then_some((pid, parent))
}
