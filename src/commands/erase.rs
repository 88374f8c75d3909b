//! `titlecast erase`: erases all data of a tenant or a user, and prints a certificate.

use std::time::Duration;

use serde_json::json;

use crate::{
    chat::forget::{Certificate, forget},
    db::{Act, Database, Forgotten, OPERATOR, caused},
    error::Error,
};

/// Why an erasure fails.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// The database failed.
    #[error("{0}{cause}. What was removed stays removed; run it again", cause = caused(.0))]
    Failed(#[from] Error),
    /// The rows are removed, but the file may still hold their texts.
    #[error(
        "the rows are erased, but the database file could not be rewritten, because other processes use it; its log may \
         hold texts until a server truncates it. Run it again"
    )]
    NotCompacted,
}

/// Erases, and prints the certificate; with `is_dry` prints what would be erased.
///
/// # Errors
/// [`EraseError`].
pub async fn run(
    db: &Database,
    of: &Forgotten,
    patience: Duration,
    is_dry: bool,
) -> Result<(), EraseError> {
    if is_dry {
        let rows = db.count_forgotten(of).await.inspect_err(Error::log)?;
        let subject = db.forgotten_hash(of).await.inspect_err(Error::log)?;
        let at = db.clock().now();
        let tenant = of.tenant.clone();
        print(
            "dry_run",
            &Certificate {
                tenant,
                subject,
                at,
                left: rows.of("agent_conversations"),
                rows,
            },
        );
        return Ok(());
    }
    // Servers publish the tombstones in their sweep.
    let erased = forget(db, of, patience, drop).await;
    let certificate = erased.inspect_err(Error::log)?;
    let subject = match &of.user {
        Some(user) => Some(db.erased_name(&of.tenant, user).await?),
        None => None,
    };
    db.record_act_on(&of.tenant, OPERATOR, Act::Erased, subject.as_deref())
        .await?;
    let is_compact = db.compact(true).await.inspect_err(Error::log)?;
    print("erased", &certificate);
    match is_compact {
        true => Ok(()),
        false => Err(EraseError::NotCompacted),
    }
}

fn print(event: &str, certificate: &Certificate) {
    let Certificate {
        tenant,
        subject,
        at,
        rows,
        left,
    } = certificate;
    println!(
        "{}",
        json!({
            "event": event, "tenant": tenant, "subject": subject, "at": at, "rows": rows,
            "conversations_left": left,
        })
    );
}
