//! Measures the share of the machine that other programs use during a measurement.

use std::time::Duration;

use crate::{
    Result,
    machine::Watch,
    usage::{cpu, cpu_of},
};

/// Measures from its start.
pub struct Meter {
    pids: Vec<u32>,
    watch: Watch,
    ours: Duration,
}

impl Meter {
    /// Starts a meter. Neither these processes nor PostgreSQL on this machine count as others.
    pub fn start(pids: &[u32]) -> Result<Self> {
        Ok(Self {
            pids: pids.to_vec(),
            watch: Watch::start()?,
            ours: ours(pids)?,
        })
    }

    /// The share of one core that others have used so far.
    pub fn others(&self) -> Result<f64> {
        self.watch
            .others(ours(&self.pids)?.saturating_sub(self.ours))
    }
}

fn ours(pids: &[u32]) -> Result<Duration> {
    let mut all = cpu_of("postgres")?;
    for &pid in pids {
        all += cpu(pid)?;
    }
    Ok(all)
}
