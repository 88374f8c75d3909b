//! Each route of HTTP × each policy, for another user of the tenant and for another tenant.

use serde_json::{Value, json};
use titlecast_testing::{
    Events, ModelServer,
    calls::{conversation, rename},
    server::client,
    within,
};
use uuid::Uuid;

use super::Team;

/// The status for a guest by policy: private, read, tenant.
type Statuses = [u16; 3];

const READS: Statuses = [404, 200, 200];

/// Method, path and body, in which `<id>`, `<message>` and `<new>` stand for ids.
#[rustfmt::skip]
const ROUTES: [(&str, &str, &str, Statuses); 19] = [
    ("GET", "/api/v1/conversations/<id>", "", READS),
    ("GET", "/api/v1/conversations/<id>/messages", "", READS),
    ("GET", "/api/v1/conversations/<id>/events", "", READS),
    ("GET", "/api/v1/conversations/<id>/ledger/events", "", READS),
    ("GET", "/api/v1/conversations/<id>/ledger/stream", "", READS),
    ("GET", "/api/v1/conversations/<id>/stream?contract=text", "", READS),
    ("GET", "/api/v1/conversations/<id>/reply", "", READS),
    ("GET", "/api/v1/ui/chat/<id>/stream", "", [204, 204, 204]),
    ("POST", "/api/v1/ui/chat/<id>/stop", "{}", [404, 403, 200]),
    ("PATCH", "/api/v1/conversations/<id>/title", r#"{"display_name":"Kyoto"}"#, [404, 403, 200]),
    ("POST", "/api/v1/chat", r#"{"message":"And Nara?","conversation_id":"<id>"}"#, [404, 403, 200]),
    ("POST", "/api/v1/chat/stream", r#"{"message":"And Nara?","conversation_id":"<id>"}"#, [404, 403, 200]),
    ("POST", "/api/v1/chat/stream?contract=public_sse_v1", r#"{"message":"And Nara?","conversation_id":"<id>"}"#, [404, 403, 200]),
    ("POST", "/api/v1/ui/chat", r#"{"id":"<id>","messages":[{"id":"<new>","role":"user","parts":[{"type":"text","text":"And Nara?"}]}]}"#, [404, 403, 200]),
    ("POST", "/api/v1/agui", r#"{"threadId":"<id>","runId":"<new>","messages":[{"id":"<new>","role":"user","content":"And Nara?"}],"tools":[],"context":[],"state":{},"forwardedProps":{}}"#, [404, 403, 200]),
    ("POST", "/api/v1/conversations/<id>/messages", r#"{"role":"user","content":"And Nara?"}"#, [404, 403, 201]),
    ("POST", "/api/v1/conversations/<id>/replies", r#"{"in_reply_to":"<message>"}"#, [404, 403, 201]),
    ("GET", "/api/v1/conversations/<id>/replies/<new>", "", [404, 403, 404]),
    // Without access, as of a conversation that is not there.
    ("DELETE", "/api/v1/conversations/<id>", "", [204, 403, 204]),
];

/// The status, and the whole body.
async fn ask(url: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let method = method.parse().unwrap();
    let mut request = client().request(method, format!("{url}{path}"));
    if !body.is_empty() {
        request = request
            .header("content-type", "application/json")
            .body(body.to_owned());
    }
    let response = within(request.send()).await.unwrap();
    let status = response.status().as_u16();
    (status, within(response.text()).await.unwrap())
}

#[tokio::test]
async fn each_route_answers_a_guest_by_the_policy_and_another_tenant_never() {
    let model = ModelServer::start().await;
    for (place, visibility) in ["private", "read", "tenant"].into_iter().enumerate() {
        let team = Team::start(&model, visibility).await;
        for (method, path, body, statuses) in ROUTES {
            let id = team.conversation().await;
            let before = conversation(&team.ada, &id).await;
            let message = before["messages"]["nodes"][0]["id"].as_str().unwrap();
            let filled = |text: &str| {
                text.replace("<id>", &id)
                    .replace("<message>", message)
                    .replace("<new>", &Uuid::now_v7().to_string())
            };
            let (path, body) = (filled(path), filled(body));
            let what = format!("{visibility}: {method} {path}");
            let (status, text) = ask(&team.eve, method, &path, &body).await;
            assert_eq!(status, statuses[0], "another tenant: {what}: {text}");
            assert!(!text.contains("Kyoto in"), "{what}: {text}");
            assert_eq!(conversation(&team.ada, &id).await, before, "{what}");
            let (status, text) = ask(&team.bob, method, &path, &body).await;
            assert_eq!(status, statuses[place], "{what}: {text}");
            if status == 403 {
                assert!(text.contains("owner"), "{what}: {text}");
                assert_eq!(conversation(&team.ada, &id).await, before, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn messages_of_http_have_their_author() {
    let model = ModelServer::start().await;
    let team = Team::start(&model, "tenant").await;
    let id = team.conversation().await;
    let body = json!({ "message": "And Nara?", "conversation_id": id }).to_string();
    assert_eq!(ask(&team.bob, "POST", "/api/v1/chat", &body).await.0, 200);
    let recorded = json!({ "role": "user", "content": "And Osaka?" }).to_string();
    let path = format!("/api/v1/conversations/{id}/messages");
    assert_eq!(ask(&team.bob, "POST", &path, &recorded).await.0, 201);
    let (_, page) = ask(&team.ada, "GET", &format!("{path}?direction=asc"), "").await;
    let page: Value = serde_json::from_str(&page).unwrap();
    let authors: Vec<&Value> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["author"])
        .collect();
    assert_eq!(
        authors,
        [
            &json!("ada"),
            &Value::Null,
            &json!("bob"),
            &Value::Null,
            &json!("bob")
        ]
    );
}

#[tokio::test]
async fn answers_of_http_name_the_owner_where_conversations_are_shared() {
    let model = ModelServer::start().await;
    for (visibility, expected) in [
        ("private", Value::Null),
        ("read", json!("ada")),
        ("tenant", json!("ada")),
    ] {
        let team = Team::start(&model, visibility).await;
        let id = team.conversation().await;
        let path = format!("/api/v1/conversations/{id}");
        let title = json!({ "display_name": "Kyoto" }).to_string();
        let mut answers = Vec::new();
        for url in [&team.ada, &team.bob] {
            // A private one is not there for others.
            if visibility == "private" && url == &team.bob {
                continue;
            }
            for (route, place) in [
                ("/api/v1/conversations", "/items/0"),
                ("/api/v1/conversations/search?q=Kyoto", "/items/0"),
                (path.as_str(), ""),
            ] {
                answers.push((ask(url, "GET", route, "").await, place));
            }
        }
        let renamed = ask(&team.ada, "PATCH", &format!("{path}/title"), &title).await;
        answers.push((renamed, ""));
        for ((status, text), place) in answers {
            assert_eq!(status, 200, "{text}");
            let answer: Value = serde_json::from_str(&text).unwrap();
            let conversation = answer.pointer(place).unwrap();
            assert_eq!(conversation["conversation_id"], id, "{text}");
            // Absent, not null, where they are private.
            assert_eq!(
                conversation.get("owner_id").is_some(),
                visibility != "private"
            );
            assert_eq!(conversation["owner_id"], expected, "{visibility}: {text}");
        }
        let feed = format!("{}/api/v1/conversations/changes", team.ada);
        let mut changes = Events::of(client().get(feed)).await;
        assert_eq!(changes.next().await.unwrap()["kind"], "feed.ready");
        rename(&team.ada, &id, "Nara").await;
        let change = changes.next().await.unwrap();
        assert_eq!(change["conversation"]["owner_id"], expected, "{change}");
    }
}
