//! Installs the peers in `bench/peers/` below `bench/target/peers/`, with the versions in their lock files.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::Result;

/// The folder of a peer's sources.
fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("peers")
        .join(name)
}

/// The folder in which a peer is installed.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/peers")
        .join(name)
}

pub fn cargo() -> Result<()> {
    run(Command::new("cargo")
        .args([
            "build",
            "--release",
            "--locked",
            "--quiet",
            "--manifest-path",
        ])
        .arg(source("async-graphql").join("Cargo.toml"))
        .arg("--target-dir")
        .arg(folder("async-graphql")))
}

pub fn npm(name: &str) -> Result<()> {
    install(name, "package-lock.json", |folder| {
        run(Command::new("npm")
            .args(["ci", "--silent"])
            .current_dir(folder))
    })
}

/// The command of a peer's server, on the Node version in the lock file, so that it does not depend on this machine.
pub fn node(name: &str, argument: &str) -> Command {
    let node = folder(name).join("node_modules/.bin/node");
    script(&node, name, "server.mjs", argument)
}

fn script(runtime: &Path, name: &str, file: &str, argument: &str) -> Command {
    let mut command = Command::new(runtime);
    command
        .arg(folder(name).join(file))
        .arg(argument)
        .env("NODE_ENV", "production");
    command
}

/// Installs an npm peer, and Bun to serve it instead of Node.
pub fn npm_and_bun(name: &str) -> Result<()> {
    npm(name)?;
    install("bun", "package-lock.json", |folder| {
        run(Command::new("npm")
            .args(["ci", "--silent", "--ignore-scripts"])
            .current_dir(folder))?;
        // Installs the binary for this machine, which npm would only do after asking.
        run(Command::new("node")
            .arg("node_modules/bun/install.js")
            .current_dir(folder))
    })
}

/// The command of a peer's server on Bun.
pub fn bun(name: &str, argument: &str) -> Command {
    let bun = folder("bun").join("node_modules/.bin/bun");
    script(&bun, name, "bun.mjs", argument)
}

pub fn pip(name: &str) -> Result<()> {
    install(name, "requirements.txt", |folder| {
        run(Command::new("python3")
            .args(["-m", "venv", "venv"])
            .current_dir(folder))?;
        run(Command::new("venv/bin/pip")
            .args([
                "install",
                "--quiet",
                "--require-hashes",
                "--requirement",
                "requirements.txt",
            ])
            .current_dir(folder))
    })
}

pub fn uvicorn(name: &str, port: u16) -> Command {
    let mut command = Command::new(folder(name).join("venv/bin/uvicorn"));
    command
        .args([
            "server:app",
            "--log-level",
            "warning",
            "--port",
            &port.to_string(),
        ])
        .current_dir(folder(name));
    command
}

/// Copies the sources and installs their dependencies, unless that was already done for the same lock file.
fn install(name: &str, lock: &str, needed: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let (source, folder) = (source(name), folder(name));
    let wanted = fs::read(source.join(lock))?;
    let installed = folder.join("installed");
    if fs::read(&installed).ok().as_ref() != Some(&wanted) && folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    for file in fs::read_dir(source)? {
        let file = file?;
        fs::copy(file.path(), folder.join(file.file_name()))?;
    }
    if !installed.exists() {
        needed(&folder)?;
        fs::write(installed, wanted)?;
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if !status.success() {
        return Err(format!("{command:?}: {status}").into());
    }
    Ok(())
}
