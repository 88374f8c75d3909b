//! The steps of a title between which a process can die or somebody else can come in. With the feature
//! `failpoints`, tests hold a title there, by the step's name or by that and the conversation's id;
//! without it nothing of this is left.

use crate::conversation::ConversationId;

/// A step that was taken.
#[derive(Clone, Copy, Debug, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case", prefix = "titles.")]
pub(super) enum Step {
    /// The claim is stored.
    Claimed,
    /// The model has answered, or nothing will come of it.
    Answered,
    /// The outcome is stored.
    Stored,
    /// It was told.
    Told,
}

#[cfg(feature = "failpoints")]
pub(super) fn step(step: Step, id: ConversationId) {
    use tokio::runtime::{Handle, RuntimeFlavor};
    let name: &str = step.into();
    let hold = || {
        fail::fail_point!(name);
        fail::fail_point!(&format!("{name} {id}"));
    };
    // What sleeps here shall keep nothing else of a real process from going on.
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(hold),
        _ => hold(),
    }
}

#[cfg(not(feature = "failpoints"))]
pub(super) fn step(_: Step, _: ConversationId) {}
