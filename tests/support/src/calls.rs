//! GraphQL calls that many tests share, and waits for their outcomes. `url` is where the caller is served.

use serde_json::{Value, json};

use super::{Server, eventually, server::graphql};

/// All fields of a conversation except its messages.
pub const FIELDS: &str = "id title displayName topicHint titleGeneratedAt titleSource titleStatus \
    revision agentEntrypoint activeAgent status messageCount lastMessagePreview lastMessageAt \
    createdAt updatedAt";

/// Sends a request that must succeed without errors. Returns its data.
#[track_caller]
pub fn data(url: &str, query: &str, variables: Value) -> impl Future<Output = Value> {
    let caller = std::panic::Location::caller();
    async move {
        let mut answer = graphql(url, query, variables).await;
        assert_eq!(
            answer.get("errors"),
            None,
            "{query}, asked for at {caller}: {answer}"
        );
        answer["data"].take()
    }
}

/// Calls `sendMessage`. Returns the payload.
pub async fn send_message(url: &str, input: Value) -> Value {
    let query = format!(
        "mutation ($input: SendMessageInput!) {{ sendMessage(input: $input) {{
            conversation {{ {FIELDS} }}
            message {{ id conversationId role content status createdAt }}
            replyId
        }} }}"
    );
    data(url, &query, json!({ "input": input })).await["sendMessage"].take()
}

/// Calls `renameConversation`. Returns the conversation.
pub async fn rename(url: &str, id: &str, display_name: &str) -> Value {
    let query = format!(
        "mutation ($input: RenameConversationInput!) {{
            renameConversation(input: $input) {{ conversation {{ {FIELDS} }} }}
        }}"
    );
    let input = json!({ "id": id, "displayName": display_name });
    data(url, &query, json!({ "input": input })).await["renameConversation"]["conversation"].take()
}

/// Calls `deleteConversation`. Returns the payload.
pub async fn delete(url: &str, id: &str) -> Value {
    let query = format!(
        "mutation ($input: DeleteConversationInput!) {{ deleteConversation(input: $input) {{
            deletedConversationId
            conversation {{ {FIELDS} messages {{ nodes {{ content }} }} }}
        }} }}"
    );
    data(url, &query, json!({ "input": { "id": id } })).await["deleteConversation"].take()
}

/// Calls `stopReply`. Returns whether a reply was running.
pub async fn stop_reply(url: &str, id: &str) -> bool {
    let query = "mutation ($id: ID!) {
        stopReply(input: { conversationId: $id }) { stopped conversation { id } }
    }";
    let stopped = data(url, query, json!({ "id": id })).await;
    assert_eq!(stopped["stopReply"]["conversation"]["id"], id);
    stopped["stopReply"]["stopped"].as_bool().unwrap()
}

/// The conversation with its first messages; null if the caller has no such conversation.
pub async fn conversation(url: &str, id: &str) -> Value {
    let query = format!(
        "query ($id: ID!) {{ conversation(id: $id) {{
            {FIELDS} messages {{ nodes {{ id role content status }} }}
        }} }}"
    );
    data(url, &query, json!({ "id": id })).await["conversation"].take()
}

/// Like [`conversation`], but waits until the state is as expected.
pub async fn conversation_when(url: &str, id: &str, is_expected: impl Fn(&Value) -> bool) -> Value {
    let is_expected = &is_expected;
    eventually(move || async move { Some(conversation(url, id).await).filter(is_expected) }).await
}

/// Starts a conversation and waits for its reply and the outcome of its title. Returns the id.
pub async fn settled_conversation(url: &str, input: Value) -> String {
    let sent = send_message(url, input).await;
    let id = sent["conversation"]["id"].as_str().unwrap().to_owned();
    conversation_when(url, &id, |now| {
        now["messageCount"] == 2 && now["titleStatus"] != "PENDING"
    })
    .await;
    id
}

/// The code of a refusal. Panics unless the answer has exactly one error and no data.
#[track_caller]
pub fn code(answer: &Value) -> &str {
    // The fields of mutations are nullable, so that an error in one does not null its siblings.
    let fields = answer["data"].as_object();
    let has_none = fields.is_none_or(|fields| fields.values().all(Value::is_null));
    assert!(has_none, "{answer}");
    let errors = answer["errors"].as_array();
    let errors = errors.unwrap_or_else(|| panic!("not refused: {answer}"));
    assert_eq!(errors.len(), 1, "{answer}");
    assert!(
        errors[0]["message"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    );
    errors[0]["extensions"]["code"]
        .as_str()
        .unwrap_or_else(|| panic!("without a code: {answer}"))
}

impl Server {
    /// Waits until this many topics have subscribers, which shows that subscriptions have started or ended.
    pub async fn topics(&self, count: usize) {
        eventually(async || (self.app.events().topic_count() == count).then_some(())).await;
    }
}
