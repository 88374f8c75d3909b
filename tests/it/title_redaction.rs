//! Secrets and personal numbers stay out of what lists show, and stay where a person put them.

use serde_json::json;
use titlecast_testing::{Answer, ModelServer, Scene, Server};

#[tokio::test]
async fn a_title_of_a_card_number_alone_is_asked_for_again_and_stored_without_it() {
    let answers = [
        "Card 4111 1111 1111 1111",
        "Refund of Card 4111 1111 1111 1111",
    ];
    let scene = Scene::titles(answers.map(Answer::Text)).await;
    let id = scene.unharmed().await;
    assert_eq!(scene.shown(&id).await["displayName"], "Refund of Card");
    assert_eq!(scene.title_calls(), 2);
    scene.server.stop().await;
}

#[tokio::test]
async fn lists_show_no_address_and_the_message_keeps_it() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = server
        .begin("Write to anna@example.com about the rent")
        .await;
    let (_, list) = server.get("/api/v1/conversations").await;
    assert_eq!(list["items"][0]["topic_hint"], "Write to about the rent");
    let (_, history) = server.get(&format!("/api/v1/conversations/{id}")).await;
    let message = &history["messages"][0]["content"];
    assert_eq!(message, "Write to anna@example.com about the rent");
    // A person's title and a client's hint are their own.
    let path = format!("/api/v1/conversations/{id}/title");
    let title = "Mail to anna@example.com";
    let (_, renamed) = server
        .send("PATCH", &path, json!({ "display_name": title }))
        .await;
    assert_eq!(renamed["display_name"], title);
    server.stop().await;
}
