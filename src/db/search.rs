//! Full-text search over titles and messages. [`index`] maintains the index.
//!
//! A client's text never becomes query syntax: the tokenizer of the index ([`migration::search_text`]) splits it into
//! words, and every word is quoted. Each word is prefixed with its owner's mark, so that a search reads only the
//! owner's part of the index.
//!
//! Statements write to the view `agent_search` (migration m20251224). Behind it, SQLite stores the words in FTS5 alone;
//! PostgreSQL stores the words of a text in their order, with a GIN index over them.
//!
//! A search is bounded in words ([`query`]), concurrency ([`share`]) and time. The database returns the newest matching
//! texts; blocking threads score them ([`rank`]) and cut their snippets ([`snippet`]).

use std::{borrow::Cow, collections::HashMap, time::Duration};

use migration::search_text::{capped, owner_mark, runs_of_entry, words};
use sea_orm::{ColumnTrait, FromQueryResult, QueryFilter};

pub use self::highlight::Highlight;
use self::query::SearchQuery;
use super::{
    Database, Page,
    cursor::HitCursor,
    entity::message,
    interrupt::bounded,
    scope::{messages_of, these_of},
};
use crate::{
    conversation::{
        Conversation, ConversationId, Message, MessageId, Owner, Rows, text::without_nul,
    },
    error::{Error, Result},
    work,
};

mod highlight;
pub(super) mod index;
mod query;
mod rank;
pub(super) mod share;
mod snippet;

/// A conversation that a search found.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The conversation.
    pub conversation: Conversation,
    /// The best matching message; `None` if the title matches best.
    pub message: Option<Message>,
    /// The text around the first match, on one line.
    pub snippet: String,
    /// The ranges of the snippet that match.
    pub highlights: Vec<Highlight>,
    /// The score: higher is better. Comparable only within one search.
    pub score: f64,
}

impl Hit {
    /// The position of this hit in the list.
    pub fn cursor(&self) -> HitCursor {
        HitCursor {
            score: self.score,
            id: self.conversation.id,
        }
    }
}

#[derive(FromQueryResult)]
struct Match {
    conversation_id: ConversationId,
    message_id: Option<MessageId>,
    /// On SQLite, the stored message or title, because SQLite keeps no other copy; on PostgreSQL, the index entry.
    body: String,
}

impl Match {
    /// The words as they were indexed, without marks.
    fn indexed(&self, is_embedded: bool) -> Cow<'_, str> {
        match is_embedded {
            true => capped(&words(&self.body)).into(),
            false => runs_of_entry(&self.body).into(),
        }
    }
}

/// The best match of a conversation.
struct Best {
    conversation_id: ConversationId,
    message_id: Option<MessageId>,
    score: f64,
}

/// The time limits of a search: its statements, and the processing of their rows.
const STATEMENTS: Duration = Duration::from_secs(4);
const WORK: Duration = Duration::from_secs(1);

/// The maximum number of users of a tenant whose conversations one search covers.
const MOST_MEMBERS: usize = 500;

/// The maximum number of index lookups per search, one per word and mark. PostgreSQL takes 6 seconds for twice as many.
const MOST_LOOKUPS: usize = 8_000;

/// The number of matching texts to rank, newest first. Ranking every text with a very common word would take seconds,
/// and would not improve the result.
const MOST_RANKED: usize = 200;

/// The number of the owner's newest texts that PostgreSQL scans before it uses the word index. A word with
/// [`MOST_RANKED`] matches among them is so common that reading all of its index entries takes longer than the scan.
const MOST_READ: usize = 8_000;

/// The filter for conversations that the caller may read.
const MINE: &str = "tenant_id = $2 AND user_id = $3 AND status = 'active'
        AND ($4 = '' OR agent_entrypoint = $4)";

/// The same filter if the tenant's users share their conversations: `$3`, the caller, does not restrict the rows.
const OURS: &str = "tenant_id = $2 AND $3 <> '' AND status = 'active'
        AND ($4 = '' OR agent_entrypoint = $4)";

// Reads in index order, newest first, and stops at the limit. The joins filter by owner before a row counts towards it.
const SQLITE_MATCHES: &str = "
    matches AS MATERIALIZED (
        SELECT conversation_id, message_id, CASE
            WHEN message_id IS NULL THEN coalesce(display_name, topic_hint, '{untitled}')
            ELSE coalesce((SELECT content FROM agent_messages WHERE agent_messages.id = message_id), '')
        END AS body
        FROM agent_search_words
        CROSS JOIN agent_search_texts ON agent_search_texts.id = agent_search_words.rowid
        CROSS JOIN agent_conversations ON agent_conversations.id = conversation_id
        WHERE agent_search_words MATCH $1 AND {mine}
        ORDER BY agent_search_words.rowid DESC
        LIMIT {most}
    )";

// PostgreSQL's GIN index has no order. The query scans the newest texts, which is enough for common words, and uses the
// index only if the scan finds too few matches. The planner would decide by estimates, and might scan the whole table:
//
// - The query is cast in a subquery, so that the planner cannot base its estimate on the word. It has no phrases,
//   because the index has no positions: {phrases} finds a phrase in the entry, where spaces separate its words.
// - With BETWEEN, and the mark in ORDER BY, only the index of owners returns the rows in the required order.
// - OFFSET 0 keeps the order of the texts: the conversations are looked up one by one until the limit is reached.
const POSTGRES_MATCHES: &str = "
    asked AS MATERIALIZED (
        SELECT CAST(CAST($1 AS text) AS tsquery) AS query
    ),
    recent AS MATERIALIZED (
        SELECT text.id
        FROM (
            SELECT id, conversation_id, body FROM agent_search
            WHERE left(body, 4) BETWEEN $5 AND $5
            ORDER BY left(body, 4) DESC, id DESC
            LIMIT {read}
        ) AS text
        CROSS JOIN LATERAL (
            SELECT FROM agent_conversations WHERE id = text.conversation_id AND {mine} OFFSET 0
        ) AS mine
        WHERE {phrases}
        LIMIT {most}
    ),
    every AS (
        SELECT text.id
        FROM (
            SELECT id, conversation_id FROM agent_search
            WHERE words @@ (SELECT query FROM asked) AND {order} AND (SELECT count(*) FROM recent) < {most}
            ORDER BY id DESC
        ) AS text
        CROSS JOIN LATERAL (
            SELECT FROM agent_conversations WHERE id = text.conversation_id AND {mine} OFFSET 0
        ) AS mine
        LIMIT {most}
    ),
    matches AS MATERIALIZED (
        SELECT conversation_id, message_id, body
        FROM agent_search
        WHERE id IN (SELECT id FROM recent UNION SELECT id FROM every)
    )";

fn statement(matches: &str, is_tenant: bool) -> String {
    let (mine, read) = match is_tenant {
        true => (OURS, 0),
        false => (MINE, MOST_READ),
    };
    let matches = matches
        .replace("{mine}", mine)
        .replace("{untitled}", Conversation::UNTITLED)
        .replace("{read}", &read.to_string())
        .replace("{most}", &MOST_RANKED.to_string());
    format!("WITH {matches} SELECT conversation_id, message_id, body FROM matches")
}

impl Database {
    /// A page of the readable conversations that have every word of `text` in their title or in one message, best match
    /// first.
    ///
    /// The last word matches as a prefix. A text without words finds nothing. Ranks only the 200 newest matching texts.
    /// In a tenant, covers the caller and the first 500 users by name. Counts against the concurrent searches of
    /// `caller`.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for too many words, [`Error::Busy`] and [`Error::RateLimited`] for too many concurrent
    /// searches, [`Error::TimedOut`], [`Error::Database`].
    pub async fn search(
        &self,
        (caller, rows): (&Owner, impl Into<Rows<'_>>),
        text: &str,
        agent: Option<&str>,
        after: Option<HitCursor>,
        limit: u64,
    ) -> Result<Page<Hit>> {
        let asked = text.to_owned();
        let parsing = work::heavy_if(text.len(), WORK, move |_| SearchQuery::parse(&asked));
        let Some(query) = parsing.await?? else {
            return Ok(Page {
                items: Vec::new(),
                has_next: false,
                has_previous: false,
            });
        };
        let rows = rows.into();
        let place = self.searches.enter(caller).await?;
        let matches = self.matches(caller, rows, &query, agent);
        let matches = bounded(STATEMENTS, "search", matches).await?;
        let (asked, is_embedded) = (query.clone(), self.is_embedded());
        let ranking = move |stop: &work::Stop| {
            let is_late = || stop.is_due().then_some(Error::TimedOut { what: "search" });
            ranked(&asked, is_embedded, matches, after, is_late)
        };
        let mut best = work::heavy(WORK, ranking).await??;
        let has_next = best.len() as u64 > limit;
        best.truncate(limit as usize);
        let found = bounded(STATEMENTS, "search", self.rows(rows, best)).await?;
        // Releases the permit, because cutting the snippets uses no database connection.
        drop(place);
        Ok(Page {
            items: shown(&query, found).await?,
            has_next,
            has_previous: after.is_some(),
        })
    }

    /// The marks of the owners whose conversations a search covers. Words in the index carry their owner's mark under
    /// every policy, so a changed policy takes effect at once, without new marks.
    async fn marks(&self, caller: &Owner, rows: Rows<'_>) -> Result<Vec<String>> {
        let mut marks = vec![mark(caller)];
        if let Rows::OfTenant(tenant) = rows {
            let members = self.members(tenant, MOST_MEMBERS).await?;
            marks.extend(members.iter().map(mark));
            marks.sort_unstable();
            marks.dedup();
        }
        Ok(marks)
    }

    /// The newest matching texts.
    async fn matches(
        &self,
        caller: &Owner,
        rows: Rows<'_>,
        query: &SearchQuery,
        agent: Option<&str>,
    ) -> Result<Vec<Match>> {
        let marks = self.marks(caller, rows).await?;
        let words = query.words().len();
        if words * marks.len() > MOST_LOOKUPS {
            let most = MOST_LOOKUPS / marks.len();
            return Err(Error::invalid(format!(
                "the search has {words} words; among so many users it may have {most}"
            )));
        }
        let asked = query.of_any(&marks, self.is_embedded());
        let is_tenant = matches!(rows, Rows::OfTenant(_));
        let mut values: Vec<sea_orm::Value> = vec![
            asked.into(),
            caller.tenant.as_str().into(),
            caller.user.as_str().into(),
            without_nul(agent.unwrap_or_default().to_owned()).into(),
        ];
        let (sqlite, mut postgres) = (statement(SQLITE_MATCHES, is_tenant), String::new());
        if !self.is_embedded() {
            values.push(mark(caller).into());
            let mut found = Vec::new();
            for phrase in query.phrases() {
                values.push(phrase.into());
                found.push(format!("strpos(body, ${}) > 0", values.len()));
            }
            let found = found.join(" AND ");
            // For single words, the index alone decides.
            let order = if query.has_order() { &found } else { "TRUE" };
            postgres = statement(POSTGRES_MATCHES, is_tenant)
                .replace("{phrases}", &found)
                .replace("{order}", order);
        }
        let statement = self.statement(&sqlite, &postgres, values);
        Ok(Match::find_by_statement(statement)
            .all(&self.reader)
            .await?)
    }

    /// Reads the rows of the best matches, with at most two statements.
    async fn rows(&self, rows: Rows<'_>, best: Vec<Best>) -> Result<Vec<MatchedRows>> {
        let ids: Vec<_> = best.iter().map(|found| found.conversation_id).collect();
        let message_ids: Vec<MessageId> =
            best.iter().filter_map(|found| found.message_id).collect();
        let (mut conversations, mut messages) = (HashMap::new(), HashMap::new());
        if !ids.is_empty() {
            let found = these_of(rows, ids).all(&self.reader).await?;
            conversations.extend(found.into_iter().map(|row| (row.id, row)));
        }
        if !message_ids.is_empty() {
            let found = messages_of(rows).filter(message::Column::Id.is_in(message_ids));
            let found = found.all(&self.reader).await?;
            messages.extend(found.into_iter().map(|row| (row.id, row)));
        }
        let mut all = Vec::with_capacity(best.len());
        for found in best {
            // The conversation was deleted after the index was read.
            let Some(row) = conversations.remove(&found.conversation_id) else {
                continue;
            };
            let message = found.message_id.and_then(|id| messages.remove(&id));
            all.push(MatchedRows {
                conversation: row.try_into()?,
                message: message.map(Message::try_from).transpose()?,
                score: found.score,
            });
        }
        Ok(all)
    }
}

/// A hit before its snippet.
struct MatchedRows {
    conversation: Conversation,
    message: Option<Message>,
    score: f64,
}

/// The best match of each conversation, best first, starting after a position.
fn ranked(
    query: &SearchQuery,
    is_embedded: bool,
    matches: Vec<Match>,
    after: Option<HitCursor>,
    is_late: impl Fn() -> Option<Error>,
) -> Result<Vec<Best>> {
    let mut best: HashMap<ConversationId, Best> = HashMap::new();
    for found in matches {
        if let Some(error) = is_late() {
            return Err(error);
        }
        let indexed = found.indexed(is_embedded);
        let score = rank::score(query, &indexed, found.message_id.is_none());
        let one = Best {
            conversation_id: found.conversation_id,
            message_id: found.message_id,
            score,
        };
        // On equal scores, prefers the title, then the oldest message.
        let key = |one: &Best| (one.score, std::cmp::Reverse(one.message_id));
        match best.get(&found.conversation_id) {
            Some(other) if key(other) >= key(&one) => {}
            _ => drop(best.insert(found.conversation_id, one)),
        }
    }
    let is_behind = |one: &Best| match after {
        Some(place) => (one.score, one.conversation_id) < (place.score, place.id),
        None => true,
    };
    let mut best: Vec<Best> = best.into_values().filter(is_behind).collect();
    best.sort_unstable_by(|a, b| {
        let scores = b.score.total_cmp(&a.score);
        scores.then(b.conversation_id.cmp(&a.conversation_id))
    });
    Ok(best)
}

/// Cuts the snippets of the hits, and highlights the matches in them.
async fn shown(query: &SearchQuery, found: Vec<MatchedRows>) -> Result<Vec<Hit>> {
    let message_bytes =
        |found: &MatchedRows| found.message.as_ref().map_or(0, |one| one.content.len());
    let bytes = found.iter().map(message_bytes).sum();
    let (query, words) = (query.clone(), query.words());
    work::heavy_if(bytes, WORK, move |stop| {
        let hits = found.into_iter().map(|found| {
            let snippet = match &found.message {
                Some(message) => snippet::around_match(&message.content, &words, stop),
                None => found.conversation.shown_title().to_owned(),
            };
            Hit {
                highlights: highlight::highlights(&query, &snippet),
                snippet,
                conversation: found.conversation,
                message: found.message,
                score: found.score,
            }
        });
        hits.collect()
    })
    .await
}

fn mark(owner: &Owner) -> String {
    owner_mark(&owner.tenant, &owner.user)
}
