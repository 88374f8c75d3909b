//! A measured server process: starting it, its cost so far, and stopping it.

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

use crate::{
    Result,
    leftovers::{Folder, kill_descendants},
    machine::Cores,
    usage,
};

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// The interval between checks whether it listens. Short, because `start` measures that time.
const LOOK: Duration = Duration::from_micros(250);

/// How long a server may take to end.
const GRACE: Duration = Duration::from_secs(2);

/// A server process. Dropping it ends the process and removes its folder.
pub struct Running {
    pub address: SocketAddr,
    pub pid: u32,
    child: Child,
    /// Dropped after the process, which writes there.
    folder: Folder,
}

impl Running {
    /// Starts a server, on the server's core if there is one, and waits until it listens on a port of 127.0.0.1. The
    /// server may keep files in the folder.
    pub fn start(
        name: &str,
        cores: Option<Cores>,
        command: impl FnOnce(u16, &Path) -> Result<Command>,
    ) -> Result<Self> {
        let folder = Folder::create()?;
        // The port is free now, and the system does not reassign it soon.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let log = File::create(folder.path().join("log"))?;
        let mut command = command(port, folder.path())?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = match cores {
            Some(cores) => cores.start(|| command.spawn())?,
            None => command.spawn(),
        }
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
            sleep(LOOK);
        }
        Ok(running)
    }

    /// The processor time it has used so far.
    pub fn cpu(&self) -> Result<Duration> {
        usage::cpu(self.pid)
    }

    /// Its output so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_else(|error| error.to_string())
    }

    /// Terminates the server, so that a parent process can end its workers first. Kills all processes if that fails.
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
        kill_descendants(self.pid);
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

/// Titlecast's own offline model.
pub const OFFLINE: &str = "";

/// The URL of an SQLite file.
pub fn sqlite(file: &Path) -> String {
    format!("sqlite://{}?mode=rwc", file.display())
}

/// The command that runs Titlecast with a model at this base URL; later settings can override that. Ignores the
/// environment of this program.
pub fn titlecast(program: &Path, port: u16, database_url: &str, model: &str) -> Command {
    let mut command = Command::new(program);
    command
        .args(["serve", "--listen", &format!("127.0.0.1:{port}")])
        .args(["--metrics-listen", "127.0.0.1:0"])
        .args(["--database-url", database_url])
        .env("OPENAI_BASE_URL", model)
        .env("OPENAI_API_KEY", "");
    command
}
