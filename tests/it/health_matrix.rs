//! What health pages, gauges and users show under each fault. One table defines it, docs/operations.md has the same
//! table, and the pages answer within a second whatever is down.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use futures_util::future::{join, join_all};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use titlecast::supervisor::Loop;
use titlecast_testing::{
    Answer, Hold, ModelServer, Node, Server, SmallDisk, TestDatabase, Titlecast, eventually,
    metrics::series,
    nats::NatsServer,
    process::Process,
    proxy::{Proxy, Way},
    server::{client, metrics, request},
    titles::title_when,
};

use crate::readiness::Refusing;

/// How long `/healthz`, `/readyz` and `/metrics` may take.
const PROBE_TIME: Duration = Duration::from_secs(1);

/// What is shown under one fault. Gauges are those that are not as they should be.
struct Row {
    fault: &'static str,
    healthz: &'static [&'static str],
    readyz: &'static [&'static str],
    gauges: &'static [&'static str],
    user: &'static [&'static str],
}

const NO_DATABASE: Row = Row {
    fault: "",
    healthz: &["200"],
    readyz: &["503", "database: unavailable"],
    gauges: &["titlecast_ready 0", "titlecast_database_up 0"],
    user: &[
        "read 503 DATABASE_UNAVAILABLE",
        "message 503 DATABASE_UNAVAILABLE",
    ],
};

const NO_WRITES: Row = Row {
    readyz: &["503", "database: refuses_writes"],
    gauges: &["titlecast_ready 0"],
    user: &["read 200", "message 503 DATABASE_UNAVAILABLE"],
    ..NO_DATABASE
};

const GOOD: Row = Row {
    fault: "none",
    healthz: &["200"],
    readyz: &["200"],
    gauges: &[],
    user: &["read 200", "message 200"],
};

/// A server that does not start.
const NO_START: Row = Row {
    healthz: &["exit 1"],
    readyz: &[],
    user: &[],
    ..GOOD
};

#[rustfmt::skip]
const MATRIX: [Row; 20] = [
    GOOD,
    Row { fault: "PostgreSQL refuses connections", ..NO_DATABASE },
    Row { fault: "PostgreSQL is frozen: connections stay, nothing answers", ..NO_DATABASE },
    Row { fault: "all connections to the database are in use for seconds", ..NO_DATABASE },
    Row { fault: "PostgreSQL takes no writes, as a standby", ..NO_WRITES },
    Row { fault: "another program keeps SQLite locked", ..NO_WRITES },
    Row { fault: "the disk under SQLite is full", ..NO_WRITES },
    Row {
        fault: "SQLite's file is replaced",
        readyz: &["503", "database: file_replaced"],
        ..NO_WRITES
    },
    Row { fault: "the schema is behind (PostgreSQL)", ..NO_START },
    Row { fault: "the schema is ahead", ..NO_START },
    Row {
        fault: "NATS is gone",
        readyz: &["200", "nats: degraded"],
        gauges: &["titlecast_nats_connected 0"],
        ..GOOD
    },
    Row {
        fault: "the title model answers 401",
        readyz: &["200", "title_model: unauthorized"],
        gauges: &["titlecast_title_model_up 0", "titlecast_title_breaker_open 1"],
        user: &["read 200", "message 200", "title FAILED UNAUTHORIZED"],
        ..GOOD
    },
    Row {
        fault: "the title model answers 500",
        readyz: &["200", "title_model: unavailable"],
        gauges: &["titlecast_title_model_up 0"],
        user: &["read 200", "message 200", "title FAILED UNAVAILABLE"],
        ..GOOD
    },
    Row {
        fault: "the title model answers HTML",
        readyz: &["200", "title_model: malformed_answer"],
        gauges: &["titlecast_title_model_up 0"],
        user: &["read 200", "message 200", "title FAILED REJECTED"],
        ..GOOD
    },
    Row {
        fault: "one message meets the title model's content filter, or is too long for it",
        user: &["read 200", "message 200", "title FAILED REJECTED"],
        ..GOOD
    },
    Row {
        fault: "the chat model answers 500",
        readyz: &["200", "chat_model: unavailable"],
        user: &["read 200", "message 502 MODEL_UNAVAILABLE"],
        ..GOOD
    },
    Row {
        fault: "a background loop panicked, until it is started again",
        readyz: &["200", "loops: late: title_sweep"],
        gauges: &["titlecast_loop_up{loop=\"title_sweep\"} 0"],
        ..GOOD
    },
    Row {
        fault: "a background loop blocks, 2 s past its deadline",
        readyz: &["200", "loops: late: title_sweep"],
        gauges: &["titlecast_loop_up{loop=\"title_sweep\"} 0"],
        ..GOOD
    },
    Row {
        fault: "a background loop blocks, 60 s past its deadline",
        healthz: &["503", "stuck: title_sweep"],
        readyz: &["503", "loops: stuck: title_sweep"],
        gauges: &["titlecast_ready 0", "titlecast_loop_up{loop=\"title_sweep\"} 0"],
        ..GOOD
    },
    Row {
        fault: "the server drains, within --drain-delay",
        readyz: &["503", "status: shutting_down"],
        gauges: &["titlecast_ready 0"],
        ..GOOD
    },
];

fn row(fault: &str) -> &'static Row {
    let found = MATRIX.iter().find(|row| row.fault == fault);
    found.unwrap_or_else(|| panic!("no row {fault:?}"))
}

/// A server under a fault.
struct Watched {
    url: String,
    metrics: String,
}

impl Watched {
    async fn of(server: &mut Server) -> Self {
        Self {
            url: server.url.clone(),
            metrics: server.serve_metrics().await,
        }
    }

    /// The same of a process.
    async fn start(command: Titlecast) -> (Process, Self) {
        let mut process = command.start();
        let line = process.line("metrics_address=").await;
        let address = line.split("metrics_address=").nth(1).unwrap();
        let metrics = format!("http://{}", address.split(' ').next().unwrap());
        let url = process.url().await;
        (process, Self { url, metrics })
    }

    /// Waits until the pages show the row's states, each within its time limit.
    async fn says(&self, fault: &str) {
        let row = row(fault);
        let (mut last, mut slowest_of_all) = (None, Duration::ZERO);
        let says = async {
            loop {
                let now = self.pages().await;
                let (pages, slowest) = &now;
                slowest_of_all = slowest_of_all.max(*slowest);
                let expected = [row.healthz, row.readyz, row.gauges].map(words);
                if *pages == expected && *slowest < PROBE_TIME {
                    return *slowest;
                }
                last = Some(now);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(30), says).await {
            Ok(slowest) => {
                eprintln!("{fault}: probes took {slowest:.0?}, {slowest_of_all:.0?} at most")
            }
            Err(_) => panic!("{fault}: {last:#?}"),
        }
        // Of all that were asked meanwhile; the machine may be busy with other suites.
        assert!(
            slowest_of_all < PROBE_TIME * 4,
            "{fault}: {slowest_of_all:?}"
        );
    }

    /// What `/healthz`, `/readyz` and the gauges say, and how long the slowest of them took.
    async fn pages(&self) -> ([Vec<String>; 3], Duration) {
        let began = Instant::now();
        let (status, page) = request(&self.url, "GET", "/healthz", None).await;
        let mut slowest = began.elapsed();
        let mut healthz = vec![status.to_string()];
        if let Some(stuck) = page["stuck"].as_array() {
            let names = stuck.iter().map(|name| name.as_str().unwrap());
            healthz.push(format!("stuck: {}", names.collect::<Vec<_>>().join(", ")));
        }
        let began = Instant::now();
        let (status, page) = request(&self.url, "GET", "/readyz", None).await;
        slowest = slowest.max(began.elapsed());
        let mut readyz = vec![status.to_string()];
        for (name, word) in page.as_object().unwrap() {
            let is_usual = ["ok", "unknown", "ready", "not_ready"];
            match word.as_str() {
                Some(word) if !is_usual.contains(&word) => readyz.push(format!("{name}: {word}")),
                _ => {}
            }
        }
        let began = Instant::now();
        let page = metrics(&self.metrics).await;
        slowest = slowest.max(began.elapsed());
        let mut gauges = Vec::new();
        for (name, usual) in [
            ("titlecast_ready", 1.0),
            ("titlecast_database_up", 1.0),
            ("titlecast_title_model_up", 1.0),
            ("titlecast_title_breaker_open", 0.0),
            ("titlecast_nats_connected", 1.0),
            ("titlecast_loop_up", 1.0),
        ] {
            for one in series(&page) {
                if one.name == name && one.value != usual {
                    let label = one.labels.get("loop");
                    let label = label.map_or(String::new(), |of| format!("{{loop=\"{of}\"}}"));
                    gauges.push(format!("{name}{label} {}", one.value));
                }
            }
        }
        ([healthz, readyz, gauges], slowest)
    }

    /// What a user reads: by a read, by a message, and in place of its title.
    async fn user_reads(&self, fault: &str) {
        let row = row(fault);
        let read = get(&self.url, "/api/v1/conversations");
        let message = post(
            &self.url,
            "/api/v1/chat",
            json!({ "message": "Plan a trip" }),
        );
        let (read, message) = join(read, message).await;
        let mut shown = vec![answer("read", &read), answer("message", &message)];
        let wanted = row.user.get(2).copied();
        if message.0 == 200 {
            let id = message.1["conversation_id"].as_str().unwrap();
            let expected = wanted.unwrap_or("title READY");
            title_when(&self.url, id, |title| {
                let code = title["titleError"]["code"].as_str().unwrap_or_default();
                let now = format!("title {} {code}", title["titleStatus"].as_str().unwrap());
                now.trim() == expected
            })
            .await;
            shown.extend(wanted.map(str::to_owned));
        }
        assert_eq!(shown, words(row.user), "{fault}");
        // GraphQL has the same codes.
        let query = json!({ "query": "{ conversations { nodes { id } } }" });
        let send =
            "mutation { sendMessage(input: { text: \"Plan\", autoTitle: false }) { replyId } }";
        let queried = post(&self.url, "/graphql", query);
        let sent = post(&self.url, "/graphql", json!({ "query": send }));
        let (queried, sent) = join(queried, sent).await;
        let code = |answer: &Value| answer["errors"][0]["extensions"]["code"].clone();
        assert_eq!(code(&queried.1), read.1["code"], "{fault}: {}", queried.1);
        // A reply's failure is reported by its stream.
        if message.0 != 502 {
            assert_eq!(code(&sent.1), message.1["code"], "{fault}: {}", sent.1);
        }
    }

    async fn recovers(&self) {
        self.says(GOOD.fault).await;
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn answer(what: &str, (status, body): &(u16, Value)) -> String {
    let code = body["code"].as_str().unwrap_or_default();
    format!("{what} {status} {code}").trim().to_owned()
}

/// A GET that may take as long as the server lets it.
async fn get(url: &str, path: &str) -> (u16, Value) {
    read(client().get(format!("{url}{path}"))).await
}

/// The same by POST.
async fn post(url: &str, path: &str, body: Value) -> (u16, Value) {
    read(client().post(format!("{url}{path}")).json(&body)).await
}

async fn read(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap())
}

/// A server whose model follows a script, and nothing else is wrong.
async fn with_model(titles: Vec<Answer>, replies: Vec<Answer>) -> (ModelServer, Server, Watched) {
    let model = ModelServer::start().await;
    for answer in titles {
        model.title(answer);
    }
    for answer in replies {
        model.reply(answer);
    }
    let mut server = Server::start(&model).await;
    let watched = Watched::of(&mut server).await;
    (model, server, watched)
}

#[tokio::test]
async fn nothing_is_wrong() {
    let (_model, server, watched) = with_model(vec![], vec![]).await;
    watched.says("none").await;
    watched.user_reads("none").await;
    watched.says("none").await;
    server.stop().await;
}

/// PostgreSQL through a proxy that injects faults.
async fn spoilt(fault: &str, spoil: impl AsyncFn(&Proxy), mend: impl AsyncFn(&Proxy)) {
    if !TestDatabase::is_on_server() {
        return;
    }
    let database = TestDatabase::new().await;
    let proxy = Proxy::to_url(&database.url).await;
    let far = TestDatabase::of_another(&proxy.instead_of(&database.url));
    let model = ModelServer::start().await;
    let mut server = Server::start_on(far, &model, &[]).await;
    let watched = Watched::of(&mut server).await;
    watched.recovers().await;
    spoil(&proxy).await;
    watched.says(fault).await;
    watched.user_reads(fault).await;
    mend(&proxy).await;
    watched.recovers().await;
    watched.user_reads(GOOD.fault).await;
    server.stop().await;
}

#[tokio::test]
async fn postgresql_refuses_connections() {
    let fault = "PostgreSQL refuses connections";
    spoilt(fault, Proxy::refuse, Proxy::come_back).await;
}

#[tokio::test]
async fn postgresql_is_frozen() {
    let fault = "PostgreSQL is frozen: connections stay, nothing answers";
    let freeze = async |proxy: &Proxy| proxy.stall(&[Way::There, Way::Back]);
    spoilt(fault, freeze, async |proxy: &Proxy| proxy.flow()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_connections_are_in_use() {
    if !TestDatabase::is_on_server() {
        return;
    }
    let fault = "all connections to the database are in use for seconds";
    let model = ModelServer::start().await;
    let mut server = Server::start_with(&model, &["--database-connections", "2"]).await;
    let watched = Watched::of(&mut server).await;
    watched.recovers().await;
    let other = server.database.connect().await;
    let locked = sea_orm::TransactionTrait::begin(&other).await.unwrap();
    let lock = "LOCK TABLE agent_conversations IN ACCESS EXCLUSIVE MODE";
    locked.execute_unprepared(lock).await.unwrap();
    let flood = join_all((0..8).map(async |_| {
        loop {
            get(&watched.url, "/api/v1/conversations").await;
        }
    }));
    tokio::select! {
        _ = flood => {}
        () = async {
            watched.says(fault).await;
            watched.user_reads(fault).await;
        } => {}
    }
    locked.rollback().await.unwrap();
    watched.recovers().await;
    server.stop().await;
}

#[tokio::test]
async fn the_database_takes_no_writes() {
    let model = ModelServer::start().await;
    let mut server = Server::start(&model).await;
    let watched = Watched::of(&mut server).await;
    let mut refusing = Refusing::begin(&server.database).await;
    let fault = match TestDatabase::is_on_server() {
        true => "PostgreSQL takes no writes, as a standby",
        false => "another program keeps SQLite locked",
    };
    watched.says(fault).await;
    watched.user_reads(fault).await;
    refusing.end().await;
    watched.recovers().await;
    server.stop().await;
}

#[tokio::test]
async fn the_disk_under_sqlite_is_full() {
    if TestDatabase::is_on_server() {
        return;
    }
    let fault = "the disk under SQLite is full";
    let Some(disk) = SmallDisk::of(16 * 1024) else {
        return;
    };
    let file = disk.directory.join("titlecast.db");
    let url = format!("sqlite://{}?mode=rwc", file.display());
    let model = ModelServer::start().await;
    let (process, watched) = Watched::start(Node::command(&url, &model.url, &[]).on(&disk)).await;
    disk.fill();
    // The database may have some room left within its own files.
    let long: String = std::iter::repeat_with(fastrand::alphanumeric)
        .take(200_000)
        .collect();
    let body = json!({ "message": long, "context": { "auto_title": false } });
    while post(&watched.url, "/api/v1/chat", body.clone()).await.0 == 200 {}
    watched.says(fault).await;
    watched.user_reads(fault).await;
    disk.make_room();
    watched.recovers().await;
    process.terminate();
    process.ended().await.ok();
}

#[tokio::test]
async fn the_file_of_sqlite_is_replaced() {
    if TestDatabase::is_on_server() {
        return;
    }
    let fault = "SQLite's file is replaced";
    let (_model, server, watched) = with_model(vec![], vec![]).await;
    let path = server.database.url.strip_prefix("sqlite://").unwrap();
    let path = path.split('?').next().unwrap();
    let copy = format!("{path}.copy");
    fs::copy(path, &copy).unwrap();
    fs::rename(&copy, path).unwrap();
    watched.says(fault).await;
    watched.user_reads(fault).await;
    server.stop().await;
}

/// A server that ends at its start, and says this.
async fn does_not_start(fault: &str, database: &TestDatabase, says: &str) {
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--database-url",
        &database.url,
    ];
    let ended = Titlecast::new(&arguments).run().await;
    assert_eq!(
        words(row(fault).healthz),
        [format!("exit {}", ended.code.unwrap())]
    );
    assert!(ended.stderr.contains(says), "{}", ended.stderr);
}

#[tokio::test]
async fn the_schema_is_behind() {
    if TestDatabase::is_on_server() {
        let database = TestDatabase::empty().await;
        let fault = "the schema is behind (PostgreSQL)";
        does_not_start(fault, &database, "the database schema is behind").await;
    }
}

#[tokio::test]
async fn the_schema_is_ahead() {
    let database = TestDatabase::new().await;
    let newer =
        "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m29991231_000001_newer', 0)";
    let connection = database.connect().await;
    connection.execute_unprepared(newer).await.unwrap();
    connection.close().await.unwrap();
    does_not_start(
        "the schema is ahead",
        &database,
        "the database schema is ahead",
    )
    .await;
}

#[tokio::test]
async fn nats_is_gone() {
    let Some(mut nats) = NatsServer::down() else {
        return;
    };
    nats.start();
    let model = ModelServer::start().await;
    let mut server = Server::start_with(&model, &["--nats-url", &nats.url]).await;
    let watched = Watched::of(&mut server).await;
    watched.recovers().await;
    nats.kill();
    watched.says("NATS is gone").await;
    watched.user_reads("NATS is gone").await;
    nats.start();
    watched.recovers().await;
    server.stop().await;
}

/// The models answer this to the first message, and are good again for the next one.
async fn answered(fault: &str, titles: Vec<Answer>, replies: Vec<Answer>) {
    let heals = titles.len() != 1 || fault != "the title model answers 401";
    let (_model, server, watched) = with_model(titles, replies).await;
    watched.user_reads(fault).await;
    watched.says(fault).await;
    // A refused key is probed once a minute.
    if heals {
        watched.user_reads(GOOD.fault).await;
        watched.recovers().await;
    }
    server.stop().await;
}

fn error(status: u16, code: Option<&str>) -> Answer {
    Answer::error(status, "an_error", code, "No")
}

#[tokio::test]
async fn the_title_model_refuses_the_key() {
    let refusal = error(401, Some("invalid_api_key"));
    answered("the title model answers 401", vec![refusal], vec![]).await;
}

#[tokio::test]
async fn the_title_model_fails() {
    let failures = || error(500, None);
    answered(
        "the title model answers 500",
        vec![failures(), failures()],
        vec![],
    )
    .await;
}

#[tokio::test]
async fn the_title_model_is_a_web_page() {
    let page = Answer::Page("<!doctype html><html><title>Sign in</title></html>");
    answered("the title model answers HTML", vec![page], vec![]).await;
}

#[tokio::test]
async fn one_message_is_what_the_title_model_does_not_take() {
    let fault = "one message meets the title model's content filter, or is too long for it";
    for code in ["content_filter", "context_length_exceeded"] {
        answered(fault, vec![error(400, Some(code))], vec![]).await;
    }
    let filtered = || Answer::Finished("", "content_filter");
    answered(fault, vec![filtered(), filtered()], vec![]).await;
}

#[tokio::test]
async fn the_chat_model_fails() {
    let fault = "the chat model answers 500";
    // Three for each of two messages.
    let failures = std::iter::repeat_with(|| error(500, None)).take(6);
    let (model, server, watched) = with_model(vec![], failures.collect()).await;
    watched.user_reads(fault).await;
    eventually(async || (model.reply_requests().len() == 6).then_some(())).await;
    watched.says(fault).await;
    watched.user_reads(GOOD.fault).await;
    watched.recovers().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_background_loop_panics() {
    let fault = "a background loop panicked, until it is started again";
    let (_model, server, watched) = with_model(vec![], vec![]).await;
    let id = server.app.loops().id();
    let (name, pause) = (
        format!("loop.{} {id}", Loop::TitleSweep.name()),
        format!("loop.pause {id}"),
    );
    fail::cfg(pause.as_str(), "return(100)").unwrap();
    fail::cfg(name.as_str(), "panic").unwrap();
    watched.says(fault).await;
    watched.user_reads(fault).await;
    fail::remove(name);
    watched.recovers().await;
    fail::remove(pause);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_background_loop_blocks() {
    let (_model, server, watched) = with_model(vec![], vec![]).await;
    let id = server.app.loops().id();
    let name = format!("loop.{}", Loop::TitleSweep.name());
    let mut hold = Hold::named(&name, &id.to_string());
    let (pause, overdue) = (
        format!("loop.pause {id}"),
        format!("loop.overdue.title_sweep {id}"),
    );
    fail::cfg(pause.as_str(), "return(1000)").unwrap();
    hold.reached().await;
    watched.says(GOOD.fault).await;
    for (seconds, fault) in [
        (3, "a background loop blocks, 2 s past its deadline"),
        (61, "a background loop blocks, 60 s past its deadline"),
    ] {
        fail::cfg(overdue.as_str(), &format!("return({seconds})")).unwrap();
        watched.says(fault).await;
        watched.user_reads(fault).await;
    }
    drop(hold);
    fail::remove(overdue);
    fail::remove(pause);
    watched.recovers().await;
    server.stop().await;
}

#[tokio::test]
async fn the_server_drains() {
    let fault = "the server drains, within --drain-delay";
    let database = TestDatabase::new().await;
    let model = ModelServer::start().await;
    let settings = ["--drain-delay", "30s"];
    let (process, watched) =
        Watched::start(Node::command(&database.url, &model.url, &settings)).await;
    watched.recovers().await;
    process.terminate();
    watched.says(fault).await;
    watched.user_reads(fault).await;
    // A second signal ends the delay.
    process.terminate();
    process.ended().await.ok();
}

/// The table of docs/operations.md: the words in code of each row's cells, by its first cell.
fn documented() -> BTreeMap<String, Vec<Vec<String>>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = fs::read_to_string(path).unwrap();
    let (_, section) = page.split_once("\n### How each fault shows\n").unwrap();
    let section = section.split("\n#").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| "));
    let rows = rows.map(|line| {
        let mut cells = line.trim_matches('|').split('|');
        let fault = cells.next().unwrap().trim().replace('`', "");
        let words = |cell: &str| {
            cell.split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect()
        };
        (fault, cells.map(words).collect())
    });
    // The head, and the line below it.
    rows.skip(2).collect()
}

#[test]
fn the_table_of_the_documents_is_the_one_that_is_tested() {
    let expected: BTreeMap<String, Vec<Vec<String>>> = MATRIX
        .iter()
        .map(|row| {
            let cells = [row.healthz, row.readyz, row.gauges, row.user].map(words);
            (row.fault.to_owned(), cells.to_vec())
        })
        .collect();
    assert_eq!(expected.len(), MATRIX.len(), "a fault has two rows");
    let table = documented();
    for (fault, cells) in &expected {
        assert_eq!(table.get(fault), Some(cells), "{fault}");
    }
    assert_eq!(table.len(), expected.len());
}

#[test]
fn every_row_is_tried() {
    let source = include_str!("health_matrix.rs");
    let (table, tests) = source.split_once("\nfn row(").unwrap();
    for row in &MATRIX[1..] {
        let quoted = format!("\"{}\"", row.fault);
        assert_eq!(table.matches(&quoted).count(), 1, "{quoted}");
        assert!(tests.contains(&quoted), "nothing tries {quoted}");
    }
}
