//! A WebSocket client without knowledge of GraphQL: it sends the given text and returns what arrives.

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderMap},
};

use super::within;

/// One thing that the socket received.
#[derive(Debug, PartialEq)]
pub enum Frame {
    Message(Value),
    Closed(u16, String),
    /// The connection broke without a close frame.
    Gone,
}

/// An open WebSocket.
pub struct RawSocket {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub headers: HeaderMap,
}

impl RawSocket {
    /// Opens a socket that offers these subprotocols, in order of preference.
    pub async fn open(url: &str, protocols: &str) -> Self {
        Self::open_with(url, protocols, &[]).await
    }

    /// Like [`Self::open`], with headers.
    pub async fn open_with(url: &str, protocols: &str, headers: &[(&'static str, String)]) -> Self {
        let url = format!("{}/graphql", url.replace("http://", "ws://"));
        let mut request = url.into_client_request().unwrap();
        if !protocols.is_empty() {
            let protocols = protocols.parse().unwrap();
            request
                .headers_mut()
                .insert("sec-websocket-protocol", protocols);
        }
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (socket, response) = within(connect_async(request)).await.unwrap();
        Self {
            socket,
            headers: response.headers().clone(),
        }
    }

    /// Opens a graphql-transport-ws socket and initialises it.
    pub async fn ready(url: &str) -> Self {
        let mut socket = Self::open(url, "graphql-transport-ws").await;
        socket
            .say(serde_json::json!({ "type": "connection_init" }))
            .await;
        assert_eq!(socket.message().await["type"], "connection_ack");
        socket
    }

    pub async fn say(&mut self, message: Value) {
        self.say_text(&message.to_string()).await;
    }

    pub async fn say_text(&mut self, text: &str) {
        self.send(Message::text(text)).await;
    }

    pub async fn send(&mut self, message: Message) {
        within(self.socket.send(message)).await.unwrap();
    }

    /// The next message, close or end, skipping the pings and pongs of WebSocket itself.
    pub async fn receive(&mut self) -> Frame {
        // The deadline covers the whole wait, because pings keep arriving while the socket is open.
        match within(self.receive_text()).await {
            Ok(text) => Frame::Message(serde_json::from_str(&text).unwrap()),
            Err(end) => end,
        }
    }

    /// The next message as raw text, or how the socket ended.
    async fn receive_text(&mut self) -> Result<String, Frame> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                Some(Ok(Message::Close(Some(frame)))) => {
                    return Err(Frame::Closed(frame.code.into(), frame.reason.to_string()));
                }
                Some(Ok(Message::Close(None)) | Err(_)) | None => return Err(Frame::Gone),
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next message as raw text. Panics on anything else.
    pub async fn text(&mut self) -> String {
        match within(self.receive_text()).await {
            Ok(text) => text,
            Err(other) => panic!("no message: {other:?}"),
        }
    }

    /// The next message. Panics on anything else.
    pub async fn message(&mut self) -> Value {
        match self.receive().await {
            Frame::Message(message) => message,
            other => panic!("no message: {other:?}"),
        }
    }

    /// The close code and reason. Panics if a message comes first.
    pub async fn closed(&mut self) -> (u16, String) {
        match self.receive().await {
            Frame::Closed(code, reason) => (code, reason),
            other => panic!("not closed: {other:?}"),
        }
    }
}
