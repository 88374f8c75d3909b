//! Authentication as an operator meets it: what is refused at the start, what is served, the tokens that
//! the program mints itself, and that no log shows one.

use serde_json::{Value, json};
use titlecast_testing::{
    ModelServer, Titlecast,
    auth::{AUDIENCE, ISSUER, SECRET, claims, graphql_as, now, signed, with},
    keys::Pair,
    raw_socket::RawSocket,
    server::{client, request},
    within,
};

type Settings<'a> = [(&'a str, &'a str)];

const ON: [(&str, &str); 3] = [
    ("TITLECAST_JWT_SECRET", SECRET),
    ("TITLECAST_JWT_ISSUER", ISSUER),
    ("TITLECAST_JWT_AUDIENCE", AUDIENCE),
];

/// The program with these arguments and settings.
fn titlecast(arguments: &[&str], settings: &Settings<'_>) -> Titlecast {
    let mut command = Titlecast::new(arguments);
    for (name, value) in settings {
        command = command.env(name, value);
    }
    command
}

#[tokio::test]
async fn what_cannot_work_is_refused_in_one_line() {
    let keys = ("TITLECAST_JWT_KEYS", "/no/such/keys.json");
    let (secret, issuer, audience) = (ON[0], ON[1], ON[2]);
    #[rustfmt::skip]
    let table: &[(&Settings<'_>, &[&str])] = &[
        (&[secret, audience], &["--jwt-issuer", "TITLECAST_JWT_ISSUER", "missing"]),
        (&[secret, issuer], &["--jwt-audience", "TITLECAST_JWT_AUDIENCE", "missing"]),
        (&[secret, issuer, ("TITLECAST_JWT_AUDIENCE", "")], &["--jwt-audience"]),
        (&[("TITLECAST_JWT_SECRET", "short-secret"), issuer, audience], &["--jwt-secret", "32 bytes", "openssl rand"]),
        // A secret that got lost must not open the service.
        (&[("TITLECAST_JWT_SECRET", ""), issuer, audience], &["--jwt-issuer", "--jwt-secret", "--jwt-keys"]),
        (&[audience], &["--jwt-audience", "--jwt-secret", "--jwt-keys"]),
        (&[("TITLECAST_AUTH_COOKIE", "session")], &["--auth-cookie", "--jwt-secret"]),
        (&[secret, keys, issuer, audience], &["--jwt-secret", "--jwt-keys", "exclude"]),
        (&[("TITLECAST_JWT_KEYS", "Cargo.toml\0"), issuer, audience][1..], &["--jwt-issuer"]),
        (&[("TITLECAST_JWT_KEYS", "http://"), issuer, audience], &["--jwt-keys", "malformed"]),
        (&[secret, issuer, audience, ("TITLECAST_JWT_ALGORITHMS", "none")], &["--jwt-algorithms", "none", "HS256"]),
        (&[secret, issuer, audience, ("TITLECAST_JWT_ALGORITHMS", "HS256,RS256")], &["--jwt-algorithms", "RS256", "secret"]),
        (&[keys, issuer, audience, ("TITLECAST_JWT_ALGORITHMS", "RS256,HS256")], &["--jwt-algorithms", "HS256", "published keys"]),
        (&[secret, issuer, audience, ("TITLECAST_JWT_USER_CLAIM", "")], &["--jwt-user-claim"]),
        (&[secret, issuer, audience, ("TITLECAST_AUTH_COOKIE", "a;b")], &["--auth-cookie", "a;b"]),
    ];
    for (settings, parts) in table {
        let command = titlecast(&["serve", "--listen", "127.0.0.1:0"], settings);
        let ended = command.run().await;
        ended.assert_refused(parts);
        for hidden in ["short-secret", SECRET, "hunter2"] {
            assert!(!ended.stderr.contains(hidden), "{}", ended.stderr);
        }
    }
}

#[tokio::test]
async fn keys_that_cannot_be_read_are_named_and_so_is_the_reason() {
    let file = std::env::temp_dir().join(format!("titlecast-keys-{}", uuid::Uuid::now_v7()));
    std::fs::write(&file, r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#).unwrap();
    // It answers with a page of its own, whatever is asked.
    let model = ModelServer::start().await;
    let other = model.url.replace("http://", "http://me:hunter2@");
    let useless = file.to_str().unwrap();
    #[rustfmt::skip]
    let table: [(&str, &[&str]); 7] = [
        ("/no/such/keys.json", &["/no/such/keys.json", "No such file"]),
        ("/", &["at /:", "Is a directory"]),
        (useless, &[useless, "none of its 1 key(s)", "RS256, ES256, EdDSA", "--jwt-algorithms"]),
        (concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), &["Cargo.toml", "not a JSON Web Key Set"]),
        ("http://me:hunter2@127.0.0.1:1/keys?key=hunter2", &["http://127.0.0.1:1/keys", "Connection refused"]),
        ("http://me:hunter2@no-such-host.invalid/", &["http://no-such-host.invalid/", "lookup"]),
        (&other, &["answered 404 instead of 200"]),
    ];
    for (keys, parts) in table {
        let settings = [("TITLECAST_JWT_KEYS", keys), ON[1], ON[2]];
        let command = titlecast(&["serve", "--listen", "127.0.0.1:0"], &settings);
        let ended = command.run().await;
        let what = [
            "cannot read the token keys",
            "--jwt-keys",
            "TITLECAST_JWT_KEYS",
        ];
        ended.assert_failed(&[&what, parts].concat());
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    }
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn the_help_shows_neither_secret_nor_keys() {
    let settings = [
        ON[0],
        ("TITLECAST_JWT_KEYS", "https://me:hunter2@keys.example/"),
    ];
    let help = titlecast(&["--help"], &settings).run().await.ok();
    assert!(
        !help.contains(SECRET) && !help.contains("hunter2"),
        "{help}"
    );
}

#[tokio::test]
async fn with_tokens_any_address_is_served_and_no_request_without_one() {
    // The flag opens nothing but the metrics.
    for flag in [&[][..], &[("TITLECAST_ALLOW_UNAUTHENTICATED", "true")]] {
        let settings = [&ON[..], flag].concat();
        let mut serving = titlecast(&["serve", "--listen", "0.0.0.0:0"], &settings).start();
        let url = serving.url().await.replace("0.0.0.0", "127.0.0.1");
        let (status, answer) = request(&url, "GET", "/api/v1/conversations", None).await;
        assert_eq!((status, &answer["code"]), (401, &json!("UNAUTHENTICATED")));
        assert_eq!(request(&url, "GET", "/healthz", None).await.0, 200);
        serving.terminate();
        serving.ended().await.ok();
    }
    for settings in [&ON[..], &[]] {
        let arguments = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--metrics-listen",
            "0.0.0.0:0",
        ];
        let ended = titlecast(&arguments, settings).run().await;
        ended.assert_refused(&["metrics", "--metrics-listen", "--allow-unauthenticated"]);
    }
}

#[tokio::test]
async fn a_minted_token_is_taken_by_a_server_with_the_same_settings() {
    let names = [
        ("TITLECAST_JWT_USER_CLAIM", "uid"),
        (
            "TITLECAST_JWT_TENANT_CLAIM",
            "https://titlecast.example/org",
        ),
        ("TITLECAST_JWT_SCOPE_CLAIM", "scp"),
        ("TITLECAST_JWT_ALGORITHMS", "HS512,HS256"),
    ];
    for more in [&[][..], &names] {
        let settings = [&ON[..], more].concat();
        let mint = async |arguments: &[&str]| {
            let who = ["token", "--tenant", "acme", "--user", "ada"];
            let arguments = [&who, arguments].concat();
            let printed = titlecast(&arguments, &settings).run().await.ok();
            printed.trim_end().to_owned()
        };
        let mut serving = titlecast(&["serve", "--listen", "127.0.0.1:0"], &settings).start();
        let url = serving.url().await;
        let send = "mutation { sendMessage(input: { text: \"Hi\" }) { conversation { id } } }";
        let list = "{ conversations { nodes { id } } }";
        let all = mint(&[]).await;
        let sent = graphql_as(&all, &url, send).await;
        let conversation = &sent["data"]["sendMessage"]["conversation"];
        assert!(conversation["id"].is_string(), "{sent}");
        let reader = mint(&["--scopes", "conversations:read", "--expires", "2m"]).await;
        let read = graphql_as(&reader, &url, list).await;
        assert_eq!(
            &read["data"]["conversations"]["nodes"],
            &json!([conversation])
        );
        let refused = graphql_as(&reader, &url, send).await;
        assert_eq!(refused["errors"][0]["extensions"]["code"], "FORBIDDEN");
        serving.terminate();
        serving.ended().await.ok();
    }
}

#[tokio::test]
async fn no_token_is_minted_that_no_server_would_take() {
    let keys = std::env::temp_dir().join(format!("titlecast-keys-{}", uuid::Uuid::now_v7()));
    std::fs::write(&keys, json!({ "keys": [Pair::ed().jwk("a")] }).to_string()).unwrap();
    let keys = [("TITLECAST_JWT_KEYS", keys.to_str().unwrap()), ON[1], ON[2]];
    let who = |tenant: &'static str, user: &'static str| {
        vec!["token", "--tenant", tenant, "--user", user]
    };
    let scopes = [&who("acme", "ada")[..], &["--scopes", "admin"]].concat();
    let forever = [&who("acme", "ada")[..], &["--expires", "0s"]].concat();
    #[rustfmt::skip]
    let table: &[(Vec<&str>, &Settings<'_>, &[&str])] = &[
        (who("acme", "ada"), &keys, &["--jwt-secret", "--jwt-keys"]),
        (who("acme", "ada"), &[], &["--jwt-secret", "TITLECAST_JWT_SECRET"]),
        (who("acme", "ada"), &ON[..2], &["--jwt-audience"]),
        (who("", "ada"), &ON, &["--tenant", "1 to 128"]),
        (who("acme", "a\nb"), &ON, &["--user", "control"]),
        (scopes, &ON, &["--scopes", "conversations:read"]),
        (forever, &ON, &["--expires"]),
        (vec!["token", "--user", "ada"], &ON, &["required"]),
    ];
    for (arguments, settings, parts) in table {
        let ended = titlecast(arguments, settings).run().await;
        ended.assert_refused(parts);
    }
    std::fs::remove_file(keys[0].1).unwrap();
}

/// A `connection_init` with this token; whether it was acknowledged.
async fn is_acknowledged(url: &str, token: &str) -> bool {
    let mut socket = RawSocket::open(url, "graphql-transport-ws").await;
    let payload = json!({ "authorization": format!("Bearer {token}") });
    socket
        .say(json!({ "type": "connection_init", "payload": payload }))
        .await;
    titlecast_testing::surface::verdict(&mut socket, false)
        .await
        .is_none()
}

#[tokio::test]
async fn no_log_shows_a_token_nor_the_secret() {
    let more = [
        ("TITLECAST_LOG", "trace"),
        ("TITLECAST_AUTH_COOKIE", "session"),
    ];
    let settings = [&ON[..], &more].concat();
    let mut serving = titlecast(&["serve", "--listen", "127.0.0.1:0"], &settings).start();
    let url = serving.url().await;
    let ada = claims("acme", "ada");
    let good = signed(&ada);
    let expired = signed(&with(ada.clone(), "exp", (now() - 60).into()));
    let foreign = signed(&with(ada.clone(), "aud", "other".into()));
    let without_tenant = signed(&with(ada, "tenant", Value::Null));
    let malformed = "not.a.token-but-a-secret";
    for token in [&good, &expired, &foreign, &without_tenant, malformed] {
        let is_good = token == good;
        let list = format!("{url}/api/v1/conversations");
        let by_header = client().get(&list).bearer_auth(token);
        let by_cookie = client()
            .get(&list)
            .header("cookie", format!("session={token}"));
        let basic = client()
            .get(&list)
            .header("authorization", format!("Basic {token}"));
        for (request, is_taken) in [(by_header, is_good), (by_cookie, is_good), (basic, false)] {
            let status = within(request.send()).await.unwrap().status();
            assert_eq!(status, if is_taken { 200 } else { 401 });
        }
        assert_eq!(is_acknowledged(&url, token).await, is_good);
        let answer = graphql_as(token, &url, "{ conversations { nodes { id } } }").await;
        assert_eq!(answer.get("errors").is_none(), is_good);
    }
    serving.terminate();
    let ended = serving.ended().await;
    let parts =
        [&good, &expired, &foreign, &without_tenant].map(|token| token.split('.').nth(2).unwrap());
    for secret in parts.into_iter().chain(["a-secret", SECRET]) {
        let leak = ended.stderr.lines().find(|line| line.contains(secret));
        assert_eq!(leak, None);
    }
    // It does say why, or the above would prove nothing.
    for reason in ["malformed", "expired", "audience", "names"] {
        let line = format!("token rejected auth.reason=\"{reason}\"");
        assert!(ended.stderr.contains(&line), "{reason}: {}", ended.stderr);
    }
    ended.ok();
}
