//! Replies that a program outside of the server writes: opened for a stored message, written by the node that the
//! program reaches, taken over by another node when the program reaches that one.
//!
//! The turn's id is derived from the reply's id, which the program may choose. So the primary key finds a reply, and
//! rejects a second one with the same id.

use std::{borrow::Cow, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, prelude::Uuid, sea_query::Expr};
use sha2::{Digest, Sha256};
use uuid::Builder;

use super::{
    RUNNING, Turn, answers,
    begin::{MAX_RETRIES, NewTurnRow, insert_turn, is_retryable},
    is_running, newest_first, one,
    rewrite::newest_message,
    turns_of,
};
use crate::{
    conversation::{Conversation, ConversationId, MessageId, Owner, Part, Role, part},
    db::{
        Database,
        entity::{
            conversation, message,
            turn::{self, Column, Entity},
            version,
        },
        guarded::{Transaction, retry},
        retention::kept,
        scope::change_of,
    },
    error::{Error, Result},
};

/// The `source` of these turns.
pub(super) const SOURCE: &str = "external";

/// A reply to open.
#[derive(Clone, Debug)]
pub struct NewExternalReply {
    /// The conversation.
    pub conversation_id: ConversationId,
    /// The id of the reply.
    pub reply_id: MessageId,
    /// The user message that it answers; `None` for the newest one.
    pub in_reply_to: Option<MessageId>,
    /// The agent that answers from now on; `None` keeps the conversation's agent.
    pub agent: Option<String>,
    /// The node that runs the reply, and the duration of its lease.
    pub run: (Uuid, Duration),
}

/// The outcome of a [`NewExternalReply`].
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one value at a time, which is destructured at once"
)]
pub enum OpenedReply {
    /// The turn was stored.
    New(Conversation, Turn),
    /// The conversation already has a reply with this id, running or not.
    Known(Turn),
}

/// The turn of an external reply.
fn turn_of(reply: MessageId) -> MessageId {
    let digest = Sha256::new()
        .chain_update("titlecast external reply")
        .chain_update(reply.0)
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    MessageId(Builder::from_custom_bytes(bytes).into_uuid())
}

impl Database {
    /// Opens a reply. Idempotent by the reply's id.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the owner has no such conversation, or no such message in it; [`Error::InvalidInput`] if
    /// the conversation has no user message; [`Error::IdTaken`]; [`Error::Database`].
    pub async fn open_reply(&self, owner: &Owner, new: &NewExternalReply) -> Result<OpenedReply> {
        retry(MAX_RETRIES, is_retryable, |_| {
            self.transaction(move |tx| async move {
                let opened = self.open_reply_in(&tx, owner, new).await?;
                Ok((tx, opened))
            })
        })
        .await
    }

    async fn open_reply_in(
        &self,
        tx: &Transaction,
        owner: &Owner,
        new: &NewExternalReply,
    ) -> Result<OpenedReply> {
        const TAKEN: Error = Error::IdTaken {
            what: Cow::Borrowed("reply_id"),
        };
        let id = turn_of(new.reply_id);
        if let Some(row) = Entity::find_by_id(id).one(tx).await? {
            let is_same = row.tenant_id == owner.tenant
                && row.user_id == owner.user
                && row.conversation_id == new.conversation_id;
            return match is_same {
                true => Ok(OpenedReply::Known(row.try_into()?)),
                false => Err(TAKEN),
            };
        }
        let now = self.now();
        let mut update = change_of(owner, new.conversation_id, now);
        if let Some(agent) = &new.agent {
            update = update.col_expr(conversation::Column::ActiveAgent, Expr::val(agent));
        }
        let row = update.exec_with_returning(tx).await?.pop();
        let conversation: Conversation = row.ok_or_else(Error::no_conversation)?.try_into()?;
        if is_message(tx, new.reply_id).await? {
            return Err(TAKEN);
        }
        let message = match new.in_reply_to {
            Some(asked) => message::Entity::find_by_id(asked)
                .filter(message::Column::ConversationId.eq(conversation.id))
                .filter(message::Column::Role.eq(Role::User))
                .one(tx)
                .await?
                .ok_or(Error::NotFound { what: "message" })?,
            None => newest_message(tx, conversation.id).await?.ok_or_else(|| {
                Error::invalid("the conversation has no message of the user to reply to")
            })?,
        };
        let newest = newest_first(turns_of(owner))
            .filter(Column::ConversationId.eq(conversation.id))
            .filter(answers(message.id));
        // The newest turn of a message is the one with the latest time, even after the clock was set back.
        let at = match newest.one(tx).await? {
            Some(turn) => now.max(turn.created_at + TimeDelta::milliseconds(1)),
            None => now,
        };
        let row = NewTurnRow {
            id,
            conversation: conversation.id,
            reply: new.reply_id,
            in_reply_to: Some(message.id),
            source: Some(SOURCE),
            run: new.run,
            idempotency: None,
            at,
        };
        insert_turn(tx, owner, row).await?;
        let turn = Entity::find_by_id(id).one(tx).await?;
        let turn = turn.ok_or_else(Error::no_conversation)?;
        Ok(OpenedReply::New(conversation, turn.try_into()?))
    }

    /// The turn of an external reply of the conversation.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn find_external_turn(
        &self,
        owner: &Owner,
        conversation: ConversationId,
        reply: MessageId,
    ) -> Result<Option<Turn>> {
        let turn = turns_of(owner)
            .filter(Column::MessageId.eq(turn_of(reply)))
            .filter(Column::ConversationId.eq(conversation));
        one(turn, &self.reader).await
    }

    /// Stores a checkpoint of an external reply and renews its lease, if it still runs on this node and no client has
    /// requested a stop. Returns whether it did.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn checkpoint_external(
        &self,
        turn: MessageId,
        text: Option<&str>,
        parts: Option<&[Part]>,
        (node, lease): (Uuid, Duration),
    ) -> Result<bool> {
        let mut update = Entity::update_many()
            .col_expr(Column::RunLeaseUntil, Expr::val(self.now() + lease))
            .filter(Column::MessageId.eq(turn))
            .filter(Column::RunNode.eq(node))
            .filter(Column::StopAsked.eq(false))
            .filter(is_running());
        if let Some(text) = text {
            update = update.col_expr(Column::RunText, kept(Expr::val(text)));
        }
        if let Some(parts) = parts {
            update = update.col_expr(Column::RunParts, kept(Expr::val(part::encode(parts))));
        }
        let updated = update.exec(&self.writer).await?;
        Ok(updated.rows_affected > 0)
    }

    /// Takes a running external reply over from the node that ran it. `None` if it has ended, its lease has expired, or
    /// it is being stopped.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn take_over_external(
        &self,
        turn: MessageId,
        (node, lease): (Uuid, Duration),
    ) -> Result<Option<Turn>> {
        let now: DateTime<Utc> = self.now();
        let taken: Option<turn::Model> = Entity::update_many()
            .col_expr(Column::RunNode, Expr::val(node))
            .col_expr(Column::RunLeaseUntil, Expr::val(now + lease))
            .filter(Column::MessageId.eq(turn))
            .filter(Column::RunLeaseUntil.gt(now))
            .filter(Column::StopAsked.eq(false))
            .filter(is_running())
            .exec_with_returning(&self.writer)
            .await?
            .pop();
        taken.map(Turn::try_from).transpose()
    }
}

/// The id among these that belongs to a running reply, of any owner.
pub(in crate::db) async fn open_reply(
    tx: &Transaction,
    ids: impl Iterator<Item = MessageId>,
) -> Result<Option<MessageId>> {
    let open = Entity::find()
        .filter(Expr::cust(RUNNING))
        .filter(Column::ReplyId.is_in(ids));
    Ok(open.one(tx).await?.map(|turn| turn.reply_id))
}

/// Whether a message of any owner has this id.
async fn is_message(tx: &Transaction, id: MessageId) -> Result<bool> {
    let counted = message::Entity::find_by_id(id).one(tx).await?;
    Ok(counted.is_some() || version::Entity::find_by_id(id).one(tx).await?.is_some())
}
