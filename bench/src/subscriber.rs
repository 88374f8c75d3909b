//! One subscriber to one conversation, over its own connection.

use std::net::{Ipv4Addr, SocketAddr};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Message, client::IntoClientRequest, http::HeaderValue, protocol::WebSocketConfig,
    },
};

use crate::{Result, http};

const SUBSCRIPTION: &str =
    "subscription ($id: ID!) { conversationUpdated(id: $id) { id title revision } }";

/// How subscribers are connected.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Transport {
    /// GraphQL over WebSocket (graphql-transport-ws)
    Websocket,
    /// GraphQL over server-sent events
    Sse,
    /// The legacy stream of one conversation's title
    TitleStream,
}

/// A subscriber that has received the current state.
pub enum Subscriber {
    WebSocket(Box<WebSocketStream<TcpStream>>),
    Events(TcpStream),
}

impl Subscriber {
    pub async fn connect(
        transport: Transport,
        from: Ipv4Addr,
        to: SocketAddr,
        conversation: &str,
    ) -> Result<Self> {
        let stream = http::connect(from, to).await?;
        let query = json!({ "query": SUBSCRIPTION, "variables": { "id": conversation } });
        let mut subscriber = match transport {
            Transport::Websocket => {
                let socket = websocket(stream, &query).await?;
                Self::WebSocket(Box::new(socket))
            }
            Transport::Sse => {
                let request = http::request("POST", "/graphql", "text/event-stream", Some(&query));
                events(stream, &request).await?
            }
            Transport::TitleStream => {
                let path = format!("/api/v1/conversations/{conversation}/stream");
                events(
                    stream,
                    &http::request("GET", &path, "text/event-stream", None),
                )
                .await?
            }
        };
        subscriber.receive(conversation).await?;
        Ok(subscriber)
    }

    /// Waits until an event with this text is received, and answers pings.
    pub async fn receive(&mut self, text: &str) -> Result<()> {
        match self {
            Self::WebSocket(socket) => loop {
                match socket.next().await.ok_or("the WebSocket has ended")?? {
                    Message::Text(message) if message.contains(text) => return Ok(()),
                    Message::Close(frame) => return Err(format!("closed: {frame:?}").into()),
                    _ => {}
                }
            },
            Self::Events(stream) => {
                let mut received = Vec::new();
                loop {
                    // Room for one small event, because buffers for ten thousand subscribers add up.
                    received.reserve(512);
                    if stream.read_buf(&mut received).await? == 0 {
                        let received = String::from_utf8_lossy(&received);
                        return Err(format!("the stream has ended: {received}").into());
                    }
                    if received
                        .windows(text.len())
                        .any(|part| part == text.as_bytes())
                    {
                        return Ok(());
                    }
                    // Keep only what can be the beginning of the text.
                    let known = received.len().saturating_sub(text.len());
                    received.drain(..known);
                }
            }
        }
    }
}

async fn events(mut stream: TcpStream, request: &[u8]) -> Result<Subscriber> {
    stream.write_all(request).await?;
    Ok(Subscriber::Events(stream))
}

/// Opens a WebSocket and subscribes, without reading the first event.
pub async fn websocket(stream: TcpStream, query: &Value) -> Result<WebSocketStream<TcpStream>> {
    let mut request = "ws://127.0.0.1/graphql".into_client_request()?;
    let protocol = HeaderValue::from_static("graphql-transport-ws");
    request
        .headers_mut()
        .insert("sec-websocket-protocol", protocol);
    let small = WebSocketConfig::default()
        .read_buffer_size(1024)
        .write_buffer_size(0);
    let (mut socket, _) = client_async_with_config(request, stream, Some(small)).await?;
    let init = json!({ "type": "connection_init" });
    let subscribe = json!({ "type": "subscribe", "id": "1", "payload": query });
    for message in [init, subscribe] {
        socket.send(Message::text(message.to_string())).await?;
    }
    Ok(socket)
}
