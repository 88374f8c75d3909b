//! The kernel's figures about a process.

use std::{collections::HashSet, fs, path::Path, time::Duration};

use nix::{
    time::{ClockId, clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

use crate::Result;

/// The unit of times in /proc, on all current Linux systems.
pub const TICK: Duration = Duration::from_millis(10);

/// The current memory of a process, in bytes.
pub fn memory(pid: u32) -> Result<u64> {
    status(pid, "VmRSS:")
}

/// The peak memory of a process, in bytes.
pub fn peak_memory(pid: u32) -> Result<u64> {
    status(pid, "VmHWM:")
}

fn status(pid: u32, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = line
        .and_then(|line| line.split_whitespace().next())
        .ok_or_else(|| format!("no {name}"))?;
    Ok(kibibytes.parse::<u64>()? * 1024)
}

/// The processor time of a process so far, user and system, including threads that have ended.
pub fn cpu(pid: u32) -> Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(pid)?))?;
    Ok(clock_gettime(clock)?.into())
}

/// The same, including its descendants, such as the workers of a parent process.
pub fn cpu_of_all(pid: u32) -> Result<Duration> {
    let workers = descendants(pid).into_iter();
    std::iter::once(pid).chain(workers).map(cpu).sum()
}

/// The same for all running processes with this name.
pub fn cpu_of(name: &str) -> Result<Duration> {
    let mut ticks = 0;
    for process in fs::read_dir("/proc")? {
        // Other processes come and go in the meantime.
        let Ok(stat) = fs::read_to_string(process?.path().join("stat")) else {
            continue;
        };
        let Some((head, fields)) = stat.rsplit_once(") ") else {
            continue;
        };
        if head.split_once('(').is_some_and(|(_, of)| of == name) {
            // utime and stime, which are fields 14 and 15; the name is field 2.
            for field in fields.split(' ').skip(11).take(2) {
                ticks += field.parse::<u32>()?;
            }
        }
    }
    Ok(TICK * ticks)
}

/// The running descendants of a process.
pub fn descendants(of: u32) -> HashSet<u32> {
    let processes: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| parent(&entry.ok()?.path()))
        .collect();
    let (mut found, mut parents) = (HashSet::new(), vec![of]);
    while let Some(of) = parents.pop() {
        for &(pid, parent) in &processes {
            if parent == of && found.insert(pid) {
                parents.push(pid);
            }
        }
    }
    found
}

/// A process and its parent; `None` for a zombie, which has ended but has not been waited for.
fn parent(folder: &Path) -> Option<(u32, u32)> {
    let pid = folder.file_name()?.to_str()?.parse().ok()?;
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    // The name is in parentheses and can contain anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (state != "Z").then_some((pid, parent))
}

/// The processor time of the current thread.
pub fn own_cpu() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    #[test]
    fn what_a_process_has_started_is_counted() {
        let mut child = Command::new("sleep").arg("20").spawn().unwrap();
        let started = super::descendants(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(started.contains(&child.id()), "{started:?}");
    }
}
