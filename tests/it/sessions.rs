//! Sessions of PostgreSQL have our settings, whatever the role and the database have as defaults.

use futures_util::future::join_all;
use serde_json::json;
use titlecast_testing::{ModelServer, Server, TestDatabase, postgres::Postgres, server::request};

#[tokio::test]
async fn a_stricter_default_isolation_refuses_nobody() {
    let database = TestDatabase::new().await;
    if database.is_sqlite() {
        return;
    }
    let separator = if database.url.contains('?') { '&' } else { '?' };
    let strict = "options=-c%20default_transaction_isolation%3Dserializable";
    let strict = TestDatabase::of_another(&format!("{}{separator}{strict}", database.url));
    let model = ModelServer::start().await;
    let server = Server::start_on(strict, &model, &[]).await;
    let sends = (0..20).map(|number| {
        let body = json!({ "message": format!("Question {number} about Kyoto") });
        request(&server.url, "POST", "/api/v1/chat", Some(body))
    });
    for (status, answer) in join_all(sends).await {
        assert_eq!(status, 200, "{answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_grants_fewer_connections_than_the_pool_has_refuses_nobody() {
    let Some(postgres) = Postgres::start().await else {
        return;
    };
    for statement in [
        "CREATE ROLE limited LOGIN CONNECTION LIMIT 3",
        "CREATE DATABASE limited OWNER limited",
        "ALTER ROLE postgres SET role = limited",
    ] {
        postgres.administer(statement).await;
    }
    postgres.database_named("limited").await;
    let url = postgres.url.replace("postgres@", "limited@");
    let (server, _) = url.rsplit_once('/').unwrap();
    let database = TestDatabase::of_another(&format!("{server}/limited"));
    let model = ModelServer::start().await;
    let server = Server::start_on(database, &model, &[]).await;
    let reads = (0..12).map(|_| request(&server.url, "GET", "/api/v1/conversations", None));
    for (status, answer) in join_all(reads).await {
        assert_eq!(status, 200, "{answer}");
    }
    let sends = (0..6).map(|number| {
        let body = json!({ "message": format!("Question {number} about Kyoto") });
        request(&server.url, "POST", "/api/v1/chat", Some(body))
    });
    for (status, answer) in join_all(sends).await {
        assert_eq!(status, 200, "{answer}");
    }
    server.stop().await;
}
