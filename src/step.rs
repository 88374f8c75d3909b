//! The durable steps of a turn and of a title, between which a process can die or somebody else can come in.
//! With the feature `failpoints`, tests hold whoever takes one, or let the process die there, by the step's
//! name or by that and the conversation's id; without it nothing of this is left.

use crate::conversation::ConversationId;

/// A step.
#[derive(Clone, Copy, Debug, strum::IntoStaticStr)]
pub(crate) enum Step {
    /// A message is about to be committed.
    #[strum(serialize = "turns.begin")]
    Begin,
    /// It is; its reply is begun nowhere but in its row.
    #[strum(serialize = "turns.begun")]
    Begun,
    /// The end of a reply is about to be committed.
    #[strum(serialize = "turns.end")]
    End,
    /// It is, and nobody was told.
    #[strum(serialize = "turns.ended")]
    Ended,
    /// The conversation's subscribers were told.
    #[strum(serialize = "turns.told")]
    Told,
    /// A title's claim is stored.
    #[strum(serialize = "titles.claimed")]
    TitleClaimed,
    /// The title model has answered, or nothing will come of it.
    #[strum(serialize = "titles.answered")]
    TitleAnswered,
    /// The title's outcome is stored.
    #[strum(serialize = "titles.stored")]
    TitleStored,
    /// It was told.
    #[strum(serialize = "titles.told")]
    TitleTold,
}

/// Takes a step.
#[cfg(feature = "failpoints")]
pub(crate) fn step(step: Step, id: ConversationId) {
    use tokio::runtime::{Handle, RuntimeFlavor};
    let name: &str = step.into();
    // As by `kill -9`: nothing is cleaned up. Set with `return`.
    fn die(_: Option<String>) {
        std::process::abort()
    }
    let hold = || {
        fail::fail_point!(name, die);
        fail::fail_point!(&format!("{name} {id}"), die);
    };
    // What sleeps here shall keep nothing else of a real process from going on.
    #[expect(clippy::disallowed_methods, reason = "tests alone are held here")]
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(hold),
        _ => hold(),
    }
}

/// Takes a step.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn step(_: Step, _: ConversationId) {}
