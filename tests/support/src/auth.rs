//! Valid and forged tokens.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::{Value, json};

use super::{ModelServer, Server, TestDatabase, server::client, within};

pub const SECRET: &str = "a secret of more than 32 bytes, for tests";
pub const ISSUER: &str = "https://issuer.example";
pub const AUDIENCE: &str = "titlecast";

/// Settings of a server that accepts tokens signed with [`SECRET`].
pub const GUARDED: [&str; 6] = [
    "--jwt-secret",
    SECRET,
    "--jwt-issuer",
    ISSUER,
    "--jwt-audience",
    AUDIENCE,
];

impl Server {
    /// Starts a server that requires tokens, with the scripted model.
    pub async fn guarded(model: &ModelServer) -> Self {
        Self::start_with(model, &GUARDED).await
    }

    /// Starts a server with the offline model and these settings.
    pub async fn guarded_with(settings: &[&str]) -> Self {
        let offline = ["--openai-base-url", "", "--openai-api-key", ""];
        Self::on(TestDatabase::new().await, &[&offline, settings].concat()).await
    }
}

/// The current time in seconds since 1970, as in tokens.
pub fn now() -> i64 {
    chrono::Utc::now().timestamp()
}

/// The claims of a token for this user: all scopes, valid for one hour.
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

/// Replaces a claim; removes it if the value is null.
pub fn with(mut claims: Value, name: &str, value: Value) -> Value {
    match value.is_null() {
        true => drop(claims.as_object_mut().unwrap().remove(name)),
        false => claims[name] = value,
    }
    claims
}

/// Makes the token expire in 2 to 3 seconds: `exp` is in the past, but within the leeway.
pub fn short(claims: Value) -> Value {
    with(claims, "exp", (now() - 27).into())
}

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Builds a token from these parts, valid or not.
pub fn token(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!(
        "{}.{}",
        encode(header.to_string()),
        encode(claims.to_string())
    );
    let signature = encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// Returns a function that signs with this secret.
pub fn hmac_sha256(secret: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    move |message| hmac::sign(&key, message).as_ref().to_vec()
}

/// A token that [`GUARDED`] servers accept.
pub fn signed(claims: &Value) -> String {
    let header = json!({ "alg": "HS256", "typ": "JWT" });
    token(&header, claims, hmac_sha256(SECRET.as_bytes()))
}

/// Sends a GraphQL request with a token. Returns the whole answer.
pub async fn graphql_as(token: &str, url: &str, query: &str) -> Value {
    let request = client()
        .post(format!("{url}/graphql"))
        .header("content-type", "application/json")
        .bearer_auth(token)
        .body(json!({ "query": query }).to_string());
    let response = within(request.send()).await.unwrap();
    serde_json::from_str(&within(response.text()).await.unwrap()).unwrap()
}
