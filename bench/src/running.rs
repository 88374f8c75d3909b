//! A server under measurement that runs on a core of its own.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{Result, machine::Cores};

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// Its process. Killed, and its folder removed, when it is dropped.
pub struct Running {
    pub address: SocketAddr,
    pub pid: u32,
    child: Child,
    folder: PathBuf,
}

impl Running {
    /// Starts it on the server's core, and waits until it listens. The command is made for a port of 127.0.0.1 and a
    /// folder to keep files in.
    pub fn start(
        name: &str,
        cores: Cores,
        command: impl FnOnce(u16, &Path) -> Command,
    ) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("titlecast-bench-{}", std::process::id()));
        fs::create_dir(&folder)?;
        // Free now, and nobody is given it again so soon.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let log = File::create(folder.join("log"))?;
        let mut command = command(port, &folder);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = cores
            .start(|| command.spawn())?
            .map_err(|error| format!("{name}: {error}"))?;
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
        fs::read_to_string(self.folder.join("log")).unwrap_or_else(|error| error.to_string())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, and the folder is nobody's any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
