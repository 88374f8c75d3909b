//! GraphQL over WebSocket: `graphql-transport-ws` (graphql-ws's PROTOCOL.md) and the older `graphql-ws`
//! (subscriptions-transport-ws), which some clients still fall back to.
//!
//! A socket has one task, which reads it, and answers what is asked. The events of subscriptions that are
//! shared do not pass through it: their cohort writes them to the socket (`direct`), and the task
//! only sends on what the socket did not take.

mod opening;
mod protocol;
mod session;
mod socket;

use std::time::Duration;

use axum::{
    http::request::Parts,
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

/// How long the last word may take, also after a write that stalled: a peer that reads again gets it.
const GOODBYE: Duration = Duration::from_secs(2);

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
        let backlog = Backlog::new(socket.link().clone(), GOODBYE);
        let _ = timeout(GOODBYE, backlog.drain()).await;
    }
}
