//! Replies in order: a reply that failed is a message, the newest one is written anew, the newest message is edited, and
//! each of two replies at once has a name.

mod edits;
mod failures;
mod killed;
mod older;
mod races;
mod side_by_side;
mod versions;

use serde_json::{Value, json};
use titlecast_testing::{Answer, ModelServer, calls::data, eventually, server::graphql};

/// Everything that a message says of itself.
pub const MESSAGE: &str = "id role content status inReplyTo outcome error { code message } model
    usage { promptTokens completionTokens reasoningTokens totalTokens }
    versions { id content status outcome inReplyTo }";

/// The conversation with its messages and what is being written.
pub async fn read(url: &str, id: &str) -> Value {
    let query = format!(
        "query ($id: ID!) {{ conversation(id: $id) {{
            title messageCount lastMessagePreview lastMessageAt revision
            activeReplies {{ replyId inReplyTo }}
            messages(first: 100) {{ nodes {{ {MESSAGE} createdAt }} }}
        }} }}"
    );
    data(url, &query, json!({ "id": id })).await["conversation"].take()
}

/// The same once nothing is being written.
pub async fn settled(url: &str, id: &str) -> Value {
    eventually(async || {
        let now = read(url, id).await;
        (now["activeReplies"] == json!([])).then_some(())
    })
    .await;
    // The conversation was read before its replies.
    read(url, id).await
}

pub fn messages(conversation: &Value) -> &Vec<Value> {
    conversation["messages"]["nodes"].as_array().unwrap()
}

/// The texts of messages, or of versions.
pub fn texts(messages: &Value) -> Vec<&str> {
    let messages = messages.as_array().unwrap().iter();
    messages
        .map(|message| message["content"].as_str().unwrap())
        .collect()
}

/// `regenerateReply`; the whole answer.
pub async fn regenerate(url: &str, input: Value) -> Value {
    let query = format!(
        "mutation ($input: RegenerateReplyInput!) {{ regenerateReply(input: $input) {{
            conversation {{ id messageCount }} message {{ {MESSAGE} }} replyId
        }} }}"
    );
    graphql(url, &query, json!({ "input": input })).await
}

/// `editMessage`; the whole answer.
pub async fn edit(url: &str, input: Value) -> Value {
    let query = format!(
        "mutation ($input: EditMessageInput!) {{ editMessage(input: $input) {{
            conversation {{ id messageCount title }} message {{ {MESSAGE} }} replyId
        }} }}"
    );
    graphql(url, &query, json!({ "input": input })).await
}

/// A conversation of one message and this reply; its id.
pub async fn conversation_with(model: &ModelServer, url: &str, reply: &'static str) -> String {
    model.reply(Answer::Deltas(vec![reply]));
    let input = json!({ "text": "Plan a trip to Kyoto", "autoTitle": false });
    let sent = titlecast_testing::calls::send_message(url, input).await;
    let id = sent["conversation"]["id"].as_str().unwrap().to_owned();
    settled(url, &id).await;
    id
}
