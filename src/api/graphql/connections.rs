//! Relay connections and the validation of their arguments.

use async_graphql::{
    ObjectType, OutputType,
    connection::{CursorType, Edge, EmptyFields},
};

use super::errors::{About, GraphqlError};
use crate::{
    db::{
        MessageRange, Page,
        cursor::{Cursor, MessageCursor},
    },
    error::{Error, Result},
};

/// The largest page size.
const MAX_PAGE: i32 = 100;

/// A Relay connection whose cursors are encoded lazily.
pub(super) type Connection<C, N, F = EmptyFields> =
    async_graphql::connection::Connection<LazyCursor<C>, N, F, EmptyFields>;

/// An item's cursor, encoded lazily because most queries select no item cursors.
pub(super) struct LazyCursor<C>(C);

impl<C: Cursor> CursorType for LazyCursor<C> {
    type Error = &'static str;

    /// Unused, because [`cursor`] decodes arguments.
    fn decode_cursor(_text: &str) -> std::result::Result<Self, Self::Error> {
        Err("the cursor of an item is written only")
    }

    fn encode_cursor(&self) -> String {
        self.0.encode()
    }
}

/// Turns a page into a connection.
pub(super) fn connection<T, C, N>(
    page: Page<T>,
    position: impl Fn(&T) -> C,
    node: impl Fn(T) -> N,
) -> Connection<C, N>
where
    C: Cursor + Send + Sync,
    N: OutputType + ObjectType,
{
    connection_with(page, position, node, EmptyFields)
}

/// Turns a page into a connection with additional fields.
pub(super) fn connection_with<T, C, N, F>(
    page: Page<T>,
    position: impl Fn(&T) -> C,
    node: impl Fn(T) -> N,
    fields: F,
) -> Connection<C, N, F>
where
    C: Cursor + Send + Sync,
    N: OutputType + ObjectType,
    F: ObjectType,
{
    let mut connection =
        Connection::with_additional_fields(page.has_previous, page.has_next, fields);
    connection.edges.extend(page.items.into_iter().map(|item| {
        let cursor = LazyCursor(position(&item));
        Edge::new(cursor, node(item))
    }));
    connection
}

/// The complexity of a page: the number of items times the complexity of one item. Clamps invalid numbers, which are
/// rejected later.
pub(super) fn cost(asked: Option<i32>, default: usize, item: usize) -> usize {
    let items = asked.map_or(default, |count| {
        count.clamp(1, MAX_PAGE).unsigned_abs() as usize
    });
    1 + items * item
}

/// Validates the number of requested items.
///
/// # Errors
/// [`Error::InvalidInput`] unless the number is 1 to 100.
pub(super) fn limit(name: &'static str, asked: Option<i32>, default: u64) -> Result<u64> {
    match asked {
        None => Ok(default),
        Some(count @ 1..=MAX_PAGE) => Ok(count.unsigned_abs().into()),
        Some(_) => Err(Error::invalid_field(
            name,
            format!("{name} must be 1 to {MAX_PAGE}"),
        )),
    }
}

/// Decodes the cursor passed as an argument.
///
/// # Errors
/// [`Error::InvalidCursor`] if it is not a cursor of this list.
pub(super) fn cursor<C: Cursor>(
    name: &'static str,
    text: Option<&str>,
) -> Result<Option<C>, GraphqlError> {
    text.map(C::decode).transpose().about(name)
}

/// The range of messages for the four paging arguments; the first page if neither `first` nor `last` is given.
///
/// # Errors
/// If an argument is invalid, or both `first` and `last` are given.
pub(super) fn message_range(
    first: Option<i32>,
    after: Option<&str>,
    last: Option<i32>,
    before: Option<&str>,
) -> Result<MessageRange, GraphqlError> {
    if first.is_some() && last.is_some() {
        return Err(Error::invalid_field("last", "first and last exclude each other").into());
    }
    let limit = match last {
        Some(_) => limit("last", last, 50)?,
        None => limit("first", first, 50)?,
    };
    Ok(MessageRange {
        after: cursor::<MessageCursor>("after", after)?,
        before: cursor::<MessageCursor>("before", before)?,
        limit,
        from_end: last.is_some(),
        needs_text: false,
    })
}
