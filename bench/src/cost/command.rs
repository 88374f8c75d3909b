//! Titlecast as this scenario starts it: with tokens, so that it has many users, and else as it is without settings.

use std::{path::Path, process::Command};

use crate::{Result, running::titlecast};

/// With what makes tokens and checks them.
pub fn with_keys(program: &Path) -> Command {
    keyed(Command::new(program))
}

/// The header with a user's token.
pub fn token(program: &Path, user: &str) -> Result<String> {
    token_of(program, "acme", user)
}

/// The same in another tenant.
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
