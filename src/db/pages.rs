//! Keyset pages for background loops, over the rows of all owners. An unreadable row does not fail its page.

use chrono::{DateTime, Utc};
use sea_orm::{
    ConnectionTrait, EntityTrait, FromQueryResult, IdenStatic, QueryFilter, QueryTrait, Select,
    prelude::Uuid,
    sea_query::{Expr, ExprTrait},
};

use super::fault::is_of_row;
use crate::error::{Error, Result};

/// A position in a keyset-paginated list: the sort key of its last row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyset {
    /// The time by which the rows are sorted.
    pub at: DateTime<Utc>,
    /// The id, which orders rows with equal times.
    pub id: Uuid,
}

/// A row that cannot be read or stored, while other rows can.
#[derive(Debug)]
pub struct BadRow {
    /// The row's id; nil if the id cannot be read.
    pub id: Uuid,
    /// The cause.
    pub error: Error,
}

impl BadRow {
    /// Classifies an error: a fault of the row, or a fault of the database.
    ///
    /// # Errors
    /// The error itself if it is not specific to the row; the next row would fail in the same way.
    pub fn of(id: Uuid, error: Error) -> Result<Self> {
        match is_of_row(&error) {
            true => Ok(Self { id, error }),
            false => Err(error),
        }
    }
}

/// A page of a keyset-paginated list.
#[derive(Debug)]
pub struct KeysetPage<T> {
    /// The readable rows.
    pub rows: Vec<T>,
    /// The unreadable rows.
    pub bad: Vec<BadRow>,
    /// The position after which the next page starts; `None` at the end.
    pub last: Option<Keyset>,
}

/// Reads a page of `select`, which must be sorted by the two columns of `order`, a time and an id. Each row is decoded
/// separately.
pub(super) async fn read_page<E, T>(
    db: &impl ConnectionTrait,
    select: Select<E>,
    order: (E::Column, E::Column),
    decode: impl Fn(E::Model) -> Result<T>,
) -> Result<KeysetPage<T>>
where
    E: EntityTrait,
{
    let (time, id) = (order.0.as_str(), order.1.as_str());
    let statement = select.build(db.get_database_backend());
    let mut page = KeysetPage {
        rows: Vec::new(),
        bad: Vec::new(),
        last: None,
    };
    for row in db.query_all_raw(statement).await? {
        let key: Result<Uuid, _> = row.try_get("", id);
        if let (Ok(at), Ok(id)) = (row.try_get("", time), &key) {
            page.last = Some(Keyset { at, id: *id });
        }
        let decoded = E::Model::from_query_result(&row, "").map_err(Error::from);
        match decoded.and_then(&decode) {
            Ok(row) => page.rows.push(row),
            Err(error) => page.bad.push(BadRow {
                id: key.unwrap_or_default(),
                error,
            }),
        }
    }
    Ok(page)
}

/// Restricts a select, sorted in ascending order by these columns, to the rows after a position.
pub(super) fn beyond<E: EntityTrait>(
    select: Select<E>,
    (time, id): (E::Column, E::Column),
    after: Option<&Keyset>,
) -> Select<E> {
    match after {
        None => select,
        Some(Keyset { at, id: last }) => {
            let place = Expr::tuple([Expr::col(time), Expr::col(id)]);
            select.filter(place.gt(Expr::tuple([Expr::val(*at), Expr::val(*last)])))
        }
    }
}
