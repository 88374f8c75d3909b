//! `titlecast webhooks`: lists undelivered webhook events as JSON lines, retries or drops them.

use std::io::{self, Write};

use serde_json::json;

use crate::{
    config::WebhooksCommand,
    conversation::ConversationId,
    db::{Database, ParkedLane},
    error::{Error, Result},
};

/// Conversations per read.
const PAGE: u64 = 200;

/// Runs an action, and writes one JSON line for each conversation that it lists or changes.
///
/// # Errors
/// [`Error::Database`]; [`Error::Internal`] if the output cannot be written.
pub async fn run(db: &Database, action: &WebhooksCommand, out: &mut impl Write) -> Result<()> {
    match action {
        WebhooksCommand::List { name, parked } => {
            each(db, name.as_deref(), |_, lane| {
                let is_shown = !parked || lane.parked_at.is_some();
                match is_shown {
                    true => write(out, &json!(lane)),
                    false => Ok(()),
                }
            })
            .await
        }
        WebhooksCommand::Retry { name, conversation } => {
            let mut is_idle = true;
            if db.webhook_is_back(name).await? {
                is_idle = false;
                write(out, &json!({ "hook": name, "done": "sends again" }))?;
            }
            for id in chosen(db, name, *conversation).await? {
                if db.retry_webhook_lane(name, id).await? {
                    is_idle = false;
                    write(out, &done(name, id, "retried"))?;
                }
            }
            nothing_if(is_idle, name, out)
        }
        WebhooksCommand::Drop { name, conversation } => {
            let mut is_idle = true;
            for id in chosen(db, name, *conversation).await? {
                if db.drop_parked_webhook(name, id).await? {
                    is_idle = false;
                    write(out, &done(name, id, "dropped"))?;
                }
            }
            nothing_if(is_idle, name, out)
        }
    }
}

/// Reports that nothing was done: the name may be misspelt.
fn nothing_if(is_idle: bool, hook: &str, out: &mut impl Write) -> Result<()> {
    match is_idle {
        true => write(out, &json!({ "hook": hook, "done": "nothing" })),
        false => Ok(()),
    }
}

fn done(hook: &str, id: ConversationId, what: &str) -> serde_json::Value {
    json!({ "hook": hook, "conversation_id": id.to_string(), "done": what })
}

/// The named conversation, or all conversations with failing events.
async fn chosen(
    db: &Database,
    hook: &str,
    conversation: Option<ConversationId>,
) -> Result<Vec<ConversationId>> {
    let mut chosen: Vec<ConversationId> = conversation.into_iter().collect();
    if conversation.is_none() {
        each(db, Some(hook), |id, _| {
            chosen.push(id);
            Ok(())
        })
        .await?;
    }
    Ok(chosen)
}

async fn each(
    db: &Database,
    hook: Option<&str>,
    mut run: impl FnMut(ConversationId, &ParkedLane) -> Result<()>,
) -> Result<()> {
    let mut last: Option<(String, ConversationId)> = None;
    loop {
        let after = last.as_ref().map(|(hook, id)| (hook.as_str(), *id));
        let page = db.failing_webhooks(hook, after, PAGE).await?;
        for (id, lane) in &page {
            run(*id, lane)?;
        }
        match page.into_iter().next_back() {
            Some((id, lane)) => last = Some((lane.hook, id)),
            None => return Ok(()),
        }
    }
}

/// Writes a line. Ignores a closed pipe, as with `head`.
fn write(out: &mut impl Write, line: &serde_json::Value) -> Result<()> {
    let written = writeln!(out, "{line}").or_else(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    });
    written.map_err(|error| Error::Internal(error.into()))
}
