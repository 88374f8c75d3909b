//! The measured programs: how each is installed, started and queried. To add one, add an entry to [`ALL`].

use std::{path::Path, process::Command};

use serde_json::json;

use crate::{Result, http, peers, running};

pub struct Contestant {
    pub name: &'static str,
    /// Whether it also serves SQLite.
    pub sqlite: bool,
    /// Installs it unless it is already installed.
    pub install: fn() -> Result<()>,
    /// The command that listens on this port of 127.0.0.1.
    pub command: fn(titlecast: &Path, port: u16, url: &str) -> Result<Command>,
    /// The request for the local user's first 50 conversations.
    pub request: fn() -> Vec<u8>,
    /// The JSON pointer to the conversations in the response.
    pub list: &'static str,
}

/// In running order. The others are compared with the first one.
pub static ALL: &[Contestant] = &[
    Contestant {
        name: "by hand",
        sqlite: true,
        install: || Ok(()),
        command: |_, port, url| {
            let route = std::env::current_exe()?.with_file_name("list-route");
            let mut command = Command::new(route);
            command.args([&port.to_string(), url]);
            Ok(command)
        },
        request: || http::request("GET", "/list", "application/json", None),
        list: "/nodes",
    },
    Contestant {
        name: "titlecast",
        sqlite: true,
        install: || Ok(()),
        command: |titlecast, port, url| {
            Ok(running::titlecast(titlecast, port, url, running::OFFLINE))
        },
        request: || graphql("conversations(first: 50)", "id"),
        list: "/data/conversations/nodes",
    },
    Contestant {
        name: "postgraphile",
        sqlite: false,
        install: || peers::npm("postgraphile"),
        command: |_, port, url| {
            let mut command = peers::node("postgraphile", &port.to_string());
            command.arg(url);
            Ok(command)
        },
        request: || {
            graphql(
                r#"conversations: allAgentConversations(first: 50,
                    condition: { tenantId: "local", userId: "local", status: "active" },
                    orderBy: [LAST_MESSAGE_AT_DESC, ROW_ID_DESC])"#,
                "id: rowId",
            )
        },
        list: "/data/conversations/nodes",
    },
];

/// The request that selects the same fields on all GraphQL servers.
fn graphql(list: &str, id: &str) -> Vec<u8> {
    let query = format!(
        "query {{ {list} {{ nodes {{
            {id} topicHint agentEntrypoint activeAgent status messageCount lastMessagePreview lastMessageAt createdAt
            updatedAt displayName titleGeneratedAt titleSource titleStatus revision
        }} pageInfo {{ hasNextPage }} }} }}"
    );
    let body = json!({ "query": query });
    http::request("POST", "/graphql", "application/json", Some(&body))
}
