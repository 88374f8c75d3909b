//! A program that serves on a database that is there, and what it has cost so far.

use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr},
};

use crate::{Result, usage};

/// A running program. Killed when it is dropped.
pub struct Process {
    pub address: SocketAddr,
    pub pid: u32,
    _child: Child,
    _log: Lines<BufReader<ChildStderr>>,
}

impl Process {
    /// Titlecast with the offline model.
    pub async fn titlecast(program: &Path, database_url: &str) -> Result<Self> {
        Self::start(titlecast(program, database_url)).await
    }

    /// A program that says ` address=…` on its standard error output once it listens.
    pub async fn start(command: std::process::Command) -> Result<Self> {
        let program = command.get_program().display().to_string();
        let mut child = tokio::process::Command::from(command)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        let (Some(pid), Some(log)) = (child.id(), child.stderr.take()) else {
            return Err("the program ended at once".into());
        };
        let mut lines = BufReader::new(log).lines();
        let mut said = String::new();
        loop {
            let Some(line) = lines.next_line().await? else {
                return Err(format!("{program} does not start:\n{said}").into());
            };
            let place = line
                .contains("listening")
                .then(|| line.split(" address=").nth(1))
                .flatten();
            if let Some(place) = place {
                let address = place.split(' ').next().unwrap_or(place).parse()?;
                // The programs say little once they serve, so nobody has to read on.
                return Ok(Self {
                    address,
                    pid,
                    _child: child,
                    _log: lines,
                });
            }
            said.push_str(&line);
            said.push('\n');
        }
    }

    /// How long it has kept a core busy.
    pub fn cpu(&self) -> Result<Duration> {
        usage::cpu(self.pid)
    }
}

/// How Titlecast is started with the offline model.
pub fn titlecast(program: &Path, database_url: &str) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    command
        .args(["serve", "--listen", "127.0.0.1:0"])
        .args(["--metrics-listen", "127.0.0.1:0"])
        .args(["--openai-base-url", "", "--openai-api-key", ""])
        .args(["--database-url", database_url]);
    command
}
