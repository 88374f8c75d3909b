//! Full-text search over titles and messages. [`index`] maintains the index.
//!
//! A client's text never becomes query syntax: the tokenizer of the index ([`migration::search_text`]) splits it into
//! words, and every word is quoted. Each word is prefixed with its owner's mark, so that a search reads only the
//! owner's part of the index.
//!
//! A search is bounded in words ([`query`]), concurrency ([`share`]) and time. The database returns the newest matching
//! texts; blocking threads score them ([`rank`]) and cut their snippets ([`snippet`]).

use std::{collections::HashMap, time::Duration};

use migration::search_text::owner_mark;
use sea_orm::{ColumnTrait, FromQueryResult, QueryFilter};

use self::query::SearchQuery;
use super::{
    Database, Page,
    cursor::HitCursor,
    entity::message,
    interrupt::bounded,
    scope::{messages_of, these_of},
};
use crate::{
    conversation::{Conversation, ConversationId, Message, MessageId, Owner, text::without_nul},
    error::{Error, Result},
    work,
};

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
    body: String,
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

/// The number of matching texts to rank, newest first. Ranking every text with a very common word would take seconds,
/// and would not improve the result.
const MOST_RANKED: usize = 200;

/// The number of the owner's newest texts that PostgreSQL scans before it uses the word index. A word with
/// [`MOST_RANKED`] matches among them is so common that reading all of its index entries takes longer than the scan.
const MOST_READ: usize = 8_000;

/// The filter for conversations that the caller may read.
const MINE: &str = "tenant_id = $2 AND user_id = $3 AND status = 'active'
        AND ($4 = '' OR agent_entrypoint = $4)";

// Reads in the order of the index, newest first, so that it stops at the limit. The join filters by owner before a row
// counts.
const SQLITE_MATCHES: &str = "
    matches AS MATERIALIZED (
        SELECT conversation_id, message_id, agent_search.body AS body
        FROM agent_search_words
        CROSS JOIN agent_search ON agent_search.id = agent_search_words.rowid
        CROSS JOIN agent_conversations ON agent_conversations.id = conversation_id
        WHERE agent_search_words MATCH $1 AND {mine}
        ORDER BY agent_search_words.rowid DESC
        LIMIT {most}
    )";

// PostgreSQL's GIN index has no order. The query scans the newest texts for common words, and uses the index for all
// others; it decides by the number of matches of the scan. The planner alone would estimate, and might scan the table:
//
// - The query is cast from the printed result of websearch_to_tsquery, with the prefix marker after its last lexeme. As
//   it is a subquery, the planner cannot estimate by the word.
// - With BETWEEN, and the mark in ORDER BY, only the index of owners returns the rows in the required order.
// - OFFSET 0 keeps the order of the texts: the conversations are looked up one by one until the limit is reached.
const POSTGRES_MATCHES: &str = "
    asked AS MATERIALIZED (
        SELECT (nullif(websearch_to_tsquery('simple', $1)::text, '') || ':*')::tsquery AS query
    ),
    recent AS MATERIALIZED (
        SELECT text.id
        FROM (
            SELECT id, conversation_id, words FROM agent_search
            WHERE left(body, 4) BETWEEN $5 AND $5
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
        SELECT conversation_id, message_id, body
        FROM agent_search
        WHERE id IN (SELECT id FROM recent UNION SELECT id FROM every)
    )";

fn statement(matches: &str) -> String {
    let matches = matches
        .replace("{mine}", MINE)
        .replace("{read}", &MOST_READ.to_string())
        .replace("{most}", &MOST_RANKED.to_string());
    format!("WITH {matches} SELECT conversation_id, message_id, body FROM matches")
}

impl Database {
    /// A page of the owner's conversations that have every word of `text` in their title or in one message, best match
    /// first.
    ///
    /// The last word matches as a prefix. A text without words finds nothing. Ranks only the 200 newest matching texts.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for too many words, [`Error::Busy`] and [`Error::RateLimited`] for too many concurrent
    /// searches, [`Error::TimedOut`], [`Error::Database`].
    pub async fn search(
        &self,
        owner: &Owner,
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
        let place = self.searches.enter(owner).await?;
        let matches = self.matches(owner, &query, agent);
        let matches = bounded(STATEMENTS, "search", matches).await?;
        let (asked, mark) = (query.clone(), mark(owner));
        let ranking = move |stop: &work::Stop| {
            let is_late = || stop.is_due().then_some(Error::TimedOut { what: "search" });
            ranked(&asked, &mark, matches, after, is_late)
        };
        let mut best = work::heavy(WORK, ranking).await??;
        let has_next = best.len() as u64 > limit;
        best.truncate(limit as usize);
        let found = bounded(STATEMENTS, "search", self.rows(owner, best)).await?;
        // Releases the permit, because cutting the snippets uses no database connection.
        drop(place);
        Ok(Page {
            items: shown(&query, found).await?,
            has_next,
            has_previous: after.is_some(),
        })
    }

    /// The owner's newest matching texts.
    async fn matches(
        &self,
        owner: &Owner,
        query: &SearchQuery,
        agent: Option<&str>,
    ) -> Result<Vec<Match>> {
        let mark = mark(owner);
        let mut quoted = query.quoted(&mark);
        if self.is_embedded() {
            quoted.push_str(" *");
        }
        let mut values: Vec<sea_orm::Value> = vec![
            quoted.into(),
            owner.tenant.as_str().into(),
            owner.user.as_str().into(),
            without_nul(agent.unwrap_or_default().to_owned()).into(),
        ];
        if !self.is_embedded() {
            values.push(mark.into());
        }
        let (sqlite, postgres) = (statement(SQLITE_MATCHES), statement(POSTGRES_MATCHES));
        let statement = self.statement(&sqlite, &postgres, values);
        Ok(Match::find_by_statement(statement)
            .all(&self.reader)
            .await?)
    }

    /// Reads the rows of the best matches, with at most two statements.
    async fn rows(&self, owner: &Owner, best: Vec<Best>) -> Result<Vec<Found>> {
        let ids: Vec<_> = best.iter().map(|found| found.conversation_id).collect();
        let message_ids: Vec<MessageId> =
            best.iter().filter_map(|found| found.message_id).collect();
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
        let mut all = Vec::with_capacity(best.len());
        for found in best {
            // The conversation was deleted after the index was read.
            let Some(row) = conversations.remove(&found.conversation_id) else {
                continue;
            };
            let message = found.message_id.and_then(|id| messages.remove(&id));
            all.push(Found {
                conversation: row.try_into()?,
                message: message.map(Message::try_from).transpose()?,
                score: found.score,
            });
        }
        Ok(all)
    }
}

/// A hit before its snippet.
struct Found {
    conversation: Conversation,
    message: Option<Message>,
    score: f64,
}

/// The best match of each conversation, best first, starting after a position.
fn ranked(
    query: &SearchQuery,
    mark: &str,
    matches: Vec<Match>,
    after: Option<HitCursor>,
    is_late: impl Fn() -> Option<Error>,
) -> Result<Vec<Best>> {
    let mut best: HashMap<ConversationId, Best> = HashMap::new();
    for found in matches {
        if let Some(error) = is_late() {
            return Err(error);
        }
        let score = rank::score(query, mark, &found.body, found.message_id.is_none());
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

/// Cuts the snippets of the hits.
async fn shown(query: &SearchQuery, found: Vec<Found>) -> Result<Vec<Hit>> {
    let message_bytes = |found: &Found| found.message.as_ref().map_or(0, |one| one.content.len());
    let bytes = found.iter().map(message_bytes).sum();
    let words = query.words();
    work::heavy_if(bytes, WORK, move |stop| {
        let hits = found.into_iter().map(|found| Hit {
            snippet: match &found.message {
                Some(message) => snippet::around_match(&message.content, &words, stop),
                None => found.conversation.shown_title().to_owned(),
            },
            conversation: found.conversation,
            message: found.message,
            score: found.score,
        });
        hits.collect()
    })
    .await
}

fn mark(owner: &Owner) -> String {
    owner_mark(&owner.tenant, &owner.user)
}
