//! The gate in front of a schema served by async-graphql-axum. The only argument is the address; default
//! 127.0.0.1:8000.

use std::{env::args, error::Error, time::Duration};

use async_graphql::{
    EmptyMutation, Object, Schema, Subscription,
    futures_util::{Stream, StreamExt, stream},
};
use async_graphql_axum::{GraphQL, GraphQLSubscription};
use axum::{Router, routing::post_service};
use graphql_gate::{Gated, Limits};
use tokio::{net::TcpListener, time::sleep};

struct Query;

#[Object]
impl Query {
    async fn hello(&self) -> &str {
        "Hello, world"
    }
}

struct Ticks;

#[Subscription]
impl Ticks {
    async fn ticks(&self) -> impl Stream<Item = usize> {
        stream::iter(0..).then(async |count| {
            sleep(Duration::from_secs(1)).await;
            count
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let schema = Schema::new(Query, EmptyMutation, Ticks);
    let gated = Gated::new(
        schema,
        Limits {
            depth: 10,
            ..Limits::default()
        },
    );
    let app = Router::new()
        .route("/graphql", post_service(GraphQL::new(gated.clone())))
        .route_service("/ws", GraphQLSubscription::new(gated));
    let address = args().nth(1).unwrap_or("127.0.0.1:8000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("http://{}/graphql", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
