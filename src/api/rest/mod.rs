//! The legacy HTTP routes, for existing clients that cannot change. Only this module and `sse` use the legacy names
//! (`agent_type`, `is_terminal`).

mod authorized;
mod chat;
mod conversations;
mod errors;
mod fields;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, header},
    middleware::{Next, from_fn, map_response},
    response::{IntoResponse, Response},
    routing::{get, patch, post},
};
use graphql_transport::EXECUTION;
use tokio::time::timeout;

pub(super) use self::{errors::RestError, fields::conversation_id};
pub use errors::status;

use super::Services;
use crate::{db::interrupt::interruptible, error::Error};

pub(super) fn routes() -> Router<Arc<Services>> {
    // No request deadline: reading a body has its own, and so has storing a message.
    let with_bodies = Router::new()
        .route("/api/v1/chat", post(chat::whole))
        .route("/api/v1/chat/stream", post(chat::streamed))
        .route(
            "/api/v1/conversations/{id}/title",
            patch(conversations::rename),
        )
        .layer(from_fn(async |request: Request, next: Next| {
            interruptible(next.run(request)).await
        }));
    let without = Router::new()
        .route("/api/v1/conversations", get(conversations::list))
        .route("/api/v1/conversations/search", get(conversations::search))
        .route(
            "/api/v1/conversations/{id}",
            get(conversations::history).delete(conversations::delete),
        )
        .route(
            "/api/v1/conversations/{id}/messages",
            get(conversations::messages),
        )
        .route("/api/v1/conversations/{id}/reply", get(chat::reply))
        .route(
            "/api/v1/conversations/{id}/stream",
            get(conversations::title_stream),
        );
    with_bodies
        .merge(with_deadline(without, EXECUTION))
        .layer(map_response(no_store))
}

/// Limits the time until a response begins. A stream may last longer.
fn with_deadline<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    limit: Duration,
) -> Router<S> {
    router.layer(from_fn(move |request: Request, next: Next| async move {
        let answered = until(limit, async { Ok(next.run(request).await) }).await;
        answered.unwrap_or_else(IntoResponse::into_response)
    }))
}

/// Runs a request's work until its deadline, which interrupts its SQL statements. Earlier commits stand.
async fn until<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, RestError>>,
) -> Result<T, RestError> {
    let late = |_| Err(Error::TimedOut { what: "request" }.into());
    timeout(limit, interruptible(work))
        .await
        .unwrap_or_else(late)
}

/// Forbids caching: a shared cache cannot recognise a token in a cookie.
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
