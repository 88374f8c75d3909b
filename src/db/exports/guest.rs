//! A user's messages in conversations of other users of the tenant, as lines in the general import format.

use async_stream::try_stream;
use chrono::{DateTime, Utc};
use futures_util::Stream;
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait, sea_query::Expr,
};
use serde::Serialize;

use super::{ExportScope, PAGE, ROWS, conversations, encode, items};
use crate::{
    conversation::{Attachment, ConversationId, Message, MessageId, Role},
    db::{entity::message, guarded::Transaction},
    error::Result,
};

/// The beginning of a line. Its user is the author, not the owner, so an import keeps the texts with their author.
#[derive(Serialize)]
struct Head<'a> {
    id: ConversationId,
    tenant: &'a str,
    user: &'a str,
}

/// A message of a line.
#[derive(Serialize)]
struct Written {
    id: MessageId,
    role: &'static str,
    content: String,
    attachments: Option<Vec<Attachment>>,
    created_at: DateTime<Utc>,
}

impl TryFrom<message::Model> for Written {
    type Error = crate::error::Error;

    fn try_from(row: message::Model) -> Result<Self> {
        let mut message = Message::try_from(row)?;
        for attachment in &mut message.attachments {
            // The import format has no object ids.
            attachment.object_id = None;
        }
        Ok(Self {
            id: message.id,
            role: message.role.as_str(),
            content: message.content,
            attachments: Some(message.attachments).filter(|attachments| !attachments.is_empty()),
            created_at: message.created_at,
        })
    }
}

/// The lines, in pieces of bounded size. Reads the tenant's conversations that changed since `since`, a page at a time.
pub(super) fn lines<'a>(
    tx: &'a Transaction,
    (tenant, user): (&'a str, &'a str),
    since: Option<DateTime<Utc>>,
) -> impl Stream<Item = Result<String>> + Send + 'a {
    try_stream! {
        let everyone = ExportScope {
            tenant: Some(tenant.to_owned()),
            since,
            ..ExportScope::default()
        };
        let mut place = None;
        loop {
            let page = conversations(tx, &everyone, place.as_ref()).await?;
            let is_last = (page.len() as u64) < PAGE;
            let others = page.iter().filter(|row| row.user_id != user);
            let others: Vec<ConversationId> = others.map(|row| row.id).collect();
            let mut last: Option<(ConversationId, i64)> = None;
            loop {
                let mut rows = written(tx, &others, user, last).await?.into_iter().peekable();
                if rows.peek().is_none() {
                    break;
                }
                while let Some(first) = rows.next() {
                    let id = first.conversation_id;
                    let before = last.map(|(id, _)| id);
                    last = Some((id, first.position));
                    let first = Written::try_from(first)?;
                    let mut of_one = vec![first];
                    while let Some(row) = rows.next_if(|row| row.conversation_id == id) {
                        last = Some((id, row.position));
                        of_one.push(row.try_into()?);
                    }
                    let is_new = before != Some(id);
                    if is_new {
                        if before.is_some() {
                            yield END.to_owned();
                        }
                        let mut head = encode(&Head { id, tenant, user })?;
                        head.pop();
                        yield head + ",\"messages\":[";
                    }
                    yield items(of_one, is_new).await?;
                }
            }
            if last.is_some() {
                yield END.to_owned();
            }
            if is_last {
                break;
            }
            place = page.last().cloned();
        }
    }
}

/// The end of a line.
const END: &str = "]}\n";

/// The user's next messages with a text, ordered by conversation.
async fn written(
    tx: &Transaction,
    within: &[ConversationId],
    user: &str,
    last: Option<(ConversationId, i64)>,
) -> Result<Vec<message::Model>> {
    use message::Column;
    if within.is_empty() {
        return Ok(Vec::new());
    }
    let rows = message::Entity::find()
        .filter(Column::ConversationId.is_in(within.iter().copied()))
        .filter(Column::Author.eq(user))
        .filter(Column::Role.eq(Role::User))
        // Conversations that drop their texts have none to export.
        .filter(
            Condition::any()
                .add(Column::Content.ne(""))
                .add(Column::Attachments.is_not_null()),
        )
        .apply_if(last, |select, (id, position)| {
            let place = [Column::ConversationId, Column::Position];
            let place = Expr::tuple(place.map(|column| Expr::col((message::Entity, column))));
            select.filter(place.gt(Expr::tuple([Expr::val(id), Expr::val(position)])))
        })
        .order_by_asc(Column::ConversationId)
        .order_by_asc(Column::Position)
        .limit(ROWS)
        .all(tx)
        .await?;
    Ok(rows)
}
