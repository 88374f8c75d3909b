//! Serving the schema over HTTP and WebSocket, with the library's own transports.

use std::sync::Arc;

use async_graphql::{
    Data, Executor, Request, Response,
    http::{ALL_WEBSOCKET_PROTOCOLS, GraphiQLSource, parse_query_string},
    parser::types::OperationType,
};
use async_graphql_axum::{GraphQLProtocol, GraphQLWebSocket};
use axum::{
    Json, Router,
    extract::{
        FromRef, FromRequestParts, RawQuery, Request as HttpRequest, State, WebSocketUpgrade,
    },
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response as HttpResponse},
    routing::get,
};
use futures_util::{StreamExt, stream::BoxStream};

use super::{
    TitlecastSchema,
    errors::{refusal, with_codes},
    loaders,
};
use crate::{
    api::{Services, auth::Principal, rest, rest::json_body},
    conversation::Owner,
    error::{Error, Result},
};

/// The largest message and frame of a WebSocket, in bytes.
const MAX_FRAME_BYTES: usize = 64 * 1024;

#[derive(Clone, FromRef)]
struct Served {
    schema: TitlecastSchema,
    services: Arc<Services>,
}

pub(super) fn routes(schema: TitlecastSchema, services: Arc<Services>) -> Router {
    Router::new()
        .route("/graphql", get(by_get).post(by_post))
        .route("/graphiql", get(explorer))
        .with_state(Served { schema, services })
}

async fn explorer() -> Html<String> {
    let page = GraphiQLSource::build()
        .endpoint("/graphql")
        .subscription_endpoint("/graphql")
        .title("Titlecast");
    Html(page.finish())
}

async fn by_post(
    State(served): State<Served>,
    Principal(owner): Principal,
    request: HttpRequest,
) -> HttpResponse {
    let parsed = match json_body(request).await {
        Ok(body) => serde_json::from_value::<Request>(body)
            .map_err(|_| Error::invalid("the body must be an object with a string in `query`")),
        Err(error) => Err(error),
    };
    answer(&served, owner, parsed).await
}

/// A query, or the upgrade to a WebSocket.
async fn by_get(
    State(served): State<Served>,
    Principal(owner): Principal,
    RawQuery(query): RawQuery,
    request: HttpRequest,
) -> HttpResponse {
    if request.headers().contains_key(header::UPGRADE) {
        return upgrade(served, owner, request).await;
    }
    answer(&served, owner, query_of(query.as_deref())).await
}

fn query_of(query: Option<&str>) -> Result<Request> {
    let mut request = parse_query_string(query.unwrap_or_default())
        .map_err(|_| Error::invalid("the query string must hold `query`"))?;
    let name = request.operation_name.clone();
    let is_query = match request.parsed_query() {
        // What is wrong with it is told by the execution.
        Err(_) => true,
        Ok(document) => document
            .operations
            .iter()
            .filter(|(operation, _)| {
                name.is_none() || operation.map(|operation| operation.as_str()) == name.as_deref()
            })
            .all(|(_, operation)| operation.node.ty == OperationType::Query),
    };
    // A link that changes something could be followed by accident, or be planted.
    match is_query {
        true => Ok(request),
        false => Err(Error::MethodNotAllowed),
    }
}

async fn answer(served: &Served, owner: Owner, request: Result<Request>) -> HttpResponse {
    match request {
        Ok(request) => {
            let executor = served.executor(owner);
            (StatusCode::OK, Json(executor.execute(request).await)).into_response()
        }
        Err(error) => (rest::status(error.code()), Json(refusal(error))).into_response(),
    }
}

async fn upgrade(served: Served, owner: Owner, request: HttpRequest) -> HttpResponse {
    let (mut parts, _) = request.into_parts();
    let protocol = match GraphQLProtocol::from_request_parts(&mut parts, &()).await {
        Ok(protocol) => protocol,
        Err(rejection) => return rejection.into_response(),
    };
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    upgrade
        .protocols(ALL_WEBSOCKET_PROTOCOLS)
        .max_message_size(MAX_FRAME_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .on_upgrade(async move |socket| {
            let closing = served.services.closing.clone();
            let socket = GraphQLWebSocket::new(socket, served.executor(owner), protocol).serve();
            // A socket that stays open would hold up the shutdown for ever.
            closing.run_until_cancelled(socket).await;
        })
}

impl Served {
    fn executor(&self, owner: Owner) -> ForOwner {
        ForOwner {
            schema: self.schema.clone(),
            services: self.services.clone(),
            owner,
        }
    }
}

/// Executes requests of one owner, and sees to it that every error has a code.
#[derive(Clone)]
struct ForOwner {
    schema: TitlecastSchema,
    services: Arc<Services>,
    owner: Owner,
}

impl ForOwner {
    fn owned(&self, request: Request) -> Request {
        request
            .data(self.owner.clone())
            .data(loaders::messages(self.services.clone(), self.owner.clone()))
    }
}

impl Executor for ForOwner {
    async fn execute(&self, request: Request) -> Response {
        with_codes(self.schema.execute(self.owned(request)).await)
    }

    fn execute_stream(
        &self,
        request: Request,
        session_data: Option<Arc<Data>>,
    ) -> BoxStream<'static, Response> {
        Executor::execute_stream(&self.schema, self.owned(request), session_data)
            .map(with_codes)
            .boxed()
    }
}
