//! The audit log: who did what, in the transaction of the act, without any text; off, it costs nothing.

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use titlecast::{
    conversation::Owner,
    db::{Act, Database, Forgotten, OPERATOR},
};
use titlecast_testing::{
    Answer, ModelServer, Node, Rows, Server, TestDatabase, Titlecast,
    auth::{GUARDED, claims, signed, with},
    calls::{data, delete, rename},
    legacy::post,
    server::request,
    titles::{reset, settled},
};

use crate::agents::Folder;

const ON: &str = "[audit]\nenabled = true\n";

async fn serve(model: &ModelServer, file: &str, settings: &[&str]) -> Server {
    let folder = Folder::new().file("titlecast.toml", file);
    let path = folder.path("titlecast.toml");
    let settings = [&["--config", path.as_str()], settings].concat();
    Server::start_on(TestDatabase::new().await, model, &settings).await
}

/// What `titlecast audit` prints.
async fn printed(database: &TestDatabase, arguments: &[&str]) -> Vec<Value> {
    let arguments = [&["audit"], arguments].concat();
    let command = Titlecast::new(&arguments).env("DATABASE_URL", &database.url);
    let lines = command.run().await.ok();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn change(url: &str, mutation: &str, id: &str) {
    let argument = if mutation.ends_with("Title") {
        "id"
    } else {
        "conversationId"
    };
    let query = format!(
        "mutation ($id: ID!) {{ {mutation}(input: {{ {argument}: $id }}) {{ conversation {{ id }} }} }}"
    );
    data(url, &query, json!({ "id": id })).await;
}

fn acts(entries: &[Value]) -> Vec<&str> {
    entries
        .iter()
        .map(|one| one["act"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn each_act_has_one_entry_and_what_changes_nothing_has_none() {
    let model = ModelServer::start().await;
    let server = serve(&model, ON, &[]).await;
    let url = &server.url;
    let id = settled(url, "Plan a trip to Kyoto").await;
    rename(url, &id, "A secret name").await;
    change(url, "archiveConversation", &id).await;
    change(url, "archiveConversation", &id).await;
    change(url, "unarchiveConversation", &id).await;
    change(url, "pinConversation", &id).await;
    reset(url, &id).await;
    delete(url, &id).await;
    let entries = printed(&server.database, &[]).await;
    assert_eq!(
        acts(&entries),
        [
            "renamed",
            "archived",
            "unarchived",
            "title_reset",
            "deleted"
        ]
    );
    for entry in &entries {
        assert_eq!(entry["tenant"], "local");
        assert_eq!(entry["actor"], "local");
        assert_eq!(entry["conversation_id"], id);
        assert_eq!(entry["subject"], Value::Null);
        assert!(!entry.to_string().contains("secret"), "{entry}");
    }
    assert!(
        printed(&server.database, &["--tenant", "other"])
            .await
            .is_empty()
    );
    let since = printed(&server.database, &["--since", "2999-01-01"]).await;
    assert!(since.is_empty());
    let all = printed(
        &server.database,
        &["--tenant", "local", "--since", "2026-01-01"],
    )
    .await;
    assert_eq!(all, entries);

    // The newest first, page by page.
    let query = "query ($after: String) { auditLog(first: 2, after: $after) {
        nodes { id at actor act conversationId subject } pageInfo { endCursor hasNextPage }
    } }";
    let (mut found, mut after) = (Vec::new(), Value::Null);
    loop {
        let page = data(url, query, json!({ "after": after })).await;
        let page = &page["auditLog"];
        found.extend(page["nodes"].as_array().unwrap().clone());
        after = page["pageInfo"]["endCursor"].clone();
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
    }
    found.reverse();
    assert_eq!(acts(&found), acts(&entries));
    let query = "query ($since: DateTime) { auditLog(since: $since) { nodes { id } } }";
    let answer = server.graphql(query, json!({ "since": "-5000-01-01T00:00:00Z" }));
    let code = &answer.await["errors"][0]["extensions"]["code"];
    assert_eq!(*code, "INVALID_INPUT");
    let ids =
        |entries: &[Value]| -> Vec<Value> { entries.iter().map(|one| one["id"].clone()).collect() };
    assert_eq!(ids(&found), ids(&entries));
    assert_eq!(found[0]["conversationId"], id);
}

#[tokio::test]
async fn a_caller_reads_the_log_of_its_tenant_with_the_scope_for_it() {
    let model = ModelServer::start().await;
    let mut server = serve(&model, ON, &GUARDED).await;
    for (tenant, user) in [("acme", "ada"), ("acme", "bob"), ("globex", "eve")] {
        let owner = Owner {
            tenant: tenant.into(),
            user: user.into(),
        };
        let url = server.serve(owner).await;
        let id = settled(&url, "Plan a trip to Kyoto").await;
        rename(&url, &id, "Mine").await;
    }
    let read = async |tenant: &str, scope: &str| {
        let token = signed(&with(claims(tenant, "auditor"), "scope", scope.into()));
        let query = json!({ "query": "{ auditLog { nodes { actor act } } }" });
        let request = post(&server.url, "/graphql", query).bearer_auth(token);
        request.send().await.unwrap().json::<Value>().await.unwrap()
    };
    let entry = |actor: &str| json!({ "actor": actor, "act": "renamed" });
    let acme = read("acme", "audit:read").await;
    assert_eq!(
        acme["data"]["auditLog"]["nodes"],
        json!([entry("bob"), entry("ada")])
    );
    let globex = read("globex", "audit:read").await;
    assert_eq!(globex["data"]["auditLog"]["nodes"], json!([entry("eve")]));
    let scopes = "conversations:read conversations:write conversations:delete";
    let refused = read("acme", scopes).await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "FORBIDDEN");
}

#[tokio::test]
async fn off_it_records_nothing_and_runs_no_statement() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let mut statements = server.app.database().record_statements();
    let id = settled(&server.url, "Plan a trip to Kyoto").await;
    rename(&server.url, &id, "Mine").await;
    change(&server.url, "archiveConversation", &id).await;
    delete(&server.url, &id).await;
    while let Ok(statement) = statements.try_recv() {
        assert!(!statement.sql.contains("agent_audit"), "{}", statement.sql);
    }
    assert!(printed(&server.database, &[]).await.is_empty());
}

#[tokio::test]
async fn an_act_that_is_not_committed_has_no_entry() {
    let model = ModelServer::start().await;
    let server = serve(&model, ON, &[]).await;
    let id = settled(&server.url, "Plan a trip to Kyoto").await;
    // Its insert fails, and with it the deletion.
    let past = server.database.connect().await;
    sea_orm::ConnectionTrait::execute_unprepared(&past, "ALTER TABLE agent_audit RENAME TO moved")
        .await
        .unwrap();
    let query =
        "mutation ($id: ID!) { deleteConversation(input: { id: $id }) { deletedConversationId } }";
    let answer = server.graphql(query, json!({ "id": id })).await;
    assert!(answer["errors"].is_array(), "{answer}");
    let found = data(
        &server.url,
        "query ($id: ID!) { conversation(id: $id) { id } }",
        json!({ "id": id }),
    );
    assert_eq!(found.await["conversation"]["id"], id);
}

#[tokio::test]
async fn an_erased_user_is_a_keyed_hash_and_old_entries_go() {
    let model = ModelServer::start().await;
    let server = serve(&model, ON, &[]).await;
    let db = server.app.database();
    let id = settled(&server.url, "Plan a trip to Kyoto").await;
    rename(&server.url, &id, "Mine").await;
    db.record_act_on("local", OPERATOR, Act::Exported, Some("local"))
        .await
        .unwrap();
    db.record_act_on("other", "local", Act::Exported, None)
        .await
        .unwrap();
    let of = Forgotten {
        tenant: "local".into(),
        user: Some("local".into()),
    };
    let hash = db.erased_name("local", "local").await.unwrap();
    assert!(hash.starts_with("erased:") && hash.len() == 71, "{hash}");
    // A repetition changes nothing.
    db.forget_actors(&of).await.unwrap();
    db.forget_actors(&of).await.unwrap();
    let entries = printed(&server.database, &["--tenant", "local"]).await;
    assert_eq!(entries[0]["actor"], hash);
    assert_eq!(entries[1]["actor"], "operator");
    assert_eq!(entries[1]["subject"], hash);
    // The same name in another tenant is another person.
    let others = printed(&server.database, &["--tenant", "other"]).await;
    assert_eq!(others[0]["actor"], "local");

    // All of a tenant.
    let of = Forgotten {
        tenant: "other".into(),
        user: None,
    };
    db.forget_actors(&of).await.unwrap();
    let others = printed(&server.database, &["--tenant", "other"]).await;
    let hash = db.erased_name("other", "local").await.unwrap();
    assert_eq!(others[0]["actor"], hash);

    let rows = Rows::of(&server.database).await;
    let keep = std::time::Duration::from_secs(3600);
    assert!(!db.prune_audit(keep).await.unwrap());
    assert_eq!(rows.count("agent_audit").await, 3);
    let age = "UPDATE agent_audit SET created_at = $1 WHERE tenant_id = 'local'";
    let old = chrono::Utc::now() - std::time::Duration::from_secs(7200);
    rows.run(age, [old.into()]).await.unwrap();
    assert!(!db.prune_audit(keep).await.unwrap());
    assert_eq!(rows.count("agent_audit").await, 1);
}

#[tokio::test]
async fn a_tenants_erasure_hashes_names_that_look_erased() {
    let model = ModelServer::start().await;
    let server = serve(&model, ON, &[]).await;
    let db = server.app.database();
    let of = |user: Option<&str>| Forgotten {
        tenant: "acme".into(),
        user: user.map(String::from),
    };
    for user in ["erased:ann", "ERASED:bob", "eve", OPERATOR] {
        db.record_act_on("acme", user, Act::Exported, None)
            .await
            .unwrap();
    }
    db.forget_actors(&of(Some("eve"))).await.unwrap();
    // A repetition changes nothing.
    for _ in 0..2 {
        db.forget_actors(&of(None)).await.unwrap();
        let mut expected = vec![json!(OPERATOR)];
        for user in ["erased:ann", "ERASED:bob", "eve"] {
            expected.push(db.erased_name("acme", user).await.unwrap().into());
        }
        let mut actors: Vec<Value> = printed(&server.database, &["--tenant", "acme"])
            .await
            .iter()
            .map(|entry| entry["actor"].clone())
            .collect();
        for names in [&mut expected, &mut actors] {
            names.sort_by_key(ToString::to_string);
        }
        assert_eq!(actors, expected);
    }
}

#[tokio::test]
async fn old_entries_whose_time_was_stored_by_hand_go_too() {
    let database = TestDatabase::new().await;
    if !database.is_sqlite() {
        return;
    }
    let rows = Rows::of(&database).await;
    let insert = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 501) \
        INSERT INTO agent_audit (id, tenant_id, actor, act, created_at) \
        SELECT randomblob(16), 'acme', 'ann', 'renamed', '2024-05-01T09:00:00.000000+00:00' FROM n";
    rows.0.execute_unprepared(insert).await.unwrap();
    let db = Database::connect(&database.url, 2).await.unwrap();
    let keep = std::time::Duration::from_secs(3600);
    let mut steps = 1;
    while db.prune_audit(keep).await.unwrap() {
        steps += 1;
        assert!(steps < 100, "the same entries are found again and again");
    }
    assert_eq!(rows.count("agent_audit").await, 0);
}

#[tokio::test]
async fn a_reload_turns_it_on_and_the_settings_are_checked() {
    let (database, model) = (TestDatabase::new().await, ModelServer::start().await);
    model.reply(Answer::Deltas(vec!["Hello."]));
    let folder = Folder::new().file("titlecast.toml", "");
    let path = folder.path("titlecast.toml");
    let mut node = Node::start(&database.url, &model.url, &["--config", &path]).await;
    let id = settled(&node.url, "Plan a trip to Kyoto").await;
    rename(&node.url, &id, "One").await;
    std::fs::write(&path, ON).unwrap();
    node.process.signal("HUP");
    node.process.line("configuration reloaded").await;
    rename(&node.url, &id, "Two").await;
    node.stop().await;
    assert_eq!(acts(&printed(&database, &[]).await), ["renamed"]);

    for (file, expected) in [
        (
            "[audit]\nenabled = 1\n",
            "audit.enabled: expected true or false",
        ),
        (
            "[audit]\nkeep = \"1h\"\n",
            "audit.keep: must be at least 1d",
        ),
        (
            "[audit]\nkeep = \"4000d\"\n",
            "audit.keep: expected a time of at most",
        ),
        (
            "[audit]\nenable = true\n",
            "audit.enable: unknown key; did you mean enabled?",
        ),
    ] {
        let check = Titlecast::new(&["config", "check"])
            .env("TITLECAST_CONFIG", "titlecast.toml")
            .file("titlecast.toml", file);
        check.run().await.assert_refused(&[expected]);
    }
    let check = Titlecast::new(&["config", "check"])
        .env("TITLECAST_CONFIG", "titlecast.toml")
        .file("titlecast.toml", ON);
    let shown = check.run().await.ok();
    assert!(shown.contains("audit: enabled, keep 400days"), "{shown}");
}

#[tokio::test]
async fn exports_and_erasures_have_entries_without_the_erased_name() {
    let model = ModelServer::start().await;
    let server = serve(&model, ON, &[]).await;
    let url = &server.url;
    let id = settled(url, "Plan a trip to Kyoto").await;
    rename(url, &id, "Mine").await;
    let exported = titlecast_testing::server::client()
        .get(format!("{url}/api/v1/export"))
        .send()
        .await
        .unwrap();
    assert_eq!(exported.status(), 200);
    exported.bytes().await.unwrap();
    let (status, certificate) = request(url, "DELETE", "/api/v1/me", None).await;
    assert_eq!(status, 200, "{certificate}");
    let entries = printed(&server.database, &[]).await;
    assert_eq!(acts(&entries), ["renamed", "exported", "erased"]);
    let hash = format!("erased:{}", certificate["subject"].as_str().unwrap());
    for entry in &entries {
        assert_eq!(entry["actor"], hash);
        assert_eq!(entry["tenant"], "local");
    }
    let command = async |arguments: &[&str]| {
        Titlecast::new(arguments)
            .env("DATABASE_URL", &server.database.url)
            .env("TITLECAST_CONFIG", "titlecast.toml")
            .file("titlecast.toml", ON)
            .run()
            .await
            .ok();
    };
    command(&["export", "--tenant", "acme", "--user", "ada"]).await;
    command(&["erase", "--tenant", "acme", "--user", "ada"]).await;
    let entries = printed(&server.database, &["--tenant", "acme"]).await;
    assert_eq!(acts(&entries), ["exported", "erased"]);
    assert_eq!(entries[0]["actor"], "operator");
    assert_eq!(entries[0]["subject"], entries[1]["subject"]);
    assert!(
        entries[1]["subject"]
            .as_str()
            .unwrap()
            .starts_with("erased:")
    );
}
