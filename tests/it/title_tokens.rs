//! What a title's request costs besides the message, by o200k, the tokenizer that OpenAI published last: under
//! 150 tokens, the instruction, the marks and the schema together.
//!
//! The request is the one that was sent. The schema is counted as the JSON of `response_format`, which is
//! more than providers say they bill for it; what the wire adds for each message is counted as OpenAI's
//! cookbook does ("How to count tokens with tiktoken"): three tokens and the role, and three for the
//! answer's beginning.

use serde_json::{Value, json};
use tiktoken_rs::{CoreBPE, o200k_base_singleton};
use titlecast_testing::{
    ModelServer, Server, eventually,
    titles::{regenerate, settled},
};

const MESSAGE: &str = "Plan a trip to Kyoto";

const MOST: usize = 150;

/// All tokens of a request but those of these texts.
fn overhead(request: &Value, texts: &[&str]) -> usize {
    let tokenizer: &CoreBPE = o200k_base_singleton();
    let count = |text: &str| tokenizer.encode_ordinary(text).len();
    let messages = request["messages"].as_array().unwrap();
    let mut tokens = 3 + count(&request["response_format"].to_string());
    for message in messages {
        let mut content = message["content"].as_str().unwrap().to_owned();
        for text in texts {
            content = content.replacen(text, "", 1);
        }
        tokens += 3 + count(message["role"].as_str().unwrap()) + count(&content);
    }
    tokens
}

#[tokio::test]
async fn the_prompt_and_the_schema_are_under_150_tokens_in_every_language() {
    for language in ["AUTO", "en", "ja", "pt-BR", "sr-Latn-RS", "zh-Hant-TW"] {
        let model = ModelServer::start().await;
        let server = Server::start_with(&model, &["--title-language", language]).await;
        settled(&server.url, MESSAGE).await;
        let requests = model.title_requests();
        assert!(requests[0]["response_format"].is_object());
        let tokens = overhead(&requests[0], &[MESSAGE]);
        // Less would be a sign that nothing was counted.
        assert!((80..MOST).contains(&tokens), "{language}: {tokens}");
    }
}

#[tokio::test]
async fn another_title_with_a_wish_costs_little_more() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = settled(&server.url, MESSAGE).await;
    let input = json!({ "id": id, "hint": "older" });
    regenerate(&server.url, input).await;
    eventually(async || (model.title_requests().len() == 2).then_some(())).await;
    let requests = model.title_requests();
    let first = overhead(&requests[0], &[MESSAGE]);
    let tokens = overhead(&requests[1], &[MESSAGE, ModelServer::TITLE, "older"]);
    assert!((first..first + 50).contains(&tokens), "{first} {tokens}");
}
