//! Attachments of messages: names, media types and ids only. The client keeps the files.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::text::single_line;

/// The maximum number of attachments of one message.
pub const MAX_ATTACHMENTS: usize = 20;

/// The maximum length of a file's name and of its media type, in characters.
const MAX_NAME_CHARS: usize = 255;
const MAX_MEDIA_TYPE_CHARS: usize = 127;

/// A file that is attached to a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The file name, one line.
    pub name: String,
    /// The media type, such as `application/pdf`, if the client knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The file's id in the client's own store, which legacy clients send and read back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_id: Option<String>,
}

/// Why an attachment is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAttachment {
    /// The name has no visible character.
    #[error("an attachment needs a name")]
    NoName,
    /// The name is too long.
    #[error("an attachment's name has at most 255 characters")]
    NameTooLong,
    /// The media type is malformed.
    #[error(
        "an attachment's media type must be 1 to 127 visible ASCII characters, such as image/png"
    )]
    MediaType,
}

impl Attachment {
    /// Validates an attachment from a client's input.
    ///
    /// # Errors
    /// [`InvalidAttachment`].
    pub fn new(name: &str, media_type: Option<String>) -> Result<Self, InvalidAttachment> {
        let name = single_line(name);
        if name.is_empty() {
            return Err(InvalidAttachment::NoName);
        }
        if name.chars().count() > MAX_NAME_CHARS {
            return Err(InvalidAttachment::NameTooLong);
        }
        if let Some(media_type) = &media_type
            && (!(1..=MAX_MEDIA_TYPE_CHARS).contains(&media_type.len())
                || !media_type.contains('/')
                || !media_type.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(InvalidAttachment::MediaType);
        }
        Ok(Self {
            name,
            media_type,
            object_id: None,
        })
    }

    /// An attachment from input that must not be rejected: truncates a long name, and drops a malformed media type or
    /// id. `None` if there is neither a name nor an id.
    pub fn lenient(
        name: Option<&str>,
        media_type: Option<&str>,
        object_id: Option<&str>,
    ) -> Option<Self> {
        let object_id = object_id
            .map(single_line)
            .filter(|id| !id.is_empty() && id.chars().count() <= MAX_NAME_CHARS);
        let name = name.map(single_line).filter(|name| !name.is_empty());
        let name = name.or_else(|| object_id.clone())?;
        let name: String = name.chars().take(MAX_NAME_CHARS).collect();
        let typed = Self::new(&name, media_type.map(str::to_owned));
        let file = typed.or_else(|_| Self::new(&name, None)).ok()?;
        Some(Self { object_id, ..file })
    }
}

/// The text to show for a message: its text, or the names of its attachments if it has no text.
pub fn shown_text<'a>(text: &'a str, attachments: &[Attachment]) -> Cow<'a, str> {
    if !text.trim().is_empty() || attachments.is_empty() {
        return text.into();
    }
    let names: Vec<&str> = attachments.iter().map(|file| file.name.as_str()).collect();
    names.join(", ").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_visible_line() {
        let file = |name: &str| Attachment::new(name, None).map(|file| file.name);
        assert_eq!(file(" a\u{202E}fdp.exe\n"), Ok("afdp.exe".into()));
        assert_eq!(file("\u{200B}"), Err(InvalidAttachment::NoName));
        assert_eq!(file(&"x".repeat(256)), Err(InvalidAttachment::NameTooLong));
        let typed = |media_type: &str| Attachment::new("a", Some(media_type.into())).is_ok();
        assert!(typed("image/svg+xml;charset=utf-8"));
        assert!(!typed("") && !typed("png") && !typed("image/ png"));
    }

    #[test]
    fn a_lenient_attachment_keeps_what_is_valid() {
        let file = Attachment::lenient(Some("a.pdf"), Some("pdf"), Some("42")).unwrap();
        assert_eq!((&*file.name, file.media_type), ("a.pdf", None));
        assert_eq!(file.object_id.as_deref(), Some("42"));
        let file = Attachment::lenient(Some(" "), None, Some("42")).unwrap();
        assert_eq!(file.name, "42");
        let long = "x".repeat(300);
        let file = Attachment::lenient(Some(&long), None, Some(&long)).unwrap();
        assert_eq!((file.name.len(), file.object_id), (255, None));
        assert_eq!(Attachment::lenient(None, Some("image/png"), None), None);
    }

    #[test]
    fn a_message_without_a_text_shows_its_files() {
        let files = ["a.pdf", "b.png"].map(|name| Attachment::new(name, None).unwrap());
        assert_eq!(shown_text("What is this?", &files), "What is this?");
        assert_eq!(shown_text(" ", &files), "a.pdf, b.png");
        assert_eq!(shown_text("", &[]), "");
    }
}
