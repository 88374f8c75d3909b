//! Erasure of all data of a tenant or of one of its users.
//!
//! First, conversations become tombstones, as when their user deletes them: no request in flight can write to them,
//! their replies stop, and clients are notified. Then the rows are removed. Each step is a short transaction, so an
//! erasure can run while servers do, and can be repeated after a failure.

mod parted;

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use ring::hmac;
use sea_orm::{ConnectionTrait, Statement, Value};

use super::{
    Database,
    feed::lock_feeds,
    guarded::Transaction,
    removal::{self, Removed},
};
use crate::{
    conversation::{Conversation, ConversationId, ConversationStatus, Owner},
    error::Result,
};

/// Conversations per transaction.
const STEP: u64 = 20;

/// Rows of other tables per transaction.
const ROWS: u64 = 500;

/// How the rows of a tenant or user are found in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rows {
    /// By the conversation, with which they are removed.
    Conversation,
    /// By the owner.
    Owner,
    /// By tenant and conversation, in time order. These rows outlive the conversation.
    Call,
    /// By the owner, in batches by this column.
    Queue(&'static str),
    /// Rows stay, with a hash instead of the name (`audit`).
    Hashed,
    /// The table holds no personal data.
    Nothing,
}

/// All tables. `tests/it/erasing.rs` compares the list with the schema.
const TABLES: [(&str, Rows); 16] = [
    ("agent_search_texts", Rows::Conversation),
    ("agent_reply_parts", Rows::Conversation),
    ("agent_message_versions", Rows::Conversation),
    ("agent_messages", Rows::Conversation),
    ("agent_turns", Rows::Conversation),
    ("agent_conversations", Rows::Owner),
    ("agent_title_calls", Rows::Call),
    ("agent_reply_calls", Rows::Call),
    ("agent_webhook_events", Rows::Queue("number")),
    ("agent_webhook_lanes", Rows::Queue("conversation_id")),
    ("agent_webhook_gone", Rows::Nothing),
    ("agent_webhook_routes", Rows::Nothing),
    ("agent_audit", Rows::Hashed),
    ("agent_feeds", Rows::Queue("id")),
    // Ids and numbers, removed together with the rows of conversations and feeds.
    ("agent_changes", Rows::Nothing),
    ("agent_cursor_key", Rows::Nothing),
];

/// Whose rows are erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// The tenant.
    pub tenant: String,
    /// One user of the tenant; `None` for the whole tenant.
    pub user: Option<String>,
}

impl Forgotten {
    /// The condition for an owner's rows; `$1` and `$2` are the values.
    fn condition(&self) -> &'static str {
        match self.user {
            Some(_) => "tenant_id = $1 AND user_id = $2",
            None => "tenant_id = $1",
        }
    }

    fn values(&self) -> Vec<Value> {
        let values = [Some(&self.tenant), self.user.as_ref()];
        values.into_iter().flatten().map(Into::into).collect()
    }
}

/// A position in the activity index: the user, the time of the last message, the conversation.
type Place = (String, DateTime<Utc>, ConversationId);

impl Database {
    /// The tables that an erasure handles, for the test that compares them with the schema.
    pub fn known_tables() -> impl Iterator<Item = &'static str> {
        TABLES.iter().map(|(table, _)| *table)
    }

    /// The number of rows that an erasure would remove, by table.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn count_forgotten(&self, of: &Forgotten) -> Result<Removed> {
        let owned = of.condition();
        let conversations =
            format!("conversation_id IN (SELECT id FROM agent_conversations WHERE {owned})");
        let mut counts = Removed::default();
        for (table, rows) in TABLES {
            let condition = match rows {
                Rows::Owner | Rows::Queue(_) => owned.to_owned(),
                Rows::Conversation => conversations.clone(),
                Rows::Call if of.user.is_none() => owned.to_owned(),
                Rows::Call => format!("tenant_id = $1 AND {conversations}"),
                Rows::Hashed | Rows::Nothing => continue,
            };
            let sql = format!("SELECT count(*) AS n FROM {table} WHERE {condition}");
            counts.add(table, self.count_rows(&sql, of.values()).await?);
        }
        Ok(counts)
    }

    /// The number of conversations left, tombstones included.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn count_left(&self, of: &Forgotten) -> Result<u64> {
        let owned = of.condition();
        let sql = format!("SELECT count(*) AS n FROM agent_conversations WHERE {owned}");
        self.count_rows(&sql, of.values()).await
    }

    /// Turns the next conversations, of those created up to `until`, into tombstones; `after` is the last one of the
    /// previous page. `None` at the end. Skips a user's conversations in which others wrote, which
    /// [`part_next`](Self::part_next) handles.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn entomb_next(
        &self,
        of: &Forgotten,
        until: Option<DateTime<Utc>>,
        after: &mut ForgetPlace,
        removed: &mut Removed,
    ) -> Result<Option<Vec<Conversation>>> {
        let active = ConversationStatus::Active.as_str();
        let begun = until.map_or("", |_| " AND created_at <= …1");
        let extra = format!("status = '{active}'{begun}");
        let next = self.next(of, &extra, until.map(Value::from), &mut after.0);
        let Some(next) = next.await? else {
            return Ok(None);
        };
        let ids: &Vec<ConversationId> = &next.into_iter().map(|(id, _)| id).collect();
        let (tombstones, step) = self
            .transaction(|tx| async move {
                let mut step = Removed::default();
                let own = match of.user {
                    // Checks after taking the lock, so that no message is added in between.
                    Some(_) => parted::unshared(&tx, removal::lock(&tx, ids).await?).await?,
                    None => ids.clone(),
                };
                let rows = removal::entomb(&tx, &own, self.now(), &mut step).await?;
                lock_feeds(&tx, rows.iter().map(|row| &row.owner)).await?;
                Ok((tx, (rows, step)))
            })
            .await?;
        removed.extend(&step);
        self.schedule_erasure();
        Ok(Some(tombstones))
    }

    /// How many replies of tombstones are still being written, and how many tombstones are not published yet.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn unfinished_tombstones(&self, of: &Forgotten) -> Result<(u64, u64)> {
        let owned = of.condition();
        let mut running = of.values();
        running.push(self.now().into());
        let now = running.len();
        let is_running = format!(
            "SELECT count(*) AS n FROM agent_turns WHERE reply_status = 'running' AND run_lease_until > ${now} \
             AND conversation_id IN (SELECT id FROM agent_conversations WHERE status = 'deleted' AND {owned})"
        );
        let is_unpublished = format!(
            "SELECT count(*) AS n FROM agent_conversations WHERE status = 'deleted' AND published_revision < revision \
             AND {owned}"
        );
        let running = self.count_rows(&is_running, running).await?;
        let unpublished = self.count_rows(&is_unpublished, of.values()).await?;
        Ok((running, unpublished))
    }

    /// Adds the ids of the next tombstones to `ids`. Returns false at the end.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn find_tombstones(
        &self,
        of: &Forgotten,
        after: &mut ForgetPlace,
        ids: &mut HashSet<ConversationId>,
    ) -> Result<bool> {
        let deleted = ConversationStatus::Deleted.as_str();
        let extra = format!("status = '{deleted}'");
        let Some(next) = self.next(of, &extra, None, &mut after.0).await? else {
            return Ok(false);
        };
        ids.extend(next.into_iter().map(|(id, _)| id));
        Ok(true)
    }

    /// Removes the next tombstones with their turns, and adds their ids to `ids`. Returns false at the end.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn remove_tombstones(
        &self,
        of: &Forgotten,
        after: &mut ForgetPlace,
        ids: &mut HashSet<ConversationId>,
        removed: &mut Removed,
    ) -> Result<bool> {
        let deleted = ConversationStatus::Deleted.as_str();
        let extra = format!("status = '{deleted}'");
        let Some(next) = self.next(of, &extra, None, &mut after.0).await? else {
            return Ok(false);
        };
        let rows: &Vec<Value> = &next.iter().map(|(id, _)| (*id).into()).collect();
        let owners = &next;
        let step = self
            .transaction(|tx| async move {
                let mut step = Removed::default();
                remove_rows(&tx, rows, &mut step).await?;
                lock_feeds(&tx, owners.iter().map(|(_, owner)| owner)).await?;
                Ok((tx, step))
            })
            .await?;
        removed.extend(&step);
        ids.extend(next.into_iter().map(|(id, _)| id));
        Ok(true)
    }

    /// Removes the rows that outlive conversations: those of the conversations `ids`, or all of a whole tenant.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn remove_calls(
        &self,
        of: &Forgotten,
        ids: &HashSet<ConversationId>,
        removed: &mut Removed,
    ) -> Result<()> {
        for (table, _) in TABLES.iter().filter(|(_, rows)| *rows == Rows::Call) {
            let mut after: Option<(DateTime<Utc>, Value)> = None;
            loop {
                let mut values = vec![Value::from(&of.tenant)];
                let mut place = "";
                if let Some((at, id)) = &after {
                    values.extend([(*at).into(), id.clone()]);
                    place = "AND (created_at, id) > ($2, $3)";
                }
                let page = Statement::from_sql_and_values(
                    self.reader.get_database_backend(),
                    format!(
                        "SELECT id, created_at, conversation_id FROM {table} WHERE tenant_id = $1 {place} \
                         ORDER BY created_at, id LIMIT {ROWS}"
                    ),
                    values,
                );
                let rows = self.reader.query_all_raw(page).await?;
                let mut doomed: Vec<Value> = Vec::new();
                for row in &rows {
                    let id: uuid::Uuid = row.try_get("", "id")?;
                    after = Some((row.try_get("", "created_at")?, id.into()));
                    let conversation: Option<ConversationId> =
                        row.try_get("", "conversation_id")?;
                    let is_theirs = conversation.is_some_and(|id| ids.contains(&id));
                    if of.user.is_none() || is_theirs {
                        doomed.push(id.into());
                    }
                }
                if !doomed.is_empty() {
                    let doomed = &doomed;
                    let step = self
                        .transaction(|tx| async move {
                            let mut step = Removed::default();
                            removal::delete(&tx, table, "id IN (…)", doomed, &mut step).await?;
                            Ok((tx, step))
                        })
                        .await?;
                    removed.extend(&step);
                }
                if (rows.len() as u64) < ROWS {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Removes queued webhook events, their lanes, and feeds.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn remove_queues(&self, of: &Forgotten, removed: &mut Removed) -> Result<()> {
        for (table, rows) in TABLES {
            let Rows::Queue(key) = rows else { continue };
            let condition = &format!(
                "{key} IN (SELECT {key} FROM {table} WHERE {owned} LIMIT {ROWS}) AND {owned}",
                owned = of.condition()
            );
            loop {
                let values = &of.values();
                let step = self
                    .transaction(|tx| async move {
                        let mut step = Removed::default();
                        removal::delete(&tx, table, condition, values, &mut step).await?;
                        Ok((tx, step))
                    })
                    .await?;
                removed.extend(&step);
                if step.of(table) == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The next conversations of the tenant or user, in the order of the activity index, that meet the condition
    /// `extra`. `…1` and `…2` in it are placeholders for the values `more`.
    async fn next(
        &self,
        of: &Forgotten,
        extra: &str,
        more: impl IntoIterator<Item = Value>,
        after: &mut Option<Place>,
    ) -> Result<Option<Vec<(ConversationId, Owner)>>> {
        let mut values = of.values();
        let mut condition = format!("{} AND {extra}", of.condition());
        for (place, value) in (1..).zip(more) {
            values.push(value);
            condition = condition.replace(&format!("…{place}"), &format!("${}", values.len()));
        }
        if let Some((user, at, id)) = after {
            let first = values.len();
            values.extend([user.as_str().into(), (*at).into(), (*id).into()]);
            let [user, at, id] = [1, 2, 3].map(|place| first + place);
            condition += &format!(" AND (user_id, last_message_at, id) > (${user}, ${at}, ${id})");
        }
        let page = Statement::from_sql_and_values(
            self.reader.get_database_backend(),
            format!(
                "SELECT id, user_id, last_message_at FROM agent_conversations WHERE {condition} \
                 ORDER BY tenant_id, user_id, last_message_at, id LIMIT {STEP}"
            ),
            values,
        );
        let rows = self.writer.query_all_raw(page).await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            let id: ConversationId = row.try_get("", "id")?;
            let owner = Owner {
                tenant: of.tenant.clone(),
                user: row.try_get("", "user_id")?,
            };
            *after = Some((owner.user.clone(), row.try_get("", "last_message_at")?, id));
            found.push((id, owner));
        }
        Ok((!found.is_empty()).then_some(found))
    }

    /// A keyed hash of the tenant or user, for records that must not name them. The key is stored in the database, so
    /// the hash is the same in each erasure, and meaningless without the database.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn forgotten_hash(&self, of: &Forgotten) -> Result<String> {
        let select = self.statement(
            "SELECT secret FROM agent_cursor_key",
            "SELECT secret FROM agent_cursor_key",
            [],
        );
        let row = self.reader.query_one_raw(select).await?;
        let secret: String = row.map_or(Ok(String::new()), |row| row.try_get("", "secret"))?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let message = serde_json::json!(["forgotten", of.tenant, of.user]).to_string();
        Ok(hex::encode(hmac::sign(&key, message.as_bytes())))
    }
}

/// The position of an erasure in the list of conversations.
#[derive(Clone, Debug, Default)]
pub struct ForgetPlace(Option<Place>);

/// Removes conversations with all rows that refer to them.
pub(super) async fn remove_rows(
    tx: &Transaction,
    ids: &[Value],
    removed: &mut Removed,
) -> Result<()> {
    removal::delete(tx, "agent_turns", "conversation_id IN (…)", ids, removed).await?;
    removal::delete(tx, "agent_conversations", "id IN (…)", ids, removed).await
}
