//! Titlecast as this scenario starts it: with tokens, so that it has many users, and else as it is without settings.

use std::{path::Path, process::Command};

use crate::running::titlecast;

/// With what makes tokens and checks them.
pub fn with_keys(program: &Path) -> Command {
    keyed(Command::new(program))
}

/// A node.
pub fn serve(program: &Path, port: u16, database: &str, model: &str) -> Command {
    let mut command = keyed(titlecast(program, port, database, model));
    command
        // The model answers what it is asked for a message.
        .args(["--title-check", "false"])
        // People here type fast.
        .args(["--messages-per-minute", "0"]);
    command
}

fn keyed(mut command: Command) -> Command {
    command
        .env(
            "TITLECAST_JWT_SECRET",
            "as long as a secret has to be, and no secret",
        )
        .env("TITLECAST_JWT_ISSUER", "https://issuer.example")
        .env("TITLECAST_JWT_AUDIENCE", "titlecast");
    command
}
