//! Where nothing is sent: addresses inside the network, by number and by name, unless they are allowed.

use titlecast_testing::{
    ModelServer, Receiver, Rows, Server, TestDatabase, Titlecast, eventually, titles::settled,
};

use super::{KEY, file, folder, routed};

/// Nothing reaches the receiver, and the row stores the reason.
async fn is_not_reached(change: impl Fn(&str) -> String) {
    let receiver = Receiver::start().await;
    let model = ModelServer::start().await;
    let folder = folder(&change(&file(&receiver.url, "")));
    let path = folder.path("titlecast.toml");
    let database = TestDatabase::new().await;
    let server = Server::start_on(database, &model, &["--config", &path]).await;
    routed(&server.database, 1).await;
    settled(&server.url, "Plan a trip to Kyoto").await;
    let rows = Rows::of(&server.database).await;
    eventually(async || {
        let refused = "SELECT 1 FROM agent_webhook_lanes WHERE failure = 'address_not_allowed' AND attempts > 1";
        (rows.all(refused, []).await.len() == 1).then_some(())
    })
    .await;
    assert!(receiver.deliveries().is_empty());
}

#[tokio::test]
async fn a_name_of_such_an_address_is_not_reached() {
    is_not_reached(|file| {
        file.replace("http://127.0.0.1", "https://localhost")
            .replace("allow_private = [\"127.0.0.1\"]\n", "")
    })
    .await;
}

#[tokio::test]
async fn another_network_that_is_allowed_does_not_help() {
    is_not_reached(|file| {
        file.replace("http://127.0.0.1", "http://localhost")
            .replace("[\"127.0.0.1\"]", "[\"10.0.0.0/8\"]")
    })
    .await;
}

#[tokio::test]
async fn an_address_that_is_never_reached_is_refused_at_the_start() {
    for (host, allowed) in [
        ("127.0.0.1", "10.0.0.0/8"),
        ("[::1]", "10.0.0.0/8"),
        ("2130706433", "10.0.0.0/8"),
        ("[::ffff:7f00:1]", "10.0.0.0/8"),
        ("[64:ff9b::7f00:1]", "10.0.0.0/8"),
        ("169.254.169.254", "0.0.0.0/0"),
        ("[fd00:ec2::254]", "::/0"),
    ] {
        let file = format!(
            "[webhooks.crm]\nurl = \"https://{host}/\"\nsecret_file = \"key\"\ntenants = [\"local\"]\n\
             allow_private = [\"{allowed}\"]\n"
        );
        let check = Titlecast::new(&["config", "check"])
            .env("TITLECAST_CONFIG", "titlecast.toml")
            .file("titlecast.toml", &file)
            .file("key", KEY);
        check
            .run()
            .await
            .assert_refused(&["webhooks.crm.url: the address is never reached"]);
    }
}

#[tokio::test]
async fn a_name_is_reached_at_an_allowed_address() {
    let receiver = Receiver::start().await;
    let model = ModelServer::start().await;
    let text = file(&receiver.url, "").replace("http://127.0.0.1", "http://localhost");
    let folder = folder(&text);
    let path = folder.path("titlecast.toml");
    let server = Server::start_on(TestDatabase::new().await, &model, &["--config", &path]).await;
    routed(&server.database, 1).await;
    settled(&server.url, "Plan a trip to Kyoto").await;
    super::all_is_told(&server.database, &receiver).await;
}
