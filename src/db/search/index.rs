//! Maintenance of the search index, in the transaction that changes the text.

use std::{fmt::Write, time::Duration};

use migration::search_text::{capped, entry_of_marked, marked, words};
use sea_orm::{ConnectionTrait, DbBackend, Statement};

use super::mark;
use crate::{
    conversation::{Conversation, ConversationId, MessageId, Owner},
    db::guarded::Transaction,
    error::Result,
    work,
};

/// The time limit for tokenizing one text.
const LIMIT: Duration = Duration::from_secs(10);

/// The index entry of a text. Computes in place: only for short texts, or in commands without other tasks.
pub(in crate::db) fn indexed(owner: &Owner, text: &str) -> String {
    marked(&mark(owner), &capped(&words(text)))
}

/// The index entry of any text, computed off the async workers. Call it before a transaction begins.
///
/// # Errors
/// [`Error::Busy`](crate::error::Error::Busy) if no thread is free in time.
pub(in crate::db) async fn prepared(owner: &Owner, text: &str) -> Result<String> {
    let (owner, text) = (owner.clone(), text.to_owned());
    work::heavy_if(text.len(), LIMIT, move |_| indexed(&owner, &text)).await
}

/// An index entry in the form that the database stores: for FTS5 a mark on each word, for PostgreSQL the mark once.
fn stored(tx: &Transaction, body: &str) -> String {
    match tx.get_database_backend() {
        DbBackend::Postgres => entry_of_marked(body),
        _ => body.to_owned(),
    }
}

/// A text to index.
pub(in crate::db) struct Text {
    pub(in crate::db) conversation: ConversationId,
    /// The message; `None` for the conversation's title.
    pub(in crate::db) message: Option<MessageId>,
    /// The index entry, from [`prepared`] or [`indexed`].
    pub(in crate::db) body: String,
}

impl Text {
    /// The title of a conversation, or its substitute, as lists show it.
    pub(in crate::db) fn title(conversation: &Conversation) -> Self {
        Self {
            conversation: conversation.id,
            message: None,
            body: indexed(&conversation.owner, conversation.shown_title()),
        }
    }
}

/// Indexes a message stored in this transaction if it has a `body`, and its conversation's title if it is the first
/// message.
pub(in crate::db) async fn index_message(
    tx: &Transaction,
    conversation: &Conversation,
    message: MessageId,
    body: Option<String>,
    is_first: bool,
) -> Result<()> {
    let message = body.map(|body| Text {
        conversation: conversation.id,
        message: Some(message),
        body,
    });
    let title = is_first.then(|| Text::title(conversation));
    let texts: Vec<Text> = message.into_iter().chain(title).collect();
    match texts.is_empty() {
        true => Ok(()),
        false => index(tx, texts).await,
    }
}

/// Indexes texts stored in this transaction, with one statement.
pub(in crate::db) async fn index(tx: &Transaction, texts: Vec<Text>) -> Result<()> {
    let mut sql = "INSERT INTO agent_search (conversation_id, message_id, body) VALUES".to_owned();
    let mut values: Vec<sea_orm::Value> = Vec::with_capacity(3 * texts.len());
    for (place, text) in texts.into_iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        let [id, message, body] = [1, 2, 3].map(|column| 3 * place + column);
        // Writing to a string cannot fail.
        let _ = write!(sql, "{comma} (${id}, ${message}, ${body})");
        values.extend([
            text.conversation.into(),
            text.message.into(),
            stored(tx, &text.body).into(),
        ]);
    }
    let insert = Statement::from_sql_and_values(tx.get_database_backend(), sql, values);
    tx.execute_raw(insert).await?;
    Ok(())
}

/// Updates the index entry of a title changed in this transaction.
pub(in crate::db) async fn index_title(
    tx: &Transaction,
    conversation: &Conversation,
) -> Result<()> {
    let title = indexed(&conversation.owner, conversation.shown_title());
    tx.execute_raw(Statement::from_sql_and_values(
        tx.get_database_backend(),
        "UPDATE agent_search SET body = $1 WHERE conversation_id = $2 AND message_id IS NULL",
        [stored(tx, &title).into(), conversation.id.into()],
    ))
    .await?;
    Ok(())
}

/// Removes a conversation from the index.
pub(in crate::db) async fn forget(tx: &Transaction, conversation: ConversationId) -> Result<()> {
    tx.execute_raw(Statement::from_sql_and_values(
        tx.get_database_backend(),
        "DELETE FROM agent_search WHERE conversation_id = $1",
        [conversation.into()],
    ))
    .await?;
    Ok(())
}

/// Updates the index entry of a message whose text was changed in this transaction.
pub(in crate::db) async fn reindex_message(
    tx: &Transaction,
    conversation: ConversationId,
    message: MessageId,
    body: &str,
) -> Result<()> {
    tx.execute_raw(Statement::from_sql_and_values(
        tx.get_database_backend(),
        "UPDATE agent_search SET body = $1 WHERE conversation_id = $2 AND message_id = $3",
        [stored(tx, body).into(), conversation.into(), message.into()],
    ))
    .await?;
    Ok(())
}

/// Removes a message from the index.
pub(in crate::db) async fn forget_message(
    tx: &Transaction,
    conversation: ConversationId,
    message: MessageId,
) -> Result<()> {
    tx.execute_raw(Statement::from_sql_and_values(
        tx.get_database_backend(),
        "DELETE FROM agent_search WHERE conversation_id = $1 AND message_id = $2",
        [conversation.into(), message.into()],
    ))
    .await?;
    Ok(())
}
