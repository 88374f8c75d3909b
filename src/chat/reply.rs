//! The task of a reply that a model writes: from the model's stream to the stored row.

use std::sync::Arc;

use tracing::Instrument;

use super::{Chat, model, writer::ReplyWriter};
use crate::{
    agents::{Agent, Source},
    conversation::{Message, Owner},
    db::Turn,
    events::{RunGuard, run::Outcome},
    llm::Finish,
    telemetry::SPANS,
};

/// The end reason of a reply that an external program writes.
pub(super) const EXTERNAL: &str = "external_agent";

/// The message to answer, and the agent that answers it.
pub(super) struct Asked {
    /// The message.
    pub(super) message: Message,
    /// The agent. It stays the same if the configuration is reloaded during the reply.
    pub(super) agent: Arc<Agent>,
    /// The agent's name in the conversation. Without configured agents it may be any name.
    pub(super) agent_name: String,
}

/// Writes the reply to the message, stores it and ends its run. The span is a child of the caller's span, because it is
/// made when this function is called, not when the future is polled.
pub(super) fn run(
    chat: Chat,
    owner: Owner,
    turn: Turn,
    asked: Asked,
    run: RunGuard,
) -> impl Future<Output = ()> + Send + 'static {
    let id = turn.conversation_id;
    let span = tracing::info_span!(target: SPANS, "turn", conversation.id = %id);
    let keep_reasoning = asked.agent.keep_reasoning;
    let writer = ReplyWriter::new(chat.clone(), owner, turn, run, keep_reasoning);
    write_and_store(chat, asked, writer).instrument(span)
}

async fn write_and_store(chat: Chat, asked: Asked, mut writer: ReplyWriter) {
    let chain = match &asked.agent.source {
        Source::Models(chain) => chain.clone(),
        // A program writes the reply; no model is asked.
        Source::External => {
            writer.without_message();
            let _ = writer.finish(Outcome::Incomplete, Some(EXTERNAL)).await;
            return;
        }
    };
    writer.set_agent(&asked.agent_name);
    let mut reason = None;
    // The writer outlives the write, so a stopped, aborted or late reply keeps its partial text.
    let outcome = tokio::select! {
        biased;
        cut = writer.cut_off() => cut,
        result = model::write(&chat, asked, &chain, &mut writer) => match result {
            Ok(Finish::Stop) => Outcome::Completed,
            Ok(finish) => {
                reason = Some(finish.into());
                Outcome::Incomplete
            }
            Err(error) => Outcome::Failed(error),
        },
    };
    // `finish` has already logged any error and delivered it to readers.
    let _ = writer.finish(outcome, reason).await;
}
