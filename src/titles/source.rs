//! The source of a title: the first user message with content.

use std::borrow::Cow;

use super::{file_name, opener, policy::TitlePolicy, redact, shape};
use crate::{
    conversation::{Attachment, ConversationId, Message, MessageId, Owner, Title},
    db::Database,
    error::Result,
};

/// The maximum number of user messages searched for content. A conversation with more openers gets no title.
const MAX_MESSAGES: u64 = 20;

/// The source of a title.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Text for the model.
    Text(String),
    /// A title made from a file name; no model call is needed.
    Title(Title),
}

/// A source, and the message that contains it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) source: Source,
    pub(super) message: MessageId,
}

/// The source in one message; a file name in the policy's form, without secrets. `None` for a message without text or
/// usable file name, and for an opener if openers defer titles.
pub(super) fn of_message<M>(
    text: &str,
    attachments: &[Attachment],
    policy: &TitlePolicy<M>,
) -> Option<Source> {
    if text.trim().is_empty() {
        // Redact before the name is split into words, because a split key is no longer recognised.
        let names = attachments.iter().map(|file| match policy.redact {
            true => redact::in_text(&file.name),
            false => file.name.as_str().into(),
        });
        let names: Vec<Cow<'_, str>> = names.collect();
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        let mut title = file_name::title_from(&names, policy.limits())?;
        if policy.redact {
            title = redact::redacted(title, None, policy.limits()).ok()?;
        }
        let shaped = shape::shaped(title.as_str(), title.as_str(), policy);
        return Some(Source::Title(Title::new(&shaped).unwrap_or(title)));
    }
    (!policy.openers || opener::has_content(text)).then(|| Source::Text(text.to_owned()))
}

/// The source in a stored conversation's first messages.
///
/// # Errors
/// [`Error::Database`](crate::error::Error::Database).
pub(super) async fn of_conversation(
    db: &Database,
    owner: &Owner,
    id: ConversationId,
    policy: &TitlePolicy,
) -> Result<Option<Found>> {
    let messages = db.first_user_messages(owner, id, MAX_MESSAGES).await?;
    let source = |message: &Message| {
        let source = of_message(&message.content, &message.attachments, policy)?;
        Some(Found {
            source,
            message: message.id,
        })
    };
    Ok(messages.iter().find_map(source))
}
