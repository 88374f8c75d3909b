//! Malicious documents and the transports that send them.

use std::fmt::Write;

use form_urlencoded::Serializer;
use serde_json::{Value, json};

use super::{
    raw_socket::{Frame, RawSocket},
    server::client,
    within,
};

/// The longest allowed answer, in bytes.
pub const ANSWER_BYTES: usize = 8 * 1024;

/// The longest query string that tests send, in bytes; hyper accepts 64 KiB.
const URL_BYTES: usize = 60_000;

/// A search that takes a text and succeeds.
const SEARCH: &str =
    "query ($q: String!) { searchConversations(query: $q, first: 1) { nodes { __typename } } }";

/// A way of sending a document.
#[derive(Clone, Copy, Debug)]
pub enum Wire {
    Post,
    Get,
    Socket,
    OlderSocket,
    EventStream,
    Multipart,
}

fn numbered(count: usize, mut item: impl FnMut(usize) -> String) -> String {
    (0..count).map(&mut item).collect()
}

fn nested(open: &str, close: &str, times: usize) -> String {
    open.repeat(times) + &close.repeat(times)
}

/// Documents without variables that must be refused.
fn documents() -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut add = |name: &str, document: String| all.push((name.to_owned(), document));
    add(
        "bomb",
        numbered(24, |i| {
            format!("fragment F{i} on Query{{...F{n} ...F{n}}}", n = i + 1)
        }) + "fragment F24 on Query{__typename}{...F0}",
    );
    for open in ["{", "(", "[", "{a", "{...", "{a(b:{c:", "{a(b:["] {
        add(&format!("2000 open {open}"), open.repeat(2_000));
    }
    add("2000 fields", nested("{a", "}", 2_000));
    add(
        "2000 parentheses",
        format!("{{a{}}}", nested("(", ")", 2_000)),
    );
    add(
        "2000 lists",
        format!("{{a(b:{})}}", nested("[", "]", 2_000)),
    );
    add(
        "2000 objects",
        format!("{{a(b:{}1{})}}", "{c:".repeat(2_000), "}".repeat(2_000)),
    );
    for levels in [16, 60] {
        add(
            &format!("{levels} fields deep"),
            nested("{node", "}", levels),
        );
    }
    add(
        "60 conditions deep",
        "{...@include(if:true)".repeat(60) + "{a" + &"}".repeat(61),
    );
    for count in [31, 500, 10_000] {
        let aliases = numbered(count, |i| format!("a{i}:__typename "));
        add(&format!("{count} aliases"), format!("{{{aliases}}}"));
    }
    add("1000 directives", format!("{{a {}}}", "@d ".repeat(1_000)));
    add(
        "1000 conditions",
        format!("{{a {}}}", "@skip(if:true) ".repeat(1_000)),
    );
    let fragments = numbered(1_000, |i| format!("fragment F{i} on Q{{a}}"));
    add("1000 fragments", format!("{{a}}{fragments}"));
    for length in [1, 2, 49, 600] {
        let cycle = numbered(length, |i| {
            format!("fragment F{i} on Query{{...F{}}}", (i + 1) % length)
        });
        add(&format!("a cycle of {length}"), format!("{{...F0}}{cycle}"));
    }
    for count in [1_500, 7_000] {
        let list = "1 ".repeat(count);
        add(
            &format!("a list of {count}"),
            format!("{{conversation(id:[{list}]){{id}}}}"),
        );
    }
    add(
        "1000 unknown fields",
        format!("{{{}}}", numbered(1_000, |i| format!("f{i} "))),
    );
    let inside = |fields: String| format!("{{conversation(id:\"1\"){{{fields}}}}}");
    add(
        "400 unknown fields of a type",
        inside(numbered(400, |i| format!("f{i} "))),
    );
    add(
        "60 long unknown fields",
        inside(numbered(60, |i| format!("f{i}{} ", "x".repeat(240)))),
    );
    add("a long unknown field", inside("x".repeat(16_000)));
    for count in [100, 1_200, 10_000] {
        let variables = numbered(count, |i| format!("$v{i}:Int "));
        add(
            &format!("{count} variables"),
            format!("query({variables}){{__typename @skip(if:$unknown)}}"),
        );
    }
    let quotes = "\\\"\"\"".repeat(4_096);
    add("an open block string", format!("{{a(b:\"\"\"{quotes}"));
    let fitting = "\\\"\"\"".repeat(4_090);
    add("one that fits", format!("{{a(b:\"\"\"{fitting}"));
    let page = |inner: &str| format!("{{conversations(first:100){{nodes{{{inner}}}}}}}");
    add(
        "pages of pages",
        page("messages(first:100){nodes{id}} a:messages(first:100){nodes{id}}"),
    );
    let pages = numbered(10, |i| {
        format!("a{i}:conversations(first:100){{nodes{{messages(first:100){{nodes{{id}}}}}}}}")
    });
    add("ten pages of pages", format!("{{{pages}}}"));
    all
}

/// Requests with their names, and whether each must be refused.
pub fn requests() -> Vec<(String, Value, bool)> {
    let documents = documents().into_iter();
    let mut all: Vec<_> = documents
        .map(|(name, document)| (name, json!({ "query": document }), true))
        .collect();
    let mut add = |name: &str, query: &str, variables: Value, is_refused: bool| {
        let request = json!({ "query": query, "variables": variables });
        all.push((name.to_owned(), request, is_refused));
    };
    // Long enough that the request just fits into a body.
    let long = "x".repeat(64 * 1024 - 200);
    add("a long text", SEARCH, json!({ "q": long }), false);
    add(
        "long texts nobody uses",
        SEARCH,
        json!({ "q": "x", "r": long }),
        false,
    );
    add(
        "many words",
        SEARCH,
        json!({ "q": "x ".repeat(30_000) }),
        false,
    );
    let list = vec![1; 60_000];
    add("a list of 60000", SEARCH, json!({ "q": list }), true);
    for depth in [20, 100] {
        let deep = (0..depth).fold(json!(1), |inner, _| json!([inner]));
        add(
            &format!("{depth} lists deep"),
            SEARCH,
            json!({ "q": deep }),
            true,
        );
    }
    let page =
        "{ conversations(first: 58) { nodes { messages(first: 100) { nodes { __typename } } } } }";
    add("as much as may be", page, json!({}), false);
    let one = json!({ "query": "{ __typename }" });
    for count in [1, 1_000] {
        let batch = Value::from(vec![one.clone(); count]);
        all.push((format!("a batch of {count}"), batch, true));
    }
    all
}

impl Wire {
    /// All wires.
    pub const ALL: [Self; 6] = [
        Self::Post,
        Self::Get,
        Self::Socket,
        Self::OlderSocket,
        Self::EventStream,
        Self::Multipart,
    ];

    /// Sends a request and reads everything that comes back; `None` if this wire cannot carry it.
    pub async fn send(self, server: &str, request: &Value) -> Option<String> {
        let url = format!("{server}/graphql");
        let accept = match self {
            Self::Post | Self::Get => "application/json",
            Self::EventStream => "text/event-stream",
            Self::Multipart => "multipart/mixed;subscriptionSpec=1.0, application/json",
            Self::Socket => return Some(socket(server, "subscribe", request).await),
            Self::OlderSocket => return Some(socket(server, "start", request).await),
        };
        let sending = match self {
            Self::Get => client().get(format!("{url}?{}", query_string(request)?)),
            _ => client()
                .post(url)
                .header("content-type", "application/json")
                .body(request.to_string()),
        };
        let response = within(sending.header("accept", accept).send())
            .await
            .unwrap();
        assert!(response.status().as_u16() < 500, "{response:?}");
        Some(within(response.text()).await.unwrap())
    }
}

fn query_string(request: &Value) -> Option<String> {
    let mut query = Serializer::new(String::new());
    query.append_pair("query", request.get("query")?.as_str()?);
    if let Some(variables) = request.get("variables") {
        query.append_pair("variables", &variables.to_string());
    }
    Some(query.finish()).filter(|query| query.len() < URL_BYTES)
}

async fn socket(server: &str, start: &str, request: &Value) -> String {
    let protocol = match start {
        "start" => "graphql-ws",
        _ => "graphql-transport-ws",
    };
    let mut socket = RawSocket::open(server, protocol).await;
    socket.say(json!({ "type": "connection_init" })).await;
    let start = json!({ "type": start, "id": "1", "payload": request });
    socket.say(start).await;
    let mut answer = String::new();
    loop {
        match socket.receive().await {
            Frame::Message(message) => {
                write!(answer, "{message}").unwrap();
                if message["type"] == "error" || message["type"] == "complete" {
                    return answer;
                }
            }
            Frame::Closed(code, reason) => {
                assert!([1009, 4400].contains(&code), "{code} {reason}");
                return answer + r#"{"type":"error"}"# + &reason;
            }
            // The request is too large: the server closes the connection while the client is still sending.
            Frame::Gone => return answer + r#"{"type":"error"}"#,
        }
    }
}
