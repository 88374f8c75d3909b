//! The real binary, run as an operator runs it.

use std::{
    future::ready,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::LazyLock,
    time::Duration,
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use uuid::Uuid;

use super::{SmallDisk, eventually, postgres::is_root, within};

/// The path of the program under test. cargo passes it to integration tests; a test binary that is started by hand uses
/// the program of its own build.
fn program() -> &'static str {
    static PROGRAM: LazyLock<String> = LazyLock::new(|| {
        let passed = std::env::var_os("CARGO_BIN_EXE_titlecast").map(PathBuf::from);
        let program = passed.unwrap_or_else(|| {
            let test = std::env::current_exe().unwrap();
            test.ancestors().nth(2).unwrap().join("titlecast")
        });
        program.into_os_string().into_string().unwrap()
    });
    &PROGRAM
}

/// A command line and environment as an operator would set them. The environment contains nothing else, so no keys or
/// settings of the caller.
pub struct Titlecast {
    command: Command,
    directory: PathBuf,
}

impl Titlecast {
    /// A command with these arguments, run in an empty directory of its own.
    pub fn new(arguments: &[&str]) -> Self {
        Self::of(program(), arguments)
    }

    /// Like [`Self::new`], for another build of the program.
    pub fn of(program: &str, arguments: &[&str]) -> Self {
        let directory = std::env::temp_dir().join(format!("titlecast-test-{}", Uuid::now_v7()));
        std::fs::create_dir(&directory).unwrap();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // Not for `--help`, which shows the values that are set.
        if !arguments.contains(&"--help") {
            command.env("TITLECAST_METRICS_LISTEN", "127.0.0.1:0");
        }
        Self { command, directory }
    }

    /// Like [`Self::new`], run as an unprivileged user, to whom file permissions apply.
    pub fn unprivileged(arguments: &[&str]) -> Self {
        if !is_root() {
            return Self::new(arguments);
        }
        let drop = ["--bounding-set=-dac_override", program()];
        Self::of("setpriv", &[&drop, arguments].concat())
    }

    /// Like [`Self::new`], started through another program with arguments of its own.
    pub fn through(program_before: &str, own: &[&str], arguments: &[&str]) -> Self {
        Self::of(program_before, &[own, &[program()], arguments].concat())
    }

    /// Like [`Self::new`], with standard error connected to a full pipe that is never read.
    pub fn unread(arguments: &[&str]) -> Self {
        const FULL: &str = "/usr/bin/mkfifo log && exec 2<>log && \
            /usr/bin/head -c 65536 /dev/zero >&2 && exec \"$0\" \"$@\"";
        Self::through("/bin/sh", &["-c", FULL], arguments)
    }

    /// Like [`Self::new`], with listening sockets for these addresses, passed as systemd does: `127.0.0.1:0` or
    /// `unix:PATH`.
    pub fn activated(addresses: &[&str], arguments: &[&str]) -> Self {
        const SYSTEMD: &str = r#"
import fcntl, os, socket, sys
addresses, command = sys.argv[1].split(","), sys.argv[2:]
sockets = []
for address in addresses:
    if address.startswith("unix:"):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address[5:])
    else:
        host, port = address.rsplit(":", 1)
        listener = socket.socket()
        listener.bind((host, int(port)))
    listener.listen()
    # Out of the way of the places that they get.
    sockets.append(fcntl.fcntl(listener.fileno(), fcntl.F_DUPFD, 20))
for place, open_socket in enumerate(sockets, 3):
    os.dup2(open_socket, place)
os.execve(command[0], command, dict(os.environ, LISTEN_FDS=str(len(sockets)), LISTEN_PID=str(os.getpid())))
"#;
        let own = ["-c", SYSTEMD, &addresses.join(","), program()];
        Self::of("/usr/bin/python3", &[&own, arguments].concat())
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Writes a file to its directory.
    pub fn file(self, name: &str, content: &str) -> Self {
        self.bytes(name, content.as_bytes())
    }

    /// Like [`Self::file`], for content that is not text.
    pub fn bytes(self, name: &str, content: &[u8]) -> Self {
        std::fs::write(self.directory.join(name), content).unwrap();
        self
    }

    /// Sets its standard input.
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.command.stdin(stdin);
        self
    }

    /// Runs it in the mount namespace of this disk.
    pub fn on(self, disk: &SmallDisk) -> Self {
        let mut command = Command::new("/usr/bin/nsenter");
        let pid = disk.pid().to_string();
        command
            .args(["-t", &pid, "-m", "--"])
            .arg(self.command.get_program())
            .args(self.command.get_args())
            .env_clear()
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, value) in self.command.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        Self {
            command,
            directory: self.directory.clone(),
        }
    }

    /// Starts the process.
    pub fn start(mut self) -> Process {
        let mut child = self.command.spawn().unwrap();
        let (sender, lines) = unbounded_channel();
        read(child.stdout.take().unwrap(), true, sender.clone());
        read(child.stderr.take().unwrap(), false, sender);
        Process {
            child,
            directory: self.directory,
            lines,
            stdout: String::new(),
            stderr: String::new(),
        }
    }

    /// Starts the process and waits until it has ended.
    pub async fn run(self) -> Ended {
        self.start().ended().await
    }
}

fn read(
    stream: impl Read + Send + 'static,
    is_stdout: bool,
    lines: UnboundedSender<(bool, String)>,
) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            if lines.send((is_stdout, line.unwrap())).is_err() {
                return;
            }
        }
    });
}

/// A running process. Killed on drop.
pub struct Process {
    child: Child,
    /// Its working directory.
    pub directory: PathBuf,
    lines: UnboundedReceiver<(bool, String)>,
    stdout: String,
    stderr: String,
}

/// The result of a process that has ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` if a signal killed it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Process {
    /// The URL from its log line about the address it listens on: `http://127.0.0.1:PORT`.
    pub async fn url(&mut self) -> String {
        let line = self.line("listening").await;
        let address = line.split("address=").nth(1).unwrap();
        format!("http://{}", address.split(' ').next().unwrap())
    }

    /// The next line on standard error that contains this text.
    pub async fn line(&mut self, part: &str) -> String {
        loop {
            let Some((is_stdout, line)) = self.next().await else {
                panic!("ended without {part:?}: {}", self.stderr);
            };
            if !is_stdout && line.contains(part) {
                return line;
            }
        }
    }

    /// Sends SIGTERM, as service managers do.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal: `KILL`, `STOP` or `CONT`.
    pub fn signal(&self, name: &str) {
        let (flag, pid) = (format!("-{name}"), self.child.id().to_string());
        let status = Command::new("kill").args([&flag, &pid]).status();
        assert!(status.unwrap().success());
    }

    /// Kills the process.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// The next line on standard output.
    pub async fn stdout_line(&mut self) -> Option<String> {
        loop {
            if let (true, line) = self.next().await? {
                return Some(line);
            }
        }
    }

    /// The processor time of its threads so far.
    pub fn cpu(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        // A thread may end while it is being read.
        let spent = tasks.filter_map(|task| {
            let path = task.ok()?.path().join("schedstat");
            let schedstat = std::fs::read_to_string(path).ok()?;
            schedstat.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(spent.sum())
    }

    /// Limits its open files and connections.
    pub fn limit_files(&self, files: u32) {
        let (files, pid) = (format!("--nofile={files}"), self.child.id().to_string());
        let status = Command::new("prlimit")
            .args(["--pid", &pid, &files])
            .status();
        assert!(status.unwrap().success());
    }

    /// The number of its open files and connections.
    pub fn open_files(&self) -> u32 {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        files.unwrap().count().try_into().unwrap()
    }

    /// Its current memory, in KiB.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// Its peak memory, in KiB.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Its peak memory, in KiB; `None` if it has ended.
    pub fn find_peak_memory(&self) -> Option<u64> {
        self.find_status("VmHWM:")
    }

    fn status(&self, name: &str) -> u64 {
        self.find_status(name).unwrap()
    }

    fn find_status(&self, name: &str) -> Option<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with(name))?;
        let number = line.split_whitespace().nth(1);
        Some(number.unwrap().parse().unwrap())
    }

    /// Waits until it has ended. Returns the exit code, `None` if a signal killed it.
    pub async fn exit(&mut self) -> Option<i32> {
        while self.next().await.is_some() {}
        let status = eventually(|| ready(self.child.try_wait().unwrap())).await;
        status.code()
    }

    /// Waits until it has ended, and returns its output.
    pub async fn ended(mut self) -> Ended {
        Ended {
            code: self.exit().await,
            stdout: std::mem::take(&mut self.stdout),
            stderr: std::mem::take(&mut self.stderr),
        }
    }

    async fn next(&mut self) -> Option<(bool, String)> {
        let (is_stdout, line) = within(self.lines.recv()).await?;
        let all = match is_stdout {
            true => &mut self.stdout,
            false => &mut self.stderr,
        };
        all.push_str(&line);
        all.push('\n');
        Some((is_stdout, line))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Ended {
    /// Asserts that it succeeded, and returns its standard output.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }

    /// Asserts that it refused the command line or a setting, with a one-line reason that contains all these parts.
    #[track_caller]
    pub fn assert_refused(&self, parts: &[&str]) {
        self.assert_gave_up(2, parts);
    }

    /// Asserts that it failed at run time, with a one-line reason that contains all these parts.
    #[track_caller]
    pub fn assert_failed(&self, parts: &[&str]) {
        self.assert_gave_up(1, parts);
    }

    /// Asserts that one line states the reason. Other than that, only the log and clap's pointers to the help are
    /// allowed.
    #[track_caller]
    fn assert_gave_up(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "");
        let lines: Vec<&str> = self
            .stderr
            .lines()
            .filter(|line| line.starts_with("titlecast: ") || line.starts_with("error: "))
            .collect();
        let [line] = lines.as_slice() else {
            panic!("{} lines say why: {}", lines.len(), self.stderr);
        };
        for part in parts {
            assert!(line.contains(part), "{part:?} is missing: {line}");
        }
        // The wrappers that libraries put around their errors carry no information.
        assert!(!line.contains("Error: "), "{line}");
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}
