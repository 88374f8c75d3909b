//! The Responses API: the requests, and the reply and title that result from each answer in `responses.jsonl`.

use serde::Deserialize;
use serde_json::json;

use super::{replies::received, *};
use crate::llm::{
    ChatMessage, Finish, ModelErrorKind, Parameters, ReplyModel, ReplyRequest, Speaker, TitleModel,
    Usage,
};

const ROWS: &str = include_str!("responses.jsonl");

/// One answer: what is sent, the outcome and received text of the reply, and the output of the title.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    #[serde(default = "ok")]
    status: u16,
    #[serde(default = "event_stream", rename = "type")]
    media_type: String,
    /// The data of events; instead of `body`.
    #[serde(default)]
    events: Vec<Value>,
    #[serde(default)]
    body: String,
    /// Whether the events are sent without a name.
    #[serde(default)]
    unnamed: bool,
    id: Option<String>,
    usage: Option<[u64; 3]>,
    #[serde(default)]
    reasoning: String,
    /// Id, name and arguments of each call.
    #[serde(default)]
    tools: Vec<String>,
    reply: String,
    text: String,
    title: String,
}

fn ok() -> u16 {
    200
}

fn event_stream() -> String {
    "text/event-stream".to_owned()
}

impl Row {
    fn script(&self) -> Script {
        let event = |data: &Value| match data {
            Value::String(text) => format!("data: {text}\n\n"),
            data => match data["type"].as_str().filter(|_| !self.unnamed) {
                Some(kind) => format!("event: {kind}\ndata: {data}\n\n"),
                None => format!("data: {data}\n\n"),
            },
        };
        let body = match self.events.is_empty() {
            true => self.body.clone(),
            false => self.events.iter().map(event).collect(),
        };
        let head = format!("content-type: {}\r\n", self.media_type);
        response(self.status, &head, &body)
    }
}

fn ended(end: Result<Finish, ModelErrorKind>) -> String {
    match end {
        Ok(finish) => <&str>::from(finish).to_owned(),
        Err(kind) => format!("error {}", <&str>::from(kind)),
    }
}

#[tokio::test]
async fn each_answer_becomes_what_the_table_says() {
    let rows: Vec<Row> = ROWS
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(rows.len() >= 40, "{}", rows.len());
    for row in rows {
        let server = Server::start([row.script(), row.script()]);
        let model = server.responses();
        let reply = received(&model).await;
        let name = &row.name;
        assert_eq!(
            (ended(reply.end), &reply.text, &reply.reasoning),
            (row.reply, &row.text, &row.reasoning),
            "{name}"
        );
        let call =
            |call: &crate::llm::ToolCall| format!("{} {} {}", call.id, call.name, call.arguments);
        let tools: Vec<String> = reply.tools.iter().map(call).collect();
        assert_eq!(tools, row.tools, "{name}");
        if row.id.is_some() {
            assert_eq!(reply.id, row.id, "{name}");
        }
        if let Some([prompt_tokens, completion_tokens, reasoning_tokens]) = row.usage {
            let usage = Usage {
                prompt_tokens,
                completion_tokens,
                reasoning_tokens,
            };
            assert_eq!(reply.usage, Some(usage), "{name}");
        }
        let title = match model.title(title_request()).await {
            Ok(output) => format!("{} {}", <&str>::from(output.finish), output.text),
            Err(error) => ended(Err(error.kind)),
        };
        assert_eq!(title, row.title, "{name}");
    }
}

#[tokio::test]
async fn the_requests() {
    const ANSWER: &str = r#"{"output":[{"type":"message","content":[{"type":"output_text","text":"Kyoto Trip"}]}],"status":"completed"}"#;
    let server = Server::start([super::json(200, ANSWER), super::json(200, ANSWER)]);
    let settings = ProviderSettings {
        wire: Wire::Responses,
        api_key: Some(KEY.to_owned()),
        ..server.settings()
    };
    let model = Provider::new(settings).unwrap().model("gpt-5-mini");
    let message = |speaker, text: &str| ChatMessage {
        speaker,
        text: text.to_owned(),
    };
    let mut parameters = Parameters {
        reasoning_effort: Some("low".to_owned()),
        verbosity: Some("high".to_owned()),
        max_output_tokens: Some(900),
        top_p: Some(0.5),
        temperature: Some(1.0),
        ..Parameters::default()
    };
    parameters
        .extra
        .insert("service_tier".to_owned(), "flex".into());
    let request = ReplyRequest {
        instructions: Some("Be brief.".into()),
        history: [
            message(Speaker::User, "hi"),
            message(Speaker::Assistant, "hello"),
            message(Speaker::User, "more"),
        ]
        .into(),
        parameters: parameters.into(),
        ..ReplyRequest::default()
    };
    model.reply(request).await.map(drop).unwrap();
    model.title(title_request()).await.unwrap();
    let [reply, title] = server.requests().try_into().ok().unwrap();
    assert!(
        reply.head.starts_with("post /v1/responses http/1.1\r\n"),
        "{}",
        reply.head
    );
    let expected = json!({
        "model": "gpt-5-mini",
        "instructions": "Be brief.",
        "input": [
            { "role": "user", "content": "hi" },
            { "role": "assistant", "content": "hello" },
            { "role": "user", "content": "more" },
        ],
        "stream": true,
        "store": false,
        "reasoning": { "effort": "low", "summary": "auto" },
        "text": { "verbosity": "high" },
        "max_output_tokens": 900,
        "temperature": 1.0,
        "top_p": 0.5,
        "service_tier": "flex",
    });
    assert_eq!(reply.body, expected);
    let expected = json!({
        "model": "gpt-5-mini",
        "instructions": "Name the topic.",
        "input": [{ "role": "user", "content": "<message>\nplan a trip\n</message>" }],
        "stream": false,
        "store": false,
        "reasoning": { "effort": "minimal" },
        "text": {
            "verbosity": "low",
            "format": {
                "type": "json_schema",
                "name": "title",
                "strict": true,
                "schema": {
                    "type": "object",
                    "properties": { "title": { "type": "string" } },
                    "required": ["title"],
                    "additionalProperties": false,
                },
            },
        },
        "max_output_tokens": 512,
    });
    assert_eq!(title.body, expected);
}

#[tokio::test]
async fn refused_parameters_are_dropped() {
    let refusal = |param: &str, message: &str| {
        let error = json!({ "message": message, "type": "invalid_request_error", "param": param });
        super::json(400, &json!({ "error": error }).to_string())
    };
    const ANSWER: &str =
        r#"{"output":[{"type":"message","content":[{"type":"output_text","text":"a"}]}]}"#;
    let server = Server::start([
        refusal(
            "reasoning.summary",
            "Your organization must be verified to generate reasoning summaries.",
        ),
        refusal("text.verbosity", "Unsupported value"),
        refusal("max_output_tokens", "Unknown parameter"),
        super::json(200, ANSWER),
        refusal("text.format", "Invalid"),
        refusal("text.format.type", "Invalid"),
        super::json(200, ANSWER),
    ]);
    let settings = ProviderSettings {
        wire: Wire::Responses,
        ..server.settings()
    };
    let model = Provider::new(settings).unwrap().model("gpt-5-mini");
    let parameters = Parameters {
        verbosity: Some("high".to_owned()),
        max_output_tokens: Some(900),
        ..Parameters::default()
    };
    let request = ReplyRequest {
        parameters: parameters.into(),
        ..ReplyRequest::default()
    };
    model.reply(request).await.map(drop).unwrap();
    let last = server.requests().pop().unwrap().body;
    let keys: Vec<&str> = last
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(keys, ["input", "model", "store", "stream"]);
    model.title(title_request()).await.unwrap();
    let mut asked = server.requests();
    assert_eq!(asked[1].body["text"]["format"]["type"], "json_object");
    let last = asked.pop().unwrap().body;
    assert_eq!(last.get("text"), None);
    assert_eq!(last["instructions"], "Name the topic.");
}

/// A model that acknowledges a request at once may reason in silence for as long as one that does not.
#[tokio::test]
async fn an_acknowledgement_is_no_first_event() {
    let event =
        |kind: &str| format!("data: {{\"type\":\"response.{kind}\",\"response\":{{}}}}\n\n");
    let (begin, end) = (event("created"), event("completed"));
    let mut script = events(&[begin.as_bytes()], false);
    script.push((Duration::from_millis(1500), Vec::new()));
    script.extend(events(&[end.as_bytes()], true).into_iter().skip(1));
    let server = Server::start([script]);
    let settings = ProviderSettings {
        wire: Wire::Responses,
        first_event: Duration::from_secs(20),
        idle: Duration::from_millis(500),
        ..server.settings()
    };
    let model = Provider::new(settings).unwrap().model("local");
    let ended = received(&model).await.end;
    assert_eq!(ended, Err(ModelErrorKind::Empty), "not a timeout");
}

#[tokio::test]
async fn the_content_of_an_item_may_be_a_text() {
    const ANSWER: &str =
        r#"{"output":[{"type":"message","content":"Kyoto Trip"}],"status":"completed"}"#;
    let server = Server::start([super::json(200, ANSWER)]);
    let settings = ProviderSettings {
        wire: Wire::Responses,
        ..server.settings()
    };
    let model = Provider::new(settings).unwrap().model("gpt-5-mini");
    assert_eq!(received(&model).await.text, "Kyoto Trip");
}
