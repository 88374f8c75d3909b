//! Messages of many conversations in one statement, for lists that show the ends of each.

use std::collections::HashMap;

use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait, FromQueryResult, Order, QueryFilter, QuerySelect,
    QueryTrait,
    sea_query::{Alias, Expr, Query, WindowStatement},
};

use super::{
    Database, Page,
    entity::{
        conversation,
        message::{Column, Entity, Model},
    },
    messages::MessageRange,
    scope::these_of,
};
use crate::{
    conversation::{ConversationId, Message, Owner},
    error::Result,
};

impl Database {
    /// The same part of several conversations. A conversation that the owner does not have, or that
    /// has no message there, gets no entry.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn messages_of_many(
        &self,
        owner: &Owner,
        conversations: &[ConversationId],
        range: MessageRange,
    ) -> Result<HashMap<ConversationId, Page<Message>>> {
        let (numbered, place) = (Alias::new("numbered"), Alias::new("place"));
        let order = if range.from_end {
            Order::Desc
        } else {
            Order::Asc
        };
        // These among the owner's, and not the owner's messages among theirs: PostgreSQL would look through all that
        // the owner has.
        let conversations = these_of(owner, conversations.iter().copied())
            .select_only()
            .column(conversation::Column::Id)
            .into_query();
        let mut inner = Entity::find().filter(Column::ConversationId.in_subquery(conversations));
        if let Some(after) = range.after {
            inner = inner.filter(Column::Position.gt(after.position));
        }
        if let Some(before) = range.before {
            inner = inner.filter(Column::Position.lt(before.position));
        }
        let mut inner = QuerySelect::query(&mut inner).to_owned();
        inner.expr_window_as(
            Expr::cust("row_number()"),
            WindowStatement::partition_by(Column::ConversationId)
                .order_by(Column::Position, order.clone())
                .to_owned(),
            place.clone(),
        );
        let statement = Query::select()
            .column(sea_orm::sea_query::Asterisk)
            .from_subquery(inner, numbered)
            .and_where(Expr::col(place.clone()).lte(range.limit + 1))
            .order_by(place, Order::Asc)
            .to_owned();
        let rows = Model::find_by_statement(statement_of(self, &statement))
            .all(&self.reader)
            .await?;
        let mut read: HashMap<ConversationId, Vec<Message>> = HashMap::new();
        for row in rows {
            let message = Message::try_from(row)?;
            read.entry(message.conversation_id)
                .or_default()
                .push(message);
        }
        Ok(read
            .into_iter()
            .map(|(id, rows)| (id, range.page(rows)))
            .collect())
    }
}

fn statement_of(
    db: &Database,
    statement: &sea_orm::sea_query::SelectStatement,
) -> sea_orm::Statement {
    db.reader.get_database_backend().build(statement)
}
