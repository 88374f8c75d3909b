//! What is stored under a policy: its limits and its form, distinct titles, and extracted ones.

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use titlecast_testing::{
    Answer, ModelServer, Rows, stored,
    titles::{regenerate, settled, title, title_when},
};

use super::{MESSAGE, last_request, with_policies, with_policies_and};

#[tokio::test]
async fn an_instruction_of_ones_own_cannot_break_what_is_stored() {
    let model = ModelServer::start().await;
    let policies = r#"
[agents.triage]
models = ["desk/a"]
[titles]
instruction = "Answer at length, in English, with a URL and in markdown."
max_characters = 24
max_words = 4
case = "sentence"
"#;
    let (server, _folder) = with_policies(&model, policies).await;
    let japanese = "来月の京都旅行の計画を手伝ってください";
    #[rustfmt::skip]
    let table: &[(&str, &[&'static str], Option<&str>)] = &[
        (MESSAGE, &["**Trip to Kyoto**"], Some("Trip to Kyoto")),
        (MESSAGE, &["Kyoto Trip Planning"], Some("Kyoto trip planning")),
        (MESSAGE, &["🗾 Kyoto Trip"], Some("Kyoto trip")),
        (MESSAGE, &["A Trip to Kyoto for Anna", "Trip for Anna"], Some("Trip for Anna")),
        (MESSAGE, &["Extraordinarily Complicated", "Trip to Kyoto"], Some("Trip to Kyoto")),
        (MESSAGE, &["I'm sorry, I can't help with that.", "https://example.com/kyoto"], None),
        (MESSAGE, &["Sure! First, book a flight to Kyoto and then a hotel near Gion.", "🗾"], None),
        (japanese, &["Planning a Trip", "Kyoto in May"], None),
        (japanese, &["京都旅行の計画"], Some("京都旅行の計画")),
    ];
    for (message, answers, expected) in table {
        for answer in *answers {
            model.title(Answer::Text(answer));
        }
        let id = settled(&server.url, message).await;
        let shown = server.title(&id).await;
        assert_eq!(
            shown["displayName"],
            json!(expected),
            "{answers:?}: {shown}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_title_that_the_owner_has_is_asked_for_once_more() {
    let model = ModelServer::start().await;
    let policies = "[agents.triage]\nmodels = [\"desk/a\"]\n[titles]\ndistinct = true\n";
    let (mut server, _folder) = with_policies(&model, policies).await;
    model.title(Answer::Text("Python Help"));
    settled(&server.url, MESSAGE).await;
    assert_eq!(model.title_requests().len(), 1);

    // The second answer differs.
    model.title(Answer::Text("python: help!"));
    model.title(Answer::Text("Python Help for Anna"));
    let id = settled(&server.url, MESSAGE).await;
    assert_eq!(
        server.title(&id).await["displayName"],
        "Python Help for Anna"
    );
    assert_eq!(model.title_requests().len(), 3);
    let request = last_request(&model);
    let (instruction, input) = (request[1].as_str().unwrap(), request[2].as_str().unwrap());
    assert!(instruction.contains("<taken>"), "{instruction}");
    assert!(
        input.contains("\n<taken>\npython: help!\n</taken>\n"),
        "{input}"
    );

    // It is stored whatever it is; and if it is of no use, the first one is.
    for (second, expected) in [("Python Help", "Python Help"), ("I'm sorry", "Python help")] {
        model.title(Answer::Text("Python help"));
        model.title(Answer::Text(second));
        let id = settled(&server.url, MESSAGE).await;
        assert_eq!(server.title(&id).await["displayName"], expected);
    }
    assert_eq!(model.title_requests().len(), 7);

    // Not after a first answer of no use: there are two calls in all.
    model.title(Answer::Text("I'm sorry"));
    model.title(Answer::Text("Python Help"));
    let id = settled(&server.url, MESSAGE).await;
    assert_eq!(server.title(&id).await["displayName"], "Python Help");
    assert_eq!(model.title_requests().len(), 9);

    // Another owner has none.
    let url = server.serve(super::owner("other")).await;
    model.title(Answer::Text("Python Help"));
    settled(&url, MESSAGE).await;
    assert_eq!(model.title_requests().len(), 10);
    server.stop().await;
}

#[tokio::test]
async fn what_was_rejected_twice_is_extracted() {
    let model = ModelServer::start().await;
    let policies = "[agents.triage]\nmodels = [\"desk/a\"]\n[titles]\nfallback = \"extract\"\n";
    let (server, _folder) = with_policies(&model, policies).await;
    let rows = Rows::of(&server.database).await;
    for _ in 0..2 {
        model.title(Answer::Text("I'm sorry, I can't help with that."));
    }
    let id = settled(&server.url, MESSAGE).await;
    let shown = title(&server.url, &id).await;
    assert_eq!(shown["titleStatus"], "READY", "{shown}");
    assert_eq!(shown["titleSource"], "GENERATED");
    let extracted = shown["displayName"].as_str().unwrap();
    assert!(extracted.contains("Kyoto"), "{extracted}");
    let sql =
        "SELECT model FROM agent_title_calls WHERE conversation_id = $1 ORDER BY created_at, id";
    let calls = rows.all(sql, [stored::id(&id)]).await;
    let models = calls.iter().map(|row| row.try_get("", "model").unwrap());
    assert_eq!(
        models.collect::<Vec<String>>(),
        ["desk/a", "desk/a", "extract"]
    );

    // An existing title stays when another one fails.
    for _ in 0..2 {
        model.title(Answer::Text("I'm sorry"));
    }
    regenerate(&server.url, json!({ "id": id })).await;
    let shown = title_when(&server.url, &id, |title| !title["titleError"].is_null()).await;
    assert_eq!(shown["displayName"], extracted);
    server.stop().await;
}

#[tokio::test]
async fn what_is_given_up_is_extracted_but_a_title_that_is_there_stays() {
    let model = ModelServer::start().await;
    let policies = "[agents.triage]\nmodels = [\"desk/a\"]\n[titles]\nfallback = \"extract\"\n\
        [titles.tenants.plain]\nfallback = \"hint\"\n";
    let settings = ["--title-sweep", "100ms", "--title-probe", "1h"];
    let (mut server, _folder) = with_policies_and(&model, policies, &settings).await;
    let rows = Rows::of(&server.database).await;
    let titled = settled(&server.url, MESSAGE).await;
    let no_key = || Answer::error(401, "invalid_request_error", Some("invalid_api_key"), "No.");
    model.title(no_key());
    let id = settled(&server.url, MESSAGE).await;
    let plain = server.serve(super::owner("plain")).await;
    let hinted = settled(&plain, MESSAGE).await;
    regenerate(&server.url, json!({ "id": titled })).await;
    title_when(&server.url, &titled, |title| !title["titleError"].is_null()).await;
    let calls = model.title_requests().len();
    let long_ago = Utc::now() - TimeDelta::hours(25);
    for id in [&id, &hinted, &titled] {
        rows.change(id, "title_failing_since = $2", [long_ago.into()])
            .await;
    }
    let shown = title_when(&server.url, &id, |title| title["titleStatus"] == "READY").await;
    assert_eq!(shown["titleSource"], "GENERATED");
    assert_eq!(shown["titleError"], Value::Null);
    let extracted = shown["displayName"].as_str().unwrap();
    assert!(extracted.contains("Kyoto"), "{extracted}");
    let given_up = |title: &Value| title["titleError"]["retryAt"].is_null();
    let shown = title_when(&plain, &hinted, given_up).await;
    assert_eq!(shown["titleStatus"], "FAILED");
    assert_eq!(shown["titleError"]["code"], "UNAUTHORIZED");
    let shown = title_when(&server.url, &titled, given_up).await;
    assert_eq!(shown["displayName"], ModelServer::TITLE);
    assert_eq!(shown["titleError"]["code"], "UNAUTHORIZED");
    assert_eq!(model.title_requests().len(), calls, "no call");
    server.stop().await;
}

#[tokio::test]
async fn redaction_is_the_tenants_own() {
    let model = ModelServer::start().await;
    let policies =
        "[agents.triage]\nmodels = [\"desk/a\"]\n[titles.tenants.open]\nredact = false\n";
    let (mut server, _folder) = with_policies(&model, policies).await;
    let message = "Why do mails to anna@example.com bounce?";
    for (tenant, expected) in [
        ("open", "Mails to anna@example.com Bounce"),
        ("other", "Mails to Bounce"),
    ] {
        let url = server.serve(super::owner(tenant)).await;
        model.title(Answer::Text("Mails to anna@example.com Bounce"));
        let id = settled(&url, message).await;
        let shown = title(&url, &id).await;
        assert_eq!(shown["displayName"], expected, "{shown}");
        let hint = shown["topicHint"].as_str().unwrap();
        assert_eq!(
            hint.contains("anna@example.com"),
            tenant == "open",
            "{hint}"
        );
    }
    server.stop().await;
}
