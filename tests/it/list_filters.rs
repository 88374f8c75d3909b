//! Filters, orders, cursors and counts of the list of conversations, and the caller's own identity.

use serde_json::{Value, json};
use strum::VariantArray;
use titlecast::{auth::Scope, conversation::Owner};
use titlecast_testing::{
    ModelServer, Rows, Server,
    auth::{claims, graphql_as, signed, with},
    calls::{code, delete, send_message},
    stored,
};

/// A page of the list: ids and the cursor behind it.
async fn page(server: &Server, arguments: &str) -> (Vec<String>, Value) {
    let query = format!(
        "{{ conversations({arguments}) {{ nodes {{ id }} pageInfo {{ hasNextPage endCursor }} }} }}"
    );
    let mut data = server.data(&query, json!({})).await;
    let list = data["conversations"].take();
    let nodes = list["nodes"].as_array().unwrap().iter();
    let ids = nodes.map(|node| node["id"].as_str().unwrap().to_owned());
    let cursor = match list["pageInfo"]["hasNextPage"].as_bool().unwrap() {
        true => list["pageInfo"]["endCursor"].clone(),
        false => Value::Null,
    };
    (ids.collect(), cursor)
}

/// All ids of a list, read in pages of two.
async fn all(server: &Server, arguments: &str) -> Vec<String> {
    let (mut ids, mut cursor) = page(server, &format!("first: 2, {arguments}")).await;
    while !cursor.is_null() {
        assert_eq!(ids.len() % 2, 0, "{arguments}");
        let next = page(server, &format!("first: 2, after: {cursor}, {arguments}")).await;
        ids.extend(next.0);
        cursor = next.1;
    }
    ids
}

async fn count(server: &Server, arguments: &str) -> Value {
    let query = format!("{{ conversations(first: 1{arguments}) {{ totalCount }} }}");
    server.data(&query, json!({})).await["conversations"]["totalCount"].take()
}

/// Seven conversations, the newest first.
struct Seeded {
    server: Server,
    ids: Vec<String>,
    rows: Rows,
}

impl Seeded {
    async fn new() -> Self {
        let server = Server::offline().await;
        let ids = server.database.seed(&Owner::local(), 7, 1).await;
        let rows = Rows::of(&server.database).await;
        Self { server, ids, rows }
    }

    async fn change(&self, mutation: &str, place: usize) {
        let query = format!(
            "mutation ($id: ID!) {{ {mutation}(input: {{ conversationId: $id }}) {{ conversation {{ id }} }} }}"
        );
        let id = json!({ "id": self.ids[place] });
        self.server.data(&query, id).await;
    }

    async fn set(&self, place: usize, key: &str, value: &str) {
        let query = "mutation ($id: ID!, $set: [MetadataEntryInput!]!) {
            setConversationMetadata(input: { conversationId: $id, set: $set }) { conversation { id } }
        }";
        let set = json!([{ "key": key, "value": value }]);
        let variables = json!({ "id": self.ids[place], "set": set });
        self.server.data(query, variables).await;
    }

    /// The places of a list's conversations.
    async fn places(&self, arguments: &str) -> Vec<usize> {
        let ids = all(&self.server, arguments).await.into_iter();
        ids.map(|id| self.ids.iter().position(|one| *one == id).unwrap())
            .collect()
    }
}

#[tokio::test]
async fn a_list_is_of_those_that_are_archived_or_of_the_others() {
    let seeded = Seeded::new().await;
    for place in [1, 3, 4] {
        seeded.change("archiveConversation", place).await;
    }
    for others in [
        "",
        "filter: {}",
        "filter: { archived: false }",
        "filter: { archived: null }",
    ] {
        assert_eq!(seeded.places(others).await, [0, 2, 5, 6], "{others}");
    }
    assert_eq!(seeded.places("filter: { archived: true }").await, [1, 3, 4]);
    assert_eq!(count(&seeded.server, "").await, 4);
    assert_eq!(
        count(&seeded.server, ", filter: { archived: true }").await,
        3
    );
    delete(&seeded.server.url, &seeded.ids[1]).await;
    delete(&seeded.server.url, &seeded.ids[5]).await;
    assert_eq!(count(&seeded.server, "").await, 3);
    assert_eq!(
        count(&seeded.server, ", filter: { archived: true }").await,
        2
    );
    seeded.server.stop().await;
}

#[tokio::test]
async fn pins_metadata_and_agents_are_filters_that_all_must_hold() {
    let seeded = Seeded::new().await;
    for place in [0, 2, 5] {
        seeded.change("pinConversation", place).await;
    }
    for place in [1, 2, 5] {
        seeded.set(place, "color", "red").await;
    }
    seeded.set(1, "team", "a\"b\\").await;
    seeded.set(5, "team", "a\"b").await;
    seeded.change("archiveConversation", 5).await;
    let another = "UPDATE agent_conversations SET agent_entrypoint = 'billing' WHERE id = $1";
    for place in [1, 3] {
        let id = stored::id(&seeded.ids[place]);
        seeded.rows.run(another, [id]).await.unwrap();
    }
    let red = r#"metadata: [{ key: "color", value: "red" }]"#;
    let team = r#"metadata: [{ key: "color", value: "red" }, { key: "team", value: "a\"b\\" }]"#;
    let table: [(String, &[usize]); 10] = [
        ("pinned: true".into(), &[0, 2]),
        ("pinned: false".into(), &[1, 3, 4, 6]),
        ("pinned: true, archived: true".into(), &[5]),
        (red.into(), &[1, 2]),
        (format!("{red}, pinned: true"), &[2]),
        (format!("{red}, archived: true"), &[5]),
        (team.into(), &[1]),
        (r#"agentEntrypoint: "billing""#.into(), &[1, 3]),
        (format!(r#"agentEntrypoint: "billing", {red}"#), &[1]),
        (r#"metadata: [{ key: "colo", value: "red" }]"#.into(), &[]),
    ];
    for (filter, expected) in &table {
        let arguments = format!("filter: {{ {filter} }}");
        for order in ["", ", order: ACTIVITY_DESC", ", order: PINNED_FIRST"] {
            let mut expected = expected.to_vec();
            if order.ends_with("FIRST") {
                expected.sort_by_key(|place| ![0, 2, 5].contains(place));
            }
            let arguments = format!("{arguments}{order}");
            assert_eq!(seeded.places(&arguments).await, expected, "{arguments}");
        }
        let counted = count(&seeded.server, &format!(", {arguments}")).await;
        assert_eq!(counted, expected.len(), "{arguments}");
    }
    let bad =
        r#"{ conversations(filter: { metadata: [{ key: "a b", value: "" }] }) { totalCount } }"#;
    let answer = seeded.server.graphql(bad, json!({})).await;
    assert_eq!(code(&answer), "INVALID_INPUT");
    let argument = &answer["errors"][0]["extensions"]["argument"];
    assert_eq!(argument, "filter.metadata", "{answer}");
    seeded.server.stop().await;
}

#[tokio::test]
async fn a_list_can_be_in_the_order_of_creation_or_begin_with_the_pins() {
    let seeded = Seeded::new().await;
    let newest = "UPDATE agent_conversations SET last_message_at = $2 WHERE id = $1";
    let now = chrono::Utc::now();
    for (seconds, place) in [6, 2].into_iter().enumerate() {
        let at = now + chrono::TimeDelta::seconds(seconds as i64);
        let values = [stored::id(&seeded.ids[place]), at.into()];
        seeded.rows.run(newest, values).await.unwrap();
    }
    assert_eq!(seeded.places("").await, [2, 6, 0, 1, 3, 4, 5]);
    let created = "order: CREATED_DESC";
    assert_eq!(seeded.places(created).await, [0, 1, 2, 3, 4, 5, 6]);
    let pinned = "order: PINNED_FIRST";
    assert_eq!(seeded.places(pinned).await, [2, 6, 0, 1, 3, 4, 5]);
    for pins in [vec![4], vec![4, 6], vec![4, 6, 0], vec![4, 6, 0, 5]] {
        seeded
            .change("pinConversation", *pins.last().unwrap())
            .await;
        let mut expected = vec![2, 6, 0, 1, 3, 4, 5];
        expected.sort_by_key(|place| !pins.contains(place));
        assert_eq!(seeded.places(pinned).await, expected);
    }
    assert_eq!(seeded.places("").await, [2, 6, 0, 1, 3, 4, 5]);
    seeded.change("archiveConversation", 4).await;
    assert_eq!(seeded.places(pinned).await, [6, 0, 5, 2, 1, 3]);
    let archived = "filter: { archived: true }, order: CREATED_DESC";
    assert_eq!(seeded.places(archived).await, [4]);
    seeded.server.stop().await;
}

#[tokio::test]
async fn a_cursor_belongs_to_one_order_and_filter() {
    let seeded = Seeded::new().await;
    for place in [0, 1, 2, 3] {
        seeded.change("archiveConversation", place).await;
    }
    let archived = "filter: { archived: true }";
    let lists = [
        "order: ACTIVITY_DESC",
        "order: CREATED_DESC",
        "order: PINNED_FIRST",
        archived,
        "filter: { archived: true }, order: CREATED_DESC",
        "filter: { pinned: false }",
        r#"filter: { archived: true, agentEntrypoint: "triage" }"#,
    ];
    for of in lists {
        let (_, cursor) = page(&seeded.server, &format!("first: 1, {of}")).await;
        assert!(cursor.is_string(), "{of}");
        for list in lists {
            let arguments = format!("first: 1, after: {cursor}, {list}");
            if of == list {
                page(&seeded.server, &arguments).await;
                continue;
            }
            let query = format!("{{ conversations({arguments}) {{ nodes {{ id }} }} }}");
            let answer = seeded.server.graphql(&query, json!({})).await;
            assert_eq!(code(&answer), "INVALID_CURSOR", "{of} in {list}");
            let extensions = &answer["errors"][0]["extensions"];
            assert_eq!(extensions["argument"], "after", "{answer}");
        }
    }
    // A cursor of the previous version has no mark.
    let (_, cursor) = page(&seeded.server, "first: 1").await;
    let of_agent = r#"filter: { agentEntrypoint: "triage" }"#;
    page(&seeded.server, &format!("after: {cursor}, {of_agent}")).await;
    // The same lists on the legacy route.
    let path = "/api/v1/conversations?archived=true&limit=3";
    let (status, first) = seeded.server.get(path).await;
    assert_eq!(status, 200, "{first}");
    assert_eq!(first["items"].as_array().unwrap().len(), 3);
    let next = first["next_cursor"].as_str().unwrap();
    let (status, second) = seeded.server.get(&format!("{path}&cursor={next}")).await;
    assert_eq!(
        (status, second["items"].as_array().map(Vec::len)),
        (200, Some(1))
    );
    let path = "/api/v1/conversations";
    let (status, refused) = seeded.server.get(&format!("{path}?cursor={next}")).await;
    assert_eq!(status, 400, "{refused}");
    for (query, expected) in [
        ("archived=false", 200),
        ("archived=", 200),
        ("archived=1", 422),
    ] {
        let (status, answer) = seeded.server.get(&format!("{path}?{query}")).await;
        assert_eq!(status, expected, "{query}: {answer}");
    }
    seeded.server.stop().await;
}

#[tokio::test]
async fn a_count_looks_at_a_bounded_number_of_rows_and_is_made_only_when_asked_for() {
    const FILL: &str = "INSERT INTO agent_conversations
        (id, tenant_id, user_id, agent_entrypoint, active_agent, status, message_count,
         last_message_at, created_at, updated_at, title_status)
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9993)
        SELECT {id}, 'local', 'local', 'triage', 'triage', 'active', 0, $1, $1, $1, 'skipped' FROM n";
    let seeded = Seeded::new().await;
    seeded.set(6, "color", "red").await;
    let id = match seeded.server.database.is_sqlite() {
        true => "randomblob(16)",
        false => "gen_random_uuid()",
    };
    let at: chrono::DateTime<chrono::Utc> = "2025-10-31T12:00:00Z".parse().unwrap();
    seeded
        .rows
        .run(&FILL.replace("{id}", id), [at.into()])
        .await
        .unwrap();
    let red = r#", filter: { metadata: [{ key: "color", value: "red" }] }"#;
    assert_eq!(count(&seeded.server, "").await, 10_000);
    assert_eq!(count(&seeded.server, red).await, 1);
    seeded.server.database.seed(&Owner::local(), 1, 1).await;
    assert_eq!(count(&seeded.server, "").await, Value::Null);
    assert_eq!(count(&seeded.server, red).await, Value::Null);
    assert_eq!(count(&seeded.server, ", filter: { pinned: true }").await, 0);
    assert_eq!(
        count(&seeded.server, ", filter: { archived: true }").await,
        0
    );

    for (selected, expected) in [
        ("nodes { id }", 1),
        ("nodes { id } totalCount again: totalCount", 2),
    ] {
        // Background loops run statements of their own, so the smallest of several counts is the list's.
        let mut smallest = u64::MAX;
        for _ in 0..5 {
            let before = seeded.server.app.database().statement_count();
            let query = format!("{{ conversations {{ {selected} }} }}");
            seeded.server.data(&query, json!({})).await;
            let after = seeded.server.app.database().statement_count();
            smallest = smallest.min(after - before);
        }
        assert_eq!(smallest, expected, "{selected}");
    }
    seeded.server.stop().await;
}

#[tokio::test]
async fn a_hit_says_which_words_match() {
    let server = Server::offline().await;
    let text = "🎏 We come to Kyoto in spring; is KYOTO very full then?";
    let input = json!({ "text": text, "autoTitle": false, "topicHint": "A question" });
    send_message(&server.url, input).await;
    let query = "{ searchConversations(query: \"spring kyo\") {
        nodes { snippet highlights { start end } message { role } }
    } }";
    let found = server.data(query, json!({})).await;
    let nodes = found["searchConversations"]["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 1);
    for hit in nodes {
        let units: Vec<u16> = hit["snippet"].as_str().unwrap().encode_utf16().collect();
        let place = |one: &Value, name: &str| one[name].as_u64().unwrap() as usize;
        let marked: Vec<String> = hit["highlights"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| String::from_utf16(&units[place(one, "start")..place(one, "end")]).unwrap())
            .collect();
        assert_eq!(marked, ["Kyoto", "spring", "KYOTO"], "{hit}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_viewer_is_whom_the_token_names() {
    let query = "{ viewer { userId tenantId scopes } }";
    let open = Server::offline().await;
    let viewer = open.data(query, json!({})).await;
    let scopes: Vec<&str> = Scope::VARIANTS.iter().map(|scope| scope.as_str()).collect();
    assert!(scopes.contains(&"account:erase"), "{scopes:?}");
    let local = json!({ "userId": "local", "tenantId": "local", "scopes": scopes });
    assert_eq!(viewer["viewer"], local);
    open.stop().await;

    let model = ModelServer::start().await;
    let server = Server::guarded(&model).await;
    for scopes in [vec![], vec![Scope::Read], vec![Scope::Read, Scope::Delete]] {
        let names: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
        let token = signed(&with(
            claims("acme", "ada"),
            "scope",
            names.join(" ").into(),
        ));
        let answer = graphql_as(&token, &server.url, query).await;
        let expected = json!({ "userId": "ada", "tenantId": "acme", "scopes": names });
        assert_eq!(answer["data"]["viewer"], expected, "{answer}");
    }
    server.stop().await;
}
