//! Authentication: every entry point × everything that can be wrong with a token.

use serde_json::{Value, json};
use strum::VariantArray;
use titlecast::conversation::Owner;
use titlecast_testing::{
    Server,
    auth::{GUARDED, SECRET, claims, encode, graphql_as, hmac_sha256, now, signed, token, with},
    keys::Pair,
    surface::{Surface, Verdict},
};

const WRONG: &str = "another secret of more than 32 bytes, for tests";

fn acme() -> Owner {
    Owner {
        tenant: "acme".into(),
        user: "ada".into(),
    }
}

/// The answer of every entry point to a caller whose token is invalid or has expired.
fn refused(surface: Surface, is_expired: bool) -> Verdict {
    Some(match (surface.is_socket(), is_expired) {
        (false, false) => (401, "UNAUTHENTICATED".into()),
        (false, true) => (401, "AUTH_EXPIRED".into()),
        (true, false) => (4401, "Unauthorized".into()),
        (true, true) => (4403, "Forbidden".into()),
    })
}

/// Every way in says that.
async fn everywhere(
    server: &Server,
    id: &str,
    what: &str,
    credentials: Option<&str>,
    is_expired: bool,
) {
    for surface in Surface::VARIANTS {
        let verdict = surface.knock(&server.url, id, credentials).await;
        assert_eq!(
            verdict,
            refused(*surface, is_expired),
            "{what} at {surface:?}"
        );
    }
}

#[tokio::test]
async fn a_valid_token_is_let_in_everywhere() {
    let server = Server::guarded_with(&GUARDED).await;
    let id = server.database.seed(&acme(), 1, 1).await.remove(0);
    let good = signed(&claims("acme", "ada"));
    for surface in Surface::VARIANTS {
        for scheme in ["Bearer", "bearer"] {
            let credentials = format!("{scheme} {good}");
            let verdict = surface.knock(&server.url, &id, Some(&credentials)).await;
            assert_eq!(verdict, None, "{surface:?}");
        }
    }
}

#[tokio::test]
async fn what_is_no_token_is_let_in_nowhere() {
    let server = Server::guarded_with(&GUARDED).await;
    let id = server.database.seed(&acme(), 1, 1).await.remove(0);
    let good = signed(&claims("acme", "ada"));
    everywhere(&server, &id, "nothing", None, false).await;
    let [header, body, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts")
    };
    for malformed in [
        "Bearer".to_owned(),
        "Bearer x".into(),
        "Bearer ..".into(),
        good.clone(),
        format!("Basic {good}"),
        format!("Bearer {header}.{body}"),
        format!("Bearer {header}.{body}."),
        format!("Bearer {header}.{body}.{signature}.{signature}"),
        format!("Bearer {header}.{}.{signature}", encode("[]")),
        format!("Bearer {good}, Bearer {good}"),
        format!("Bearer {}", "x".repeat(9_000)),
    ] {
        everywhere(&server, &id, &malformed, Some(&malformed), false).await;
    }
}

#[tokio::test]
async fn a_token_signed_by_another_issuer_is_accepted_nowhere() {
    let server = Server::guarded_with(&GUARDED).await;
    let id = server.database.seed(&acme(), 1, 1).await.remove(0);
    let claims = claims("acme", "ada");
    let header = |alg: &str| json!({ "alg": alg, "typ": "JWT" });
    let nothing = |_: &[u8]| Vec::new();
    let ours = hmac_sha256(SECRET.as_bytes());
    let pair = Pair::ed();
    let changed = {
        let good = signed(&claims);
        let parts: Vec<&str> = good.split('.').collect();
        let body = encode(with(claims.clone(), "sub", "eve".into()).to_string());
        format!("{}.{body}.{}", parts[0], parts[2])
    };
    for (what, token) in [
        (
            "wrong secret",
            token(&header("HS256"), &claims, hmac_sha256(WRONG.as_bytes())),
        ),
        ("changed", changed),
        ("alg none", token(&header("none"), &claims, nothing)),
        ("alg None", token(&header("None"), &claims, nothing)),
        ("signed none", token(&header("none"), &claims, &ours)),
        ("no alg", token(&json!({ "typ": "JWT" }), &claims, &ours)),
        ("not allowed", token(&header("HS512"), &claims, &ours)),
        (
            "own key",
            token(&header("EdDSA"), &claims, |message| pair.sign(message)),
        ),
        (
            "own key along",
            token(
                &json!({ "alg": "EdDSA", "jwk": pair.jwk("a"), "jku": "http://127.0.0.1:1/" }),
                &claims,
                |message| pair.sign(message),
            ),
        ),
        (
            "critical",
            token(
                &json!({ "alg": "HS256", "crit": ["b64"], "b64": false }),
                &claims,
                &ours,
            ),
        ),
    ] {
        everywhere(&server, &id, what, Some(&format!("Bearer {token}")), false).await;
    }
}

#[tokio::test]
async fn a_token_that_says_something_else_is_let_in_nowhere() {
    let server = Server::guarded_with(&GUARDED).await;
    let id = server.database.seed(&acme(), 1, 1).await.remove(0);
    for (claim, value) in [
        ("iss", json!("https://other.example")),
        ("iss", json!(["https://issuer.example"])),
        ("iss", Value::Null),
        ("aud", json!("other")),
        ("aud", json!(["other"])),
        ("aud", Value::Null),
        ("nbf", json!(now() + 60)),
        ("exp", Value::Null),
        ("exp", json!("soon")),
        ("sub", Value::Null),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("sub", json!("a\nb")),
        ("sub", json!("a".repeat(129))),
        ("tenant", Value::Null),
        ("tenant", json!("")),
        ("tenant", json!("a\u{0}")),
        ("tenant", json!(["acme"])),
    ] {
        let what = format!("{claim} is {value}");
        let token = signed(&with(claims("acme", "ada"), claim, value));
        everywhere(&server, &id, &what, Some(&format!("Bearer {token}")), false).await;
    }
}

#[tokio::test]
async fn an_expired_token_is_distinguished_everywhere() {
    let server = Server::guarded_with(&GUARDED).await;
    let id = server.database.seed(&acme(), 1, 1).await.remove(0);
    let token = signed(&with(claims("acme", "ada"), "exp", (now() - 32).into()));
    everywhere(
        &server,
        &id,
        "expired",
        Some(&format!("Bearer {token}")),
        true,
    )
    .await;
    // Only for callers that were admitted once.
    let header = json!({ "alg": "HS256" });
    let forged = with(claims("acme", "ada"), "exp", (now() - 32).into());
    let forged = titlecast_testing::auth::token(&header, &forged, hmac_sha256(WRONG.as_bytes()));
    everywhere(
        &server,
        &id,
        "forged",
        Some(&format!("Bearer {forged}")),
        false,
    )
    .await;
}

#[tokio::test]
async fn clocks_may_be_half_a_minute_apart_and_audiences_several() {
    let server = Server::guarded_with(&GUARDED).await;
    for (claim, value) in [
        ("exp", json!(now() - 20)),
        ("nbf", json!(now() + 20)),
        ("aud", json!(["other", "titlecast"])),
        ("exp", json!(u64::MAX)),
    ] {
        let what = format!("{claim} is {value}");
        let token = signed(&with(claims("acme", "ada"), claim, value));
        let answer = graphql_as(&token, &server.url, "{ __typename }").await;
        assert_eq!(
            answer,
            json!({ "data": { "__typename": "Query" } }),
            "{what}"
        );
    }
}

#[tokio::test]
async fn health_is_open_and_tells_no_secret() {
    let server = Server::guarded_with(&GUARDED).await;
    for path in ["/healthz", "/readyz"] {
        let (status, health) = server.get(path).await;
        assert_eq!(status, 200);
        for secret in [SECRET, "issuer.example", "sqlite:", "postgres:"] {
            assert!(!health.to_string().contains(secret), "{health}");
        }
    }
}
