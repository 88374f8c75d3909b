//! The list of conversations and the search: order, pages, filters, what finds what.

use migration::search_text::{marked, owner_mark};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use titlecast_testing::{Answer, ModelServer, Server, eventually};

const LIST: &str = "/api/v1/conversations";
const SUMMARY: [&str; 12] = [
    "conversation_id",
    "display_name",
    "topic_hint",
    "title_generated_at",
    "agent_entrypoint",
    "active_agent",
    "status",
    "message_count",
    "last_message_preview",
    "created_at",
    "last_message_at",
    "updated_at",
];

/// A page of the list.
async fn list(server: &Server, query: &str) -> Value {
    let (status, page) = server.get(&format!("{LIST}?{query}")).await;
    assert_eq!(status, 200, "{query}: {page}");
    page
}

/// A page of a search.
async fn search(server: &Server, text: &str, more: &str) -> Value {
    let query: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let (status, page) = server.get(&format!("{LIST}/search?q={query}{more}")).await;
    assert_eq!(status, 200, "{text:?}: {page}");
    page
}

fn ids(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().unwrap().iter();
    items
        .map(|item| item["conversation_id"].as_str().unwrap())
        .collect()
}

/// A conversation with this first message and this title.
async fn begin(model: &ModelServer, server: &Server, message: &str, title: &'static str) -> String {
    model.title(Answer::Text(title));
    let id = server.begin(message).await;
    let (_, history) = server.get(&format!("{LIST}/{id}")).await;
    assert_eq!(history["display_name"], title);
    id
}

#[tokio::test]
async fn the_newest_activity_is_first_and_a_title_is_no_activity() {
    let model = ModelServer::start().await;
    let gate = model.held_title(Answer::Text("Planning a Trip to Kyoto"));
    let server = Server::start_with(&model, &["--title-grace", "1ms"]).await;
    let a = server.begin("Plan a trip to Kyoto").await;
    let b = server.begin("Learn to bake bread at home").await;
    let c = server.begin("Why is the sky blue in daytime?").await;
    assert_eq!(ids(&list(&server, "").await), [&*c, &b, &a]);

    gate.send(()).unwrap();
    eventually(async || {
        let page = list(&server, "").await;
        (page["items"][2]["display_name"] == ModelServer::TITLE).then_some(())
    })
    .await;
    let body = json!({ "display_name": "Bread" });
    let (status, renamed) = server
        .send("PATCH", &format!("{LIST}/{b}/title"), body)
        .await;
    assert_eq!(status, 200);
    let page = list(&server, "").await;
    assert_eq!(ids(&page), [&*c, &b, &a]);
    assert_eq!(page["items"][1], renamed);
    assert_eq!(page["items"][1]["display_name"], "Bread");

    let body = json!({ "message": "And Nara?", "conversation_id": a });
    assert_eq!(server.send("POST", "/api/v1/chat", body).await.0, 200);
    assert_eq!(ids(&list(&server, "").await), [&*a, &c, &b]);
}

#[tokio::test]
async fn a_summary_writes_null_out() {
    let model = ModelServer::start().await;
    model.refuse_title();
    let server = Server::start(&model).await;
    server.begin("Plan a trip to Kyoto").await;
    let page = list(&server, "").await;
    assert_eq!(page["next_cursor"], Value::Null);
    let item = page["items"][0].as_object().unwrap();
    let mut keys: Vec<_> = item.keys().collect();
    let mut expected = SUMMARY;
    keys.sort();
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(item["display_name"], Value::Null);
    assert_eq!(item["title_generated_at"], Value::Null);
    assert_eq!(item["topic_hint"], "Plan a trip to Kyoto");
    assert_eq!(item["agent_entrypoint"], "triage");
    assert_eq!(item["active_agent"], "triage");
    assert_eq!(item["status"], "active");
    assert_eq!(item["message_count"], 2);
    assert_eq!(item["last_message_preview"], ModelServer::REPLY.concat());
}

#[tokio::test]
async fn pages_lose_and_repeat_nothing_while_new_conversations_arrive() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let mut expected = Vec::new();
    for _ in 0..6 {
        expected.insert(0, server.begin("Plan a trip to Kyoto").await);
    }
    let (mut walked, mut sizes) = (Vec::new(), Vec::new());
    let mut query = "limit=2".to_owned();
    loop {
        let page = list(&server, &query).await;
        sizes.push(ids(&page).len());
        walked.extend(ids(&page).iter().map(|id| id.to_string()));
        server.begin("Learn to bake bread at home").await;
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        query = format!("limit=2&cursor={cursor}");
    }
    assert_eq!(walked, expected);
    // A last page that is full says so, instead of leading to an empty one.
    assert_eq!(sizes, [2, 2, 2]);
    assert_eq!(ids(&list(&server, "").await).len(), 9);
    assert_eq!(ids(&list(&server, "limit=100").await).len(), 9);
}

#[tokio::test]
async fn an_agent_filters_the_list_and_the_search() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let triage = server.begin("Plan a trip to Kyoto").await;
    let body = json!({ "message": "Pay for the trip", "agent_type": "billing" });
    let (_, answer) = server.send("POST", "/api/v1/chat", body).await;
    let billing = answer["conversation_id"].as_str().unwrap();
    assert_eq!(answer["agent_used"], "billing");
    // Continuing with another agent does not change the entry point.
    let body =
        json!({ "message": "Where to?", "agent_type": "billing", "conversation_id": triage });
    assert_eq!(
        server.send("POST", "/api/v1/chat", body).await.1["agent_used"],
        "billing"
    );

    assert_eq!(ids(&list(&server, "agent=billing").await), [billing]);
    assert_eq!(ids(&list(&server, "agent=triage").await), [&*triage]);
    assert!(ids(&list(&server, "agent=nobody").await).is_empty());
    assert_eq!(ids(&list(&server, "agent=").await).len(), 2);
    assert_eq!(ids(&search(&server, "trip", "").await).len(), 2);
    assert_eq!(
        ids(&search(&server, "trip", "&agent=billing").await),
        [billing]
    );
    assert!(ids(&search(&server, "trip", "&agent=nobody").await).is_empty());
    // No database keeps a U+0000, and PostgreSQL takes none either.
    assert_eq!(ids(&list(&server, "agent=bil%00ling").await), [billing]);
    assert_eq!(
        ids(&search(&server, "trip", "&agent=%00billing").await),
        [billing]
    );
}

#[tokio::test]
async fn what_hundreds_of_newer_texts_hold_as_well_is_found_where_they_may_not_be() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let mine = server.begin("Plan a trip to Kyoto").await;
    let body = json!({ "message": "Pay for the trip", "agent_type": "billing" });
    let (_, answer) = server.send("POST", "/api/v1/chat", body).await;
    let billing = answer["conversation_id"].as_str().unwrap();
    let rows = server.database.connect().await;
    // More than are ranked, and all with the mark of the owner.
    let body = marked(&owner_mark("local", "local"), "pay for the trip");
    let copies = format!(
        "INSERT INTO agent_search (conversation_id, message_id, body)
        SELECT copied.conversation_id, copied.message_id, '{body}'
        FROM (SELECT 1 FROM agent_search LIMIT 6) AS a, (SELECT 1 FROM agent_search LIMIT 6) AS b,
             (SELECT 1 FROM agent_search LIMIT 6) AS c, (SELECT 1 FROM agent_search LIMIT 6) AS d,
             agent_search AS copied
        JOIN agent_conversations ON agent_conversations.id = copied.conversation_id
        WHERE agent_entrypoint = 'billing'"
    );
    rows.execute_unprepared(&copies).await.unwrap();
    assert!(server.database.census().await[3] > 2_000);
    assert_eq!(ids(&search(&server, "trip", "").await), [billing]);
    assert_eq!(
        ids(&search(&server, "trip", "&agent=triage").await),
        [&*mine]
    );
    let to_another =
        "UPDATE agent_conversations SET user_id = 'another' WHERE agent_entrypoint = 'billing'";
    rows.execute_unprepared(to_another).await.unwrap();
    assert_eq!(ids(&search(&server, "trip", "").await), [&*mine]);
}

#[tokio::test]
async fn a_search_finds_titles_messages_prefixes_and_parts_of_sentences_without_spaces() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let rome = begin(
        &model,
        &server,
        "Where shall we go in May?",
        "Weekend in Rome",
    )
    .await;
    let bread = begin(
        &model,
        &server,
        "Explain the Maillard réaction\nof crusts",
        "Bread and Its Chemistry",
    )
    .await;
    let kyoto = begin(
        &model,
        &server,
        "来月の計画を立てたいです",
        "京都旅行の計画",
    )
    .await;
    for (text, found, preview) in [
        ("rome", &rome, "Weekend in Rome"),
        ("WEEKEND rome", &rome, "Weekend in Rome"),
        ("rome week", &rome, "Weekend in Rome"),
        ("ROM", &rome, "Weekend in Rome"),
        ("go in may", &rome, "Where shall we go in May?"),
        (
            "maillard",
            &bread,
            "Explain the Maillard réaction of crusts",
        ),
        (
            "reaction",
            &bread,
            "Explain the Maillard réaction of crusts",
        ),
        ("RÉACT", &bread, "Explain the Maillard réaction of crusts"),
        ("旅行", &kyoto, "京都旅行の計画"),
        ("都旅", &kyoto, "京都旅行の計画"),
        ("来月", &kyoto, "来月の計画を立てたいです"),
        ("立てたい", &kyoto, "来月の計画を立てたいです"),
        ("旅行 計画", &kyoto, "京都旅行の計画"),
    ] {
        let page = search(&server, text, "").await;
        assert_eq!(ids(&page), [found], "{text}");
        assert_eq!(page["items"][0]["preview"], preview, "{text}");
        assert!(page["items"][0]["score"].as_f64().unwrap() > 0.0, "{text}");
        let keys = page["items"][0].as_object().unwrap();
        assert!(SUMMARY.iter().all(|key| keys.contains_key(*key)));
    }
    // The reply that all three have is found in all three; words of two messages are no match.
    assert_eq!(ids(&search(&server, "hello model", "").await).len(), 3);
    for text in ["paris", "行旅", "maillard hello", "ome", "rome maillard"] {
        assert!(ids(&search(&server, text, "").await).is_empty(), "{text}");
    }
    // A replaced title is no longer found.
    let body = json!({ "display_name": "Weekend in Naples" });
    assert_eq!(
        server
            .send("PATCH", &format!("{LIST}/{rome}/title"), body)
            .await
            .0,
        200
    );
    assert!(ids(&search(&server, "rome", "").await).is_empty());
    assert_eq!(ids(&search(&server, "naples", "").await), [&*rome]);
}

#[tokio::test]
async fn query_syntax_is_only_text() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    server.begin("Plan a trip to Kyoto").await;
    for text in [
        r#"" OR * NEAR( -a title:x"#,
        r#"kyoto" OR "nothing"#,
        "kyoto OR nothing",
        "kyoto NOT nothing",
        "kyoto AND nothing",
        "NEAR(kyoto nothing, 5)",
        "body:kyoto",
        "{body}: kyoto",
        "kyoto & !nothing",
        "kyoto | nothing",
        "'; DROP TABLE agent_conversations; --",
        r"\' kyoto",
        "'kyoto':*B | x",
        "x<->kyoto",
        "\"",
        "\"\"\"",
        "'",
        "*",
        "(",
        "^",
        "%",
        "-",
        ":*",
        "\\",
        "\0",
        "🚀",
        "$1",
        "?1",
        "\u{5d0}\"\u{5d0}",
    ] {
        let page = search(&server, text, "").await;
        // What only puts signs around a word that is there may find it.
        let is_signs_only = matches!(text, r"\' kyoto");
        assert_eq!(ids(&page).len(), usize::from(is_signs_only), "{text}");
        assert_eq!(page["next_cursor"], Value::Null);
    }
    let long = "kyoto ".repeat(1_000);
    assert_eq!(ids(&search(&server, &long, "").await).len(), 1);
    assert_eq!(ids(&search(&server, "kyoto", "").await).len(), 1);
}

#[tokio::test]
async fn the_best_match_is_first_and_pages_follow_the_score() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let in_message = begin(
        &model,
        &server,
        "A trip to Kyoto or to Rome?",
        "Choosing a City",
    )
    .await;
    let in_title = begin(
        &model,
        &server,
        "Where shall we go in May?",
        "Kyoto in Spring",
    )
    .await;
    let mut others = Vec::new();
    for _ in 0..3 {
        let message = "We should maybe go to Kyoto, though I am by no means sure of it";
        others.push(begin(&model, &server, message, "Choosing a Season").await);
    }
    let whole = search(&server, "kyoto", "").await;
    assert_eq!(ids(&whole).len(), 5);
    assert_eq!(ids(&whole)[0], in_title);
    assert!(ids(&whole).contains(&&*in_message));
    let scores = whole["items"].as_array().unwrap().iter();
    let scores: Vec<f64> = scores.map(|item| item["score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");

    let mut page = search(&server, "kyoto", "&limit=2").await;
    let mut walked = page["items"].as_array().unwrap().clone();
    while let Some(cursor) = page["next_cursor"].as_str() {
        page = search(&server, "kyoto", &format!("&limit=2&cursor={cursor}")).await;
        walked.extend(page["items"].as_array().unwrap().clone());
    }
    assert_eq!(Value::from(walked), whole["items"]);
    assert!(others.iter().all(|other| ids(&whole).contains(&&**other)));
}
