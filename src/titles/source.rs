//! The source of a title: the first user message with content.

use super::{file_name, opener};
use crate::{
    conversation::{Attachment, ConversationId, Message, Owner, Title},
    db::Database,
    error::Result,
};

/// The most user messages searched for content. A conversation with more openers than that gets no title.
const MAX_MESSAGES: u64 = 20;

/// The source of a title.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Text for the model.
    Text(String),
    /// A title made from a file name; no model call is needed.
    Title(Title),
}

/// The source in one message. `None` for a message without text or usable file name, and for an opener if `openers`
/// defer titles.
pub(super) fn of_message(text: &str, attachments: &[Attachment], openers: bool) -> Option<Source> {
    if text.trim().is_empty() {
        let names: Vec<&str> = attachments.iter().map(|file| file.name.as_str()).collect();
        return file_name::title_from(&names).map(Source::Title);
    }
    (!openers || opener::has_content(text)).then(|| Source::Text(text.to_owned()))
}

/// The source in a stored conversation's first messages.
///
/// # Errors
/// [`Error::Database`](crate::error::Error::Database).
pub(super) async fn of_conversation(
    db: &Database,
    owner: &Owner,
    id: ConversationId,
    openers: bool,
) -> Result<Option<Source>> {
    let messages = db.first_user_messages(owner, id, MAX_MESSAGES).await?;
    let source = |message: &Message| of_message(&message.content, &message.attachments, openers);
    Ok(messages.iter().find_map(source))
}
