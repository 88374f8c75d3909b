//! Asks the model for a reply, and copies its stream into the reply's writer.

use std::{collections::HashMap, time::Duration};

use futures_util::StreamExt;
use tokio::time::sleep;

use super::{
    Chat, Inner,
    patience::{READ_DEADLINE, patiently},
    reply::Asked,
    writer::ReplyWriter,
};
use crate::{
    budget::{Spender, midnight, until_midnight},
    conversation::{Message, PartContent, Role, ToolState},
    error::{Error, Result},
    llm::{
        CallIdentity, Chain, ChatMessage, Finish, ModelError, ModelErrorKind, Next, ReplyChunk,
        ReplyModel, ReplyRequest, ReplyStream, Speaker, Task,
    },
};

/// The longest `retry-after` that is honoured.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(10);

/// Reads the history up to the message, asks the model, and writes its answer.
pub(super) async fn write(
    chat: &Chat,
    asked_for: Asked,
    chain: &Chain,
    writer: &mut ReplyWriter,
) -> Result<Finish> {
    let Asked {
        message,
        agent,
        agent_name,
    } = asked_for;
    let (id, asked) = (message.conversation_id, message.id);
    let author = message.author.clone();
    let history = match message.is_first() {
        // No earlier messages to read.
        true => vec![message],
        false => {
            let budget = agent.history_budget_chars;
            let (db, owner) = (&chat.inner.db, writer.owner());
            let read = || db.history(owner, id, message.position, budget);
            patiently(READ_DEADLINE, read).await?
        }
    };
    let history = prompt_history(history).into();
    let request = ReplyRequest {
        instructions: agent.instructions.clone(),
        parameters: agent.parameters.clone(),
        history,
        caller: CallIdentity {
            tenant: writer.owner().tenant.clone(),
            user: author.unwrap_or_else(|| writer.owner().user.clone()),
            conversation: id.to_string(),
            message: asked.to_string(),
            agent: agent_name,
            task: Task::Reply,
        },
    };
    let budget = || check_budget(chat, &request.caller, agent.budget);
    patiently(READ_DEADLINE, budget).await?;
    let mut walk = chain.walk(Task::Reply);
    // The failure that the client receives: the last transient one, else the first. An entry that refuses permanently is
    // asked last, and its refusal says less than the failures before it.
    let mut told: Option<(String, ModelError)> = None;
    let mut was_empty = false;
    while let Some(model) = walk.entry().cloned() {
        let name = model.name().to_string();
        writer.set_model(&name);
        let mut is_visible = false;
        let failed = match model.reply(request.clone()).await {
            Ok(stream) => match copy(stream, writer, &mut is_visible).await {
                Ok(finish) => {
                    walk.answered();
                    return Ok(finish);
                }
                Err(error) => error,
            },
            Err(error) => error,
        };
        // A reader may have received part of the answer, and a second answer would not continue it.
        if is_visible {
            walk.answered();
            return Err(client_error(failed));
        }
        let next = walk.failed(&failed, MAX_RETRY_DELAY);
        tracing::debug!(conversation.id = %id, model = %name, error = %failed, ?next, "reply call failed");
        was_empty |= failed.kind == ModelErrorKind::Empty;
        if told.is_none() || !failed.kind.is_final() {
            told = Some((name, failed));
        }
        match next {
            Next::Retry(pause) => sleep(pause).await,
            Next::Entry => {}
            Next::Over => break,
        }
    }
    if let Some((name, _)) = &told {
        writer.set_model(name);
    }
    match told {
        // A model did answer, but without text.
        _ if was_empty => Ok(Finish::NoText),
        Some((_, failed)) => Err(client_error(failed)),
        None => Err(client_error(ModelError::new(ModelErrorKind::Unavailable))),
    }
}

/// Checks that the tenant has tokens left today (UTC), in total and for this agent, whose own limit is `of_agent`.
///
/// # Errors
/// [`Error::BudgetExceeded`].
async fn check_budget(chat: &Chat, caller: &CallIdentity, of_agent: Option<u64>) -> Result<()> {
    let Inner {
        db,
        budget,
        settings,
        ..
    } = &*chat.inner;
    let tenant = caller.tenant.as_str();
    let now = db.clock().now();
    let since = midnight(now);
    let limits = [
        (None, *settings.budget.of(tenant)),
        (Some(caller.agent.as_str()), of_agent),
    ];
    for (agent, limit) in limits {
        let Some(limit) = limit else { continue };
        let query = db.reply_tokens(tenant, agent, since);
        let spender = Spender::new(tenant, agent);
        if budget.is_used_up(spender, limit, since, query).await {
            return Err(Error::BudgetExceeded {
                retry_after: until_midnight(now),
            });
        }
    }
    Ok(())
}

/// The history as the model sees it. Some models reject blank texts, a history that begins with an assistant message,
/// and consecutive messages by the same author (as after a failed reply). So blank messages are left out, and
/// consecutive ones are joined.
fn prompt_history(messages: Vec<Message>) -> Vec<ChatMessage> {
    let mut history: Vec<ChatMessage> = Vec::new();
    for message in in_turns(messages) {
        let speaker = match message.role {
            Role::User => Speaker::User,
            Role::Assistant => Speaker::Assistant,
        };
        let text = prompt_text(message);
        match history.last_mut() {
            _ if text.trim().is_empty() => {}
            Some(last) if last.speaker == speaker => {
                last.text.push_str("\n\n");
                last.text.push_str(&text);
            }
            None if speaker == Speaker::Assistant => {}
            _ => history.push(ChatMessage { speaker, text }),
        }
    }
    history
}

/// Moves each reply directly after the message that it answers. A reply is stored at the position where it ended, which
/// may be after later messages.
fn in_turns(messages: Vec<Message>) -> Vec<Message> {
    let mut places = HashMap::new();
    let mut placed: Vec<(usize, Message)> = Vec::with_capacity(messages.len());
    for (place, message) in messages.into_iter().enumerate() {
        let answered = message.in_reply_to.and_then(|id| places.get(&id).copied());
        let place = answered.unwrap_or(place);
        places.insert(message.id, place);
        placed.push((place, message));
    }
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, message)| message).collect()
}

/// A message as the model sees it: the text, and the names of the attachments.
fn prompt_text(message: Message) -> String {
    let mut text = message.content;
    for file in &message.attachments {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("[attached: {}]", file.name));
    }
    text
}

/// Copies one model stream into the writer.
///
/// Sets `is_visible` at the first chunk that a reader may have seen.
async fn copy(
    mut stream: ReplyStream,
    writer: &mut ReplyWriter,
    is_visible: &mut bool,
) -> Result<Finish, ModelError> {
    // The usage of earlier calls that failed.
    let before = writer.usage().unwrap_or_default();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        *is_visible |= chunk.is_content();
        match chunk {
            ReplyChunk::Started { response_id, .. } => writer.set_response_id(response_id),
            ReplyChunk::Usage(usage) => writer.set_usage(before.plus(usage)),
            ReplyChunk::Delta(delta) => writer.append(&delta),
            ReplyChunk::Reasoning(text) => writer.append_reasoning(&text),
            ReplyChunk::Tool(call) => writer.add_part(PartContent::Tool {
                id: call.id,
                name: call.name,
                arguments: call.arguments,
                result: None,
                state: ToolState::Called,
            }),
            ReplyChunk::Finished(finish) => return Ok(finish),
        }
    }
    Err(ModelError::new(ModelErrorKind::Interrupted))
}

/// The client-facing error for a failed model call.
fn client_error(error: ModelError) -> Error {
    match error.kind {
        ModelErrorKind::RateLimited => Error::ModelRateLimited(Box::new(error)),
        ModelErrorKind::TooLong => Error::ContextTooLong(Box::new(error)),
        ModelErrorKind::Unauthorized
        | ModelErrorKind::NotFound
        | ModelErrorKind::NoEndpoint
        | ModelErrorKind::QuotaExceeded
        | ModelErrorKind::InvalidRequest => Error::ModelMisconfigured(Box::new(error)),
        ModelErrorKind::Timeout
        | ModelErrorKind::Connection
        | ModelErrorKind::Unavailable
        | ModelErrorKind::Malformed
        | ModelErrorKind::Interrupted
        | ModelErrorKind::Empty => Error::ModelUnavailable(Box::new(error)),
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::conversation::{ConversationId, MessageId, MessageStatus};

    fn message(position: i64, content: &str, answered: Option<&Message>) -> Message {
        Message {
            id: MessageId::new(),
            external_id: None,
            conversation_id: ConversationId::new(),
            position,
            role: match answered {
                Some(_) => Role::Assistant,
                None => Role::User,
            },
            content: content.into(),
            attachments: Vec::new(),
            status: MessageStatus::Complete,
            created_at: DateTime::UNIX_EPOCH,
            is_counted: true,
            in_reply_to: answered.map(|answered| answered.id),
            outcome: None,
            failure: None,
            model: None,
            author: None,
        }
    }

    #[test]
    fn a_reply_that_ended_late_stands_behind_its_message() {
        let first = message(1, "first", None);
        let second = message(2, "second", None);
        let answer = message(3, "to the second", Some(&second));
        let late = message(4, "to the first", Some(&first));
        let third = message(5, "third", None);
        let history = prompt_history(vec![first, second, answer, late, third]);
        let texts: Vec<&str> = history.iter().map(|said| said.text.as_str()).collect();
        assert_eq!(
            texts,
            ["first", "to the first", "second", "to the second", "third"]
        );
    }
}
