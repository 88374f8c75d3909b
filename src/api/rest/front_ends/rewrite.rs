//! Another reply, or another text of a message, in place of the newest reply.

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

/// How long a reply that is stopped for another one may take to end, on any node, and the interval of the checks.
const STOP_TIME: Duration = Duration::from_secs(5);
const STOP_POLL: Duration = Duration::from_millis(20);

/// What a request changes.
pub(super) enum Target {
    /// Another reply, to a message or in place of a reply, with an idempotency key.
    Again(MessageId, Option<String>),
    /// Another text of a message.
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

/// Stops the newest reply, and waits for its end. `useChat` itself only stops reading, and has already removed the
/// reply from the page when it requests another one.
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
    // If the reply is still running, the next step reports it.
    timeout(STOP_TIME, ended).await.unwrap_or(Ok(()))
}
