//! The floor: a minimal, hand-written conversation backend with axum and sqlx, for one route and one wire. It runs
//! Titlecast's statements on Titlecast's tables, reads the same stream from the same model, and notifies its users'
//! lists.
//!
//! It lacks tokens (it trusts a header), limits, deadlines, other wires, resuming a reply after a disconnect or
//! restart, and testing connections before use.

mod model;
mod store;

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{
        broadcast,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
};
use uuid::Uuid;

use self::{
    model::{Message, Model},
    store::{Begun, Store},
};
use crate::Result;

/// The header that names the user.
pub const USER: &str = "x-user";

/// How many changes a list may lag behind.
const BEHIND: usize = 64;

const REPLIES: &str = "You are a helpful assistant. Answer briefly.";
const TITLES: &str =
    "Write a title of 2 to 6 words for the conversation that this message begins, in its language.";

#[derive(clap::Args)]
pub struct FloorArguments {
    port: u16,
    database_url: String,
    model: SocketAddr,
}

struct App {
    store: Store,
    model: Model,
    lists: Mutex<HashMap<String, broadcast::Sender<Bytes>>>,
}

type Shared = State<Arc<App>>;

/// A user's request.
#[derive(Deserialize)]
struct Ask {
    message: String,
    conversation_id: Option<Uuid>,
    #[serde(default)]
    titles: bool,
}

/// An error as the user sees it.
struct Failure(crate::Error);

impl<E: Into<crate::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.0.to_string()).into_response()
    }
}

/// Serves until the process ends.
pub async fn serve(arguments: FloorArguments) -> Result<()> {
    let app = Arc::new(App {
        store: Store::open(&arguments.database_url).await?,
        model: Model::at(arguments.model),
        lists: Mutex::default(),
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port)).await?;
    let listener = listener.tap_io(|socket| {
        // If this fails, the delay of events shows in the measurement.
        let _ = socket.set_nodelay(true);
    });
    let router = Router::new()
        .route("/chat", post(chat))
        .route("/changes", get(changes))
        .with_state(app);
    Ok(axum::serve(listener, router).await?)
}

/// One turn: stores the message, streams the reply, and stores the reply.
async fn chat(
    State(app): Shared,
    headers: HeaderMap,
    Json(ask): Json<Ask>,
) -> std::result::Result<Response, Failure> {
    let user = user(&headers)?;
    if ask.message.trim().is_empty() {
        return Ok(StatusCode::UNPROCESSABLE_ENTITY.into_response());
    }
    let begun = app
        .store
        .accept(&user, ask.conversation_id, &ask.message)
        .await?;
    app.tell(&user, begun.conversation, None, begun.messages);
    let (sender, receiver) = unbounded_channel();
    let opening = json!({ "conversation_id": begun.conversation });
    // The receiver exists, because it was just created.
    let _ = sender.send(event(&opening));
    if ask.titles && ask.conversation_id.is_none() {
        let (app, user, message) = (app.clone(), user.clone(), ask.message.clone());
        let begun = begun.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "a turn goes on without its reader"
        )]
        tokio::spawn(async move {
            if let Err(error) = app.title(&user, &begun, &message).await {
                eprintln!("a title: {error}");
            }
        });
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "a turn goes on without its reader"
    )]
    tokio::spawn(async move {
        // On an error, the reader misses the last event and so detects the failure.
        if let Err(error) = app.reply(&user, &begun, ask.message, &sender).await {
            eprintln!("a reply: {error}");
        }
    });
    Ok(events(receiver))
}

/// Streams the changes of all of a user's conversations.
async fn changes(State(app): Shared, headers: HeaderMap) -> std::result::Result<Response, Failure> {
    let user = user(&headers)?;
    let receiver = app
        .lists()
        .entry(user)
        .or_insert_with(|| broadcast::channel(BEHIND).0)
        .subscribe();
    let changes = stream::unfold(receiver, async |mut receiver| {
        let next = receiver.recv().await.ok()?;
        Some((Ok::<_, std::convert::Infallible>(next), receiver))
    });
    Ok(streamed(Body::from_stream(Box::pin(changes))))
}

impl App {
    async fn reply(
        &self,
        user: &str,
        begun: &Begun,
        message: String,
        sender: &UnboundedSender<Bytes>,
    ) -> Result<()> {
        let mut messages = vec![Message::new("system", REPLIES.to_owned())];
        if begun.messages > 1 {
            messages.extend(self.store.history(user, begun).await?);
        }
        messages.push(Message::new("user", message));
        let mut text = String::new();
        let usage = self
            .model
            .stream(&messages, |delta| {
                text.push_str(delta);
                // Fails if the client has disconnected; it can read the reply later.
                let _ = sender.send(event(&json!({ "delta": delta })));
            })
            .await?;
        let messages = self.store.store_reply(user, begun, &text, usage).await?;
        let _ = sender.send(event(&json!({ "done": text })));
        self.tell(user, begun.conversation, None, messages);
        Ok(())
    }

    async fn title(&self, user: &str, begun: &Begun, message: &str) -> Result<()> {
        let messages = [
            Message::new("system", TITLES.to_owned()),
            Message::new("user", format!("<message>\n{message}\n</message>")),
        ];
        let (answer, usage) = self.model.ask(&messages).await?;
        let answer: Value = serde_json::from_str(&answer)?;
        let title = answer["title"].as_str().ok_or("no title")?;
        let messages = self.store.store_title(user, begun, title, usage).await?;
        self.tell(user, begun.conversation, Some(title), messages);
        Ok(())
    }

    fn tell(&self, user: &str, conversation: Uuid, title: Option<&str>, messages: i64) {
        if let Some(list) = self.lists().get(user) {
            let change =
                json!({ "id": conversation, "displayName": title, "messageCount": messages });
            // Fails if the list has been closed.
            let _ = list.send(event(&change));
        }
    }

    fn lists(&self) -> std::sync::MutexGuard<'_, HashMap<String, broadcast::Sender<Bytes>>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn user(headers: &HeaderMap) -> Result<String> {
    let user = headers.get(USER).ok_or("no user")?;
    Ok(user.to_str()?.to_owned())
}

fn event(content: &Value) -> Bytes {
    format!("data: {content}\n\n").into()
}

fn events(receiver: UnboundedReceiver<Bytes>) -> Response {
    let events = stream::unfold(receiver, async |mut receiver| {
        let next = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(next), receiver))
    });
    streamed(Body::from_stream(Box::pin(events)))
}

fn streamed(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}
