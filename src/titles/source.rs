//! What a title is made from: the first message of a person that says something.

use super::{file_name, opener};
use crate::{
    conversation::{Attachment, ConversationId, Message, Owner, Title},
    db::Database,
    error::Result,
};

/// How many of a conversation's messages are looked at: whoever has greeted so often wants no title.
const MESSAGES: u64 = 20;

/// What makes a title.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A text, for the model.
    Text(String),
    /// The name of a file says it already.
    Title(Title),
}

/// What a message has for a title. `None` for an opener, if `openers` wait; and for one without any text.
pub(super) fn of_message(text: &str, attachments: &[Attachment], openers: bool) -> Option<Source> {
    if text.trim().is_empty() {
        let names: Vec<&str> = attachments.iter().map(|file| file.name.as_str()).collect();
        return file_name::title_from(&names).map(Source::Title);
    }
    (!openers || opener::says_something(text)).then(|| Source::Text(text.to_owned()))
}

/// What a stored conversation has for a title.
///
/// # Errors
/// [`Error::Database`](crate::error::Error::Database).
pub(super) async fn of_conversation(
    db: &Database,
    owner: &Owner,
    id: ConversationId,
    openers: bool,
) -> Result<Option<Source>> {
    let messages = db.first_user_messages(owner, id, MESSAGES).await?;
    let source = |message: &Message| of_message(&message.content, &message.attachments, openers);
    Ok(messages.iter().find_map(source))
}
