//! The cost of a token of an external reply, compared with a token of the service's own model call. The same replies at
//! the same pace are read from a model by the service, or uploaded to it as Chat Completions events or as our NDJSON.
//! They have no readers.
//!
//! The cost of a token is computed from the difference between long and short replies, so messages, transactions and
//! titles do not count.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use serde::Serialize;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, sleep_until},
};

use crate::{
    Result, http,
    machine::{Cores, Description, Measured, notes, quietly},
    requests::Client,
    running::{Running, titlecast},
    statistics::Rounds,
    stream::{
        model::{self, Model},
        script::{Script, Scripted},
    },
    turn::{
        database::{Database, Kind, Reader},
        in_runtime,
        meter::Meter,
    },
    usage::cpu,
};

/// After this time, the service has finished its work after a reply.
const AFTERMATH: Duration = Duration::from_millis(500);

/// How long the last replies may take.
const PATIENCE: Duration = Duration::from_secs(60);

const SEND: &str = "mutation ($text: String!) { sendMessage(input: { text: $text, autoTitle: false }) { replyId } }";

#[derive(clap::Args)]
pub struct Arguments {
    /// A PostgreSQL server, as postgres://USER@HOST/NAME, to measure that as well as SQLite
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,

    /// How many replies are written at once
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    streams: u16,

    /// The time between two tokens of a reply, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 20)]
    pace: u64,

    /// How many tokens a short reply has; compared with a long one, it separates the cost of a token from a reply's
    #[arg(long, value_name = "N", default_value_t = 50)]
    short: usize,

    /// How many tokens a long reply has
    #[arg(long, value_name = "N", default_value_t = 550)]
    long: usize,

    /// How many times to measure everything
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,

    /// How many times to repeat a run because the machine was busy
    #[arg(long, value_name = "N", default_value_t = 1)]
    repeats: usize,

    /// File to write all figures to
    #[arg(long, value_name = "PATH", default_value = "bench/target/ingest.json")]
    json: PathBuf,

    /// The program to measure; build it with --release
    #[arg(long, value_name = "PATH", default_value = "target/release/titlecast")]
    titlecast: PathBuf,
}

/// Who writes a reply, and in which format.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
enum Source {
    /// The service's own model call.
    Model,
    /// A program that forwards its provider's events.
    Events,
    /// A program that uses our client packages, which send NDJSON.
    Lines,
}

const SOURCES: [Source; 3] = [Source::Model, Source::Events, Source::Lines];

/// The results of one run.
#[derive(Debug, Serialize)]
struct Run {
    kind: Kind,
    source: Source,
    /// Processor time of the server in microseconds.
    token: f64,
    reply: f64,
    load: f64,
    others: f64,
}

impl Measured for Run {
    fn others(&self) -> f64 {
        self.others
    }

    fn load(&self) -> f64 {
        self.load
    }
}

#[derive(Serialize)]
struct Report {
    machine: Description,
    runs: Vec<Run>,
}

/// Measures the sources in turns, prints the table, and writes all figures.
pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.short >= arguments.long {
        return Err("--short has to be less than --long".into());
    }
    let cores = Cores::find()?;
    let mut report = Report {
        // Read before this thread is pinned to one core.
        machine: Description::read()?,
        runs: Vec::new(),
    };
    let kinds = [Kind::Sqlite, Kind::Postgres];
    let kinds = &kinds[..1 + usize::from(arguments.database_url.is_some())];
    cores.load(|| {
        for round in 1..=arguments.rounds {
            for (&kind, source) in kinds.iter().flat_map(|kind| SOURCES.map(|one| (kind, one))) {
                let run = quietly(arguments.repeats, || {
                    in_runtime(one(arguments, cores, kind, source))
                })
                .map_err(|error| format!("{kind:?}, {source:?}: {error}"))?;
                eprintln!("round {round}: {run:?}");
                report.runs.push(run);
                fs::write(&arguments.json, serde_json::to_string_pretty(&report)?)?;
            }
        }
        Ok(())
    })?;
    for &kind in kinds {
        let of = |source| -> Vec<&Run> {
            let runs = report.runs.iter();
            runs.filter(|run| run.kind == kind && run.source == source)
                .collect()
        };
        let tokens = |source| -> Vec<f64> { of(source).iter().map(|run| run.token).collect() };
        println!("\n{kind:?}");
        for source in SOURCES {
            let ratio = Rounds::of_ratios(&tokens(source), &tokens(Source::Model));
            let token: Rounds = tokens(source).into_iter().collect();
            let reply: Rounds = of(source).iter().map(|run| run.reply).collect();
            let (source, notes) = (format!("{source:?}"), notes(&of(source)));
            println!(
                "  {source:<8} µs a token {token}, × the model call {ratio}, µs a reply besides {}{notes}",
                reply.whole()
            );
        }
    }
    Ok(())
}

/// Runs one source on a new database.
async fn one(arguments: &Arguments, cores: Cores, kind: Kind, source: Source) -> Result<Run> {
    let server = arguments.database_url.as_deref();
    let database = Database::create(kind, server, &arguments.titlecast).await?;
    let run = on(arguments, cores, kind, source, &database).await;
    database.remove().await?;
    run
}

async fn on(
    arguments: &Arguments,
    cores: Cores,
    kind: Kind,
    source: Source,
    database: &Database,
) -> Result<Run> {
    let pace = Duration::from_millis(arguments.pace);
    let mut model = Model::start(pace, Scripted)?;
    let url = format!("http://{}/v1", model.address);
    let node = Running::start("titlecast", Some(cores), |port, _| {
        let mut command = titlecast(&arguments.titlecast, port, &database.url, &url);
        command
            .args(["--title-check", "false"])
            .args(["--messages-per-minute", "0"]);
        Ok(command)
    })?;
    let mut load = Load {
        to: node.address,
        pid: node.pid,
        source,
        pace,
        streams: arguments.streams.into(),
        replies: 0,
        reader: database.reader().await?,
    };
    // The first replies are not representative.
    load.replies(10).await?;
    let meter = Meter::start(&[node.pid, std::process::id()])?;
    let (begun, own) = (Instant::now(), cpu(std::process::id())?);
    let short = load.replies(arguments.short).await?;
    let long = load.replies(arguments.long).await?;
    let own = cpu(std::process::id())? - own;
    let took = begun.elapsed();
    let others = meter.others()?;
    model.check()?;
    let token = (long - short) / (arguments.long - arguments.short) as f64;
    Ok(Run {
        kind,
        source,
        token,
        reply: short - token * arguments.short as f64,
        load: own.as_secs_f64() / took.as_secs_f64(),
        others,
    })
}

/// The clients that request or write replies.
struct Load {
    to: SocketAddr,
    pid: u32,
    source: Source,
    pace: Duration,
    streams: usize,
    /// The number of replies so far.
    replies: usize,
    reader: Reader,
}

impl Load {
    /// Writes one reply of this many tokens per stream, all concurrently. Returns the server's processor time per
    /// reply, in microseconds.
    async fn replies(&mut self, tokens: usize) -> Result<f64> {
        let before = cpu(self.pid)?;
        let stagger = self.pace * u32::try_from(tokens)?;
        try_join_all((0..self.streams).map(|number| {
            let script = Script {
                reply: self.replies + number,
                tokens,
            };
            let after = stagger.mul_f64(number as f64 / self.streams as f64);
            let this = &*self;
            async move {
                // Staggered, so that replies begin and end at all times.
                sleep(after).await;
                match this.source {
                    Source::Model => this.ask(script).await,
                    Source::Events | Source::Lines => this.upload(script).await,
                }
            }
        }))
        .await?;
        self.replies += self.streams;
        self.finished().await?;
        sleep(AFTERMATH).await;
        let used = cpu(self.pid)?.saturating_sub(before);
        Ok(used.as_secs_f64() * 1e6 / self.streams as f64)
    }

    /// Sends a message, which the service's model answers.
    async fn ask(&self, script: Script) -> Result<()> {
        let body = json!({ "query": SEND, "variables": { "text": script.message() } });
        let answer = http::json(self.to, "POST", "/graphql", &body).await?;
        match answer["errors"].is_null() {
            true => Ok(()),
            false => Err(answer.to_string().into()),
        }
    }

    /// Records a message and uploads the reply token by token.
    async fn upload(&self, script: Script) -> Result<()> {
        let path = format!("/api/v1/conversations/bench-{}", script.reply);
        let message = json!({ "role": "user", "content": script.message(), "auto_title": false });
        let record = http::request("POST", &format!("{path}/messages"), "*/*", Some(&message));
        Client::connect(self.to)
            .await?
            .answered(&record, 201)
            .await?;
        let content_type = match self.source {
            Source::Lines => "application/x-ndjson",
            _ => "text/event-stream",
        };
        let mut stream = http::connect(Ipv4Addr::LOCALHOST, self.to).await?;
        let head = format!(
            "POST {path}/replies HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {content_type}\r\n\
             transfer-encoding: chunked\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        let begun = tokio::time::Instant::now();
        for number in 0..script.tokens {
            let token = script.token(number);
            let piece = match self.source {
                Source::Lines => format!("{}\n", json!({ "type": "text", "text": token })),
                _ => model::token(&token),
            };
            stream.write_all(model::chunk(&piece).as_bytes()).await?;
            sleep_until(begun + self.pace * u32::try_from(number + 1)?).await;
        }
        let end = match self.source {
            Source::Lines => "{\"type\":\"finish\",\"outcome\":\"completed\"}\n".to_owned(),
            _ => model::end(script.tokens),
        };
        let end = format!("{}0\r\n\r\n", model::chunk(&end));
        stream.write_all(end.as_bytes()).await?;
        created(stream).await
    }

    /// Waits until all replies are stored.
    async fn finished(&mut self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let rows: Vec<(i64,)> = self
                .reader
                .rows("SELECT count(*) FROM agent_turns WHERE reply_status = 'completed'")
                .await?;
            if rows == [(i64::try_from(self.replies)?,)] {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("of {} replies are complete: {rows:?}", self.replies).into());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Reads the response to an upload, which must be a 201.
async fn created(mut stream: TcpStream) -> Result<()> {
    let mut answer = vec![0; 1024];
    let length = stream.read(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer[..length]);
    match answer.starts_with("HTTP/1.1 201 ") {
        true => Ok(()),
        false => Err(format!("an upload was refused: {answer}").into()),
    }
}
