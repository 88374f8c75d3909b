//! The SSE wires: turns events into frames, and frames into a response. Each wire of a turn is a `TurnEncoder`.
//!
//! A frame is one `data: {json}` line and an empty line. Existing clients split the byte stream at empty lines, skip
//! lines that do not begin with `data: `, and parse the rest as JSON. So a frame has one data line, no CR, and none of
//! the characters at which some line readers split.

mod agui;
mod blocks;
mod chat;
pub(super) mod feed;
mod frame;
pub(super) mod ledger;
mod public;
pub(super) mod titles;
mod tools;
mod ui;

use std::{io, sync::Arc, time::Duration};

use async_stream::stream;
use axum::{
    body::{Body, Bytes},
    http::{HeaderName, HeaderValue},
    response::Response,
};
use futures_util::{Stream, StreamExt, stream};
use graphql_transport::{chunked_stream, direct::Detach, stream_head};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

pub(super) use self::{
    agui::RunIds, chat::Event as StreamEvent, feed::FeedEvent, titles::TitleEvent,
};
use super::{
    Services,
    turn::{self, TurnEvent},
};
use crate::chat::SentMessage;

const PING: &[u8] = b": ping\n\n";

/// The contract of a legacy stream. `Legacy`: one event shape with `is_terminal`, titles as JSON events. `PublicSseV1`:
/// events by kind that end with `final` or `error`, titles as text.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    clap::ValueEnum,
    strum::EnumString,
    strum::IntoStaticStr,
    utoipa::ToSchema,
)]
#[expect(
    missing_docs,
    reason = "doc comments on the variants would lengthen the help"
)]
#[schema(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Contract {
    #[default]
    Legacy,
    PublicSseV1,
}

/// Encodes the events of one turn for one wire.
trait TurnEncoder: Send + 'static {
    /// The frames of an event.
    fn encode(&mut self, event: &TurnEvent) -> Vec<Bytes>;
}

/// Options of a turn's stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StreamOptions {
    /// Send `id:` lines, which clients need to resume.
    pub(super) with_ids: bool,
    /// The client has reconnected, so begin with a snapshot at its position.
    pub(super) is_resumed: bool,
    /// Close the stream at shutdown, because the reply does not depend on it.
    pub(super) is_read_only: bool,
}

/// Streams a turn under a contract.
pub(super) fn respond(
    services: Arc<Services>,
    sent: SentMessage,
    until: Option<Instant>,
    contract: Contract,
    options: StreamOptions,
) -> Response {
    let http = services.http.clone();
    match contract {
        Contract::Legacy => {
            let encoder = chat::LegacyEncoder::new(&sent, options, http);
            stream_turn(services, sent, until, options, encoder)
        }
        Contract::PublicSseV1 => {
            let encoder = public::PublicEncoder::new(&sent, http);
            stream_turn(services, sent, until, options, encoder)
        }
    }
}

/// Streams a turn to the AI SDK. `is_read_only` if the reply does not depend on this stream.
pub(super) fn respond_ui(
    services: Arc<Services>,
    sent: SentMessage,
    until: Option<Instant>,
    is_read_only: bool,
) -> Response {
    let encoder = ui::UiEncoder::new(&sent, services.http.clone());
    let options = StreamOptions {
        is_read_only,
        ..StreamOptions::default()
    };
    let mut response = stream_turn(services, sent, until, options, encoder);
    let name = HeaderName::from_static("x-vercel-ai-ui-message-stream");
    let version = HeaderValue::from_static("v1");
    response.headers_mut().insert(name, version);
    response
}

/// Streams a turn to an AG-UI client.
pub(super) fn respond_agui(
    services: Arc<Services>,
    sent: SentMessage,
    until: Option<Instant>,
    ids: RunIds,
) -> Response {
    let encoder = agui::AgUiEncoder::new(&sent, ids, services.http.clone());
    stream_turn(services, sent, until, StreamOptions::default(), encoder)
}

fn stream_turn(
    services: Arc<Services>,
    sent: SentMessage,
    until: Option<Instant>,
    options: StreamOptions,
    mut encoder: impl TurnEncoder,
) -> Response {
    let keep_alive = services.keep_alive;
    let cut = match options.is_read_only || sent.reply.is_remote {
        true => services.closing.clone(),
        false => CancellationToken::new(),
    };
    let events = turn::events(services, sent, until, options.is_resumed);
    let frames = events.flat_map(move |event| stream::iter(encoder.encode(&event)));
    response(frames, keep_alive, cut)
}

/// Streams frames, with a comment after each idle `keep_alive`. `cut` aborts the connection: after a regular end of the
/// body, clients would treat the text as complete.
fn response(
    frames: impl Stream<Item = Bytes> + Send + 'static,
    keep_alive: Duration,
    cut: CancellationToken,
) -> Response {
    let body = stream! {
        let mut frames = std::pin::pin!(frames);
        loop {
            let next = cut.run_until_cancelled(timeout(keep_alive, frames.next()));
            match next.await {
                Some(Ok(Some(frame))) => yield Ok(frame),
                Some(Ok(None)) => break,
                Some(Err(_)) => yield Ok(Bytes::from_static(PING)),
                None => {
                    yield Err(io::Error::from(io::ErrorKind::ConnectionAborted));
                    break;
                }
            }
        }
    };
    head(Body::from_stream(body))
}

/// Like [`response`], for streams that do not end by themselves. Detaches the connection from the HTTP server where
/// possible, which frees the buffers for further requests.
fn long_lived(
    detach: Option<Detach>,
    frames: impl Stream<Item = Bytes> + Send + 'static,
    keep_alive: Duration,
) -> Response {
    match detach {
        Some(detach) => chunked_stream(detach, head(Body::empty()), frames, keep_alive, PING),
        None => response(frames, keep_alive, CancellationToken::new()),
    }
}

fn head(body: Body) -> Response {
    stream_head("text/event-stream", body)
}
