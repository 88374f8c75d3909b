//! A node as an operator runs it: a separate process, on a database and a model that others may share.

use super::{Titlecast, process::Process};

/// A serving process. Killed on drop.
pub struct Node {
    pub process: Process,
    pub url: String,
}

impl Node {
    /// Starts a node on this database, with this model.
    pub async fn start(database_url: &str, model_url: &str, settings: &[&str]) -> Self {
        Self::of(Self::command(database_url, model_url, settings)).await
    }

    /// The command that starts a node, for tests that extend it.
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

    /// Starts the command and returns once it listens.
    pub async fn of(command: Titlecast) -> Self {
        let mut process = command.start();
        let url = process.url().await;
        Self { process, url }
    }

    /// Kills the process with SIGKILL and waits until it has ended.
    pub async fn kill(mut self) {
        self.process.kill();
        self.process.ended().await;
    }

    /// Terminates the process as an operator would. It must exit successfully. Returns its standard error.
    pub async fn stop(self) -> String {
        self.process.terminate();
        let ended = self.process.ended().await;
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stderr
    }
}
