//! Statistics of titles, failures and costs over all owners: for operators, never for a request.

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, FromQueryResult, IdenStatic, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect,
    sea_query::{Expr, ExprTrait},
};
use serde::Serialize;

use super::{
    Database, WaitingTitles,
    entity::{conversation, reply_call, title_call},
    scope::active,
    title_calls::bounded,
};
use crate::{conversation::TitleStatus, error::Result};

/// Selects the titles and calls to count.
#[derive(Clone, Debug, Default)]
pub struct StatsFilter {
    /// Only this tenant's.
    pub tenant: Option<String>,
    /// Only those created at or after this time.
    pub since: Option<DateTime<Utc>>,
}

/// Statistics of titles and their cost.
#[derive(Clone, Debug, Serialize)]
pub struct TitleStats {
    /// Conversations by the status and the source of their title.
    pub titles: Vec<TitleCount>,
    /// Failed titles by reason.
    pub failures: Vec<FailureCount>,
    /// Titles that wait for their next try: failed ones, and requested replacements of existing titles.
    pub waiting: WaitingTitles,
    /// Calls by model and outcome.
    pub calls: Vec<CallCount>,
    /// Replies with reported tokens, by agent and model.
    pub replies: Vec<ReplyCount>,
    /// The duration of calls that returned a title; `None` if there were none.
    pub latency: Option<Latency>,
}

/// The conversations with one title status and source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, FromQueryResult)]
pub struct TitleCount {
    /// `pending`, `ready`, `failed` or `skipped`.
    pub status: String,
    /// `hint`, `generated` or `manual`.
    pub source: String,
    /// The number of conversations.
    pub conversations: i64,
}

/// The conversations whose title failed for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, FromQueryResult)]
pub struct FailureCount {
    /// The reason.
    pub reason: Option<String>,
    /// The number of conversations.
    pub conversations: i64,
}

/// Calls of one model with one outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, FromQueryResult)]
pub struct CallCount {
    /// The model.
    pub model: String,
    /// `title`, or the reason for the failure.
    pub outcome: String,
    /// The number of calls.
    pub calls: i64,
    /// Input tokens.
    pub prompt_tokens: i64,
    /// Output tokens, including reasoning.
    pub completion_tokens: i64,
    /// Reasoning tokens.
    pub reasoning_tokens: i64,
}

/// Replies of one agent by one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, FromQueryResult)]
pub struct ReplyCount {
    /// The agent; empty for replies without text that an earlier version stored.
    pub agent: String,
    /// The model.
    pub model: String,
    /// The number of replies.
    pub replies: i64,
    /// Input tokens.
    pub prompt_tokens: i64,
    /// Output tokens, including reasoning.
    pub completion_tokens: i64,
    /// Reasoning tokens.
    pub reasoning_tokens: i64,
}

/// The duration of calls in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// The median.
    pub p50_ms: i64,
    /// The 95th percentile.
    pub p95_ms: i64,
    /// The maximum.
    pub max_ms: i64,
}

impl Database {
    /// Counts titles and their calls.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn title_stats(&self, filter: &StatsFilter) -> Result<TitleStats> {
        use conversation::Column;
        let conversations =
            || active().filter(filter.condition(Column::TenantId, Column::CreatedAt));
        let titles = conversations()
            .select_only()
            .column_as(Column::TitleStatus, "status")
            .column_as(Column::TitleSource, "source")
            .column_as(Column::Id.count(), "conversations")
            .group_by(Column::TitleStatus)
            .group_by(Column::TitleSource)
            .order_by_asc(Column::TitleStatus)
            .order_by_asc(Column::TitleSource)
            .into_model()
            .all(&self.reader)
            .await?;
        let failures = conversations()
            .filter(Column::TitleStatus.eq(TitleStatus::Failed))
            .select_only()
            .column_as(Column::TitleFailure, "reason")
            .column_as(Column::Id.count(), "conversations")
            .group_by(Column::TitleFailure)
            .order_by_asc(Column::TitleFailure)
            .into_model()
            .all(&self.reader)
            .await?;
        Ok(TitleStats {
            titles,
            failures,
            waiting: self.waiting_titles(filter).await?,
            calls: self.call_counts(filter).await?,
            replies: self.reply_counts(filter).await?,
            latency: self.latency(filter).await?,
        })
    }

    async fn call_counts(&self, filter: &StatsFilter) -> Result<Vec<CallCount>> {
        use title_call::{Column, Entity};
        let mut select = Entity::find()
            .filter(filter.condition(Column::TenantId, Column::CreatedAt))
            .select_only()
            .column(Column::Model)
            .column(Column::Outcome)
            .column_as(Column::Id.count(), "calls");
        for column in [
            Column::PromptTokens,
            Column::CompletionTokens,
            Column::ReasoningTokens,
        ] {
            // PostgreSQL's sum of bigint is numeric.
            let sum = bounded(column).sum().cast_as("bigint");
            select = select.column_as(sum, column.as_str());
        }
        Ok(select
            .group_by(Column::Model)
            .group_by(Column::Outcome)
            .order_by_asc(Column::Model)
            .order_by_asc(Column::Outcome)
            .into_model()
            .all(&self.reader)
            .await?)
    }

    async fn reply_counts(&self, filter: &StatsFilter) -> Result<Vec<ReplyCount>> {
        use reply_call::{Column, Entity};
        let mut select = Entity::find()
            .filter(filter.condition(Column::TenantId, Column::CreatedAt))
            .select_only()
            .column(Column::Agent)
            .column(Column::Model)
            .column_as(Column::Id.count(), "replies");
        for column in [
            Column::PromptTokens,
            Column::CompletionTokens,
            Column::ReasoningTokens,
        ] {
            let sum = Expr::col(column).sum().cast_as("bigint");
            select = select.column_as(sum, column.as_str());
        }
        Ok(select
            .group_by(Column::Agent)
            .group_by(Column::Model)
            .order_by_asc(Column::Agent)
            .order_by_asc(Column::Model)
            .into_model()
            .all(&self.reader)
            .await?)
    }

    /// Percentiles by offset in the sorted list, because SQLite lacks PostgreSQL's `percentile_disc`.
    async fn latency(&self, filter: &StatsFilter) -> Result<Option<Latency>> {
        use title_call::{Column, Entity};
        let calls = || {
            Entity::find()
                .filter(filter.condition(Column::TenantId, Column::CreatedAt))
                .filter(Column::Outcome.eq(super::title_calls::TITLE))
        };
        let count = calls().count(&self.reader).await?;
        let Some(last) = count.checked_sub(1) else {
            return Ok(None);
        };
        let at = async |offset: u64| -> Result<i64> {
            let duration = calls()
                .select_only()
                .column(Column::DurationMs)
                .order_by_asc(Column::DurationMs)
                .offset(offset)
                .limit(1)
                .into_tuple()
                .one(&self.reader)
                .await?;
            Ok(duration.unwrap_or_default())
        };
        Ok(Some(Latency {
            p50_ms: at(last / 2).await?,
            p95_ms: at(last * 95 / 100).await?,
            max_ms: at(last).await?,
        }))
    }
}

impl StatsFilter {
    pub(super) fn condition<C: ColumnTrait>(&self, tenant: C, time: C) -> Condition {
        Condition::all()
            .add_option(self.tenant.as_ref().map(|name| tenant.eq(name)))
            .add_option(self.since.map(|since| time.gte(since)))
    }
}
