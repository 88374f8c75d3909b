//! Titlecast as this scenario starts it: with tokens, so that it has many users, and otherwise with default settings.

use std::{path::Path, process::Command};

use crate::{Result, running::titlecast};

/// A command with the settings that sign and verify tokens.
pub fn with_keys(program: &Path) -> Command {
    keyed(Command::new(program))
}

/// The header with a user's token.
pub fn token(program: &Path, user: &str) -> Result<String> {
    token_of(program, "acme", user)
}

/// Like [`token`], for a user of another tenant.
pub fn token_of(program: &Path, tenant: &str, user: &str) -> Result<String> {
    let output = with_keys(program)
        .args(["token", "--tenant", tenant, "--user", user])
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let token = String::from_utf8(output.stdout)?;
    Ok(format!("authorization: Bearer {}", token.trim()))
}

/// The command of a node.
pub fn serve(program: &Path, port: u16, database: &str, model: &str) -> Command {
    let mut command = keyed(titlecast(program, port, database, model));
    command
        // The model only answers requests that belong to a message.
        .args(["--title-check", "false"])
        // Simulated people type fast.
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
