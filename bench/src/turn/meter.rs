//! How much of the machine others take while something is measured.

use std::time::{Duration, Instant};

use crate::{
    Result,
    machine::{busy, cpu_of},
    usage::cpu,
};

/// Runs from its start on.
pub struct Meter {
    pids: Vec<u32>,
    begun: Instant,
    busy: Duration,
    ours: Duration,
}

impl Meter {
    /// These processes are no others, and neither is PostgreSQL on this machine.
    pub fn start(pids: &[u32]) -> Result<Self> {
        Ok(Self {
            pids: pids.to_vec(),
            begun: Instant::now(),
            busy: busy()?,
            ours: ours(pids)?,
        })
    }

    /// The share of one core that others have taken so far.
    pub fn others(&self) -> Result<f64> {
        let ours = ours(&self.pids)?.saturating_sub(self.ours);
        let others = (busy()? - self.busy).saturating_sub(ours);
        Ok(others.as_secs_f64() / self.begun.elapsed().as_secs_f64())
    }
}

fn ours(pids: &[u32]) -> Result<Duration> {
    let mut all = cpu_of("postgres")?;
    for &pid in pids {
        all += cpu(pid)?;
    }
    Ok(all)
}
