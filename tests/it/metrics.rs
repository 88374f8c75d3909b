//! `/metrics`: what an operator watches, in a form that Prometheus takes.

use std::{
    collections::BTreeSet,
    io::Write,
    process::{Command, Stdio},
};

use serde_json::json;
use titlecast_testing::{
    Answer, Events, GraphqlSocket, ModelServer, Server,
    auth::{claims, signed},
    eventually,
    metrics::series,
    server::{client, metrics},
    skipped,
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
    ] {
        assert_eq!(value(&now, series), expected, "{series}\n{now}");
    }
    let run = value(&now, "titlecast_database_statements_total");
    assert!(run > 10.0);
    // Those of other tests that got no connection are among them: they are counted for the process as a whole.
    assert!(value(&now, "titlecast_database_statements_failed_total") < run);
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

/// Has promtool read the page. 0: nothing to complain of; 3: names that it would choose otherwise.
fn promtool_reads(page: &str) {
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped());
    let piped = promtool.stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut running) = piped.spawn() else {
        skipped("there is no promtool");
        return;
    };
    running
        .stdin
        .take()
        .unwrap()
        .write_all(page.as_bytes())
        .unwrap();
    let output = running.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 3)), "{said}");
}

#[tokio::test]
async fn no_name_of_a_tenant_breaks_the_page_or_makes_up_a_series() {
    let model = ModelServer::start().await;
    let mut server = Server::guarded(&model).await;
    let page = server.serve_metrics().await;
    let tenants = [
        r#"ev"il"#,
        r#"a",model="x"} 99 #"#,
        r"back\slash\",
        r"\n",
        r#"\""#,
        "{}=,# ",
        "\u{2028}\u{feff}caf\u{e9}",
    ];
    for tenant in tenants {
        let request = client().post(format!("{}/api/v1/chat/stream", server.url));
        let request = request.bearer_auth(signed(&claims(tenant, "ada")));
        let request = request.json(&json!({ "message": "Plan a trip to Kyoto" }));
        let events = Events::of(request).await.rest().await;
        assert_eq!(
            events.last().unwrap()["raw_type"],
            "response.completed",
            "{tenant}"
        );
    }
    let counted = eventually(async || {
        let page = metrics(&page).await;
        let calls = series(&page).into_iter();
        let calls = calls.filter(|series| series.name == "titlecast_title_calls_total");
        let calls: Vec<_> = calls.collect();
        (calls.len() >= tenants.len()).then_some(calls)
    })
    .await;
    let named: BTreeSet<_> = counted
        .iter()
        .map(|call| call.labels["tenant"].as_str())
        .collect();
    assert_eq!(named, BTreeSet::from(tenants));
    for call in &counted {
        assert_eq!((call.value, call.labels.len()), (1.0, 3), "{call:?}");
        assert_ne!(call.labels["model"], "x");
    }
    promtool_reads(&metrics(&page).await);
    server.stop().await;
}

#[test]
fn the_strict_reader_refuses_what_is_no_page() {
    for bad in [
        "a{b=\"c\"d\"} 1\n",
        "a{b=\"\\x\"} 1\n",
        "a{b=\"c\",} 1\n",
        "a{b=\"c\",b=\"d\"} 1\n",
        "a 1\na 2\n",
        "a\n",
        "#a\n",
        "a{b=\"c\"} 1 #\n",
    ] {
        let read = std::panic::catch_unwind(|| series(&format!("{bad}# EOF\n")));
        assert!(read.is_err(), "{bad:?}");
    }
}

#[test]
fn a_label_is_escaped_where_it_is_written() {
    use prometheus_client::{
        encoding::{EncodeLabelSet, text::encode},
        metrics::{counter::Counter, family::Family},
        registry::Registry,
    };
    use titlecast::telemetry::label::LabelText;

    #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
    struct Labels {
        tenant: LabelText,
    }

    let mut registry = Registry::default();
    let family = Family::<Labels, Counter>::default();
    registry.register("calls", "Calls", family.clone());
    for tenant in ["two\nlines", "return\r", "nul\0", "del\u{7f}"] {
        family
            .get_or_create(&Labels {
                tenant: tenant.into(),
            })
            .inc();
    }
    let mut page = String::new();
    encode(&mut page, &registry).unwrap();
    let read: BTreeSet<_> = series(&page)
        .iter()
        .map(|series| series.labels["tenant"].clone())
        .collect();
    let expected = ["two\nlines", "return\u{fffd}", "nul\u{fffd}", "del\u{fffd}"];
    assert_eq!(read, expected.map(String::from).into());
    promtool_reads(&page);
}
