//! The database's clock, which is the time of all stored timestamps.

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

/// The interval between readings. In between, machines drift by less than a millisecond.
const READ_INTERVAL: Duration = Duration::from_secs(30);

/// The deadline of one reading.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// The maximum round trip of a sample. A slower one is too inaccurate.
const MAX_ROUND_TRIP: Duration = Duration::from_secs(1);

/// The clock skew above which a warning is logged.
const WARN_SKEW: TimeDelta = TimeDelta::seconds(2);

/// The number of samples per reading.
const SAMPLES: usize = 3;

impl Database {
    /// The clock of all stored timestamps.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Reads a server's clock. An embedded database uses the local clock.
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
        // The sample with the shortest round trip is the most accurate one.
        let mut quickest = MAX_ROUND_TRIP;
        for _ in 0..SAMPLES {
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

    /// Reads the clock periodically until `closing`, and warns if the local clock differs from it.
    pub async fn keep_time(&self, heartbeat: &Heartbeat, closing: &CancellationToken) {
        let mut was_logged = false;
        loop {
            let is_skewed = self.clock.is_ahead_by().abs() > WARN_SKEW;
            if is_skewed && !was_logged {
                tracing::warn!(
                    ahead_ms = self.clock.is_ahead_by().num_milliseconds(),
                    "the local clock differs from the database's clock; tokens expire by the local clock, all other times use the database's"
                );
            }
            was_logged = is_skewed;
            tokio::select! {
                () = heartbeat.pause(READ_INTERVAL) => {}
                () = closing.cancelled() => return,
            }
            if let Err(error) = heartbeat.iteration(READ_TIMEOUT, self.read_clock()).await {
                // The clock continues from the previous reading.
                tracing::debug!(
                    error.code = error.code().as_str(),
                    "cannot read the database's clock; using the previous reading"
                );
            }
        }
    }
}
