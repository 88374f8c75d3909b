//! The GraphQL schema and how it is served.
//!
//! Each part of the schema has a file: `objects`, `query`, `mutation`, `subscription` and `reply`. The protocols are in
//! [`graphql_transport`].

mod agents;
mod audit;
mod connections;
mod cost;
mod errors;
mod feed;
mod ingest;
mod introspection;
mod list_mutations;
mod lists;
mod loaders;
mod mutation;
mod objects;
mod operation;
mod parts;
mod query;
mod reply;
mod reply_mutations;
mod service;
mod subscription;
mod title_mutations;

use std::sync::Arc;

use async_graphql::{Schema, SchemaBuilder};
use axum::{
    Json, Router,
    http::header,
    response::{IntoResponse, Response},
};

use super::{Services, rest};
use graphql_transport::{Endpoint, Options, Settings, persisted::Documents};

use crate::{api::GRAPHQL_PATH, error::Error};

type TitlecastSchema = Schema<query::Query, mutation::Mutation, subscription::Subscription>;

/// The maximum complexity of an operation: its fields, with lists multiplied by their page size. Allows a default page
/// of conversations, each with a default page of messages with ids and texts.
const MAX_COMPLEXITY: usize = 8_000;

/// Settings of GraphQL.
#[derive(Clone, Debug)]
pub struct GraphqlSettings {
    /// Which documents may be executed.
    pub documents: Documents,
    /// Whether clients may read the schema, by introspection or by federation's `_service`.
    pub introspection: bool,
    /// Whether errors suggest similar names.
    pub suggestions: bool,
}

/// The response to a request that is rejected before it reaches the transports.
pub(super) fn refused(error: Error) -> Response {
    let (code, seconds) = (error.code(), error.retry_after());
    let mut response = (rest::status(code), Json(errors::refusal(error))).into_response();
    response.extensions_mut().insert(code);
    if let Some(seconds) = seconds {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// The route `/graphql`.
pub(super) fn routes(services: Arc<Services>) -> Router {
    let asked = services.graphql.clone();
    let mut schema = builder().data(services.clone());
    if !asked.introspection {
        schema = schema.disable_introspection();
    }
    if !asked.suggestions {
        schema = schema.disable_suggestions();
    }
    let options = Options {
        settings: Settings {
            cohorts: services.cohorts,
            keep_alive: services.keep_alive,
            ..Settings::default()
        },
        documents: asked.documents,
        tasks: services.tasks.clone(),
        closing: services.closing.clone(),
        counters: services.subscriptions.clone(),
    };
    let service = service::Graphql::new(schema.finish(), services);
    let endpoint = Endpoint::new(service, options);
    Router::new().route(GRAPHQL_PATH, endpoint.methods())
}

/// The schema in SDL, as stored in `schema.graphql`.
pub fn sdl() -> String {
    let sdl = builder().finish().sdl();
    format!("{}\n", sdl.trim_end())
}

fn builder() -> SchemaBuilder<query::Query, mutation::Mutation, subscription::Subscription> {
    Schema::build(query::Query, mutation::Mutation, subscription::Subscription)
        .limit_complexity(MAX_COMPLEXITY)
        .enable_federation()
}
