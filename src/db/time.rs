//! The database's clock, by which everything that is stored goes.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ConnectionTrait, DbErr};
use tokio_util::sync::CancellationToken;

use super::Database;
use crate::{
    clock::{BootInstant, Clock},
    error::Result,
    supervisor::Heartbeat,
};

/// How often it is read. In between, machines drift by less than milliseconds.
const EVERY: Duration = Duration::from_secs(30);

/// How long a reading may take at all.
const READ_TIME: Duration = Duration::from_secs(20);

/// A reading that took longer says too little.
const SLOW: Duration = Duration::from_secs(1);

/// From how much on an operator should know.
const WRONG: TimeDelta = TimeDelta::seconds(2);

/// How often the clock is asked for one reading.
const READINGS: usize = 3;

impl Database {
    /// The clock that everything stored goes by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Reads a server's clock. An embedded database has none: its one machine's is right.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn read_clock(&self) -> Result<()> {
        Ok(self.set_clock().await?)
    }

    pub(super) async fn set_clock(&self) -> Result<(), DbErr> {
        if self.is_embedded() {
            return Ok(());
        }
        // The quickest answer is the nearest to the time at which it was asked for.
        let mut quickest = SLOW;
        for _ in 0..READINGS {
            let statement = self.statement("", "SELECT clock_timestamp() AS now", []);
            let asked = BootInstant::now();
            let row = self.reader.query_one_raw(statement).await?;
            let row = row.ok_or_else(|| DbErr::RecordNotFound("the time".into()))?;
            let shown = row.try_get("", "now")?;
            let took = asked.elapsed();
            if took < quickest {
                quickest = took;
                self.clock.set(shown, asked);
            }
        }
        Ok(())
    }

    /// Reads the clock now and then until `closing`, and warns when this machine's is wrong.
    pub async fn keep_time(&self, heartbeat: &Heartbeat, closing: &CancellationToken) {
        let mut is_known = false;
        loop {
            let is_wrong = self.clock.is_ahead_by().abs() > WRONG;
            if is_wrong && !is_known {
                tracing::warn!(
                    ahead_ms = self.clock.is_ahead_by().num_milliseconds(),
                    "this machine's clock is not the database's: tokens end by the one, all else goes by the other"
                );
            }
            is_known = is_wrong;
            tokio::select! {
                () = heartbeat.pause(EVERY) => {}
                () = closing.cancelled() => return,
            }
            if let Err(error) = heartbeat.iteration(READ_TIME, self.read_clock()).await {
                // It goes on as it went.
                tracing::debug!(
                    error.code = error.code().as_str(),
                    "the database's clock was not read"
                );
            }
        }
    }
}
