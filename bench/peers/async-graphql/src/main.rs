//! A subscription with async-graphql and axum, without Titlecast: a typical starting point.

use std::{collections::HashMap, sync::Arc};

use async_graphql::{Context, ID, InputObject, Object, Schema, SimpleObject, Subscription};
use async_graphql_axum::{GraphQL, GraphQLRequest, GraphQLSubscription};
use axum::{
    Extension, Router,
    response::{Sse, sse::Event},
    routing::{post, post_service},
};
use futures_util::{Stream, StreamExt};
use tokio::sync::{Mutex, broadcast};
use tokio_stream::wrappers::BroadcastStream;

#[derive(Clone, SimpleObject)]
struct Conversation {
    id: ID,
    title: String,
    revision: u64,
}

#[derive(InputObject)]
struct RenameConversationInput {
    id: ID,
    display_name: String,
}

#[derive(SimpleObject)]
struct RenameConversationPayload {
    conversation: Conversation,
}

/// What is published of each conversation.
#[derive(Default)]
struct Topics {
    senders: Mutex<HashMap<String, broadcast::Sender<Conversation>>>,
}

impl Topics {
    async fn sender(&self, id: &str) -> broadcast::Sender<Conversation> {
        let mut senders = self.senders.lock().await;
        let sender = senders.entry(id.to_owned());
        sender.or_insert_with(|| broadcast::channel(16).0).clone()
    }
}

struct Query;

#[Object]
impl Query {
    async fn version(&self) -> u32 {
        1
    }
}

struct Mutation;

#[Object]
impl Mutation {
    async fn rename_conversation(
        &self,
        ctx: &Context<'_>,
        input: RenameConversationInput,
    ) -> async_graphql::Result<RenameConversationPayload> {
        let sender = ctx.data::<Topics>()?.sender(&input.id).await;
        let conversation = Conversation {
            id: input.id,
            title: input.display_name,
            revision: 1,
        };
        // There may be no subscriber.
        let _ = sender.send(conversation.clone());
        Ok(RenameConversationPayload { conversation })
    }
}

struct Subscriptions;

#[Subscription]
impl Subscriptions {
    async fn conversation_updated(
        &self,
        ctx: &Context<'_>,
        id: ID,
    ) -> async_graphql::Result<impl Stream<Item = Conversation> + use<>> {
        let events = ctx.data::<Topics>()?.sender(&id).await.subscribe();
        Ok(BroadcastStream::new(events).filter_map(async |event| event.ok()))
    }
}

type Chat = Schema<Query, Mutation, Subscriptions>;

async fn stream(
    Extension(schema): Extension<Arc<Chat>>,
    request: GraphQLRequest,
) -> Sse<impl Stream<Item = Result<Event, axum::Error>>> {
    let responses = schema.execute_stream(request.into_inner());
    Sse::new(responses.map(|response| Event::default().event("next").json_data(response)))
}

#[tokio::main]
async fn main() {
    let port: u16 = std::env::args().nth(1).unwrap().parse().unwrap();
    let schema = Schema::build(Query, Mutation, Subscriptions)
        .data(Topics::default())
        .finish();
    let graphql = post_service(GraphQL::new(schema.clone()));
    let app = Router::new()
        .route(
            "/graphql",
            graphql.get_service(GraphQLSubscription::new(schema.clone())),
        )
        .route("/graphql/stream", post(stream))
        .layer(Extension(Arc::new(schema)));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
        .await
        .unwrap();
    axum::serve(listener, app).await.unwrap();
}
