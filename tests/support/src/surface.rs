//! All entry points, tried by a client with a valid or an invalid token.

use serde_json::{Value, json};

use super::{
    raw_socket::{Frame, RawSocket},
    server::client,
    within,
};

/// One entry point.
#[derive(Clone, Copy, Debug, PartialEq, strum::VariantArray)]
pub enum Surface {
    RestRead,
    RestWrite,
    RestDelete,
    ChatStream,
    TitleStream,
    GraphqlPost,
    GraphqlGet,
    GraphqlSse,
    GraphqlEventSource,
    GraphqlMultipart,
    SocketHeader,
    SocketInit,
    OlderSocketHeader,
    OlderSocketInit,
}

/// The result of trying an entry point: `None` if the client is admitted, otherwise the status or close code, and the
/// error code if one is sent.
pub type Verdict = Option<(u16, String)>;

impl Surface {
    /// Whether this is a WebSocket.
    pub fn is_socket(self) -> bool {
        use Surface::{OlderSocketHeader, OlderSocketInit, SocketHeader, SocketInit};
        [SocketHeader, SocketInit, OlderSocketHeader, OlderSocketInit].contains(&self)
    }

    /// Tries the entry point with these credentials, the value of `Authorization`. `id` is a conversation.
    pub async fn knock(self, url: &str, id: &str, credentials: Option<&str>) -> Verdict {
        if self.is_socket() {
            return self.open(url, credentials).await;
        }
        let mut request = self.request(url, id);
        if let Some(credentials) = credentials {
            request = request.header("authorization", credentials);
        }
        let response = within(request.send()).await.unwrap();
        let status = response.status().as_u16();
        if status < 400 || status == 404 {
            return None;
        }
        if status == 401 {
            let challenge = response.headers()["www-authenticate"].to_str().unwrap();
            assert!(challenge.starts_with("Bearer"), "{challenge}");
        }
        let text = within(response.text()).await.unwrap();
        let body: Value = serde_json::from_str(&text).unwrap();
        let code = match body.get("errors") {
            Some(errors) => &errors[0]["extensions"]["code"],
            None => &body["code"],
        };
        Some((status, code.as_str().unwrap().to_owned()))
    }

    fn request(self, url: &str, id: &str) -> reqwest::RequestBuilder {
        let graphql = format!("{url}/graphql");
        let rest = format!("{url}/api/v1/conversations");
        let post = |url: String, body: Value| {
            let request = client()
                .post(url)
                .header("content-type", "application/json");
            request.body(body.to_string())
        };
        let watch = json!({ "query": "subscription { conversationUpdated { id } }" });
        let message = json!({ "message": "Plan a trip", "conversation_id": id });
        match self {
            Self::RestRead => client().get(rest),
            Self::RestWrite => client()
                .patch(format!("{rest}/{id}/title"))
                .header("content-type", "application/json")
                .body(json!({ "display_name": "Kyoto" }).to_string()),
            // An unused id, so that nothing is deleted.
            Self::RestDelete => client().delete(format!("{rest}/{}", uuid::Uuid::nil())),
            Self::ChatStream => post(format!("{url}/api/v1/chat/stream"), message),
            Self::TitleStream => client().get(format!("{rest}/{id}/stream")),
            Self::GraphqlPost => post(graphql, json!({ "query": "{ __typename }" })),
            Self::GraphqlGet => client()
                .get(format!("{graphql}?query=%7B__typename%7D"))
                .header("accept", "application/graphql-response+json"),
            Self::GraphqlSse => post(graphql, watch).header("accept", "text/event-stream"),
            Self::GraphqlEventSource => client()
                .get(format!("{graphql}?query=%7B__typename%7D"))
                .header("accept", "text/event-stream"),
            Self::GraphqlMultipart => {
                post(graphql, watch).header("accept", "multipart/mixed;subscriptionSpec=1.0")
            }
            _ => panic!("a WebSocket is no request"),
        }
    }

    async fn open(self, url: &str, credentials: Option<&str>) -> Verdict {
        let is_older = matches!(self, Self::OlderSocketHeader | Self::OlderSocketInit);
        let by_header = matches!(self, Self::SocketHeader | Self::OlderSocketHeader);
        let protocol = match is_older {
            true => "graphql-ws",
            false => "graphql-transport-ws",
        };
        let (mut headers, mut payload) = (Vec::new(), json!({}));
        match credentials {
            Some(credentials) if by_header => headers.push(("authorization", credentials.into())),
            Some(credentials) => payload["authorization"] = credentials.into(),
            None => {}
        }
        let mut socket = RawSocket::open_with(url, protocol, &headers).await;
        socket
            .say(json!({ "type": "connection_init", "payload": payload }))
            .await;
        verdict(&mut socket, is_older).await
    }
}

/// How a socket answers a `connection_init`.
pub async fn verdict(socket: &mut RawSocket, is_older: bool) -> Verdict {
    let mut has_error = false;
    loop {
        match socket.receive().await {
            Frame::Message(message) if message["type"] == "connection_ack" => return None,
            Frame::Message(message) => {
                assert_eq!(message["type"], "connection_error", "{message}");
                assert!(message["payload"]["message"].is_string(), "{message}");
                has_error = true;
            }
            Frame::Closed(code, reason) => {
                // The older protocol sends the error in a message first.
                assert_eq!(has_error, is_older);
                return Some((code, reason));
            }
            Frame::Gone => panic!("closed without a word"),
        }
    }
}
