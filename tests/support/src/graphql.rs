//! A WebSocket client for graphql-transport-ws.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use super::within;

/// A connection that has been acknowledged.
pub struct GraphqlSocket {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    operations: usize,
}

impl GraphqlSocket {
    pub async fn connect(url: &str) -> Self {
        let url = format!("{}/graphql", url.replace("http://", "ws://"));
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert(
            "sec-websocket-protocol",
            "graphql-transport-ws".parse().unwrap(),
        );
        let (socket, response) = within(connect_async(request)).await.unwrap();
        assert_eq!(
            response.headers()["sec-websocket-protocol"],
            "graphql-transport-ws"
        );
        let mut socket = Self {
            socket,
            operations: 0,
        };
        socket.send(json!({ "type": "connection_init" })).await;
        assert_eq!(socket.message().await.unwrap()["type"], "connection_ack");
        socket
    }

    /// Starts an operation and returns its id. The protocol does not acknowledge it; see [`Self::settled`].
    pub async fn subscribe(&mut self, query: &str, variables: Value) -> String {
        self.operations += 1;
        let id = self.operations.to_string();
        let payload = json!({ "query": query, "variables": variables });
        self.send(json!({ "type": "subscribe", "id": id, "payload": payload }))
            .await;
        id
    }

    /// Waits until the server has processed everything sent so far, because it answers in order.
    pub async fn settled(&mut self) {
        let id = self.subscribe("{ __typename }", json!({})).await;
        assert_eq!(self.next(&id).await.unwrap()["data"]["__typename"], "Query");
        assert_eq!(self.next(&id).await, None);
    }

    /// The next result of an operation; `None` once it is complete. Panics if the operation is refused.
    pub async fn next(&mut self, id: &str) -> Option<Value> {
        let mut message = self.message().await.expect("the socket is open");
        assert_eq!(message["id"], id, "{message}");
        match message["type"].as_str().unwrap() {
            "next" => Some(message["payload"].take()),
            "complete" => None,
            _ => panic!("refused: {message}"),
        }
    }

    /// The next message, skipping pings; `None` once the connection is closed.
    pub async fn message(&mut self) -> Option<Value> {
        // The deadline covers the whole wait, so that pings do not extend it.
        within(self.message_but_pings()).await
    }

    async fn message_but_pings(&mut self) -> Option<Value> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    return Some(serde_json::from_str(&text).unwrap());
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(other)) => panic!("not expected: {other:?}"),
            }
        }
    }

    async fn send(&mut self, message: Value) {
        within(self.socket.send(Message::text(message.to_string())))
            .await
            .unwrap();
    }
}

impl GraphqlSocket {
    /// Ends an operation from the client's side.
    pub async fn complete(&mut self, id: &str) {
        self.send(json!({ "type": "complete", "id": id })).await;
    }

    /// The next result of an operation: the value of this field, its only one.
    pub async fn next_of(&mut self, id: &str, field: &str) -> Value {
        let mut payload = self.next(id).await.expect("the operation goes on");
        assert_eq!(payload.get("errors"), None, "{payload}");
        payload["data"][field].take()
    }

    /// The code with which an operation is refused, at its start or later. The operation is then over.
    pub async fn refusal(&mut self, id: &str) -> String {
        let message = self.message().await.expect("the socket is open");
        assert_eq!(message["id"], id, "{message}");
        let errors = match message["type"].as_str().unwrap() {
            "error" => &message["payload"],
            "next" => {
                assert!(message["payload"]["data"].is_null(), "{message}");
                assert_eq!(self.next(id).await, None);
                &message["payload"]["errors"]
            }
            _ => panic!("not refused: {message}"),
        };
        assert_eq!(errors.as_array().unwrap().len(), 1, "{message}");
        errors[0]["extensions"]["code"].as_str().unwrap().to_owned()
    }
}
