//! Two nodes with a dedicated NATS on PostgreSQL, one node on SQLite, and their faults.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use futures_util::future::join;
use titlecast_testing::{
    ModelServer, TestDatabase,
    nats::{NatsServer, nats_is},
    node::Node,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// A change made directly on the database has no event: the feed polls for it.
const FAILPOINTS: &str = "feed.poll=return(200)";

/// The pause between two faults, at least and at most.
const PAUSE_MS: std::ops::Range<u64> = 500..4_000;

pub struct Nodes {
    database_url: String,
    model: ModelServer,
    nodes: RefCell<Vec<Option<Node>>>,
    nats: RefCell<Option<NatsServer>>,
    settings: Vec<String>,
    kills: Cell<usize>,
    outages: Cell<usize>,
}

impl Nodes {
    /// `None` where NATS is not installed.
    pub async fn start(database: &TestDatabase) -> Option<Self> {
        let nats = match database.is_sqlite() {
            true => None,
            false => {
                let mut nats = NatsServer::down()?;
                nats.start();
                Some(nats)
            }
        };
        let mut settings = vec!["--streams-per-user".to_owned(), "0".to_owned()];
        settings.extend(["--connections-per-address".to_owned(), "0".to_owned()]);
        if let Some(nats) = &nats {
            settings.extend(["--nats-url".to_owned(), nats.url.clone()]);
        }
        // An SQLite file is for one process.
        let count = if database.is_sqlite() { 1 } else { 2 };
        let nodes = Self {
            database_url: database.url.clone(),
            model: ModelServer::start().await,
            nodes: RefCell::new((0..count).map(|_| None).collect()),
            nats: RefCell::new(nats),
            settings,
            kills: Cell::default(),
            outages: Cell::default(),
        };
        for place in 0..count {
            nodes.revive(place).await;
        }
        let urls = nodes.urls();
        if nodes.nats.borrow().is_some() {
            for url in &urls {
                nats_is(url, "ok").await;
            }
        }
        Some(nodes)
    }

    async fn revive(&self, place: usize) {
        let settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        let command = Node::command(&self.database_url, &self.model.url, &settings);
        let node = Node::of(command.env("FAILPOINTS", FAILPOINTS)).await;
        self.nodes.borrow_mut()[place] = Some(node);
    }

    fn urls(&self) -> Vec<String> {
        let nodes = self.nodes.borrow();
        let urls = nodes.iter().flatten().map(|node| node.url.clone());
        urls.collect()
    }

    /// Where one of those listens that live.
    pub async fn any(&self) -> String {
        loop {
            if let Some(url) = fastrand::choice(self.urls()) {
                return url;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Kills nodes, and NATS, until the end; then all of them live again.
    pub async fn befall(&self, ending: &CancellationToken) {
        let pause = || sleep(Duration::from_millis(fastrand::u64(PAUSE_MS)));
        let kills = async {
            while ending.run_until_cancelled(pause()).await.is_some() {
                let place = fastrand::usize(..self.nodes.borrow().len());
                let node = self.nodes.borrow_mut()[place].take();
                if let Some(node) = node {
                    node.kill().await;
                    self.kills.set(self.kills.get() + 1);
                }
                self.revive(place).await;
            }
        };
        let outages = async {
            if self.nats.borrow().is_none() {
                return;
            }
            while ending.run_until_cancelled(pause()).await.is_some() {
                self.with_nats(NatsServer::kill);
                ending.run_until_cancelled(pause()).await;
                self.with_nats(NatsServer::start);
                self.outages.set(self.outages.get() + 1);
            }
        };
        join(kills, outages).await;
    }

    fn with_nats(&self, change: impl FnOnce(&mut NatsServer)) {
        if let Some(nats) = &mut *self.nats.borrow_mut() {
            change(nats);
        }
    }

    pub fn report(&self) -> String {
        let (kills, outages) = (self.kills.get(), self.outages.get());
        format!("{kills} kills of nodes, {outages} outages of NATS")
    }

    /// Ends the nodes as an operator would.
    pub async fn end(self) {
        for node in self.nodes.take().into_iter().flatten() {
            node.stop().await;
        }
    }
}
