//! Encrypted connections to PostgreSQL and NATS, whose certificates an authority of one's own signs, and credentials of NATS.

use serde_json::{Value, json};
use titlecast_testing::{
    Authority, Titlecast,
    nats::{NatsServer, nats_is},
    postgres::Postgres,
    server::request,
};

const SERVE: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];

#[tokio::test]
async fn postgresql_is_reached_by_its_private_authority_and_no_other() {
    let Some(postgres) = Postgres::start().await else {
        return;
    };
    let (authority, other) = (Authority::new(), Authority::new());
    let (certificate, key) = authority.certify("IP:127.0.0.1");
    postgres.encrypt(&certificate, &key).await;
    let with = |parameters: &str| format!("{}?{parameters}", postgres.url);
    let full = |authority: &Authority| {
        with(&format!(
            "sslmode=verify-full&sslrootcert={}",
            authority.path()
        ))
    };

    let arguments = [&SERVE[..], &["--migrate"]].concat();
    let mut serving = Titlecast::new(&arguments)
        .env("DATABASE_URL", &full(&authority))
        .start();
    let url = serving.url().await;
    let body = json!({ "message": "Plan a trip to Kyoto" });
    assert_eq!(
        request(&url, "POST", "/api/v1/chat", Some(body)).await.0,
        200
    );
    serving.terminate();
    serving.ended().await.ok();

    let encrypted = "no encrypted connection to 127.0.0.1:";
    let elsewhere = full(&authority).replace("127.0.0.1", "localhost");
    for (url, parts) in [
        (full(&other), &[encrypted, "sslrootcert=FILE.pem in"][..]),
        (
            with("sslmode=verify-full"),
            &[encrypted, "sslrootcert=FILE.pem in"],
        ),
        (
            with("sslmode=verify-full&sslrootcert=/none.pem"),
            &["a certificate or key for 127.0.0.1:", "Check sslrootcert"],
        ),
        (
            elsewhere,
            &[
                "no encrypted connection to localhost:",
                "Use a host that the certificate names",
            ],
        ),
        // As libpq reads them.
        (
            with(&format!("sslmode=require&sslrootcert={}", other.path())),
            &[encrypted, "sslrootcert=FILE.pem in"],
        ),
        // The server has no rule for plain connections.
        (
            with("sslmode=disable"),
            &["rejects the user", "pg_hba.conf"],
        ),
    ] {
        let ended = Titlecast::new(&SERVE).env("DATABASE_URL", &url).run().await;
        ended.assert_failed(&[&["cannot open the database", "DATABASE_URL"], parts].concat());
    }
    for parameters in ["", "sslmode=prefer&"] {
        let unused = with(&format!("{parameters}sslrootcert={}", authority.path()));
        let ended = Titlecast::new(&SERVE)
            .env("DATABASE_URL", &unused)
            .run()
            .await;
        ended.assert_refused(&["sslrootcert is used with sslmode=verify-full"]);
    }
}

#[tokio::test]
async fn nats_is_reached_by_its_private_authority_and_no_other() {
    let Some(mut nats) = NatsServer::down() else {
        return;
    };
    let (authority, other) = (Authority::new(), Authority::new());
    let (certificate, key) = authority.certify("IP:127.0.0.1");
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    nats.start_with(&["--tls", "--tlscert", certificate, "--tlskey", key]);
    let start = |authority: &Authority| {
        let arguments = ["--nats-url", &nats.url, "--nats-ca", authority.path()];
        Titlecast::new(&[&SERVE[..], &arguments].concat()).start()
    };
    let mut serving = start(&authority);
    nats_is(&serving.url().await, "ok").await;
    serving.terminate();
    serving.ended().await.ok();

    let mut serving = start(&other);
    let url = serving.url().await;
    let line = serving.line("NATS cannot be reached").await;
    assert!(line.contains("certificate: BadSignature"), "{line}");
    assert!(line.contains("TITLECAST_NATS_CA"), "{line}");
    let (status, page): (u16, Value) = request(&url, "GET", "/readyz", None).await;
    assert_eq!((status, &page["nats"]), (200, &json!("degraded")), "{page}");
    serving.terminate();
    serving.ended().await.ok();
}

#[tokio::test]
async fn the_credentials_in_the_url_of_nats_are_sent() {
    for (arguments, login, wrong) in [
        (
            &["--user", "titlecast", "--pass", "p@s/s"][..],
            "titlecast:p%40s%2Fs@",
            "titlecast:pass@",
        ),
        (&["--auth", "s3cret"], "s3cret@", ""),
    ] {
        let Some(mut nats) = NatsServer::down() else {
            return;
        };
        nats.start_with(arguments);
        let address = nats.url.clone();
        let start = |login: &str| {
            let url = address.replace("nats://", &format!("nats://{login}"));
            Titlecast::new(&[&SERVE[..], &["--nats-url", &url]].concat()).start()
        };
        let mut serving = start(login);
        let url = serving.url().await;
        nats_is(&url, "ok").await;
        // Its credentials change while the server runs.
        nats.kill();
        nats.start_with(&["--user", "another", "--pass", "another"]);
        let line = serving.line("NATS cannot be reached").await;
        assert!(line.contains("authorization violation"), "{line}");
        nats.kill();
        nats.start_with(arguments);
        nats_is(&url, "ok").await;
        serving.terminate();
        serving.ended().await.ok();

        let mut serving = start(wrong);
        let line = serving.line("NATS cannot be reached").await;
        assert!(line.contains("its user and password"), "{line}");
        assert!(!line.contains("titlecast:pass"), "{line}");
        serving.terminate();
        serving.ended().await.ok();
    }
    let two = "nats://a:b@127.0.0.1:1,nats://a:c@127.0.0.1:2";
    let arguments = [&SERVE[..], &["--nats-url", two]].concat();
    let ended = Titlecast::new(&arguments).run().await;
    ended.assert_refused(&["TITLECAST_NATS_URL", "the same user and password"]);
}

#[tokio::test]
async fn a_file_without_authorities_of_nats_is_refused_at_the_start() {
    let nats = ["--nats-url", "nats://127.0.0.1:1", "--nats-ca"];
    for (file, content) in [
        ("empty.pem", ""),
        ("text.pem", "not a certificate"),
        ("none.pem", ""),
    ] {
        let arguments = [&SERVE[..], &nats, &[file]].concat();
        let mut command = Titlecast::new(&arguments);
        if file != "none.pem" {
            command = command.file(file, content);
        }
        let parts = [file, "TITLECAST_NATS_CA"];
        command.run().await.assert_refused(&parts);
    }
}
