//! NATS: the server that `TEST_NATS_URL` names, and servers of a test's own that can be killed.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use super::{ModelServer, Server, eventually, server::request, skipped};

/// The path of nats-server: on the PATH, or in /usr/sbin, where Debian installs it.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders
        .map(|folder| folder.join("nats-server"))
        .find(|program| program.exists())
}

/// The URL of the NATS server to test on. Without one, reports that the test is skipped; one that does not answer fails
/// the test.
pub async fn shared() -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "which NATS to test on is no setting of the program"
    )]
    let url = std::env::var("TEST_NATS_URL").ok();
    let Some(url) = url.filter(|url| !url.is_empty()) else {
        skipped("TEST_NATS_URL is not set, nodes are not connected");
        return None;
    };
    if let Err(error) = async_nats::connect(&url).await {
        panic!("TEST_NATS_URL is set, and NATS does not answer there: {error}");
    }
    Some(url)
}

/// Two connected nodes on one database.
pub async fn two_nodes(model: &ModelServer, url: &str) -> (Server, Server) {
    two_nodes_with(model, url, &[]).await
}

/// Like [`two_nodes`], with additional settings.
pub async fn two_nodes_with(model: &ModelServer, url: &str, settings: &[&str]) -> (Server, Server) {
    let settings = [&["--nats-url", url], settings].concat();
    let one = Server::start_with(model, &settings).await;
    let other = one.beside(model, &settings).await;
    for node in [&one, &other] {
        nats_is(&node.url, "ok").await;
    }
    (one, other)
}

/// Waits until `/readyz` of a node shows this state of NATS. The node must be ready in any case.
pub async fn nats_is(url: &str, expected: &str) {
    eventually(async || {
        let (status, page) = request(url, "GET", "/readyz", None).await;
        // A busy machine can miss the deadline of the database probe, which is unrelated to NATS.
        if page["database"] == "unavailable" {
            return None;
        }
        assert_eq!((status, &page["status"]), (200, &json!("ready")), "{page}");
        (page["nats"] == expected).then_some(())
    })
    .await;
}

/// A test's own NATS server. Killed on drop.
pub struct NatsServer {
    pub url: String,
    monitoring: String,
    ports: [String; 2],
    program: PathBuf,
    child: Option<Child>,
}

impl NatsServer {
    /// Chooses ports for a server that is not running yet. Without nats-server, returns `None` and reports that the
    /// test is skipped.
    pub fn down() -> Option<Self> {
        let Some(program) = program() else {
            skipped("there is no nats-server");
            return None;
        };
        // Bind both at once, so that they differ.
        let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = free.map(|free| free.local_addr().unwrap().port().to_string());
        Some(Self {
            url: format!("nats://127.0.0.1:{}", ports[0]),
            monitoring: format!("http://127.0.0.1:{}", ports[1]),
            ports,
            program,
            child: None,
        })
    }

    /// Starts the server, each time on the same port.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// Like [`Self::start`], with additional arguments.
    pub fn start_with(&mut self, arguments: &[&str]) {
        let [port, monitoring] = &self.ports;
        let mut command = Command::new(&self.program);
        command
            .args(["-a", "127.0.0.1", "-p", port, "-m", monitoring])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// The number of subscriptions on the server.
    pub async fn subscriptions(&self) -> u64 {
        let (_, page): (u16, Value) = request(&self.monitoring, "GET", "/subsz", None).await;
        page["num_subscriptions"].as_u64().unwrap()
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}
