//! Titles from the whole conversation: on request, or because its subject moved. The former title can be brought back, and
//! a locked one stays.

use chrono::{TimeDelta, Utc};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    Answer, ModelServer, Rows, Server,
    calls::{code, data, rename},
    eventually, stored,
    titles::{decided, regenerate, replied, reset, send, settled, title_when},
};

use super::{agents::Folder, title_policies::with_policies_and};

const MESSAGE: &str = "Plan a trip to Kyoto";
const BREAD: &str = "Sourdough That Does Not Rise";

const SHOWN: &str = "id title displayName titleSource titleStatus previousTitle titleLocked lastMessageAt revision titleError { code }";

async fn shown(server: &Server, id: &str) -> Value {
    let query = format!("query ($id: ID!) {{ conversation(id: $id) {{ {SHOWN} }} }}");
    data(&server.url, &query, json!({ "id": id })).await["conversation"].take()
}

async fn restore(server: &Server, id: &str) -> Value {
    let query = format!(
        "mutation ($id: ID!) {{ restoreTitle(input: {{ id: $id }}) {{ conversation {{ {SHOWN} }} }} }}"
    );
    server.graphql(&query, json!({ "id": id })).await
}

/// One message more and its reply.
async fn say(server: &Server, id: &str, text: &str, messages: usize) {
    send(&server.url, json!({ "conversationId": id, "text": text })).await;
    replied(&server.url, id, messages).await;
}

fn last_request(model: &ModelServer) -> (String, String) {
    let requests = model.title_requests();
    let messages = &requests[requests.len() - 1]["messages"];
    let content = |number: usize| messages[number]["content"].as_str().unwrap().to_owned();
    (content(0), content(1))
}

/// Another title, when it is stored.
async fn another(server: &Server, model: &ModelServer, input: Value, title: &'static str) {
    let id = input["id"].as_str().unwrap().to_owned();
    model.title(Answer::Text(title));
    let answer = regenerate(&server.url, input).await;
    assert_eq!(answer.get("errors"), None, "{answer}");
    title_when(&server.url, &id, |now| {
        now["displayName"] == title && now["titleStatus"] == "READY"
    })
    .await;
}

#[tokio::test]
async fn from_three_messages_on_another_title_is_made_from_all_of_it() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = settled(&server.url, MESSAGE).await;
    say(&server, &id, "And what about Nara?", 4).await;
    another(&server, &model, json!({ "id": id }), "Old Japan by Train").await;
    assert!(last_request(&model).1.starts_with("<message>\n"));

    say(&server, &id, "My sourdough does not rise", 6).await;
    another(&server, &model, json!({ "id": id }), BREAD).await;
    let (instruction, input) = last_request(&model);
    let reply = ModelServer::REPLY.concat();
    let expected = format!(
        "<conversation>\nUser: {MESSAGE}\nAssistant: {reply}\nUser: And what about Nara?\nAssistant: {reply}\n\
         User: My sourdough does not rise\nAssistant: {reply}\n</conversation>\n\
         <previous>\nOld Japan by Train\n</previous>\nWrite a title for this conversation. Do not answer it."
    );
    assert_eq!(input, expected);
    assert!(
        instruction.contains("unless the subject moved"),
        "{instruction}"
    );
    assert!(!instruction.contains("<message>"), "{instruction}");

    another(
        &server,
        &model,
        json!({ "id": id, "from": "FIRST_MESSAGE", "hint": "short" }),
        "Kyoto Itinerary",
    )
    .await;
    let (_, input) = last_request(&model);
    assert!(
        input.starts_with(&format!("<message>\n{MESSAGE}\n</message>")),
        "{input}"
    );
    another(
        &server,
        &model,
        json!({ "id": id, "from": "CONVERSATION" }),
        BREAD,
    )
    .await;
    assert!(last_request(&model).1.starts_with("<conversation>\n"));
    server.stop().await;
}

#[tokio::test]
async fn a_long_conversation_costs_a_page_and_nine_rows() {
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &["--title-sweep", "1h"]).await;
    let rows = Rows::of(&server.database).await;
    let [id] = server
        .database
        .seed(&Owner::local(), 1, 3_000)
        .await
        .try_into()
        .unwrap();
    let long = "UPDATE agent_messages SET content = content || $2 WHERE conversation_id = $1";
    let text = format!(" {} end", "words and more words ".repeat(500));
    rows.run(long, [stored::id(&id), text.into()])
        .await
        .unwrap();
    another(&server, &model, json!({ "id": id }), BREAD).await;
    let (_, input) = last_request(&model);
    assert!(input.chars().count() < 2_100, "{}", input.chars().count());
    for text in [
        "User: message 1 words",
        "message 3000 words",
        "message 2997 words",
        " end\n",
    ] {
        assert!(input.contains(text), "{text}: {input}");
    }
    assert_eq!(input.matches("message ").count(), 9, "{input}");
    server.stop().await;
}

#[tokio::test]
async fn the_former_title_is_brought_back_and_locked() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = settled(&server.url, MESSAGE).await;
    let first = shown(&server, &id).await;
    assert_eq!(first["previousTitle"], Value::Null);
    assert_eq!(first["titleLocked"], false);
    assert_eq!(code(&restore(&server, &id).await), "INVALID_INPUT");

    another(&server, &model, json!({ "id": id }), BREAD).await;
    let second = shown(&server, &id).await;
    assert_eq!(second["previousTitle"], ModelServer::TITLE);
    assert_eq!(second["titleLocked"], false);
    let restored = restore(&server, &id).await["data"]["restoreTitle"]["conversation"].take();
    assert_eq!(restored["displayName"], ModelServer::TITLE);
    assert_eq!(restored["titleSource"], "GENERATED");
    assert_eq!(restored["titleLocked"], true);
    assert_eq!(restored["previousTitle"], Value::Null);
    assert_eq!(restored["lastMessageAt"], first["lastMessageAt"]);
    // Again: nothing changes.
    let again = restore(&server, &id).await["data"]["restoreTitle"]["conversation"].take();
    assert_eq!(again, restored);
    assert_eq!(shown(&server, &id).await, restored);
    // It is found by a search.
    let (_, found) = server.get("/api/v1/conversations/search?q=planning").await;
    assert_eq!(found["items"].as_array().unwrap().len(), 1, "{found}");

    let refused = regenerate(&server.url, json!({ "id": id })).await;
    assert_eq!(code(&refused), "MANUAL_TITLE");
    another(
        &server,
        &model,
        json!({ "id": id, "replaceManual": true }),
        BREAD,
    )
    .await;
    assert_eq!(shown(&server, &id).await["titleLocked"], false);

    // A rename locks, and has no former title; a reset unlocks.
    rename(&server.url, &id, "Ours").await;
    assert_eq!(code(&restore(&server, &id).await), "INVALID_INPUT");
    let renamed = shown(&server, &id).await;
    assert_eq!(
        (&renamed["titleLocked"], &renamed["previousTitle"]),
        (&json!(true), &Value::Null)
    );
    another(
        &server,
        &model,
        json!({ "id": id, "replaceManual": true }),
        BREAD,
    )
    .await;
    let back = restore(&server, &id).await["data"]["restoreTitle"]["conversation"].take();
    assert_eq!(
        (&back["displayName"], &back["titleSource"]),
        (&json!("Ours"), &json!("MANUAL"))
    );
    reset(&server.url, &id).await;
    decided(&server.url, &id).await;
    let reset = shown(&server, &id).await;
    assert_eq!(
        (&reset["titleLocked"], &reset["previousTitle"]),
        (&json!(false), &Value::Null)
    );
    server.stop().await;
}

/// A server whose policy is that titles follow the subject.
struct Following {
    model: ModelServer,
    server: Server,
    rows: Rows,
    _folder: Folder,
}

impl Following {
    async fn start() -> Self {
        let policies = "[agents.triage]\nmodels = [\"desk/a\"]\n[titles]\nrefresh = \"drift\"\n";
        let model = ModelServer::start().await;
        let settings = ["--title-sweep", "1h", "--messages-per-minute", "0"];
        let (server, folder) = with_policies_and(&model, policies, &settings).await;
        let rows = Rows::of(&server.database).await;
        Self {
            model,
            server,
            rows,
            _folder: folder,
        }
    }

    fn url(&self) -> &str {
        &self.server.url
    }

    async fn shown(&self, id: &str) -> Value {
        shown(&self.server, id).await
    }

    /// The list of the owner's conversations.
    async fn list(&self) -> Vec<String> {
        let query = "{ conversations(first: 50) { nodes { id } } }";
        let mut data = data(self.url(), query, json!({})).await;
        let nodes = data["conversations"]["nodes"].take();
        let id = |node: &Value| node["id"].as_str().unwrap().to_owned();
        nodes.as_array().unwrap().iter().map(id).collect()
    }

    /// One more message and its reply, and the resulting title.
    async fn say(&self, id: &str, text: &str, messages: usize) {
        send(self.url(), json!({ "conversationId": id, "text": text })).await;
        replied(self.url(), id, messages).await;
        self.quiet().await;
    }

    /// Waits until no reply and no title is on its way.
    async fn quiet(&self) {
        eventually(async || self.server.app.is_idle().then_some(())).await;
    }

    /// A conversation of this many messages of the user, with their replies.
    async fn conversation(&self, messages: usize) -> String {
        let id = settled(self.url(), MESSAGE).await;
        for number in 2..=messages {
            self.say(&id, "And what else is there?", 2 * number).await;
        }
        id
    }

    /// As if this much time had passed since the last refresh.
    async fn pass(&self, id: &str, time: TimeDelta) {
        let at = Utc::now() - time;
        self.rows
            .change(id, "title_refreshed_at = $2", [at.into()])
            .await;
    }
}

#[tokio::test]
async fn a_title_follows_the_subject_once_and_keeps_its_place_in_the_list() {
    let following = Following::start().await;
    let model = &following.model;
    let id = following.conversation(4).await;
    let newer = settled(following.url(), MESSAGE).await;
    assert_eq!(model.title_requests().len(), 2);
    model.title(Answer::Text(BREAD));
    following.say(&id, "My sourdough does not rise", 10).await;
    let moved = following.shown(&id).await;
    assert_eq!(moved["displayName"], BREAD);
    assert_eq!(moved["previousTitle"], ModelServer::TITLE);
    assert_eq!(moved["titleSource"], "GENERATED");
    assert_eq!(moved["titleStatus"], "READY");
    assert!(
        last_request(model)
            .1
            .contains("User: My sourdough does not rise")
    );
    // The message moved it up; the title did not.
    let at = moved["lastMessageAt"].clone();
    assert_eq!(following.list().await, [id.as_str(), newer.as_str()]);

    // The same words in another order are the same title.
    following.pass(&id, TimeDelta::minutes(11)).await;
    model.title(Answer::Text("That Sourdough Does Not Rise"));
    for messages in 6..=10 {
        following.say(&id, "It is still flat", 2 * messages).await;
    }
    let same = following.shown(&id).await;
    assert_eq!(same["displayName"], BREAD);
    assert_eq!(same["previousTitle"], ModelServer::TITLE);
    assert_eq!(same["titleError"], Value::Null);
    assert!(same["lastMessageAt"].as_str() > at.as_str());
    assert_eq!(model.title_requests().len(), 4);
}

#[tokio::test]
async fn a_refresh_is_rare_and_never_touches_what_a_person_chose() {
    let following = Following::start().await;
    let model = &following.model;
    // Not within ten minutes of the last, and three times at most.
    let id = following.conversation(5).await;
    assert_eq!(model.title_requests().len(), 2);
    let mut messages = 5;
    for (since, calls) in [(9, 2), (11, 3), (11, 4), (60, 4)] {
        following.pass(&id, TimeDelta::minutes(since)).await;
        for _ in 0..5 {
            messages += 1;
            following
                .say(&id, "And what else is there?", 2 * messages)
                .await;
        }
        assert_eq!(model.title_requests().len(), calls, "{since} minutes");
    }
    // Neither a title that a person gave, nor one that was restored.
    for is_renamed in [true, false] {
        let id = following.conversation(4).await;
        match is_renamed {
            true => drop(rename(following.url(), &id, "Ours").await),
            false => following.rows.change(&id, "title_locked = true", []).await,
        }
        let before = following.shown(&id).await;
        let calls = model.title_requests().len();
        following.say(&id, "My sourdough does not rise", 10).await;
        assert_eq!(model.title_requests().len(), calls);
        assert_eq!(
            following.shown(&id).await["displayName"],
            before["displayName"]
        );
    }
    // A failure is not shown, and is not tried again.
    let id = following.conversation(4).await;
    model.refuse_title();
    following.say(&id, "My sourdough does not rise", 10).await;
    let shown = following.shown(&id).await;
    assert_eq!(shown["titleStatus"], "READY");
    assert_eq!(shown["titleError"], Value::Null);
    assert_eq!(shown["displayName"], ModelServer::TITLE);
}

#[tokio::test]
async fn a_rename_and_a_wish_win_over_a_refresh_in_progress() {
    let following = Following::start().await;
    let model = &following.model;
    for is_renamed in [true, false] {
        let id = following.conversation(4).await;
        let calls = model.title_requests().len();
        let gate = model.held_title(Answer::Text(BREAD));
        send(
            following.url(),
            json!({ "conversationId": id, "text": "My bread does not rise" }),
        )
        .await;
        eventually(async || (model.title_requests().len() > calls).then_some(())).await;
        assert_eq!(
            following.shown(&id).await["titleStatus"],
            "READY",
            "no client sees it"
        );
        let expected = match is_renamed {
            true => {
                rename(following.url(), &id, "Ours").await;
                "Ours"
            }
            false => {
                model.title(Answer::Text("A Flat Loaf"));
                regenerate(following.url(), json!({ "id": id })).await;
                "A Flat Loaf"
            }
        };
        title_when(following.url(), &id, |now| now["displayName"] == expected).await;
        gate.send(()).unwrap();
        following.quiet().await;
        assert_eq!(following.shown(&id).await["displayName"], expected);
    }
}

/// What happens in a random conversation.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A message, and the title that a refresh would get.
    Says(usize),
    Renames,
    Restores,
    Waits,
}

const TITLES: [&str; 4] = [
    ModelServer::TITLE,
    BREAD,
    "Taxes for Freelancers",
    "Winter Tyres",
];

#[test]
fn random_conversations_keep_their_place_and_what_a_person_chose() {
    let event = prop_oneof![
        8 => (0..TITLES.len()).prop_map(Event::Says),
        1 => Just(Event::Renames),
        1 => Just(Event::Restores),
        2 => Just(Event::Waits),
    ];
    let config = Config {
        cases: 12,
        max_shrink_iters: 0,
        ..Config::default()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let following = runtime.block_on(Following::start());
    let events = proptest::collection::vec(event, 8..28);
    TestRunner::new(config)
        .run(&events, |events| {
            runtime.block_on(random(&following, &events));
            Ok(())
        })
        .unwrap();
    // Dropped where its tasks can end.
    runtime.block_on(async { drop(following) });
}

async fn random(following: &Following, events: &[Event]) {
    let (model, url) = (&following.model, following.url());
    let id = settled(url, MESSAGE).await;
    let mut messages = 1;
    let (mut generated, mut calls) = (1, model.title_requests().len());
    for event in events {
        let before = following.shown(&id).await;
        let list = following.list().await;
        match event {
            Event::Says(title) => {
                messages += 1;
                model.forget();
                model.title(Answer::Text(TITLES[*title]));
                following
                    .say(&id, "And what else is there?", 2 * messages)
                    .await;
            }
            Event::Renames => drop(rename(url, &id, "Ours").await),
            Event::Restores => {
                let query = "mutation ($id: ID!) { restoreTitle(input: { id: $id }) { conversation { id } } }";
                titlecast_testing::server::graphql(url, query, json!({ "id": id })).await;
            }
            Event::Waits => following.pass(&id, TimeDelta::minutes(11)).await,
        }
        let after = following.shown(&id).await;
        let now = model.title_requests().len();
        if now > calls {
            assert_eq!(messages % 5, 0, "not after every fifth message: {events:?}");
            assert_eq!(before["titleLocked"], false, "{events:?}");
            generated += now - calls;
            calls = now;
        }
        assert!(generated <= 4, "{events:?}");
        if before["titleLocked"] == true && !matches!(event, Event::Renames) {
            assert_eq!(after["displayName"], before["displayName"], "{events:?}");
        }
        match event {
            Event::Says(_) => assert_eq!(following.list().await[0], id),
            _ => {
                assert_eq!(
                    after["lastMessageAt"], before["lastMessageAt"],
                    "{events:?}"
                );
                assert_eq!(following.list().await, list, "{events:?}");
            }
        }
        assert_eq!(after["titleStatus"], "READY");
    }
    model.forget();
}
