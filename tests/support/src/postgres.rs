//! A test's own PostgreSQL server, which can be killed and restarted on the same port.

use std::{
    fs::Permissions,
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use sea_orm::{ConnectionTrait, Database as SeaOrm};
use uuid::Uuid;

use super::{TestDatabase, eventually, skipped};

/// Where Debian and most other distributions install PostgreSQL.
const PLACES: &str = "/usr/lib/postgresql";

/// A server with one database.
pub struct Postgres {
    /// The URL of the database.
    pub url: String,
    directory: PathBuf,
    programs: PathBuf,
    /// The port that the server listens on.
    pub port: u16,
    /// Pid of the process in whose mount namespace the server runs, if it runs on a small file system.
    place: Option<u32>,
    child: Option<Child>,
}

impl Postgres {
    /// Creates and starts a server. Without PostgreSQL, returns `None` and reports that the test is skipped.
    pub async fn start() -> Option<Self> {
        Self::start_in(None).await
    }

    /// Like [`Self::start`], in the mount namespace of another process.
    pub async fn start_in(place: Option<u32>) -> Option<Self> {
        let Some(programs) = programs() else {
            skipped("there is no PostgreSQL to start");
            return None;
        };
        let directory = std::env::temp_dir().join(format!("titlecast-postgres-{}", Uuid::now_v7()));
        std::fs::create_dir(&directory).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut server = Self {
            url: format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            directory,
            programs,
            port,
            place,
            child: None,
        };
        if let Some((user, group)) = other_user() {
            chown(&server.directory, Some(user), Some(group)).unwrap();
        }
        let data = server.directory.join("data");
        let made = server
            .command("initdb")
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"])
            .arg("-D")
            .arg(data)
            .stdout(Stdio::null())
            .status();
        assert!(made.unwrap().success(), "initdb failed");
        server.start_again().await;
        Some(server)
    }

    /// Restarts the server after it was killed. Returns once it answers.
    pub async fn start_again(&mut self) {
        let port = self.port.to_string();
        let url = self.url.clone();
        let mut start = || {
            let is_running = match &mut self.child {
                Some(child) => child.try_wait().unwrap().is_none(),
                None => false,
            };
            if !is_running {
                // Also retried if leftovers of the killed server prevented the start.
                self.child = Some(self.run(&port));
            }
        };
        eventually(|| {
            start();
            let connecting = SeaOrm::connect(&url);
            async { connecting.await.ok()?.close().await.ok() }
        })
        .await;
    }

    fn run(&self, port: &str) -> Child {
        let log = std::fs::File::create(self.directory.join("log")).unwrap();
        self.command("postgres")
            .arg("-D")
            .arg(self.directory.join("data"))
            .args(["-p", port, "-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "unix_socket_directories=", "-c", "fsync=off"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// Kills the server with everything that it was doing.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        // Its child processes notice that it is gone, and end.
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Migrates the database and returns it.
    pub async fn database(&self) -> TestDatabase {
        self.database_named("postgres").await
    }

    /// Like [`Self::database`], for a database with this name.
    pub async fn database_named(&self, name: &str) -> TestDatabase {
        let (server, _) = self.url.rsplit_once('/').unwrap();
        let database = TestDatabase::of_another(&format!("{server}/{name}"));
        let opened = titlecast::db::Database::connect(&database.url, 1)
            .await
            .unwrap();
        opened.migrate_up(None).await.unwrap();
        opened.close().await.unwrap();
        database
    }

    /// Runs a statement as the administrator.
    pub async fn administer(&self, statement: &str) {
        let connection = SeaOrm::connect(&self.url).await.unwrap();
        connection.execute_unprepared(statement).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Requires a password from a role. Other roles need none.
    pub async fn ask_for_passwords_of(&self, role: &str) {
        let rules = self.directory.join("data/pg_hba.conf");
        let trusting = std::fs::read_to_string(&rules).unwrap();
        let asking = format!("host all {role} 127.0.0.1/32 scram-sha-256\n{trusting}");
        std::fs::write(&rules, asking).unwrap();
        self.administer("SELECT pg_reload_conf()").await;
    }

    /// Accepts only encrypted connections, with this certificate and key (PEM).
    pub async fn encrypt(&self, certificate: &Path, key: &Path) {
        let data = self.directory.join("data");
        for (from, name) in [(certificate, "server.crt"), (key, "server.key")] {
            let to = data.join(name);
            std::fs::copy(from, &to).unwrap();
            std::fs::set_permissions(&to, Permissions::from_mode(0o600)).unwrap();
            if let Some((user, group)) = other_user() {
                chown(&to, Some(user), Some(group)).unwrap();
            }
        }
        self.administer("ALTER SYSTEM SET ssl = on").await;
        let rules = "hostssl all all 127.0.0.1/32 trust\n";
        std::fs::write(data.join("pg_hba.conf"), rules).unwrap();
        self.administer("SELECT pg_reload_conf()").await;
        let url = format!("{}?sslmode=require", self.url);
        eventually(|| {
            let connecting = SeaOrm::connect(&url);
            async { connecting.await.ok()?.close().await.ok() }
        })
        .await;
    }

    /// The command for one of PostgreSQL's programs, run as an unprivileged user.
    fn command(&self, name: &str) -> Command {
        let program = self.programs.join(name);
        let mut command = match self.place {
            None => {
                let mut command = Command::new(program);
                if let Some((user, group)) = other_user() {
                    command.uid(user).gid(group);
                }
                command
            }
            Some(pid) => {
                let (user, group) = other_user().expect("only root has other namespaces");
                let mut command = Command::new("nsenter");
                let pid = pid.to_string();
                let (user, group) = (user.to_string(), group.to_string());
                command.args(["-t", &pid, "-m", "-S", &user, "-G", &group, "--"]);
                command.arg(program);
                command
            }
        };
        command.current_dir(&self.directory).stdin(Stdio::null());
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // An immediate shutdown also ends its child processes.
            let pid = child.id().to_string();
            let _ = Command::new("kill").args(["-QUIT", &pid]).status();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The folder of the newest installed version's programs.
fn programs() -> Option<PathBuf> {
    let versions = Path::new(PLACES).read_dir().ok()?;
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let mut versions: Vec<PathBuf> = versions.flatten().map(|entry| entry.path()).collect();
    versions.sort_by_key(version);
    let programs = versions.pop()?.join("bin");
    programs.join("postgres").exists().then_some(programs)
}

/// The user and group to switch to, because PostgreSQL refuses to run as root.
pub fn other_user() -> Option<(u32, u32)> {
    if !is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let user = users.lines().find(|line| line.starts_with("postgres:"));
    let mut fields = user.expect("there is a user postgres").split(':').skip(2);
    let mut id = || fields.next().unwrap().parse().unwrap();
    Some((id(), id()))
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Uid:\t0\t"))
}
