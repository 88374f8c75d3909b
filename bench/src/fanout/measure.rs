//! One run: a fresh server, all subscribers, and events; in alternation with events for conversations without
//! subscribers.

use std::{
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{Arguments, Case, client::Client, contestant::Contestant, publisher::Publisher};
use crate::{
    Result,
    cost::command,
    machine::{Cores, Measured, Watch},
    running::Running,
    statistics::median,
    usage::{cpu, memory, own_cpu},
};

/// How often a run alternates between conversations with and without subscribers.
const TURNS: u32 = 4;

/// After this time, a server has finished its work after an event, such as recording its publication.
const AFTERMATH: Duration = Duration::from_millis(250);

/// The results of one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    pub contestant: String,
    pub case: Case,
    /// The number of deliveries.
    pub deliveries: usize,
    /// The cost of one delivery for the server, in microseconds, less the cost of the same events without subscribers.
    pub delivery: f64,
    /// The same, including the cost of publishing.
    pub with_publishing: f64,
    /// The time from the first to the last subscriber that receives an event, in milliseconds; the median of all
    /// events.
    pub spread: f64,
    /// What a subscriber adds to the server's memory, in KiB.
    pub memory: f64,
    /// The share of its core that the load used.
    pub load: f64,
    /// The share of one core that other programs used.
    pub others: f64,
}

impl Measured for Run {
    fn others(&self) -> f64 {
        self.others
    }

    fn load(&self) -> f64 {
        self.load
    }
}

/// The headers of subscribers and publishers; none for contestants without users.
#[derive(Default)]
struct Users {
    headers: Vec<String>,
    /// The header of a user who publishes to conversations that no subscriber sees.
    outsider: Option<String>,
}

impl Users {
    fn with_tokens(titlecast: &Path, count: usize) -> Result<Self> {
        let headers = (0..count).map(|number| command::token(titlecast, &format!("user-{number}")));
        Ok(Self {
            headers: headers.collect::<Result<_>>()?,
            outsider: Some(command::token_of(titlecast, "another", "user-0")?),
        })
    }
}

pub fn run(
    contestant: &'static Contestant,
    case: Case,
    arguments: &Arguments,
    cores: Cores,
) -> Result<Run> {
    let server = Running::start(contestant.name, Some(cores), |port, folder| {
        Ok((contestant.command)(&arguments.titlecast, port, folder))
    })?;
    let users = match contestant.has_users {
        true => Users::with_tokens(&arguments.titlecast, case.subscribers)?,
        false => Users::default(),
    };
    measure(contestant, case, arguments.seconds, &server, &users)
        .map_err(|error| format!("{error}\n{}", server.log()).into())
}

fn measure(
    contestant: &'static Contestant,
    case: Case,
    seconds: f64,
    server: &Running,
    users: &Users,
) -> Result<Run> {
    let followed: Vec<String> = (0..case.conversations).map(id).collect();
    let alone: Vec<String> = (0..case.conversations)
        .map(|number| id(case.conversations + number))
        .collect();
    let publisher = |header| Publisher::connect(contestant, server.address, header);
    let mut outside = publisher(users.outsider.clone())?;
    let mut publisher = publisher(users.headers.first().cloned())?;
    if let Some(begin) = contestant.begin {
        for id in &followed {
            publisher.ask(&begin(id))?;
        }
        for id in &alone {
            outside.ask(&begin(id))?;
        }
    }
    // The first subscriber's one-time cost does not count.
    let connect = |conversations: &[String], subscribers| {
        Client::connect(
            contestant,
            case.transport,
            server.address,
            conversations,
            subscribers,
            &users.headers,
        )
    };
    connect(&followed[..1], 1)?.settle(&mut publisher, &followed[..1])?;
    rest(server.pid)?;
    let before = memory(server.pid)?;
    let mut client = connect(&followed, case.subscribers)?;
    client.settle(&mut publisher, &followed)?;
    rest(server.pid)?;
    let added = memory(server.pid)?.saturating_sub(before);

    let (mut delivering, mut baseline) = (Duration::ZERO, Duration::ZERO);
    let (mut events, mut spreads) = (0, Vec::new());
    let (mut load, mut telling) = (Duration::ZERO, Duration::ZERO);
    let mut number = 0;
    let watch = Watch::start()?;
    let ours = cpu(server.pid)? + cpu(std::process::id())?;
    for _ in 0..TURNS {
        let (at, own, server_at) = (Instant::now(), own_cpu()?, cpu(server.pid)?);
        let first = events;
        while at.elapsed().as_secs_f64() < seconds / f64::from(TURNS) {
            let conversation = events % followed.len();
            let receipt = client.tell(&mut publisher, conversation, &followed[conversation])?;
            spreads.push((receipt.last - receipt.first).as_secs_f64() * 1e3);
            events += 1;
        }
        load += own_cpu()? - own;
        telling += at.elapsed();
        sleep(AFTERMATH);
        delivering += cpu(server.pid)? - server_at;
        client.expect_silence()?;

        let server_at = cpu(server.pid)?;
        for event in first..events {
            number += 1;
            outside.publish(&alone[event % alone.len()], number)?;
            outside.confirm()?;
        }
        sleep(AFTERMATH);
        baseline += cpu(server.pid)? - server_at;
        client.expect_silence()?;
    }
    let ours = cpu(server.pid)? + cpu(std::process::id())? - ours;
    let others = watch.others(ours)?;

    let deliveries = events * case.subscribers / case.conversations;
    let each = |time: f64| time * 1e6 / deliveries as f64;
    Ok(Run {
        contestant: contestant.name.to_owned(),
        case,
        deliveries,
        delivery: each(delivering.as_secs_f64() - baseline.as_secs_f64()),
        with_publishing: each(delivering.as_secs_f64()),
        spread: median(&mut spreads),
        memory: added as f64 / 1024.0 / case.subscribers as f64,
        load: load.as_secs_f64() / telling.as_secs_f64(),
        others,
    })
}

/// The id of a conversation: a UUID, so that it has the same length on all servers.
fn id(number: usize) -> String {
    format!("01930000-0000-7000-8000-{number:012x}")
}

/// Waits until the server is idle.
fn rest(pid: u32) -> Result<()> {
    for _ in 0..40 {
        let before = cpu(pid)?;
        sleep(AFTERMATH);
        if cpu(pid)? - before < AFTERMATH / 50 {
            return Ok(());
        }
    }
    Err("the server does not become idle".into())
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {:.2} µs a delivery, {:.2} with publishing, spread {:.2} ms, {:.1} KiB each{}{}",
            self.contestant,
            self.delivery,
            self.with_publishing,
            self.spread,
            self.memory,
            if self.busy() { ", BUSY machine" } else { "" },
            if self.load_was_the_limit() {
                ", the load was the limit"
            } else {
                ""
            },
        )
    }
}
