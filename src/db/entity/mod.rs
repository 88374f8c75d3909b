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

use crate::error::{Error, Result};

/// A name that a column holds, as the value that it stands for.
///
/// # Errors
/// [`Error::Internal`] when a newer version of the program wrote a name that this one does not know.
pub(super) fn parse<T: std::str::FromStr>(column: &'static str, name: &str) -> Result<T> {
    name.parse()
        .map_err(|_| Error::Internal(format!("column {column} holds an unknown name").into()))
}
