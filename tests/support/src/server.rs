//! The service on its own port, as `titlecast serve` would run it.

use std::sync::LazyLock;

use clap::Parser;
use serde_json::{Value, json};
use titlecast::{app::App, auth::Access, config::Cli, conversation::Owner};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{Events, GraphqlSocket, ModelServer, TestDatabase, within};

/// A running service. Dropping it stops it; [`Server::stop`] stops it cleanly.
pub struct Server {
    pub app: App,
    pub database: TestDatabase,
    /// The URL for callers that the settings admit; without tokens that is the local owner: `http://127.0.0.1:PORT`.
    pub url: String,
    shutdown: CancellationToken,
    serving: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts a service with the scripted model.
    pub async fn start(model: &ModelServer) -> Self {
        Self::start_with(model, &[]).await
    }

    /// Starts a service with the scripted model and additional settings.
    pub async fn start_with(model: &ModelServer, settings: &[&str]) -> Self {
        Self::start_on(TestDatabase::new().await, model, settings).await
    }

    /// Like [`Self::start_with`], on an existing database.
    pub async fn start_on(database: TestDatabase, model: &ModelServer, settings: &[&str]) -> Self {
        let url = model.url.clone();
        let mut arguments = vec!["--openai-base-url", &url, "--openai-api-key", "sk-test-key"];
        arguments.extend(settings);
        Self::on(database, &arguments).await
    }

    /// Starts another node on the same database, with the scripted model. Must be dropped before this one.
    pub async fn beside(&self, model: &ModelServer, settings: &[&str]) -> Self {
        Self::start_on(self.database.shared(), model, settings).await
    }

    /// Starts a service with the offline model.
    pub async fn offline() -> Self {
        let arguments = ["--openai-base-url", "", "--openai-api-key", ""];
        Self::on(TestDatabase::new().await, &arguments).await
    }

    /// Starts a service on an existing database.
    pub async fn on(database: TestDatabase, arguments: &[&str]) -> Self {
        let mut command = vec!["titlecast", "--database-url", &database.url];
        command.extend(arguments);
        // The check would be an extra call, and tests count the calls of the title model.
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

    /// Also serves another owner, with the same parts. Returns the URL.
    pub async fn serve(&mut self, owner: Owner) -> String {
        self.serve_to(Access::Open(owner)).await
    }

    /// Also serves callers under these access rules, with the same parts. Returns the URL.
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

    /// Serves the metrics. Returns the URL.
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

    /// Begins the shutdown without waiting for it; [`Server::stop`] waits.
    pub fn begin_stop(&self) {
        self.shutdown.cancel();
    }

    /// Shuts down and waits until everything has ended.
    pub async fn stop(mut self) {
        self.end().await;
    }

    /// Like [`Self::stop`], for tests that inspect rows afterwards.
    pub async fn end(&mut self) {
        self.shutdown.cancel();
        for serving in self.serving.drain(..) {
            within(serving).await.unwrap();
        }
    }

    /// `POST /api/v1/chat/stream`, read as events.
    pub async fn stream(&self, body: Value) -> Events {
        Events::post(&self.url, body).await
    }

    /// Starts a conversation and reads its stream to the end. Returns the conversation's id.
    pub async fn begin(&self, message: &str) -> String {
        let events = self
            .stream(json!({ "message": message }))
            .await
            .rest()
            .await;
        events[0]["conversation_id"].as_str().unwrap().to_owned()
    }

    /// Sends a GraphQL request by POST. Returns the whole answer.
    pub async fn graphql(&self, query: &str, variables: Value) -> Value {
        graphql(&self.url, query, variables).await
    }

    /// Sends a GraphQL request by POST, which must succeed without errors. Returns its data.
    pub async fn data(&self, query: &str, variables: Value) -> Value {
        let mut answer = self.graphql(query, variables).await;
        assert_eq!(answer.get("errors"), None, "{query}");
        answer["data"].take()
    }

    /// Opens a graphql-transport-ws WebSocket.
    pub async fn socket(&self) -> GraphqlSocket {
        GraphqlSocket::connect(&self.url).await
    }

    /// Sends a GET request. Returns status and JSON.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        request(&self.url, "GET", path, None).await
    }

    /// Sends a request with a JSON body. Returns status and JSON, null for an empty body.
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

/// The shared HTTP client. It keeps no connections, because each test has its own runtime. Shared because creating one
/// takes many milliseconds.
pub fn client() -> &'static reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        // Plain HTTP does not need TLS, but the client's constructor requires a provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().pool_max_idle_per_host(0);
        client.no_proxy().build().unwrap()
    });
    &CLIENT
}

/// Sends a request with an optional JSON body. Returns status and JSON, null for an empty body.
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

/// The text of the metrics page.
pub async fn metrics(url: &str) -> String {
    let response = within(client().get(format!("{url}/metrics")).send()).await;
    let response = response.unwrap();
    assert_eq!(
        response.headers()["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    within(response.text()).await.unwrap()
}

/// Sends a GraphQL request by POST. Returns the whole answer.
pub async fn graphql(url: &str, query: &str, variables: Value) -> Value {
    let body = json!({ "query": query, "variables": variables });
    request(url, "POST", "/graphql", Some(body)).await.1
}
