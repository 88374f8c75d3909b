//! What browsers need: a token in a cookie, which no other page may use, and one in `connection_init`.

use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    Events, Server,
    auth::{GUARDED, claims, now, signed, with},
    raw_socket::RawSocket,
    server::client,
    surface::{Verdict, verdict},
    within,
};

const APP: &str = "https://app.example";

async fn server() -> (Server, String) {
    let cookies = ["--auth-cookie", "session", "--allowed-origins", APP];
    let server = Server::guarded_with(&[&GUARDED[..], &cookies].concat()).await;
    let owner = Owner {
        tenant: "acme".into(),
        user: "ada".into(),
    };
    let id = server.database.seed(&owner, 1, 1).await.remove(0);
    (server, id)
}

fn ada() -> String {
    signed(&claims("acme", "ada"))
}

fn expired() -> String {
    signed(&with(claims("acme", "ada"), "exp", (now() - 60).into()))
}

/// Status and code of a request with these headers.
async fn ask(url: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, Value) {
    let mut request = client().request(method.parse().unwrap(), format!("{url}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = match path {
        "/graphql" => request
            .header("content-type", "application/json")
            .body(json!({ "query": "{ __typename }" }).to_string()),
        _ => request,
    };
    let response = within(request.send()).await.unwrap();
    let status = response.status().as_u16();
    let body = within(response.text()).await.unwrap();
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let code = match body.get("errors") {
        Some(errors) => errors[0]["extensions"]["code"].clone(),
        None => body["code"].clone(),
    };
    (status, code)
}

#[tokio::test]
async fn an_event_source_comes_in_with_a_cookie() {
    let (server, id) = server().await;
    let path = format!("/api/v1/conversations/{id}/stream");
    let cookie = format!("a=b; session={}; c=d", ada());
    let request = client().get(format!("{}{path}", server.url));
    let stream = Events::of(request.header("cookie", &cookie)).await;
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    // A cache on the way cannot see that this belongs to a user.
    let list = client().get(format!("{}/api/v1/conversations", server.url));
    let list = within(list.header("cookie", &cookie).send()).await.unwrap();
    assert_eq!(
        (list.status().as_u16(), &list.headers()["cache-control"]),
        (200, &"no-store".parse().unwrap())
    );
    let graphql = "/graphql?query=%7B__typename%7D";
    for path in ["/api/v1/conversations", graphql] {
        let (status, _) = ask(&server.url, "GET", path, &[("cookie", &cookie)]).await;
        assert_eq!(status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_cookie_without_a_valid_token_is_refused() {
    let (server, _) = server().await;
    let list = "/api/v1/conversations";
    let (good, old) = (ada(), expired());
    for (cookie, code) in [
        (format!("other={good}"), "UNAUTHENTICATED"),
        (format!("Session={good}"), "UNAUTHENTICATED"),
        ("session=".into(), "UNAUTHENTICATED"),
        ("session=x".into(), "UNAUTHENTICATED"),
        // A page of a sibling domain may have put one beside it.
        (format!("session={good}; session={good}"), "UNAUTHENTICATED"),
        (format!("session={old}"), "AUTH_EXPIRED"),
    ] {
        let verdict = ask(&server.url, "GET", list, &[("cookie", &cookie)]).await;
        assert_eq!(verdict, (401, code.into()), "{cookie}");
    }
    // What the header says counts.
    let cookie = format!("session={good}");
    let headers = [("cookie", cookie.as_str()), ("authorization", "Bearer x")];
    let verdict = ask(&server.url, "GET", list, &headers).await;
    assert_eq!(verdict, (401, "UNAUTHENTICATED".into()));

    let without = Server::guarded_with(&GUARDED).await;
    let verdict = ask(&without.url, "GET", list, &[("cookie", &cookie)]).await;
    assert_eq!(verdict, (401, "UNAUTHENTICATED".into()), "not configured");
}

#[tokio::test]
async fn a_cookie_changes_something_only_for_an_allowed_page() {
    let (server, id) = server().await;
    let cookie = format!("session={}", ada());
    let bearer = format!("Bearer {}", ada());
    let forbidden = (403, json!("FORBIDDEN_ORIGIN"));
    let delete = format!("/api/v1/conversations/{id}");
    for (method, path) in [
        ("POST", "/graphql"),
        ("DELETE", delete.as_str()),
        ("PATCH", "/api/v1/conversations/x/title"),
        ("POST", "/api/v1/chat"),
        ("POST", "/api/v1/chat/stream"),
    ] {
        let cookie = ("cookie", cookie.as_str());
        assert_eq!(
            ask(&server.url, method, path, &[cookie]).await,
            forbidden,
            "{path}"
        );
        for origin in ["https://evil.example", "null", "http://app.example"] {
            let headers = [cookie, ("origin", origin)];
            assert_eq!(
                ask(&server.url, method, path, &headers).await,
                forbidden,
                "{path}"
            );
        }
    }
    for origin in [APP, server.url.as_str()] {
        let headers = [("cookie", cookie.as_str()), ("origin", origin)];
        assert_eq!(ask(&server.url, "POST", "/graphql", &headers).await.0, 200);
    }
    // A request with this header does not come from a page of another site.
    let headers = [
        ("cookie", cookie.as_str()),
        ("authorization", bearer.as_str()),
    ];
    assert_eq!(ask(&server.url, "POST", "/graphql", &headers).await.0, 200);
}

#[tokio::test]
async fn allowed_origins_may_send_cookies() {
    let credentials = async |server: &Server, origin: &str| {
        let request = client().get(format!("{}/healthz", server.url));
        let response = within(request.header("origin", origin).send())
            .await
            .unwrap();
        let headers = response.headers();
        let allow_credentials = headers.get("access-control-allow-credentials");
        (
            allow_credentials.is_some(),
            headers.get("access-control-allow-origin").is_some(),
        )
    };
    let (server, _) = server().await;
    assert_eq!(credentials(&server, APP).await, (true, true));
    assert!(!credentials(&server, "https://evil.example").await.1);
    let without = [&GUARDED[..], &["--allowed-origins", APP]].concat();
    let without = Server::guarded_with(&without).await;
    assert_eq!(credentials(&without, APP).await, (false, true));
}

/// What a socket with these headers says to this payload.
async fn init(server: &Server, headers: &[(&'static str, String)], payload: Value) -> Verdict {
    let protocol = "graphql-transport-ws";
    let mut socket = RawSocket::open_with(&server.url, protocol, headers).await;
    socket
        .say(json!({ "type": "connection_init", "payload": payload }))
        .await;
    verdict(&mut socket, false).await
}

#[tokio::test]
async fn a_socket_takes_a_cookie_of_an_allowed_page_only() {
    let (server, _) = server().await;
    let cookie = ("cookie", format!("session={}", ada()));
    let old = ("cookie", format!("session={}", expired()));
    let page = ("origin", APP.to_owned());
    let forbidden = Some((4403, "Forbidden".to_owned()));
    assert_eq!(
        init(&server, &[cookie.clone(), page.clone()], Value::Null).await,
        None
    );
    assert_eq!(
        init(&server, std::slice::from_ref(&cookie), Value::Null).await,
        forbidden
    );
    assert_eq!(
        init(&server, &[old.clone(), page.clone()], Value::Null).await,
        forbidden
    );
    // A new token makes up for an old cookie.
    let payload = json!({ "token": ada() });
    assert_eq!(init(&server, &[old, page], payload).await, None);
    let request = client()
        .get(format!("{}/graphql", server.url))
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("cookie", &cookie.1)
        .header("origin", "https://evil.example");
    assert_eq!(within(request.send()).await.unwrap().status(), 403);
}

#[tokio::test]
async fn connection_init_says_who_it_is_in_several_ways() {
    let (server, _) = server().await;
    let bearer = format!("Bearer {}", ada());
    let (unauthorized, forbidden) = (
        Some((4401, "Unauthorized".to_owned())),
        Some((4403, "Forbidden".to_owned())),
    );
    for (payload, expected) in [
        (json!({ "authorization": bearer }), &None),
        (json!({ "Authorization": bearer, "more": 1 }), &None),
        (json!({ "token": ada() }), &None),
        (json!({ "authorization": null, "token": ada() }), &None),
        (json!({ "authorization": ada() }), &unauthorized),
        (json!({ "authorization": 1 }), &unauthorized),
        (json!({ "token": bearer }), &unauthorized),
        (json!({ "token": ["x"] }), &unauthorized),
        (json!({ "token": "x" }), &unauthorized),
        (json!({}), &unauthorized),
        (Value::Null, &unauthorized),
        (json!({ "token": expired() }), &forbidden),
    ] {
        assert_eq!(
            &init(&server, &[], payload.clone()).await,
            expected,
            "{payload}"
        );
    }
    // What is said last counts.
    let wrong = [("authorization", "Bearer x".to_owned())];
    assert_eq!(init(&server, &wrong, json!({ "token": ada() })).await, None);
    let right = [("authorization", bearer)];
    assert_eq!(
        init(&server, &right, json!({ "token": "x" })).await,
        unauthorized
    );
}

#[tokio::test]
async fn without_configuration_nothing_of_it_counts() {
    let server = Server::offline().await;
    let header = [("authorization", "Basic x".to_owned())];
    assert_eq!(
        init(&server, &header, json!({ "authorization": 1 })).await,
        None
    );
    let headers = [("authorization", "Bearer x"), ("cookie", "session=x")];
    assert_eq!(ask(&server.url, "POST", "/graphql", &headers).await.0, 200);
}
