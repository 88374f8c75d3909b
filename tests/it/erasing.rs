//! Deleting and renaming erase: on SQLite the texts are in no byte of the file, its log and its index soon after.

use std::{path::PathBuf, time::Duration};

use serde_json::json;
use titlecast_testing::{ModelServer, Server, TestDatabase, eventually};

/// How many conversations are deleted, and as many renamed.
const CONVERSATIONS: usize = 200;

/// The files of the database that hold one of these, as `file: text`.
fn left(database: &str, texts: &[String]) -> Vec<String> {
    let path = database.trim_start_matches("sqlite://");
    let path = path.split('?').next().unwrap();
    let mut left = Vec::new();
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let file = PathBuf::from(format!("{path}{suffix}"));
        let Ok(bytes) = std::fs::read(&file) else {
            assert!(!suffix.is_empty(), "the database file cannot be read");
            continue;
        };
        let bytes = bytes.to_ascii_lowercase();
        for text in texts {
            if memchr(&bytes, text.to_ascii_lowercase().as_bytes()) {
                left.push(format!("{suffix}: {text}"));
            }
        }
    }
    left
}

fn memchr(bytes: &[u8], text: &[u8]) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window[0] == text[0] && window == text)
}

#[tokio::test]
async fn what_was_deleted_or_renamed_is_in_no_byte_of_the_file() {
    if TestDatabase::is_on_server() {
        return;
    }
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let mut deleted = Vec::new();
    for number in 0..CONVERSATIONS {
        let message = format!(
            "Zyxwomb{number} how do I care for a wombat {}",
            "x".repeat(number * 7)
        );
        let id = server.begin(&message).await;
        let kept = server
            .begin(&format!("Keepable{number} what is a lease"))
            .await;
        for (id, title) in [
            (&id, format!("Oldtitle{number} here")),
            (&kept, format!("Formername{number} x")),
        ] {
            let body = json!({ "display_name": title });
            let (status, _) = server
                .send("PATCH", &format!("/api/v1/conversations/{id}/title"), body)
                .await;
            assert_eq!(status, 200);
        }
        deleted.push((id, kept));
    }
    for (id, kept) in &deleted {
        let (status, _) = server
            .send("DELETE", &format!("/api/v1/conversations/{id}"), json!({}))
            .await;
        assert_eq!(status, 204);
        let body = json!({ "display_name": "Present name" });
        let (status, _) = server
            .send(
                "PATCH",
                &format!("/api/v1/conversations/{kept}/title"),
                body,
            )
            .await;
        assert_eq!(status, 200);
    }
    let texts: Vec<String> = ["zyxwomb", "oldtitle", "formername"]
        .map(String::from)
        .into();
    assert!(
        !left(&server.database.url, &["keepable".into()]).is_empty(),
        "the search is no search"
    );
    let url = server.database.url.clone();
    let last = std::sync::Mutex::new(Vec::new());
    let gone = tokio::time::timeout(
        Duration::from_secs(15),
        eventually(|| {
            let found = left(&url, &texts);
            let is_gone = found.is_empty();
            *last.lock().unwrap() = found;
            async move { is_gone.then_some(()) }
        }),
    );
    let gone = gone.await.is_ok();
    assert!(gone, "{:?}", last.lock().unwrap());
    server.stop().await;
}
