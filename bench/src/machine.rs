//! The machine that both sides share: its cores, the load from other programs, and the limit of open files.

use std::{
    fs,
    time::{Duration, Instant},
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

use crate::{Result, usage::TICK};

const THIS_THREAD: Pid = Pid::from_raw(0);

/// Open files other than the measured sockets.
const OTHER_FILES: usize = 200;

/// One core for the server and another for the load, so that neither takes time from the other.
#[derive(Clone, Copy)]
pub struct Cores {
    server: usize,
    client: usize,
}

impl Cores {
    /// Chooses the first and the last core that this program may use.
    pub fn find() -> Result<Self> {
        let allowed = sched_getaffinity(THIS_THREAD)?;
        let mut cores = (0..CpuSet::count()).filter(|&core| allowed.is_set(core) == Ok(true));
        match (cores.next(), cores.next_back()) {
            (Some(server), Some(client)) => Ok(Self { server, client }),
            _ => Err("one core is not enough: server and load would share it".into()),
        }
    }

    /// Starts a process pinned to the server's core, then pins this thread to the load's core again.
    pub fn start<T>(self, start: impl FnOnce() -> T) -> Result<T> {
        pin(self.server)?;
        let started = start();
        self.be_client()?;
        Ok(started)
    }

    /// Runs a whole load on its core, in a separate thread. For callers that are already in a runtime.
    pub fn load<T: Send>(self, run: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let on_its_core = || {
            self.be_client()?;
            run()
        };
        std::thread::scope(|scope| scope.spawn(on_its_core).join())
            .map_err(|_| "measuring has panicked")?
    }

    /// Pins this thread to the load's core.
    pub fn be_client(self) -> Result<()> {
        pin(self.client)
    }
}

fn pin(core: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(core)?;
    Ok(sched_setaffinity(THIS_THREAD, &only)?)
}

/// A run is invalid if other programs use more than this share of a core.
const BUSY: f64 = 0.10;

/// The load was the limit if it used more than this share of its core.
const LIMIT: f64 = 0.90;

/// The figures that show whether a run is valid.
pub trait Measured {
    /// The share of one core that other programs used.
    fn others(&self) -> f64;

    /// The share of its core that the load used.
    fn load(&self) -> f64;

    /// Whether other programs used so much that the results are not reliable.
    fn busy(&self) -> bool {
        self.others() > BUSY
    }

    /// Whether the load used so much of its core that it limited the times. The costs remain valid.
    fn load_was_the_limit(&self) -> bool {
        self.load() > LIMIT
    }
}

/// Remarks on these runs, for the end of their table row.
pub fn notes<T: Measured>(runs: &[&T]) -> String {
    let busy = runs.iter().filter(|run| run.busy()).count();
    let limited = runs.iter().filter(|run| run.load_was_the_limit()).count();
    note(busy, "in a busy machine") + &note(limited, "limited by the load")
}

fn note(count: usize, what: &str) -> String {
    if count == 0 {
        String::new()
    } else {
        format!("  [{count} {what}]")
    }
}

/// Repeats a run as long as other programs keep the machine busy. Returns the quietest run.
pub fn quietly<T: Measured>(repeats: usize, mut measure: impl FnMut() -> Result<T>) -> Result<T> {
    let mut best = measure()?;
    for _ in 0..repeats {
        if !best.busy() {
            break;
        }
        let again = measure()?;
        if again.others() < best.others() {
            best = again;
        }
    }
    Ok(best)
}

/// Measures the load from other programs during a measurement.
pub struct Watch {
    busy: Duration,
    begun: Instant,
}

impl Watch {
    pub fn start() -> Result<Self> {
        Ok(Self {
            busy: busy()?,
            begun: Instant::now(),
        })
    }

    /// The share of one core that other programs have used. `ours` is the time of the measured processes and the load.
    pub fn others(&self, ours: Duration) -> Result<f64> {
        let others = (busy()? - self.busy).saturating_sub(ours);
        Ok(others.as_secs_f64() / self.begun.elapsed().as_secs_f64())
    }
}

/// How long all cores have been busy so far, including the time for other guests of the host.
fn busy() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let all = stat.lines().next().ok_or("no cpu in /proc/stat")?;
    let fields: Vec<u32> = all
        .split_whitespace()
        .skip(1)
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()?;
    // user nice system idle iowait irq softirq steal; the fields after them are included in user and nice.
    let busy = [0, 1, 2, 5, 6, 7].iter().map(|&field| fields[field]).sum();
    Ok(TICK * busy)
}

/// The details needed to compare figures with those from another machine.
#[derive(Serialize, Deserialize)]
pub struct Description {
    processor: String,
    cores: usize,
    kernel: String,
}

impl Description {
    pub fn read() -> Result<Self> {
        let cpus = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpus.lines().find(|line| line.starts_with("model name"));
        let name = model.and_then(|line| line.split_once(": "));
        Ok(Self {
            processor: name.map_or("unknown", |(_, name)| name).to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
        })
    }
}

/// Fails if the limit of open files is too low. Both sides need a socket for each subscriber.
pub fn check_open_files(subscribers: usize) -> Result<()> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let most = line
        .and_then(|line| line.split_whitespace().next())
        .unwrap_or("unlimited");
    let needed = subscribers + OTHER_FILES;
    match most.parse::<usize>() {
        Ok(most) if most < needed => Err(format!(
            "{most} files may be open and {needed} are needed: run `ulimit -n {needed}` before"
        )
        .into()),
        _ => Ok(()),
    }
}
