//! `titlecast config check --live`.

use serde_json::json;
use titlecast_testing::{Answer, ModelServer, Recorder, Titlecast, process::Ended};

/// `config check --live` with this file.
async fn live(file: &str) -> Ended {
    Titlecast::new(&["config", "check", "--live", "--config", "titlecast.toml"])
        .file("titlecast.toml", file)
        .env("DESK_KEY", "sk-of-the-desk")
        .run()
        .await
}

/// What it prints of each model.
fn lines(ended: &Ended) -> Vec<&str> {
    let (_, live) = ended.stdout.split_once("\nlive:\n").unwrap();
    live.lines().map(str::trim).collect()
}

#[tokio::test]
async fn each_model_is_asked_for_a_word() {
    let (good, bad) = (Recorder::start().await, ModelServer::start().await);
    bad.reply(Answer::error(
        401,
        "invalid_request_error",
        Some("invalid_api_key"),
        "No: sk-x.",
    ));
    let file = format!(
        r#"
[providers.good]
base_url = "{}"

[providers.bad]
base_url = "{}"

[agents.triage]
models = ["good/one", "bad/two"]
instructions = "Nothing of this is sent."

[agents.support]
source = "external"

[titles]
models = ["good/tiny"]
"#,
        good.url, bad.url
    );
    let ended = live(&file).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("1 of 3 models did not answer"),
        "{}",
        ended.stderr
    );
    let lines = lines(&ended);
    assert!(
        lines[0].starts_with("agent triage, good/one: answered in ")
            && lines[0].ends_with(" ms, without a key"),
        "{lines:?}"
    );
    assert_eq!(
        lines[1],
        "agent triage, bad/two: asks for a key (401, invalid_api_key), and none is set; name one with api_key_env or \
         api_key_file"
    );
    assert!(
        lines[2].starts_with("titles, good/tiny: answered in "),
        "{lines:?}"
    );
    assert!(!ended.stdout.contains("sk-x"), "{}", ended.stdout);
    for request in good.requests() {
        assert!(
            !request.to_string().contains("Nothing of this"),
            "{request}"
        );
    }
}

#[tokio::test]
async fn failures_are_told_in_plain_words() {
    let moved = |status| Answer::Status(status, vec![("location", "/elsewhere")], json!({}));
    let error = |status, code| Answer::error(status, "an_error", code, "No: sk-of-the-desk.");
    let too_long = Some("context_length_exceeded");
    #[rustfmt::skip]
    let table = [
        (moved(307), "answered with a redirect (307), which is not followed; set base_url to the final address"),
        (error(401, None), "refuses the key (401, an_error)"),
        (error(404, Some("model_not_found")), "does not know the model (404, model_not_found); name one that it offers"),
        (Answer::Status(404, vec![], json!("Nothing here")), "has no model API at base_url (404); correct it, it often ends in /v1"),
        (error(429, Some("insufficient_quota")), "has no quota left (429, insufficient_quota); check the account's billing"),
        (error(429, None), "limits the rate of calls (429, an_error); try again later"),
        (error(400, None), "refuses the request as wrong (400, an_error); check the parameters"),
        (error(400, too_long), "refuses a short request as too long (400, context_length_exceeded)"),
        (error(500, None), "failed (500, an_error); see the provider's status"),
        (Answer::Page("<html>Sign in</html>"), "answered, but not as a model API does; check base_url and wire"),
        (Answer::Cut, "closed the connection before the end of its answer; check base_url, the proxy and the server"),
    ];
    for (answer, expected) in table {
        let model = ModelServer::start().await;
        model.reply(answer);
        let file = format!(
            "[providers.desk]\nbase_url = \"{}\"\napi_key_env = \"DESK_KEY\"\n[agents.triage]\nmodels = [\"desk/one\"]\n",
            model.url
        );
        let ended = live(&file).await;
        assert_eq!(ended.code, Some(1), "{expected}: {}", ended.stderr);
        let expected = format!("agent triage, titles, desk/one: {expected}");
        assert_eq!(lines(&ended), [expected]);
        let printed = format!("{}{}", ended.stdout, ended.stderr);
        assert!(!printed.contains("sk-of"), "{printed}");
    }
}

#[tokio::test]
async fn a_model_is_asked_once_with_the_same_parameters() {
    let provider = Recorder::start().await;
    let file = format!(
        r#"
[providers.desk]
base_url = "{}"
api_key_env = "DESK_KEY"

[agents.default]
models = ["desk/one", "desk/two"]

[agents.other]
models = ["desk/two", "desk/one"]

[agents.warm]
models = ["desk/one"]
parameters = {{ temperature = 0.9 }}
"#,
        provider.url
    );
    let ended = live(&file).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let lines = lines(&ended);
    for (line, start) in lines.iter().zip([
        "agent default, agent other, titles, desk/one: answered in ",
        "agent default, agent other, titles, desk/two: answered in ",
        "agent warm, desk/one: answered in ",
    ]) {
        assert!(line.starts_with(start) && line.ends_with(" ms"), "{line}");
    }
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(provider.requests().len(), 3);
}

#[tokio::test]
async fn without_a_provider_the_check_does_not_pass() {
    let ended = Titlecast::new(&["config", "check", "--live"]).run().await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let printed = lines(&ended).concat();
    for part in [
        "agent triage, titles, ",
        "no provider is set up",
        "OPENAI_API_KEY",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    assert!(
        ended.stderr.contains("1 of 1 models did not answer"),
        "{}",
        ended.stderr
    );
}
