//! Titlecast with a model and a database created for one run.

use std::{path::Path, process::Command, time::Duration};

use serde_json::json;

use super::{
    Arguments, CONNECTIONS,
    database::{Database, Kind},
    model::Model,
    words::message,
};
use crate::{
    Result, http,
    machine::Cores,
    running::{Running, titlecast},
};

const SEND: &str = "mutation ($text: String!) { sendMessage(input: { text: $text }) { \
                    conversation { id } replyId } }";

/// Everything that takes part in a run, other than the load.
pub struct Service {
    pub running: Running,
    pub model: Model,
    pub database: Database,
}

impl Service {
    /// Starts a service, runs a measurement on it, and cleans up whatever the outcome.
    pub async fn with<T>(
        arguments: &Arguments,
        cores: Cores,
        kind: Kind,
        title_takes: Duration,
        run: impl AsyncFnOnce(&Self) -> Result<T>,
    ) -> Result<T> {
        let server = arguments.database_url.as_deref();
        let database = Database::create(kind, server, &arguments.titlecast).await?;
        let model = Model::start(title_takes).await?;
        let started = Running::start("titlecast", Some(cores), |port, _: &Path| {
            Ok(command(arguments, &database.url, &model.url, port))
        });
        let running = match started {
            Ok(running) => running,
            Err(error) => {
                database.remove().await?;
                return Err(error);
            }
        };
        let service = Self {
            running,
            model,
            database,
        };
        let result = run(&service)
            .await
            .map_err(|error| format!("{error}\n{}", last_lines(&service.running.log())).into());
        // Stop the service before its database is removed.
        drop(service.running);
        service.database.remove().await?;
        result
    }
}

/// The service with default settings, except for its model and database.
fn command(arguments: &Arguments, database: &str, model: &str, port: u16) -> Command {
    let mut command = titlecast(&arguments.titlecast, port, database, model);
    command
        .args(["--database-connections", &CONNECTIONS.to_string()])
        // The model only answers and counts calls that belong to a message.
        .args(["--title-check", "false"])
        // All messages are sent by one user.
        .args(["--messages-per-minute", "0"])
        .args(&arguments.settings);
    command
}

/// The request that sends a first message.
pub fn send(number: u64) -> Vec<u8> {
    let body = json!({ "query": SEND, "variables": { "text": message(number) } });
    http::request("POST", "/graphql", "application/json", Some(&body))
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
