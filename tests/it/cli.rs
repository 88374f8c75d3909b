//! The binary as an operator meets it: what its commands print, what it refuses and in which words.

use std::io::Write;

use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;
use serde_json::json;
use titlecast::config::Cli;
use titlecast_testing::{Rows, TestDatabase, Titlecast, process::Ended};
use uuid::Uuid;

use crate::migrations::NAMES;

const KEY: &str = "sk-proj-a-key-that-nobody-may-read";

#[tokio::test]
async fn the_schema_is_the_committed_one() {
    let printed = Titlecast::new(&["schema"]).run().await.ok();
    assert_eq!(printed, include_str!("../../schema.graphql"));
}

#[tokio::test]
async fn the_help_names_every_setting_and_its_environment_name() {
    let help = Titlecast::new(&["--help"]).run().await.ok();
    let one_line = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut settings = 0;
    let command = Cli::command();
    for argument in command.get_arguments().filter(|one| !one.is_hide_set()) {
        let Some(env) = argument.get_env() else {
            continue;
        };
        settings += 1;
        let (flag, env) = (argument.get_long().unwrap(), env.to_str().unwrap());
        assert!(help.contains(&format!("--{flag}")), "{flag}");
        assert!(one_line.contains(&format!("[env: {env}")), "{env}");
    }
    assert!(settings >= 15, "{settings}");
    for command in ["serve", "migrate", "schema"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}");
    }
}

#[tokio::test]
async fn the_page_of_settings_shows_the_options_as_the_help_does() {
    let help = Titlecast::new(&["--help"]).run().await.ok();
    let options = help[help.find("Options:").unwrap()..].trim_end();
    let page = include_str!("../../docs/settings.md");
    let mut shown = String::new();
    for line in options.lines() {
        let line = match line {
            "" => String::new(),
            line => format!("    {line}"),
        };
        assert!(
            page.lines().any(|shown| shown == line),
            "copy the options into docs/settings.md; it lacks: {line}"
        );
        shown.push_str(&line);
        shown.push('\n');
    }
    assert!(
        page.contains(&format!("## All settings\n\n{shown}\n## ")),
        "docs/settings.md has options in another order, or some that the help has not"
    );
}

#[tokio::test]
async fn the_help_shows_no_secret() {
    let help = Titlecast::new(&["--help"])
        .env("OPENAI_API_KEY", KEY)
        .env("DATABASE_URL", "postgres://me:hunter2@localhost/mine")
        .env("TITLECAST_NATS_URL", "nats://me:hunter2@localhost:4222")
        .env(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "http://me:hunter2@localhost:4318",
        )
        .run()
        .await
        .ok();
    assert!(!help.contains(KEY) && !help.contains("hunter2"), "{help}");
}

#[tokio::test]
async fn the_version_is_the_crate_s() {
    let version = Titlecast::new(&["--version"]).run().await.ok();
    assert_eq!(
        version,
        format!("titlecast {}\n", env!("CARGO_PKG_VERSION"))
    );
}

/// `titlecast migrate …`; standard output.
async fn migrate(database: &TestDatabase, arguments: &[&str]) -> String {
    let arguments = [&["migrate"], arguments].concat();
    let command = Titlecast::new(&arguments).env("DATABASE_URL", &database.url);
    command.run().await.ok()
}

/// What is printed when the database had the oldest so many, and has so many now.
fn standing(before: usize, now: usize) -> String {
    let line = |(place, name)| {
        let state = if place < now { "applied" } else { "pending" };
        let since = match (place < now) == (place < before) {
            true => "",
            false => ", just now",
        };
        format!("{state} {name}{since}\n")
    };
    NAMES.iter().enumerate().map(line).collect()
}

#[tokio::test]
async fn migrate_prints_where_the_database_stands_and_what_it_changed() {
    let database = TestDatabase::empty().await;
    let all = NAMES.len();
    let mut before = 0;
    for (arguments, applied) in [
        (&["status"][..], 0),
        (&["up", "--steps", "1"], 1),
        (&["up"], all),
        (&["up"], all),
        (&["down"], all - 1),
        (&["down", "--steps", "2"], all - 3),
        (&["up"], all),
        (&["status"], all),
    ] {
        let printed = migrate(&database, arguments).await;
        assert_eq!(printed, standing(before, applied), "{arguments:?}");
        before = applied;
    }
}

#[tokio::test]
async fn migrate_down_drops_no_conversation() {
    const INSERT: &str = "INSERT INTO agent_conversations
        (id, tenant_id, user_id, agent_entrypoint, active_agent, last_message_at, created_at,
         updated_at) VALUES ($1, 'local', 'local', 'triage', 'triage', $2, $2, $2)";
    let database = TestDatabase::new().await;
    let rows = Rows::of(&database).await;
    let row = [Uuid::now_v7().into(), chrono::Utc::now().into()];
    rows.run(INSERT, row).await.unwrap();
    let all = NAMES.len().to_string();
    let ended = Titlecast::new(&["migrate", "down", "--steps", &all])
        .env("DATABASE_URL", &database.url)
        .run()
        .await;
    ended.assert_failed(&["cannot migrate", "agent_conversations is not empty"]);
    assert_eq!(rows.count("agent_conversations").await, 1);
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_left_alone() {
    let database = TestDatabase::new().await;
    let rows = Rows::of(&database).await;
    let insert =
        "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m99991231_000001_future', 0)";
    rows.run(insert, []).await.unwrap();
    let parts = [
        "the database schema is ahead",
        "m99991231_000001_future",
        "titlecast migrate down",
    ];
    failed(&[("DATABASE_URL", &database.url)], &parts).await;
    let down = Titlecast::new(&["migrate", "down"]).env("DATABASE_URL", &database.url);
    down.run().await.assert_failed(&parts);
}

/// `titlecast serve` with these settings in its environment.
async fn serve(settings: &[(&str, &str)]) -> Ended {
    let mut command = Titlecast::new(&["serve"]).env("TITLECAST_LISTEN", "127.0.0.1:0");
    for (name, value) in settings {
        command = command.env(name, value);
    }
    command.run().await
}

/// The same with settings that it refuses.
async fn refused(settings: &[(&str, &str)], parts: &[&str]) {
    serve(settings).await.assert_refused(parts);
}

/// The same with settings that are good, and do not work here and now.
async fn failed(settings: &[(&str, &str)], parts: &[&str]) {
    serve(settings).await.assert_failed(parts);
}

#[tokio::test]
async fn a_malformed_setting_is_refused_in_one_line_that_names_it() {
    #[rustfmt::skip]
    let table: &[(&str, &str, &[&str])] = &[
        ("TITLECAST_TITLE_GRACE", "10", &["--title-grace", "10s or 250ms"]),
        ("TITLECAST_TITLE_DEADLINE", "0s", &["--title-deadline", "longer than 0s"]),
        ("TITLECAST_REPLY_IDLE", "soon", &["--reply-idle", "soon"]),
        ("TITLECAST_TITLE_CONCURRENCY", "0", &["--title-concurrency", "1..=10000"]),
        ("TITLECAST_DATABASE_CONNECTIONS", "many", &["--database-connections", "many"]),
        ("TITLECAST_HISTORY_BUDGET", "-1", &["--history-budget", "-1"]),
        ("TITLECAST_LISTEN", "8080", &["--listen", "127.0.0.1:8080"]),
        ("TITLECAST_METRICS_LISTEN", "localhost:9464", &["--metrics-listen", "IP address"]),
        ("TITLECAST_NATS_URL", "nats://me:hunter2@[", &["--nats-url", "TITLECAST_NATS_URL", "IPv6"]),
        ("TITLECAST_NATS_URL", "http://localhost:4222", &["--nats-url", "http", "nats://"]),
        ("TITLECAST_TRUSTED_PROXIES", "proxy.example", &["--trusted-proxies", "10.0.0.0/8"]),
        ("TITLECAST_CLIENT_ADDRESS", "x-real-ip", &["--client-address", "x-real-ip"]),
        ("TITLECAST_BASE_PATH", "chat", &["--base-path", "/chat"]),
        ("TITLECAST_LOG", "titlecast=loud", &["--log", "TITLECAST_LOG", "malformed"]),
        ("TITLECAST_ALLOWED_ORIGINS", "app.example", &["--allowed-origins", "app.example", "https://app.example"]),
        ("TITLECAST_ALLOWED_HOSTS", "https://chat.example", &["--allowed-hosts", "https://chat.example", "*.chat.example"]),
        ("OPENAI_BASE_URL", "localhost:11434", &["OPENAI_BASE_URL", "http://"]),
        ("OPENAI_API_KEY", "sk-two\nlines", &["OPENAI_API_KEY", "characters"]),
        ("DATABASE_URL", "", &["DATABASE_URL", "empty", "sqlite://FILE"]),
        ("DATABASE_URL", "nonsense", &["DATABASE_URL", "malformed", "sqlite://FILE"]),
        ("DATABASE_URL", "postgres://me:hunter2@localhost:99999/mine", &["DATABASE_URL", "port"]),
        ("DATABASE_URL", "postgres://localhost/mine?sslmode=maybe", &["DATABASE_URL", "maybe"]),
        ("DATABASE_URL", "sqlite://titlecast.db?mode=rwx", &["DATABASE_URL", "rwx"]),
        ("DATABASE_URL", "sqlite::memory:", &["DATABASE_URL", "in-memory", "name a file"]),
    ];
    for (name, value, parts) in table {
        let ended = serve(&[(name, value)]).await;
        ended.assert_refused(parts);
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_database_that_is_none_of_ours_is_refused_without_its_password() {
    for url in [
        "mysql://me:hunter2@localhost/mine",
        "postgres//me:hunter2@localhost/mine",
        "postgres://me:hunter2@[localhost/mine",
        "hunter2",
    ] {
        let ended = Titlecast::new(&["serve"])
            .env("DATABASE_URL", url)
            .run()
            .await;
        ended.assert_refused(&["cannot open the database", "DATABASE_URL"]);
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn an_unknown_command_or_flag_is_refused() {
    let command = Titlecast::new(&["frobnicate"]).run().await;
    command.assert_refused(&["frobnicate"]);
    let flag = Titlecast::new(&["--frobnicate"]).run().await;
    flag.assert_refused(&["--frobnicate"]);
}

#[tokio::test]
async fn an_address_that_others_reach_is_refused() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8080"] {
        let parts = [address, "no authentication", "--allow-unauthenticated"];
        refused(&[("TITLECAST_LISTEN", address)], &parts).await;
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (setting, flag) in [
        ("TITLECAST_LISTEN", "--listen"),
        ("TITLECAST_METRICS_LISTEN", "--metrics-listen"),
    ] {
        let parts = ["cannot listen on", &address, "in use", flag, setting];
        failed(&[(setting, &address)], &parts).await;
    }
}

#[tokio::test]
async fn a_server_s_database_that_is_behind_is_not_served_but_by_request() {
    let database = TestDatabase::empty().await;
    if database.is_sqlite() {
        // A file of ours is migrated without asking; see cli_serve.
        return;
    }
    let settings = [("DATABASE_URL", database.url.as_str())];
    let [first, .., last] = NAMES;
    let behind = format!("behind by {}", NAMES.len());
    failed(
        &settings,
        &[&behind, first, "titlecast migrate up", "--migrate"],
    )
    .await;
    let all_but_one = (NAMES.len() - 1).to_string();
    migrate(&database, &["up", "--steps", &all_but_one]).await;
    failed(&settings, &["behind by 1", last, "titlecast migrate up"]).await;

    let mut serving = Titlecast::new(&["serve", "--migrate", "--listen", "127.0.0.1:0"])
        .env("DATABASE_URL", &database.url)
        .start();
    let url = serving.url().await;
    let (status, health) = titlecast_testing::server::request(&url, "GET", "/readyz", None).await;
    assert_eq!(
        (status, health),
        (
            200,
            json!({
                "status": "ready", "degraded": [], "database": "ok", "chat_model": "ok", "title_model": "unknown",
                "loops": "ok"
            })
        )
    );
    serving.terminate();
    serving.ended().await.ok();
}

#[tokio::test]
async fn each_shell_gets_completions_whatever_the_log_s_settings() {
    for shell in Shell::value_variants() {
        let shell = shell.to_string();
        let command =
            Titlecast::new(&["completions", &shell]).env("TITLECAST_LOG", "titlecast=loud");
        let script = command.run().await.ok();
        assert!(script.contains("migrate"), "{shell}: {script}");
    }
    let unknown = Titlecast::new(&["completions", "cmd"]).run().await;
    unknown.assert_refused(&["cmd", "<SHELL>"]);
}

#[tokio::test]
async fn bash_takes_its_completions() {
    let script = Titlecast::new(&["completions", "bash"]).run().await.ok();
    let mut bash = std::process::Command::new("bash")
        .arg("-n")
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Closed when it is dropped, which is what bash waits for.
    bash.stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    let ended = bash.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&ended.stderr);
    assert!(
        ended.status.success() && complaint.is_empty(),
        "{complaint}"
    );
}

#[tokio::test]
async fn the_manual_page_has_each_command_and_each_option() {
    let page = Titlecast::new(&["man"]).run().await.ok();
    assert!(page.contains("\n.TH titlecast 1 "), "{page}");
    let (_, exit) = page.split_once("\n.SH \"EXIT STATUS\"\n").unwrap();
    assert!(
        exit.starts_with("Exit codes: 0 success, 1 failure, 2 "),
        "{exit}"
    );
    let mut commands = vec![("TITLECAST".to_owned(), Cli::command())];
    let mut sections = 0;
    while let Some((name, command)) = commands.pop() {
        for argument in command.get_arguments().filter(|one| !one.is_hide_set()) {
            let Some(flag) = argument.get_long() else {
                continue;
            };
            let flag = format!("\\-\\-{}", flag.replace('-', "\\-"));
            assert!(page.contains(&flag), "{name}: {flag}");
        }
        for below in command.get_subcommands() {
            let name = format!("{name} {}", below.get_name().to_uppercase());
            assert!(page.contains(&format!("\n.SH \"{name}\"\n")), "{name}");
            sections += 1;
            commands.push((name, below.clone()));
        }
    }
    assert!(sections >= 13, "{sections}");
}
