//! Search over titles and messages: keeping the index with the rows, and asking it.
//!
//! A client's text never becomes query syntax: it is taken apart into words by the function that made
//! the index ([`migration::search_text`]), and every word is quoted. Each word begins with the mark of its
//! owner, so that the index is read where this owner's words are.

use std::{collections::HashMap, fmt::Write};

use migration::search_text::{marked, owner_mark, words};
use sea_orm::{
    ColumnTrait, ConnectionTrait, FromQueryResult, QueryFilter, Statement, prelude::Uuid,
};

use super::{
    Database, Page,
    cursor::HitCursor,
    entity::message,
    guarded::Transaction,
    scope::{messages_of, these_of},
};
use crate::{
    conversation::{Conversation, ConversationId, Message, MessageId, Owner, text::without_nul},
    error::Result,
};

mod snippet;

/// A conversation that a search found.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The conversation.
    pub conversation: Conversation,
    /// The message that matches best; `None` when the title does.
    pub message: Option<Message>,
    /// The part of the text around the first match, one line.
    pub snippet: String,
    /// How well it matches: higher is better; comparable within one search only.
    pub score: f64,
}

impl Hit {
    /// The place of this hit among the others.
    pub fn cursor(&self) -> HitCursor {
        HitCursor {
            score: self.score,
            id: self.conversation.id,
        }
    }
}

#[derive(FromQueryResult)]
struct Match {
    conversation_id: Uuid,
    message_id: Option<Uuid>,
    score: f64,
}

/// How many matching texts are ranked: the newest. To rank every text with a word that an owner wrote a hundred
/// thousand times would take seconds, and say little.
const MOST_RANKED: usize = 200;

/// How many of the owner's newest texts PostgreSQL reads one by one before it looks into the index of words. A word
/// with [`MOST_RANKED`] matches among them is in the index so often that to read all of its places takes longer.
const MOST_READ: usize = 8_000;

/// What the caller may find.
const MINE: &str = "tenant_id = $2 AND user_id = $3 AND status = 'active'
        AND ($4 = '' OR agent_entrypoint = $4)";

// Taken in the order of the index, newest first, so that no more is read than is ranked. Each is looked up among the
// owner's conversations before it counts.
const SQLITE_MATCHES: &str = "
    matches AS MATERIALIZED (
        SELECT conversation_id, message_id, -rank AS relevance
        FROM agent_search_words
        CROSS JOIN agent_search ON agent_search.id = agent_search_words.rowid
        CROSS JOIN agent_conversations ON agent_conversations.id = conversation_id
        WHERE agent_search_words MATCH $1 AND {mine}
        ORDER BY agent_search_words.rowid DESC
        LIMIT {most}
    )";

// PostgreSQL's index of words knows no order. Common words are found by reading the newest texts, all others by the
// index; which it is shows in what the first finds. Left to itself the planner would guess, and could read the table:
//
// - What websearch_to_tsquery makes of a quoted word is printed, and the prefix mark goes behind the last lexeme of it.
//   That being a subquery, the planner does not look at the word.
// - With BETWEEN, and the mark in the order, no index but that of owners has the rows as they are asked for.
// - OFFSET 0 keeps the order of the texts: their conversations are looked up until enough are the owner's.
const POSTGRES_MATCHES: &str = "
    asked AS MATERIALIZED (
        SELECT (nullif(websearch_to_tsquery('simple', $1)::text, '') || ':*')::tsquery AS query
    ),
    recent AS MATERIALIZED (
        SELECT text.id
        FROM (
            SELECT id, conversation_id, words FROM agent_search
            WHERE left(body, 4) BETWEEN $8 AND $8
            ORDER BY left(body, 4) DESC, id DESC
            LIMIT {read}
        ) AS text
        CROSS JOIN LATERAL (
            SELECT FROM agent_conversations WHERE id = text.conversation_id AND {mine} OFFSET 0
        ) AS mine
        WHERE words @@ (SELECT query FROM asked)
        LIMIT {most}
    ),
    every AS (
        SELECT text.id
        FROM (
            SELECT id, conversation_id FROM agent_search
            WHERE words @@ (SELECT query FROM asked) AND (SELECT count(*) FROM recent) < {most}
            ORDER BY id DESC
        ) AS text
        CROSS JOIN LATERAL (
            SELECT FROM agent_conversations WHERE id = text.conversation_id AND {mine} OFFSET 0
        ) AS mine
        LIMIT {most}
    ),
    matches AS MATERIALIZED (
        SELECT conversation_id, message_id,
               ts_rank(words, (SELECT query FROM asked))::float8 AS relevance
        FROM agent_search
        WHERE id IN (SELECT id FROM recent UNION SELECT id FROM every)
    )";

/// The best match of each conversation of the owner; a match in the title counts twice.
fn ranked(matches: &str) -> String {
    let matches = matches
        .replace("{mine}", MINE)
        .replace("{read}", &MOST_READ.to_string())
        .replace("{most}", &MOST_RANKED.to_string());
    format!(
        "WITH {matches},
         best AS (
             SELECT conversation_id, message_id, score, row_number() OVER (
                 PARTITION BY conversation_id ORDER BY score DESC, message_id
             ) AS place
             FROM (
                 SELECT conversation_id, message_id,
                        relevance * (CASE WHEN message_id IS NULL THEN 2 ELSE 1 END) AS score
                 FROM matches
             ) AS scored
         )
         SELECT conversation_id, message_id, score FROM best
         WHERE place = 1 AND (score < $5 OR (score = $5 AND conversation_id < $6))
         ORDER BY score DESC, conversation_id DESC
         LIMIT $7"
    )
}

impl Database {
    /// A page of the owner's conversations that have every word of `text` in their title or in one
    /// message, best match first. The last word may be the beginning of one. A text without a word
    /// finds nothing. Of more than 200 texts that match, the newest are ranked.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn search(
        &self,
        owner: &Owner,
        text: &str,
        agent: Option<&str>,
        after: Option<HitCursor>,
        limit: u64,
    ) -> Result<Page<Hit>> {
        let mark = mark(owner);
        let Some(query) = quoted(&mark, text, self.is_embedded()) else {
            return Ok(Page {
                items: Vec::new(),
                has_next: false,
                has_previous: false,
            });
        };
        let place = after.unwrap_or(HitCursor {
            score: f64::MAX,
            id: ConversationId(Uuid::max()),
        });
        let mut values: Vec<sea_orm::Value> = vec![
            query.into(),
            owner.tenant.as_str().into(),
            owner.user.as_str().into(),
            without_nul(agent.unwrap_or_default().to_owned()).into(),
            place.score.into(),
            place.id.0.into(),
            (limit as i64 + 1).into(),
        ];
        if !self.is_embedded() {
            values.push(mark.into());
        }
        let statement = self.statement(&ranked(SQLITE_MATCHES), &ranked(POSTGRES_MATCHES), values);
        let mut matches = Match::find_by_statement(statement)
            .all(&self.reader)
            .await?;
        let has_next = matches.len() as u64 > limit;
        matches.truncate(limit as usize);
        Ok(Page {
            items: self.hits(owner, text, matches).await?,
            has_next,
            has_previous: after.is_some(),
        })
    }

    /// Reads the rows of the matches: two statements at most, however many they are.
    async fn hits(&self, owner: &Owner, text: &str, matches: Vec<Match>) -> Result<Vec<Hit>> {
        let ids: Vec<_> = matches
            .iter()
            .map(|found| ConversationId(found.conversation_id))
            .collect();
        let message_ids: Vec<Uuid> = matches
            .iter()
            .filter_map(|found| found.message_id)
            .collect();
        let (mut conversations, mut messages) = (HashMap::new(), HashMap::new());
        if !ids.is_empty() {
            let rows = these_of(owner, ids).all(&self.reader).await?;
            conversations.extend(rows.into_iter().map(|row| (row.id, row)));
        }
        if !message_ids.is_empty() {
            let found = messages_of(owner).filter(message::Column::Id.is_in(message_ids));
            let rows = found.all(&self.reader).await?;
            messages.extend(rows.into_iter().map(|row| (row.id, row)));
        }
        let searched = words(text);
        let mut hits = Vec::with_capacity(matches.len());
        for found in matches {
            // Deleted since the index was asked.
            let Some(row) = conversations.remove(&found.conversation_id) else {
                continue;
            };
            let conversation = Conversation::try_from(row)?;
            let message = found
                .message_id
                .and_then(|id| messages.remove(&id))
                .map(Message::try_from)
                .transpose()?;
            let snippet = match &message {
                Some(message) => snippet::around_match(&message.content, &searched),
                None => conversation.shown_title().to_owned(),
            };
            hits.push(Hit {
                conversation,
                message,
                snippet,
                score: found.score,
            });
        }
        Ok(hits)
    }
}

/// The most words that are looked for; 30,000 would cost seconds.
const MOST_PHRASES: usize = 32;

/// The query for these words: each run of non-space a phrase, all of them required, the last a prefix.
fn quoted(mark: &str, text: &str, is_sqlite: bool) -> Option<String> {
    let phrases: Vec<String> = text
        .split_whitespace()
        .map(words)
        .filter(|phrase| !phrase.is_empty())
        .take(MOST_PHRASES)
        .map(|phrase| format!("\"{}\"", marked(mark, &phrase)))
        .collect();
    if phrases.is_empty() {
        return None;
    }
    let mut query = phrases.join(" ");
    if is_sqlite {
        query.push_str(" *");
    }
    Some(query)
}

fn mark(owner: &Owner) -> String {
    owner_mark(&owner.tenant, &owner.user)
}

/// What the index holds of a text.
fn indexed(owner: &Owner, text: &str) -> String {
    marked(&mark(owner), &words(text))
}

/// A text that the index shall have.
pub(super) struct Text<'a> {
    pub owner: &'a Owner,
    pub conversation: ConversationId,
    /// `None`: it is the conversation's title.
    pub message: Option<MessageId>,
    pub text: &'a str,
}

impl<'a> Text<'a> {
    /// The title of a conversation, as lists show it.
    pub(super) fn title(conversation: &'a Conversation) -> Self {
        Self {
            owner: &conversation.owner,
            conversation: conversation.id,
            message: None,
            text: conversation.shown_title(),
        }
    }
}

/// Adds a message that was stored in this transaction, and the title of its conversation if that was begun with it.
pub(super) async fn index_message(
    tx: &Transaction,
    conversation: &Conversation,
    message: MessageId,
    content: &str,
    is_first: bool,
) -> Result<()> {
    let message = Text {
        owner: &conversation.owner,
        conversation: conversation.id,
        message: Some(message),
        text: content,
    };
    match is_first {
        true => index(tx, &[message, Text::title(conversation)]).await,
        false => index(tx, &[message]).await,
    }
}

/// Adds texts that were stored in this transaction, by one statement.
pub(super) async fn index(tx: &Transaction, texts: &[Text<'_>]) -> Result<()> {
    let mut sql = "INSERT INTO agent_search (conversation_id, message_id, body) VALUES".to_owned();
    let mut values: Vec<sea_orm::Value> = Vec::with_capacity(3 * texts.len());
    for (place, text) in texts.iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        let [id, message, body] = [1, 2, 3].map(|column| 3 * place + column);
        // Writing to a string cannot fail.
        let _ = write!(sql, "{comma} (${id}, ${message}, ${body})");
        values.extend([
            text.conversation.0.into(),
            text.message.map(|id| id.0).into(),
            indexed(text.owner, text.text).into(),
        ]);
    }
    let insert = Statement::from_sql_and_values(tx.get_database_backend(), sql, values);
    tx.execute_raw(insert).await?;
    Ok(())
}

/// Takes over a title that was changed in this transaction.
pub(super) async fn index_title(tx: &Transaction, conversation: &Conversation) -> Result<()> {
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
pub(super) async fn forget(tx: &Transaction, conversation: ConversationId) -> Result<()> {
    tx.execute_raw(Statement::from_sql_and_values(
        tx.get_database_backend(),
        "DELETE FROM agent_search WHERE conversation_id = $1",
        [conversation.0.into()],
    ))
    .await?;
    Ok(())
}
