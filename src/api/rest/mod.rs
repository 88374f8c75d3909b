//! The HTTP routes: the legacy routes for deployed clients that cannot change, recording, and the wires of chat front
//! ends (`front_ends`). Only this module and `sse` use the legacy names (`agent_type`, `is_terminal`).

mod answers;
mod authorized;
#[expect(dead_code, reason = "describes what the handlers read field by field")]
mod bodies;
mod chat;
mod conversations;
mod described;
mod described_events;
mod errors;
mod events;
mod export;
mod fields;
mod front_ends;
mod ingest;
mod me;
mod replies;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, header},
    middleware::{Next, from_fn, map_response},
    response::{IntoResponse, Response},
    routing::{delete, get, patch, post},
};
use graphql_transport::EXECUTION;
use tokio::time::timeout;
use utoipa::OpenApi;

pub(super) use self::{
    answers::ChangedConversation,
    errors::RestError,
    fields::{conversation_id, external_name, message_id},
};
pub use errors::status;

use super::{Services, sse};
use crate::{db::interrupt::interruptible, error::Error};

/// The operations of these routes, for openapi.json. A route without one fails `tests/it/openapi.rs`.
#[derive(OpenApi)]
#[openapi(
    paths(
        described::whole,
        described::streamed,
        described::reply,
        conversations::list,
        conversations::search,
        conversations::changes,
        conversations::history,
        conversations::delete,
        conversations::messages,
        conversations::rename,
        conversations::title_stream,
        events::items,
        events::ledger,
        events::ledger_stream,
        export::export,
        ingest::record,
        me::erase,
        replies::create,
        replies::append,
        replies::finish,
        replies::progress,
        described::ui_chat,
        described::ui_resume,
        described::ui_stop,
        described::agui,
    ),
    components(schemas(
        bodies::TitleContract,
        described_events::AgUiEvent,
        described_events::PublicEvent,
        described_events::UiPart,
        errors::ErrorBody,
        sse::Contract,
        sse::FeedEvent,
        sse::StreamEvent,
        sse::TitleEvent,
    ))
)]
pub(super) struct Operations;

pub(super) fn routes() -> Router<Arc<Services>> {
    // No request deadline: reading a body and storing a message have their own, and an erasure has none.
    let with_bodies = Router::new()
        .route("/api/v1/chat", post(chat::whole))
        .route("/api/v1/chat/stream", post(chat::streamed))
        .route(
            "/api/v1/conversations/{id}/title",
            patch(conversations::rename),
        )
        .route("/api/v1/ui/chat", post(front_ends::ui_chat))
        .route("/api/v1/ui/chat/{id}/stop", post(front_ends::ui_stop))
        .route("/api/v1/agui", post(front_ends::agui))
        .route("/api/v1/me", delete(me::erase))
        .route("/api/v1/conversations/{id}/messages", post(ingest::record))
        .route("/api/v1/conversations/{id}/replies", post(replies::create))
        .route(
            "/api/v1/conversations/{id}/replies/{reply_id}/append",
            post(replies::append),
        )
        .route(
            "/api/v1/conversations/{id}/replies/{reply_id}/finish",
            post(replies::finish),
        )
        .layer(from_fn(async |request: Request, next: Next| {
            interruptible(next.run(request)).await
        }));
    let without = Router::new()
        .route("/api/v1/conversations", get(conversations::list))
        .route("/api/v1/conversations/search", get(conversations::search))
        .route("/api/v1/conversations/changes", get(conversations::changes))
        .route(
            "/api/v1/conversations/{id}",
            get(conversations::history).delete(conversations::delete),
        )
        .route(
            "/api/v1/conversations/{id}/messages",
            get(conversations::messages),
        )
        .route("/api/v1/conversations/{id}/reply", get(chat::reply))
        .route("/api/v1/conversations/{id}/events", get(events::items))
        .route(
            "/api/v1/conversations/{id}/ledger/events",
            get(events::ledger),
        )
        .route(
            "/api/v1/conversations/{id}/ledger/stream",
            get(events::ledger_stream),
        )
        .route("/api/v1/export", get(export::export))
        .route("/api/v1/ui/chat/{id}/stream", get(front_ends::ui_resume))
        .route(
            "/api/v1/conversations/{id}/replies/{reply_id}",
            get(replies::progress),
        )
        .route(
            "/api/v1/conversations/{id}/stream",
            get(conversations::title_stream),
        );
    with_bodies
        .merge(with_deadline(without, EXECUTION))
        .layer(map_response(no_store))
}

/// Limits the time until a response begins. A stream may take longer.
fn with_deadline<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    limit: Duration,
) -> Router<S> {
    router.layer(from_fn(move |request: Request, next: Next| async move {
        let answered = until(limit, async { Ok(next.run(request).await) }).await;
        answered.unwrap_or_else(IntoResponse::into_response)
    }))
}

/// Runs a request's work until its deadline, then interrupts its SQL statements. Earlier commits remain.
async fn until<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, RestError>>,
) -> Result<T, RestError> {
    let late = |_| Err(Error::TimedOut { what: "request" }.into());
    timeout(limit, interruptible(work))
        .await
        .unwrap_or_else(late)
}

/// Forbids caching, because a shared cache does not recognise a token in a cookie.
async fn no_store(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let cache = headers.entry(header::CACHE_CONTROL);
    cache.or_insert(HeaderValue::from_static("no-store"));
    response
}

pub(super) async fn no_such_path() -> RestError {
    RestError(Error::NotFound { what: "path" })
}

pub(super) async fn method_not_allowed() -> RestError {
    RestError(Error::MethodNotAllowed)
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::StatusCode,
    };
    use serde_json::Value;
    use tokio::sync::oneshot;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_request_that_takes_too_long_is_ended_with_an_answer() {
        let (running, mut ended) = oneshot::channel::<()>();
        let running = Arc::new(std::sync::Mutex::new(Some(running)));
        let endless = move || {
            let running = running.lock().unwrap().take();
            async move {
                let _running = running;
                std::future::pending::<()>().await;
            }
        };
        let routes = Router::new()
            .route("/endless", get(endless))
            .route("/quick", get(async || "here"));
        let routes = with_deadline(routes, Duration::from_millis(50));
        let ask = async |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let answering = routes.clone().oneshot(request);
            let answered = timeout(Duration::from_secs(5), answering).await;
            answered.expect("the route has no deadline").unwrap()
        };
        assert_eq!(ask("/quick").await.status(), StatusCode::OK);
        let late = ask("/endless").await;
        assert_eq!(late.status(), StatusCode::SERVICE_UNAVAILABLE);
        let page = to_bytes(late.into_body(), 1_000).await.unwrap();
        let page: Value = serde_json::from_slice(&page).unwrap();
        assert_eq!(page["code"], "TIMEOUT");
        assert_eq!(
            page["message"],
            "the request took too long; try again, or request less"
        );
        // The handler was cancelled.
        assert!(
            ended
                .try_recv()
                .is_err_and(|error| error == oneshot::error::TryRecvError::Closed)
        );
    }
}
