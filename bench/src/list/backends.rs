//! The PostgreSQL processes of one database. Their time counts neither for the program nor for other programs.

use std::{fs, time::Duration};

use sqlx::{Connection, PgConnection};

use crate::{Result, usage};

const PIDS: &str = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()";

/// A connection that lists the backends; none for SQLite, which has no server.
pub struct Backends {
    connection: Option<PgConnection>,
}

impl Backends {
    pub async fn of(url: &str) -> Result<Self> {
        let connection = if url.starts_with("sqlite:") {
            None
        } else {
            Some(PgConnection::connect(url).await?)
        };
        Ok(Self { connection })
    }

    /// The processor time of the backends so far; zero if the server is on another machine.
    pub async fn cpu(&mut self) -> Result<Duration> {
        let Some(connection) = &mut self.connection else {
            return Ok(Duration::ZERO);
        };
        let pids: Vec<i32> = sqlx::query_scalar(PIDS).fetch_all(connection).await?;
        let here = pids.into_iter().filter_map(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            let pid = u32::try_from(pid).ok()?;
            // A backend that has just ended has no clock.
            name.starts_with("postgres")
                .then(|| usage::cpu(pid).ok())
                .flatten()
        });
        Ok(here.sum())
    }
}
