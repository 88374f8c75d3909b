//! Pages on this wire: Relay's connections, and how their arguments are checked.

use async_graphql::{
    ObjectType, OutputType,
    connection::{CursorType, Edge, EmptyFields},
};

use super::errors::{About, GraphqlError};
use crate::{
    db::{
        MessageRange, Page,
        cursor::{Cursor, CursorKey, MessageCursor},
    },
    error::{Error, Result},
};

/// The most items of one page.
const MOST: i32 = 100;

/// A list of the API.
pub(super) type Connection<C, N> =
    async_graphql::connection::Connection<Sealed<C>, N, EmptyFields, EmptyFields>;

/// The place of an item. It is written out and authenticated only where it is asked for, which of a page's items is
/// often none.
pub(super) struct Sealed<C> {
    place: C,
    key: CursorKey,
}

impl<C: Cursor> CursorType for Sealed<C> {
    type Error = &'static str;

    /// Arguments are read by [`place`].
    fn decode_cursor(_text: &str) -> std::result::Result<Self, Self::Error> {
        Err("the cursor of an item is written only")
    }

    fn encode_cursor(&self) -> String {
        self.place.encode(&self.key)
    }
}

/// A page as a connection.
pub(super) fn connection<T, C, N>(
    page: Page<T>,
    key: &CursorKey,
    place: impl Fn(&T) -> C,
    node: impl Fn(T) -> N,
) -> Connection<C, N>
where
    C: Cursor + Send + Sync,
    N: OutputType + ObjectType,
{
    let mut connection = Connection::new(page.has_previous, page.has_next);
    connection.edges.extend(page.items.into_iter().map(|item| {
        let key = key.clone();
        let place = place(&item);
        Edge::new(Sealed { place, key }, node(item))
    }));
    connection
}

/// What a page costs: each of its items what is selected of it. A number that will be refused costs
/// what the largest page does.
pub(super) fn cost(asked: Option<i32>, default: usize, item: usize) -> usize {
    let items = asked.map_or(default, |count| {
        count.clamp(1, MOST).unsigned_abs() as usize
    });
    1 + items * item
}

/// How many items are asked for.
///
/// # Errors
/// [`Error::InvalidInput`] unless 1 to 100.
pub(super) fn limit(name: &'static str, asked: Option<i32>, default: u64) -> Result<u64> {
    match asked {
        None => Ok(default),
        Some(count @ 1..=MOST) => Ok(count.unsigned_abs().into()),
        Some(_) => Err(Error::invalid_field(
            name,
            format!("{name} must be 1 to {MOST}"),
        )),
    }
}

/// The cursor in an argument.
///
/// # Errors
/// [`Error::InvalidCursor`] when it is none of this list.
pub(super) fn place<C: Cursor>(
    name: &'static str,
    text: Option<&str>,
    key: &CursorKey,
) -> Result<Option<C>, GraphqlError> {
    text.map(|text| C::decode(text, key))
        .transpose()
        .about(name)
}

/// The part of a conversation that four arguments name. Without `first` and `last` it is the
/// beginning.
///
/// # Errors
/// When an argument cannot be used, or both ends are asked for.
pub(super) fn message_range(
    first: Option<i32>,
    after: Option<&str>,
    last: Option<i32>,
    before: Option<&str>,
    key: &CursorKey,
) -> Result<MessageRange, GraphqlError> {
    if first.is_some() && last.is_some() {
        return Err(Error::invalid_field("last", "first and last exclude each other").into());
    }
    let limit = match last {
        Some(_) => limit("last", last, 50)?,
        None => limit("first", first, 50)?,
    };
    Ok(MessageRange {
        after: place::<MessageCursor>("after", after, key)?,
        before: place::<MessageCursor>("before", before, key)?,
        limit,
        from_end: last.is_some(),
    })
}
