//! `searchConversations`: what is found, in which order, what is shown of it, and that a client's text
//! is never query syntax.

use serde_json::{Value, json};
use titlecast_testing::{
    Answer, ModelServer, Server,
    calls::{conversation_when, delete, rename, send_message, settled_conversation},
};

/// A page of hits.
async fn search(server: &Server, query: &str, first: usize, after: Option<&str>) -> Value {
    let search = "query ($query: String!, $first: Int, $after: String) {
        searchConversations(query: $query, first: $first, after: $after) {
            edges { cursor }
            nodes { conversation { id title } message { id role content } snippet score }
            pageInfo { hasNextPage hasPreviousPage endCursor }
        }
    }";
    let variables = json!({ "query": query, "first": first, "after": after });
    server.data(search, variables).await["searchConversations"].take()
}

/// The ids of the conversations that a query finds, best first.
async fn found(server: &Server, query: &str) -> Vec<String> {
    let hits = search(server, query, 100, None).await;
    ids(&hits)
}

fn ids(hits: &Value) -> Vec<String> {
    hits["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| hit["conversation"]["id"].as_str().unwrap().to_owned())
        .collect()
}

/// A conversation of one message and its reply, with this title.
async fn begin(server: &Server, title: &str, text: &str) -> String {
    let input = json!({ "text": text, "autoTitle": false });
    let id = settled_conversation(&server.url, input).await;
    rename(&server.url, &id, title).await;
    id
}

#[tokio::test]
async fn a_title_that_matches_comes_before_a_message_that_does() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let in_title = begin(&server, "Autumn in Kyoto", "Where are the leaves red now").await;
    let text = "We come to Kyoto in spring, is it very full then";
    let in_message = begin(&server, "Spring holidays", text).await;
    begin(&server, "Bread", "How long does the dough rest").await;

    let hits = search(&server, "kyoto", 10, None).await;
    assert_eq!(ids(&hits), [in_title.as_str(), in_message.as_str()]);
    let [title, message] = [&hits["nodes"][0], &hits["nodes"][1]];
    assert_eq!(title["conversation"]["title"], "Autumn in Kyoto");
    assert_eq!(title["message"], Value::Null);
    assert_eq!(title["snippet"], "Autumn in Kyoto");
    assert_eq!(message["message"]["role"], "USER");
    assert_eq!(message["message"]["content"], text);
    assert_eq!(message["snippet"], text);
    let scores = [&title["score"], &message["score"]].map(|score| score.as_f64().unwrap());
    assert!(scores[0] > scores[1] && scores[1] > 0.0, "{scores:?}");
}

#[tokio::test]
async fn every_word_has_to_be_there_and_the_last_may_be_a_beginning() {
    let model = ModelServer::start().await;
    model.reply(Answer::Deltas(vec![
        "Take the Shinkansen, ",
        "naïve or not.",
    ]));
    let server = Server::start(&model).await;
    let id = begin(&server, "A journey", "How do I get from Tokyo to Osaka").await;
    for query in [
        "tokyo",
        "OSAKA Tokyo",
        "shinkan",
        "naive",
        "NAÏVE take",
        "journ",
        "tokyo os",
    ] {
        assert_eq!(found(&server, query).await, [id.as_str()], "{query}");
    }
    for query in [
        "toky osaka",
        "kyoto",
        "tokyo kyoto",
        "okyo",
        "journey tokyo",
        "",
        "  ",
        "…",
    ] {
        assert!(found(&server, query).await.is_empty(), "{query}");
    }
    let hit = search(&server, "shinkansen", 1, None).await["nodes"][0].take();
    assert_eq!(hit["message"]["role"], "ASSISTANT");
    assert_eq!(hit["snippet"], "Take the Shinkansen, naïve or not.");
}

#[tokio::test]
async fn a_long_message_is_shown_by_the_part_that_matches() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let text = format!(
        "{}the needle\nis here {}",
        "before ".repeat(60),
        "after ".repeat(60)
    );
    begin(&server, "Haystack", &text).await;
    let hit = search(&server, "needle", 1, None).await["nodes"][0].take();
    let snippet = hit["snippet"].as_str().unwrap();
    assert!(
        snippet.contains("before the needle is here after"),
        "{snippet}"
    );
    assert!(
        snippet.starts_with('…') && snippet.ends_with('…'),
        "{snippet}"
    );
    assert!(snippet.chars().count() < 200, "{snippet}");
}

#[tokio::test]
async fn a_part_of_a_sentence_without_spaces_is_found() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let in_title = begin(&server, "京都旅行の計画", "Where shall we go in autumn").await;
    let in_message = begin(&server, "Another one", "来年の旅行はどこがいいですか").await;
    begin(&server, "行旅", "旅と行").await;
    assert_eq!(
        found(&server, "旅行").await,
        [in_title.as_str(), in_message.as_str()]
    );
    assert_eq!(found(&server, "京都旅行").await, [in_title.as_str()]);
    assert_eq!(found(&server, "計画 京都").await, [in_title.as_str()]);
    assert!(found(&server, "東京").await.is_empty());
    let hits = search(&server, "旅行", 10, None).await;
    assert_eq!(hits["nodes"][0]["snippet"], "京都旅行の計画");
    assert_eq!(hits["nodes"][1]["snippet"], "来年の旅行はどこがいいですか");
}

#[tokio::test]
async fn pages_hold_every_hit_once_best_first() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let mut expected = Vec::new();
    for number in 0..7 {
        // Equal texts score equally: the cursor must still distinguish them.
        expected.push(begin(&server, "Notes", "Some words about Kyoto").await);
        begin(
            &server,
            "Other notes",
            &format!("Nothing to be found {number}"),
        )
        .await;
    }
    let (mut read, mut scores) = (Vec::new(), Vec::new());
    let mut after: Option<String> = None;
    for number in 0..4 {
        let hits = search(&server, "kyoto", 2, after.as_deref()).await;
        assert_eq!(hits["pageInfo"]["hasNextPage"], number < 3);
        assert_eq!(hits["pageInfo"]["hasPreviousPage"], number > 0);
        let last = hits["edges"].as_array().unwrap().last().unwrap();
        assert_eq!(hits["pageInfo"]["endCursor"], last["cursor"]);
        after = Some(last["cursor"].as_str().unwrap().to_owned());
        read.extend(ids(&hits));
        let nodes = hits["nodes"].as_array().unwrap();
        scores.extend(nodes.iter().map(|hit| hit["score"].as_f64().unwrap()));
    }
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    read.sort();
    expected.sort();
    assert_eq!(read, expected);
    let none = search(&server, "kyoto", 2, after.as_deref()).await;
    assert_eq!(none["nodes"], json!([]));
}

#[tokio::test]
async fn a_clients_text_is_never_syntax() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = begin(&server, "Autumn in Kyoto", "Where are the leaves red now").await;
    for harmless in [
        "kyoto*",
        "\"kyoto",
        "kyoto\"",
        "(kyoto",
        "kyoto)",
        "-kyoto",
        "^kyoto",
        "kyoto:*",
        "+kyoto",
        "'kyoto'",
        "kyoto\\",
        "{kyoto}",
        "kyoto!",
        "<kyoto>",
        "kyoto;--",
        "\u{0}kyoto",
        "%kyoto%",
    ] {
        assert_eq!(
            found(&server, harmless).await,
            [id.as_str()],
            "{harmless:?}"
        );
    }
    for nothing in [
        "kyoto OR nothing",
        "NOT kyoto",
        "NEAR(kyoto leaves)",
        "body:kyoto",
        "kyoto & nothing",
        "kyoto | nothing",
        "'; DROP TABLE agent_conversations; --",
        "message_id:*",
        "* *",
        "\"\"",
        "!!! & | ( )",
        "\\",
        "%",
        "👩‍👩‍👧‍👦",
    ] {
        assert!(found(&server, nothing).await.is_empty(), "{nothing:?}");
    }
    let long = "kyoto ".repeat(5_000);
    assert_eq!(found(&server, &long).await, [id.as_str()]);
    assert_eq!(found(&server, "kyoto").await, [id.as_str()]);
}

#[tokio::test]
async fn the_newest_title_is_what_is_searched() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let input = json!({ "text": "Where are the leaves red", "topicHint": "Foliage" });
    let (title, open) = Answer::held(Answer::Text(r#"{"title":"Autumn Leaves"}"#));
    model.title(title);
    let sent = send_message(&server.url, input).await;
    let id = sent["conversation"]["id"].as_str().unwrap();
    assert_eq!(
        found(&server, "foliage").await,
        [id],
        "the hint while there is no title"
    );
    open.send(()).unwrap();
    conversation_when(&server.url, id, |now| {
        now["titleStatus"] == "READY" && now["messageCount"] == 2
    })
    .await;
    assert!(found(&server, "foliage").await.is_empty());
    assert_eq!(found(&server, "autumn").await, [id]);
    rename(&server.url, id, "Something else").await;
    assert!(found(&server, "autumn").await.is_empty());
    assert_eq!(found(&server, "something").await, [id]);
    delete(&server.url, id).await;
    for gone in ["something", "leaves", "hello"] {
        assert!(found(&server, gone).await.is_empty(), "{gone}");
    }
}
