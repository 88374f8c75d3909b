//! Greetings make no title: the title waits for the first message with content, and is made from that one, with one
//! call. Conversations from before there were titles wait in the same way.

use futures_util::future::join_all;
use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    Answer, Events, ModelServer, Rows, Server, assert_common_stream,
    legacy::post,
    sse::{text, titles},
    stored,
    titles::{decided, replied, send},
};

const MESSAGE: &str = "Plan a trip to Kyoto";

/// Longer than any test waits.
const LONG_GRACE: [&str; 2] = ["--title-grace", "10m"];

/// Sends one message more and waits for its reply, the conversation having so many messages then.
async fn say(server: &Server, id: &str, text: &str, messages: usize) {
    let input = json!({ "conversationId": id, "text": text });
    send(&server.url, input).await;
    replied(&server.url, id, messages).await;
}

async fn assert_waits(server: &Server, id: &str) {
    let shown = server.title(id).await;
    assert_eq!(shown["titleStatus"], "PENDING", "{shown}");
    assert_eq!(shown["titleSource"], "HINT", "{shown}");
    for none in ["displayName", "titleGeneratedAt", "titleError"] {
        assert_eq!(shown[none], Value::Null, "{none}: {shown}");
    }
}

/// The title came from the one call that there was, which was shown this message alone.
async fn assert_titled_from(server: &Server, model: &ModelServer, id: &str, message: &str) {
    let shown = decided(&server.url, id).await;
    assert_eq!(shown["displayName"], ModelServer::TITLE, "{shown}");
    assert_eq!(shown["titleStatus"], "READY", "{shown}");
    assert_eq!(shown["titleSource"], "GENERATED", "{shown}");
    let requests = model.title_requests();
    let input = &requests[requests.len() - 1]["messages"][1]["content"];
    assert_eq!(
        input,
        &format!(
            "<message>\n{message}\n</message>\nWrite a title for this message. Do not answer it."
        )
    );
    let rows = Rows::of(&server.database).await;
    assert_eq!(rows.calls(id).await, ["title"]);
}

#[tokio::test]
async fn the_first_message_that_says_something_makes_the_title() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = send(&server.url, json!({ "text": "hi" })).await;
    replied(&server.url, &id, 2).await;
    assert_waits(&server, &id).await;
    assert_eq!(server.title(&id).await["title"], "hi");
    say(&server, &id, MESSAGE, 4).await;
    assert_titled_from(&server, &model, &id, MESSAGE).await;
    // The hint stays what it was.
    assert_eq!(server.title(&id).await["topicHint"], "hi");
    say(&server, &id, "And what about Nara?", 6).await;
    assert_eq!(model.title_requests().len(), 1);
}

#[tokio::test]
async fn it_may_come_behind_several_greetings() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = send(&server.url, json!({ "text": "hello there" })).await;
    replied(&server.url, &id, 2).await;
    say(&server, &id, "👋", 4).await;
    assert_waits(&server, &id).await;
    assert_eq!(model.title_requests().len(), 0);
    say(&server, &id, MESSAGE, 6).await;
    assert_titled_from(&server, &model, &id, MESSAGE).await;
}

#[tokio::test]
async fn greetings_of_other_languages_are_none_either() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let greetings = [
        ("Guten Morgen!", "Wie backe ich Sauerteigbrot?"),
        ("Buenos días", "Un viaje por los Andes"),
        ("Привет", "Погода в Москве"),
        ("こんにちは", "Kyoto 京都旅行の計画"),
        ("你好！在吗？", "北京 Beijing 的天气"),
        ("مرحبا", "الطقس في القاهرة Cairo"),
    ];
    for (number, (greeting, message)) in greetings.into_iter().enumerate() {
        let id = send(&server.url, json!({ "text": greeting })).await;
        replied(&server.url, &id, 2).await;
        assert_waits(&server, &id).await;
        assert_eq!(model.title_requests().len(), number, "{greeting}");
        model.title(Answer::Text(message));
        say(&server, &id, message, 4).await;
        let shown = decided(&server.url, &id).await;
        assert_eq!(shown["titleStatus"], "READY", "{message}: {shown}");
        assert_eq!(model.title_requests().len(), number + 1);
    }
}

#[tokio::test]
async fn of_several_messages_at_once_one_makes_the_title() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = send(&server.url, json!({ "text": "hi" })).await;
    replied(&server.url, &id, 2).await;
    let message = |_| json!({ "conversationId": id, "text": MESSAGE });
    join_all((0..5).map(|number| send(&server.url, message(number)))).await;
    replied(&server.url, &id, 12).await;
    assert_titled_from(&server, &model, &id, MESSAGE).await;
    assert_eq!(model.title_requests().len(), 1);
}

#[tokio::test]
async fn a_greeting_in_a_conversation_without_titles_stays_without() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = send(&server.url, json!({ "text": "hi", "autoTitle": false })).await;
    replied(&server.url, &id, 2).await;
    say(&server, &id, MESSAGE, 4).await;
    assert_eq!(server.title(&id).await["titleStatus"], "SKIPPED");

    // And one that shall have a title is not made to by a message that shall not.
    let id = send(&server.url, json!({ "text": "hi" })).await;
    replied(&server.url, &id, 2).await;
    let input = json!({ "conversationId": id, "text": MESSAGE, "autoTitle": false });
    send(&server.url, input).await;
    replied(&server.url, &id, 4).await;
    assert_waits(&server, &id).await;
    assert_eq!(model.title_requests().len(), 0);
}

#[tokio::test]
async fn a_file_behind_a_greeting_makes_the_title() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = send(&server.url, json!({ "text": "hi" })).await;
    replied(&server.url, &id, 2).await;
    let files = json!([{ "name": "Kyoto itinerary.pdf" }]);
    let input = json!({ "conversationId": id, "text": "", "attachments": files });
    send(&server.url, input).await;
    let shown = decided(&server.url, &id).await;
    assert_eq!(shown["displayName"], "Kyoto itinerary");
    assert_eq!(shown["titleSource"], "GENERATED");
    assert_eq!(model.title_requests().len(), 0);
}

#[tokio::test]
async fn a_conversation_from_before_titles_gets_one_from_its_first_message() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let rows = Rows::of(&server.database).await;
    let seeded = server.database.seed(&Owner::local(), 2, 2).await;
    for id in &seeded {
        rows.change(id, "title_status = 'pending'", []).await;
        let sql = "UPDATE agent_messages SET content = $2 \
            WHERE conversation_id = $1 AND position = 1";
        rows.run(sql, [stored::id(id), MESSAGE.into()])
            .await
            .unwrap();
        // Thanks say nothing.
        say(&server, id, "thanks!", 4).await;
        assert_waits(&server, id).await;
    }
    assert_eq!(model.title_requests().len(), 0);
    say(&server, &seeded[0], "And what about Nara?", 6).await;
    assert_titled_from(&server, &model, &seeded[0], MESSAGE).await;

    // A file says something as well.
    let files = json!([{ "name": "Nara by bicycle.pdf" }]);
    let input = json!({ "conversationId": seeded[1], "text": "", "attachments": files });
    send(&server.url, input).await;
    assert_titled_from(&server, &model, &seeded[1], MESSAGE).await;
    assert_eq!(model.title_requests().len(), 2);
}

#[tokio::test]
async fn the_stream_of_a_greeting_does_not_wait_for_a_title_that_is_not_made() {
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &LONG_GRACE).await;
    let body = json!({ "message": "hi" });
    let events = server.stream(body.clone()).await.rest().await;
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["raw_type"], "response.completed");
    assert_eq!(text(&events), ModelServer::REPLY.concat());
    assert_eq!(titles(&events), [""; 0]);
    let (status, answer) = server.send("POST", "/api/v1/chat", body).await;
    assert_eq!(status, 200);
    assert_eq!(answer["response"], ModelServer::REPLY.concat());
    // Nor does a retry of it.
    for _ in 0..2 {
        let request = post(
            &server.url,
            "/api/v1/chat/stream",
            json!({ "message": "hello" }),
        );
        let mut stream = Events::of(request.header("idempotency-key", "key-1")).await;
        assert_common_stream(&stream.rest().await);
    }
    assert_eq!(model.title_requests().len(), 0);
}

#[tokio::test]
async fn the_stream_of_the_message_that_makes_the_title_tells_it_before_its_end() {
    let model = ModelServer::start().await;
    let (title, gate) = Answer::held(Answer::Text(ModelServer::TITLE));
    model.title(title);
    let server = Server::start_with(&model, &LONG_GRACE).await;
    let id = server.begin("hi").await;
    let body = json!({ "message": MESSAGE, "conversation_id": id });
    let mut stream = server.stream(body).await;
    let mut events = Vec::new();
    while text(&events) != ModelServer::REPLY.concat() {
        events.push(stream.next().await.unwrap());
    }
    gate.send(()).unwrap();
    events.extend(stream.rest().await);
    assert_eq!(titles(&events), [ModelServer::TITLE]);
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["display_name"], ModelServer::TITLE);
}
