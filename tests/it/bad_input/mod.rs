//! What cannot be used is refused with a clear error, and nothing is stored or changed by it.

mod bodies;
mod parameters;

use reqwest::RequestBuilder;
use serde_json::{Value, json};
use titlecast_testing::{ModelServer, Server, legacy::post, server::client, within};

const CHAT: [&str; 2] = ["/api/v1/chat/stream", "/api/v1/chat"];
const LIST: &str = "/api/v1/conversations";

/// A server with one conversation, and what is stored in it.
struct Filled {
    model: ModelServer,
    server: Server,
    id: String,
    census: [i64; 5],
    history: Value,
}

impl Filled {
    async fn start() -> Self {
        let model = ModelServer::start().await;
        let server = Server::start_with(&model, &["--title-grace", "20s"]).await;
        let id = server.begin("Plan a trip to Kyoto").await;
        let census = server.database.census().await;
        assert_eq!(census[..3], [1, 2, 1]);
        let history = server.get(&format!("{LIST}/{id}")).await.1;
        Self {
            model,
            server,
            id,
            census,
            history,
        }
    }

    fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        post(&self.server.url, path, body.clone())
    }

    fn get(&self, path: &str) -> RequestBuilder {
        client().get(format!("{}{path}", self.server.url))
    }

    /// Sends a request that must be refused with this status and code; returns the error's text.
    async fn refused(&self, request: RequestBuilder, status: u16, code: &str) -> String {
        let response = within(request.send()).await.unwrap();
        let found = response.status().as_u16();
        assert_eq!(response.headers()["content-type"], "application/json");
        let body = within(response.bytes()).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((found, &body["code"]), (status, &json!(code)), "{body}");
        let text = body["message"].as_str().unwrap().to_owned();
        assert!(!text.is_empty());
        let expected = json!({ "detail": text, "error": text, "message": text, "code": code });
        assert_eq!(body, expected);
        text
    }

    /// A body that must be refused as invalid by both chat routes, naming the field.
    async fn invalid(&self, body: Value, field: &str) {
        for path in CHAT {
            let text = self
                .refused(self.post(path, &body), 422, "INVALID_INPUT")
                .await;
            assert!(text.contains(field), "{body}: {text}");
        }
    }

    /// Nothing was stored, nothing was changed, and no model was asked.
    async fn assert_unchanged(&self) {
        assert_eq!(self.server.database.census().await, self.census);
        let (_, history) = self.server.get(&format!("{LIST}/{}", self.id)).await;
        assert_eq!(history, self.history);
        assert_eq!(self.model.reply_requests().len(), 1);
        assert_eq!(self.model.title_requests().len(), 1);
    }
}
