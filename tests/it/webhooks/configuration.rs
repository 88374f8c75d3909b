//! `[webhooks.NAME]`: what is refused and why, what `config check` shows, and a reload.

use std::fs;

use titlecast_testing::{
    ModelServer, Node, Receiver, TestDatabase, Titlecast, eventually, titles::settled,
};

use super::{KEY, file, folder, routed};

async fn check(file: &str, key: &str) -> titlecast_testing::process::Ended {
    Titlecast::new(&["config", "check"])
        .env("TITLECAST_CONFIG", "titlecast.toml")
        .file("titlecast.toml", file)
        .file("key", key)
        .run()
        .await
}

#[tokio::test]
async fn what_is_wrong_is_said_with_its_line() {
    let good = file("https://hooks.example/secret-path", "");
    for (change, into, expected) in [
        ("url = ", "ulr = ", "webhooks.crm.ulr: unknown key"),
        ("url = ", "# ", "webhooks.crm: url is missing"),
        (
            "secret_file = ",
            "# ",
            "webhooks.crm: secret_file is missing",
        ),
        ("tenants = ", "# ", "webhooks.crm: tenants is missing"),
        (
            "[\"local\"]",
            "[]",
            "webhooks.crm.tenants: expected 1 to 1000 entries",
        ),
        (
            "[\"local\"]",
            "[\"*\"]",
            "webhooks.crm.tenants: name each tenant",
        ),
        (
            "https://hooks.example/secret-path",
            "ftp://hooks.example",
            "webhooks.crm.url: expected a URL",
        ),
        (
            "https://hooks",
            "https://me:word@hooks",
            "webhooks.crm.url: the URL has a user",
        ),
        (
            "hooks.example/",
            "[::ffff:10.0.0.1]/",
            "webhooks.crm.url: the address is never reached",
        ),
        (
            "secret-path",
            "#there",
            "webhooks.crm.url: the URL has a fragment",
        ),
        (
            "\"127.0.0.1\"",
            "\"here\"",
            "webhooks.crm.allow_private: expected an address",
        ),
        (
            "allow_private",
            "include_text = 1\nallow_private",
            "webhooks.crm.include_text: expected true or false",
        ),
        (
            "allow_private",
            "events = [\"conversation.delete\"]\nallow_private",
            "webhooks.crm.events: no such event; did you mean conversation.deleted?",
        ),
        (
            "allow_private",
            "timeout = \"2m\"\nallow_private",
            "webhooks.crm.timeout: expected a time of at most 1m",
        ),
        (
            "allow_private",
            "timeout = \"0s\"\nallow_private",
            "webhooks.crm.timeout: must be longer",
        ),
        (
            "allow_private",
            "max_in_flight = 0\nallow_private",
            "webhooks.crm.max_in_flight: expected a whole number",
        ),
        (
            "webhooks.crm",
            "webhooks.\"c r m\"",
            "the name must be 1 to 64 letters",
        ),
    ] {
        let ended = check(&good.replacen(change, into, 1), KEY).await;
        assert_eq!(ended.code, Some(2), "{into}: {}", ended.stderr);
        assert!(ended.stderr.contains(expected), "{into}: {}", ended.stderr);
        assert!(!ended.stderr.contains("secret-path"), "{}", ended.stderr);
    }
    let plain = good
        .replace("https://", "http://")
        .replace("allow_private = [\"127.0.0.1\"]\n", "");
    let ended = check(&plain, KEY).await;
    ended.assert_refused(&["must begin with https://"]);
    for (key, expected) in [
        ("whsec_short", "a key is whsec_ and then base64"),
        ("not a key at all", "a key is whsec_ and then base64"),
        ("whsec_c2hvcnQ=", "a key has 24 to 64 bytes"),
    ] {
        let ended = check(&good, key).await;
        ended.assert_refused(&[expected]);
        assert!(!ended.stderr.contains(key), "{}", ended.stderr);
    }
    let many = format!("{KEY}\n").repeat(5);
    check(&good, &many)
        .await
        .assert_refused(&["more than 4 keys"]);
}

#[tokio::test]
async fn config_check_shows_webhooks_without_their_secrets() {
    let text = file(
        "https://hooks.example:8443/secret-path?token=7",
        "include_text = true\nretry_for = \"2h\"",
    );
    let shown = check(&text, KEY).await.ok();
    let expected = "webhooks:\n  crm:\n    url: https://hooks.example:8443/…\n    keys: 1 (key)\n    \
        events: conversation.created, conversation.title_changed, conversation.message_stored, \
        conversation.reply_ended, conversation.deleted\n    tenants: local\n    include_text: true\n    \
        allow_private: 127.0.0.1/32\n    times: timeout 15s, retry_for 2h, keep 30days; at most 8 requests at once\n";
    assert!(shown.contains(expected), "{shown}");
    for secret in ["secret-path", "token=7", KEY] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[tokio::test]
async fn a_reload_adds_a_webhook_and_one_that_is_taken_away_is_told_nothing_more() {
    let (database, model) = (TestDatabase::new().await, ModelServer::start().await);
    let (one, other) = (Receiver::start().await, Receiver::start().await);
    let folder = folder(&file(&one.url, ""));
    let path = folder.path("titlecast.toml");
    let mut node = Node::start(&database.url, &model.url, &["--config", &path]).await;
    routed(&database, 1).await;
    settled(&node.url, "Plan a trip to Kyoto").await;
    super::all_is_told(&database, &one).await;
    let second = file(&other.url, "").replace("webhooks.crm", "webhooks.other");
    fs::write(&path, &second).unwrap();
    node.process.signal("HUP");
    node.process.line("configuration reloaded").await;
    routed(&database, 2).await;
    let before = one.deliveries().len();
    let id = settled(&node.url, "Another question").await;
    eventually(async || (other.story(&id).len() == 5).then_some(())).await;
    assert_eq!(one.deliveries().len(), before);
    // A file that is wrong changes nothing.
    fs::write(&path, second.replace("tenants", "tenant")).unwrap();
    node.process.signal("HUP");
    node.process.line("configuration not reloaded").await;
    let id = settled(&node.url, "One more").await;
    eventually(async || (other.story(&id).len() == 5).then_some(())).await;
    node.stop().await;
}
