//! Uploads: decodes replies, in the formats that programs already have, to [`UploadEvent`]s.
//!
//! | file | what it does |
//! | --- | --- |
//! | `body` | the bytes of a request: size limit, pauses, how they ended |
//! | `lines` | lines of bounded length |
//! | `sse` | joins lines to the data of server-sent events |
//! | `halves` | joins characters that were split over two texts |
//! | `ndjson` | our format: one JSON object a line |
//! | `ui_stream` | a UI message stream of the AI SDK |
//! | `provider` | an event stream of a provider's API |
//! | `parts` | the parts of a reply in JSON |

mod body;
mod halves;
mod lines;
mod ndjson;
pub mod parts;
mod provider;
mod sse;
mod ui_stream;

use std::{io, time::Duration};

use futures_util::{StreamExt, stream::BoxStream};
use serde_json::Value;

pub use self::body::{MAX_UPLOAD_BYTES, UploadBody};
use self::{body::BodyEnd, halves::Halves, lines::Lines, sse::Data};
use super::external::{UploadEvent, UploadStream};
use crate::{
    error::{Error, Result},
    llm::Wire,
};

/// The format of an upload.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr, strum::VariantNames,
)]
#[strum(serialize_all = "snake_case")]
pub enum Format {
    /// One JSON object a line.
    Ndjson,
    /// Events of OpenAI's Chat Completions API.
    ChatCompletions,
    /// Events of OpenAI's Responses API.
    Responses,
    /// A UI message stream of the AI SDK.
    UiMessageStream,
}

/// Decodes an upload. Without a format, the first event determines it.
///
/// # Errors
/// [`Error::UnknownFormat`] if the first event is of no known format; [`Error::PayloadTooLarge`] if the body is too
/// large; [`Error::SlowBody`] if it pauses too long.
pub async fn decode(
    body: &UploadBody,
    format: Option<Format>,
    deadline: Duration,
) -> Result<UploadStream> {
    let format = match format {
        Some(format) => format,
        None => match detect(body).await? {
            Some(format) => format,
            // Broken off before the first event.
            None => return Ok(futures_util::stream::empty().boxed()),
        },
    };
    let events = match format {
        // A line of another format is an error, and blank lines are heartbeats.
        Format::Ndjson => return Ok(ndjson(body.clone())),
        Format::UiMessageStream => ui_stream(body.clone()),
        Format::ChatCompletions => provider::decode(Wire::ChatCompletions, body, deadline),
        Format::Responses => provider::decode(Wire::Responses, body, deadline),
    };
    Ok(with_events(body.clone(), events))
}

/// Rejects an event stream that ended without an event of its format, because the decoders skip unknown events.
fn with_events(body: UploadBody, mut events: UploadStream) -> UploadStream {
    async_stream::try_stream! {
        let mut is_empty = true;
        while let Some(event) = events.next().await {
            let event = event?;
            // Other providers' events have token counts too, so usage does not prove the format.
            is_empty &= matches!(event, UploadEvent::Usage(_));
            yield event;
        }
        if is_empty && body.is_complete() {
            Err(Error::UnknownFormat("the upload has no event of its format"))?;
        }
    }
    .boxed()
}

/// Reads our format. Errors name the line.
fn ndjson(body: UploadBody) -> UploadStream {
    async_stream::try_stream! {
        let (mut lines, mut number) = (Lines::default(), 0);
        let mut halves = Halves::default();
        loop {
            while let Some(line) = lines.next().map_err(|error| error.of_line(number + 1))? {
                number += 1;
                for event in halves.events(&line, ndjson::events).map_err(|error| error.of_line(number))? {
                    yield event;
                }
            }
            match body.next().await {
                Some(bytes) => lines.push(&bytes),
                None => break,
            }
        }
        read_end(&body)?;
        // Ignore a line that was cut off: the next upload repeats it.
        let last = match body.is_complete() {
            true => lines.rest().map_err(|error| error.of_line(number + 1))?,
            false => None,
        };
        if let Some(line) = last {
            for event in halves.events(&line, ndjson::events).map_err(|error| error.of_line(number + 1))? {
                yield event;
            }
        }
    }
    .boxed()
}

/// Reads a UI message stream.
///
/// Programs that merge several streams write the start and the finish of each, and the SDK's client continues after a
/// finish. So the last finish counts: it is passed on at `[DONE]`, or when the upload ends, breaks off or pauses too
/// long.
fn ui_stream(body: UploadBody) -> UploadStream {
    async_stream::try_stream! {
        let (mut lines, mut data) = (Lines::default(), Data::default());
        let (mut halves, mut finish) = (Halves::default(), None);
        loop {
            while let Some(line) = lines.next()? {
                let Some(data) = data.push(&line)? else {
                    continue;
                };
                if ui_stream::is_done(&data)
                    && let Some(event) = finish.take()
                {
                    yield event;
                }
                for event in halves.events(&data, ui_stream::events)? {
                    match ui_stream::is_finish(&event) {
                        true => finish = Some(event),
                        false => {
                            finish = None;
                            yield event;
                        }
                    }
                }
            }
            match body.next().await {
                Some(bytes) => lines.push(&bytes),
                None => break,
            }
        }
        // Ignore an event that was cut off: the next upload repeats it.
        if body.is_complete() {
            let last = lines.rest()?.unwrap_or_default();
            for data in [data.push(&last)?, data.end()].into_iter().flatten() {
                for event in halves.events(&data, ui_stream::events)? {
                    finish = None;
                    yield event;
                }
            }
        }
        if let Some(event) = finish {
            yield event;
        }
        read_end(&body)?;
    }
    .boxed()
}

/// Fails if the body was too large or paused for too long.
fn read_end(body: &UploadBody) -> Result<()> {
    match body.end() {
        Some(BodyEnd::TooLarge) => Err(Error::PayloadTooLarge {
            limit_bytes: MAX_UPLOAD_BYTES,
        }),
        Some(BodyEnd::Idle) => Err(Error::SlowBody),
        Some(BodyEnd::Complete | BodyEnd::Broken) | None => Ok(()),
    }
}

/// Detects the format of an event stream by its first event; `None` if the upload breaks off before it.
async fn detect(body: &UploadBody) -> Result<Option<Format>> {
    let (mut lines, mut data) = (Lines::default(), Data::default());
    let mut read = Vec::new();
    let first = loop {
        match lines.next()? {
            Some(line) => match data.push(&line)? {
                Some(first) => break Some(first),
                None => continue,
            },
            None => match body.next().await {
                Some(bytes) => {
                    lines.push(&bytes);
                    read.extend_from_slice(&bytes);
                }
                None => {
                    read_end(body)?;
                    let last = lines.rest()?.unwrap_or_default();
                    break data.push(&last)?.or_else(|| data.end());
                }
            },
        }
    };
    let format = first.as_deref().and_then(detected);
    if format.is_none() && !body.is_broken() {
        return Err(Error::UnknownFormat(
            "the first event is of no known format; name the format in ?format=",
        ));
    }
    body.unread(read.into());
    Ok(format)
}

fn detected(data: &str) -> Option<Format> {
    let event: Value = serde_json::from_str(data).ok()?;
    if event.get("choices").is_some_and(Value::is_array) {
        return Some(Format::ChatCompletions);
    }
    match event.get("type")?.as_str()? {
        kind if kind.starts_with("response.") => Some(Format::Responses),
        kind if ui_stream::is_known(kind) => Some(Format::UiMessageStream),
        _ => None,
    }
}

/// The bytes of an upload, for a decoder.
fn bytes(body: &UploadBody) -> BoxStream<'static, io::Result<axum::body::Bytes>> {
    let body = body.clone();
    futures_util::stream::unfold(body, |body| async move {
        let read = body.next().await;
        let item = match read {
            Some(bytes) => Ok(bytes),
            None if body.is_complete() => return None,
            None => Err(io::ErrorKind::ConnectionAborted.into()),
        };
        Some((item, body))
    })
    .boxed()
}
