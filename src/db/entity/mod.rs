//! The rows as SeaORM sees them. Private to `db`: the rest of the house speaks [`crate::conversation`].
#![expect(
    unreachable_pub,
    reason = "SeaORM's derives need `pub` items and make some"
)]

pub mod conversation;
pub mod cursor_key;
pub mod message;
pub mod reply_call;
pub mod title_call;
pub mod turn;

/// A name that a column holds, as the value that it stands for; `None` when a newer version of the program wrote a name
/// that this one does not know. Such a row is read with the nearest value that is known: one row must not fail a list
/// or stop a loop.
pub(super) fn known<T: std::str::FromStr>(name: &str) -> Option<T> {
    name.parse().ok()
}
