//! A contestant that runs.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use super::contestant::Contestant;
use crate::{Result, leftovers::Folder, machine::Cores};

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// A contestant's process. Killed, and its folder removed, when it is dropped.
pub struct Running {
    pub address: SocketAddr,
    pub pid: u32,
    child: Child,
    folder: Folder,
}

impl Running {
    /// Starts it on the server's core, and waits until it listens.
    pub fn start(contestant: &Contestant, titlecast: &Path, cores: Cores) -> Result<Self> {
        let folder = Folder::create()?;
        // Free now, and nobody is given it again so soon.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let log = File::create(folder.path().join("log"))?;
        let mut command = (contestant.command)(titlecast, port, folder.path());
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        cores.be_server()?;
        let child = command.spawn();
        cores.be_client()?;
        let child = child.map_err(|error| format!("{}: {error}", contestant.name))?;
        let mut running = Self {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            pid: child.id(),
            child,
            folder,
        };
        let begun = Instant::now();
        while TcpStream::connect(running.address).is_err() {
            if running.child.try_wait()?.is_some() || begun.elapsed() > PATIENCE {
                return Err(format!("it does not start:\n{}", running.log()).into());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(running)
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_else(|error| error.to_string())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself. The folder goes behind it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
