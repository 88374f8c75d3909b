//! Key pairs, and a server that publishes their public halves.

use std::sync::{Arc, Mutex};

use axum::{Json, Router, routing::get};
use base64::Engine;
use ring::{rand::SystemRandom, rsa, signature, signature::KeyPair};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use super::auth::{encode, token};

/// A key pair of an issuer that publishes the public half.
pub enum Pair {
    Ed(signature::Ed25519KeyPair),
    Ec(signature::EcdsaKeyPair),
    Rsa(signature::RsaKeyPair),
}

impl Pair {
    pub fn ed() -> Self {
        let key = signature::Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed(signature::Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap())
    }

    pub fn ec() -> Self {
        let (kind, random) = (
            &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            SystemRandom::new(),
        );
        let key = signature::EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        Self::Ec(signature::EcdsaKeyPair::from_pkcs8(kind, key.as_ref(), &random).unwrap())
    }

    /// Always the same key, because generating one takes seconds. It protects nothing.
    pub fn rsa() -> Self {
        let text: String = include_str!("rsa-2048.der.txt")
            .split_whitespace()
            .collect();
        let key = base64::prelude::BASE64_STANDARD.decode(text).unwrap();
        Self::Rsa(signature::RsaKeyPair::from_der(&key).unwrap())
    }

    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed(_) => "EdDSA",
            Self::Ec(_) => "ES256",
            Self::Rsa(_) => "RS256",
        }
    }

    /// The public half as a JWK.
    pub fn jwk(&self, id: &str) -> Value {
        match self {
            Self::Ed(pair) => {
                let x = encode(pair.public_key());
                json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": x, "use": "sig" })
            }
            Self::Ec(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "kid": id, "x": encode(x), "y": encode(y) })
            }
            Self::Rsa(_) => {
                let rsa::PublicKeyComponents { n, e } = self.components();
                json!({ "kty": "RSA", "kid": id, "n": encode(n), "e": encode(e), "alg": "RS256" })
            }
        }
    }

    fn components(&self) -> rsa::PublicKeyComponents<Vec<u8>> {
        match self {
            Self::Rsa(pair) => pair.public().into(),
            Self::Ed(_) | Self::Ec(_) => panic!("not RSA"),
        }
    }

    /// The public half as bytes that might be mistaken for a secret.
    pub fn public_bytes(&self) -> Vec<u8> {
        match self {
            Self::Ed(pair) => pair.public_key().as_ref().to_vec(),
            Self::Ec(pair) => pair.public_key().as_ref().to_vec(),
            Self::Rsa(pair) => pair.public().as_ref().to_vec(),
        }
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Self::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let padding = &signature::RSA_PKCS1_SHA256;
                pair.sign(padding, &random, message, &mut signature)
                    .unwrap();
                signature
            }
        }
    }

    /// A token signed with this key, which its header names.
    pub fn signed(&self, id: &str, claims: &Value) -> String {
        let header = json!({ "alg": self.algorithm(), "typ": "JWT", "kid": id });
        token(&header, claims, |message| self.sign(message))
    }
}

/// A server that publishes keys until it is dropped.
pub struct KeyServer {
    pub url: String,
    /// The published keys.
    pub keys: Arc<Mutex<Vec<Value>>>,
    asked: Arc<Mutex<usize>>,
    serving: JoinHandle<()>,
}

impl KeyServer {
    pub async fn start(keys: Vec<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys.json", listener.local_addr().unwrap());
        let (keys, asked) = (Arc::new(Mutex::new(keys)), Arc::new(Mutex::new(0)));
        let published = (keys.clone(), asked.clone());
        let page = async move || {
            *published.1.lock().unwrap() += 1;
            Json(json!({ "keys": *published.0.lock().unwrap() }))
        };
        let router = Router::new().route("/keys.json", get(page));
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            keys,
            asked,
            serving,
        }
    }

    /// How often the keys have been requested.
    pub fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
