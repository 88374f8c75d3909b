//! A further reply to the user's newest message, which may be edited. One transaction moves the former reply, and the
//! former text of an edited message, to the versions, and begins the turn of the new reply.

use std::{borrow::Cow, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{
    ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, prelude::Uuid,
    sea_query::Expr,
};

use super::{
    ReplyState, answers,
    begin::{
        BegunTurn, MAX_RETRIES, NewTitle, NewTurnRow, claim_deferred, insert_turn, is_retryable,
        known_turn,
    },
    newest_first, turns_of,
};
use crate::{
    conversation::{
        Attachment, Conversation, ConversationId, MessageId, Owner, Role,
        attachment::shown_text,
        topic_hint::{preview, topic_hint},
    },
    db::{
        Database, TitleClaim,
        entity::{conversation, message, turn, version},
        guarded::{Transaction, retry},
        scope::{change_of, conversations_of, row_of},
        search::index,
    },
    error::{Error, Result},
    step::{Step, step},
};

/// A further reply to store.
#[derive(Clone, Debug)]
pub struct Rewrite {
    /// The conversation.
    pub conversation_id: ConversationId,
    /// The user's newest message, or its reply.
    pub target: MessageId,
    /// The new text of that message; `None` keeps it.
    pub edit: Option<Edit>,
    /// Whether hint and preview leave out secrets and personal numbers.
    pub redacts: bool,
    /// The id of the new turn.
    pub turn_id: MessageId,
    /// The id of the new reply.
    pub reply_id: MessageId,
    /// The node that runs the reply, and the duration of its lease.
    pub run: (Uuid, Duration),
    /// The idempotency key, by which a retry finds this turn, and a hash of the request.
    pub idempotency: Option<(String, String)>,
}

/// The new text of a message.
#[derive(Clone, Debug)]
pub struct Edit {
    /// The text.
    pub text: String,
    /// The attachments.
    pub attachments: Vec<Attachment>,
    /// The user who wrote it.
    pub author: String,
    /// The title state that the new text leads to, if the conversation waits for a message with content.
    pub title: NewTitle,
}

impl Database {
    /// Begins a further reply to the user's newest message.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the owner has no such conversation; [`Error::NotNewest`] if the target is neither the
    /// user's newest message nor its reply; [`Error::ReplyRunning`]; [`Error::IdempotencyKeyReused`];
    /// [`Error::Database`].
    pub async fn rewrite(&self, owner: &Owner, new: &Rewrite) -> Result<BegunTurn> {
        let body = &match &new.edit {
            Some(edit) => index::prepared(owner, &edit.shown_text()).await?,
            None => String::new(),
        };
        let begun = retry(MAX_RETRIES, is_retryable, |retries| {
            self.transaction(move |tx| async move {
                if retries > 0
                    && let Some(stored) = find_stored(&tx, owner, new).await?
                {
                    return Ok((tx, stored));
                }
                let begun = self.rewrite_in(&tx, owner, new, body).await?;
                Ok((tx, begun))
            })
        })
        .await;
        match begun {
            // A concurrent request with the same key may have committed while this one waited for the lock.
            Err(refused @ (Error::ReplyRunning { .. } | Error::NotNewest)) => {
                let known = known_turn(&self.writer, owner, new.idempotency.as_ref()).await?;
                known.map(BegunTurn::Known).ok_or(refused)
            }
            begun => begun,
        }
    }

    async fn rewrite_in(
        &self,
        tx: &Transaction,
        owner: &Owner,
        new: &Rewrite,
        body: &str,
    ) -> Result<BegunTurn> {
        if let Some(known) = known_turn(tx, owner, new.idempotency.as_ref()).await? {
            return Ok(BegunTurn::Known(known));
        }
        let now = self.now();
        // Locks the conversation, so that no message is added in the meantime.
        let locked = change_of(owner, new.conversation_id, now);
        let row = locked.exec_with_returning(tx).await?.pop();
        let row = row.ok_or_else(Error::no_conversation)?;
        if row.drops_text() {
            return Err(Error::NoText);
        }
        let message = newest_message(tx, row.id).await?.ok_or(Error::NotNewest)?;
        let turn = newest_first(turns_of(owner))
            .filter(turn::Column::ConversationId.eq(row.id))
            .filter(answers(message.id))
            .one(tx)
            .await?;
        // The newest turn of a message is the one with the latest time, even after the clock was set back.
        let at = turn.as_ref().map_or(now, |turn| {
            now.max(turn.created_at + TimeDelta::milliseconds(1))
        });
        let former = turn.as_ref().map(|turn| turn.reply_id);
        let (replies, others) = messages_behind(tx, &message, former).await?;
        let is_reply = |id| former == Some(id) || replies.iter().any(|reply| reply.id == id);
        if new.target != message.id && (new.edit.is_some() || !is_reply(new.target)) {
            return Err(Error::NotNewest);
        }
        let running = <&str>::from(ReplyState::Running);
        if let Some(turn) = turn.filter(|turn| turn.reply_status == running) {
            let expires = turn.run_lease_until.unwrap_or(now);
            let left = (expires - now).to_std().unwrap_or_default();
            // Nodes check for expired leases about three times per lease.
            return Err(Error::ReplyRunning {
                retry_after: left + new.run.1 / 2,
            });
        }
        replace_replies(tx, &message, &replies, at).await?;
        let others = close_gaps(tx, &replies, others).await?;
        let (message, hint) = match &new.edit {
            Some(edit) => {
                let hint = edited_hint(&row, &message, edit, new.redacts);
                (replace_text(tx, message, edit, body, at).await?, hint)
            }
            None => (message, row.topic_hint.clone()),
        };
        let last = others.last().unwrap_or(&message);
        let row = recount(tx, owner, &row, (last, replies.len()), (hint, new.redacts)).await?;
        let claimed = match &new.edit {
            Some(edit) => claim_deferred(tx, owner, &edit.title, &row, at).await?,
            None => None,
        };
        let claim = claimed.as_ref().and_then(TitleClaim::of);
        insert_turn(
            tx,
            owner,
            NewTurnRow {
                id: new.turn_id,
                conversation: row.id,
                reply: new.reply_id,
                in_reply_to: Some(message.id),
                source: None,
                run: new.run,
                idempotency: new.idempotency.clone(),
                at,
            },
        )
        .await?;
        let conversation = Conversation::try_from(claimed.unwrap_or(row))?;
        if new.edit.is_some() && message.position == 1 {
            index::index_title(tx, &conversation).await?;
        }
        step(Step::TurnCommitting, conversation.id);
        Ok(BegunTurn::New {
            conversation,
            message: message.try_into()?,
            claim,
        })
    }
}

impl Edit {
    fn shown_text(&self) -> Cow<'_, str> {
        shown_text(&self.text, &self.attachments)
    }
}

/// The user's newest message.
pub(super) async fn newest_message(
    tx: &Transaction,
    conversation: ConversationId,
) -> Result<Option<message::Model>> {
    Ok(message::Entity::find()
        .filter(message::Column::ConversationId.eq(conversation))
        .filter(message::Column::Role.eq(Role::User))
        .order_by_desc(message::Column::Position)
        .one(tx)
        .await?)
}

/// The messages after the user's newest one: its replies, and later-ended replies to earlier messages. Both are few.
async fn messages_behind(
    tx: &Transaction,
    message: &message::Model,
    former: Option<MessageId>,
) -> Result<(Vec<message::Model>, Vec<message::Model>)> {
    let behind = message::Entity::find()
        .filter(message::Column::ConversationId.eq(message.conversation_id))
        .filter(message::Column::Position.gt(message.position))
        .order_by_asc(message::Column::Position)
        .all(tx)
        .await?;
    Ok(behind.into_iter().partition(|row| match row.in_reply_to {
        Some(answered) => answered == message.id,
        // Stored by an older version, or imported without a turn.
        None => former.is_none_or(|former| former == row.id),
    }))
}

/// Moves replies that count to the versions, and marks those that do not as replaced.
async fn replace_replies(
    tx: &Transaction,
    message: &message::Model,
    replies: &[message::Model],
    at: DateTime<Utc>,
) -> Result<()> {
    version::Entity::update_many()
        .col_expr(version::Column::ReplacedAt, Expr::val(at))
        .filter(version::Column::MessageId.eq(message.id))
        .filter(version::Column::ReplacedAt.is_null())
        .exec(tx)
        .await?;
    for reply in replies {
        version::Entity::insert(version::Model::of(reply, message, at).into_active_model())
            .exec_without_returning(tx)
            .await?;
        message::Entity::delete_by_id(reply.id).exec(tx).await?;
        index::forget_message(tx, reply.conversation_id, reply.id).await?;
    }
    Ok(())
}

/// Moves up the messages after removed replies: positions are dense, because the message count gives the next position.
async fn close_gaps(
    tx: &Transaction,
    removed: &[message::Model],
    mut others: Vec<message::Model>,
) -> Result<Vec<message::Model>> {
    for other in &mut others {
        let before = removed.iter().filter(|one| one.position < other.position);
        let gap = before.count() as i64;
        if gap > 0 {
            other.position -= gap;
            message::Entity::update_many()
                .col_expr(message::Column::Position, Expr::val(other.position))
                .filter(message::Column::Id.eq(other.id))
                .exec(tx)
                .await?;
        }
    }
    Ok(others)
}

/// Stores the former text of the message as a version, and the new text in its place.
async fn replace_text(
    tx: &Transaction,
    message: message::Model,
    edit: &Edit,
    body: &str,
    at: DateTime<Utc>,
) -> Result<message::Model> {
    let former = version::Model {
        id: MessageId::new(),
        ..version::Model::of(&message, &message, at)
    };
    version::Entity::insert(former.into_active_model())
        .exec_without_returning(tx)
        .await?;
    let message = message::Model {
        content: edit.text.clone(),
        attachments: message::write_attachments(&edit.attachments)?,
        created_at: at,
        author: Some(edit.author.clone()),
        ..message
    };
    message::Entity::update_many()
        .col_expr(message::Column::Content, Expr::val(&message.content))
        .col_expr(
            message::Column::Attachments,
            Expr::val(message.attachments.clone()),
        )
        .col_expr(message::Column::CreatedAt, Expr::val(at))
        .col_expr(message::Column::Author, Expr::val(&edit.author))
        .filter(message::Column::Id.eq(message.id))
        .exec(tx)
        .await?;
    index::reindex_message(tx, message.conversation_id, message.id, body).await?;
    Ok(message)
}

/// The hint after an edit. A hint that was derived from the first message is derived again from its new text.
fn edited_hint(
    row: &conversation::Model,
    message: &message::Model,
    edit: &Edit,
    redacts: bool,
) -> Option<String> {
    let files = message
        .attachments
        .as_deref()
        .map(message::read_attachments);
    let former = shown_text(&message.content, &files.unwrap_or_default()).into_owned();
    // Rows of older versions may have an unredacted hint.
    let is_ours = || {
        [true, false]
            .map(|redacts| topic_hint(&former, redacts))
            .contains(&row.topic_hint)
    };
    match message.position == 1 && is_ours() {
        true => topic_hint(&edit.shown_text(), redacts),
        false => row.topic_hint.clone(),
    }
}

/// Updates the columns of the conversation's row that describe its messages.
async fn recount(
    tx: &Transaction,
    owner: &Owner,
    row: &conversation::Model,
    (last, removed): (&message::Model, usize),
    (hint, redacts): (Option<String>, bool),
) -> Result<conversation::Model> {
    use conversation::Column;
    let files = last.attachments.as_deref().map(message::read_attachments);
    let preview = preview(
        &shown_text(&last.content, &files.unwrap_or_default()),
        redacts,
    );
    let counted = row_of(owner, row.id)
        .col_expr(
            Column::MessageCount,
            Expr::val(row.message_count - removed as i64),
        )
        .col_expr(Column::LastMessagePreview, Expr::val(preview))
        .col_expr(Column::LastMessageAt, Expr::val(last.created_at))
        .col_expr(Column::TopicHint, Expr::val(hint));
    let row = counted.exec_with_returning(tx).await?.pop();
    row.ok_or_else(Error::no_conversation)
}

/// The turn that an earlier try has stored.
async fn find_stored(tx: &Transaction, owner: &Owner, new: &Rewrite) -> Result<Option<BegunTurn>> {
    let turn = turns_of(owner).filter(turn::Column::MessageId.eq(new.turn_id));
    let Some(message) = turn.one(tx).await?.and_then(|turn| turn.in_reply_to) else {
        return Ok(None);
    };
    let message = message::Entity::find_by_id(message).one(tx).await?;
    let message = message.ok_or_else(Error::no_conversation)?;
    let row = conversations_of(owner)
        .filter(conversation::Column::Id.eq(new.conversation_id))
        .one(tx)
        .await?
        .ok_or_else(Error::no_conversation)?;
    Ok(Some(BegunTurn::New {
        conversation: row.try_into()?,
        message: message.try_into()?,
        // If the claim is ours, its lease expires and a sweep takes over.
        claim: None,
    }))
}
