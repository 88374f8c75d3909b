//! Signatures of Standard Webhooks: HMAC-SHA256 over id, time and body, by each key of the webhook.

use std::{fmt, fmt::Write, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::hmac;

/// The prefix of a key's text.
const PREFIX: &str = "whsec_";

/// The length of a key, in bytes, by the specification.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A key that signs; `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Vec<u8>);

/// Why a text is not a valid key. Does not contain the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// The text is not `whsec_` and base64.
    #[error(
        "a key is whsec_ and then base64; generate one with `echo \"whsec_$(openssl rand -base64 32)\"`"
    )]
    Form,
    /// The key is too short or too long.
    #[error("a key has 24 to 64 bytes before base64")]
    Length,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

impl FromStr for SigningKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let text = text.trim().strip_prefix(PREFIX).ok_or(InvalidKey::Form)?;
        let key = STANDARD.decode(text).map_err(|_| InvalidKey::Form)?;
        match BYTES.contains(&key.len()) {
            true => Ok(Self(key)),
            false => Err(InvalidKey::Length),
        }
    }
}

/// The value of `webhook-signature`: a signature by each key, so that a receiver may have the old key or the new one.
pub(super) fn sign(keys: &[SigningKey], id: &str, timestamp: i64, body: &[u8]) -> String {
    let mut signed = format!("{id}.{timestamp}.").into_bytes();
    signed.extend_from_slice(body);
    let mut signatures = String::new();
    for key in keys {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key.0);
        let tag = STANDARD.encode(hmac::sign(&key, &signed));
        let space = if signatures.is_empty() { "" } else { " " };
        // Writing to a String cannot fail.
        let _ = write!(signatures, "{space}v1,{tag}");
    }
    signatures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_is_signed_as_there() {
        let key: SigningKey = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let signed = |keys: &[SigningKey]| {
            sign(
                keys,
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                br#"{"test": 2432232314}"#,
            )
        };
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signed(std::slice::from_ref(&key)), expected);
        let two = signed(&[key.clone(), key]);
        assert_eq!(two, format!("{expected} {expected}"));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let refused = |text: &str| text.parse::<SigningKey>().unwrap_err();
        assert_eq!(
            refused("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            InvalidKey::Form
        );
        assert_eq!(refused("whsec_not base64"), InvalidKey::Form);
        assert_eq!(refused("whsec_"), InvalidKey::Length);
        let short = format!("whsec_{}", STANDARD.encode([7; 23]));
        assert_eq!(refused(&short), InvalidKey::Length);
        let long = format!("whsec_{}", STANDARD.encode([7; 65]));
        assert_eq!(refused(&long), InvalidKey::Length);
    }
}
