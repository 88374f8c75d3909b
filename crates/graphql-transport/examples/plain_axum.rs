//! A GraphQL server on plain `axum::serve`. The only argument is the address; default 127.0.0.1:8000.
//!
//! Queries and mutations: `POST /graphql`. Subscriptions: a WebSocket at `/graphql`, or `Accept: text/event-stream`.

use std::{env::args, error::Error, time::Duration};

use async_graphql::{
    Object, Schema, Subscription,
    futures_util::{Stream, StreamExt},
};
use axum::Router;
use graphql_transport::{Endpoint, Options, Unauthenticated};
use tokio::{net::TcpListener, time::interval};
use tokio_stream::wrappers::IntervalStream;

struct Query;

#[Object]
impl Query {
    async fn hello(&self, #[graphql(default = "world")] name: String) -> String {
        format!("Hello, {name}")
    }
}

struct Mutation;

#[Object]
impl Mutation {
    async fn shout(&self, text: String) -> String {
        text.to_uppercase()
    }
}

struct Ticks;

#[Subscription]
impl Ticks {
    async fn ticks(&self) -> impl Stream<Item = usize> {
        let seconds = IntervalStream::new(interval(Duration::from_secs(1)));
        seconds.enumerate().map(|(count, _)| count)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let schema = Schema::new(Query, Mutation, Ticks);
    let endpoint = Endpoint::new(Unauthenticated(schema), Options::default());
    let app = Router::new().route("/graphql", endpoint.methods());
    let address = args().nth(1).unwrap_or("127.0.0.1:8000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("http://{}/graphql", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
