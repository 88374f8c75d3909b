//! Rows of `agent_conversations`.

use std::collections::BTreeMap;

use sea_orm::{FromQueryResult, QueryResult, entity::prelude::*};
use serde::{Deserialize, Serialize};

use super::{json::Nested, known};
use crate::{
    conversation::{
        Conversation, ConversationId, ConversationStatus, Metadata, Owner, TitleFailure,
        TitleSource, TitleStatus,
    },
    error::Error,
};

/// A row of a list, decoded by column index in the order of [`Model`]. Lookups by name in each of 50 rows would take a
/// tenth of a list's time.
pub struct Listed(pub Model);

/// Defines the model, and the decoding of [`Listed`] from the same columns.
macro_rules! columns {
    ($(#[$attribute:meta])* pub struct $model:ident {
        $($(#[$key:meta])* pub $column:ident: $type:ident $(<$of:ident>)?,)*
    }) => {
        $(#[$attribute])*
        pub struct $model {
            $($(#[$key])* pub $column: $type $(<$of>)?,)*
        }

        impl FromQueryResult for Listed {
            fn from_query_result(row: &QueryResult, _prefix: &str) -> Result<Self, DbErr> {
                let mut places = 0..;
                let mut next = || places.next().unwrap_or_default();
                Ok(Self($model { $($column: row.try_get_by_index(next())?,)* }))
            }
        }
    };
}

columns! {
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Serialize, Deserialize)]
    #[sea_orm(table_name = "agent_conversations")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: ConversationId,
        #[serde(rename = "tenant")]
        pub tenant_id: String,
        #[serde(rename = "user")]
        pub user_id: String,
        pub topic_hint: Option<String>,
        pub agent_entrypoint: String,
        #[serde(rename = "agent")]
        pub active_agent: String,
        #[serde(skip)]
        pub status: String,
        pub message_count: i64,
        pub last_message_preview: Option<String>,
        pub last_message_at: DateTimeUtc,
        pub created_at: DateTimeUtc,
        pub updated_at: DateTimeUtc,
        #[serde(rename = "title")]
        pub display_name: Option<String>,
        pub title_generated_at: Option<DateTimeUtc>,
        pub title_source: String,
        pub title_status: String,
        pub title_failure: Option<String>,
        pub revision: i64,
        #[serde(skip)]
        pub title_token: Option<Uuid>,
        #[serde(skip)]
        pub title_lease_until: Option<DateTimeUtc>,
        #[serde(skip)]
        pub title_attempts: i32,
        pub title_hint: Option<String>,
        #[serde(skip)]
        pub published_revision: i64,
        pub title_retry_at: Option<DateTimeUtc>,
        pub title_tries: i32,
        pub title_failing_since: Option<DateTimeUtc>,
        pub title_from: Option<String>,
        pub previous_title: Option<String>,
        pub previous_title_source: Option<String>,
        pub title_locked: bool,
        pub title_refreshes: i32,
        pub title_refreshed_at: Option<DateTimeUtc>,
        pub external_id: Option<String>,
        pub retain: Option<String>,
        pub archived_at: Option<DateTimeUtc>,
        pub pinned_at: Option<DateTimeUtc>,
        #[serde(default, with = "Nested::<BTreeMap<String, String>>")]
        pub metadata: Option<String>,
    }
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// A pending conversation without messages.
    pub fn new(owner: &Owner, id: ConversationId, agent: &str, created_at: DateTimeUtc) -> Self {
        Self {
            id,
            tenant_id: owner.tenant.clone(),
            user_id: owner.user.clone(),
            topic_hint: None,
            agent_entrypoint: agent.into(),
            active_agent: agent.into(),
            status: ConversationStatus::Active.as_str().into(),
            message_count: 0,
            last_message_preview: None,
            last_message_at: created_at,
            created_at,
            updated_at: created_at,
            display_name: None,
            title_generated_at: None,
            title_source: TitleSource::Hint.as_str().into(),
            title_status: TitleStatus::Pending.as_str().into(),
            title_failure: None,
            revision: 1,
            title_token: None,
            title_lease_until: None,
            title_attempts: 0,
            title_hint: None,
            published_revision: 0,
            title_retry_at: None,
            title_tries: 0,
            title_failing_since: None,
            title_from: None,
            previous_title: None,
            previous_title_source: None,
            title_locked: false,
            title_refreshes: 0,
            title_refreshed_at: None,
            external_id: None,
            retain: None,
            archived_at: None,
            pinned_at: None,
            metadata: None,
        }
    }

    pub fn owner(&self) -> Owner {
        Owner {
            tenant: self.tenant_id.clone(),
            user: self.user_id.clone(),
        }
    }
}

impl TryFrom<Model> for Conversation {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self, Error> {
        let has_title = row.display_name.is_some();
        let title_status = known(&row.title_status).unwrap_or(match has_title {
            true => TitleStatus::Ready,
            false => TitleStatus::Failed,
        });
        let source =
            known(&row.title_source).unwrap_or(match (has_title, row.title_generated_at) {
                (true, Some(_)) => TitleSource::Generated,
                (true, None) => TitleSource::Manual,
                (false, _) => TitleSource::Hint,
            });
        let drops_text = row.drops_text();
        let status = known(&row.status).unwrap_or(ConversationStatus::Active);
        // The previous version leaves the metadata behind when it deletes.
        let metadata = row
            .metadata
            .filter(|_| status != ConversationStatus::Deleted);
        Ok(Self {
            id: row.id,
            external_id: row.external_id,
            drops_text,
            owner: Owner {
                tenant: row.tenant_id,
                user: row.user_id,
            },
            display_name: row.display_name,
            title_generated_at: row.title_generated_at,
            title_source: source,
            title_status,
            title_begun: row.title_token.is_some(),
            title_waits: row.title_token.is_none() && row.title_lease_until.is_some(),
            // The previous version leaves the time behind when it titles or renames.
            title_retry_at: row.title_retry_at.filter(|_| row.title_failure.is_some()),
            title_failure: row
                .title_failure
                .map(|name| known(&name).unwrap_or(TitleFailure::Unknown)),
            previous_title: row.previous_title,
            title_locked: row.title_locked || source == TitleSource::Manual,
            topic_hint: row.topic_hint,
            agent_entrypoint: row.agent_entrypoint,
            active_agent: row.active_agent,
            status,
            message_count: row.message_count,
            last_message_preview: row.last_message_preview,
            last_message_at: row.last_message_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
            revision: row.revision,
            archived_at: row.archived_at,
            pinned_at: row.pinned_at,
            metadata: metadata
                .as_deref()
                .map(Metadata::from_stored)
                .unwrap_or_default(),
        })
    }
}
