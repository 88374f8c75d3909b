//! Exports conversations: reads all rows of one snapshot in pages, as lines that `imports` reads back.
//!
//! The snapshot is one read transaction, so messages sent during the export are not in it. It occupies one connection,
//! and delays the removal of old row versions (VACUUM, SQLite's checkpoint), so few exports run at once.

mod guest;
mod line;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_stream::try_stream;
use chrono::{DateTime, Utc};
use futures_util::Stream;
use graphql_transport::one_line;
use sea_orm::{
    AccessMode, ColumnTrait, ConnectionTrait, EntityTrait, IsolationLevel, QueryFilter, QueryOrder,
    QuerySelect, QueryTrait, SqliteTransactionMode, Statement, TransactionOptions,
    TransactionTrait,
    sea_query::{Expr, ExprTrait},
};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::line::omit_owner;
pub(super) use self::line::{Line, Reply};
pub use self::line::{MAX_LINE_BYTES, StoredRows};
use super::{
    Database, ReplyState,
    entity::{conversation, message, reply_call, reply_part, turn, version},
    guarded::Transaction,
    scope::active,
};
use crate::{
    conversation::{ConversationId, MessageId, TitleStatus},
    error::{Error, Result},
    work,
};

/// The maximum number of concurrent exports: each occupies a connection.
const MAX_EXPORTS: usize = 2;

/// The `retry_after` of a refused export.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// The idle time after which PostgreSQL ends the snapshot's transaction: a reader's deadline comes first.
const IDLE_TIMEOUT: &str = "SET LOCAL idle_in_transaction_session_timeout = '120s'";

/// Conversations per page.
const PAGE: u64 = 100;

/// Conversations are read and encoded together up to this many rows and bytes of text.
const BATCH_ROWS: i64 = 500;
const BATCH_BYTES: i64 = 4 * 1024 * 1024;

/// Rows per read of a larger conversation.
const ROWS: u64 = 16;

/// The time limit for encoding a batch.
const ENCODING: Duration = Duration::from_secs(10);

/// Which conversations to export.
#[derive(Clone, Debug, Default)]
pub struct ExportScope {
    /// Only this tenant's conversations.
    pub tenant: Option<String>,
    /// Only this user's conversations.
    pub user: Option<String>,
    /// Only conversations that changed at or after this time.
    pub since: Option<DateTime<Utc>>,
    /// Whether lines with the user's messages in conversations of other users follow the conversations of the user.
    pub as_guest: bool,
}

/// Limits the exports of a node, and of each user.
#[derive(Clone, Debug)]
pub(super) struct Exports {
    slots: Arc<Semaphore>,
    users: Users,
}

/// The users with a running export: tenant and user.
type Users = Arc<Mutex<HashSet<(String, String)>>>;

impl Default for Exports {
    fn default() -> Self {
        Self {
            slots: Arc::new(Semaphore::new(MAX_EXPORTS)),
            users: Users::default(),
        }
    }
}

impl Exports {
    fn begin(&self, scope: &ExportScope) -> Result<Permit> {
        let busy = || Error::Busy {
            what: "exports",
            retry_after: RETRY_AFTER,
        };
        let slot = self.slots.clone().try_acquire_owned();
        let slot = slot.map_err(|_| busy())?;
        let user = scope.tenant.clone().zip(scope.user.clone());
        if let Some(user) = &user {
            let users = self.users.lock();
            let mut users = users.unwrap_or_else(PoisonError::into_inner);
            if !users.insert(user.clone()) {
                return Err(busy());
            }
        }
        Ok(Permit {
            _slot: slot,
            users: self.users.clone(),
            user,
        })
    }
}

/// The permit of a running export. Drop releases it.
struct Permit {
    _slot: OwnedSemaphorePermit,
    users: Users,
    user: Option<(String, String)>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(user) = &self.user {
            let users = self.users.lock();
            users.unwrap_or_else(PoisonError::into_inner).remove(user);
        }
    }
}

impl Database {
    /// Begins an export. The stream yields pieces of lines, each of bounded size; together they are whole lines. Leaves
    /// out tombstones and running replies.
    ///
    /// # Errors
    /// [`Error::Busy`] if two exports are running, or one of this user; [`Error::Database`]. An error in the stream is
    /// its last item.
    pub async fn export(
        &self,
        scope: ExportScope,
    ) -> Result<impl Stream<Item = Result<String>> + Send + 'static> {
        let permit = self.exports.begin(&scope)?;
        let tx = self.snapshot().await?;
        Ok(try_stream! {
            let _permit = permit;
            let mut last = None;
            loop {
                let rows = conversations(&tx, &scope, last.as_ref()).await?;
                let sizes = Sizes::of(&tx, &rows).await?;
                let is_last = (rows.len() as u64) < PAGE;
                last = rows.last().cloned();
                for batch in sizes.batches(rows) {
                    match batch {
                        Batch::Small { rows, bytes } => yield lines(&tx, rows, bytes).await?,
                        Batch::Large(row) => {
                            let (id, owner) = (row.id, row.user_id.clone());
                            yield head(*row)?;
                            let mut pieces = std::pin::pin!(large(&tx, id, &owner));
                            while let Some(piece) = futures_util::StreamExt::next(&mut pieces).await {
                                yield piece?;
                            }
                        }
                    }
                }
                if is_last {
                    break;
                }
            }
            if let (true, Some(tenant), Some(user)) = (scope.as_guest, &scope.tenant, &scope.user) {
                let mut pieces = std::pin::pin!(guest::lines(&tx, (tenant.as_str(), user.as_str()), scope.since));
                while let Some(piece) = futures_util::StreamExt::next(&mut pieces).await {
                    yield piece?;
                }
            }
            tx.commit().await?;
        })
    }

    /// Begins a transaction in which every statement reads the same state.
    async fn snapshot(&self) -> Result<Transaction> {
        let is_file = self.is_embedded();
        let options = TransactionOptions {
            isolation_level: (!is_file).then_some(IsolationLevel::RepeatableRead),
            access_mode: (!is_file).then_some(AccessMode::ReadOnly),
            sqlite_transaction_mode: is_file.then_some(SqliteTransactionMode::Deferred),
        };
        let pool = self.reader.inner.current();
        let begin = self.reader.with_deadline(pool.begin_with_options(options));
        let tx = self.reader.wrap(begin.await?);
        if !is_file {
            tx.execute_unprepared(IDLE_TIMEOUT).await?;
        }
        Ok(tx)
    }
}

/// A page of conversations in the order of the activity index, so that each owner's conversations are read in index
/// order and the oldest are imported first.
async fn conversations(
    tx: &Transaction,
    scope: &ExportScope,
    last: Option<&conversation::Model>,
) -> Result<Vec<conversation::Model>> {
    use conversation::Column;
    let order = [
        Column::TenantId,
        Column::UserId,
        Column::LastMessageAt,
        Column::Id,
    ];
    let mut select = active()
        .apply_if(scope.tenant.as_ref(), |select, tenant| {
            select.filter(Column::TenantId.eq(tenant))
        })
        .apply_if(scope.user.as_ref(), |select, user| {
            select.filter(Column::UserId.eq(user))
        })
        .apply_if(scope.since, |select, since| {
            select.filter(Column::UpdatedAt.gte(since))
        })
        .apply_if(last, |select, last| {
            let place = Expr::tuple(order.map(|column| Expr::col((conversation::Entity, column))));
            select.filter(place.gt(Expr::tuple([
                Expr::val(&last.tenant_id),
                Expr::val(&last.user_id),
                Expr::val(last.last_message_at),
                Expr::val(last.id),
            ])))
        })
        .limit(PAGE);
    for column in order {
        select = select.order_by_asc(column);
    }
    let mut rows = select.all(tx).await?;
    for row in &mut rows {
        // The claim of a regeneration is not exported, so the current title stays.
        if row.display_name.is_some() && row.title_status == TitleStatus::Pending.as_str() {
            row.title_status = TitleStatus::Ready.as_str().into();
        }
    }
    Ok(rows)
}

/// The number of rows, and the size of texts and parts, of each conversation of a page.
struct Sizes(HashMap<ConversationId, (i64, i64)>);

/// Small conversations that are read together, or one large conversation.
enum Batch {
    Small {
        rows: Vec<conversation::Model>,
        bytes: usize,
    },
    Large(Box<conversation::Model>),
}

impl Sizes {
    async fn of(tx: &Transaction, rows: &[conversation::Model]) -> Result<Self> {
        const TEXTS: [&str; 3] = [
            "SELECT conversation_id, count(*) AS n, CAST(sum(octet_length(content)) AS bigint) AS bytes \
             FROM agent_messages WHERE conversation_id IN (…) GROUP BY conversation_id",
            "SELECT conversation_id, count(*) AS n, CAST(sum(octet_length(content)) AS bigint) AS bytes \
             FROM agent_message_versions WHERE conversation_id IN (…) GROUP BY conversation_id",
            // Parts are found by the message that the reply answers.
            "SELECT m.conversation_id, count(*) AS n, CAST(sum(octet_length(p.parts)) AS bigint) AS bytes \
             FROM agent_messages AS m JOIN agent_reply_parts AS p ON p.message_id = m.id \
             WHERE m.conversation_id IN (…) GROUP BY m.conversation_id",
        ];
        let mut sizes: HashMap<ConversationId, (i64, i64)> = HashMap::new();
        if rows.is_empty() {
            return Ok(Self(sizes));
        }
        let places: Vec<String> = (1..=rows.len()).map(|place| format!("${place}")).collect();
        for sql in TEXTS {
            let statement = Statement::from_sql_and_values(
                tx.get_database_backend(),
                sql.replace('…', &places.join(", ")),
                rows.iter().map(|row| row.id.into()),
            );
            for row in tx.query_all_raw(statement).await? {
                let (count, bytes) = sizes
                    .entry(row.try_get("", "conversation_id")?)
                    .or_default();
                *count += row.try_get::<i64>("", "n")?;
                *bytes += row.try_get::<i64>("", "bytes")?;
            }
        }
        Ok(Self(sizes))
    }

    fn batches(&self, rows: Vec<conversation::Model>) -> Vec<Batch> {
        let mut batches = Vec::new();
        let (mut small, mut sum) = (Vec::new(), (0, 0));
        for row in rows {
            let (count, bytes) = self.0.get(&row.id).copied().unwrap_or_default();
            let is_large = count > BATCH_ROWS || bytes > BATCH_BYTES;
            let is_full = sum.0 + count > BATCH_ROWS || sum.1 + bytes > BATCH_BYTES;
            if (is_large || is_full) && !small.is_empty() {
                let rows = std::mem::take(&mut small);
                let bytes = std::mem::take(&mut sum).1 as usize;
                batches.push(Batch::Small { rows, bytes });
            }
            match is_large {
                true => batches.push(Batch::Large(Box::new(row))),
                false => {
                    sum = (sum.0 + count, sum.1 + bytes);
                    small.push(row);
                }
            }
        }
        if !small.is_empty() {
            let bytes = sum.1 as usize;
            batches.push(Batch::Small { rows: small, bytes });
        }
        batches
    }
}

/// The lines of conversations that are read together.
async fn lines(tx: &Transaction, rows: Vec<conversation::Model>, bytes: usize) -> Result<String> {
    let ids: Vec<ConversationId> = rows.iter().map(|row| row.id).collect();
    let messages = message::Entity::find()
        .filter(message::Column::ConversationId.is_in(ids.iter().copied()))
        .order_by_asc(message::Column::ConversationId)
        .order_by_asc(message::Column::Position)
        .all(tx)
        .await?;
    let versions = version::Entity::find()
        .filter(version::Column::ConversationId.is_in(ids.iter().copied()))
        .order_by_asc(version::Column::ConversationId)
        .order_by_asc(version::Column::Id)
        .all(tx)
        .await?;
    let turns = turn::Entity::find()
        .filter(turn::Column::ConversationId.is_in(ids))
        .filter(turn::Column::ReplyStatus.ne(<&str>::from(ReplyState::Running)))
        .order_by_asc(turn::Column::ConversationId)
        .order_by_asc(turn::Column::MessageId)
        .all(tx)
        .await?;
    let messages = with_parts(tx, messages, |row| row.id).await?;
    let versions = with_parts(tx, versions, |row| row.id).await?;
    work::heavy_if(bytes, ENCODING, move |_| {
        let mut messages = grouped(messages, |message| message.row.conversation_id);
        let mut versions = grouped(versions, |version| version.row.conversation_id);
        let mut turns = grouped(turns, |turn| turn.conversation_id);
        let mut text = String::with_capacity(bytes + bytes / 4);
        for row in rows {
            let id = row.id;
            let mut line = Line {
                conversation: row,
                messages: messages.remove(&id).unwrap_or_default(),
                versions: versions.remove(&id).unwrap_or_default(),
                turns: turns.remove(&id).unwrap_or_default(),
            };
            line.omit_owner();
            text.push_str(&encode(&line)?);
            text.push('\n');
        }
        Ok(text)
    })
    .await?
}

fn grouped<T>(rows: Vec<T>, id: impl Fn(&T) -> ConversationId) -> HashMap<ConversationId, Vec<T>> {
    let mut groups: HashMap<_, Vec<T>> = HashMap::new();
    for row in rows {
        groups.entry(id(&row)).or_default().push(row);
    }
    groups
}

/// Adds the parts and the usage that are stored beside replies.
async fn with_parts<M>(
    tx: &Transaction,
    rows: Vec<M>,
    id: impl Fn(&M) -> MessageId,
) -> Result<Vec<Reply<M>>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let parts = reply_part::Entity::find()
        .filter(reply_part::Column::ReplyId.is_in(rows.iter().map(&id)))
        .all(tx)
        .await?;
    let mut parts: HashMap<MessageId, String> = parts
        .into_iter()
        .map(|row| (row.reply_id, row.parts))
        .collect();
    let calls = reply_call::Entity::find()
        .filter(reply_call::Column::Id.is_in(rows.iter().map(&id)))
        .all(tx)
        .await?;
    let mut calls: HashMap<MessageId, reply_call::Model> =
        calls.into_iter().map(|row| (row.id, row)).collect();
    let replies = rows.into_iter().map(|row| Reply {
        parts: parts.remove(&id(&row)),
        usage: calls.remove(&id(&row)),
        row,
    });
    Ok(replies.collect())
}

/// The beginning of the line of a large conversation, up to its messages.
fn head(row: conversation::Model) -> Result<String> {
    let mut head = encode(&row)?;
    head.pop();
    Ok(head + ",\"messages\":[")
}

/// The rest of the line of a large conversation, a few rows at a time. `owner` is its user.
fn large<'a>(
    tx: &'a Transaction,
    id: ConversationId,
    owner: &'a str,
) -> impl Stream<Item = Result<String>> + Send + 'a {
    try_stream! {
        let mut last = 0;
        loop {
            let mut rows = message::Entity::find()
                .filter(message::Column::ConversationId.eq(id))
                .filter(message::Column::Position.gt(last))
                .order_by_asc(message::Column::Position)
                .limit(ROWS)
                .all(tx)
                .await?;
            let Some(end) = rows.last().map(|row| row.position) else { break };
            for row in &mut rows {
                omit_owner(&mut row.author, owner);
            }
            yield items(with_parts(tx, rows, |row| row.id).await?, last == 0).await?;
            last = end;
        }
        yield "],\"versions\":[".to_owned();
        let mut last = None;
        loop {
            let mut rows = version::Entity::find()
                .filter(version::Column::ConversationId.eq(id))
                .apply_if(last, |select, last: MessageId| select.filter(version::Column::Id.gt(last)))
                .order_by_asc(version::Column::Id)
                .limit(ROWS)
                .all(tx)
                .await?;
            let Some(end) = rows.last().map(|row| row.id) else { break };
            for row in &mut rows {
                omit_owner(&mut row.author, owner);
            }
            yield items(with_parts(tx, rows, |row| row.id).await?, last.is_none()).await?;
            last = Some(end);
        }
        yield "],\"turns\":[".to_owned();
        let mut last = None;
        loop {
            let rows = turn::Entity::find()
                .filter(turn::Column::ConversationId.eq(id))
                .filter(turn::Column::ReplyStatus.ne(<&str>::from(ReplyState::Running)))
                .apply_if(last, |select, last: MessageId| select.filter(turn::Column::MessageId.gt(last)))
                .order_by_asc(turn::Column::MessageId)
                .limit(BATCH_ROWS as u64)
                .all(tx)
                .await?;
            let Some(end) = rows.last().map(|row| row.message_id) else { break };
            yield items(rows, last.is_none()).await?;
            last = Some(end);
        }
        yield "]}\n".to_owned();
    }
}

/// Encodes elements of a list, with the commas between them.
async fn items<T: Serialize + Send + 'static>(rows: Vec<T>, is_first: bool) -> Result<String> {
    // The size is not known here, and may be large.
    work::heavy(ENCODING, move |_| {
        let mut text = String::new();
        for (place, row) in rows.iter().enumerate() {
            if place > 0 || !is_first {
                text.push(',');
            }
            text.push_str(&encode(row)?);
        }
        Ok(text)
    })
    .await?
}

fn encode(row: &impl Serialize) -> Result<String> {
    let value = line::encoded(row).map_err(|error| Error::Internal(error.into()))?;
    Ok(one_line(value.to_string()))
}
