//! A client for the legacy SSE wire that reads it like deployed clients do.

use futures_util::{StreamExt, stream::BoxStream};
use serde_json::Value;

use super::{server::client, within};

/// An event stream being read.
pub struct Events {
    bytes: BoxStream<'static, reqwest::Result<axum::body::Bytes>>,
    buffer: String,
    /// Every segment as received, including comments.
    pub segments: Vec<String>,
    pub headers: reqwest::header::HeaderMap,
}

impl Events {
    /// `POST /api/v1/chat/stream`.
    pub async fn post(url: &str, body: Value) -> Self {
        let request = client()
            .post(format!("{url}/api/v1/chat/stream"))
            .header("content-type", "application/json")
            .body(body.to_string());
        Self::of(request).await
    }

    /// Sends any request that is answered with a stream.
    pub async fn of(request: reqwest::RequestBuilder) -> Self {
        Self::of_response(within(request.send()).await.unwrap()).await
    }

    /// Reads a response that must be a stream.
    pub async fn of_response(response: reqwest::Response) -> Self {
        let status = response.status();
        if status != 200 {
            panic!("{status}: {}", within(response.text()).await.unwrap());
        }
        Self::from(response)
    }

    /// Reads a response as a stream.
    pub fn from(response: reqwest::Response) -> Self {
        Self {
            headers: response.headers().clone(),
            bytes: response.bytes_stream().boxed(),
            buffer: String::new(),
            segments: Vec::new(),
        }
    }

    /// The next segment, up to an empty line; `None` at the end of the stream.
    pub async fn segment(&mut self) -> Option<String> {
        within(self.try_segment()).await.unwrap()
    }

    /// Like [`Self::segment`], without a deadline; an error if the connection broke.
    pub async fn try_segment(&mut self) -> reqwest::Result<Option<String>> {
        loop {
            if let Some((segment, rest)) = self.buffer.split_once("\n\n") {
                let (segment, rest) = (segment.to_owned(), rest.to_owned());
                self.buffer = rest;
                self.segments.push(segment.clone());
                return Ok(Some(segment));
            }
            match self.bytes.next().await.transpose()? {
                // Every frame is sent as a whole, so no character is split.
                Some(bytes) => self.buffer.push_str(std::str::from_utf8(&bytes).unwrap()),
                None => {
                    assert_eq!(self.buffer, "", "the stream ended inside a frame");
                    return Ok(None);
                }
            }
        }
    }

    /// The next event, skipping comments.
    pub async fn next(&mut self) -> Option<Value> {
        within(self.try_next()).await.unwrap()
    }

    /// Like [`Self::next`], without a deadline; an error if the connection broke.
    pub async fn try_next(&mut self) -> reqwest::Result<Option<Value>> {
        Ok(self.try_next_with_id().await?.map(|(event, _)| event))
    }

    /// Like [`Self::try_next`], with the event's id if it has one.
    pub async fn try_next_with_id(&mut self) -> reqwest::Result<Option<(Value, Option<String>)>> {
        loop {
            let Some(segment) = self.try_segment().await? else {
                return Ok(None);
            };
            let Some(data) = segment.strip_prefix("data: ") else {
                assert!(
                    segment.starts_with(':'),
                    "neither data nor comment: {segment}"
                );
                continue;
            };
            let (json, id) = match data.split_once("\nid: ") {
                Some((json, id)) => (json, Some(id.to_owned())),
                None => (data, None),
            };
            return Ok(Some((serde_json::from_str(json).unwrap(), id)));
        }
    }

    /// The `id:` of the last frame.
    pub fn last_id(&self) -> String {
        let frame = self.segments.last().unwrap();
        frame.split_once("\nid: ").unwrap().1.to_owned()
    }

    /// All events until the end of the stream.
    pub async fn rest(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

/// Asserts what holds for every stream of a turn. Returns the terminal event.
#[track_caller]
pub fn assert_common_stream(events: &[Value]) -> &Value {
    const KINDS: [&str; 6] = [
        "raw_response_event",
        "run_item_stream_event",
        "agent_updated_stream_event",
        "usage",
        "lifecycle",
        "error",
    ];
    let (terminal, before) = events.split_last().expect("a stream has events");
    let conversation = &events[0]["conversation_id"];
    assert!(uuid::Uuid::parse_str(conversation.as_str().unwrap()).is_ok());
    for (number, event) in events.iter().enumerate() {
        assert!(KINDS.contains(&event["kind"].as_str().unwrap()), "{event}");
        assert_eq!(&event["conversation_id"], conversation);
        assert_eq!(event["sequence_number"], number);
        assert!(event["is_terminal"].is_boolean(), "{event}");
        let at = event["server_timestamp"].as_str().unwrap();
        assert!(at.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(at).is_ok());
        assert!(
            event.as_object().unwrap().values().all(|v| !v.is_null()),
            "{event}"
        );
    }
    for event in before {
        // Known clients stop reading at either one.
        assert_eq!(event["is_terminal"], false, "{event}");
        assert_ne!(event["kind"], "error", "{event}");
    }
    assert_eq!(terminal["is_terminal"], true);
    assert_eq!(events[0]["raw_type"], "response.created");
    let created = events
        .iter()
        .filter(|e| e["raw_type"] == "response.created");
    assert_eq!(created.count(), 1);
    assert_eq!(terminal["response_text"], text(events), "{terminal}");
    match terminal["kind"].as_str().unwrap() {
        "error" => {
            assert!(terminal["payload"]["error"].is_string(), "{terminal}");
            assert!(terminal["payload"]["code"].is_string(), "{terminal}");
        }
        "raw_response_event" => {
            let raw_type = terminal["raw_type"].as_str().unwrap();
            assert!(
                ["response.completed", "response.incomplete"].contains(&raw_type),
                "{terminal}"
            );
        }
        kind => panic!("a stream does not end with {kind}"),
    }
    let last_title = events
        .iter()
        .rev()
        .find(|event| event["kind"] == "lifecycle");
    if let Some(title) = last_title {
        assert_eq!(title["display_name"], terminal["display_name"]);
    }
    terminal
}

/// The concatenated text deltas.
pub fn text(events: &[Value]) -> String {
    events
        .iter()
        .filter(|event| event["raw_type"] == "response.output_text.delta")
        .map(|event| event["text_delta"].as_str().unwrap())
        .collect()
}

/// The announced titles, in order.
pub fn titles(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .filter(|event| event["kind"] == "lifecycle")
        .map(|event| event["display_name"].as_str().unwrap())
        .collect()
}
