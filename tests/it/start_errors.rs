//! The operator's errors when a dependency of the program is missing: one line with what, why and what to do, and exit
//! code 1. Invalid settings are in `cli`, tokens in `auth_settings`.

use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::Command,
    time::Instant,
};

use futures_util::future::join_all;
use titlecast_testing::{ModelServer, TestDatabase, Titlecast, postgres::Postgres, process::Ended};
use uuid::Uuid;

const SERVE: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];

/// `titlecast serve` on this database, which fails.
async fn failed(url: &str, parts: &[&str]) -> Ended {
    let command = Titlecast::new(&SERVE).env("DATABASE_URL", url);
    let ended = command.run().await;
    ended.assert_failed(&[&["cannot open the database", "DATABASE_URL"], parts].concat());
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    ended
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_and_so_is_the_reason() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let other = ModelServer::start().await;
    let other = other.url.split('/').nth(2).unwrap();
    let refused = "127.0.0.1:1";
    #[rustfmt::skip]
    let table: [(&str, &[&str]); 4] = [
        (refused, &[refused, "connection refused", "Start PostgreSQL", "host and port"]),
        ("no-such-host.invalid", &["no-such-host.invalid:5432", "cannot be reached", "host and port"]),
        (&silent, &[&silent, "does not answer within 5s", "host and port"]),
        (other, &[other, "does not speak the PostgreSQL protocol", "host and port"]),
    ];
    let began = Instant::now();
    let all = table.map(async |(server, parts)| {
        let ended = failed(&format!("postgres://me:hunter2@{server}/mine"), parts).await;
        (server, ended, began.elapsed())
    });
    for (server, ended, took) in join_all(all).await {
        // The program waits for a server that may be starting, and logs that.
        let is_waited_for = server == refused;
        assert_eq!(
            ended.stderr.contains("trying for 5s"),
            is_waited_for,
            "{}",
            ended.stderr
        );
        if is_waited_for || server == silent {
            assert!(took.as_secs() >= 5, "{server}: {took:?}");
        }
    }
}

#[tokio::test]
async fn a_refusal_by_the_server_is_reported() {
    let Some(server) = Postgres::start().await else {
        return;
    };
    let (_, at) = server.url.rsplit_once('@').unwrap();
    let (at, _) = at.rsplit_once('/').unwrap();
    for statement in [
        "CREATE ROLE ada LOGIN PASSWORD 'right'",
        "CREATE ROLE low LOGIN",
        "CREATE DATABASE standby",
        "ALTER DATABASE standby SET default_transaction_read_only = on",
    ] {
        server.administer(statement).await;
    }
    server.ask_for_passwords_of("ada").await;
    let missing = format!(
        "createdb -h 127.0.0.1 -p {} -U postgres missing",
        server.port
    );
    #[rustfmt::skip]
    let table: [(&str, &[&str]); 4] = [
        ("postgres:hunter2@/missing", &["no database \"missing\"", &missing]),
        ("ada:hunter2@/postgres", &["refuses the password of \"ada\"", "user and password"]),
        ("ada@/postgres", &["refuses the password of \"ada\"", "user and password"]),
        ("nobody:hunter2@/postgres", &["rejects the user \"nobody\"", "does not exist", "pg_hba.conf"]),
    ];
    for (url, parts) in table {
        let url = format!("postgres://{}", url.replace('@', &format!("@{at}")));
        failed(&url, &[&[at], parts].concat()).await;
    }
    // It opens, and cannot be migrated, which nothing but `migrate up` tries.
    for (url, parts) in [
        ("low@/postgres", ["denied for schema public", "CREATE"]),
        ("postgres@/standby", ["read-only", "name the primary"]),
    ] {
        let url = format!("postgres://{}", url.replace('@', &format!("@{at}")));
        let command = Titlecast::new(&SERVE).env("DATABASE_URL", &url);
        command.run().await.assert_failed(&["behind", "migrate up"]);
        let command = Titlecast::new(&["migrate", "up"]).env("DATABASE_URL", &url);
        let ended = command.run().await;
        ended.assert_failed(&[&["cannot migrate the database"][..], &parts].concat());
    }
}

#[tokio::test]
async fn a_file_that_does_not_open_is_named_and_so_is_the_reason() {
    let folder = std::env::temp_dir().join(format!("titlecast-test-{}", Uuid::now_v7()));
    fs::create_dir_all(folder.join("locked")).unwrap();
    fs::write(folder.join("text"), "no database ".repeat(100)).unwrap();
    let good = format!("sqlite://{}?mode=rwc", folder.join("good").display());
    let migrate = Titlecast::new(&["migrate", "up"]).env("DATABASE_URL", &good);
    migrate.run().await.ok();
    fs::set_permissions(folder.join("good"), Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(folder.join("locked"), Permissions::from_mode(0o555)).unwrap();
    #[rustfmt::skip]
    let table: [(&str, &[&str]); 7] = [
        ("none/x.db?mode=rwc", &["the folder", "/none does not exist", "Create it"]),
        ("x.db", &["the file", "/x.db does not exist", "?mode=rwc"]),
        ("locked?mode=rwc", &["/locked is a folder", "Name a file"]),
        ("text?mode=rwc", &["/text is not an SQLite database", "another file"]),
        ("locked/x.db?mode=rwc", &["/locked/x.db cannot be created", "Let this user write to"]),
        ("good?mode=rwc", &["/good cannot be written to", "Permission denied", "Let this user write to it"]),
        ("good", &["/good cannot be written to", "Permission denied"]),
    ];
    for (file, parts) in table {
        let url = format!("sqlite://{}/{file}", folder.display());
        let ended = Titlecast::unprivileged(&SERVE)
            .env("DATABASE_URL", &url)
            .run()
            .await;
        ended.assert_failed(&[&["cannot open the database", "DATABASE_URL"], parts].concat());
    }
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_relative_file_is_named_where_it_is() {
    let command = Titlecast::new(&SERVE).env("DATABASE_URL", "sqlite://none/titlecast.db?mode=rwc");
    let process = command.start();
    let folder = process.directory.join("none").display().to_string();
    process.ended().await.assert_failed(&[&folder]);
}

/// What remains when the reader exits: `titlecast … | head -0`.
#[tokio::test]
async fn who_reads_no_further_is_no_failure() {
    let program = env!("CARGO_BIN_EXE_titlecast");
    // The writer begins when the reader has ended: the pipe that both hold is broken by then.
    let script = format!("set -o pipefail; {{ sleep 0.2; {program} schema; }} | true");
    let ran = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.stderr), "");
    assert_eq!(ran.status.code(), Some(0));
}

#[tokio::test]
async fn what_cannot_be_printed_is_a_failure() {
    let program = env!("CARGO_BIN_EXE_titlecast");
    let script = format!("{program} schema > /dev/full");
    let ran = Command::new("bash").args(["-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(
        said.starts_with("titlecast: cannot write to standard output"),
        "{said}"
    );
}

#[tokio::test]
async fn a_command_says_why_the_database_failed() {
    let database = TestDatabase::new().await;
    let connection = database.connect().await;
    sea_orm::ConnectionTrait::execute_unprepared(&connection, "DROP TABLE agent_title_calls")
        .await
        .unwrap();
    connection.close().await.unwrap();
    let command = Titlecast::new(&["stats"]).env("DATABASE_URL", &database.url);
    command
        .run()
        .await
        .assert_failed(&["database", "agent_title_calls"]);
}
