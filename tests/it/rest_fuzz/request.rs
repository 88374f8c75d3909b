//! Requests near the contract of the legacy routes: mostly what clients send, with something wrong here and
//! there. What is wrong is never HTTP itself.

use std::fmt;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};
use titlecast_testing::text::tricky;

/// One request.
#[derive(Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl fmt::Debug for Request {
    /// As it is sent, with what does not print escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_bytes().escape_ascii())
    }
}

impl Request {
    /// As HTTP/1.0, so that the answer ends with the connection and has no chunks.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (method, path, query) = (&self.method, &self.path, &self.query);
        let mut bytes =
            format!("{method} {path}{query} HTTP/1.0\r\nhost: 127.0.0.1\r\n").into_bytes();
        for (name, value) in &self.headers {
            bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        bytes.extend(format!("content-length: {}\r\n\r\n", self.body.len()).into_bytes());
        bytes.extend(&self.body);
        bytes
    }
}

/// What requests may name.
#[derive(Clone)]
pub struct Known {
    /// Ids of conversations that exist, and some that a client made up and did not use yet.
    pub ids: Vec<String>,
    /// Cursors of lists, of searches and of messages.
    pub cursors: Vec<String>,
}

/// Any request.
pub fn request(known: Known) -> impl Strategy<Value = Request> {
    let chat = select(vec!["/api/v1/chat", "/api/v1/chat/stream"]).prop_map(String::from);
    let list = Just("/api/v1/conversations".to_owned());
    let search = Just("/api/v1/conversations/search".to_owned());
    let one = |end: &'static str| {
        id(&known).prop_map(move |id| format!("/api/v1/conversations/{id}{end}"))
    };
    let health = select(vec![
        "/healthz",
        "/readyz",
        "/",
        "//",
        "/api/v1",
        "/api/v2/chat",
    ]);
    let junk = tricky().prop_map(|text| format!("/{}", encoded(&text)));
    let route = prop_oneof![
        8 => (Just("POST"), chat),
        3 => (Just("GET"), list),
        3 => (Just("GET"), search),
        3 => (Just("GET"), one("")),
        3 => (Just("GET"), one("/messages")),
        1 => (Just("GET"), one("/stream")),
        1 => (Just("GET"), one("/reply")),
        1 => (Just("GET"), one("/events")),
        1 => (Just("GET"), one("/ledger/events")),
        1 => (Just("GET"), one("/ledger/stream")),
        4 => (Just("PATCH"), one("/title")),
        1 => (Just("DELETE"), one("")),
        1 => (Just("GET"), prop_oneof![health.prop_map(String::from), junk]),
    ];
    let other = select(vec![
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "FROB",
    ]);
    let method = prop_oneof![12 => Just(None), 1 => other.prop_map(Some)];
    let broken = option::weighted(0.1, broken_body());
    let bodies = (chat_body(&known), rename_body(), broken);
    let rest = (query(&known), headers(), bodies);
    (route, method, rest).prop_map(|((usual, path), method, rest)| {
        let (query, headers, (chat, rename, broken)) = rest;
        let method = method.unwrap_or(usual);
        let usual_body = match path.ends_with("/title") {
            true => rename,
            false => chat,
        };
        Request {
            method: method.into(),
            path,
            query,
            headers,
            body: match method {
                "GET" | "HEAD" => Vec::new(),
                _ => broken.unwrap_or(usual_body),
            },
        }
    })
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn id(known: &Known) -> impl Strategy<Value = String> + use<> {
    prop_oneof![
        10 => select(known.ids.clone()),
        1 => any::<u128>().prop_map(|bits| uuid::Uuid::from_u128(bits).to_string()),
        1 => tricky().prop_map(|text| encoded(&text)),
        1 => "[0-9a-f-]{36}|%(00|zz|ff|2f|)",
    ]
}

fn query(known: &Known) -> impl Strategy<Value = String> + use<> {
    let name = select(vec![
        "limit",
        "cursor",
        "q",
        "agent",
        "direction",
        "ids",
        "after",
        "x",
    ]);
    let cursor = select(known.cursors.clone());
    let changed = (cursor.clone(), any::<prop::sample::Index>(), any::<char>()).prop_map(
        |(cursor, at, by)| {
            let mut characters: Vec<char> = cursor.chars().collect();
            let at = at.index(characters.len());
            characters[at] = by;
            encoded(&characters.into_iter().collect::<String>())
        },
    );
    let value = prop_oneof![
        3 => select(vec!["1", "2", "50", "0", "-1", "101", "1e3", "99999999999999999999", "", "true"]).prop_map(String::from),
        3 => cursor,
        2 => changed,
        2 => select(vec!["asc", "desc", "kyoto", "triage", "%22*%22", "%", "%f0%28", "+", "(("]).prop_map(String::from),
        2 => tricky().prop_map(|text| encoded(&text)),
    ];
    let pairs = vec((name, value), 0..4);
    pairs.prop_map(|pairs| {
        let pairs: Vec<String> = pairs
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        match pairs.is_empty() {
            true => String::new(),
            false => format!("?{}", pairs.join("&")),
        }
    })
}

/// A header's value may hold any byte but those that end it.
fn header_value() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![8 => 0x20..0x7f_u8, 1 => 0x80..=0xff_u8], 0..24)
}

fn headers() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let json = "application/json; charset=utf-8".as_bytes().to_vec();
    let content_type = prop_oneof![20 => Just(json), 1 => header_value()];
    let name = select(vec![
        "idempotency-key",
        "last-event-id",
        "accept",
        "cookie",
        "authorization",
        "x-forwarded-for",
        "accept-encoding",
    ]);
    let value = prop_oneof![
        3 => header_value(),
        2 => select(vec!["a-key", "text/event-stream", "*/*;q=0"]).prop_map(|text| text.as_bytes().to_vec()),
    ];
    let origin = select(vec!["http://127.0.0.1", "http://127.0.0.1:1", "null"]);
    let origin = option::weighted(0.1, origin.prop_map(|text| text.as_bytes().to_vec()));
    let more = vec((name, value), 0..3);
    (content_type, origin, more).prop_map(|(content_type, origin, more)| {
        let fixed = [("content-type", Some(content_type)), ("origin", origin)];
        let fixed = fixed
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let all = fixed.chain(more);
        all.map(|(name, value)| (name.to_owned(), value)).collect()
    })
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        tricky().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((tricky(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// A field that is mostly what it should be, sometimes anything else, and sometimes not there.
fn field(
    good: impl Strategy<Value = Value> + 'static,
    there: u32,
) -> impl Strategy<Value = Option<Value>> {
    let value = prop_oneof![8 => good, 1 => any_json()];
    option::weighted(f64::from(there) / 10.0, value)
}

fn object(fields: Vec<(&str, Option<Value>)>) -> Vec<u8> {
    let fields = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(fields.collect::<Map<_, _>>())
        .to_string()
        .into_bytes()
}

fn chat_body(known: &Known) -> impl Strategy<Value = Vec<u8>> + use<> {
    let context = (option::of(tricky()), option::of(any::<bool>())).prop_map(
        |(topic_hint, auto_title)| json!({ "topic_hint": topic_hint, "auto_title": auto_title }),
    );
    let fields = (
        field(tricky().prop_map(Value::from), 9),
        field(select(known.ids.clone()).prop_map(Value::from), 6),
        field(tricky().prop_map(Value::from), 2),
        field(context, 3),
        option::weighted(0.2, any_json()),
    );
    fields.prop_map(|(message, conversation, agent, context, ignored)| {
        object(vec![
            ("message", message),
            ("conversation_id", conversation),
            ("agent_type", agent),
            ("context", context),
            ("attachments", ignored.clone()),
            ("share_location", ignored),
        ])
    })
}

fn rename_body() -> impl Strategy<Value = Vec<u8>> {
    field(tricky().prop_map(Value::from), 9).prop_map(|title| object(vec![("display_name", title)]))
}

/// No JSON, or no JSON object.
fn broken_body() -> impl Strategy<Value = Vec<u8>> {
    let fixed = select(vec![
        r#"{"message":"\ud800"}"#.to_owned(),
        r#"{"message":"a","message":7}"#.to_owned(),
        r#"{"message":"a"} {}"#.to_owned(),
        r#"{"message":"#.to_owned(),
        "[".repeat(100_000),
        format!(r#"{{"context":{}"#, r#"{"a":"#.repeat(50_000)),
        format!(r#"{{"message":"{}"}}"#, "x".repeat(262_200)),
    ]);
    prop_oneof![
        2 => fixed.prop_map(String::into_bytes),
        1 => any_json().prop_map(|value| value.to_string().into_bytes()),
        1 => vec(any::<u8>(), 0..64),
    ]
}
