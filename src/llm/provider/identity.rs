//! The user on whose behalf a call is made, as headers or as a signed token, for providers configured to receive it.

use std::time::{Duration, SystemTime};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use ring::hmac;
use serde_json::{Value, json};
use uuid::Uuid;

use super::InvalidProvider;
use crate::llm::CallIdentity;

/// The shortest secret: as long as the hash of HS256.
const MIN_SECRET_BYTES: usize = 32;

/// The lifetime of a token.
const TOKEN_LIFETIME: Duration = Duration::from_secs(300);

/// The characters of a value that are sent unescaped.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// How a provider receives the identity of the calling user.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Identity {
    /// The provider receives no identity.
    #[default]
    None,
    /// In `X-Titlecast-` headers.
    Headers,
    /// As a token in `X-Titlecast-Jwt`, signed with this secret (HS256).
    Jwt(String),
}

impl Identity {
    /// Checks the secret.
    ///
    /// # Errors
    /// [`InvalidProvider::IdentitySecret`] if it is shorter than 32 bytes.
    pub(super) fn check(&self) -> Result<(), InvalidProvider> {
        match self {
            Self::Jwt(secret) if secret.len() < MIN_SECRET_BYTES => {
                Err(InvalidProvider::IdentitySecret)
            }
            _ => Ok(()),
        }
    }

    /// The headers of one call to the provider of this name.
    pub(super) fn headers(&self, provider: &str, caller: &CallIdentity) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let task: &str = caller.task.into();
        match self {
            Self::None => {}
            Self::Headers => {
                for (name, value) in [
                    ("x-titlecast-tenant", caller.tenant.as_str()),
                    ("x-titlecast-user", &caller.user),
                    ("x-titlecast-conversation", &caller.conversation),
                    ("x-titlecast-message", &caller.message),
                    ("x-titlecast-agent", &caller.agent),
                    ("x-titlecast-task", task),
                ] {
                    let value = utf8_percent_encode(value, PLAIN).to_string();
                    if let Some(value) = sensitive(&value).filter(|value| !value.is_empty()) {
                        headers.insert(HeaderName::from_static(name), value);
                    }
                }
            }
            Self::Jwt(secret) => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                let now = now.unwrap_or_default();
                let claims = json!({
                    "iss": "titlecast",
                    "aud": provider,
                    "sub": caller.user,
                    "tenant": caller.tenant,
                    "conversation": caller.conversation,
                    "message": caller.message,
                    "agent": caller.agent,
                    "task": task,
                    "iat": now.as_secs(),
                    "exp": (now + TOKEN_LIFETIME).as_secs(),
                    "jti": Uuid::new_v4(),
                });
                if let Some(value) = sensitive(&signed(secret, &claims)) {
                    headers.insert(HeaderName::from_static("x-titlecast-jwt"), value);
                }
            }
        }
        headers
    }
}

/// A token with these claims (RFC 7515, HS256).
fn signed(secret: &str, claims: &Value) -> String {
    let header = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let claims = BASE64_URL_SAFE_NO_PAD.encode(claims.to_string());
    let message = format!("{header}.{claims}");
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn sensitive(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::Task;

    fn caller() -> CallIdentity {
        CallIdentity {
            tenant: "Müller & Söhne".to_owned(),
            user: "京都\r\nx-evil: 1".to_owned(),
            conversation: "c".to_owned(),
            message: String::new(),
            agent: "triage".to_owned(),
            task: Task::Title,
        }
    }

    #[test]
    fn headers_are_percent_encoded_and_only_sent_where_they_are_asked_for() {
        let secret = "s".repeat(32);
        assert!(Identity::None.headers("desk", &caller()).is_empty());
        let headers = Identity::Headers.headers("desk", &caller());
        let value = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(
            value("x-titlecast-tenant"),
            Some("M%C3%BCller%20%26%20S%C3%B6hne")
        );
        assert_eq!(
            value("x-titlecast-user"),
            Some("%E4%BA%AC%E9%83%BD%0D%0Ax-evil%3A%201")
        );
        assert_eq!(value("x-titlecast-message"), None);
        assert_eq!(value("x-titlecast-task"), Some("title"));
        assert_eq!(value("x-titlecast-jwt"), None);
        assert!(headers.values().all(HeaderValue::is_sensitive));
        let headers = Identity::Jwt(secret).headers("desk", &caller());
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn a_token_has_the_claims_and_a_signature_of_the_secret() {
        let secret = "a secret of at least thirty-two bytes";
        let headers = Identity::Jwt(secret.to_owned()).headers("desk", &caller());
        let token = headers["x-titlecast-jwt"].to_str().unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let decoded = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        hmac::verify(&key, message.as_bytes(), &decoded(signature)).unwrap();
        let (header, claims) = message.split_once('.').unwrap();
        assert_eq!(decoded(header), br#"{"alg":"HS256","typ":"JWT"}"#);
        let claims: Value = serde_json::from_slice(&decoded(claims)).unwrap();
        let lifetime = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
        assert_eq!(lifetime, 300);
        for (name, value) in [
            ("iss", "titlecast"),
            ("aud", "desk"),
            ("sub", &caller().user),
            ("tenant", &caller().tenant),
            ("conversation", "c"),
            ("message", ""),
            ("agent", "triage"),
            ("task", "title"),
        ] {
            assert_eq!(claims[name], value, "{name}");
        }
        assert_eq!(claims["jti"].as_str().unwrap().len(), 36);
        assert_eq!(claims.as_object().unwrap().len(), 11, "{claims}");
    }

    #[test]
    fn short_secrets_are_refused() {
        let of = |length: usize| Identity::Jwt("s".repeat(length));
        assert_eq!(of(31).check(), Err(InvalidProvider::IdentitySecret));
        assert_eq!(of(32).check(), Ok(()));
    }
}
