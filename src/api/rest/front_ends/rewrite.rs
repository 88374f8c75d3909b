//! Replaces the newest reply: regenerates it, or edits the message it answers.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::body::PersonMessage;
use crate::{
    api::Services,
    chat::{EditMessage, RegenerateReply, SentMessage},
    conversation::{Actor, ConversationId, MessageId, Owner},
    db::ReplyState,
    error::{Error, Result},
};

/// How long a reply being replaced may take to stop, on any node, and how often that is checked.
const STOP_TIME: Duration = Duration::from_secs(5);
const STOP_POLL: Duration = Duration::from_millis(20);

/// The change that a request makes.
pub(super) enum Target {
    /// Regenerate: the message to answer again or the reply to replace, and an idempotency key.
    Again(MessageId, Option<String>),
    /// Edit: the message that gets another text.
    Edit(MessageId),
}

/// Regenerates the newest reply. A running reply is stopped first.
pub(super) async fn rewrite(
    services: &Services,
    actor: &Actor,
    conversation: ConversationId,
    target: &Target,
    person: &PersonMessage,
) -> Result<SentMessage> {
    match try_rewrite(services, actor, target, person).await {
        Err(Error::ReplyRunning { .. }) => {
            stop_newest(services, &actor.owner, conversation).await?;
            try_rewrite(services, actor, target, person).await
        }
        sent => sent,
    }
}

async fn try_rewrite(
    services: &Services,
    actor: &Actor,
    target: &Target,
    person: &PersonMessage,
) -> Result<SentMessage> {
    match target {
        Target::Again(message_id, key) => {
            let request = RegenerateReply {
                message_id: *message_id,
                idempotency_key: key.clone(),
            };
            services.chat.regenerate_reply(actor, request).await
        }
        Target::Edit(message_id) => {
            let request = EditMessage {
                message_id: *message_id,
                text: person.text.clone(),
                attachments: Some(person.attachments.clone()),
                idempotency_key: None,
            };
            services.chat.edit_message(actor, request).await
        }
    }
}

/// Stops the newest reply and waits until it has ended. `useChat` itself only stops reading, and has already removed
/// the reply from the page when it requests another one.
async fn stop_newest(
    services: &Services,
    owner: &Owner,
    conversation: ConversationId,
) -> Result<()> {
    let running = async || {
        let turn = services.db.find_last_turn(owner, conversation).await?;
        Ok::<_, Error>(turn.filter(|turn| turn.reply == ReplyState::Running))
    };
    let Some(turn) = running().await? else {
        return Ok(());
    };
    services.chat.stop_reply(owner, turn.reply_id).await?;
    let ended = async {
        while running().await?.is_some() {
            sleep(STOP_POLL).await;
        }
        Ok(())
    };
    // If the reply is still running after that, the next step reports it.
    timeout(STOP_TIME, ended).await.unwrap_or(Ok(()))
}
