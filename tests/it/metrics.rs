//! `/metrics`: what an operator watches, in a form that Prometheus takes.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::{
    Answer, Events, GraphqlSocket, ModelServer, Server, eventually, server::metrics,
};

/// The value of a series, 0 when there is none yet.
fn value(page: &str, series: &str) -> f64 {
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn requests_replies_streams_and_connections_are_counted() {
    let model = ModelServer::start().await;
    let mut server = Server::start(&model).await;
    let page = server.serve_metrics().await;
    server.begin("Plan a trip to Kyoto").await;
    model.reply(Answer::error(500, "server_error", None, "no"));
    model.reply(Answer::error(401, "server_error", None, "no"));
    let body = json!({ "message": "Plan a trip to Kyoto" });
    assert_eq!(server.send("POST", "/api/v1/chat", body).await.0, 502);
    assert_eq!(server.get("/a-path-of-my-own").await.0, 404);

    let pen = model.live_reply();
    let running = Events::post(&server.url, json!({ "message": "Go on" })).await;
    let socket = GraphqlSocket::connect(&server.url).await;
    let now = metrics(&page).await;
    let stream = r#"{route="/api/v1/chat/stream",method="POST"}"#;
    for (series, expected) in [
        (
            r#"titlecast_http_requests_total{route="/api/v1/chat",method="POST",status="502"}"#,
            1.0,
        ),
        (
            r#"titlecast_http_requests_total{route="none",method="GET",status="404"}"#,
            1.0,
        ),
        (
            &format!("titlecast_http_request_duration_seconds_count{stream}"),
            2.0,
        ),
        (&format!("titlecast_http_streams_open{stream}"), 1.0),
        (r#"titlecast_replies_ended_total{outcome="completed"}"#, 1.0),
        (r#"titlecast_replies_ended_total{outcome="failed"}"#, 1.0),
        ("titlecast_reply_duration_seconds_count", 2.0),
        ("titlecast_reply_first_text_seconds_count", 1.0),
        ("titlecast_replies_running", 1.0),
        ("titlecast_websockets_open", 1.0),
        ("titlecast_database_statements_failed_total", 0.0),
    ] {
        assert_eq!(value(&now, series), expected, "{series}\n{now}");
    }
    assert!(value(&now, "titlecast_database_statements_total") > 10.0);
    let pool = match server.database.is_sqlite() {
        true => "writer",
        false => "all",
    };
    let connections = |state| {
        let labels = format!(r#"{{pool="{pool}",state="{state}"}}"#);
        value(&now, &format!("titlecast_database_connections{labels}"))
    };
    assert!(connections("idle") + connections("used") >= 1.0, "{now}");

    drop((pen, socket, running));
    eventually(async || {
        let now = metrics(&page).await;
        let open = value(&now, &format!("titlecast_http_streams_open{stream}"));
        let sockets = value(&now, "titlecast_websockets_open");
        (open + sockets + value(&now, "titlecast_replies_running") == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_page_is_open_metrics() {
    let model = ModelServer::start().await;
    let mut server = Server::start(&model).await;
    let page = server.serve_metrics().await;
    server.begin("Plan a trip to Kyoto").await;
    let page = metrics(&page).await;
    let (body, end) = page.split_at(page.len() - "# EOF\n".len());
    assert_eq!(end, "# EOF\n");
    let (mut named, mut described) = (BTreeSet::new(), BTreeSet::new());
    let mut family = "";
    for line in body.lines() {
        let mut words = line.split(' ');
        match (words.next().unwrap(), words.next().unwrap()) {
            ("#", kind) => {
                let name = words.next().unwrap();
                if kind == "TYPE" {
                    assert!(named.insert(name), "{name} twice");
                    family = name;
                }
                if kind == "HELP" {
                    let help = line.split_once(name).unwrap().1;
                    assert!(help.len() > 10, "{line}");
                    described.insert(name);
                }
            }
            (series, value) => {
                assert!(series.starts_with(family) && !family.is_empty(), "{line}");
                value.parse::<f64>().unwrap();
            }
        }
    }
    assert_eq!(named, described, "each has a help");
}
