//! Regenerates the reply to a user's newest message, which may be edited first.

use serde_json::json;
use tracing::Instrument;

use super::{
    Chat, SentMessage,
    request::{actor_key, check_key, checked_text, hash},
};
use crate::{
    agents::Source,
    conversation::{Actor, Attachment, MessageId},
    db::{Edit, Rewrite},
    error::{Error, Result},
    events::ReplyIds,
};

/// A request to regenerate the newest reply.
#[derive(Clone, Debug)]
pub struct RegenerateReply {
    /// The reply, or the message that it answers.
    pub message_id: MessageId,
    /// A retry with the same key and the same request returns the same turn.
    pub idempotency_key: Option<String>,
}

/// A request to replace the text of the user's newest message and regenerate its reply.
#[derive(Clone, Debug)]
pub struct EditMessage {
    /// The message.
    pub message_id: MessageId,
    /// The new text; may be empty if there are attachments.
    pub text: String,
    /// The new attachments; `None` keeps the old ones.
    pub attachments: Option<Vec<Attachment>>,
    /// A retry with the same key and the same request returns the same turn.
    pub idempotency_key: Option<String>,
}

/// The text and the attachments that replace those of a message; `None` keeps its attachments.
struct NewText {
    text: String,
    attachments: Option<Vec<Attachment>>,
}

impl Chat {
    /// Regenerates the newest reply. The former reply becomes a version of the new one.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the owner has no such message; [`Error::NotNewest`]; [`Error::ReplyRunning`];
    /// [`Error::InvalidInput`] if a field is invalid or the conversation's agent is external;
    /// [`Error::IdempotencyKeyReused`]; [`Error::ShuttingDown`]; [`Error::Database`].
    pub async fn regenerate_reply(
        &self,
        actor: &Actor,
        request: RegenerateReply,
    ) -> Result<SentMessage> {
        let RegenerateReply {
            message_id,
            idempotency_key,
        } = request;
        self.rewrite(actor, message_id, None, idempotency_key).await
    }

    /// Replaces the text of the user's newest message, and regenerates its reply. The former text and the former reply
    /// become versions.
    ///
    /// # Errors
    /// As [`Self::regenerate_reply`].
    pub async fn edit_message(&self, actor: &Actor, request: EditMessage) -> Result<SentMessage> {
        let text = NewText {
            text: request.text,
            attachments: request.attachments,
        };
        let key = request.idempotency_key;
        self.rewrite(actor, request.message_id, Some(text), key)
            .await
    }

    async fn rewrite(
        &self,
        actor: &Actor,
        target: MessageId,
        text: Option<NewText>,
        key: Option<String>,
    ) -> Result<SentMessage> {
        let (chat, actor) = (self.clone(), actor.clone());
        // A separate task, so that a disconnect does not cancel the transaction.
        let begin = async move { chat.begin_again(&actor, target, text, key).await };
        match self.inner.tasks.spawn(begin.in_current_span()).await {
            Ok(sent) => sent,
            Err(died) => Err(Error::Internal(died.into())),
        }
    }

    async fn begin_again(
        &self,
        actor: &Actor,
        target: MessageId,
        text: Option<NewText>,
        key: Option<String>,
    ) -> Result<SentMessage> {
        let (inner, owner) = (&self.inner, &actor.owner);
        if inner.abort.is_cancelled() {
            return Err(Error::ShuttingDown);
        }
        if let Some(key) = &key {
            check_key(key)?;
        }
        let message = inner.db.find_message(owner, target).await?;
        let conversation = match &message {
            Some(message) => message.conversation_id,
            // A running reply has no message row yet.
            None => match inner.db.find_turn_of(owner, target).await? {
                Some(turn) => turn.conversation_id,
                None => return Err(Error::NotFound { what: "message" }),
            },
        };
        let row = inner.db.conversation(owner, conversation).await?;
        let agents = self.agents();
        let agent = agents.answering(&owner.tenant, &row.active_agent);
        if matches!(agent.source, Source::External) {
            return Err(Error::invalid_field(
                "message_id",
                "this conversation's replies are written by the agent's own program, which cannot be asked to write one again; \
                 send a new message instead",
            ));
        }
        let (edit, asked) = match text {
            None => (None, vec![json!("regenerate"), json!(target.to_string())]),
            Some(NewText { text, attachments }) => {
                let kept = message.map(|message| message.attachments);
                let used = attachments.clone().or(kept);
                let used = used.ok_or(Error::NotFound { what: "message" })?;
                let text = checked_text(text, &used)?;
                let asked = vec![
                    json!("edit"),
                    json!(target.to_string()),
                    json!(text),
                    json!(attachments),
                ];
                let agent = (owner.tenant.as_str(), row.active_agent.as_str());
                let title = inner.titles.plan(agent, &text, &used, true);
                let edit = Edit {
                    text,
                    attachments: used,
                    author: actor.author.clone(),
                    title,
                };
                (Some(edit), asked)
            }
        };
        let text = edit.as_ref().map(|edit| edit.text.clone());
        let new = Rewrite {
            conversation_id: conversation,
            target,
            edit,
            redacts: inner.titles.redacts_with(&owner.tenant, &row.active_agent),
            turn_id: MessageId::new(),
            reply_id: MessageId::new(),
            run: (inner.events.node(), inner.settings.reply_lease),
            idempotency: key.map(|key| (actor_key(actor, &key).into_owned(), hash(asked))),
        };
        let ids = ReplyIds {
            owner: owner.clone(),
            conversation,
            turn: new.turn_id,
            reply: new.reply_id,
        };
        let rewriting = inner.db.rewrite(owner, &new);
        self.start(ids, text.unwrap_or_default(), rewriting).await
    }
}
