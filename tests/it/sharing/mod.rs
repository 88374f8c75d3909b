//! Conversations that the users of a tenant share: who reads and writes them, by the tenant's policy, on every surface.

mod access;
mod erased;
mod inbox;
mod policy;
mod wires;

use std::fs;

use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    ModelServer, Server,
    calls::{data, settled_conversation},
};

use crate::agents::Folder;

/// A user of a tenant.
pub fn owner(tenant: &str, user: &str) -> Owner {
    Owner {
        tenant: tenant.into(),
        user: user.into(),
    }
}

/// The file that gives the tenant `acme` this policy.
pub fn policy(visibility: &str) -> String {
    format!("[sharing.tenants.acme]\nvisibility = \"{visibility}\"\n")
}

/// A server whose tenant `acme` has a policy, with the doors of three users.
pub struct Team {
    pub server: Server,
    folder: Folder,
    /// Ada of acme, who owns the conversations.
    pub ada: String,
    /// Bob of acme.
    pub bob: String,
    /// Ada of globex.
    pub eve: String,
}

impl Team {
    pub async fn start(model: &ModelServer, visibility: &str) -> Self {
        Self::start_with(model, visibility, &[]).await
    }

    pub async fn start_with(model: &ModelServer, visibility: &str, settings: &[&str]) -> Self {
        let folder = Folder::new().file("titlecast.toml", &policy(visibility));
        let path = folder.path("titlecast.toml");
        let arguments = [&["--config", path.as_str()], settings].concat();
        let server = Server::start_with(model, &arguments).await;
        Self::of(server, folder).await
    }

    /// The same on the database of another node, with a file of its own.
    pub async fn beside(&self, model: &ModelServer, visibility: &str, settings: &[&str]) -> Self {
        let folder = Folder::new().file("titlecast.toml", &policy(visibility));
        let path = folder.path("titlecast.toml");
        let arguments = [&["--config", path.as_str()], settings].concat();
        let server = self.server.beside(model, &arguments).await;
        Self::of(server, folder).await
    }

    async fn of(mut server: Server, folder: Folder) -> Self {
        let ada = server.serve(owner("acme", "ada")).await;
        let bob = server.serve(owner("acme", "bob")).await;
        let eve = server.serve(owner("globex", "ada")).await;
        Self {
            server,
            folder,
            ada,
            bob,
            eve,
        }
    }

    /// Puts another policy in force.
    pub fn reload(&self, visibility: &str) {
        fs::write(self.folder.path("titlecast.toml"), policy(visibility)).unwrap();
        self.server.app.reload().unwrap();
    }

    /// A conversation of Ada's with its reply and its title; its id.
    pub async fn conversation(&self) -> String {
        settled_conversation(&self.ada, json!({ "text": "Plan a trip to Kyoto" })).await
    }
}

/// The ids of a caller's list.
pub async fn listed(url: &str, arguments: &str) -> Vec<String> {
    let query =
        format!("{{ conversations(first: 50 {arguments}) {{ totalCount nodes {{ id }} }} }}");
    let list = data(url, &query, json!({})).await["conversations"].take();
    let nodes = list["nodes"].as_array().unwrap();
    assert_eq!(list["totalCount"], nodes.len(), "{list}");
    let id = |node: &Value| node["id"].as_str().unwrap().to_owned();
    nodes.iter().map(id).collect()
}

/// The ids of what a caller finds.
pub async fn found(url: &str, words: &str) -> Vec<String> {
    let query = "query ($query: String!) {
        searchConversations(query: $query) { nodes { conversation { id } message { id } } }
    }";
    let hits = data(url, query, json!({ "query": words })).await["searchConversations"].take();
    let id = |hit: &Value| hit["conversation"]["id"].as_str().unwrap().to_owned();
    hits["nodes"].as_array().unwrap().iter().map(id).collect()
}
