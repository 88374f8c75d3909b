//! One append: finds the bytes that are not stored yet, and stores them.

use std::sync::Arc;

use super::{
    MAX_REPLY_BYTES, ReplyProgress,
    session::{self, Session, Writing, settle},
};
use crate::{
    chat::{Chat, writer::ReplyWriter},
    conversation::{Part, PartContent},
    error::{Error, Result},
    events::ReplyLog,
};

/// Text and parts to append.
#[derive(Clone, Debug, Default)]
pub struct Append {
    /// The byte offset in the reply's text at which the append begins.
    pub offset: usize,
    /// The text; may be empty.
    pub text: String,
    /// The parts after the text.
    pub parts: Vec<PartContent>,
}

impl Append {
    /// The suffix of the text that is not in `written` yet.
    ///
    /// # Errors
    /// [`Error::OffsetMismatch`] if the append leaves a gap or differs from the written text.
    pub(super) fn rest(&self, written: &str) -> Result<&str> {
        let mismatch = || Error::OffsetMismatch {
            expected: written.len(),
        };
        let known = written.get(self.offset..).ok_or_else(mismatch)?;
        match self.text.strip_prefix(known) {
            Some(rest) => Ok(rest),
            None if known.starts_with(&self.text) => Ok(""),
            None => Err(mismatch()),
        }
    }
}

/// Appends to a session. `None` if another node runs the reply.
pub(super) async fn append(
    chat: &Chat,
    session: &Arc<Session>,
    append: &Append,
) -> Result<Option<ReplyProgress>> {
    if session.log().is_held() {
        return Err(Error::ReplyBusy);
    }
    let mut writing = session.writing().await?;
    let Some(writer) = writing.as_mut() else {
        return Ok(None);
    };
    let log = session.log();
    if log.stopped().is_cancelled() {
        return lost(chat, session, writing).await;
    }
    let written = log.text();
    let rest = match append.rest(&written) {
        Ok(rest) => rest,
        // Another node may have continued the reply, and the bytes may fit there.
        Err(mismatch) => match session.checkpoint(chat, "").await? {
            true => return Err(mismatch),
            false => return lost(chat, session, writing).await,
        },
    };
    if written.len() + rest.len() > MAX_REPLY_BYTES {
        return Err(Error::PayloadTooLarge {
            limit_bytes: MAX_REPLY_BYTES,
        });
    }
    // Store first: readers see only text of the node that runs the reply.
    if !session.checkpoint(chat, rest).await? {
        return lost(chat, session, writing).await;
    }
    if !rest.is_empty() {
        writer.append(rest);
    }
    let before = log.changes();
    let mut known = log.parts();
    for part in &append.parts {
        add_part(writer, log, part.clone(), &mut known);
    }
    if log.changes() > before && !session.checkpoint(chat, "").await? {
        return lost(chat, session, writing).await;
    }
    session.touch();
    Ok(Some(progress(chat, session)))
}

/// The progress of a session after a checkpoint.
pub(super) fn progress(chat: &Chat, session: &Session) -> ReplyProgress {
    ReplyProgress {
        reply_id: session.turn().reply_id,
        offset: session.log().length(),
        outcome: None,
        lease: chat.inner.settings.external_lease,
    }
}

async fn lost(
    chat: &Chat,
    session: &Arc<Session>,
    writing: Writing<'_>,
) -> Result<Option<ReplyProgress>> {
    let fenced = match session.log().stopped().is_cancelled() {
        true => {
            session::end(
                chat,
                session,
                writing,
                crate::events::run::Outcome::Stopped,
                None,
            )
            .await?;
            return Err(Error::ReplyStopped);
        }
        false => settle(chat, session, writing).await?,
    };
    session::refusal(fenced).map_or(Ok(None), Err)
}

/// Adds a part unless it is already stored: a program resends parts whose outcome it does not know. `known` holds the
/// parts stored before the request. Each of them matches one resent part, so equal parts within one request are kept.
pub(super) fn add_part(
    writer: &mut ReplyWriter,
    log: &ReplyLog,
    part: PartContent,
    known: &mut Vec<Arc<Part>>,
) {
    match &part {
        PartContent::Reasoning { text } => writer.append_reasoning(text),
        PartContent::Tool { id, .. } if !id.is_empty() => writer.put_tool(part),
        PartContent::Data { id: Some(_), .. } => writer.put_data(part),
        PartContent::Tool { .. } | PartContent::Data { .. } => {
            let at = log.length();
            let is_same = |known: &Arc<Part>| known.at == at && known.content == part;
            match known.iter().position(is_same) {
                Some(place) => drop(known.remove(place)),
                None => writer.add_part(part),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_append_is_compared_with_what_is_written() {
        let rest = |offset, text: &str| {
            let append = Append {
                offset,
                text: text.into(),
                parts: Vec::new(),
            };
            match append.rest("Grüße") {
                Ok(rest) => Ok(rest.to_owned()),
                Err(Error::OffsetMismatch { expected }) => Err(expected),
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(rest(7, " an alle"), Ok(" an alle".into()));
        assert_eq!(rest(7, ""), Ok("".into()));
        assert_eq!(rest(0, "Grüße"), Ok("".into()), "all of it is there");
        assert_eq!(rest(0, "Gr"), Ok("".into()), "a part of it is there");
        assert_eq!(rest(4, "ße an"), Ok(" an".into()), "it overlaps");
        assert_eq!(rest(0, "Hallo"), Err(7), "other bytes");
        assert_eq!(rest(8, "!"), Err(7), "a gap");
        assert_eq!(rest(3, "?"), Err(7), "within a character");
    }
}
