//! Erasure of the caller's own account.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    RestError,
    authorized::{Authorized, ToErase},
};
use crate::{api::Services, error::Error};

/// What an erasure removed.
#[derive(Serialize, ToSchema)]
pub(super) struct ErasureCertificate {
    /// The tenant.
    tenant: String,
    /// A keyed hash of tenant and user, the same in every erasure of this user.
    subject: String,
    /// When the erasure began.
    at: DateTime<Utc>,
    /// The removed rows, by table.
    rows: BTreeMap<String, u64>,
}

/// Erases all stored data of the caller: conversations, messages and everything recorded about them. Cannot be undone.
#[utoipa::path(
    delete, path = "/api/v1/me", operation_id = "eraseMe", tag = "account",
    security(("bearer" = ["account:erase"])),
    responses((status = 200, description = "What was removed", body = ErasureCertificate)),
)]
pub(super) async fn erase(
    State(services): State<Arc<Services>>,
    caller: Authorized<ToErase>,
) -> Result<Json<ErasureCertificate>, RestError> {
    let slot = services.users.stream(&caller.rate_limit_key)?;
    let (chat, owner) = (services.chat.clone(), caller.caller().clone());
    // A separate task, so that the erasure continues if the client disconnects.
    let erasing = services.tasks.spawn(async move {
        let _slot = slot;
        chat.forget(&owner).await
    });
    let certificate = erasing.await.map_err(|_| Error::ShuttingDown)??;
    let rows = certificate.rows.0.into_iter();
    Ok(Json(ErasureCertificate {
        tenant: certificate.tenant,
        subject: certificate.subject,
        at: certificate.at,
        rows: rows.map(|(table, rows)| (table.to_owned(), rows)).collect(),
    }))
}
