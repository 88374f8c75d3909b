//! The service on a port of its own, as `titlecast serve` would run it.

use std::sync::LazyLock;

use clap::Parser;
use serde_json::{Value, json};
use titlecast::{app::App, auth::Access, config::Cli, conversation::Owner};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{Events, GraphqlSocket, ModelServer, TestDatabase, within};

/// A running service. Stops when it is dropped, cleanly with [`Server::stop`].
pub struct Server {
    pub app: App,
    pub database: TestDatabase,
    /// The URL for callers that the settings admit, without tokens the local owner: `http://127.0.0.1:PORT`.
    pub url: String,
    shutdown: CancellationToken,
    serving: Vec<JoinHandle<()>>,
}

impl Server {
    /// With the scripted model.
    pub async fn start(model: &ModelServer) -> Self {
        Self::start_with(model, &[]).await
    }

    /// With the scripted model, and with settings as one would type them.
    pub async fn start_with(model: &ModelServer, settings: &[&str]) -> Self {
        Self::start_on(TestDatabase::new().await, model, settings).await
    }

    /// The same on a database that is there.
    pub async fn start_on(database: TestDatabase, model: &ModelServer, settings: &[&str]) -> Self {
        let url = model.url.clone();
        let mut arguments = vec!["--openai-base-url", &url, "--openai-api-key", "sk-test-key"];
        arguments.extend(settings);
        Self::on(database, &arguments).await
    }

    /// One more node on the same database, with the scripted model; to be dropped before this one.
    pub async fn beside(&self, model: &ModelServer, settings: &[&str]) -> Self {
        Self::start_on(self.database.shared(), model, settings).await
    }

    /// With the offline model.
    pub async fn offline() -> Self {
        let arguments = ["--openai-base-url", "", "--openai-api-key", ""];
        Self::on(TestDatabase::new().await, &arguments).await
    }

    /// On a database that is there.
    pub async fn on(database: TestDatabase, arguments: &[&str]) -> Self {
        let mut command = vec!["titlecast", "--database-url", &database.url];
        command.extend(arguments);
        // Tests count the calls of the title model.
        if !arguments.contains(&"--title-check") {
            command.extend(["--title-check", "false"]);
        }
        let settings = Cli::try_parse_from(command).unwrap().settings;
        let app = App::build(settings).await.unwrap();
        let mut server = Self {
            app,
            database,
            url: String::new(),
            shutdown: CancellationToken::new(),
            serving: Vec::new(),
        };
        server.url = server.serve_to(server.app.access()).await;
        server
    }

    /// Serves another owner as well, from the same parts, and says where.
    pub async fn serve(&mut self, owner: Owner) -> String {
        self.serve_to(Access::Open(owner)).await
    }

    /// Serves those who may call, from the same parts, and says where.
    pub async fn serve_to(&mut self, access: Access) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (app, shutdown) = (self.app.clone(), self.shutdown.clone());
        #[expect(clippy::disallowed_methods, reason = "the test waits for it in stop")]
        self.serving.push(tokio::spawn(async move {
            app.serve(access, listener, shutdown.cancelled_owned())
                .await;
        }));
        url
    }

    /// Serves the metrics, and says where.
    pub async fn serve_metrics(&mut self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (app, shutdown) = (self.app.clone(), self.shutdown.clone());
        #[expect(clippy::disallowed_methods, reason = "the test waits for it in stop")]
        self.serving.push(tokio::spawn(async move {
            app.serve_metrics(listener, shutdown.cancelled_owned())
                .await;
        }));
        url
    }

    /// Begins the shutdown; [`Server::stop`] waits for it as well.
    pub fn begin_stop(&self) {
        self.shutdown.cancel();
    }

    /// Shuts down and waits until everything has ended.
    pub async fn stop(mut self) {
        self.end().await;
    }

    /// The same, for tests that look at the rows afterwards.
    pub async fn end(&mut self) {
        self.shutdown.cancel();
        for serving in self.serving.drain(..) {
            within(serving).await.unwrap();
        }
    }

    /// `POST /api/v1/chat/stream`, as events.
    pub async fn stream(&self, body: Value) -> Events {
        Events::post(&self.url, body).await
    }

    /// The first message of a new conversation, to its end; returns the conversation's id.
    pub async fn begin(&self, message: &str) -> String {
        let events = self
            .stream(json!({ "message": message }))
            .await
            .rest()
            .await;
        events[0]["conversation_id"].as_str().unwrap().to_owned()
    }

    /// A GraphQL request by POST; the whole answer.
    pub async fn graphql(&self, query: &str, variables: Value) -> Value {
        graphql(&self.url, query, variables).await
    }

    /// A GraphQL request by POST that must have no errors; its data.
    pub async fn data(&self, query: &str, variables: Value) -> Value {
        let mut answer = self.graphql(query, variables).await;
        assert_eq!(answer.get("errors"), None, "{query}");
        answer["data"].take()
    }

    /// A WebSocket that speaks graphql-transport-ws.
    pub async fn socket(&self) -> GraphqlSocket {
        GraphqlSocket::connect(&self.url).await
    }

    /// A GET; status and JSON.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        request(&self.url, "GET", path, None).await
    }

    /// A request with a JSON body; status and JSON (null when there is none).
    pub async fn send(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        request(&self.url, method, path, Some(body)).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for serving in &self.serving {
            serving.abort();
        }
    }
}

/// The HTTP client. It keeps no connection, since each test has a runtime of its own; making one takes
/// many milliseconds.
pub fn client() -> &'static reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        // Plain HTTP needs none of it, but the client's constructor asks for it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().pool_max_idle_per_host(0);
        client.no_proxy().build().unwrap()
    });
    &CLIENT
}

/// A request with or without a JSON body; status and JSON (null when there is none).
pub async fn request(url: &str, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let mut request = client().request(method.parse().unwrap(), format!("{url}{path}"));
    if let Some(body) = body {
        request = request
            .header("content-type", "application/json")
            .body(body.to_string());
    }
    let response = within(request.send()).await.unwrap();
    let status = response.status().as_u16();
    let text = within(response.text()).await.unwrap();
    let json = match text.is_empty() {
        true => Value::Null,
        false => serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}")),
    };
    (status, json)
}

/// The page of metrics.
pub async fn metrics(url: &str) -> String {
    let response = within(client().get(format!("{url}/metrics")).send()).await;
    let response = response.unwrap();
    assert_eq!(
        response.headers()["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    within(response.text()).await.unwrap()
}

/// A GraphQL request by POST; the whole answer.
pub async fn graphql(url: &str, query: &str, variables: Value) -> Value {
    let body = json!({ "query": query, "variables": variables });
    request(url, "POST", "/graphql", Some(body)).await.1
}
