//! What each provider is asked.

use serde_json::json;
use titlecast_testing::{Recorder, Server, eventually};

use super::{Folder, serve, stable};

/// Sends a message to an agent by GraphQL, waits for its reply, and returns the conversation's id.
async fn ask(server: &Server, id: Option<&str>, agent: &str, text: &str) -> String {
    let mutation = "mutation A($input: SendMessageInput!) { sendMessage(input: $input) {
        conversation { id activeAgent agent { name } } } }";
    let input = json!({ "conversationId": id, "agent": agent, "text": text });
    let sent = server.data(mutation, json!({ "input": input })).await;
    let conversation = &sent["sendMessage"]["conversation"];
    assert_eq!(conversation["activeAgent"], agent);
    assert_eq!(conversation["agent"]["name"], agent);
    let id = conversation["id"].as_str().unwrap().to_owned();
    let history = format!("/api/v1/conversations/{id}");
    eventually(async || {
        let (_, page) = server.get(&history).await;
        let last = page["messages"].as_array()?.last()?.clone();
        (last["role"] == "assistant").then_some(())
    })
    .await;
    id
}

#[tokio::test]
async fn each_provider_gets_its_own_key_instructions_and_parameters_only() {
    let [openai, desk, small] = [
        Recorder::start().await,
        Recorder::start().await,
        Recorder::start().await,
    ];
    let folder = Folder::new()
        .file("triage.md", "You are the triage agent.\n")
        .file("desk.key", "key-of-desk\n")
        .file("small.key", "key-of-small\r\n")
        .file("openai.key", "key-of-openai")
        .file("identity", "an-identity-secret-of-32-bytes-or-more")
        .file(
            "titlecast.toml",
            &format!(
                r#"
default_agent = "triage"

[providers.openai]
base_url = "{}"
api_key_file = "openai.key"
wire = "responses"

[providers.desk]
base_url = "{}"
api_key_file = "desk.key"
headers = {{ X-Team = "support" }}
identity = "headers"

[providers.small]
base_url = "{}"
api_key_file = "small.key"
identity = "jwt"
identity_secret_file = "identity"

[agents.triage]
models = ["openai/gpt-5-mini"]
instructions_file = "triage.md"
parameters = {{ reasoning_effort = "low", verbosity = "low", max_output_tokens = 500 }}

[agents.desk]
provider = "desk"
models = ["desk/llama"]
instructions = "You are the desk agent."
parameters = {{ temperature = 0.2, top_p = 0.9, extra = {{ top_k = 20 }} }}

[titles]
models = ["small/tiny"]
"#,
                openai.url, desk.url, small.url
            ),
        );
    let server = serve(&folder, &[]).await;
    let id = ask(&server, None, "triage", "Plan a trip to Kyoto").await;
    ask(&server, Some(&id), "desk", "And the hotels?").await;
    eventually(async || {
        let (_, page) = server.get(&format!("/api/v1/conversations/{id}")).await;
        (page["display_name"] == "Planning a Trip to Kyoto").then_some(())
    })
    .await;
    let asked = |provider: &Recorder| {
        let requests = provider.requests().into_iter().map(stable);
        requests.collect::<Vec<_>>()
    };
    let all = [asked(&openai), asked(&desk), asked(&small)];
    assert_eq!(all.each_ref().map(Vec::len), [1, 1, 1]);
    insta::assert_json_snapshot!(json!({ "openai": all[0], "desk": all[1], "small": all[2] }));
    // Each secret and each instruction reached one provider.
    let texts = all.map(|requests| json!(requests).to_string());
    for (part, at) in [
        ("key-of-openai", 0),
        ("triage agent", 0),
        ("key-of-desk", 1),
        ("desk agent", 1),
        ("key-of-small", 2),
    ] {
        let found: Vec<usize> = (0..3).filter(|at| texts[*at].contains(part)).collect();
        assert_eq!(found, [at], "{part}");
    }
    let whole = texts.concat();
    assert!(
        !whole.contains("an-identity-secret"),
        "a secret signs, and is not sent"
    );
}
