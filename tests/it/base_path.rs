//! A base path: everything is below it, behind a proxy that passes paths on as they are.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use titlecast_testing::{
    Events, GraphqlSocket, ModelServer, Server, Titlecast, assert_common_stream, eventually,
    server::{client, graphql, metrics, request},
    skipped, within,
};

const NGINX: &str = "/usr/sbin/nginx";

/// nginx with one location below a path; killed when it is dropped.
struct Nginx {
    url: String,
    folder: PathBuf,
    child: Child,
}

impl Nginx {
    /// Starts it in front of a server; none, said aloud, where it is not installed.
    async fn start(node: &str) -> Option<Self> {
        if !PathBuf::from(NGINX).exists() {
            skipped("there is no nginx");
            return None;
        }
        let folder = std::env::temp_dir().join(format!("titlecast-nginx-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let place = folder.display();
        let configuration = format!(
            r#"daemon off; worker_processes 1; pid {place}/pid; error_log stderr warn;
            events {{ worker_connections 100; }}
            http {{
                access_log off;
                client_body_temp_path {place}/client; proxy_temp_path {place}/proxy;
                fastcgi_temp_path {place}/fastcgi; uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
                map $http_upgrade $connection_header {{ default upgrade; "" ""; }}
                server {{
                    listen 127.0.0.1:{port};
                    location / {{ return 418; }}
                    location /chat {{
                        proxy_pass {node};
                        proxy_http_version 1.1;
                        proxy_set_header Host $http_host;
                        proxy_set_header Upgrade $http_upgrade;
                        proxy_set_header Connection $connection_header;
                        proxy_set_header X-Forwarded-For $remote_addr;
                        proxy_buffering off;
                    }}
                }}
            }}"#
        );
        let path = folder.join("nginx.conf");
        std::fs::write(&path, configuration).unwrap();
        let mut command = Command::new(NGINX);
        command
            .arg("-p")
            .arg(&folder)
            .args(["-e", "stderr", "-c"])
            .arg(path);
        let child = command
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{port}");
        eventually(async || client().get(&url).send().await.ok()).await;
        Some(Self { url, folder, child })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A quick end takes its worker along.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The text of GraphiQL's page, which is embedded as gzip.
fn unzipped(bytes: &[u8]) -> String {
    let path = std::env::temp_dir().join(format!("titlecast-page-{}.gz", uuid::Uuid::now_v7()));
    std::fs::write(&path, bytes).unwrap();
    let output = Command::new("gzip").arg("-dc").arg(&path).output().unwrap();
    std::fs::remove_file(&path).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn all_surfaces_work_below_a_base_path_behind_nginx() {
    let model = ModelServer::start().await;
    let mut server = Server::start_with(&model, &["--base-path", "/chat"]).await;
    let Some(nginx) = Nginx::start(&server.url).await else {
        return;
    };
    let base = format!("{}/chat", nginx.url);

    let mut socket = GraphqlSocket::connect(&base).await;
    let subscription = "subscription { conversationUpdated { id } }";
    let updates = socket.subscribe(subscription, json!({})).await;
    socket.settled().await;
    let mut stream = Events::post(&base, json!({ "message": "Plan a trip to Kyoto" })).await;
    let events = stream.rest().await;
    assert_common_stream(&events);
    let id = events[0]["conversation_id"].as_str().unwrap();
    let update = socket.next_of(&updates, "conversationUpdated").await;
    assert_eq!(update["id"], id);
    let listed = request(&base, "GET", "/api/v1/conversations", None).await;
    assert_eq!(
        (listed.0, &listed.1["items"][0]["conversation_id"]),
        (200, &json!(id)),
        "{}",
        listed.1
    );
    let answer = graphql(&base, "{ conversations { nodes { id } } }", json!({})).await;
    assert_eq!(
        answer["data"]["conversations"]["nodes"][0]["id"], id,
        "{answer}"
    );

    let (_, document): (u16, Value) = request(&base, "GET", "/openapi.json", None).await;
    assert_eq!(document["servers"][0]["url"], "/chat/");
    for page in ["/", "/explorer", "/graphiql", "/graphiql/cdn"] {
        let response = within(client().get(format!("{base}{page}")).send())
            .await
            .unwrap();
        assert_eq!(response.status(), 200, "{page}");
        let is_zipped = response.headers().contains_key("content-encoding");
        let bytes = within(response.bytes()).await.unwrap();
        let html = match is_zipped {
            true => unzipped(&bytes),
            false => String::from_utf8(bytes.into()).unwrap(),
        };
        for absolute in ["href=\"/", "src=\"/"] {
            let place = html
                .find(absolute)
                .map(|at| &html[at..html.len().min(at + 60)]);
            assert_eq!(place, None, "{page}");
        }
        // GraphiQL's files, if it is embedded.
        for link in html
            .split("src=\"")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap())
        {
            if !link.starts_with("https://") {
                let response = within(client().get(format!("{base}/{link}")).send()).await;
                assert_eq!(response.unwrap().status(), 200, "{page}: {link}");
            }
        }
    }
    // The links of the page there begin below its folder.
    let response = within(client().get(format!("{base}?a=b")).send())
        .await
        .unwrap();
    assert_eq!(response.url().as_str(), format!("{base}/?a=b"));
    assert_eq!(response.status(), 200);

    // Nothing is outside but the health checks.
    for (path, expected) in [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/chat/healthz", 200),
        ("/", 404),
        ("/openapi.json", 404),
        ("/api/v1/conversations", 404),
        ("/chats/api/v1/conversations", 404),
        ("/chat/chat/api/v1/conversations", 404),
    ] {
        let (status, body) = request(&server.url, "GET", path, None).await;
        assert_eq!(status, expected, "{path}: {body}");
    }
    // The metrics name the routes as without a base path.
    let page = server.serve_metrics().await;
    let counted = metrics(&page).await;
    let route = r#"titlecast_http_requests_total{route="/api/v1/chat/stream",method="POST",status="200"} 1"#;
    assert!(counted.contains(route), "{counted}");
    assert!(!counted.contains("route=\"/chat"), "{counted}");
    drop(socket);
    server.stop().await;
}

#[tokio::test]
async fn errors_before_the_routes_have_the_format_of_their_surface_below_a_base_path() {
    let model = ModelServer::start().await;
    let settings = ["--base-path", "/a/b/", "--max-connections", "1"];
    let server = Server::start_with(&model, &settings).await;
    let held = tokio::net::TcpStream::connect(server.url.trim_start_matches("http://"))
        .await
        .unwrap();
    let refused = async |path: &str| {
        eventually(async || {
            let (status, body) = request(&server.url, "GET", path, None).await;
            (status == 503).then_some(body)
        })
        .await
    };
    let body = refused("/a/b/graphql").await;
    assert_eq!(
        body["errors"][0]["extensions"]["code"], "OVERLOADED",
        "{body}"
    );
    let body = refused("/a/b/api/v1/conversations").await;
    assert_eq!(body["code"], "OVERLOADED", "{body}");
    drop(held);
    server.stop().await;
}

#[tokio::test]
async fn a_base_path_that_is_none_is_refused() {
    for path in ["chat", "/a b", "/a//b", "/../a", "/a?b"] {
        let refused = Titlecast::new(&["serve", "--base-path", path]).run().await;
        refused.assert_refused(&["--base-path", "expected a path such as /chat"]);
    }
}
