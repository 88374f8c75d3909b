//! Tokens, valid ones and forged ones.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::{Value, json};

use super::{ModelServer, Server, TestDatabase, server::client, within};

pub const SECRET: &str = "a secret of more than 32 bytes, for tests";
pub const ISSUER: &str = "https://issuer.example";
pub const AUDIENCE: &str = "titlecast";

/// The settings of a server that takes tokens of [`SECRET`].
pub const GUARDED: [&str; 6] = [
    "--jwt-secret",
    SECRET,
    "--jwt-issuer",
    ISSUER,
    "--jwt-audience",
    AUDIENCE,
];

impl Server {
    /// One that takes tokens, with the scripted model.
    pub async fn guarded(model: &ModelServer) -> Self {
        Self::start_with(model, &GUARDED).await
    }

    /// One with the offline model, and with these settings.
    pub async fn guarded_with(settings: &[&str]) -> Self {
        let offline = ["--openai-base-url", "", "--openai-api-key", ""];
        Self::on(TestDatabase::new().await, &[&offline, settings].concat()).await
    }
}

/// The present, as tokens count it.
pub fn now() -> i64 {
    chrono::Utc::now().timestamp()
}

/// The claims of a token of this user with all scopes, for one hour.
pub fn claims(tenant: &str, user: &str) -> Value {
    json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": user,
        "tenant": tenant,
        "scope": "conversations:read conversations:write conversations:delete conversations:ingest",
        "exp": now() + 3600,
    })
}

/// The same claims with another one; without it, when it is null.
pub fn with(mut claims: Value, name: &str, value: Value) -> Value {
    match value.is_null() {
        true => drop(claims.as_object_mut().unwrap().remove(name)),
        false => claims[name] = value,
    }
    claims
}

/// The same claims for a token that is over in 2 to 3 seconds: its time was up, but for the leeway.
pub fn short(claims: Value) -> Value {
    with(claims, "exp", (now() - 27).into())
}

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// A token of these parts, whatever they are.
pub fn token(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!(
        "{}.{}",
        encode(header.to_string()),
        encode(claims.to_string())
    );
    let signature = encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// Signs with a secret.
pub fn hmac_sha256(secret: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    move |message| hmac::sign(&key, message).as_ref().to_vec()
}

/// A token that [`GUARDED`] servers take.
pub fn signed(claims: &Value) -> String {
    let header = json!({ "alg": "HS256", "typ": "JWT" });
    token(&header, claims, hmac_sha256(SECRET.as_bytes()))
}

/// A GraphQL request with a token; the whole answer.
pub async fn graphql_as(token: &str, url: &str, query: &str) -> Value {
    let request = client()
        .post(format!("{url}/graphql"))
        .header("content-type", "application/json")
        .bearer_auth(token)
        .body(json!({ "query": query }).to_string());
    let response = within(request.send()).await.unwrap();
    serde_json::from_str(&within(response.text()).await.unwrap()).unwrap()
}
