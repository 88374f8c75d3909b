//! One run: a fresh server and database, idle users, talking users, and the same users with fewer features, so that the
//! cost of each part is a difference.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use serde::Serialize;
use tokio::time::{sleep, sleep_until};

use super::{
    Arguments,
    person::{Ask, Person, Waited},
    wire::Wire,
};
use crate::{
    Result,
    cost::{command, words::Talker},
    machine::{Cores, Measured},
    peers,
    requests::{Client, percentile},
    running::Running,
    stream::model::Model,
    turn::{
        database::{Database, Kind},
        meter::Meter,
    },
    usage::{cpu, cpu_of, memory},
};

/// After this time, a server has finished its work after a turn.
const AFTERMATH: Duration = Duration::from_millis(500);

/// The number of concurrent connection attempts.
const CONNECTING: usize = 50;

/// The results of one run. The server's processor time (user and system) is in microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    pub wire: Wire,
    pub database: Kind,
    pub people: usize,
    pub turns: usize,
    /// The cost of a turn for the server and for PostgreSQL.
    pub turn: f64,
    pub backend: f64,
    pub parts: Option<Parts>,
    /// The cost of an idle user, if measured: in microseconds per second, and in KiB of memory.
    pub idle: f64,
    pub memory: f64,
    pub waited: Quantiles,
    /// Bytes per reply on this wire.
    pub reply: f64,
    /// The largest delay of a message behind its schedule, in milliseconds.
    pub late: f64,
    /// The share of one core that the server used, that the load and the model used, and that other programs used.
    pub server: f64,
    pub load: f64,
    pub others: f64,
}

/// The parts of a turn's cost, computed as differences. Their sum is the cost of the turn.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Parts {
    pub receive: f64,
    pub store: f64,
    pub stream: f64,
    pub title: f64,
    pub tell: f64,
}

/// The median and the 99th percentile of waiting times, in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Quantiles {
    pub text: [f64; 2],
    pub title: [f64; 2],
    pub list: [f64; 2],
}

impl Measured for Run {
    fn others(&self) -> f64 {
        self.others
    }

    fn load(&self) -> f64 {
        self.load
    }
}

/// What to measure, and with how many users.
#[derive(Clone, Copy)]
pub struct Case {
    pub wire: Wire,
    pub database: Kind,
    pub people: usize,
    /// Users who only have their tabs open.
    pub idle: usize,
    pub parts: bool,
}

pub async fn run(arguments: &Arguments, cores: Cores, case: Case) -> Result<Run> {
    let server = arguments.database_url.as_deref();
    let database = Database::create(case.database, server, &arguments.titlecast).await?;
    let run = on(arguments, cores, case, &database).await;
    database.remove().await?;
    run
}

async fn on(arguments: &Arguments, cores: Cores, case: Case, database: &Database) -> Result<Run> {
    let mut model = Model::start(arguments.pace(), Talker)?;
    let server = Running::start(case.wire.name(), Some(cores), |port, _: &Path| {
        Ok(serve(arguments, case.wire, port, &database.url, &model))
    })?;
    let measured = measure(arguments, case, &server, database).await;
    model.check()?;
    let run = measured.map_err(|error| format!("{error}\n{}", tail(&server.log())))?;
    drop(server);
    Ok(run)
}

fn serve(arguments: &Arguments, wire: Wire, port: u16, database: &str, model: &Model) -> Command {
    let port_text = port.to_string();
    match wire {
        Wire::Floor => {
            let mut command = Command::new("/proc/self/exe");
            command.args([
                "people-floor",
                &port_text,
                database,
                &model.address.to_string(),
            ]);
            command
        }
        Wire::AiSdk => {
            let mut command = peers::node("ai-sdk", &port_text);
            command.args([database, &format!("http://{}/v1", model.address)]);
            command
        }
        _ => {
            let model = format!("http://{}/v1", model.address);
            let mut command = command::serve(&arguments.titlecast, port, database, &model);
            command.args(&arguments.settings);
            command
        }
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

async fn measure(
    arguments: &Arguments,
    case: Case,
    server: &Running,
    database: &Database,
) -> Result<Run> {
    let Case { wire, people, .. } = case;
    let full = Ask {
        tokens: arguments.long,
        titles: true,
        lists: true,
    };
    let mut everybody = connect(arguments, wire, server, 0..people).await?;
    // The first request on a connection is not representative.
    let brief = Ask { tokens: 5, ..full };
    let second = Duration::from_secs(1);
    talk(&mut everybody, brief, 1, second).await?;
    sleep(AFTERMATH).await;
    let (idle, memory) = idle(arguments, case, server).await?;

    let turns = people * arguments.messages;
    let received = |people: &[Person]| people.iter().map(Person::received).sum::<usize>();
    let before = received(&everybody);
    let meter = Meter::start(&[server.pid, std::process::id()])?;
    let (begun, own) = (Instant::now(), cpu(std::process::id())?);
    let whole = Cost::of(arguments, server, &mut everybody, full).await?;
    let elapsed = begun.elapsed().as_secs_f64();
    let (load, others) = (cpu(std::process::id())? - own, meter.others()?);
    let reply = (received(&everybody) - before) as f64 / turns as f64;

    let parts = match case.parts {
        true => Some(parts(arguments, server, &mut everybody, &whole, full).await?),
        false => None,
    };
    let sent = everybody.iter().map(Person::sent).sum::<usize>();
    stored(wire, database, sent).await?;
    Ok(Run {
        wire,
        database: case.database,
        people,
        turns,
        turn: whole.server,
        backend: whole.backend,
        parts,
        idle,
        memory,
        waited: Quantiles::of(&whole.waited),
        reply,
        late: whole.late.as_secs_f64() * 1e3,
        server: whole.server * turns as f64 / 1e6 / elapsed,
        load: load.as_secs_f64() / elapsed,
        others,
    })
}

/// Fails unless exactly this many replies are stored.
async fn stored(wire: Wire, database: &Database, count: usize) -> Result<()> {
    let replies = match wire {
        Wire::AiSdk => "SELECT count(*) FROM messages WHERE role = 'assistant'",
        _ => {
            "SELECT count(*) FROM agent_messages WHERE role = 'assistant' AND outcome = 'completed'"
        }
    };
    let rows: Vec<(i64,)> = database.reader().await?.rows(replies).await?;
    match rows == [(i64::try_from(count)?,)] {
        true => Ok(()),
        false => Err(format!("{rows:?} replies are stored, not {count}").into()),
    }
}

/// Connects these users, each with both tabs.
async fn connect(
    arguments: &Arguments,
    wire: Wire,
    server: &Running,
    numbers: std::ops::Range<usize>,
) -> Result<Vec<Person>> {
    let mut everybody = Vec::with_capacity(numbers.len());
    let numbers: Vec<usize> = numbers.collect();
    for some in numbers.chunks(CONNECTING) {
        let some = some.iter().map(async |&number| {
            let user = format!("person-{number}");
            let header = match wire.is_ours() {
                true => command::token(&arguments.titlecast, &user)?,
                false => Wire::named(&user),
            };
            Person::connect(wire, server.address, header, number as u64).await
        });
        everybody.extend(try_join_all(some).await?);
    }
    Ok(everybody)
}

/// The cost of an idle user: microseconds per second, and KiB; NaN if there are no idle users.
async fn idle(arguments: &Arguments, case: Case, server: &Running) -> Result<(f64, f64)> {
    if case.idle == 0 {
        return Ok((f64::NAN, f64::NAN));
    }
    let seconds = Duration::from_secs_f64(arguments.idle_seconds);
    // The server's own background work is subtracted.
    let (before, taken) = (memory(server.pid)?, server.cpu()?);
    sleep(seconds).await;
    let alone = server.cpu()? - taken;
    let numbers = case.people..case.people + case.idle;
    let others = connect(arguments, case.wire, server, numbers).await?;
    sleep(AFTERMATH).await;
    let taken = server.cpu()?;
    sleep(seconds).await;
    let with_them = server.cpu()? - taken;
    let after = memory(server.pid)?;
    for mut person in others {
        // Fail if a tab was closed in the meantime, because that user has cost nothing.
        person.check()?;
    }
    let count = case.idle as f64;
    let time = with_them.saturating_sub(alone).as_secs_f64() / seconds.as_secs_f64();
    let memory = after.saturating_sub(before) as f64 / 1024.0;
    Ok((time * 1e6 / count, memory / count))
}

/// Measures the same users with fewer features.
async fn parts(
    arguments: &Arguments,
    server: &Running,
    everybody: &mut [Person],
    whole: &Cost,
    full: Ask,
) -> Result<Parts> {
    let short = Ask {
        tokens: arguments.short,
        ..full
    };
    let untitled = Ask {
        titles: false,
        ..short
    };
    let untold = Ask {
        lists: false,
        ..untitled
    };
    let short = Cost::of(arguments, server, everybody, short).await?.server;
    let untitled = Cost::of(arguments, server, everybody, untitled)
        .await?
        .server;
    let untold = Cost::of(arguments, server, everybody, untold).await?.server;
    let receive = receive(arguments, server, everybody).await?;
    let token = (whole.server - short) / (arguments.long - arguments.short) as f64;
    Ok(Parts {
        receive,
        store: untold - token * arguments.short as f64 - receive,
        stream: token * arguments.long as f64,
        title: short - untitled,
        tell: untitled - untold,
    })
}

/// The cost of a message that is read and refused.
async fn receive(arguments: &Arguments, server: &Running, everybody: &[Person]) -> Result<f64> {
    let person = everybody.first().ok_or("no people")?;
    let (request, status, holds) = person.blank();
    let mut client = Client::connect(server.address).await?;
    let answer = client.answered(&request, status).await?;
    let answer = String::from_utf8_lossy(answer);
    if !answer.contains(holds) {
        return Err(format!("a blank message is answered with {answer}").into());
    }
    let before = server.cpu()?;
    for _ in 0..arguments.refused {
        client.answered(&request, status).await?;
    }
    let taken = server.cpu()? - before;
    Ok(taken.as_secs_f64() * 1e6 / arguments.refused as f64)
}

/// The cost of a turn, and how long the users waited.
struct Cost {
    server: f64,
    backend: f64,
    waited: Vec<Waited>,
    late: Duration,
}

impl Cost {
    /// Lets every user start a conversation and continue it.
    async fn of(
        arguments: &Arguments,
        server: &Running,
        everybody: &mut [Person],
        ask: Ask,
    ) -> Result<Self> {
        for person in &mut *everybody {
            person.leave();
            person.show_list(ask.lists).await?;
        }
        sleep(AFTERMATH).await;
        let (before, backend) = (server.cpu()?, cpu_of("postgres")?);
        let (waited, late) = talk(everybody, ask, arguments.messages, arguments.minute()).await?;
        sleep(AFTERMATH).await;
        let used = server.cpu()? - before;
        // The time of PostgreSQL backends that have ended in the meantime is lost.
        let backend = cpu_of("postgres")?.saturating_sub(backend);
        let each = |time: Duration| time.as_secs_f64() * 1e6 / waited.len() as f64;
        Ok(Self {
            server: each(used),
            backend: each(backend),
            waited,
            late,
        })
    }
}

/// Each user sends this many messages, one per scaled minute. Returns how long each waited, and the largest delay of a
/// message.
async fn talk(
    everybody: &mut [Person],
    ask: Ask,
    messages: usize,
    minute: Duration,
) -> Result<(Vec<Waited>, Duration)> {
    let (begun, count) = (tokio::time::Instant::now(), everybody.len() as f64);
    let talks = everybody
        .iter_mut()
        .enumerate()
        .map(async |(place, person)| {
            let first = begun + minute.mul_f64(place as f64 / count);
            let (mut waited, mut late) = (Vec::new(), Duration::ZERO);
            for number in 0..messages {
                let due = first + minute * number as u32;
                sleep_until(due).await;
                late = late.max(due.elapsed());
                waited.push(person.say(ask).await?);
            }
            Ok::<_, crate::Error>((waited, late))
        });
    let all = try_join_all(talks).await?;
    let late = all.iter().map(|(_, late)| *late).max().unwrap_or_default();
    let waited = all.into_iter().flat_map(|(waited, _)| waited).collect();
    Ok((waited, late))
}

impl Quantiles {
    fn of(waited: &[Waited]) -> Self {
        let of = |times: Vec<Duration>| {
            let mut times = times;
            times.sort_unstable();
            [0.5, 0.99].map(|part| percentile(&times, part).as_secs_f64() * 1e3)
        };
        Self {
            text: of(waited.iter().map(|one| one.text).collect()),
            title: of(waited.iter().filter_map(|one| one.title).collect()),
            list: of(waited.iter().filter_map(|one| one.list).collect()),
        }
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            turns,
            turn,
            server,
            load,
            others,
            ..
        } = self;
        let name = self.wire.name();
        write!(
            f,
            "{}, {name}: {turns} turns, {turn:.0} µs each; of a core the server {server:.2}, the load {load:.2}, \
             others {others:.2}",
            self.database
        )
    }
}
