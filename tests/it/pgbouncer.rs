//! Through PgBouncer in session mode, with its settings as they come: no start-up parameter is ignored.

use std::{
    net::{TcpListener, TcpStream},
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::json;
use titlecast::db::Database;
use titlecast_testing::{
    Rows, Server, TestDatabase, Titlecast, assert_common_stream, eventually,
    postgres::{Postgres, other_user},
    skipped,
};
use uuid::Uuid;

const PROGRAM: &str = "/usr/sbin/pgbouncer";

struct PgBouncer {
    child: Child,
    directory: PathBuf,
    url: String,
}

impl PgBouncer {
    async fn before(server: &Postgres, mode: &str) -> Option<Self> {
        if !Path::new(PROGRAM).exists() {
            skipped("there is no PgBouncer to start");
            return None;
        }
        let directory =
            std::env::temp_dir().join(format!("titlecast-pgbouncer-{}", Uuid::now_v7()));
        std::fs::create_dir(&directory).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let (users, settings) = (directory.join("users"), directory.join("ini"));
        std::fs::write(&users, "\"postgres\" \"\"\n").unwrap();
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = {mode}\n",
            server.port,
            users.display()
        );
        std::fs::write(&settings, text).unwrap();
        let mut command = Command::new(PROGRAM);
        if let Some((user, group)) = other_user() {
            for path in [&directory, &users, &settings] {
                chown(path, Some(user), Some(group)).unwrap();
            }
            command.uid(user).gid(group);
        }
        command
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().unwrap();
        eventually(|| async move { TcpStream::connect(("127.0.0.1", port)).ok() }).await;
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        Some(Self {
            child,
            directory,
            url,
        })
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[tokio::test]
async fn a_server_works_through_pgbouncer_in_session_mode() {
    let Some(server) = Postgres::start().await else {
        return;
    };
    let Some(bouncer) = PgBouncer::before(&server, "session").await else {
        return;
    };
    // The lock among starters holds through it.
    let started: Vec<_> = (0..6)
        .map(|_| {
            Titlecast::new(&["migrate", "up"])
                .env("DATABASE_URL", &bouncer.url)
                .start()
        })
        .collect();
    for process in started {
        process.ended().await.ok();
    }
    let database = TestDatabase::of_another(&bouncer.url);
    let titlecast = Server::on(database, &["--openai-base-url", "", "--openai-api-key", ""]).await;
    let mut conversations = 0;
    for number in 0..20 {
        let body = json!({ "message": format!("Question {number} about Kyoto") });
        let events = titlecast.stream(body).await.rest().await;
        assert_eq!(
            assert_common_stream(&events)["raw_type"],
            "response.completed"
        );
        conversations += 1;
    }
    let (status, page) = titlecast.get("/api/v1/conversations/search?q=kyoto").await;
    assert_eq!(status, 200, "{page}");
    let (status, ready) = titlecast.get("/readyz").await;
    assert_eq!(status, 200, "{ready}");
    // Seen past the pooler.
    let direct = TestDatabase::of_another(&server.url);
    let rows = Rows::of(&direct).await;
    assert_eq!(rows.count("agent_conversations").await, conversations);
    // What a start-up parameter set before is set.
    let settings =
        "SELECT count(*) AS n FROM pg_stat_activity WHERE query LIKE 'SET lock_timeout%'";
    let _ = rows.all(settings, []).await;
    let db = Database::connect(&bouncer.url, 1).await.unwrap();
    assert_eq!(db.lock_timeout().await.unwrap(), "5s");
    db.close().await.unwrap();
    titlecast.stop().await;
    eprintln!("{conversations} conversations through PgBouncer");
}
