//! Tenants are apart.

use serde_json::json;
use titlecast_testing::{
    ModelServer, Server,
    auth::{claims, graphql_as, signed},
    eventually,
    raw_socket::RawSocket,
};

#[tokio::test]
async fn tenants_are_apart_though_their_users_have_the_same_name() {
    let model = ModelServer::start().await;
    let server = Server::guarded(&model).await;
    let tokens = ["acme", "globex"].map(|tenant| signed(&claims(tenant, "ada")));
    let mut sockets = Vec::new();
    for token in &tokens {
        let mut socket = RawSocket::open(&server.url, "graphql-transport-ws").await;
        socket
            .say(json!({ "type": "connection_init", "payload": { "token": token } }))
            .await;
        assert_eq!(socket.message().await["type"], "connection_ack");
        let payload = json!({ "query": "subscription { conversationUpdated { id displayName messageCount } }" });
        socket
            .say(json!({ "type": "subscribe", "id": "1", "payload": payload }))
            .await;
        sockets.push(socket);
    }
    server.topics(2).await;
    let send =
        "mutation { sendMessage(input: { text: \"A trip to Kyoto\", idempotencyKey: \"k\" }) {
        conversation { id } } }";
    let mut sent = Vec::new();
    for token in &tokens {
        let answer = graphql_as(token, &server.url, send).await;
        sent.push(answer["data"]["sendMessage"]["conversation"]["id"].clone());
    }
    assert_ne!(sent[0], sent[1], "an idempotency key is a tenant's");
    let list = "{ conversations { nodes { id } } searchConversations(query: \"kyoto\") {
        nodes { conversation { id } } } }";
    for ((token, id), socket) in tokens.iter().zip(&sent).zip(&mut sockets) {
        eventually(async || {
            let found = graphql_as(token, &server.url, list).await;
            let one = json!({ "id": id });
            assert_eq!(found["data"]["conversations"]["nodes"], json!([one]));
            let hits = &found["data"]["searchConversations"]["nodes"];
            assert_eq!(hits, &json!([{ "conversation": one }]));
            Some(())
        })
        .await;
        // All of the own one, until it is titled and replied to; states in between may be left out.
        loop {
            let received = socket.message().await;
            let state = &received["payload"]["data"]["conversationUpdated"];
            assert_eq!(&state["id"], id, "{received}");
            if state["displayName"].is_string() && state["messageCount"] == 2 {
                break;
            }
        }
    }
}
