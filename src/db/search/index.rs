//! Keeping the index with the rows: which words of a text it holds.

use std::{fmt::Write, time::Duration};

use migration::search_text::{capped, marked, words};
use sea_orm::{ConnectionTrait, Statement};

use super::mark;
use crate::{
    conversation::{Conversation, ConversationId, MessageId, Owner},
    db::guarded::Transaction,
    error::Result,
    work,
};

/// The longest that the words of one text may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What the index holds of a text. For short texts, and where nothing else waits.
pub(in crate::db) fn indexed(owner: &Owner, text: &str) -> String {
    marked(&mark(owner), &capped(&words(text)))
}

/// The same for any text, off the async workers. To be called before a transaction begins.
///
/// # Errors
/// When the server has no thread for it.
pub(in crate::db) async fn prepared(owner: &Owner, text: &str) -> Result<String> {
    let (owner, text) = (owner.clone(), text.to_owned());
    work::heavy_if(text.len(), LIMIT, move |_| indexed(&owner, &text)).await
}

/// A text that the index shall have.
pub(in crate::db) struct Text {
    pub(in crate::db) conversation: ConversationId,
    /// `None`: it is the conversation's title.
    pub(in crate::db) message: Option<MessageId>,
    /// As [`prepared`] makes it.
    pub(in crate::db) body: String,
}

impl Text {
    /// The title of a conversation, as lists show it.
    pub(in crate::db) fn title(conversation: &Conversation) -> Self {
        Self {
            conversation: conversation.id,
            message: None,
            body: indexed(&conversation.owner, conversation.shown_title()),
        }
    }
}

/// Adds a message that was stored in this transaction, and the title of its conversation if that was begun with it.
pub(in crate::db) async fn index_message(
    tx: &Transaction,
    conversation: &Conversation,
    message: MessageId,
    body: String,
    is_first: bool,
) -> Result<()> {
    let message = Text {
        conversation: conversation.id,
        message: Some(message),
        body,
    };
    match is_first {
        true => index(tx, vec![message, Text::title(conversation)]).await,
        false => index(tx, vec![message]).await,
    }
}

/// Adds texts that were stored in this transaction, by one statement.
pub(in crate::db) async fn index(tx: &Transaction, texts: Vec<Text>) -> Result<()> {
    let mut sql = "INSERT INTO agent_search (conversation_id, message_id, body) VALUES".to_owned();
    let mut values: Vec<sea_orm::Value> = Vec::with_capacity(3 * texts.len());
    for (place, text) in texts.into_iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        let [id, message, body] = [1, 2, 3].map(|column| 3 * place + column);
        // Writing to a string cannot fail.
        let _ = write!(sql, "{comma} (${id}, ${message}, ${body})");
        values.extend([
            text.conversation.0.into(),
            text.message.map(|id| id.0).into(),
            text.body.into(),
        ]);
    }
    let insert = Statement::from_sql_and_values(tx.get_database_backend(), sql, values);
    tx.execute_raw(insert).await?;
    Ok(())
}

/// Takes over a title that was changed in this transaction.
pub(in crate::db) async fn index_title(
    tx: &Transaction,
    conversation: &Conversation,
) -> Result<()> {
    tx.execute_raw(Statement::from_sql_and_values(
        tx.get_database_backend(),
        "UPDATE agent_search SET body = $1 WHERE conversation_id = $2 AND message_id IS NULL",
        [
            indexed(&conversation.owner, conversation.shown_title()).into(),
            conversation.id.0.into(),
        ],
    ))
    .await?;
    Ok(())
}

/// Takes a conversation out of the index.
pub(in crate::db) async fn forget(tx: &Transaction, conversation: ConversationId) -> Result<()> {
    tx.execute_raw(Statement::from_sql_and_values(
        tx.get_database_backend(),
        "DELETE FROM agent_search WHERE conversation_id = $1",
        [conversation.0.into()],
    ))
    .await?;
    Ok(())
}
