//! The dashboard for Grafana: every query of every panel finds something in the metrics of a server, as Prometheus scrapes
//! and evaluates them.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use titlecast_testing::{
    Events, GraphqlSocket, ModelServer, Receiver, Server, eventually, server::client, skipped,
    within,
};

use super::webhooks;

const DASHBOARD: &str = include_str!("../../deploy/grafana/titlecast.json");
const PROMETHEUS: &str = "/usr/bin/prometheus";

/// A Prometheus that scrapes one server; killed when it is dropped.
struct Prometheus {
    url: String,
    folder: PathBuf,
    child: Child,
}

impl Prometheus {
    /// Starts it; none, said aloud, where it is not installed.
    fn start(metrics: &str) -> Option<Self> {
        if !Path::new(PROMETHEUS).exists() {
            skipped("there is no Prometheus");
            return None;
        }
        let folder = std::env::temp_dir().join(format!("titlecast-prom-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        let target = metrics.trim_start_matches("http://");
        let configuration = format!(
            "scrape_configs:\n- job_name: titlecast\n  scrape_interval: 200ms\n  scrape_timeout: 200ms\n  \
             static_configs: [{{ targets: ['{target}'] }}]\n"
        );
        let path = folder.join("prometheus.yml");
        std::fs::write(&path, configuration).unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let flag = |name: &str, value: &Path| format!("--{name}={}", value.display());
        let child = Command::new(PROMETHEUS)
            .arg(flag("config.file", &path))
            .arg(flag("storage.tsdb.path", &folder.join("data")))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{port}");
        Some(Self { url, folder, child })
    }

    /// Evaluates a query: the values that are numbers, or why it has none.
    async fn values(&self, query: &str) -> Result<Vec<f64>, String> {
        let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let request = client().get(format!("{}/api/v1/query?query={query}", self.url));
        let response = request.send().await.map_err(|error| error.to_string())?;
        let answer: Value = response.json().await.map_err(|error| error.to_string())?;
        let Some(series) = answer["data"]["result"].as_array() else {
            return Err(answer.to_string());
        };
        let values = series
            .iter()
            .filter_map(|one| one["value"][1].as_str()?.parse().ok());
        let values: Vec<f64> = values.filter(|value: &f64| value.is_finite()).collect();
        match values.is_empty() {
            true => Err(format!("no numbers: {}", answer["data"]["result"])),
            false => Ok(values),
        }
    }

    /// Waits until it has this many scrapes.
    async fn scraped(&self, count: f64) {
        eventually(async || {
            let found = self
                .values("max(count_over_time(titlecast_ready[5m]))")
                .await;
            found.ok().filter(|found| found[0] >= count).map(drop)
        })
        .await;
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A turn with a title, which a webhook announces, and a path that does not exist.
async fn traffic(server: &Server, receiver: &Receiver) {
    let id = server.begin("Plan a trip to Kyoto").await;
    assert_eq!(server.get("/no/such/path").await.0, 404);
    eventually(async || (!receiver.story(&id).is_empty()).then_some(())).await;
}

/// The queries of the dashboard, by panel, as Grafana would send them.
fn queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            let query = query
                .replace("$instance", ".+")
                .replace("$__rate_interval", "1m");
            assert!(!query.contains('$'), "{query}");
            queries.push((panel["title"].as_str().unwrap().to_owned(), query));
        }
    }
    queries
}

#[tokio::test]
async fn every_query_of_the_dashboard_finds_something() {
    let model = ModelServer::start().await;
    let receiver = Receiver::start().await;
    let folder = webhooks::folder(&webhooks::file(&receiver.url, ""));
    let config = folder.path("titlecast.toml");
    // No NATS is there, but its metrics are.
    let settings = ["--nats-url", "nats://127.0.0.1:1", "--config", &config];
    let mut server = Server::start_with(&model, &settings).await;
    let page = server.serve_metrics().await;
    webhooks::routed(&server.database, 1).await;
    traffic(&server, &receiver).await;
    let pen = model.live_reply();
    let running = Events::post(&server.url, json!({ "message": "Go on" })).await;
    let socket = GraphqlSocket::connect(&server.url).await;
    let Some(prometheus) = Prometheus::start(&page) else {
        return;
    };
    // Rates need what happens between two scrapes.
    prometheus.scraped(2.0).await;
    traffic(&server, &receiver).await;
    let scrapes = prometheus
        .values("max(count_over_time(titlecast_ready[5m]))")
        .await
        .unwrap()[0];
    prometheus.scraped(scrapes + 3.0).await;

    let queries = queries();
    assert!(queries.len() > 40, "{}", queries.len());
    let mut failed = Vec::new();
    for (panel, query) in &queries {
        if let Err(why) = within(prometheus.values(query)).await {
            failed.push(format!("{panel}: {query}: {why}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    // What is wrong would be found: a name that does not exist, a label that does not, a malformed query.
    for planted in [
        r#"sum(titlecast_no_such_metric{job="titlecast"})"#,
        r#"sum by (le) (titlecast_ready{job="titlecast",node=~".+"})"#,
        "sum(titlecast_ready",
    ] {
        assert!(prometheus.values(planted).await.is_err(), "{planted}");
    }
    drop((pen, socket, running));
    server.stop().await;
}
