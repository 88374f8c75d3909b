//! The measured programs: how each is installed, started, subscribed to and published to. To add one, add an entry to
//! [`ALL`].

use std::{fs, path::Path, process::Command};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Result, cost::command, http, peers, running};

/// How subscribers are connected.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// GraphQL over WebSocket (graphql-transport-ws)
    Websocket,
    /// GraphQL over server-sent events (graphql-sse, a connection each)
    Sse,
}

impl Transport {
    pub fn name(self) -> &'static str {
        match self {
            Self::Websocket => "WebSocket",
            Self::Sse => "SSE",
        }
    }
}

pub struct Contestant {
    pub name: &'static str,
    pub transports: &'static [Transport],
    /// Installs it unless it is already installed.
    pub install: fn() -> Result<()>,
    /// The command that listens on this port of 127.0.0.1. It may keep files in the folder.
    pub command: fn(titlecast: &Path, port: u16, folder: &Path) -> Command,
    /// Whether each subscriber is a separate user with a token, and subscribes to all conversations. Such a contestant
    /// only runs if it is named, and only with one conversation.
    pub has_users: bool,
    /// The request that creates a conversation, if the server needs one.
    pub begin: Option<fn(id: &str) -> Vec<u8>>,
    /// The body of a request that subscribes to a conversation.
    pub subscription: fn(id: &str) -> Value,
    /// The complete request for an event stream on a conversation.
    pub events: fn(id: &str) -> Vec<u8>,
    /// The JSON pointer to the title in an event of the stream.
    pub title_in_event: &'static str,
    /// The request that gives a conversation a title.
    pub publish: fn(id: &str, title: &str) -> Vec<u8>,
}

const GRAPHQL: Contestant = Contestant {
    name: "",
    transports: &[Transport::Websocket, Transport::Sse],
    install: || Ok(()),
    command: |_, _, _| Command::new("false"),
    has_users: false,
    begin: None,
    subscription,
    events: |id| post("/graphql", "text/event-stream", &subscription(id)),
    title_in_event: "/data/conversationUpdated/title",
    publish: |id, title| {
        let body = json!({ "query": RENAME, "variables": { "id": id, "title": title } });
        post("/graphql", "application/json", &body)
    },
};

/// In running order. The others are compared with the first one.
pub static ALL: &[Contestant] = &[
    Contestant {
        name: "floor",
        command: |_, port, _| {
            let mut command = Command::new("/proc/self/exe");
            command.args(["floor", &port.to_string()]);
            command
        },
        ..GRAPHQL
    },
    Contestant {
        name: "titlecast",
        command: |titlecast, port, folder| {
            let database = running::sqlite(&folder.join("bench.db"));
            running::titlecast(titlecast, port, &database, running::OFFLINE)
        },
        begin: Some(begin),
        ..GRAPHQL
    },
    Contestant {
        name: "titlecast-inbox",
        command: |titlecast, port, folder| {
            let database = running::sqlite(&folder.join("bench.db"));
            let mut command = command::serve(titlecast, port, &database, running::OFFLINE);
            // The publishing user renames as fast as it can.
            command.args(["--title-changes-per-minute", "0"]);
            let file = folder.join("titlecast.toml");
            match fs::write(&file, "[sharing]\nvisibility = \"tenant\"\n") {
                Ok(()) => command.arg("--config").arg(file),
                Err(_) => return Command::new("false"),
            };
            command
        },
        has_users: true,
        begin: Some(begin),
        subscription: |_| json!({ "query": INBOX }),
        events: |_| post("/graphql", "text/event-stream", &json!({ "query": INBOX })),
        ..GRAPHQL
    },
    Contestant {
        name: "async-graphql",
        install: peers::cargo,
        command: |_, port, _| {
            let mut command = Command::new(peers::folder("async-graphql").join("release/stock"));
            command.arg(port.to_string());
            command
        },
        events: |id| post("/graphql/stream", "text/event-stream", &subscription(id)),
        ..GRAPHQL
    },
    Contestant {
        name: "graphql-yoga",
        transports: &[Transport::Sse],
        install: || peers::npm("graphql-yoga"),
        command: |_, port, _| peers::node("graphql-yoga", &port.to_string()),
        ..GRAPHQL
    },
    Contestant {
        name: "graphql-yoga-bun",
        transports: &[Transport::Sse],
        install: || peers::npm_and_bun("graphql-yoga"),
        command: |_, port, _| peers::bun("graphql-yoga", &port.to_string()),
        ..GRAPHQL
    },
    Contestant {
        name: "graphql-ws",
        transports: &[Transport::Websocket],
        install: || peers::npm("graphql-ws"),
        command: |_, port, _| peers::node("graphql-ws", &port.to_string()),
        ..GRAPHQL
    },
    Contestant {
        name: "graphql-ws-bun",
        transports: &[Transport::Websocket],
        install: || peers::npm_and_bun("graphql-ws"),
        command: |_, port, _| peers::bun("graphql-ws", &port.to_string()),
        ..GRAPHQL
    },
    Contestant {
        name: "strawberry",
        transports: &[Transport::Websocket],
        install: || peers::pip("strawberry"),
        command: |_, port, _| peers::uvicorn("strawberry", port),
        ..GRAPHQL
    },
    Contestant {
        name: "fastapi",
        transports: &[Transport::Sse],
        install: || peers::pip("fastapi"),
        command: |_, port, _| peers::uvicorn("fastapi", port),
        events: |id| {
            let path = format!("/conversations/{id}/events");
            http::request("GET", &path, "text/event-stream", None)
        },
        title_in_event: "/title",
        publish: |id, title| {
            let path = format!("/conversations/{id}/title");
            let body = json!({ "display_name": title });
            http::request("PATCH", &path, "application/json", Some(&body))
        },
        ..GRAPHQL
    },
];

const BEGIN: &str = "mutation ($id: ID!) { sendMessage(input: { conversationId: $id, text: \"Hello\", \
                     autoTitle: false }) { replyId } }";

const RENAME: &str = "mutation ($id: ID!, $title: String!) { renameConversation(input: { id: $id, \
                      displayName: $title }) { conversation { id } } }";

/// All conversations that the user can see; with a sharing policy, those of the tenant.
const INBOX: &str = "subscription { conversationUpdated { id title revision } }";

fn begin(id: &str) -> Vec<u8> {
    let body = json!({ "query": BEGIN, "variables": { "id": id } });
    post("/graphql", "application/json", &body)
}

fn subscription(id: &str) -> Value {
    let query = "subscription ($id: ID!) { conversationUpdated(id: $id) { id title revision } }";
    json!({ "query": query, "variables": { "id": id } })
}

fn post(path: &str, accept: &str, body: &Value) -> Vec<u8> {
    http::request("POST", path, accept, Some(body))
}
