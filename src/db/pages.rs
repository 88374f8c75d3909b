//! Pages for background loops: rows of all owners, read by keyset. A row that cannot be read does not fail its page.

use chrono::{DateTime, Utc};
use sea_orm::{
    ConnectionTrait, EntityTrait, FromQueryResult, IdenStatic, QueryFilter, QueryTrait, Select,
    prelude::Uuid,
    sea_query::{Expr, ExprTrait},
};

use super::fault::is_of_row;
use crate::error::{Error, Result};

/// A row's place in the order of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The time by which the rows are sorted.
    pub at: DateTime<Utc>,
    /// The id, among rows of the same time.
    pub id: Uuid,
}

/// A row that cannot be read or stored, while others can.
#[derive(Debug)]
pub struct BadRow {
    /// Its id; nil when not even that can be read.
    pub id: Uuid,
    /// Why.
    pub error: Error,
}

impl BadRow {
    /// Separates the row's own fault from the database's.
    ///
    /// # Errors
    /// The error itself when the fault is not the row's: the same would happen to the next row.
    pub fn of(id: Uuid, error: Error) -> Result<Self> {
        match is_of_row(&error) {
            true => Ok(Self { id, error }),
            false => Err(error),
        }
    }
}

/// A page.
#[derive(Debug)]
pub struct Found<T> {
    /// The rows that can be read.
    pub rows: Vec<T>,
    /// Those that cannot.
    pub bad: Vec<BadRow>,
    /// Where the next page begins; `None` at the end.
    pub last: Option<Place>,
}

/// Reads a page that `select` has sorted by these two columns, a time and an id. Each row is decoded by itself.
pub(super) async fn read_page<E, T>(
    db: &impl ConnectionTrait,
    select: Select<E>,
    order: (E::Column, E::Column),
    decode: impl Fn(E::Model) -> Result<T>,
) -> Result<Found<T>>
where
    E: EntityTrait,
{
    let (time, id) = (order.0.as_str(), order.1.as_str());
    let statement = select.build(db.get_database_backend());
    let mut found = Found {
        rows: Vec::new(),
        bad: Vec::new(),
        last: None,
    };
    for row in db.query_all_raw(statement).await? {
        let key: Result<Uuid, _> = row.try_get("", id);
        if let (Ok(at), Ok(id)) = (row.try_get("", time), &key) {
            found.last = Some(Place { at, id: *id });
        }
        let decoded = E::Model::from_query_result(&row, "").map_err(Error::from);
        match decoded.and_then(&decode) {
            Ok(row) => found.rows.push(row),
            Err(error) => found.bad.push(BadRow {
                id: key.unwrap_or_default(),
                error,
            }),
        }
    }
    Ok(found)
}

/// Lets a select that is sorted upwards by these columns begin behind a place.
pub(super) fn beyond<E: EntityTrait>(
    select: Select<E>,
    (time, id): (E::Column, E::Column),
    after: Option<&Place>,
) -> Select<E> {
    match after {
        None => select,
        Some(Place { at, id: last }) => {
            let place = Expr::tuple([Expr::col(time), Expr::col(id)]);
            select.filter(place.gt(Expr::tuple([Expr::val(*at), Expr::val(*last)])))
        }
    }
}
