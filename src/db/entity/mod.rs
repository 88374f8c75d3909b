//! SeaORM entities. Private to `db`: other modules use the types of [`crate::conversation`].
//!
//! The serde names are those of an export's lines. Skipped fields are derived by the import, or are the state of a job.
#![expect(
    unreachable_pub,
    reason = "SeaORM's derives need `pub` items and make some"
)]

pub mod audit;
pub mod conversation;
pub mod json;
pub mod message;
pub mod reply_call;
pub mod reply_part;
pub mod title_call;
pub mod turn;
pub mod version;

use sea_orm::{DbErr, TryFromU64, Value};

use crate::conversation::{
    ConversationId, ConversationStatus, MessageId, MessageStatus, ReplyOutcome, Role, TitleFailure,
    TitleFrom, TitleSource, TitleStatus,
};

/// The database generates no ids, so none is read from the number of an inserted row.
macro_rules! id {
    ($($name:ident),*) => {$(
        impl TryFromU64 for $name {
            fn try_from_u64(_: u64) -> Result<Self, DbErr> {
                Err(DbErr::ConvertFromU64(stringify!($name)))
            }
        }
    )*};
}

id!(ConversationId, MessageId);

/// Lets statements take an enum as its stored name.
macro_rules! stored_name {
    ($($name:ident),*) => {$(
        impl From<$name> for Value {
            fn from(value: $name) -> Self {
                <&str>::from(value).into()
            }
        }
    )*};
}

stored_name!(
    ConversationStatus,
    MessageStatus,
    ReplyOutcome,
    Role,
    TitleFailure,
    TitleFrom,
    TitleSource,
    TitleStatus
);

/// Parses the stored name of an enum value; `None` for a name of a newer version.
///
/// The caller then uses the nearest known value, so that one row does not fail a list or stop a loop. For that, the
/// columns are strings: SeaORM's derives for enums would fail the row.
pub(super) fn known<T: std::str::FromStr>(name: &str) -> Option<T> {
    name.parse().ok()
}
