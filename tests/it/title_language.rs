//! The language of titles: the message's own, or the one that is set, for all or for a tenant. A title in
//! a script that its readers do not read is asked for again once, and then there is none.

use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    Answer, ModelServer, Rows, Server,
    titles::{settled, title},
};

const ENGLISH: &str = "Plan a trip to Kyoto";
const JAPANESE: &str = "来月京都に旅行したいのですが、おすすめの場所を教えてください";
const ENGLISH_TITLE: &str = "A Trip to Kyoto";
const JAPANESE_TITLE: &str = "京都旅行の計画";

/// The outcome for a message and an answer, and the instruction that was sent.
async fn titled(settings: &[&str], message: &str, answers: &[&'static str]) -> (Value, String) {
    let model = ModelServer::start().await;
    for answer in answers {
        model.title(Answer::Text(answer));
    }
    let server = Server::start_with(&model, settings).await;
    let rows = Rows::of(&server.database).await;
    let id = settled(&server.url, message).await;
    let shown = server.title(&id).await;
    let requests = model.title_requests();
    assert_eq!(requests.len(), answers.len(), "{shown}");
    let mut calls = vec!["rejected"; answers.len()];
    if shown["titleStatus"] == "READY" {
        calls[answers.len() - 1] = "title";
    }
    assert_eq!(rows.calls(&id).await, calls);
    let instruction = requests[0]["messages"][0]["content"].as_str().unwrap();
    (shown, instruction.to_owned())
}

#[track_caller]
fn assert_rejected(shown: &Value) {
    assert_eq!(shown["titleStatus"], "FAILED", "{shown}");
    assert_eq!(shown["displayName"], Value::Null);
    assert_eq!(shown["titleError"]["code"], "REJECTED");
    assert_eq!(shown["title"], shown["topicHint"]);
}

#[tokio::test]
async fn an_english_title_for_a_japanese_message_is_asked_for_again() {
    let answers = [ENGLISH_TITLE, JAPANESE_TITLE];
    let (shown, instruction) = titled(&[], JAPANESE, &answers).await;
    assert_eq!(shown["displayName"], JAPANESE_TITLE);
    assert!(instruction.ends_with("Use the language of the message."));
}

#[tokio::test]
async fn two_english_titles_for_a_japanese_message_are_none() {
    let answers = [ENGLISH_TITLE, "Sightseeing in Kyoto"];
    assert_rejected(&titled(&[], JAPANESE, &answers).await.0);
}

#[tokio::test]
async fn a_language_that_is_set_holds_whatever_the_message_is_in() {
    let settings = ["--title-language", "ja"];
    let (shown, instruction) = titled(&settings, ENGLISH, &[JAPANESE_TITLE]).await;
    assert_eq!(shown["displayName"], JAPANESE_TITLE);
    assert!(instruction.contains("\"ja\""), "{instruction}");
    let answers = [ENGLISH_TITLE, "Sightseeing in Kyoto"];
    assert_rejected(&titled(&settings, ENGLISH, &answers).await.0);
    let answers = [ENGLISH_TITLE, JAPANESE_TITLE];
    let (shown, _) = titled(&settings, ENGLISH, &answers).await;
    assert_eq!(shown["displayName"], JAPANESE_TITLE);
}

#[tokio::test]
async fn a_tenant_can_have_its_own() {
    let model = ModelServer::start().await;
    let settings = ["--title-language", "AUTO,acme=de"];
    let mut server = Server::start_with(&model, &settings).await;
    let acme = server
        .serve(Owner {
            tenant: "acme".into(),
            user: "anna".into(),
        })
        .await;
    let instruction = |number: usize| {
        let requests = model.title_requests();
        let text = requests[number]["messages"][0]["content"].as_str();
        text.unwrap().to_owned()
    };
    model.title(Answer::Text(JAPANESE_TITLE));
    let local = settled(&server.url, JAPANESE).await;
    assert_eq!(server.title(&local).await["displayName"], JAPANESE_TITLE);
    assert!(instruction(0).ends_with("Use the language of the message."));

    model.title(Answer::Text(JAPANESE_TITLE));
    model.title(Answer::Text("Eine Reise nach Kyoto"));
    let theirs = settled(&acme, JAPANESE).await;
    let shown = title(&acme, &theirs).await;
    assert_eq!(shown["displayName"], "Eine Reise nach Kyoto");
    assert!(instruction(1).contains("\"de\""), "{}", instruction(1));
    assert_eq!(model.title_requests().len(), 3);
    assert_eq!(server.title(&theirs).await, json!(null));
}
