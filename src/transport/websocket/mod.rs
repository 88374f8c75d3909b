//! GraphQL over WebSocket: `graphql-transport-ws` (graphql-ws's PROTOCOL.md) and the older `graphql-ws`
//! (subscriptions-transport-ws), which some clients still fall back to.
//!
//! A socket has one task, which reads it and writes answers. Operations are tasks of their own (`operations`), so a
//! peer that does not read holds up delivery, never execution. The events of subscriptions that are shared do not pass
//! through the socket's task: their cohort writes them to the socket (`direct`), and the task only sends on what the
//! socket did not take.

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
use super::{Endpoint, Service, direct::Backlog};
use crate::server::Link;

/// How long the peer may take nothing of what is left for it, also after a write that stalled: a peer that reads again
/// gets its close frame.
const CLOSE_STALL: Duration = Duration::from_secs(2);

/// How long all of that may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether a request opens a WebSocket. Any other upgrade is ignored (RFC 9110, section 7.8): the request is answered
/// as it is.
pub(super) fn is_asked_for(headers: &HeaderMap) -> bool {
    opening::has(headers, &header::UPGRADE, "websocket")
}

/// Answers the opening handshake. The subprotocol is the first of the client's that is spoken here;
/// without one the socket is closed at once, with a code that says so.
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
    // Not decided yet: browsers bring their credentials with `connection_init`.
    let opener = Box::new(endpoint.inner.service.caller(&parts).await);
    let (tasks, upgrade) = (endpoint.inner.tasks.clone(), opening.upgrade);
    tasks.spawn(async move {
        // The client left before the answer.
        let Ok(upgraded) = upgrade.await else {
            return;
        };
        let Some((link, read)) = Link::of_upgraded(upgraded) else {
            tracing::error!("a WebSocket came over a connection that is none of this server's");
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
            // Apart, so that its size is not the socket's for as long as that is open.
            Box::pin(close(socket, &end)).await;
        }
    });
    response
}

/// Says why and closes.
async fn close(mut socket: Socket, close: &Close) {
    let frame = CloseFrame {
        code: close.code.number().into(),
        reason: close.reason().into(),
    };
    // A peer that is gone, or does not read, need not be told.
    if socket.send([Message::Close(Some(frame))]).is_ok() {
        let link = socket.link();
        let backlog = Backlog::new(link.clone(), CLOSE_STALL);
        if timeout(CLOSE_TIMEOUT, backlog.drain()).await.is_ok() {
            // A socket that is closed with something unread is reset, and the peer may lose the close frame.
            link.finish();
            let _ = timeout(CLOSE_STALL, link.closed()).await;
        }
    }
}
