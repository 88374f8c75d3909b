//! The schema as the transports serve it: whose request it is, and who may share a subscription.

use std::sync::Arc;

use async_graphql::{Data, Executor, Request, Response, ServerError};
use axum::http::request::Parts;
use futures_util::stream::BoxStream;

use super::{TitlecastSchema, loaders};
use crate::{
    api::Services,
    conversation::Owner,
    transport::{RootField, Service, Sharing},
};

/// The schema with what its resolvers stand on. Cheap to clone.
#[derive(Clone)]
pub(super) struct Graphql {
    pub(super) schema: TitlecastSchema,
    pub(super) services: Arc<Services>,
}

impl Graphql {
    fn owned(&self, owner: &Owner, request: Request) -> Request {
        request
            .data(owner.clone())
            .data(loaders::messages(self.services.clone(), owner.clone()))
    }
}

impl Service for Graphql {
    type Caller = Owner;

    fn caller(&self, _: &Parts) -> Result<Owner, ServerError> {
        Ok(self.services.owner.clone())
    }

    async fn execute(&self, owner: &Owner, request: Request) -> Response {
        self.schema.execute(self.owned(owner, request)).await
    }

    fn subscribe(&self, owner: &Owner, request: Request) -> BoxStream<'static, Response> {
        let request = self.owned(owner, request);
        Executor::execute_stream(&self.schema, request, Some(Arc::new(Data::default())))
    }

    fn sharing(&self, owner: &Owner, root: &RootField) -> Sharing {
        // A conversation has one owner, so nobody else can see the same events.
        let scope = serde_json::json!([owner.tenant, owner.user]).to_string();
        match root.name.as_str() {
            "conversationUpdated" if root.arguments.contains("id") => Sharing::State { scope },
            "conversationUpdated" => Sharing::Events { scope },
            // What is written so far depends on when one joins.
            _ => Sharing::Alone,
        }
    }
}
