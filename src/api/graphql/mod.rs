//! The GraphQL schema and how it is served.
//!
//! One file a kind of thing: what there is (`objects`), what can be asked (`query`), changed
//! (`mutation`) and watched (`subscription`). The transports are the library's for now.

mod connections;
mod errors;
mod loaders;
mod mutation;
mod objects;
mod query;
mod reply;
mod subscription;
mod transport;

use std::sync::Arc;

use async_graphql::{Schema, SchemaBuilder};
use axum::Router;

pub(super) use self::transport::{PATH, refused};
use super::Services;
use crate::error::ErrorCode;

type TitlecastSchema = Schema<query::Query, mutation::Mutation, subscription::Subscription>;

/// The deepest selection that is executed; GraphiQL's introspection needs 15.
const MAX_DEPTH: usize = 20;

/// The routes: `/graphql` and the explorer at `/graphiql`.
pub(super) fn routes(services: Arc<Services>) -> Router {
    transport::routes(builder().data(services.clone()).finish(), services)
}

/// The schema in the schema definition language, as `schema.graphql` holds it.
pub fn sdl() -> String {
    let sdl = builder().finish().sdl();
    format!("{}\n", sdl.trim_end())
}

/// What GraphQL calls a code: the same name as everywhere.
pub fn code(code: ErrorCode) -> &'static str {
    code.as_str()
}

fn builder() -> SchemaBuilder<query::Query, mutation::Mutation, subscription::Subscription> {
    Schema::build(query::Query, mutation::Mutation, subscription::Subscription)
        .limit_depth(MAX_DEPTH)
}
