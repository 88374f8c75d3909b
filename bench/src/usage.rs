//! What the kernel says of a process.

use std::{fs, time::Duration};

use nix::{
    time::{ClockId, clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

use crate::Result;

/// The memory that it has now, in bytes.
pub fn memory(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line
        .and_then(|line| line.split_whitespace().next())
        .ok_or("no VmRSS")?;
    Ok(kibibytes.parse::<u64>()? * 1024)
}

/// The time, user and system, that it has kept a core busy so far, with all threads that it ever had.
pub fn cpu(pid: u32) -> Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(pid)?))?;
    Ok(clock_gettime(clock)?.into())
}

/// The same with the processes that it has started, as the workers of a parent.
pub fn cpu_of_all(pid: u32) -> Result<Duration> {
    let children = children(pid)?;
    std::iter::once(pid).chain(children).map(cpu).sum()
}

/// The processes that it has started.
pub fn children(pid: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that has just ended has none.
        let own = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        for child in own.split_whitespace() {
            children.push(child.parse()?);
        }
    }
    Ok(children)
}

/// The time that this thread has kept a core busy.
pub fn own_cpu() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    #[test]
    fn what_a_process_has_started_is_counted() {
        let mut child = Command::new("sleep").arg("20").spawn().unwrap();
        let children = super::children(std::process::id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(children.contains(&child.id()), "{children:?}");
    }
}
