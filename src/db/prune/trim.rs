//! Removal of the old messages of one conversation.

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::Pruned;
use crate::{
    conversation::{
        ConversationId, Message, MessageId, Role, attachment::shown_text, topic_hint::topic_hint,
    },
    db::{
        Database,
        entity::{conversation, message},
        guarded::Transaction,
        removal::{self, Removed, Rest},
        scope::{active, locked},
        turns,
    },
    error::Result,
};

/// Messages per transaction.
const MESSAGES: usize = 200;

impl Database {
    /// Removes the messages of a conversation from before `cutoff`, in whole turns: a message stays as long as its
    /// reply does. Ends after the batch that brings `pruned` to `limit` messages. Returns whether no old message is
    /// left.
    pub(super) async fn trim(
        &self,
        (id, cutoff): (ConversationId, DateTime<Utc>),
        limit: u64,
        redacts: bool,
        pruned: &mut Pruned,
    ) -> Result<bool> {
        while pruned.removed.of("agent_messages") < limit {
            let (changed, removed, is_more) = self
                .transaction(|tx| async move {
                    let mut removed = Removed::default();
                    let row = active().filter(conversation::Column::Id.eq(id));
                    let Some(row) = locked(&tx, row).await? else {
                        return Ok((tx, (None, removed, false)));
                    };
                    let first = first_old(&tx, id, cutoff).await?;
                    if first.is_empty() {
                        return Ok((tx, (None, removed, false)));
                    }
                    let is_more = first.len() == MESSAGES;
                    let rest = rest_of(&tx, &row, first.len(), redacts).await?;
                    let changed =
                        removal::remove_first(&tx, &row, &first, &rest, self.now(), &mut removed);
                    let changed = changed.await?;
                    Ok((tx, (changed, removed, is_more)))
                })
                .await?;
            pruned.removed.extend(&removed);
            pruned.changed.extend(changed);
            if !is_more {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The first messages of a conversation, up to the first one not from before `cutoff`; none while a reply is running,
/// because it reads the history.
async fn first_old(
    tx: &Transaction,
    id: ConversationId,
    cutoff: DateTime<Utc>,
) -> Result<Vec<MessageId>> {
    use message::Column;
    if !turns::running_in(tx, &[id]).await?.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(MessageId, String, DateTime<Utc>)> = message::Entity::find()
        .filter(Column::ConversationId.eq(id))
        .order_by_asc(Column::Position)
        .limit(MESSAGES as u64 + 1)
        .select_only()
        .columns([Column::Id, Column::Role, Column::CreatedAt])
        .into_tuple()
        .all(tx)
        .await?;
    let old = rows.iter().take(MESSAGES);
    let mut count = old.take_while(|(_, _, at)| *at < cutoff).count();
    // A full batch may end after any message; the next batch continues there.
    let is_reply = |place: usize| {
        rows.get(place)
            .is_some_and(|row| row.1 == Role::Assistant.as_str())
    };
    if count > 0 && count < MESSAGES && is_reply(count) && !is_reply(count - 1) {
        count -= 1;
    }
    Ok(rows.into_iter().take(count).map(|(id, _, _)| id).collect())
}

/// The conversation's displayed columns without its first `count` messages.
async fn rest_of(
    tx: &Transaction,
    row: &conversation::Model,
    count: usize,
    redacts: bool,
) -> Result<Rest> {
    use message::Column;
    let next: Option<i64> = message::Entity::find()
        .filter(Column::ConversationId.eq(row.id))
        .order_by_asc(Column::Position)
        .offset(count as u64)
        .limit(1)
        .select_only()
        .column(Column::Position)
        .into_tuple()
        .one(tx)
        .await?;
    let (Some(next), None) = (next, &row.display_name) else {
        return Ok(Rest {
            is_empty: next.is_none(),
            hint: None,
        });
    };
    let first = message::Entity::find()
        .filter(Column::ConversationId.eq(row.id))
        .filter(Column::Position.gte(next))
        .filter(Column::Role.eq(Role::User))
        .order_by_asc(Column::Position)
        .one(tx)
        .await?;
    let first = first.map(Message::try_from).transpose()?;
    let text = first.map(|first| shown_text(&first.content, &first.attachments).into_owned());
    Ok(Rest {
        is_empty: false,
        hint: text.and_then(|text| topic_hint(&text, redacts)),
    })
}
