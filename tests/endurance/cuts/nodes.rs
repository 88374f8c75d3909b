//! Two nodes on one database.

use titlecast_testing::{
    Server, TestDatabase, Titlecast,
    nats::{self, NatsServer, nats_is},
    process::Process,
};

use super::model::StoryModel;

/// Where they are; they go with this.
pub struct Nodes {
    pub urls: [String; 2],
    pub nats: Option<NatsServer>,
    _servers: Vec<Server>,
    processes: Vec<Process>,
    _database: Option<TestDatabase>,
}

fn arguments<'a>(model: &'a StoryModel, nats: &'a str) -> [&'a str; 6] {
    [
        "--openai-base-url",
        &model.url,
        "--openai-api-key",
        "sk-test-key",
        "--nats-url",
        nats,
    ]
}

impl Nodes {
    /// In this process, through the NATS that tests share; none without it.
    pub async fn in_process(model: &StoryModel) -> Option<Self> {
        let nats = nats::shared().await?;
        Some(Self::in_process_through(model, &nats, None).await)
    }

    /// The same through a NATS of their own, which can be killed; none where it is not installed.
    pub async fn in_process_with_broker(model: &StoryModel) -> Option<Self> {
        let mut nats = NatsServer::down()?;
        nats.start();
        let url = nats.url.clone();
        Some(Self::in_process_through(model, &url, Some(nats)).await)
    }

    async fn in_process_through(model: &StoryModel, url: &str, nats: Option<NatsServer>) -> Self {
        let arguments = arguments(model, url);
        let one = Server::on(TestDatabase::new().await, &arguments).await;
        let other = Server::on(one.database.shared(), &arguments).await;
        let nodes = Self {
            urls: [one.url.clone(), other.url.clone()],
            nats,
            _servers: vec![other, one],
            processes: Vec::new(),
            _database: None,
        };
        nodes.are_connected().await;
        nodes
    }

    /// Real processes, with a NATS of their own.
    pub async fn processes(model: &StoryModel) -> Option<Self> {
        let mut nats = NatsServer::down()?;
        nats.start();
        let database = TestDatabase::new().await;
        let place = ["--listen", "127.0.0.1:0", "--database-url", &database.url];
        let arguments = [&place[..], &arguments(model, &nats.url)].concat();
        let arguments = [&arguments[..], &["--title-check", "false"]].concat();
        let mut processes = [(); 2].map(|()| Titlecast::new(&arguments).start());
        let [one, other] = &mut processes;
        let urls = [one.url().await, other.url().await];
        let nodes = Self {
            urls,
            nats: Some(nats),
            _servers: Vec::new(),
            processes: processes.into(),
            _database: Some(database),
        };
        nodes.are_connected().await;
        Some(nodes)
    }

    /// Waits until they receive from each other.
    pub async fn are_connected(&self) {
        for url in &self.urls {
            nats_is(url, "ok").await;
        }
    }

    /// Ends the processes, which have to end well.
    pub async fn stop(&mut self) {
        for process in self.processes.drain(..) {
            process.terminate();
            process.ended().await.ok();
        }
    }
}
