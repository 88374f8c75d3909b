//! Secrets in files: `NAME_FILE` instead of `NAME`, for each setting that hides its value.

use clap::CommandFactory;
use titlecast::config::Cli;
use titlecast_testing::{Titlecast, process::Ended};

const SECRET: &str = "a-secret-that-no-output-may-contain-0123";

/// The variables of all secrets.
fn secrets() -> Vec<String> {
    let command = Cli::command();
    let hidden = command
        .get_arguments()
        .filter(|argument| argument.is_hide_env_values_set());
    hidden
        .map(|argument| argument.get_env().unwrap().to_str().unwrap().to_owned())
        .collect()
}

fn assert_hidden(ended: &Ended) {
    assert!(!ended.stderr.contains(SECRET), "{}", ended.stderr);
    assert!(!ended.stdout.contains(SECRET), "{}", ended.stdout);
}

#[tokio::test]
async fn a_secret_set_twice_is_refused_and_both_are_named() {
    let secrets = secrets();
    for name in ["OPENAI_API_KEY", "DATABASE_URL", "TITLECAST_JWT_SECRET"] {
        assert!(secrets.iter().any(|known| known == name), "{name}");
    }
    for name in &secrets {
        let twin = format!("{name}_FILE");
        let ended = Titlecast::new(&["serve"])
            .file("secret", SECRET)
            .env(name, SECRET)
            .env(&twin, "secret")
            .run()
            .await;
        ended.assert_refused(&[&twin, &format!(" {name} "), "set only one of them"]);
        assert_hidden(&ended);
    }
    let ended = Titlecast::new(&["serve", "--openai-api-key", SECRET])
        .file("secret", SECRET)
        .env("OPENAI_API_KEY_FILE", "secret")
        .run()
        .await;
    ended.assert_refused(&["OPENAI_API_KEY_FILE", "--openai-api-key"]);
}

#[tokio::test]
async fn a_file_without_a_secret_is_refused() {
    for name in secrets() {
        let twin = format!("{name}_FILE");
        for (path, reason) in [
            ("/run/secrets/none", "No such file"),
            ("empty", "is empty"),
            ("blank", "is empty"),
            (".", "not a regular file"),
        ] {
            let ended = Titlecast::new(&["serve"])
                .file("empty", "")
                .file("blank", "\r\n")
                .env(&twin, path)
                .run()
                .await;
            ended.assert_refused(&[&twin, path, reason]);
        }
    }
}

#[tokio::test]
async fn a_secret_of_a_file_is_used_without_its_line_break() {
    let database = "sqlite://by-file.db?mode=rwc\r\n";
    let migrate = Titlecast::new(&["migrate", "up"])
        .file("url", database)
        // As a compose file passes a variable that is not set.
        .env("DATABASE_URL", "")
        .env("DATABASE_URL_FILE", "url")
        .start();
    let made = migrate.directory.join("by-file.db");
    let mut migrate = migrate;
    assert_eq!(migrate.exit().await, Some(0));
    assert!(made.exists());

    // With its line break, the key would not fit into a header.
    let mut serving = Titlecast::new(&["serve", "--listen", "127.0.0.1:0"])
        .file("key", &format!("\u{feff}{SECRET}\r\n"))
        .env("OPENAI_API_KEY_FILE", "key")
        .env("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
        .start();
    serving.url().await;
    serving.terminate();
    let ended = serving.ended().await;
    assert_hidden(&ended);
    ended.ok();

    let token = Titlecast::new(&["token", "--tenant", "acme", "--user", "ada"])
        .file("secret", &format!("{SECRET}\n"))
        .env("TITLECAST_JWT_SECRET_FILE", "secret")
        .env("TITLECAST_JWT_ISSUER", "issuer")
        .env("TITLECAST_JWT_AUDIENCE", "audience");
    assert_eq!(token.run().await.ok().split('.').count(), 3);
}

#[tokio::test]
async fn commands_without_settings_read_no_secret() {
    for command in [
        &["--help"][..],
        &["completions", "bash"],
        &["schema"],
        &["man"],
    ] {
        let command = Titlecast::new(command)
            .file("key", SECRET)
            .env("TITLECAST_JWT_SECRET_FILE", "/run/secrets/none")
            .env("OPENAI_API_KEY_FILE", "key");
        let ended = command.run().await;
        assert_hidden(&ended);
        ended.ok();
    }
}
