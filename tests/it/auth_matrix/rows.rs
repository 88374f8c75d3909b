//! The rows of the matrix.

/// What another owner is told.
pub enum Others {
    /// That there is none.
    Nothing(&'static str),
    /// An error that says so.
    NotFound,
    /// Its own things, among which nothing of this is.
    OnlyTheirs,
}

/// One document, what of the schema it tries, and what others are told. `<conversation>`, `<message>`
/// and `<reply>` stand for ids of the owner's.
pub struct Row(pub &'static [&'static str], pub &'static str, pub Others);

#[rustfmt::skip]
pub const ROWS: [Row; 16] = [
    Row(
        &["Query.conversation(id)", "Conversation.id", "Message.id", "Message.conversationId"],
        r#"{ conversation(id: "<conversation>") { id messages { nodes { id conversationId } } } }"#,
        Others::Nothing(r#"{"conversation":null}"#),
    ),
    Row(
        &["Query.node(id)", "Node.id"],
        r#"{ node(id: "<conversation>") { id } }"#,
        Others::Nothing(r#"{"node":null}"#),
    ),
    Row(&["Query.node(id)", "Node.id"], r#"{ node(id: "<message>") { id } }"#, Others::Nothing(r#"{"node":null}"#)),
    Row(
        &["Query.node(id)", "SendMessagePayload.replyId"],
        r#"{ node(id: "<reply>") { id } }"#,
        Others::Nothing(r#"{"node":null}"#),
    ),
    Row(
        &["Query._entities(representations)"],
        r#"{ _entities(representations: [{ __typename: "Conversation", id: "<conversation>" }]) { ... on Conversation { id } } }"#,
        Others::Nothing(r#"{"_entities":[null]}"#),
    ),
    Row(
        &["Query.conversations", "Conversation.id", "Message.id", "Message.conversationId"],
        "{ conversations(first: 20) { nodes { id messages(first: 20) { nodes { id conversationId } } } } }",
        Others::OnlyTheirs,
    ),
    Row(
        &["Query.searchConversations", "Conversation.id", "Message.id"],
        r#"{ searchConversations(query: "kyoto") { nodes { conversation { id } message { id } } } }"#,
        Others::OnlyTheirs,
    ),
    Row(
        &["Mutation.sendMessage", "SendMessageInput.conversationId", "SendMessagePayload.replyId"],
        r#"mutation { sendMessage(input: { conversationId: "<conversation>", text: "Hi" }) { replyId } }"#,
        Others::NotFound,
    ),
    Row(
        &["Mutation.renameConversation", "RenameConversationInput.id"],
        r#"mutation { renameConversation(input: { id: "<conversation>", displayName: "K" }) { conversation { id } } }"#,
        Others::NotFound,
    ),
    Row(
        &["Mutation.regenerateTitle", "RegenerateTitleInput.id"],
        r#"mutation { regenerateTitle(input: { id: "<conversation>", replaceManual: true }) { conversation { id } } }"#,
        Others::NotFound,
    ),
    Row(
        &["Mutation.resetTitle", "ResetTitleInput.id"],
        r#"mutation { resetTitle(input: { id: "<conversation>" }) { conversation { id } } }"#,
        Others::NotFound,
    ),
    Row(
        &["Mutation.stopReply", "StopReplyInput.conversationId"],
        r#"mutation { stopReply(input: { conversationId: "<conversation>" }) { conversation { id } } }"#,
        Others::NotFound,
    ),
    Row(
        &["Mutation.deleteConversation", "DeleteConversationInput.id", "DeleteConversationPayload.deletedConversationId"],
        r#"mutation { deleteConversation(input: { id: "<conversation>" }) { deletedConversationId } }"#,
        Others::NotFound,
    ),
    Row(
        &["Subscription.conversationUpdated(id)", "Conversation.id"],
        r#"subscription { conversationUpdated(id: "<conversation>") { id messages { nodes { id } } } }"#,
        Others::NotFound,
    ),
    Row(
        &["Subscription.conversationUpdated"],
        "subscription { conversationUpdated { id } }",
        Others::OnlyTheirs,
    ),
    Row(
        &["Subscription.reply(conversationId)", "ReplySoFar.messageId", "ReplyDelta.messageId", "ReplyEnded.messageId"],
        r#"subscription { reply(conversationId: "<conversation>") {
            ... on ReplySoFar { messageId } ... on ReplyDelta { messageId } ... on ReplyEnded { messageId }
        } }"#,
        Others::NotFound,
    ),
];
