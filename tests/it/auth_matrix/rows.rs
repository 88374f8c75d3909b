//! The rows of the matrix.

/// What another owner receives.
pub enum Others {
    /// That there is none.
    Nothing(&'static str),
    /// An error that says so.
    NotFound,
    /// Its own things, among which nothing of this is.
    OnlyTheirs,
}

/// One document, what of the schema it tries, and what others receive. `<conversation>`, `<message>`
/// and `<reply>` stand for ids of the owner's.
pub struct Row(pub &'static [&'static str], pub &'static str, pub Others);

#[rustfmt::skip]
pub const ROWS: [Row; 35] = [
    Row(
        &["Query.conversation(id)", "Conversation.id", "Message.id", "Message.conversationId", "Message.inReplyTo"],
        r#"{ conversation(id: "<conversation>") { id messages { nodes { id conversationId inReplyTo } } } }"#,
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
        &["Mutation.restoreTitle", "RestoreTitleInput.id"],
        r#"mutation { restoreTitle(input: { id: "<conversation>" }) { conversation { id } } }"#,
        Others::NotFound,
    ),
    Row(
        &["Mutation.archiveConversation", "ArchiveConversationInput.conversationId"],
        r#"mutation { archiveConversation(input: { conversationId: "<conversation>" }) { conversation { id } } }"#,
        Others::NotFound,
    ),
    Row(
        &["Mutation.unarchiveConversation", "UnarchiveConversationInput.conversationId"],
        r#"mutation { unarchiveConversation(input: { conversationId: "<conversation>" }) { conversation { id } } }"#,
        Others::NotFound,
    ),
    Row(
        &["Mutation.pinConversation", "PinConversationInput.conversationId"],
        r#"mutation { pinConversation(input: { conversationId: "<conversation>" }) { conversation { id } } }"#,
        Others::NotFound,
    ),
    Row(
        &["Mutation.unpinConversation", "UnpinConversationInput.conversationId"],
        r#"mutation { unpinConversation(input: { conversationId: "<conversation>" }) { conversation { id } } }"#,
        Others::NotFound,
    ),
    Row(
        &["Mutation.setConversationMetadata", "SetConversationMetadataInput.conversationId"],
        r#"mutation { setConversationMetadata(input: {
            conversationId: "<conversation>", set: [{ key: "color", value: "red" }]
        }) { conversation { id } } }"#,
        Others::NotFound,
    ),
    Row(
        &["Mutation.stopReply", "StopReplyInput.conversationId"],
        r#"mutation { stopReply(input: { conversationId: "<conversation>" }) { conversation { id } } }"#,
        Others::NotFound,
    ),
    Row(
        &["Mutation.stopReply", "StopReplyInput.replyId"],
        r#"mutation { stopReply(input: { replyId: "<reply>" }) { conversation { id } } }"#,
        Others::NotFound,
    ),
    Row(
        &["Mutation.regenerateReply", "RegenerateReplyInput.messageId", "RegenerateReplyPayload.replyId"],
        r#"mutation { regenerateReply(input: { messageId: "<reply>" }) { replyId } }"#,
        Others::NotFound,
    ),
    Row(
        &["Mutation.editMessage", "EditMessageInput.messageId", "EditMessagePayload.replyId"],
        r#"mutation { editMessage(input: { messageId: "<message>", text: "Hi" }) { replyId } }"#,
        Others::NotFound,
    ),
    Row(
        &["ToolPart.callId"],
        r#"{ conversation(id: "<conversation>") { id messages { nodes { parts { ... on ToolPart { callId } } } } } }"#,
        Others::Nothing(r#"{"conversation":null}"#),
    ),
    Row(
        &["Query.conversation(id)", "ActiveReply.replyId", "ActiveReply.inReplyTo"],
        r#"{ conversation(id: "<conversation>") { id activeReplies { replyId inReplyTo } } }"#,
        Others::Nothing(r#"{"conversation":null}"#),
    ),
    Row(
        &["Mutation.recordMessage", "RecordMessageInput.conversationId"],
        r#"mutation { recordMessage(input: { conversationId: "<conversation>", role: USER, text: "Hi" }) { conversation { id } } }"#,
        Others::NotFound,
    ),
    Row(
        &["Mutation.recordMessage", "RecordMessageInput.messageId"],
        r#"mutation { recordMessage(input: {
            conversationId: "<conversation>", messageId: "<message>", role: USER, text: "Plan a trip to Kyoto"
        }) { message { id } created } }"#,
        Others::NotFound,
    ),
    Row(
        &["Mutation.openReply", "OpenReplyInput.conversationId", "OpenReplyInput.replyId", "OpenReplyInput.inReplyTo",
          "ReplyProgressPayload.replyId"],
        r#"mutation { openReply(input: {
            conversationId: "<conversation>", inReplyTo: "<message>", replyId: "0198d5b2-6f0e-4b8a-9a55-4f3e2d1c0b9a"
        }) { replyId } }"#,
        Others::NotFound,
    ),
    Row(
        &["Mutation.appendReply", "AppendReplyInput.conversationId", "AppendReplyInput.replyId"],
        r#"mutation { appendReply(input: {
            conversationId: "<conversation>", replyId: "<external>", offset: 0, text: "Hi"
        }) { replyId } }"#,
        Others::NotFound,
    ),
    Row(
        &["Mutation.finishReply", "FinishReplyInput.conversationId", "FinishReplyInput.replyId"],
        r#"mutation { finishReply(input: { conversationId: "<conversation>", replyId: "<external>" }) { replyId } }"#,
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
        &["Query.conversationChanges"],
        "{ conversationChanges { cursor changes { conversation { id } } } }",
        Others::OnlyTheirs,
    ),
    Row(
        &["Subscription.conversationsChanged"],
        "subscription { conversationsChanged { ... on ConversationChange { conversation { id } } } }",
        Others::OnlyTheirs,
    ),
    Row(
        &["Subscription.reply(conversationId)", "ReplySoFar.messageId", "ReplyDelta.messageId", "ReplyEnded.messageId"],
        r#"subscription { reply(conversationId: "<conversation>") {
            ... on ReplySoFar { messageId } ... on ReplyDelta { messageId } ... on ReplyEnded { messageId }
        } }"#,
        Others::NotFound,
    ),
    Row(
        &["Subscription.reply(messageId)", "ReplySoFar.messageId", "ReplyDelta.messageId", "ReplyEnded.messageId", "ReplyPart.messageId", "ReplyReasoning.messageId"],
        r#"subscription { reply(messageId: "<reply>", parts: true) {
            ... on ReplySoFar { messageId } ... on ReplyDelta { messageId } ... on ReplyEnded { messageId }
            ... on ReplyPart { messageId } ... on ReplyReasoning { messageId }
        } }"#,
        Others::NotFound,
    ),
];
