//! Keys that an issuer publishes: in a file or behind a URL, one after another, and none of them a
//! secret.

use std::path::PathBuf;

use futures_util::future::join_all;
use serde_json::{Value, json};
use strum::VariantArray;
use titlecast::conversation::Owner;
use titlecast_testing::{
    Server,
    auth::{AUDIENCE, ISSUER, claims, graphql_as, hmac_sha256, token, with},
    keys::{KeyServer, Pair},
    surface::Surface,
};
use uuid::Uuid;

/// A server that takes tokens of the keys that are published there.
async fn server(keys: &str) -> Server {
    let settings = [
        "--jwt-keys",
        keys,
        "--jwt-issuer",
        ISSUER,
        "--jwt-audience",
        AUDIENCE,
    ];
    Server::guarded_with(&settings).await
}

/// A file of keys; goes with the test.
struct File(PathBuf);

impl File {
    fn new(keys: &[Value]) -> Self {
        let name = format!("titlecast-test-keys-{}.json", Uuid::now_v7());
        let file = Self(std::env::temp_dir().join(name));
        file.write(keys);
        file
    }

    fn write(&self, keys: &[Value]) {
        std::fs::write(&self.0, json!({ "keys": keys }).to_string()).unwrap();
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Whether the server takes the token.
async fn is_taken(server: &Server, token: &str) -> bool {
    let answer = graphql_as(token, &server.url, "{ __typename }").await;
    match answer.get("errors") {
        None => true,
        Some(errors) => {
            assert_eq!(errors[0]["extensions"]["code"], "UNAUTHENTICATED");
            false
        }
    }
}

fn ada() -> Value {
    claims("acme", "ada")
}

#[tokio::test]
async fn a_file_of_keys_of_every_kind() {
    let pairs = [Pair::ed(), Pair::ec(), Pair::rsa()];
    let file = File::new(&[pairs[0].jwk("ed"), pairs[1].jwk("ec"), pairs[2].jwk("rsa")]);
    let server = server(file.path()).await;
    for (pair, id) in pairs.iter().zip(["ed", "ec", "rsa"]) {
        assert!(is_taken(&server, &pair.signed(id, &ada())).await, "{id}");
        let issuer = with(ada(), "iss", "https://other.example".into());
        assert!(!is_taken(&server, &pair.signed(id, &issuer)).await, "{id}");
        // The one key that it can be, when the token names none.
        let header = json!({ "alg": pair.algorithm() });
        let unnamed = token(&header, &ada(), |message| pair.sign(message));
        assert!(is_taken(&server, &unnamed).await, "{id}");
        // Another key under its name.
        for other in ["ed", "ec", "rsa"].iter().filter(|other| **other != id) {
            assert!(
                !is_taken(&server, &pair.signed(other, &ada())).await,
                "{id}"
            );
        }
    }
    let (_, ready) = server.get("/readyz").await;
    assert_eq!(ready["token_keys"], "ok");
}

#[tokio::test]
async fn no_public_key_is_taken_for_a_secret_anywhere() {
    let pairs = [("rsa", Pair::rsa()), ("ed", Pair::ed()), ("ec", Pair::ec())];
    let mut keys: Vec<Value> = pairs.iter().map(|(id, pair)| pair.jwk(id)).collect();
    // One that is published by mistake.
    keys.push(json!({ "kty": "oct", "kid": "oct", "k": "c2VjcmV0", "alg": "HS256" }));
    let file = File::new(&keys);
    let server = server(file.path()).await;
    let owner = Owner {
        tenant: "acme".into(),
        user: "ada".into(),
    };
    let id = server.database.seed(&owner, 1, 1).await.remove(0);
    let mut secrets = vec![("oct", b"secret".to_vec())];
    for (id, pair) in &pairs {
        secrets.push((*id, pair.public_bytes()));
        secrets.push((*id, pair.jwk(id).to_string().into_bytes()));
    }
    for (key, secret) in secrets {
        for algorithm in ["HS256", "HS384", "HS512"] {
            let header = json!({ "alg": algorithm, "kid": key });
            let forged = token(&header, &ada(), hmac_sha256(&secret));
            for surface in Surface::VARIANTS {
                let credentials = format!("Bearer {forged}");
                let verdict = surface.knock(&server.url, &id, Some(&credentials)).await;
                let status = if surface.is_socket() { 4401 } else { 401 };
                assert_eq!(verdict.unwrap().0, status, "{key} {algorithm} {surface:?}");
            }
        }
    }
    // Nor is an algorithm taken that was not allowed, though the key could do it.
    let header = json!({ "alg": "PS256", "kid": "rsa" });
    let forged = token(&header, &ada(), |message| pairs[0].1.sign(message));
    assert!(!is_taken(&server, &forged).await);
}

#[tokio::test]
async fn a_new_key_is_fetched_once_for_all_who_come_with_it() {
    let (first, second, third) = (Pair::ed(), Pair::ed(), Pair::ed());
    let keys = KeyServer::start(vec![first.jwk("first")]).await;
    let server = server(&keys.url).await;
    assert_eq!(keys.asked(), 1);
    for _ in 0..3 {
        assert!(is_taken(&server, &first.signed("first", &ada())).await);
    }
    assert_eq!(keys.asked(), 1, "known keys are not asked for");

    *keys.keys.lock().unwrap() = vec![second.jwk("second")];
    let token = second.signed("second", &ada());
    let taken = join_all((0..20).map(|_| is_taken(&server, &token))).await;
    assert_eq!(taken, [true; 20]);
    assert_eq!(keys.asked(), 2);
    let old = first.signed("first", &ada());
    assert!(!is_taken(&server, &old).await, "it was withdrawn");

    // A client that invents keys cannot cause repeated fetches.
    keys.keys.lock().unwrap().push(third.jwk("third"));
    for made_up in 0..20 {
        let token = third.signed(&format!("made-up-{made_up}"), &ada());
        assert!(!is_taken(&server, &token).await);
    }
    assert!(!is_taken(&server, &third.signed("third", &ada())).await);
    assert_eq!(keys.asked(), 2);
}

#[tokio::test]
async fn keys_whose_server_is_down_stay_in_use() {
    let (first, second) = (Pair::ec(), Pair::ec());
    let keys = KeyServer::start(vec![first.jwk("first")]).await;
    let server = server(&keys.url).await;
    drop(keys);
    assert!(!is_taken(&server, &second.signed("second", &ada())).await);
    assert!(is_taken(&server, &first.signed("first", &ada())).await);
    let (status, ready) = server.get("/readyz").await;
    assert_eq!((status, &ready["token_keys"]), (200, &json!("stale")));
}

#[tokio::test]
async fn keys_that_are_useless_replace_none() {
    let (first, second) = (Pair::rsa(), Pair::ec());
    let keys = KeyServer::start(vec![first.jwk("first")]).await;
    let server = server(&keys.url).await;
    *keys.keys.lock().unwrap() = Vec::new();
    assert!(!is_taken(&server, &second.signed("second", &ada())).await);
    assert_eq!(keys.asked(), 2);
    assert!(is_taken(&server, &first.signed("first", &ada())).await);
}

#[tokio::test]
async fn a_file_is_read_again_for_a_new_key() {
    let (first, second) = (Pair::ed(), Pair::rsa());
    let file = File::new(&[first.jwk("first")]);
    let server = server(file.path()).await;
    file.write(&[first.jwk("first"), second.jwk("second")]);
    assert!(is_taken(&server, &second.signed("second", &ada())).await);
    assert!(is_taken(&server, &first.signed("first", &ada())).await);
}
