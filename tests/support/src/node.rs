//! A node as an operator runs it: a process of its own, on a database and a model that others may share.

use super::{Titlecast, process::Process};

/// A process that serves; killed when it is dropped.
pub struct Node {
    pub process: Process,
    pub url: String,
}

impl Node {
    /// On this database, with this model.
    pub async fn start(database_url: &str, model_url: &str, settings: &[&str]) -> Self {
        Self::of(Self::command(database_url, model_url, settings)).await
    }

    /// The command that starts one, for tests that add to it.
    pub fn command(database_url: &str, model_url: &str, settings: &[&str]) -> Titlecast {
        let mut arguments = vec![
            "--database-url",
            database_url,
            "--openai-base-url",
            model_url,
            "--openai-api-key",
            "sk-test-key",
            "--title-check",
            "false",
        ];
        if !settings.contains(&"--listen") {
            arguments.extend(["--listen", "127.0.0.1:0"]);
        }
        arguments.extend(settings);
        Titlecast::new(&arguments)
    }

    /// Starts it, and returns when it listens.
    pub async fn of(command: Titlecast) -> Self {
        let mut process = command.start();
        let url = process.url().await;
        Self { process, url }
    }

    /// Kills it with SIGKILL, and waits until it is gone.
    pub async fn kill(mut self) {
        self.process.kill();
        self.process.ended().await;
    }

    /// Ends it as an operator would; it has to end well.
    pub async fn stop(self) -> String {
        self.process.terminate();
        let ended = self.process.ended().await;
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stderr
    }
}
