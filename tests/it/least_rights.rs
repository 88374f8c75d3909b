//! What roles need on PostgreSQL: rights on rows to serve, rights on the schema to migrate, none to read on a standby.

use titlecast_testing::{Titlecast, eventually, postgres::Postgres};

/// What docs/operations.md grants, in a schema that is not `public`.
const SETUP: [&str; 11] = [
    "CREATE ROLE owner LOGIN",
    "CREATE ROLE rows LOGIN",
    "CREATE ROLE lost LOGIN",
    "CREATE ROLE reads LOGIN",
    "CREATE SCHEMA chat AUTHORIZATION owner",
    "REVOKE ALL ON SCHEMA public FROM PUBLIC",
    "ALTER ROLE owner SET search_path = chat",
    "ALTER ROLE rows SET search_path = chat",
    "ALTER ROLE reads SET search_path = chat",
    "ALTER ROLE reads SET default_transaction_read_only = on",
    "GRANT USAGE ON SCHEMA chat TO rows, reads",
];

const GRANTS: [&str; 4] = [
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA chat TO rows",
    "REVOKE INSERT, UPDATE, DELETE ON chat.seaql_migrations FROM rows",
    "GRANT SELECT ON ALL TABLES IN SCHEMA chat TO reads",
    "GRANT USAGE ON SCHEMA public TO lost",
];

#[tokio::test]
async fn a_role_with_rights_on_rows_alone_serves_and_one_that_reads_alone_counts() {
    let Some(server) = Postgres::start().await else {
        return;
    };
    for statement in SETUP {
        server.administer(statement).await;
    }
    let url = |role: &str| server.url.replacen("postgres@", &format!("{role}@"), 1);
    let run = async |role: &str, arguments: &[&str]| {
        let command = Titlecast::new(arguments).env("DATABASE_URL", &url(role));
        command.run().await
    };
    // Before there is a schema, nothing but `migrate up` wants to write it, and the schema is called by its name.
    run("rows", &["stats"])
        .await
        .assert_failed(&["behind", "migrate up"]);
    run("rows", &["migrate", "status"]).await.ok();
    let denied = run("rows", &["migrate", "up"]).await;
    denied.assert_failed(&["permission denied for schema chat", "ON SCHEMA chat"]);

    run("owner", &["migrate", "up"]).await.ok();
    let denied = run("rows", &["stats"]).await;
    denied.assert_failed(&["permission denied for table", "GRANT SELECT"]);
    for statement in GRANTS {
        server.administer(statement).await;
    }
    for role in ["rows", "reads"] {
        for arguments in [
            &["migrate", "status"][..],
            &["stats"],
            &["backfill", "--dry-run"],
        ] {
            run(role, arguments).await.ok();
        }
        // Nothing is pending.
        run(role, &["migrate", "up"]).await.ok();
    }
    // The tables are there, and this role's search path does not lead to them.
    let lost = run("lost", &["stats"]).await;
    lost.assert_failed(&["behind", "\"chat\"", "search_path"]);
    // It would make a second set of tables.
    for arguments in [&["migrate", "up"][..], &["serve", "--migrate"]] {
        let misled = run("lost", arguments).await;
        misled.assert_failed(&["\"chat\" has the tables", "search_path = chat"]);
    }

    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--openai-base-url",
        "",
        "--openai-api-key",
        "",
    ];
    let mut serving = Titlecast::new(&arguments)
        .env("DATABASE_URL", &url("rows"))
        .start();
    let address = serving.url().await;
    let body = serde_json::json!({ "message": "Plan a trip to Kyoto in April" });
    let sent = titlecast_testing::server::client()
        .post(format!("{address}/api/v1/chat/stream"))
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(sent.status(), 200);
    assert!(sent.text().await.unwrap().contains("response.completed"));
    let ready = titlecast_testing::server::client()
        .get(format!("{address}/readyz"))
        .send()
        .await
        .unwrap();
    assert_eq!(ready.status(), 200);

    // Messages could not be stored, whatever other tables allow.
    server
        .administer("REVOKE INSERT ON chat.agent_search FROM rows")
        .await;
    let refuses = eventually(async || {
        let ready = titlecast_testing::server::client()
            .get(format!("{address}/readyz"))
            .send()
            .await
            .unwrap();
        (ready.status() == 503).then_some(ready)
    });
    let body = refuses.await.text().await.unwrap();
    assert!(body.contains("refuses_writes"), "{body}");
    serving.terminate();
    assert_eq!(serving.exit().await, Some(0));
}
