//! SeaORM entities. Private to `db`: other modules use the types of [`crate::conversation`].
#![expect(
    unreachable_pub,
    reason = "SeaORM's derives need `pub` items and make some"
)]

pub mod conversation;
pub mod message;
pub mod reply_call;
pub mod title_call;
pub mod turn;

/// Parses the stored name of an enum value; `None` for a name of a newer version.
///
/// The caller then uses the nearest known value, so that one row does not fail a list or stop a loop.
pub(super) fn known<T: std::str::FromStr>(name: &str) -> Option<T> {
    name.parse().ok()
}
