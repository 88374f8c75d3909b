//! JSON Web Key Sets (RFC 7517): parsing, and selecting a token's key. No I/O.

use std::sync::Arc;

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde_json::Value;

use super::source::SourceError;

/// A public key.
pub(super) struct Key {
    pub(super) id: Option<String>,
    /// The algorithms allowed by the key's type, its publisher and the settings.
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// The key with this id; without an id, the only key for the algorithm.
pub(super) fn find(keys: &[Key], id: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
    let mut fitting = keys.iter().filter(|key| {
        key.algorithms.contains(&algorithm) && (id.is_none() || key.id.as_deref() == id)
    });
    let key = fitting.next()?;
    match fitting.next() {
        Some(_) if id.is_none() => None,
        _ => Some(key.key.clone()),
    }
}

/// Parses a JSON Web Key Set (RFC 7517). Skips unusable keys.
pub(super) fn parse(bytes: &[u8], allowed: &[Algorithm]) -> Result<Arc<[Key]>, SourceError> {
    let set: Value = serde_json::from_slice(bytes).map_err(|_| SourceError::Malformed)?;
    let keys = set.get("keys").and_then(Value::as_array);
    let keys = keys.ok_or(SourceError::Malformed)?;
    let usable: Arc<[Key]> = keys
        .iter()
        .filter_map(|key| Key::of(key, allowed))
        .collect();
    match usable.is_empty() {
        true => Err(SourceError::NoUsableKey {
            keys: keys.len(),
            allowed: allowed.to_vec(),
        }),
        false => Ok(usable),
    }
}

impl Key {
    fn of(key: &Value, allowed: &[Algorithm]) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(key.clone()).ok()?;
        let is_for_signatures = match &jwk.common.public_key_use {
            Some(PublicKeyUse::Signature) | None => true,
            Some(_) => false,
        };
        let is_for_verifying = match &jwk.common.key_operations {
            Some(operations) => operations.contains(&KeyOperations::Verify),
            None => true,
        };
        if !is_for_signatures || !is_for_verifying {
            return None;
        }
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        let supported: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => &[RS256, RS384, RS512, PS256, PS384, PS512],
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => &[ES256],
                EllipticCurve::P384 => &[ES384],
                _ => &[],
            },
            AlgorithmParameters::OctetKeyPair(key) => match key.curve {
                EllipticCurve::Ed25519 => &[EdDSA],
                _ => &[],
            },
            // A symmetric key that is published is not secret.
            _ => &[],
        };
        // The algorithm declared by the publisher, if any.
        let declared = match jwk.common.key_algorithm {
            Some(named) => Some(Algorithm::try_from(named).ok()?),
            None => None,
        };
        let algorithms: Vec<Algorithm> = supported
            .iter()
            .filter(|supported| {
                allowed.contains(supported)
                    && declared.is_none_or(|declared| declared == **supported)
            })
            .copied()
            .collect();
        if algorithms.is_empty() {
            return None;
        }
        Some(Self {
            id: jwk.common.key_id.clone(),
            algorithms,
            key: DecodingKey::from_jwk(&jwk).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ALLOWED: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

    fn set(keys: &Value) -> Result<Arc<[Key]>, SourceError> {
        parse(json!({ "keys": keys }).to_string().as_bytes(), &ALLOWED)
    }

    fn rsa(id: &str) -> Value {
        json!({ "kty": "RSA", "kid": id, "n": "AQAB", "e": "AQAB" })
    }

    #[test]
    fn a_key_is_used_for_what_it_is_and_what_it_is_meant_for() {
        let with = |name: &str, value: Value| {
            let mut key = rsa("a");
            key[name] = value;
            key
        };
        for (key, is_used) in [
            (rsa("a"), true),
            (with("use", "sig".into()), true),
            (with("use", "enc".into()), false),
            (with("key_ops", json!(["verify"])), true),
            (with("key_ops", json!(["encrypt"])), false),
            (with("alg", "RS256".into()), true),
            // Not allowed by the settings, from another family, and unknown.
            (with("alg", "RS512".into()), false),
            (with("alg", "HS256".into()), false),
            (with("alg", "XX".into()), false),
            (json!({ "kty": "oct", "kid": "a", "k": "c2VjcmV0" }), false),
            (
                json!({ "kty": "EC", "kid": "a", "crv": "P-384", "x": "AQ", "y": "AQ" }),
                false,
            ),
            (
                json!({ "kty": "EC", "kid": "a", "crv": "P-256", "x": "AQ", "y": "AQ" }),
                true,
            ),
            (
                json!({ "kty": "OKP", "kid": "a", "crv": "Ed25519", "x": "AQ" }),
                true,
            ),
            (json!({ "kty": "new" }), false),
            (json!(1), false),
        ] {
            assert_eq!(set(&json!([key])).is_ok(), is_used, "{key}");
            // An unusable key does not affect the others.
            assert!(set(&json!([key, rsa("b")])).is_ok(), "{key}");
        }
        for malformed in ["", "[]", "{}", r#"{"keys":{}}"#] {
            let error = parse(malformed.as_bytes(), &ALLOWED).err().unwrap();
            assert!(matches!(error, SourceError::Malformed), "{malformed}");
        }
    }

    #[test]
    fn a_token_without_a_key_id_is_verified_with_the_only_key_that_can_be_meant() {
        let keys = set(&json!([rsa("a")])).unwrap();
        let is_found = |keys: &[Key], id, algorithm| find(keys, id, algorithm).is_some();
        assert!(is_found(&keys, None, Algorithm::RS256));
        assert!(is_found(&keys, Some("a"), Algorithm::RS256));
        assert!(!is_found(&keys, Some("b"), Algorithm::RS256));
        assert!(!is_found(&keys, Some("a"), Algorithm::ES256));
        assert!(!is_found(&keys, Some("a"), Algorithm::HS256));
        let keys = set(&json!([rsa("a"), rsa("b")])).unwrap();
        assert!(!is_found(&keys, None, Algorithm::RS256));
        assert!(is_found(&keys, Some("b"), Algorithm::RS256));
    }
}
