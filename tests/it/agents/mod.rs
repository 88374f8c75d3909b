//! Agents: which one answers on each surface, what its provider is asked, and what a reload changes.

mod budgets;
mod chains;
mod live;
mod named;
mod reload;
mod requests;

use std::{fs, path::PathBuf};

use serde_json::Value;
use titlecast_testing::{Server, TestDatabase};
use uuid::Uuid;

/// A folder with files of settings; removed when it is dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("titlecast-test-{}", Uuid::now_v7()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Writes a file.
    pub fn file(self, name: &str, content: &str) -> Self {
        fs::write(self.0.join(name), content).unwrap();
        self
    }

    /// The path of a file.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server with `titlecast.toml` of this folder, and further settings.
pub async fn serve(folder: &Folder, settings: &[&str]) -> Server {
    let path = folder.path("titlecast.toml");
    let arguments = [&["--config", &path], settings].concat();
    Server::on(TestDatabase::new().await, &arguments).await
}

/// A request without what differs in each run.
pub fn stable(mut request: Value) -> Value {
    let headers = request["headers"].as_object_mut().unwrap();
    for name in [
        "x-titlecast-conversation",
        "x-titlecast-message",
        "x-titlecast-jwt",
    ] {
        if let Some(value) = headers.get_mut(name) {
            *value = "…".into();
        }
    }
    request
}
