//! The part of a conversation that the chat model receives: all of it in order, or as much from the end as the budget
//! holds, and always the newest message.

use serde_json::{Value, json};
use titlecast_testing::{Answer, Scene, assert_common_stream};

/// The newest request for a reply, as role and text.
fn shown(scene: &Scene) -> Vec<(String, String)> {
    let request = scene.model.reply_requests().pop().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let messages = request["messages"].as_array().unwrap().iter();
    messages
        .map(|message| (text(&message["role"]), text(&message["content"])))
        .collect()
}

fn user(text: &str) -> (String, String) {
    ("user".into(), text.into())
}

fn assistant(text: &str) -> (String, String) {
    ("assistant".into(), text.into())
}

/// Sends these messages to one conversation, one after the other.
async fn talk(scene: &Scene, messages: &[&str]) {
    let id = uuid::Uuid::now_v7().to_string();
    for message in messages {
        let events = scene
            .turn(json!({ "message": message, "conversation_id": id }))
            .await;
        assert_common_stream(&events);
    }
}

#[tokio::test]
async fn a_reply_is_asked_for_as_a_stream_with_its_cost_and_nothing_else() {
    let scene = Scene::replies([]).await;
    talk(&scene, &["Plan a trip to Kyoto"]).await;
    let [request] = scene.model.reply_requests().try_into().unwrap();
    insta::assert_json_snapshot!(request, @r#"
    {
      "messages": [
        {
          "content": "Plan a trip to Kyoto",
          "role": "user"
        }
      ],
      "model": "gpt-6-luna",
      "stream": true,
      "stream_options": {
        "include_usage": true
      }
    }
    "#);
    scene.server.stop().await;
}

#[tokio::test]
async fn the_conversation_is_shown_in_its_order() {
    let replies = ["In April?", "By train?", "Done."];
    let answers = replies.map(|reply| Answer::Deltas(vec![reply]));
    let scene = Scene::replies(answers).await;
    talk(
        &scene,
        &["Plan a trip to Kyoto", "Yes, in April", "By train"],
    )
    .await;
    let expected = [
        user("Plan a trip to Kyoto"),
        assistant("In April?"),
        user("Yes, in April"),
        assistant("By train?"),
        user("By train"),
    ];
    assert_eq!(shown(&scene), expected);
    scene.server.stop().await;
}

#[tokio::test]
async fn a_reply_that_broke_off_is_shown_as_far_as_it_came_and_one_that_never_began_is_not() {
    let cut_off = Answer::Finished("In Apr", "length");
    let refused = Answer::error(401, "invalid_request_error", None, "No");
    let scene = Scene::replies([cut_off, refused]).await;
    talk(&scene, &["Plan a trip to Kyoto", "Go on", "Please"]).await;
    let expected = [
        user("Plan a trip to Kyoto"),
        assistant("In Apr"),
        user("Go on\n\nPlease"),
    ];
    assert_eq!(shown(&scene), expected);
    scene.server.stop().await;
}

#[tokio::test]
async fn a_budget_keeps_what_is_newest() {
    let answers = ["first reply", "second reply"].map(|reply| Answer::Deltas(vec![reply]));
    let scene = Scene::replies_with(answers, &["--history-budget", "40"]).await;
    // The last is 16 characters, the reply before it 12, the message before that 12: 40 in all. What
    // is older would not fit.
    talk(&scene, &["Plan a trip", "To Kyoto, no", "and then to Nara"]).await;
    let expected = [
        user("To Kyoto, no"),
        assistant("second reply"),
        user("and then to Nara"),
    ];
    assert_eq!(shown(&scene), expected);
    scene.server.stop().await;
}

#[tokio::test]
async fn a_budget_is_counted_in_characters_and_not_in_bytes() {
    let scene = Scene::replies_with(
        [Answer::Deltas(vec!["はい。"])],
        &["--history-budget", "12"],
    );
    let scene = scene.await;
    talk(&scene, &["京都の旅。", "四月です"]).await;
    let expected = [user("京都の旅。"), assistant("はい。"), user("四月です")];
    assert_eq!(shown(&scene), expected);
    scene.server.stop().await;
}

#[tokio::test]
async fn the_newest_message_is_shown_whatever_its_length() {
    let scene = Scene::replies_with([], &["--history-budget", "40"]).await;
    let long = "Plan a trip to Kyoto. ".repeat(100);
    talk(&scene, &["Hello there, model", long.trim()]).await;
    assert_eq!(shown(&scene), [user(long.trim())]);
    scene.server.stop().await;
}

#[tokio::test]
async fn a_message_that_does_not_fit_hides_what_is_before_it() {
    let scene = Scene::replies_with([], &["--history-budget", "40"]).await;
    // Left out is a beginning, never a part from the middle: short as the first message is, it would
    // make no sense without the second. Nor would the answer to what is left out.
    let long = "Plan a trip to Kyoto. ".repeat(10);
    talk(&scene, &["Hello", long.trim(), "Go on"]).await;
    assert_eq!(shown(&scene), [user("Go on")]);
    scene.server.stop().await;
}

#[tokio::test]
async fn other_conversations_are_not_shown() {
    let scene = Scene::replies([]).await;
    talk(&scene, &["My secret plan"]).await;
    talk(&scene, &["Plan a trip to Kyoto"]).await;
    assert_eq!(shown(&scene), [user("Plan a trip to Kyoto")]);
    scene.server.stop().await;
}

/// Models of llama.cpp and vLLM with templates that want alternating roles answer 400 to anything else, every time.
#[tokio::test]
async fn authors_alternate_and_no_text_is_blank_whatever_became_of_replies() {
    let broken = || Answer::error(400, "server_error", None, "Out of order");
    let scene = Scene::replies([
        broken(),
        Answer::Deltas(vec!["Yes."]),
        Answer::Deltas(vec![" \n ", "\n"]),
        broken(),
        Answer::Deltas(vec!["Done."]),
    ])
    .await;
    talk(&scene, &["One", "Two", "Three", "Four", "Five"]).await;
    let expected = [
        user("One\n\nTwo"),
        assistant("Yes."),
        // The reply to the third is blank, that to the fourth failed.
        user("Three\n\nFour\n\nFive"),
    ];
    assert_eq!(shown(&scene), expected);
    scene.server.stop().await;
}
