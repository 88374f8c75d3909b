//! nginx as a typical proxy in front of a model, which forwards data as it arrives.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use crate::Result;

/// The version of nginx; an error if it is not installed.
pub fn version(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("-v").output().map_err(|error| {
        format!(
            "{}: {error}; `stream` compares with nginx: install it (Debian: nginx-light), or say with --nginx where \
             it is",
            program.display()
        )
    })?;
    let said = String::from_utf8(output.stderr)?;
    let version = said.trim().strip_prefix("nginx version: ");
    Ok(version.ok_or(format!("no nginx: {said}"))?.to_owned())
}

/// The command that listens on this port of 127.0.0.1 and keeps all files in the folder.
pub fn command(
    program: &Path,
    port: u16,
    folder: &Path,
    model: SocketAddr,
    streams: usize,
) -> Result<Command> {
    let path: PathBuf = folder.join("nginx.conf");
    fs::write(&path, configuration(port, folder, model, streams))?;
    let mut command = Command::new(program);
    command
        .arg("-p")
        .arg(folder)
        .arg("-e")
        .arg("stderr")
        .arg("-c")
        .arg(path);
    Ok(command)
}

fn configuration(port: u16, folder: &Path, model: SocketAddr, streams: usize) -> String {
    let folder = folder.display();
    // A connection on each side of every stream, and some to spare.
    let connections = streams * 2 + 100;
    format!(
        r#"daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;

events {{
    worker_connections {connections};
}}

http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/client;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;

    upstream model {{
        server {model};
        keepalive {streams};
    }}

    server {{
        listen 127.0.0.1:{port};

        location / {{
            proxy_pass http://model;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"#
    )
}
