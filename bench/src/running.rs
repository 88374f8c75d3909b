//! A program that serves what is measured: how it is started, and how it ends.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{Result, leftovers, leftovers::Folder, machine::Cores};

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long it may take to end.
const GRACE: Duration = Duration::from_secs(2);

/// A server's process. Ended, and its folder removed, when it is dropped.
pub struct Running {
    pub address: SocketAddr,
    pub pid: u32,
    child: Child,
    /// Dropped behind the one who writes there.
    folder: Folder,
}

impl Running {
    /// Starts it on the server's core, to listen on a port of 127.0.0.1, and waits until it does. It may keep files in
    /// the folder.
    pub fn start(
        name: &str,
        cores: Cores,
        command: impl FnOnce(u16, &Path) -> Result<Command>,
    ) -> Result<Self> {
        let folder = Folder::create()?;
        // Free now, and nobody is given it again so soon.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let log = File::create(folder.path().join("log"))?;
        let mut command = command(port, folder.path())?;
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
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_else(|error| error.to_string())
    }

    /// Asks it to end, as a parent has to end its workers first; kills them all where that does not help.
    fn stop(&mut self) -> Result<()> {
        let begun = Instant::now();
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        kill(Pid::from_raw(i32::try_from(self.pid)?), Signal::SIGTERM)?;
        while begun.elapsed() < GRACE {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            sleep(Duration::from_millis(5));
        }
        leftovers::kill_descendants(self.pid);
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("process {} could not be ended: {error}", self.pid);
        }
    }
}
