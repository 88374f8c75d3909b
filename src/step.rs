//! Failpoints around the durable steps of a turn, a title and a webhook: the places where a crash or a race matters.
//!
//! With the feature `failpoints`, a test pauses the task or aborts the process at a step. It selects the step by name,
//! or by name and conversation id. Without the feature, a step compiles to nothing.

use crate::conversation::ConversationId;

/// A durable step.
#[derive(Clone, Copy, Debug, strum::IntoStaticStr)]
pub(crate) enum Step {
    /// Before the commit of a message.
    #[strum(serialize = "turns.begin")]
    TurnCommitting,
    /// After the commit of a message, before its reply is started.
    #[strum(serialize = "turns.begun")]
    TurnCommitted,
    /// Before the commit of a finished reply.
    #[strum(serialize = "turns.end")]
    ReplyCommitting,
    /// After the commit of a finished reply, before it is published.
    #[strum(serialize = "turns.ended")]
    ReplyCommitted,
    /// After a finished reply was published to the conversation's subscribers.
    #[strum(serialize = "turns.published")]
    ReplyPublished,
    /// After a title claim was stored.
    #[strum(serialize = "titles.claimed")]
    TitleClaimed,
    /// After the title model answered or failed, before the outcome is stored.
    #[strum(serialize = "titles.answered")]
    TitleAnswered,
    /// After the title's outcome was stored, before it is published.
    #[strum(serialize = "titles.stored")]
    TitleStored,
    /// After the title's outcome was published.
    #[strum(serialize = "titles.published")]
    TitlePublished,
    /// Before an event of a webhook is sent.
    #[strum(serialize = "webhooks.sending")]
    WebhookSending,
    /// After the receiver of a webhook answered or failed, before the outcome is stored.
    #[strum(serialize = "webhooks.sent")]
    WebhookSent,
}

/// Evaluates the failpoints of a step.
#[cfg(feature = "failpoints")]
pub(crate) fn step(step: Step, id: ConversationId) {
    use tokio::runtime::{Handle, RuntimeFlavor};
    let name: &str = step.into();
    // Aborts without cleanup, like `kill -9`. A test sets it with `return`.
    fn die(_: Option<String>) {
        std::process::abort()
    }
    let hold = || {
        fail::fail_point!(name, die);
        fail::fail_point!(&format!("{name} {id}"), die);
    };
    // A failpoint blocks its thread; `block_in_place` lets the worker's other tasks continue.
    #[expect(clippy::disallowed_methods, reason = "only tests block here")]
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(hold),
        _ => hold(),
    }
}

/// Does nothing without the feature `failpoints`.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn step(_: Step, _: ConversationId) {}
