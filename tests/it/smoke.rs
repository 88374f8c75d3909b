//! The main job, end to end: a first message gets its reply and its title, and everyone sees it.

use serde_json::json;
use titlecast_testing::{Answer, ModelServer, Server, assert_common_stream, sse::titles, within};

const LIST: &str = "subscription { conversationUpdated { id displayName titleStatus revision } }";
const ONE: &str =
    "subscription ($id: ID!) { conversationUpdated(id: $id) { displayName titleStatus } }";

#[tokio::test]
async fn a_first_message_gets_its_title_live_on_every_surface() {
    let model = ModelServer::start().await;
    let (title, open) = Answer::held(Answer::Text(r#"{"title":"Planning a Trip to Kyoto"}"#));
    model.title(title);
    let server = Server::start(&model).await;
    let mut list = server.socket().await;
    let all = list.subscribe(LIST, json!({})).await;
    list.settled().await;

    let id = uuid::Uuid::now_v7().to_string();
    let mut stream = server
        .stream(json!({ "message": "Plan a trip to Kyoto", "conversation_id": id }))
        .await;
    let mut events = vec![stream.next().await.unwrap()];
    let mut socket = server.socket().await;
    let one = socket.subscribe(ONE, json!({ "id": id })).await;
    let present = socket.next(&one).await.unwrap();
    assert_eq!(
        present["data"]["conversationUpdated"]["titleStatus"],
        "PENDING"
    );

    open.send(()).unwrap();
    events.extend(stream.rest().await);
    let terminal = assert_common_stream(&events);
    assert_eq!(titles(&events), [ModelServer::TITLE]);
    assert_eq!(terminal["display_name"], ModelServer::TITLE);
    assert_eq!(terminal["response_text"], ModelServer::REPLY.concat());

    within(async {
        while socket.next(&one).await.unwrap()["data"]["conversationUpdated"]["displayName"]
            != ModelServer::TITLE
        {}
    })
    .await;
    within(async {
        loop {
            let payload = list.next(&all).await.unwrap();
            let conversation = &payload["data"]["conversationUpdated"];
            assert_eq!(conversation["id"], id);
            if conversation["displayName"] == ModelServer::TITLE {
                assert_eq!(conversation["titleStatus"], "READY");
                break;
            }
        }
    })
    .await;
    assert_eq!(model.title_requests().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn the_offline_model_streams_a_reply_and_names_the_conversation() {
    let server = Server::offline().await;
    let message = json!({ "message": "Can you help me plan a trip to Kyoto?" });
    let events = server.stream(message).await.rest().await;
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["raw_type"], "response.completed");
    assert_eq!(terminal["display_name"], "Plan a Trip to Kyoto");
    let text = terminal["response_text"].as_str().unwrap();
    assert!(text.starts_with("This is the offline model"), "{text}");
    server.stop().await;
}
