//! Expensive searches: which are refused, what is found of texts that no index holds completely, how soon a statement
//! ends after its client left, and that a score reveals nothing about other owners' texts.

use std::time::{Duration, Instant};

use migration::search_text::owner_mark;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    Answer, ModelServer, Server,
    calls::settled_conversation,
    eventually,
    server::{client, graphql, request},
};
use tokio::time::timeout;

const SEARCH: &str = "query ($q: String!) { searchConversations(query: $q, first: 30) {
    nodes { conversation { id } snippet score }
} }";

fn numbered(count: usize, with: &str) -> String {
    let words: Vec<String> = (0..count).map(|n| format!("w{n}")).collect();
    words.join(with)
}

/// The code of the error that a search is answered with, by GraphQL and by REST.
async fn refused(server: &Server, text: &str) -> [Value; 2] {
    let answer = server.graphql(SEARCH, json!({ "q": text })).await;
    let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let path = format!("/api/v1/conversations/search?q={encoded}");
    let (status, page) = server.get(&path).await;
    assert_eq!(status, 422, "{page}");
    let code = &answer["errors"][0]["extensions"]["code"];
    [code.clone(), page["code"].clone()]
}

#[tokio::test]
async fn more_words_than_an_index_is_asked_for_are_refused_in_phrases_too() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    for text in [
        numbered(33, " "),
        numbered(33, "-"),
        numbered(2_000, "-"),
        "京都旅行の計画".repeat(5),
        "a-".repeat(15_000),
    ] {
        let code = json!("INVALID_INPUT");
        assert_eq!(
            refused(&server, &text).await,
            [code.clone(), code],
            "{text:.40}"
        );
    }
    for text in [numbered(32, " "), numbered(32, "-"), "kyoto ".repeat(1_000)] {
        server.data(SEARCH, json!({ "q": text })).await;
    }
}

/// What one database takes and another refuses is stored, and found by its beginning.
#[tokio::test]
async fn a_reply_of_more_words_than_an_index_holds_is_stored_and_found() {
    let model = ModelServer::start().await;
    let long = format!("beginning {} {}", numbered(70_000, " "), "x".repeat(5_000));
    model.reply(Answer::Deltas(vec![long.clone().leak()]));
    let server = Server::start(&model).await;
    let input = json!({ "text": "Say all words", "autoTitle": false });
    let id = settled_conversation(&server.url, input).await;
    let (_, history) = server.get(&format!("/api/v1/conversations/{id}")).await;
    assert_eq!(history["messages"][1]["content"], long);
    let found = server.data(SEARCH, json!({ "q": "beginning w17" })).await;
    let nodes = found["searchConversations"]["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 1);
}

/// Two owners whose words have the same mark in the index, as long as marks are short: "twin" has that of "local".
#[tokio::test]
async fn a_score_is_the_same_whatever_others_wrote() {
    let model = ModelServer::start().await;
    let mut server = Server::start(&model).await;
    let twin = Owner {
        tenant: "local".into(),
        user: twin_of_local(),
    };
    let other = server.serve(twin).await;
    let input = json!({ "text": "We come to Kyoto in spring", "autoTitle": false });
    settled_conversation(&server.url, input.clone()).await;
    let score = async |url: &str| {
        let found = graphql(url, SEARCH, json!({ "q": "kyoto" })).await;
        found["data"]["searchConversations"]["nodes"][0]["score"].clone()
    };
    let before = score(&server.url).await;
    for _ in 0..5 {
        settled_conversation(&other, input.clone()).await;
    }
    assert_eq!(score(&server.url).await, before);
    assert_eq!(score(&other).await, before);
}

fn twin_of_local() -> String {
    let mark = owner_mark("local", "local");
    let mut users = (0..).map(|n| format!("twin{n}"));
    users
        .find(|user| owner_mark("local", user) == mark)
        .unwrap()
}

/// A statement that would go on for minutes ends with its future.
#[tokio::test]
async fn a_statement_ends_soon_after_its_client_left() {
    let server = Server::offline().await;
    let reader = server.app.database();
    let begun = Instant::now();
    let left = timeout(Duration::from_millis(300), reader.run_endlessly()).await;
    assert!(left.is_err());
    // All connections are free again: none is held by an abandoned query.
    eventually(async || {
        let idle: u32 = reader.connections().iter().map(|pool| pool.idle).sum();
        let open: u32 = reader.connections().iter().map(|pool| pool.open).sum();
        (idle == open).then_some(())
    })
    .await;
    if !server.database.is_sqlite() {
        let rows = server.database.connect().await;
        let running = "SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)' \
                       AND state = 'active' AND datname = current_database()";
        eventually(async || {
            let running =
                rows.query_all_raw(Statement::from_string(rows.get_database_backend(), running));
            running.await.unwrap().is_empty().then_some(())
        })
        .await;
    }
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    let (status, _) = request(&server.url, "GET", "/api/v1/conversations", None).await;
    assert_eq!(status, 200);
}

/// Fifty clients of one user that search at once and hang up: others are served meanwhile.
#[tokio::test]
async fn searches_of_one_user_leave_room_to_others() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    for _ in 0..5 {
        let text = "a ".repeat(29_000);
        let input = json!({ "text": text, "autoTitle": false });
        settled_conversation(&server.url, input).await;
    }
    let body = json!({ "query": SEARCH, "variables": { "q": vec!["a"; 32].join("-") } });
    let searching = (0..50).map(|_| {
        let request = client()
            .post(format!("{}/graphql", server.url))
            .header("content-type", "application/json")
            .body(body.to_string());
        timeout(Duration::from_millis(300), request.send())
    });
    let searching = futures_util::future::join_all(searching);
    let reading = async {
        for _ in 0..10 {
            let begun = Instant::now();
            let (status, _) = server.get("/api/v1/conversations").await;
            assert_eq!(status, 200);
            assert!(
                begun.elapsed() < Duration::from_secs(2),
                "{:?}",
                begun.elapsed()
            );
        }
    };
    tokio::join!(searching, reading);
    let found = server.data(SEARCH, json!({ "q": "a" })).await;
    assert!(
        !found["searchConversations"]["nodes"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}
