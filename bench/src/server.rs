//! The server under measurement: a process of its own, on a database of its own.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::{Result, ServerArguments, leftovers::Folder, usage};

/// A running server. Killed, and its database removed, when it is dropped.
pub struct Server {
    pub address: SocketAddr,
    pid: u32,
    _child: Child,
    /// Dropped behind the one who writes there.
    _folder: Folder,
}

impl Server {
    /// With the offline model and an SQLite file.
    pub async fn start(arguments: &ServerArguments) -> Result<Self> {
        let folder = Folder::create()?;
        let file = folder.path().join("bench.db");
        let database = format!("sqlite://{}?mode=rwc", file.display());
        let mut child = Command::new(&arguments.titlecast)
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--metrics-listen",
                "127.0.0.1:0",
            ])
            .args(["--database-url", &database])
            .args(&arguments.settings)
            .env_remove("OPENAI_API_KEY")
            .env_remove("OPENAI_BASE_URL")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{}: {error}", arguments.titlecast.display()))?;
        let (pid, log) = (child.id(), child.stderr.take());
        let (Some(pid), Some(log)) = (pid, log) else {
            return Err("the server ended at once".into());
        };
        let mut lines = BufReader::new(log).lines();
        let mut said = String::new();
        let address = loop {
            let Some(line) = lines.next_line().await? else {
                return Err(format!("the server does not start:\n{said}").into());
            };
            let place = line
                .contains("listening")
                .then(|| line.split(" address=").nth(1));
            if let Some(Some(place)) = place {
                break place.split(' ').next().unwrap_or(place).parse()?;
            }
            said.push_str(&line);
            said.push('\n');
        };
        // Nobody reads the rest, but a full pipe would hold the server.
        #[expect(clippy::disallowed_methods, reason = "it ends with the server")]
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self {
            address,
            pid,
            _child: child,
            _folder: folder,
        })
    }

    /// The memory that it has now, in bytes.
    pub fn memory(&self) -> Result<u64> {
        usage::memory(self.pid)
    }

    /// The time that it has kept a core busy so far.
    pub fn cpu(&self) -> Result<Duration> {
        usage::cpu(self.pid)
    }
}
