//! `titlecast audit`: the audit log as JSON lines, oldest first.

use std::io::{self, Write};

use chrono::SecondsFormat;
use serde_json::json;

use crate::{
    config::AuditArguments,
    db::{AuditEntry, Database},
    error::{Error, Result},
};

/// Entries per read.
const PAGE: u64 = 500;

/// Writes the entries.
///
/// # Errors
/// [`Error::Database`]; [`Error::Internal`] if the output cannot be written.
pub async fn run(db: &Database, arguments: &AuditArguments, out: &mut impl Write) -> Result<()> {
    let mut after = None;
    loop {
        let tenant = arguments.tenant.as_deref();
        let page = db
            .audit_entries(tenant, arguments.since, after, PAGE)
            .await?;
        for entry in &page {
            match writeln!(out, "{}", line(entry)) {
                Ok(()) => {}
                // A closed pipe, as with `head`, is not an error.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(Error::Internal(error.into())),
            }
        }
        match page.last() {
            Some(last) => after = Some(last.cursor()),
            None => return Ok(()),
        }
    }
}

fn line(entry: &AuditEntry) -> serde_json::Value {
    json!({
        "id": entry.id.to_string(),
        "at": entry.at.to_rfc3339_opts(SecondsFormat::Millis, true),
        "tenant": entry.tenant,
        "actor": entry.actor,
        "act": entry.act,
        "conversation_id": entry.conversation.map(|id| id.to_string()),
        "subject": entry.subject,
    })
}
