//! Exports what a user owns and has written.

use std::{io, sync::Arc, time::Duration};

use async_stream::stream;
use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderValue, header},
    response::Response,
};
use futures_util::StreamExt;
use tokio::{
    sync::mpsc::{Sender, channel},
    time::{Instant, timeout, timeout_at},
};

use super::{
    RestError,
    authorized::{Authorized, ToRead},
};
use crate::{
    api::Services,
    conversation::Owner,
    db::{Act, ExportScope},
    error::Result,
};

/// Time limit of an export, because it holds a snapshot and a connection.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// How long a client may go without reading.
const STALLED: Duration = Duration::from_secs(30);

/// Streams the caller's conversations as JSON lines, as `titlecast export` prints them. Where the tenant shares
/// conversations, lines with the messages that the caller wrote in other users' conversations follow.
#[utoipa::path(
    get, path = "/api/v1/export", operation_id = "exportConversations", tag = "conversations",
    security(("bearer" = ["conversations:read"])),
    responses((
        status = 200, description = "One conversation per line. A body that is cut off is incomplete",
        body = String, content_type = "application/jsonl",
    )),
    extensions(("x-error-codes" = json!(["OVERLOADED", "RATE_LIMITED"]))),
)]
pub(super) async fn export(
    State(services): State<Arc<Services>>,
    caller: Authorized<ToRead>,
) -> Result<Response, RestError> {
    let slot = services.users.stream(&caller.rate_limit_key)?;
    let Owner { tenant, user } = caller.caller().clone();
    let scope = ExportScope {
        tenant: Some(tenant.clone()),
        user: Some(user.clone()),
        since: None,
        as_guest: caller.reach().visibility().is_shared(),
    };
    let lines = services.db.export(scope).await?;
    // Recorded only once the export has begun, because a refused export is not an act.
    services
        .db
        .record_act_on(&tenant, &user, Act::Exported, None)
        .await?;
    let deadline = Instant::now() + LONGEST;
    let deadline = caller.until.map_or(deadline, |until| until.min(deadline));
    let (pieces, mut received) = channel(1);
    // A separate task, because a body is polled only while the client reads, and a slow client must not hold the
    // snapshot.
    let closing = services.closing.clone();
    services.tasks.spawn(async move {
        let _slot = slot;
        let sending = timeout_at(deadline, send(lines, pieces));
        // If the export is cut off, the last piece is missing, and so the body ends with an error.
        let _ = closing.run_until_cancelled(sending).await;
    });
    let body = stream! {
        while let Some(piece) = received.recv().await {
            match piece {
                Some(piece) => yield Ok(piece),
                // The end marker.
                None => return,
            }
        }
        yield Err(io::Error::from(io::ErrorKind::ConnectionAborted));
    };
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/jsonl"),
    );
    headers.insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"conversations.jsonl\""),
    );
    Ok(response)
}

/// Sends the pieces, then `None`. After an error, or if the client stops reading, ends without `None`.
async fn send(
    lines: impl futures_util::Stream<Item = Result<String>>,
    pieces: Sender<Option<Bytes>>,
) {
    let mut lines = std::pin::pin!(lines);
    loop {
        let piece = match lines.next().await {
            Some(Ok(piece)) => Some(Bytes::from(piece)),
            Some(Err(error)) => return error.log(),
            None => None,
        };
        let is_last = piece.is_none();
        match timeout(STALLED, pieces.send(piece)).await {
            Ok(Ok(())) if !is_last => {}
            _ => return,
        }
    }
}
