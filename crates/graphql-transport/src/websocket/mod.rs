//! GraphQL over WebSocket: `graphql-transport-ws` (graphql-ws's PROTOCOL.md) and the older `graphql-ws`
//! (subscriptions-transport-ws), which some clients still fall back to.
//!
//! Each socket has one task that reads it and writes responses. Each operation runs in its own task (`operations`), so
//! a stalled peer delays delivery but never execution. Events of shared subscriptions bypass the socket's task: their
//! cohort writes them to the socket (`direct`), and the task only flushes the backlog.

mod opening;
mod operations;
mod protocol;
mod session;
mod socket;

use std::time::Duration;

use axum::{
    http::{HeaderMap, header, request::Parts},
    response::{IntoResponse, Response},
};
use tokio::time::timeout;
use tungstenite::{Message, protocol::CloseFrame};

pub use self::protocol::CloseCode;
use self::{
    opening::Opening,
    protocol::{Close, Protocol},
    session::Session,
    socket::{Gone, Socket},
};
use super::{
    Endpoint, Service,
    direct::{Backlog, DirectWrites, Link},
};

/// How long the peer may go without accepting a byte while the socket closes. Also applies after a stall, so that a
/// peer that resumes reading gets its close frame.
const CLOSE_STALL: Duration = Duration::from_secs(2);

/// Timeout of the whole close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether a request opens a WebSocket. Other upgrades are ignored (RFC 9110, section 7.8).
pub(super) fn is_asked_for(headers: &HeaderMap) -> bool {
    opening::has(headers, &header::UPGRADE, "websocket")
}

/// Answers the opening handshake and serves the socket in a new task.
///
/// Picks the client's first supported subprotocol. If there is none, the socket is opened and then closed with a code.
pub(super) async fn open<S: Service>(endpoint: Endpoint<S>, mut parts: Parts) -> Response {
    let opening = match Opening::read(&mut parts) {
        Ok(opening) => opening,
        Err(refusal) => return refusal.into_response(),
    };
    let protocol = opening
        .protocols
        .iter()
        .find_map(|name| Protocol::named(name));
    let response = opening.response(protocol.map(Protocol::name));
    // A failure is not final, because browsers send their credentials with `connection_init`.
    let opener = Box::new(endpoint.inner.service.caller(&parts).await);
    let (tasks, upgrade) = (endpoint.inner.tasks.clone(), opening.upgrade);
    let direct = parts.extensions.get::<DirectWrites>().copied();
    tasks.spawn(async move {
        // Fails if the client disconnected before the response.
        let Ok(upgraded) = upgrade.await else {
            return;
        };
        let link = match direct {
            None => Some((Link::of_upgraded(upgraded), Vec::new())),
            Some(direct) => (direct.of_upgraded)(upgraded),
        };
        let Some((link, read)) = link else {
            tracing::error!("WebSocket upgrade on a foreign connection type; closing it");
            return;
        };
        let _open = endpoint.inner.cohorts.counters().socket();
        let mut socket = Socket::new(link, read, endpoint.inner.settings.message_bytes);
        let end = match protocol {
            Some(protocol) => {
                Session::new(endpoint, &mut socket, protocol, opener)
                    .run()
                    .await
            }
            None => Some(CloseCode::Subprotocol.into()),
        };
        if let Some(end) = end {
            // Boxed, so that it adds nothing to the size of the socket's task.
            Box::pin(close(socket, &end)).await;
        }
    });
    response
}

/// Sends a close frame, then closes the connection.
async fn close(mut socket: Socket, close: &Close) {
    let frame = CloseFrame {
        code: close.code.number().into(),
        reason: close.reason().into(),
    };
    // Fails if the peer is gone.
    if socket.send([Message::Close(Some(frame))]).is_ok() {
        let link = socket.link();
        let backlog = Backlog::new(link.clone(), CLOSE_STALL);
        if timeout(CLOSE_TIMEOUT, backlog.drain()).await.is_ok() {
            // Closing a socket with unread data resets it, and the peer could lose the close frame.
            link.finish();
            let _ = timeout(CLOSE_STALL, link.closed()).await;
        }
    }
}
