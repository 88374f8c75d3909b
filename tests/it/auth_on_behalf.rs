//! `Titlecast-On-Behalf-Of` and `Titlecast-Tenant`: where they are refused, whatever the token allows.

use serde_json::{Value, json};
use strum::VariantArray;
use titlecast::auth::Scope;
use titlecast_testing::{
    ModelServer, Server,
    auth::{claims, signed, with},
    calls::code,
    server::client,
    within,
};

use super::auth_scopes::{MUTATIONS, QUERIES, filled, legacy_routes};

const USER: &str = "titlecast-on-behalf-of";
const TENANT: &str = "titlecast-tenant";

/// The mutations that accept the headers.
const INGEST: [&str; 4] = ["recordMessage", "openReply", "appendReply", "finishReply"];

/// A token with every scope.
fn everything(tenant: &str, user: &str) -> String {
    let scopes: Vec<&str> = Scope::VARIANTS.iter().map(|scope| scope.as_str()).collect();
    signed(&with(
        claims(tenant, user),
        "scope",
        scopes.join(" ").into(),
    ))
}

/// A request; its status and its body.
async fn request(
    url: &str,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> (u16, Value) {
    let mut request = client().request(method.parse().unwrap(), format!("{url}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.header("content-type", "application/json");
        request = request.body(body.to_string());
    }
    let response = within(request.send()).await.unwrap();
    let status = response.status().as_u16();
    let text = within(response.text()).await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_default())
}

#[tokio::test]
async fn no_other_route_accepts_the_headers_even_for_ones_own_user() {
    let (_model, server, id) = filled().await;
    let before = server.database.census().await;
    let bearer = format!("Bearer {}", everything("acme", "ada"));
    let unknown = "0199d0a0-0000-7000-8000-000000000000";
    let mut routes = legacy_routes(&id);
    routes.extend(legacy_routes(unknown));
    for path in ["/api/v1/unknown", "/healthz", "/", "/api/v1/conversations"] {
        routes.push((Scope::Read, "GET", path.into(), None));
    }
    let others = routes.iter().filter(|route| route.0 != Scope::Ingest);
    for (_, method, path, body) in others {
        for named in [
            [(USER, "ada")].as_slice(),
            &[(USER, "bob")],
            &[(TENANT, "acme")],
            &[(TENANT, "globex"), (USER, "ada")],
            &[(USER, "%zz")],
        ] {
            let headers = [&[("authorization", bearer.as_str())], named].concat();
            let (status, body) =
                request(&server.url, (method, path), &headers, body.as_ref()).await;
            assert_eq!(status, 403, "{method} {path} {named:?}");
            assert_eq!(body["code"], "FORBIDDEN", "{method} {path} {named:?}");
        }
    }
    let fields = QUERIES.iter().chain(&MUTATIONS);
    for (name, query) in fields.filter(|(name, _)| !INGEST.contains(name)) {
        for id in [id.as_str(), unknown] {
            let query = query.replace("<id>", id).replace("<message>", unknown);
            let headers = [("authorization", bearer.as_str()), (USER, "ada")];
            let body = json!({ "query": query });
            let (_, answer) =
                request(&server.url, ("POST", "/graphql"), &headers, Some(&body)).await;
            assert_eq!(code(&answer), "FORBIDDEN", "{name}: {answer}");
            let data = answer["data"].get(*name);
            assert!(data.is_none_or(Value::is_null), "{name}: {answer}");
        }
    }
    let subscription = json!({ "query": "subscription { conversationUpdated { id } }" });
    let headers = [
        ("authorization", bearer.as_str()),
        ("accept", "application/json, text/event-stream"),
        (USER, "ada"),
    ];
    let mut post = client().post(format!("{}/graphql", server.url));
    for (name, value) in headers {
        post = post.header(name, value);
    }
    let post = post.header("content-type", "application/json");
    let mut response = within(post.body(subscription.to_string()).send())
        .await
        .unwrap();
    let first = within(response.chunk()).await.unwrap().unwrap();
    let first = String::from_utf8_lossy(&first).into_owned();
    assert!(first.contains("FORBIDDEN"), "{first}");
    assert_eq!(server.database.census().await, before);
}

#[tokio::test]
async fn a_websocket_with_the_headers_is_refused_before_a_token_could_replace_them() {
    let model = ModelServer::start().await;
    let server = Server::guarded(&model).await;
    let headers = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "graphql-transport-ws"),
    ];
    for (more, expected) in [
        (None, 101),
        (Some((USER, "bob")), 403),
        (Some((TENANT, "acme")), 403),
    ] {
        let mut handshake = client().get(format!("{}/graphql", server.url));
        for (name, value) in headers.into_iter().chain(more) {
            handshake = handshake.header(name, value);
        }
        let response = within(handshake.send()).await.unwrap();
        assert_eq!(response.status().as_u16(), expected, "{more:?}");
    }
}

#[tokio::test]
async fn a_token_for_any_tenant_is_no_token_unless_the_operator_allows_it_and_then_it_only_ingests()
{
    let bearer = format!("Bearer {}", everything("*", "bot"));
    let headers = [("authorization", bearer.as_str())];
    let list = ("GET", "/api/v1/conversations");
    let server = Server::guarded_with(&titlecast_testing::auth::GUARDED).await;
    let (status, body) = request(&server.url, list, &headers, None).await;
    assert_eq!(
        (status, body["code"].as_str()),
        (401, Some("UNAUTHENTICATED"))
    );
    let settings = [
        &titlecast_testing::auth::GUARDED[..],
        &["--ingest-any-tenant"],
    ]
    .concat();
    let server = Server::guarded_with(&settings).await;
    for (_, method, path, body) in legacy_routes("0199d0a0-0000-7000-8000-000000000000") {
        let (status, body) = request(&server.url, (method, &path), &headers, body.as_ref()).await;
        assert_eq!(
            (status, body["code"].as_str()),
            (403, Some("FORBIDDEN")),
            "{path}"
        );
    }
    for (name, query) in QUERIES.iter().chain(&MUTATIONS) {
        let body =
            json!({ "query": query.replace("<id>", "0199d0a0-0000-7000-8000-000000000000") });
        let (_, answer) = request(&server.url, ("POST", "/graphql"), &headers, Some(&body)).await;
        // Any token may read its own identity.
        if *name == "viewer" {
            assert_eq!(answer, json!({ "data": { "viewer": { "userId": "bot" } } }));
            continue;
        }
        assert_eq!(code(&answer), "FORBIDDEN", "{name}: {answer}");
    }
}

#[tokio::test]
async fn without_authentication_the_headers_are_refused() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    for named in [(USER, "ada"), (TENANT, "local"), (USER, "local")] {
        let (status, body) = request(
            &server.url,
            ("GET", "/api/v1/conversations"),
            &[named],
            None,
        )
        .await;
        assert_eq!(
            (status, body["code"].as_str()),
            (403, Some("FORBIDDEN")),
            "{named:?}"
        );
    }
}

/// What a service records in the user's conversation `42` with these headers: the status, and the error's code.
async fn records(url: &str, token: &str, named: &[(&str, &str)]) -> (u16, Option<String>) {
    let bearer = format!("Bearer {token}");
    let headers = [&[("authorization", bearer.as_str())], named].concat();
    let body = json!({ "role": "user", "content": "Plan a trip to Kyoto", "external_id": "m-1" });
    let route = ("POST", "/api/v1/conversations/42/messages");
    let (status, answer) = request(url, route, &headers, Some(&body)).await;
    (status, answer["code"].as_str().map(str::to_owned))
}

/// How many conversations a user has.
async fn count(url: &str, tenant: &str, user: &str) -> usize {
    let bearer = format!("Bearer {}", signed(&claims(tenant, user)));
    let headers = [("authorization", bearer.as_str())];
    let (_, list) = request(url, ("GET", "/api/v1/conversations"), &headers, None).await;
    list["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_service_records_for_a_user_of_its_tenant_and_nobody_else_can() {
    let model = ModelServer::start().await;
    let server = Server::guarded(&model).await;
    let url = server.url.as_str();
    let scoped =
        |user: &str, scope: &str| signed(&with(claims("acme", user), "scope", scope.into()));
    let service = scoped("bot", "conversations:ingest");
    let forbidden = (403, Some("FORBIDDEN".to_owned()));
    // Without the scope, whatever else the token allows.
    let writer = scoped(
        "bot",
        "conversations:read conversations:write conversations:delete",
    );
    for named in [[].as_slice(), &[(USER, "ada")], &[(TENANT, "acme")]] {
        assert_eq!(records(url, &writer, named).await, forbidden, "{named:?}");
    }
    for named in [
        [(TENANT, "globex")].as_slice(),
        &[(USER, "ada"), (TENANT, "globex")],
        &[(USER, "ada"), (TENANT, "*")],
    ] {
        assert_eq!(records(url, &service, named).await, forbidden, "{named:?}");
    }
    for named in [
        [(USER, "")].as_slice(),
        &[(USER, "%zz")],
        &[(USER, "%0a")],
        &[(USER, "ada"), (USER, "bob")],
        &[(USER, "ada"), (TENANT, "")],
    ] {
        let invalid = (422, Some("INVALID_INPUT".to_owned()));
        assert_eq!(records(url, &service, named).await, invalid, "{named:?}");
    }
    assert_eq!(server.database.row_counts().await, [0, 0, 0]);
    let named = [(USER, "ada")];
    assert_eq!(records(url, &service, &named).await, (201, None));
    let both = [(USER, "ada"), (TENANT, "acme")];
    assert_eq!(records(url, &service, &both).await, (200, None));
    assert_eq!(count(url, "acme", "ada").await, 1);
    assert_eq!(count(url, "acme", "bot").await, 0);
    assert_eq!(count(url, "globex", "ada").await, 0);
    // Another user's conversation of the same name, and the service's own.
    let named = [(USER, "%E5%90%8D")];
    assert_eq!(records(url, &service, &named).await, (201, None));
    assert_eq!(count(url, "acme", "名").await, 1);
    assert_eq!(records(url, &service, &[]).await, (201, None));
    assert_eq!(count(url, "acme", "bot").await, 1);
}

#[tokio::test]
async fn a_service_of_any_tenant_names_it_in_each_request() {
    let settings = [
        &titlecast_testing::auth::GUARDED[..],
        &["--ingest-any-tenant"],
    ]
    .concat();
    let server = Server::guarded_with(&settings).await;
    let url = server.url.as_str();
    let scope = "conversations:ingest".into();
    let service = signed(&with(claims("*", "bot"), "scope", scope));
    let forbidden = (403, Some("FORBIDDEN".to_owned()));
    for named in [
        [].as_slice(),
        &[(USER, "ada")],
        &[(USER, "ada"), (TENANT, "*")],
    ] {
        assert_eq!(records(url, &service, named).await, forbidden, "{named:?}");
    }
    for tenant in ["acme", "globex"] {
        let named = [(USER, "ada"), (TENANT, tenant)];
        assert_eq!(records(url, &service, &named).await, (201, None));
        assert_eq!(count(url, tenant, "ada").await, 1);
    }
}

#[tokio::test]
async fn a_mutation_on_behalf_shows_nothing_of_the_users_conversation() {
    let model = ModelServer::start().await;
    let server = Server::guarded(&model).await;
    let bearer = format!("Bearer {}", everything("acme", "bot"));
    let headers = [("authorization", bearer.as_str()), (USER, "ada")];
    let ask = async |query: String| {
        let body = json!({ "query": query });
        let route = ("POST", "/graphql");
        request(&server.url, route, &headers, Some(&body)).await.1
    };
    let record = |text: &str, fields: &str| {
        format!(
            "recordMessage(input: {{ externalId: \"42\", role: USER, text: \"{text}\" }}) {{ {fields} }}"
        )
    };
    let shown = "created message { content }
        conversation { externalId topicHint lastMessagePreview messageCount activeReplies { replyId } }";
    let query = format!("mutation {{ {} }}", record("Plan a trip to Kyoto", shown));
    let answer = ask(query).await;
    let conversation = json!({
        "externalId": "42", "topicHint": null, "lastMessagePreview": null, "messageCount": 1,
        "activeReplies": [],
    });
    let expected = json!({
        "created": true, "message": { "content": "Plan a trip to Kyoto" }, "conversation": conversation,
    });
    assert_eq!(answer["data"]["recordMessage"], expected, "{answer}");
    for fields in [
        "conversation { messages { nodes { content } } }",
        "message { versions { content } }",
    ] {
        let answer = ask(format!("mutation {{ {} }}", record("And then?", fields))).await;
        assert_eq!(code(&answer), "FORBIDDEN", "{answer}");
    }
    let [_, messages, _] = server.database.row_counts().await;
    assert_eq!(messages, 1, "refused before it is stored");
    // A mutation that is no record, in the same request, is refused alone.
    let answer = ask(format!(
        "mutation {{ {} sendMessage(input: {{ text: \"Hi\" }}) {{ replyId }} }}",
        record("And then?", "created")
    ));
    let answer = answer.await;
    let error = &answer["errors"][0];
    assert_eq!(error["path"], json!(["sendMessage"]));
    assert_eq!(error["extensions"]["code"], "FORBIDDEN");
    let data = json!({ "recordMessage": { "created": true }, "sendMessage": null });
    assert_eq!(answer["data"], data);
}
