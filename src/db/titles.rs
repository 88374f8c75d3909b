//! Titles: the fenced write, the rename, the failure.
//!
//! Each is one statement on the conversation's row that says itself under which condition it may
//! happen; who comes second changes no row and is told so by `None`. None touches
//! `last_message_at`, by which lists are sorted.

use sea_orm::{ColumnTrait, DatabaseTransaction, QueryFilter, UpdateMany, sea_query::Expr};

use super::{
    Database,
    entity::conversation::{Column, Entity},
    now,
    scope::{change_of, changed},
    search,
};
use crate::{
    conversation::{
        Conversation, ConversationId, Owner, Title, TitleFailure, TitleSource, TitleStatus,
    },
    error::{Error, Result},
};

fn with_title(
    update: UpdateMany<Entity>,
    title: &Title,
    source: TitleSource,
) -> UpdateMany<Entity> {
    let no_failure: Option<String> = None;
    update
        .col_expr(Column::DisplayName, Expr::val(title.as_str()))
        .col_expr(Column::TitleSource, Expr::val(source.as_str()))
        .col_expr(Column::TitleStatus, Expr::val(TitleStatus::Ready.as_str()))
        .col_expr(Column::TitleFailure, Expr::val(no_failure))
}

impl Database {
    /// Stores a generated title where there is none. `None`: a rename, a deletion or another writer
    /// came first, and nothing was changed.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn store_generated_title(
        &self,
        owner: &Owner,
        id: ConversationId,
        title: &Title,
    ) -> Result<Option<Conversation>> {
        let tx = self.begin().await?;
        let at = now();
        let rows = with_title(change_of(owner, id, at), title, TitleSource::Generated)
            .col_expr(Column::TitleGeneratedAt, Expr::val(at))
            .filter(Column::DisplayName.is_null())
            .exec_with_returning(&tx)
            .await?;
        finish(tx, changed(rows)?).await
    }

    /// Notes why there is no title, where there is none. `None`: there is one by now, or the
    /// conversation is gone.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn store_title_failure(
        &self,
        owner: &Owner,
        id: ConversationId,
        failure: TitleFailure,
    ) -> Result<Option<Conversation>> {
        let rows = change_of(owner, id, now())
            .col_expr(Column::TitleStatus, Expr::val(TitleStatus::Failed.as_str()))
            .col_expr(Column::TitleFailure, Expr::val(failure.as_str()))
            .filter(Column::DisplayName.is_null())
            .exec_with_returning(&self.writer)
            .await?;
        changed(rows)
    }

    /// Stores the title that a person gave, over whatever is there. The time of a generated title
    /// that it replaces stays.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the owner does not have the conversation; [`Error::Database`].
    pub async fn rename(
        &self,
        owner: &Owner,
        id: ConversationId,
        title: &Title,
    ) -> Result<Conversation> {
        let tx = self.begin().await?;
        let rows = with_title(change_of(owner, id, now()), title, TitleSource::Manual)
            .exec_with_returning(&tx)
            .await?;
        finish(tx, changed(rows)?)
            .await?
            .ok_or_else(Error::no_conversation)
    }
}

/// Carries the new title into the search index and commits.
async fn finish(
    tx: DatabaseTransaction,
    conversation: Option<Conversation>,
) -> Result<Option<Conversation>> {
    if let Some(conversation) = &conversation {
        search::index_title(&tx, conversation).await?;
    }
    tx.commit().await?;
    Ok(conversation)
}
