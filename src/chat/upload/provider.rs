//! An event stream of a provider's API, as a program received it. Uses the decoder of our own model calls.

use std::time::Duration;

use futures_util::StreamExt;

use super::{UploadBody, UploadEvent, UploadStream, bytes, read_end};
use crate::{
    conversation::{PartContent, ReplyOutcome, ToolState},
    error::{Error, Result},
    llm::{Finish, ModelError, ModelErrorKind, ReplyChunk, Wire, decode_reply},
};

const COMPLETED: UploadEvent = UploadEvent::Finish {
    outcome: ReplyOutcome::Completed,
    reason: None,
};

pub(super) fn decode(wire: Wire, body: &UploadBody, deadline: Duration) -> UploadStream {
    let mut chunks = decode_reply(wire, bytes(body), deadline);
    let body = body.clone();
    async_stream::try_stream! {
        let mut has_calls = false;
        while let Some(chunk) = chunks.next().await {
            read_end(&body)?;
            match chunk {
                // The program executes the tool calls, so an answer with nothing else is complete.
                Ok(ReplyChunk::Finished(Finish::NoText)) if has_calls => yield COMPLETED,
                // An empty answer ends the reply: a program's model is not asked again.
                Err(error) if error.kind == ModelErrorKind::Empty => {
                    for event in events(ReplyChunk::Finished(Finish::NoText), &body) {
                        yield event;
                    }
                }
                Ok(chunk) => {
                    has_calls |= matches!(chunk, ReplyChunk::Tool(_));
                    for event in events(chunk, &body) {
                        yield event;
                    }
                }
                Err(error) => {
                    let end = failure(&error)?;
                    if let Some(end) = end {
                        yield end;
                    }
                    break;
                }
            }
        }
    }
    .boxed()
}

fn events(chunk: ReplyChunk, body: &UploadBody) -> Vec<UploadEvent> {
    match chunk {
        ReplyChunk::Started { response_id, model } => {
            let model = model.map(UploadEvent::Model);
            [UploadEvent::ResponseId(response_id)]
                .into_iter()
                .chain(model)
                .collect()
        }
        ReplyChunk::Delta(text) => vec![UploadEvent::Text(text)],
        ReplyChunk::Reasoning(text) => vec![UploadEvent::Part(PartContent::Reasoning { text })],
        ReplyChunk::Tool(call) => vec![UploadEvent::Part(PartContent::Tool {
            id: call.id,
            name: call.name,
            arguments: call.arguments,
            result: None,
            state: ToolState::Called,
        })],
        ReplyChunk::Usage(usage) => vec![UploadEvent::Usage(usage)],
        ReplyChunk::Finished(Finish::Stop) => vec![COMPLETED],
        // Broken off after a finish reason: the rest may follow in another upload.
        ReplyChunk::Finished(_) if body.is_broken() => Vec::new(),
        ReplyChunk::Finished(finish) => vec![UploadEvent::Finish {
            outcome: ReplyOutcome::Incomplete,
            reason: Some(finish.into()),
        }],
    }
}

/// The end of a stream that failed; `None` if it broke off.
///
/// # Errors
/// [`Error::UnknownFormat`] if the data is not an event stream of the provider's API.
fn failure(error: &ModelError) -> Result<Option<UploadEvent>> {
    match error.kind {
        ModelErrorKind::Interrupted | ModelErrorKind::Timeout => Ok(None),
        ModelErrorKind::Malformed => Err(Error::UnknownFormat(
            "the upload is not an event stream of its format",
        )),
        // The provider reported the failure.
        _ => Ok(Some(UploadEvent::Finish {
            outcome: ReplyOutcome::Failed,
            reason: None,
        })),
    }
}
