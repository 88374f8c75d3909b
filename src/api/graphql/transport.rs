//! Serving the schema over HTTP and WebSocket, with the library's own transports.

use std::sync::Arc;

use async_graphql::{
    Data, Executor, Request, Response,
    http::{ALL_WEBSOCKET_PROTOCOLS, GraphiQLSource},
    parser::types::OperationType,
};
use async_graphql_axum::{GraphQLProtocol, GraphQLWebSocket};
use axum::{
    Json, Router,
    extract::{FromRef, FromRequestParts, Query, Request as HttpRequest, State, WebSocketUpgrade},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
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

/// Where GraphQL is served, on every transport.
pub(in crate::api) const PATH: &str = "/graphql";

#[derive(Clone, FromRef)]
struct Served {
    schema: TitlecastSchema,
    services: Arc<Services>,
}

pub(super) fn routes(schema: TitlecastSchema, services: Arc<Services>) -> Router {
    Router::new()
        .route(PATH, get(by_get).post(by_post).fallback(no_such_method))
        .route("/graphiql", get(explorer))
        .with_state(Served { schema, services })
}

async fn explorer() -> Html<String> {
    let page = GraphiQLSource::build()
        .endpoint(PATH)
        .subscription_endpoint(PATH)
        .title("Titlecast");
    Html(page.finish())
}

async fn by_post(
    State(served): State<Served>,
    Principal(owner): Principal,
    request: HttpRequest,
) -> HttpResponse {
    let parsed = json_body(request).await.and_then(request_of);
    answer(&served, owner, parsed).await
}

/// The request in a body. The library's own reader takes an array for the fields of a request.
fn request_of(body: serde_json::Value) -> Result<Request> {
    let shape = || Error::invalid("the body must be an object with a string in `query`");
    if !body["query"].is_string() {
        return Err(shape());
    }
    serde_json::from_value(body).map_err(|_| shape())
}

/// Any other method.
async fn no_such_method() -> HttpResponse {
    refused(Error::MethodNotAllowed)
}

/// The answer to a request that did not get as far as being executed.
pub(in crate::api) fn refused(error: Error) -> HttpResponse {
    (rest::status(error.code()), Json(refusal(error))).into_response()
}

/// A query, or the upgrade to a WebSocket.
async fn by_get(
    State(served): State<Served>,
    Principal(owner): Principal,
    request: HttpRequest,
) -> HttpResponse {
    if request.headers().contains_key(header::UPGRADE) {
        return upgrade(served, owner, request).await;
    }
    answer(&served, owner, query_of(request.uri())).await
}

/// The parameters of a GET. The library's own reader of them does not know `operationName`.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct GetParameters {
    query: String,
    operation_name: Option<String>,
    variables: Option<String>,
}

fn query_of(uri: &Uri) -> Result<Request> {
    let Query(parameters) = Query::<GetParameters>::try_from_uri(uri)
        .map_err(|_| Error::invalid("the query string must hold `query`"))?;
    let mut request = Request::new(parameters.query);
    request.operation_name = parameters.operation_name;
    if let Some(variables) = parameters.variables {
        request.variables = serde_json::from_str(&variables)
            .map_err(|_| Error::invalid("`variables` must be a JSON object"))?;
    }
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
        Err(error) => refused(error),
    }
}

async fn upgrade(served: Served, owner: Owner, request: HttpRequest) -> HttpResponse {
    let (mut parts, _) = request.into_parts();
    // The upgrade chooses in its own order of preference, and the library in the client's: of
    // several only the client's first may be left, or one is agreed on and another is spoken.
    let Some(chosen) = chosen_protocol(&parts.headers) else {
        return refused(Error::invalid(
            "the WebSocket subprotocol must be graphql-transport-ws or graphql-ws",
        ));
    };
    parts.headers.insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(chosen),
    );
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

/// The first subprotocol offered that is spoken here.
fn chosen_protocol(headers: &HeaderMap) -> Option<&'static str> {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let mut offered = offered
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    offered.find_map(|name| {
        ALL_WEBSOCKET_PROTOCOLS
            .into_iter()
            .find(|known| *known == name.trim())
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
