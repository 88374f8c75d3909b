//! Ids, cursors, limits, methods, paths, headers and origins that cannot be used.

use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{legacy::post, server::client, within};

use super::{CHAT, Filled, LIST};

#[tokio::test]
async fn an_id_that_is_neither_ours_nor_an_external_one_is_refused() {
    let filled = Filled::start().await;
    for id in ["", "a\nb", ".", "..", "search", "changes", &"a".repeat(256)] {
        filled
            .invalid(
                json!({ "message": "Plan a trip", "conversation_id": id }),
                "id",
            )
            .await;
    }
    let too_long = "a".repeat(256);
    let unknown = [
        "1",
        "undefined",
        "018f3a2e-0000-7000-8000-00000000000g",
        "%22",
    ];
    let malformed = ["%00", "%0a", "%ff", &too_long];
    for id in unknown.iter().chain(&malformed) {
        let path = format!("{}{LIST}/{id}", filled.server.url);
        let title = json!({ "display_name": "Kyoto" }).to_string();
        for request in [
            client().get(&path),
            client().get(format!("{path}/messages")),
            client().get(format!("{path}/stream")),
            client()
                .patch(format!("{path}/title"))
                .header("content-type", "application/json")
                .body(title),
        ] {
            match malformed.contains(id) {
                true => filled.refused(request, 422, "INVALID_INPUT").await,
                false => filled.refused(request, 404, "NOT_FOUND").await,
            };
        }
        let deleted = within(client().delete(&path).send()).await.unwrap();
        let expected = if malformed.contains(id) { 422 } else { 204 };
        assert_eq!(deleted.status(), expected, "{id}");
    }
    for route in ["search", "changes"] {
        let request = client().get(format!("{}{LIST}/{route}/messages", filled.server.url));
        filled.refused(request, 422, "INVALID_INPUT").await;
    }
    filled.assert_unchanged().await;
}

#[tokio::test]
async fn a_conversation_of_another_owner_does_not_exist() {
    let mut filled = Filled::start().await;
    let other = Owner {
        tenant: Owner::local().tenant,
        user: "other".into(),
    };
    let theirs = filled.server.serve(other).await;
    let path = format!("{theirs}{LIST}/{}", filled.id);
    let message = json!({ "message": "Plan a trip", "conversation_id": filled.id });
    let title = json!({ "display_name": "Mine now" }).to_string();
    for request in [
        post(&theirs, CHAT[0], message.clone()),
        post(&theirs, CHAT[1], message),
        client().get(&path),
        client().get(format!("{path}/messages")),
        client().get(format!("{path}/stream")),
        client()
            .patch(format!("{path}/title"))
            .header("content-type", "application/json")
            .body(title),
    ] {
        let text = filled.refused(request, 404, "NOT_FOUND").await;
        assert_eq!(text, "conversation not found");
    }
    let deleted = within(client().delete(&path).send()).await.unwrap();
    assert_eq!(deleted.status(), 204, "as of an unknown one");
    for list in [LIST, &format!("{LIST}/search?q=kyoto")] {
        let response = within(client().get(format!("{theirs}{list}")).send())
            .await
            .unwrap();
        let page: Value = serde_json::from_slice(&within(response.bytes()).await.unwrap()).unwrap();
        assert_eq!(page, json!({ "items": [], "next_cursor": null }));
    }
    filled.assert_unchanged().await;
}

#[tokio::test]
async fn a_cursor_of_no_list_or_of_another_one_is_refused() {
    let filled = Filled::start().await;
    let second = filled.server.begin("Plan a trip to Kyoto and Nara").await;
    let lists = [
        format!("{LIST}?limit=1"),
        format!("{LIST}/search?q=kyoto&limit=1"),
        format!("{LIST}/{second}/messages?limit=1"),
    ];
    let mut cursors = Vec::new();
    for list in &lists {
        let (status, page) = filled.server.get(list).await;
        assert_eq!(status, 200);
        cursors.push(page["next_cursor"].as_str().unwrap().to_owned());
    }
    for (number, list) in lists.iter().enumerate() {
        let own = &cursors[number];
        let others = cursors.iter().filter(|cursor| *cursor != own).cloned();
        let made_up = [
            "x",
            "n",
            "p",
            "1",
            "MWM6MTox",
            "%00",
            "%F0%9F%92%A5",
            "' OR 1=1 --",
        ];
        let broken = [
            format!("{own}A"),
            own[..own.len() - 3].to_owned(),
            own.to_uppercase(),
        ];
        for cursor in others.chain(made_up.map(str::to_owned)).chain(broken) {
            let request = filled.get(&format!("{list}&cursor={cursor}"));
            filled.refused(request, 400, "INVALID_CURSOR").await;
        }
        assert_eq!(
            filled.server.get(&format!("{list}&cursor={own}")).await.0,
            200
        );
    }
}

#[tokio::test]
async fn a_parameter_out_of_range_is_refused() {
    let filled = Filled::start().await;
    let messages = format!("{LIST}/{}/messages?x=1", filled.id);
    let search = format!("{LIST}/search?q=kyoto");
    for (list, most) in [
        (&*format!("{LIST}?x=1"), 100),
        (&search, 50),
        (&messages, 100),
    ] {
        for limit in [
            "0",
            &(most + 1).to_string(),
            "x",
            "-1",
            "1.5",
            "99999999999999999999",
            "%00",
        ] {
            let request = filled.get(&format!("{list}&limit={limit}"));
            let text = filled.refused(request, 422, "INVALID_INPUT").await;
            assert!(
                text.contains("limit") && text.contains(&most.to_string()),
                "{text}"
            );
        }
        for limit in [1, most] {
            assert_eq!(
                filled.server.get(&format!("{list}&limit={limit}")).await.0,
                200
            );
        }
    }
    for (path, name) in [
        (format!("{messages}&direction=up"), "direction"),
        (format!("{LIST}/search"), "q"),
        (format!("{LIST}/search?q="), "q"),
        (format!("{LIST}/search?q=%20%0a"), "q"),
    ] {
        let (status, code) = match name {
            "q" => (400, "BLANK_SEARCH"),
            _ => (422, "INVALID_INPUT"),
        };
        let text = filled.refused(filled.get(&path), status, code).await;
        assert!(text.contains(name), "{path}: {text}");
    }
    filled.assert_unchanged().await;
}

#[tokio::test]
async fn a_method_or_a_path_that_is_not_there_is_refused() {
    let filled = Filled::start().await;
    let one = format!("{LIST}/{}", filled.id);
    let (title, stream) = (format!("{one}/title"), format!("{one}/stream"));
    for (method, path, allowed) in [
        ("GET", CHAT[0], "POST"),
        ("PUT", CHAT[1], "POST"),
        ("POST", LIST, "GET"),
        ("DELETE", LIST, "GET"),
        ("PUT", &one, "GET"),
        ("PUT", &title, "PATCH"),
        ("POST", &stream, "GET"),
    ] {
        let url = format!("{}{path}", filled.server.url);
        let request = || client().request(method.parse().unwrap(), &url);
        filled.refused(request(), 405, "METHOD_NOT_ALLOWED").await;
        let response = within(request().send()).await.unwrap();
        let allow = response.headers()["allow"].to_str().unwrap().to_owned();
        assert!(allow.contains(allowed), "{method} {path}: {allow}");
    }
    for path in [
        "/api/v1/nothing",
        "/api/v1/chat/",
        "/api/v2/chat",
        &format!("{one}/nothing"),
    ] {
        filled.refused(filled.get(path), 404, "NOT_FOUND").await;
        filled
            .refused(
                filled.post(path, &json!({ "message": "Plan a trip" })),
                404,
                "NOT_FOUND",
            )
            .await;
    }
    filled.assert_unchanged().await;
}

#[tokio::test]
async fn an_idempotency_key_or_an_agent_that_cannot_be_kept_is_refused() {
    let filled = Filled::start().await;
    let longest = "k".repeat(255);
    let too_long = "k".repeat(256);
    let body = json!({ "message": "Plan a trip" });
    let keys: [&[u8]; 6] = [
        b"",
        b"two words",
        b"tab\there",
        b"caf\xc3\xa9",
        b"\xff",
        too_long.as_bytes(),
    ];
    for path in CHAT {
        for key in keys {
            let key = reqwest::header::HeaderValue::from_bytes(key).unwrap();
            let request = filled.post(path, &body).header("idempotency-key", key);
            let text = filled.refused(request, 422, "INVALID_INPUT").await;
            assert!(text.to_lowercase().contains("key"), "{text}");
        }
    }
    let agent = "a".repeat(65);
    filled
        .invalid(
            json!({ "message": "Plan a trip", "agent_type": agent }),
            "agent",
        )
        .await;
    filled
        .invalid(
            json!({ "message": "Plan a trip", "agent_type": "a\nb" }),
            "agent",
        )
        .await;
    filled.assert_unchanged().await;
    let request = filled
        .post(CHAT[1], &body)
        .header("idempotency-key", longest);
    assert_eq!(within(request.send()).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_page_of_a_foreign_origin_is_refused() {
    let filled = Filled::start().await;
    let one = format!("{}{LIST}/{}", filled.server.url, filled.id);
    for origin in [
        "https://evil.example",
        "null",
        "http://127.0.0.1:1",
        "http://localhost",
    ] {
        for request in [
            filled.post(CHAT[0], &json!({ "message": "Plan a trip" })),
            filled.post(CHAT[1], &json!({ "message": "Plan a trip" })),
            filled.get(LIST),
            filled.get("/api/v1/nothing"),
            client().delete(&one),
            client().get(format!("{one}/stream")),
        ] {
            filled
                .refused(request.header("origin", origin), 403, "FORBIDDEN_ORIGIN")
                .await;
        }
    }
    filled.assert_unchanged().await;
    let own = filled.get(LIST).header("origin", &filled.server.url);
    assert_eq!(within(own.send()).await.unwrap().status(), 200);
}
