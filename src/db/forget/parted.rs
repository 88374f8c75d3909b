//! Erasure in conversations in which others wrote too. The erased user's messages and the replies to them are removed;
//! those of others stay. A conversation that the user owned gets a placeholder owner, and columns that may contain the
//! user's words are cleared.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait, Statement, Value, sea_query::Expr,
};

use super::{ForgetPlace, Forgotten};
use crate::{
    conversation::{
        Conversation, ConversationId, Message, MessageId, Role, TitleSource, TitleStatus,
        attachment::shown_text,
        topic_hint::{preview, topic_hint},
    },
    db::{
        Database,
        claims::with_due_title,
        entity::{
            conversation::{Column, Entity, Model},
            message,
        },
        guarded::Transaction,
        removal::{self, Removed},
        scope::{active, changed, locked},
        search::index::{Text, forget, index, index_title, indexed},
        titles::without_former,
    },
    error::Result,
};

/// The user's conversations with a message by someone else, and others' conversations with a message or a former text
/// by the user. `…1` is the user; `BEGUN` is replaced by a condition on the user's own conversations.
const SHARED: &str = "status = 'active' AND (user_id = …1 BEGUN AND EXISTS (SELECT 1 FROM agent_messages AS m \
    WHERE m.conversation_id = agent_conversations.id AND m.author <> agent_conversations.user_id) \
    OR user_id <> …1 AND (EXISTS (SELECT 1 FROM agent_messages AS m \
    WHERE m.conversation_id = agent_conversations.id AND m.author = …1) \
    OR EXISTS (SELECT 1 FROM agent_message_versions AS v \
    WHERE v.conversation_id = agent_conversations.id AND v.author = …1)))";

/// The replaced replies to the user's former texts in messages that others edited. A reply answers the text that was
/// replaced at the same time, or else the next one to be replaced: an edit replaces the text and its last reply at the
/// same time. `$1` is the conversation, `$2` the user; `THEIRS` is replaced by a condition on the text `v`.
const REPLIES_TO_FORMER: &str = "SELECT r.id FROM agent_message_versions AS r \
    JOIN agent_message_versions AS v ON v.message_id = r.message_id AND v.replaced_at >= r.replaced_at \
    WHERE r.conversation_id = $1 AND r.role <> 'user' AND v.role = 'user' AND THEIRS \
    AND NOT EXISTS (SELECT 1 FROM agent_message_versions AS w WHERE w.message_id = r.message_id \
    AND w.role = 'user' AND w.replaced_at >= r.replaced_at AND w.replaced_at < v.replaced_at)";

/// The prefix of a placeholder's name, and the number of hexadecimal digits that follow.
const PLACEHOLDER: &str = "erased-";
const DIGITS: usize = 32;

/// Rows per statement.
const ROWS: usize = 100;

/// Texts to index per statement.
const TEXTS: u64 = 20;

/// A message: its id, position, role, author, and the message that it answers.
type Written = (MessageId, i64, String, Option<String>, Option<MessageId>);

impl Database {
    /// Removes the user's messages from the tenant's next conversations in which others wrote too, and returns these
    /// conversations. Covers the user's own conversations only if they were created up to `until`. `None` at the end,
    /// and for a whole tenant.
    ///
    /// A conversation of the user or of a placeholder in which no other user's message is left becomes a tombstone.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn part_next(
        &self,
        of: &Forgotten,
        until: Option<DateTime<Utc>>,
        subject: &str,
        after: &mut ForgetPlace,
        removed: &mut Removed,
    ) -> Result<Option<Vec<Conversation>>> {
        let Some(user) = of.user.as_deref() else {
            return Ok(None);
        };
        let tenant = Forgotten {
            tenant: of.tenant.clone(),
            user: None,
        };
        let begun = until.map_or("", |_| "AND created_at <= …2");
        let values = [Some(user.into()), until.map(Value::from)];
        let shared = SHARED.replace("BEGUN", begun);
        let next = self.next(&tenant, &shared, values.into_iter().flatten(), &mut after.0);
        let Some(ids) = next.await? else {
            return Ok(None);
        };
        let heir: String = PLACEHOLDER
            .chars()
            .chain(subject.chars().take(DIGITS))
            .collect();
        let heir = heir.as_str();
        let mut parted = Vec::new();
        for (id, _) in ids {
            let (conversation, step) = self
                .transaction(|tx| async move {
                    let mut step = Removed::default();
                    let conversation = self.part(&tx, id, user, heir, &mut step).await?;
                    Ok((tx, (conversation, step)))
                })
                .await?;
            removed.extend(&step);
            parted.extend(conversation);
        }
        self.schedule_erasure();
        Ok(Some(parted))
    }

    async fn part(
        &self,
        tx: &Transaction,
        id: ConversationId,
        user: &str,
        heir: &str,
        removed: &mut Removed,
    ) -> Result<Option<Conversation>> {
        let row = active().filter(Column::Id.eq(id));
        let Some(row) = locked(tx, row).await? else {
            return Ok(None);
        };
        let is_owner = row.user_id == user;
        if (is_owner || is_placeholder(&row.user_id)) && !has_others(tx, &row, user).await? {
            let mut tombstones = removal::entomb(tx, &[id], self.now(), removed).await?;
            return Ok(tombstones.pop());
        }
        let doomed = written_by(tx, &row, user).await?;
        remove(tx, &row, user, &doomed, removed).await?;
        // The model may have generated the title from the user's message, or from its former text.
        let has_lost = !doomed.is_empty() || removed.of("agent_message_versions") > 0;
        let is_made = row.title_source == TitleSource::Generated.as_str() && has_lost;
        let clears_title = is_owner || is_made;
        let is_untitled = clears_title || row.display_name.is_none();
        let last = message::Entity::find()
            .filter(message::Column::ConversationId.eq(id))
            .order_by_desc(message::Column::Position)
            .one(tx)
            .await?;
        let mut change = Entity::update_many()
            .col_expr(Column::Revision, Expr::col(Column::Revision).add(1))
            .col_expr(Column::UpdatedAt, Expr::val(self.now()))
            .col_expr(
                Column::MessageCount,
                Expr::col(Column::MessageCount).sub(doomed.len() as i64),
            )
            .col_expr(
                Column::LastMessagePreview,
                Expr::val(shown(last)?.map(|text| preview(&text, true))),
            )
            .filter(Column::Id.eq(id));
        if !doomed.is_empty() {
            let newest = newest_time(tx, id).await?.unwrap_or(row.created_at);
            change = change.col_expr(Column::LastMessageAt, Expr::val(newest));
        }
        if is_untitled {
            let first = message::Entity::find()
                .filter(message::Column::ConversationId.eq(id))
                .filter(message::Column::Role.eq(Role::User))
                .order_by_asc(message::Column::Position)
                .one(tx)
                .await?;
            let hint = shown(first)?.and_then(|text| topic_hint(&text, true));
            change = change.col_expr(Column::TopicHint, Expr::val(hint));
        } else if has_lost {
            // The hint may be the beginning of a removed message.
            change = change.col_expr(Column::TopicHint, Expr::col(Column::DisplayName));
        }
        let no_text: Option<String> = None;
        if clears_title {
            let no_time: Option<DateTime<Utc>> = None;
            let (status, due) = next_title(&row, self.now());
            change = without_former(with_due_title(change, due), false)
                .col_expr(Column::DisplayName, Expr::val(no_text.clone()))
                .col_expr(Column::TitleGeneratedAt, Expr::val(no_time))
                .col_expr(Column::TitleFailure, Expr::val(no_text.clone()))
                .col_expr(Column::TitleSource, Expr::val(TitleSource::Hint))
                .col_expr(Column::TitleAttempts, Expr::val(0))
                .col_expr(Column::TitleStatus, Expr::val(status));
        } else if has_lost && row.title_token.is_some() {
            // The model may be making a title from the user's message: another one is made from the rest.
            change = with_due_title(change, Some(self.now()))
                .col_expr(Column::TitleAttempts, Expr::val(0));
        }
        if is_owner {
            change = change
                .col_expr(Column::UserId, Expr::val(heir))
                .col_expr(Column::ExternalId, Expr::val(no_text.clone()))
                .col_expr(Column::Metadata, Expr::val(no_text));
            // Queued events get the new user too, because an erasure removes events by user. Their content is read when
            // they are sent, without the removed texts.
            for table in ["agent_turns", "agent_webhook_lanes", "agent_webhook_events"] {
                let sql = format!("UPDATE {table} SET user_id = $2 WHERE conversation_id = $1");
                run(tx, &sql, [id.into(), heir.into()]).await?;
            }
        }
        let conversation = changed(change.exec_with_returning(tx).await?)?;
        if let Some(conversation) = &conversation {
            match is_owner {
                true => index_again(tx, conversation).await?,
                false if is_untitled => index_title(tx, conversation).await?,
                false => {}
            }
        }
        Ok(conversation)
    }
}

/// The status of a title that an erasure clears, and when a sweep generates a new one. A conversation without automatic
/// titles gets none; a title that waits for a message or a backfill keeps waiting.
fn next_title(row: &Model, now: DateTime<Utc>) -> (TitleStatus, Option<DateTime<Utc>>) {
    let is = |status: TitleStatus| row.title_status == status.as_str();
    if is(TitleStatus::Skipped) {
        return (TitleStatus::Skipped, None);
    }
    let waits =
        is(TitleStatus::Pending) && row.display_name.is_none() && row.title_lease_until.is_none();
    (TitleStatus::Pending, (!waits).then_some(now))
}

/// The time of the newest message of a conversation.
async fn newest_time(tx: &Transaction, id: ConversationId) -> Result<Option<DateTime<Utc>>> {
    use message::Column;
    Ok(message::Entity::find()
        .filter(Column::ConversationId.eq(id))
        .order_by_desc(Column::CreatedAt)
        .select_only()
        .column(Column::CreatedAt)
        .into_tuple()
        .one(tx)
        .await?)
}

/// Whether a user id is the placeholder of an erased user.
fn is_placeholder(user: &str) -> bool {
    let digits = user.strip_prefix(PLACEHOLDER).unwrap_or_default();
    digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// Whether a conversation has a message of a user who is neither its owner nor this one.
async fn has_others(tx: &Transaction, row: &Model, user: &str) -> Result<bool> {
    use message::Column;
    let others = message::Entity::find()
        .filter(Column::ConversationId.eq(row.id))
        .filter(Column::Author.is_not_in([user, &row.user_id]))
        .select_only()
        .column(Column::Id)
        .into_tuple::<MessageId>()
        .one(tx);
    Ok(others.await?.is_some())
}

/// Those of the given conversations in which only the owner wrote.
pub(super) async fn unshared(
    tx: &Transaction,
    ids: Vec<ConversationId>,
) -> Result<Vec<ConversationId>> {
    let shared = message::Entity::find()
        .filter(
            Expr::col((message::Entity, message::Column::ConversationId))
                .equals((Entity, Column::Id)),
        )
        .filter(
            Expr::col((message::Entity, message::Column::Author))
                .not_equals((Entity, Column::UserId)),
        )
        .select_only()
        .expr(Expr::value(1))
        .into_query();
    Ok(active()
        .filter(Column::Id.is_in(ids))
        .filter(Expr::exists(shared).not())
        .select_only()
        .column(Column::Id)
        .into_tuple()
        .all(tx)
        .await?)
}

/// The user's messages and the replies to them, with their positions.
async fn written_by(tx: &Transaction, row: &Model, user: &str) -> Result<Vec<(MessageId, i64)>> {
    use message::Column;
    let messages: Vec<Written> = message::Entity::find()
        .filter(Column::ConversationId.eq(row.id))
        .order_by_asc(Column::Position)
        .select_only()
        .columns([
            Column::Id,
            Column::Position,
            Column::Role,
            Column::Author,
            Column::InReplyTo,
        ])
        .into_tuple()
        .all(tx)
        .await?;
    let mut theirs: HashSet<MessageId> = HashSet::new();
    let mut doomed = Vec::new();
    // Replies of earlier versions do not store the message that they answer: it is the user message before them.
    let mut is_last_theirs = false;
    for (id, position, role, author, answered) in messages {
        let is_theirs = if role == Role::User.as_str() {
            is_last_theirs = author.as_deref().unwrap_or(&row.user_id) == user;
            is_last_theirs
        } else {
            answered.map_or(is_last_theirs, |answered| theirs.contains(&answered))
        };
        if is_theirs {
            theirs.insert(id);
            doomed.push((id, position));
        }
    }
    Ok(doomed)
}

/// Removes messages, sorted by position, with all rows that belong to them; the remaining messages move up.
async fn remove(
    tx: &Transaction,
    row: &Model,
    user: &str,
    doomed: &[(MessageId, i64)],
    removed: &mut Removed,
) -> Result<()> {
    for batch in doomed.chunks(ROWS) {
        let ids: Vec<Value> = batch.iter().map(|(id, _)| (*id).into()).collect();
        for (table, rows) in [
            (
                "agent_search_texts",
                "conversation_id IN (SELECT conversation_id FROM agent_messages WHERE id = $1) \
                 AND message_id IN (…)",
            ),
            (
                "agent_turns",
                "conversation_id IN (SELECT conversation_id FROM agent_messages WHERE id = $1) \
                 AND (message_id IN (…) OR in_reply_to IN (…))",
            ),
            (
                "agent_reply_calls",
                "id IN (…) OR id IN (SELECT id FROM agent_message_versions WHERE message_id IN (…))",
            ),
            ("agent_reply_parts", "message_id IN (…)"),
            ("agent_message_versions", "message_id IN (…)"),
        ] {
            removal::delete(tx, table, rows, &ids, removed).await?;
        }
    }
    for batch in doomed.chunks(ROWS) {
        let ids: Vec<Value> = batch.iter().map(|(id, _)| (*id).into()).collect();
        removal::delete(tx, "agent_messages", "id IN (…)", &ids, removed).await?;
    }
    // The user's former texts in messages that others edited, preceded by the replies to them. In rows of the previous
    // version, the owner's texts have no author.
    let former = [row.id.into(), user.into()];
    let theirs = match row.user_id == user {
        true => "COALESCE(v.author, $2) = $2",
        false => "v.author = $2",
    };
    let replies = REPLIES_TO_FORMER.replace("THEIRS", theirs);
    let texts = format!(
        "SELECT v.id FROM agent_message_versions AS v WHERE v.conversation_id = $1 AND v.role = 'user' AND {theirs}"
    );
    for (table, key, ids) in [
        ("agent_reply_calls", "id", &replies),
        ("agent_reply_parts", "reply_id", &replies),
        ("agent_message_versions", "id", &replies),
        ("agent_message_versions", "id", &texts),
    ] {
        let rows = format!("{key} IN ({ids})");
        removal::delete(tx, table, &rows, &former, removed).await?;
    }
    // In two steps, because the unique index of positions is checked for each row.
    for (place, (_, position)) in doomed.iter().enumerate() {
        let next = doomed.get(place + 1).map(|(_, position)| *position);
        if next == Some(position + 1) {
            continue;
        }
        run(
            tx,
            "UPDATE agent_messages SET position = $2 - position \
             WHERE conversation_id = $1 AND position > $3 AND position < $4",
            [
                row.id.into(),
                (place as i64 + 1).into(),
                (*position).into(),
                next.unwrap_or(i64::MAX).into(),
            ],
        )
        .await?;
    }
    run(
        tx,
        "UPDATE agent_messages SET position = -position WHERE conversation_id = $1 AND position < 0",
        [row.id.into()],
    )
    .await?;
    run(
        tx,
        "UPDATE agent_message_versions SET position = \
         (SELECT m.position FROM agent_messages AS m WHERE m.id = agent_message_versions.message_id) \
         WHERE conversation_id = $1",
        [row.id.into()],
    )
    .await
}

/// Re-indexes the texts of a conversation, because the index marks them with the owner.
async fn index_again(tx: &Transaction, conversation: &Conversation) -> Result<()> {
    use message::Column;
    forget(tx, conversation.id).await?;
    index(tx, vec![Text::title(conversation)]).await?;
    if conversation.drops_text {
        return Ok(());
    }
    let mut last = 0;
    loop {
        let rows = message::Entity::find()
            .filter(Column::ConversationId.eq(conversation.id))
            .filter(Column::Position.gt(last))
            .order_by_asc(Column::Position)
            .limit(TEXTS)
            .all(tx)
            .await?;
        let mut texts = Vec::with_capacity(rows.len());
        for row in rows {
            let message = Message::try_from(row)?;
            last = message.position;
            let text = shown_text(&message.content, &message.attachments);
            texts.push(Text {
                conversation: conversation.id,
                message: Some(message.id),
                body: indexed(&conversation.owner, &text),
            });
        }
        if texts.is_empty() {
            return Ok(());
        }
        index(tx, texts).await?;
    }
}

/// The text of a message as lists show it.
fn shown(row: Option<message::Model>) -> Result<Option<String>> {
    let message = row.map(Message::try_from).transpose()?;
    Ok(message.map(|message| shown_text(&message.content, &message.attachments).into_owned()))
}

async fn run(tx: &Transaction, sql: &str, values: impl IntoIterator<Item = Value>) -> Result<()> {
    let statement = Statement::from_sql_and_values(tx.get_database_backend(), sql, values);
    tx.execute_raw(statement).await?;
    Ok(())
}
