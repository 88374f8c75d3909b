//! GraphQL over WebSocket: `graphql-transport-ws` (graphql-ws's PROTOCOL.md) and the older `graphql-ws`
//! (subscriptions-transport-ws), which some clients still fall back to.

mod protocol;
mod session;

use axum::{
    extract::{
        WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket},
    },
    http::{header, request::Parts},
    response::Response,
};
use std::time::Duration;

use futures_util::SinkExt;
use tokio::time::timeout;

use self::{
    protocol::{Close, Protocol},
    session::Session,
};
use super::{Endpoint, Service};

/// Of the default 128 KiB for each direction, an idle connection would use none and hold both. What clients
/// send is small: a longer message takes more than one read.
const READ_BYTES: usize = 2 * 1024;
/// What is written is held back until there is so much of it, or it is flushed.
const WRITE_BYTES: usize = 4 * 1024;

/// How long the last word may take, also after a write that stalled: a peer that reads again gets it.
const GOODBYE: Duration = Duration::from_secs(2);

/// Answers the opening handshake. The subprotocol is the first of the client's that is spoken here;
/// without one the socket is closed at once, with a code that says so.
pub(super) async fn open<S: Service>(
    endpoint: Endpoint<S>,
    upgrade: WebSocketUpgrade,
    parts: &Parts,
) -> Response {
    // Read from the headers themselves: axum hands the names out in an order of its own.
    let offered = parts.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let protocol = offered
        .iter()
        .filter_map(|names| names.to_str().ok())
        .flat_map(|names| names.split(','))
        .find_map(|name| Protocol::named(name.trim()));
    // Not decided yet: browsers bring their credentials with `connection_init`.
    let opener = endpoint.inner.service.caller(parts).await;
    let message_bytes = endpoint.inner.settings.message_bytes;
    let upgrade = upgrade
        .protocols(protocol.map(Protocol::name))
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES)
        .max_write_buffer_size(16 * message_bytes)
        .max_message_size(message_bytes)
        .max_frame_size(message_bytes);
    upgrade.on_upgrade(async move |socket| {
        let Some(protocol) = protocol else {
            return close(socket, Close::SUBPROTOCOL).await;
        };
        let _open = endpoint.inner.cohorts.counters().socket();
        let (socket, end) = Session::new(endpoint, socket, protocol, opener).run().await;
        if let Some(end) = end {
            close(socket, end).await;
        }
    })
}

/// Says why and closes.
async fn close(mut socket: WebSocket, close: Close) {
    let frame = CloseFrame {
        code: close.code,
        reason: close.reason().into(),
    };
    // A peer that is gone, or does not read, need not be told.
    let _ = timeout(GOODBYE, async {
        socket.send(Message::Close(Some(frame))).await?;
        socket.close().await
    })
    .await;
}
