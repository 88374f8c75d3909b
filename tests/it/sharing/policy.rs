//! A policy that changes, on one node and on several.

use serde_json::{Value, json};
use titlecast_testing::{
    Events, GraphqlSocket, ModelServer, Step, Watched,
    calls::{conversation, rename, send_message, settled_conversation},
    eventually,
    nats::{self, nats_is},
    replies::{being_written, write},
    server::client,
    titles::replied,
    within,
};

use super::{Team, listed};

const INBOX: &str = "subscription { conversationUpdated { id displayName } }";
const ONE: &str = "subscription ($id: ID!) { conversationUpdated(id: $id) { displayName } }";
const REPLY: &str = "subscription ($id: ID!) { reply(conversationId: $id) { __typename } }";

#[tokio::test]
async fn a_policy_that_turns_private_ends_what_others_watch() {
    let model = ModelServer::start().await;
    for visibility in ["read", "tenant"] {
        let team = Team::start(&model, visibility).await;
        let (id, _, steps) = being_written(&model, &team.ada).await;
        write(&steps, "First day");
        let mut sockets = Vec::new();
        for (query, has_first) in [(INBOX, false), (ONE, true), (REPLY, true)] {
            let mut socket = GraphqlSocket::connect(&team.bob).await;
            let operation = socket.subscribe(query, json!({ "id": id })).await;
            match has_first {
                true => drop(socket.next(&operation).await.expect("what there is")),
                false => socket.settled().await,
            }
            sockets.push((socket, operation, query));
        }
        let path = format!("{}/api/v1/conversations/{id}/stream", team.bob);
        let mut titles = Events::of(client().get(path)).await;
        let path = format!("{}/api/v1/conversations/{id}/reply", team.bob);
        let mut reply = Events::of(client().get(path)).await;
        reply.segment().await.expect("the beginning of the reply");

        team.reload("private");
        for (socket, operation, query) in &mut sockets {
            let code = loop {
                // A delta may have been on its way.
                let message = socket.message().await.expect("the socket is open");
                assert_eq!(message["id"], operation.as_str(), "{message}");
                let errors = match message["type"].as_str() {
                    Some("error") => &message["payload"],
                    _ => &message["payload"]["errors"],
                };
                if let Some(code) = errors[0]["extensions"]["code"].as_str() {
                    break code.to_owned();
                }
            };
            assert_eq!(code, "LAGGED", "{query}");
        }
        for events in [&mut titles, &mut reply] {
            let broken = within(async {
                loop {
                    match events.try_segment().await {
                        Ok(Some(_)) => {}
                        end => break end,
                    }
                }
            });
            assert!(broken.await.is_err(), "it breaks off, and does not end");
        }
        assert!(conversation(&team.bob, &id).await.is_null());
        assert_eq!(listed(&team.bob, "").await, [""; 0]);
        // The reply continues, for its owner.
        write(&steps, " and the second");
        steps.send(Step::Finish).unwrap();
        replied(&team.ada, &id, 2).await;
    }
}

#[tokio::test]
async fn a_policy_that_opens_up_ends_lists_that_cover_too_little() {
    let model = ModelServer::start().await;
    let team = Team::start(&model, "private").await;
    let id = team.conversation().await;
    let mut socket = GraphqlSocket::connect(&team.bob).await;
    let operation = socket.subscribe(INBOX, json!({})).await;
    socket.settled().await;
    team.reload("private");
    rename(&team.ada, &id, "Not for others").await;
    let own = settled_conversation(&team.bob, json!({ "text": "A recipe for ramen" })).await;
    let state = socket.next_of(&operation, "conversationUpdated").await;
    assert_eq!(state["id"], own, "a reload that changes nothing");
    team.reload("tenant");
    let code = loop {
        let message = socket.message().await.expect("the socket is open");
        let errors = match message["type"].as_str() {
            Some("error") => message["payload"].clone(),
            _ => message["payload"]["errors"].clone(),
        };
        if let Some(code) = errors[0]["extensions"]["code"].as_str() {
            break code.to_owned();
        }
    };
    assert_eq!(code, "LAGGED");
    assert!(listed(&team.bob, "").await.contains(&id));
    let mut list = Watched::list(&team.bob).await;
    rename(&team.ada, &id, "For all").await;
    list.until(|now| now["id"] == *id && now["displayName"] == "For all")
        .await;
}

#[tokio::test]
async fn an_inbox_receives_what_happens_on_another_node() {
    let Some(nats) = nats::shared().await else {
        return;
    };
    let model = ModelServer::start().await;
    let settings = ["--nats-url", nats.as_str()];
    let one = Team::start_with(&model, "tenant", &settings).await;
    let other = one.beside(&model, "tenant", &settings).await;
    for node in [&one, &other] {
        nats_is(&node.server.url, "ok").await;
    }
    let mut inbox = Watched::list(&other.bob).await;
    let mut strangers = Watched::list(&other.eve).await;
    let id = one.conversation().await;
    rename(&one.bob, &id, "Renamed by a guest").await;
    let is_renamed = |now: &Value| now["id"] == *id && now["displayName"] == "Renamed by a guest";
    inbox.until(is_renamed).await;
    // Another tenant receives only its own conversation.
    let own = send_message(
        &one.eve,
        json!({ "text": "Hello there", "autoTitle": false }),
    )
    .await;
    let own = own["conversation"]["id"].clone();
    let heard = strangers.until(|now| now["id"] == own).await;
    assert!(heard.iter().all(|now| now["id"] == own), "{heard:?}");

    // Nodes do not reload at the same time: each answers by its own policy.
    one.reload("private");
    assert!(conversation(&one.bob, &id).await.is_null());
    assert_eq!(conversation(&other.bob, &id).await["id"], id);
    rename(&one.ada, &id, "Renamed by the owner").await;
    inbox
        .until(|now| now["displayName"] == "Renamed by the owner")
        .await;
    other.reload("private");
    eventually(async || conversation(&other.bob, &id).await.is_null().then_some(())).await;
}
