//! A server on plain `axum::serve`, and clients that use no GraphQL library.

use std::{future::Future, net::SocketAddr, time::Duration};

use async_graphql::{
    Object, Request, Response, Schema, ServerError, Subscription,
    futures_util::{Stream, stream::BoxStream},
};
use axum::{Router, http::request::Parts};
use futures_util::{SinkExt, StreamExt};
use graphql_transport::{
    Endpoint, Options, RootField, Service, Settings, Sharing, Unauthenticated,
    cohort::{Counters, Counts},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::broadcast,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_stream::wrappers::BroadcastStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderMap},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const DEADLINE: Duration = Duration::from_secs(20);

/// Awaits a future; panics if it takes longer than [`DEADLINE`].
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("nothing happened")
}

type TestSchema = Schema<Query, Mutation, Events>;

struct Query;

#[Object]
impl Query {
    async fn echo(&self, text: String) -> String {
        text
    }

    /// Panics for an index above 0.
    async fn element(&self, index: usize) -> bool {
        [true][index]
    }

    /// Never returns.
    async fn never(&self) -> bool {
        std::future::pending().await
    }
}

struct Mutation(broadcast::Sender<String>);

#[Object]
impl Mutation {
    /// Publishes a text to all subscribers.
    async fn publish(&self, text: String) -> String {
        // Fails if there are no subscribers.
        let _ = self.0.send(text.clone());
        text
    }
}

struct Events(broadcast::Sender<String>);

impl Events {
    fn stream(&self) -> impl Stream<Item = String> + use<> {
        let texts = BroadcastStream::new(self.0.subscribe());
        texts.filter_map(|text| std::future::ready(text.ok()))
    }
}

#[Subscription]
impl Events {
    /// Not shared.
    async fn alone(&self) -> impl Stream<Item = String> {
        self.stream()
    }

    /// Shared, each event a full state.
    async fn state(&self) -> impl Stream<Item = String> {
        self.stream()
    }

    /// Shared, each event matters.
    async fn events(&self) -> impl Stream<Item = String> {
        self.stream()
    }

    /// Does not start, but is subscribed.
    async fn stuck(&self) -> impl Stream<Item = String> {
        let _subscribed = self.0.subscribe();
        let () = std::future::pending().await;
        tokio_stream::empty()
    }

    /// An event whenever it is polled.
    async fn greedy(&self) -> impl Stream<Item = i32> {
        let subscribed = self.0.subscribe();
        tokio_stream::iter(0..).inspect(move |_| {
            let _ = &subscribed;
        })
    }

    /// Panics, at the start or at its second event; shared if the name says so.
    async fn panics(&self, at_start: bool) -> impl Stream<Item = usize> {
        panics(at_start)
    }

    async fn shared_panics(&self, at_start: bool) -> impl Stream<Item = usize> {
        panics(at_start)
    }

    /// Errors as events.
    async fn errors(&self) -> impl Stream<Item = async_graphql::Result<i32>> {
        tokio_stream::iter([Ok(1), Err("of the stream".into()), Ok(3)])
    }

    /// Ends after two numbers.
    async fn two(&self) -> impl Stream<Item = i32> {
        tokio_stream::iter([1, 2])
    }
}

fn panics(at_start: bool) -> impl Stream<Item = usize> {
    assert!(!at_start, "planned");
    tokio_stream::iter([1, 0]).map(|number| 1 / number)
}

/// The schema, with subscriptions that are shared by their names. A caller is the `token` of `connection_init`.
#[derive(Clone)]
struct Named(Unauthenticated<TestSchema>);

impl Service for Named {
    type Caller = String;
    type Open = ();

    async fn caller(&self, _parts: &Parts) -> Result<String, ServerError> {
        Ok("everyone".to_owned())
    }

    async fn introduced(&self, payload: &Value) -> Option<Result<String, ServerError>> {
        let token = payload.get("token")?.as_str()?.to_owned();
        Some(match token.as_str() {
            "wrong" => Err(graphql_transport::Code::Unauthenticated.error("a wrong token")),
            "slow" => std::future::pending().await,
            _ => Ok(token),
        })
    }

    fn open(&self, _caller: &String) -> Result<(), ServerError> {
        Ok(())
    }

    fn until(&self, _caller: &String) -> Option<Instant> {
        None
    }

    async fn execute(&self, _caller: &String, request: Request) -> Result<Response, ServerError> {
        self.0.execute(&(), request).await
    }

    fn subscribe(&self, _caller: &String, request: Request) -> BoxStream<'static, Response> {
        assert!(
            request.operation_name.as_deref() != Some("Panics"),
            "planned"
        );
        self.0.subscribe(&(), request)
    }

    fn failed(&self, errors: &[ServerError]) {
        assert!(!errors.is_empty());
    }

    fn sharing(&self, caller: &String, root: &RootField) -> Sharing {
        let scope = caller.clone();
        match root.name.as_str() {
            "state" => Sharing::State { scope },
            "events" | "sharedPanics" => Sharing::Events { scope },
            _ => Sharing::Alone,
        }
    }
}

/// A running server. It stops when the test drops it.
pub struct Server {
    address: SocketAddr,
    texts: broadcast::Sender<String>,
    closing: CancellationToken,
    tasks: TaskTracker,
    counters: Counters,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Server {
    pub async fn start() -> Self {
        let (texts, _) = broadcast::channel(1_000);
        let schema = Schema::new(Query, Mutation(texts.clone()), Events(texts.clone()));
        let options = Options {
            settings: Settings {
                init: Duration::from_millis(200),
                execution: Duration::from_secs(2),
                ..Settings::default()
            },
            ..Options::default()
        };
        let (closing, tasks) = (options.closing.clone(), options.tasks.clone());
        let counters = options.counters.clone();
        let endpoint = Endpoint::new(Named(Unauthenticated(schema)), options);
        let app = Router::new().route("/graphql", endpoint.methods());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = axum::serve(listener, app);
        let serve = serve.with_graceful_shutdown(closing.clone().cancelled_owned());
        let serving = tokio::spawn(serve.into_future());
        Self {
            address,
            texts,
            closing,
            tasks,
            counters,
            serving,
        }
    }

    /// Opens a connection and writes `bytes`.
    pub async fn write(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = within(TcpStream::connect(self.address)).await.unwrap();
        within(stream.write_all(bytes)).await.unwrap();
        stream
    }

    /// Publishes a text. Returns the number of executions that received it.
    pub fn publish(&self, text: &str) -> usize {
        self.texts.send(text.to_owned()).unwrap_or_default()
    }

    /// Waits until exactly this many executions are subscribed.
    pub async fn subscribed(&self, executions: usize) {
        within(async {
            while self.texts.receiver_count() != executions {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    pub fn counts(&self) -> Counts {
        self.counters.read()
    }

    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Shuts down as described in the README.
    pub async fn shut_down(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        while !self.serving.is_finished() {
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sends a request as HTTP/1.0, so that the body is not chunked.
    pub async fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let mut stream = within(TcpStream::connect(self.address)).await.unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: a\r\n{headers}Content-Length: {length}\r\n\r\n"
        );
        within(stream.write_all(format!("{head}{body}").as_bytes()))
            .await
            .unwrap();
        let mut answer = Answer {
            stream,
            head: String::new(),
            buffer: String::new(),
        };
        answer.head = answer.until("\r\n\r\n").await.unwrap();
        answer
    }

    /// Sends an operation as JSON.
    pub async fn post(&self, accept: &str, body: &Value) -> Answer {
        let headers = format!("Content-Type: application/json\r\nAccept: {accept}\r\n");
        self.send("POST", "/graphql", &headers, &body.to_string())
            .await
    }
}

/// A response, read in pieces.
pub struct Answer {
    stream: TcpStream,
    pub head: String,
    buffer: String,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub fn header(&self, name: &str) -> Option<String> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut named = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.to_owned())
    }

    /// Returns the text before `mark`; `None` once the body has ended.
    pub async fn until(&mut self, mark: &str) -> Option<String> {
        loop {
            if let Some((piece, rest)) = self.buffer.split_once(mark) {
                let (piece, rest) = (piece.to_owned(), rest.to_owned());
                self.buffer = rest;
                return Some(piece);
            }
            let mut bytes = [0; 4096];
            let read = within(self.stream.read(&mut bytes)).await.ok()?;
            if read == 0 {
                return None;
            }
            self.buffer
                .push_str(str::from_utf8(&bytes[..read]).unwrap());
        }
    }

    /// The next server-sent event: its name and its data.
    pub async fn event(&mut self) -> Option<(String, String)> {
        let event = self.until("\n\n").await?;
        let (name, data) = event.split_once('\n').unwrap();
        let name = name.strip_prefix("event: ").unwrap();
        Some((
            name.to_owned(),
            data.strip_prefix("data: ").unwrap().to_owned(),
        ))
    }

    /// The rest of the body.
    pub async fn text(mut self) -> String {
        while self.until("\0").await.is_some() {}
        self.buffer
    }

    pub async fn json(self) -> Value {
        serde_json::from_str(&self.text().await).unwrap()
    }
}

/// One thing that a WebSocket received.
#[derive(Debug, PartialEq)]
pub enum Received {
    Message(Value),
    Closed(u16, String),
    /// The connection ended without a close frame.
    Gone,
}

/// An open WebSocket.
pub struct Socket {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub headers: HeaderMap,
}

impl Socket {
    /// Opens a WebSocket that offers `protocols`, in order of preference.
    pub async fn open(server: &Server, protocols: &str) -> Self {
        let url = format!("ws://{}/graphql", server.address);
        let mut request = url.into_client_request().unwrap();
        if !protocols.is_empty() {
            let protocols = protocols.parse().unwrap();
            request
                .headers_mut()
                .insert("sec-websocket-protocol", protocols);
        }
        let (socket, response) = within(connect_async(request)).await.unwrap();
        Self {
            socket,
            headers: response.headers().clone(),
        }
    }

    /// Opens a `graphql-transport-ws` WebSocket and initialises it.
    pub async fn ready(server: &Server) -> Self {
        let mut socket = Self::open(server, "graphql-transport-ws").await;
        socket.send(json!({ "type": "connection_init" })).await;
        assert_eq!(socket.message().await["type"], "connection_ack");
        socket
    }

    pub async fn send(&mut self, message: Value) {
        self.send_frame(Message::text(message.to_string())).await;
    }

    /// Sends messages in one write.
    pub async fn send_together<const N: usize>(&mut self, messages: [Value; N]) {
        for message in messages {
            let message = Message::text(message.to_string());
            within(self.socket.feed(message)).await.unwrap();
        }
        within(self.socket.flush()).await.unwrap();
    }

    pub async fn send_frame(&mut self, message: Message) {
        within(self.socket.send(message)).await.unwrap();
    }

    /// The next message, close or end, skipping the pings and pongs of WebSocket itself.
    pub async fn receive(&mut self) -> Received {
        loop {
            match within(self.socket.next()).await {
                Some(Ok(Message::Text(text))) => {
                    return Received::Message(serde_json::from_str(&text).unwrap());
                }
                Some(Ok(Message::Close(Some(frame)))) => {
                    return Received::Closed(frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(Message::Close(None)) | Err(_)) | None => return Received::Gone,
                Some(Ok(_)) => {}
            }
        }
    }

    pub async fn message(&mut self) -> Value {
        match self.receive().await {
            Received::Message(message) => message,
            other => panic!("no message: {other:?}"),
        }
    }

    pub async fn closed(&mut self) -> (u16, String) {
        match self.receive().await {
            Received::Closed(code, reason) => (code, reason),
            other => panic!("not closed: {other:?}"),
        }
    }

    /// Waits until the server has read everything sent before this call.
    pub async fn settle(&mut self) {
        self.send(json!({ "type": "ping", "payload": { "settle": true } }))
            .await;
        let pong = json!({ "type": "pong", "payload": { "settle": true } });
        assert_eq!(self.message().await, pong);
    }
}
