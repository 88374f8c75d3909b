//! `titlecast_errors_total`: an error counts once, by surface and code, whatever carried it to the client.

use futures_util::future::join_all;
use serde_json::json;
use titlecast_testing::{
    Answer, Events, ModelServer, Scene, Server, Titlecast,
    auth::GUARDED,
    eventually,
    metrics::series,
    postgres::Postgres,
    raw_socket::{Frame, RawSocket},
    server::{client, graphql, metrics},
    within,
};
use uuid::Uuid;

/// How often each error was counted: `graphql NOT_FOUND`.
async fn errors(page: &str) -> Vec<(String, f64)> {
    let series = series(&metrics(page).await);
    let errors = series
        .into_iter()
        .filter(|series| series.name == "titlecast_errors_total");
    let mut errors: Vec<_> = errors
        .map(|series| {
            (
                format!("{} {}", series.labels["surface"], series.labels["code"]),
                series.value,
            )
        })
        .collect();
    errors.sort_by(|a, b| a.0.cmp(&b.0));
    errors
}

const RENAME: &str = "mutation ($id: ID!) {
    renameConversation(input: { id: $id, displayName: \"Kyoto\" }) { conversation { id } }
}";

#[tokio::test]
async fn errors_of_graphql_count_over_http_streams_and_websockets() {
    let model = ModelServer::start().await;
    let mut server = Server::start(&model).await;
    let page = server.serve_metrics().await;
    let unknown = json!({ "id": Uuid::now_v7() });
    // Executed, refused by the schema, and refused before: by POST.
    server.graphql(RENAME, unknown.clone()).await;
    server.graphql("{ nothing }", json!({})).await;
    server.graphql("{", json!({})).await;
    // A mutation by GET.
    server.get("/graphql?query=mutation%7B__typename%7D").await;
    // Events of a stream, and of Apollo's multipart.
    let watch = "subscription ($id: ID!) { conversationUpdated(id: $id) { __typename } }";
    let body = json!({ "query": watch, "variables": unknown });
    for accept in ["text/event-stream", "multipart/mixed;subscriptionSpec=1.0"] {
        let request = client().post(format!("{}/graphql", server.url));
        let request = request.header("accept", accept).json(&body);
        let answer = within(request.send()).await.unwrap();
        let text = within(answer.text()).await.unwrap();
        assert!(text.contains("NOT_FOUND"), "{accept}: {text}");
    }
    // A WebSocket.
    let mut socket = RawSocket::ready(&server.url).await;
    for (id, query) in [
        ("1", RENAME),
        ("2", "{ nothing }"),
        ("3", "{"),
        ("4", watch),
    ] {
        let payload = json!({ "query": query, "variables": unknown });
        socket
            .say(json!({ "type": "subscribe", "id": id, "payload": payload }))
            .await;
        loop {
            let Frame::Message(message) = socket.receive().await else {
                panic!("{id}")
            };
            if ["error", "complete"].contains(&message["type"].as_str().unwrap()) {
                break;
            }
        }
    }
    let counted = errors(&page).await;
    let expected = [
        ("graphql GRAPHQL_PARSE_FAILED", 2.0),
        ("graphql GRAPHQL_VALIDATION_FAILED", 2.0),
        ("graphql METHOD_NOT_ALLOWED", 1.0),
        ("graphql NOT_FOUND", 5.0),
    ];
    let expected = expected.map(|(name, count)| (name.to_owned(), count));
    assert_eq!(counted, expected);
    server.stop().await;
}

#[tokio::test]
async fn errors_of_routes_and_legacy_streams_count() {
    let refusal = || Answer::error(401, "invalid_request_error", None, "No");
    let mut scene = Scene::replies([refusal(), refusal()]).await;
    let page = scene.server.serve_metrics().await;
    let body = json!({ "message": Scene::MESSAGE });
    let events = Events::post(&scene.server.url, body.clone())
        .await
        .rest()
        .await;
    assert_eq!(
        events.last().unwrap()["payload"]["code"],
        "MODEL_MISCONFIGURED"
    );
    assert_eq!(scene.server.send("POST", "/api/v1/chat", body).await.0, 502);
    assert_eq!(scene.server.get("/no/such/path").await.0, 404);
    assert_eq!(
        scene.server.send("POST", "/api/v1/chat", json!({})).await.0,
        422
    );
    let forbidden = client().get(format!("{}/graphql", scene.server.url));
    let forbidden = forbidden.header("origin", "http://evil.example");
    assert_eq!(within(forbidden.send()).await.unwrap().status(), 403);
    let expected = [
        ("graphql FORBIDDEN_ORIGIN", 1.0),
        ("rest INVALID_INPUT", 1.0),
        ("rest MODEL_MISCONFIGURED", 1.0),
        ("rest NOT_FOUND", 1.0),
        ("sse MODEL_MISCONFIGURED", 1.0),
    ];
    let expected = expected.map(|(name, count)| (name.to_owned(), count));
    assert_eq!(errors(&page).await, expected);
    scene.server.stop().await;
}

#[tokio::test]
async fn callers_that_are_not_let_in_count_on_each_surface() {
    let mut server = Server::guarded_with(&GUARDED).await;
    let page = server.serve_metrics().await;
    server.graphql("{ __typename }", json!({})).await;
    assert_eq!(server.get("/api/v1/conversations").await.0, 401);
    let mut socket = RawSocket::open(&server.url, "graphql-transport-ws").await;
    socket.say(json!({ "type": "connection_init" })).await;
    assert_eq!(socket.closed().await.0, 4401);
    let expected = [
        ("graphql UNAUTHENTICATED", 2.0),
        ("rest UNAUTHENTICATED", 1.0),
    ];
    let expected = expected.map(|(name, count)| (name.to_owned(), count));
    assert_eq!(errors(&page).await, expected);
    server.stop().await;
}

/// The value of a series without labels.
async fn value(page: &str, name: &str) -> f64 {
    let series = series(&metrics(page).await);
    let found = series.iter().find(|series| series.name == name);
    found.unwrap_or_else(|| panic!("no {name}")).value
}

#[tokio::test]
async fn a_database_that_is_stopped_shows_in_the_metrics() {
    let Some(mut postgres) = Postgres::start().await else {
        return;
    };
    let database = postgres.database().await;
    // A process: statements that get no connection are counted for the process as a whole.
    let mut process = Titlecast::new(&["serve", "--listen", "127.0.0.1:0", "--migrate"])
        .env("DATABASE_URL", &database.url)
        .start();
    let line = process.line("metrics_address=").await;
    let address = line.split("metrics_address=").nth(1).unwrap();
    let page = format!("http://{}", address.split(' ').next().unwrap());
    let url = process.url().await;
    let gauges = async || {
        let [ready, up] =
            ["titlecast_ready", "titlecast_database_up"].map(|name| value(&page, name));
        (ready.await, up.await)
    };
    assert_eq!(gauges().await, (1.0, 1.0));
    let failed = "titlecast_database_statements_failed_total";
    let before = value(&page, failed).await;
    postgres.kill();
    let query = "{ conversations { nodes { id } } }";
    let answers = join_all((0..10).map(|_| graphql(&url, query, json!({})))).await;
    for answer in answers {
        let code = &answer["errors"][0]["extensions"]["code"];
        assert_eq!(code, "DATABASE_UNAVAILABLE", "{answer}");
    }
    let expected = ("graphql DATABASE_UNAVAILABLE".to_owned(), 10.0);
    assert!(errors(&page).await.contains(&expected));
    assert!(value(&page, failed).await >= before + 10.0);
    assert!(
        value(&page, "titlecast_database_statements_total").await >= value(&page, failed).await
    );
    assert_eq!(gauges().await, (0.0, 0.0));
    postgres.start_again().await;
    eventually(async || (gauges().await == (1.0, 1.0)).then_some(())).await;
    process.terminate();
    process.ended().await.ok();
}
