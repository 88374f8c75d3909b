//! A GraphQL server that authenticates callers, on plain `axum::serve`. The only argument is the address; default
//! 127.0.0.1:8000.
//!
//! A caller is a bearer token, `alice` or `bob`. Programs send it as `Authorization: Bearer alice`. Browsers cannot set
//! headers on a WebSocket, so they send it with `connection_init`: `{ "token": "alice" }`. Ctrl-C shuts down.

use std::{
    collections::HashMap,
    env::args,
    error::Error,
    future::pending,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_graphql::{
    Context, EmptyMutation, Executor, Object, Request, Response, Schema, ServerError, Subscription,
    futures_util::{Stream, StreamExt, stream::BoxStream},
};
use axum::{
    Router,
    http::{header, request::Parts},
};
use graphql_transport::{Code, Endpoint, Options, RootField, Service, Sharing};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, interval, sleep},
};
use tokio_stream::wrappers::IntervalStream;

/// A caller, available to resolvers through the context.
struct Account {
    name: &'static str,
    /// When the token expires; a JWT has this as its `exp` claim.
    expires: Option<SystemTime>,
    /// Limits the caller's open streams and WebSockets.
    streams: Arc<Semaphore>,
}

struct Query;

#[Object]
impl Query {
    async fn whoami(&self, ctx: &Context<'_>) -> async_graphql::Result<&str> {
        Ok(ctx.data::<Arc<Account>>()?.name)
    }
}

struct Events;

#[Subscription]
impl Events {
    /// A greeting each second.
    async fn greetings(
        &self,
        ctx: &Context<'_>,
    ) -> async_graphql::Result<impl Stream<Item = String> + use<>> {
        let name = ctx.data::<Arc<Account>>()?.name;
        let seconds = IntervalStream::new(interval(Duration::from_secs(1))).enumerate();
        Ok(seconds.map(move |(count, _)| format!("{count}: hello, {name}")))
    }
}

/// The service: a schema, and the accounts by token. Cloned for each operation, so it is cheap to clone.
#[derive(Clone)]
struct Accounts {
    schema: Schema<Query, EmptyMutation, Events>,
    by_token: Arc<HashMap<&'static str, Arc<Account>>>,
}

impl Accounts {
    fn of_token(&self, token: &str) -> Result<Arc<Account>, ServerError> {
        let account = self.by_token.get(token).cloned();
        // Status 401 over HTTP, close code 4401 over a WebSocket.
        account.ok_or_else(|| Code::Unauthenticated.error("the token is unknown"))
    }
}

impl Service for Accounts {
    type Caller = Arc<Account>;
    type Open = OwnedSemaphorePermit;

    async fn caller(&self, parts: &Parts) -> Result<Arc<Account>, ServerError> {
        let header = parts.headers.get(header::AUTHORIZATION);
        let token = header.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        self.of_token(token.ok_or_else(|| Code::Unauthenticated.error("a token is required"))?)
    }

    async fn introduced(
        &self,
        payload: &serde_json::Value,
    ) -> Option<Result<Arc<Account>, ServerError>> {
        Some(self.of_token(payload.get("token")?.as_str()?))
    }

    fn open(&self, caller: &Arc<Account>) -> Result<OwnedSemaphorePermit, ServerError> {
        let permit = caller.streams.clone().try_acquire_owned();
        // Status 429 over HTTP, close code 1013 over a WebSocket.
        permit.map_err(|_| Code::RateLimited.error("too many streams are open"))
    }

    fn until(&self, caller: &Arc<Account>) -> Option<Instant> {
        // A token expires by the wall clock; a stream ends by tokio's clock.
        let left = caller.expires?.duration_since(SystemTime::now());
        Some(Instant::now() + left.unwrap_or_default())
    }

    async fn execute(
        &self,
        caller: &Arc<Account>,
        request: Request,
    ) -> Result<Response, ServerError> {
        Ok(self.schema.execute(request.data(caller.clone())).await)
    }

    fn subscribe(&self, caller: &Arc<Account>, request: Request) -> BoxStream<'static, Response> {
        Executor::execute_stream(&self.schema, request.data(caller.clone()), None)
    }

    fn failed(&self, errors: &[ServerError]) {
        eprintln!("{} errors", errors.len());
    }

    fn sharing(&self, caller: &Arc<Account>, root: &RootField) -> Sharing {
        let scope = caller.name.to_owned();
        match root.name.as_str() {
            // Only the newest greeting matters. Identical subscriptions of one caller share an execution.
            "greetings" => Sharing::State { scope },
            _ => Sharing::Alone,
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let account = |name, expires| {
        let streams = Arc::new(Semaphore::new(20));
        (
            name,
            Arc::new(Account {
                name,
                expires,
                streams,
            }),
        )
    };
    let in_an_hour = SystemTime::now() + Duration::from_secs(60 * 60);
    let service = Accounts {
        schema: Schema::new(Query, EmptyMutation, Events),
        by_token: Arc::new([account("alice", Some(in_an_hour)), account("bob", None)].into()),
    };

    let options = Options::default();
    let (closing, tasks) = (options.closing.clone(), options.tasks.clone());
    let endpoint = Endpoint::new(service, options);
    let app = Router::new().route("/graphql", endpoint.methods());
    let address = args().nth(1).unwrap_or("127.0.0.1:8000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("http://{}/graphql", listener.local_addr()?);

    // `closing` ends streams and WebSockets, which run in `tasks`. A peer that stops reading delays both.
    let stop = closing.clone();
    let serving = axum::serve(listener, app).with_graceful_shutdown(async move {
        if tokio::signal::ctrl_c().await.is_err() {
            eprintln!("no signals here: end the program by other means");
            pending::<()>().await;
        }
        stop.cancel();
    });
    let ended = async {
        serving.await?;
        tasks.close();
        tasks.wait().await;
        Ok::<(), std::io::Error>(())
    };
    let give_up = async {
        closing.cancelled().await;
        sleep(Duration::from_secs(10)).await;
    };
    tokio::select! {
        ended = ended => ended?,
        () = give_up => eprintln!("some connections were cut"),
    }
    Ok(())
}
