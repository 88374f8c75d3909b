//! Mutations for external replies, which another program writes: inputs, payloads and resolvers.

use async_graphql::{Context, ID, InputObject, SimpleObject};

use super::{
    errors::{About, Result},
    objects::MessageOutcome,
    parts as schema,
    query::{owner_to_change, rate_limit_key, reach_for_change},
};
use crate::{
    api::{
        limits::reply_permit,
        rest::{conversation_id, message_id},
    },
    auth::Scope,
    chat::{
        external::{Append, FinishReply, OpenReply, ReplyProgress},
        upload::parts,
    },
    conversation::{PartContent, ToolState, Usage, text::without_nul},
    error::Error,
};

/// A reply to open.
#[derive(InputObject)]
pub(super) struct OpenReplyInput {
    /// The conversation.
    conversation_id: ID,
    /// The id of the reply, a UUID; generated if omitted. Repeating the request with the same id opens no second reply.
    reply_id: Option<ID>,
    /// The message of the user that it answers; the newest one if omitted.
    in_reply_to: Option<ID>,
    /// The agent that answers from now on; the conversation keeps its agent if omitted.
    agent: Option<String>,
}

/// Text and parts to append to an open reply.
#[derive(InputObject)]
pub(super) struct AppendReplyInput {
    /// The conversation.
    conversation_id: ID,
    /// The reply.
    reply_id: ID,
    /// The number of bytes (UTF-8) of the reply's text before this text.
    offset: u32,
    /// The text. Without text and parts the lease is renewed.
    #[graphql(default)]
    text: String,
    /// Parts after the text, at most 256.
    #[graphql(default)]
    parts: Vec<ReplyPartInput>,
}

/// A part of a reply: exactly one of the fields.
#[derive(InputObject)]
struct ReplyPartInput {
    /// More reasoning.
    reasoning: Option<String>,
    /// A tool call, or its next state.
    tool: Option<ReplyToolInput>,
    /// Data of the program.
    data: Option<ReplyDataInput>,
}

/// A tool call. One with the id of an earlier call replaces it, and keeps what it omits.
#[derive(InputObject)]
struct ReplyToolInput {
    /// The id of the call: 1 to 255 characters.
    call_id: String,
    /// The name of the tool.
    #[graphql(default)]
    name: String,
    /// The arguments: JSON.
    #[graphql(default)]
    arguments: String,
    /// The result: JSON.
    result: Option<String>,
    /// The state; by default `COMPLETED` with a result, else `CALLED`.
    state: Option<schema::ToolState>,
}

/// Data of the program that writes the reply.
#[derive(InputObject)]
struct ReplyDataInput {
    /// The id that the program chooses: later data of the same name and id replaces this. At most 255 characters.
    data_id: Option<String>,
    /// The name: 1 to 255 characters.
    name: String,
    /// JSON.
    json: String,
}

/// How an open reply ends.
#[derive(InputObject)]
pub(super) struct FinishReplyInput {
    /// The conversation.
    conversation_id: ID,
    /// The reply.
    reply_id: ID,
    /// How it ended.
    #[graphql(default_with = "MessageOutcome::Completed")]
    outcome: MessageOutcome,
    /// The tokens that it used.
    usage: Option<ReplyUsageInput>,
    /// The model that wrote it.
    model: Option<String>,
}

/// Tokens of a reply.
#[derive(InputObject)]
struct ReplyUsageInput {
    /// Tokens of the input.
    prompt_tokens: u32,
    /// Tokens of the output, reasoning included.
    completion_tokens: u32,
    /// The part of `completionTokens` that was reasoning.
    #[graphql(default)]
    reasoning_tokens: u32,
}

/// The stored progress of a reply that another program writes.
#[derive(SimpleObject)]
pub(super) struct ReplyProgressPayload {
    /// The id of the reply's message.
    reply_id: ID,
    /// The number of bytes of its text that are stored: the offset of the next append.
    offset: u64,
    /// How it ended; null while it runs.
    outcome: Option<MessageOutcome>,
    /// The seconds until another append must renew the lease; 0 if the reply has ended.
    lease_seconds: u64,
}

impl From<ReplyProgress> for ReplyProgressPayload {
    fn from(progress: ReplyProgress) -> Self {
        Self {
            reply_id: progress.reply_id.to_string().into(),
            offset: progress.offset as u64,
            outcome: progress.outcome.map(Into::into),
            lease_seconds: progress.lease.as_secs_f64().ceil() as u64,
        }
    }
}

pub(super) async fn open_reply(
    ctx: &Context<'_>,
    input: OpenReplyInput,
) -> Result<ReplyProgressPayload> {
    let (services, reach) = reach_for_change(ctx, Scope::Ingest)?;
    let id = |id: Option<ID>| id.as_deref().map(|id| message_id(id)).transpose();
    let open = OpenReply {
        conversation_id: conversation_id(&input.conversation_id).about("conversationId")?,
        reply_id: id(input.reply_id).about("replyId")?,
        in_reply_to: id(input.in_reply_to).about("inReplyTo")?,
        agent: input.agent,
    };
    let owner = owner_to_change(services, reach, open.conversation_id).await?;
    let permit = reply_permit(services, rate_limit_key(ctx));
    let (progress, _) = services.chat.open_reply(&owner, open, permit).await?;
    Ok(progress.into())
}

pub(super) async fn append_reply(
    ctx: &Context<'_>,
    input: AppendReplyInput,
) -> Result<ReplyProgressPayload> {
    let (services, reach) = reach_for_change(ctx, Scope::Ingest)?;
    let reply = (
        conversation_id(&input.conversation_id).about("conversationId")?,
        message_id(&input.reply_id).about("replyId")?,
    );
    let parts = input.parts.into_iter().map(part);
    let append = Append {
        offset: input.offset as usize,
        text: without_nul(input.text),
        parts: parts.collect::<Result<_, _>>().about("parts")?,
    };
    parts::check_count(append.parts.len()).about("parts")?;
    let owner = owner_to_change(services, reach, reply.0).await?;
    let permit = reply_permit(services, rate_limit_key(ctx));
    let progress = services
        .chat
        .append_reply(&owner, reply, append, permit)
        .await?;
    Ok(progress.into())
}

fn part(input: ReplyPartInput) -> Result<PartContent, Error> {
    match (input.reasoning, input.tool, input.data) {
        (Some(text), None, None) => Ok(PartContent::Reasoning {
            text: without_nul(text),
        }),
        (None, Some(tool), None) => Ok(PartContent::Tool {
            id: parts::checked_name("callId", &tool.call_id, true)?,
            name: parts::checked_name("name", &tool.name, false)?,
            arguments: tool.arguments,
            state: match tool.state {
                Some(state) => state.into(),
                None if tool.result.is_some() => ToolState::Completed,
                None => ToolState::Called,
            },
            result: tool
                .result
                .map(|result| checked_json("result", result))
                .transpose()?,
        }),
        (None, None, Some(data)) => Ok(PartContent::Data {
            id: data
                .data_id
                .map(|id| parts::checked_name("dataId", &id, true))
                .transpose()?,
            name: parts::checked_name("name", &data.name, true)?,
            json: checked_json("json", data.json)?,
        }),
        _ => Err(Error::invalid(
            "a part must have exactly one of reasoning, tool and data",
        )),
    }
}

/// Validates JSON that readers will parse. The arguments of a call, in contrast, are stored as the model wrote them.
fn checked_json(field: &str, json: String) -> Result<String, Error> {
    match serde_json::from_str::<serde::de::IgnoredAny>(&json) {
        Ok(_) => Ok(json),
        Err(_) => Err(Error::invalid(format!("{field} must be JSON"))),
    }
}

pub(super) async fn finish_reply(
    ctx: &Context<'_>,
    input: FinishReplyInput,
) -> Result<ReplyProgressPayload> {
    let (services, reach) = reach_for_change(ctx, Scope::Ingest)?;
    let reply = (
        conversation_id(&input.conversation_id).about("conversationId")?,
        message_id(&input.reply_id).about("replyId")?,
    );
    let model = input.model.filter(|model| !model.is_empty());
    let finish = FinishReply {
        outcome: input.outcome.into(),
        usage: input.usage.map(|usage| Usage {
            prompt_tokens: u64::from(usage.prompt_tokens).min(Usage::MAX_TOKENS),
            completion_tokens: u64::from(usage.completion_tokens).min(Usage::MAX_TOKENS),
            reasoning_tokens: u64::from(usage.reasoning_tokens).min(Usage::MAX_TOKENS),
        }),
        model: model
            .map(|model| parts::checked_name("model", &model, false))
            .transpose()
            .about("model")?,
    };
    let owner = owner_to_change(services, reach, reply.0).await?;
    let permit = reply_permit(services, rate_limit_key(ctx));
    let progress = services
        .chat
        .finish_reply(&owner, reply, finish, permit)
        .await?;
    Ok(progress.into())
}
