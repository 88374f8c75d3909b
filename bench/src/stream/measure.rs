//! One run on a fresh server: replies one at a time, then many at once, first short ones, then the same number of
//! tokens in long ones.

use std::{
    net::SocketAddr,
    thread::sleep,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    Arguments, Contestant,
    client::{Found, Load, Turn},
    model::Model,
    script::Scripted,
};
use crate::{
    Result,
    machine::{Cores, Measured, Watch},
    running::Running,
    usage::{cpu, cpu_of_all},
};

/// The number of sequential replies, which measure the time to the first token.
const ALONE: usize = 50;

/// After this time, a server has finished its work after a reply.
const AFTERMATH: Duration = Duration::from_millis(250);

/// The results of one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    pub contestant: Contestant,
    /// The number of concurrent streams.
    pub streams: usize,
    /// The cost for the server; `None` if the model is called directly.
    pub cost: Option<Cost>,
    /// The number of pieces per token.
    pub deltas: f64,
    /// From the request to the first token, one stream at a time.
    pub alone: First,
    /// The same, with all streams at once.
    pub crowded: First,
    /// The share of its core that the load used, including the model.
    pub load: f64,
    /// The share of one core that other programs used.
    pub others: f64,
}

/// Processor time of the server, user and system, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// The cost of a token, without the fixed cost of a reply.
    pub token: f64,
    /// The fixed cost of a reply.
    pub once: f64,
    /// The cost of a whole long reply.
    pub reply: f64,
}

/// The time to the first token, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct First {
    pub p50: f64,
    pub p99: f64,
}

impl Measured for Run {
    fn others(&self) -> f64 {
        self.others
    }

    fn load(&self) -> f64 {
        self.load
    }
}

/// The measured server.
enum Server {
    /// The model itself, which is part of the load.
    Model(SocketAddr),
    Proxy(Running),
}

pub fn run(
    contestant: Contestant,
    streams: usize,
    arguments: &Arguments,
    cores: Cores,
) -> Result<Run> {
    cores.be_client()?;
    let mut model = Model::start(arguments.pace(), Scripted)?;
    let server = match contestant {
        Contestant::Direct => Server::Model(model.address),
        _ => Server::Proxy(Running::start(
            contestant.name(),
            Some(cores),
            |port, folder| contestant.command(arguments, port, folder, model.address, streams),
        )?),
    };
    let measured = measure(contestant, streams, arguments, &server);
    model.check()?;
    measured.map_err(|error| match &server {
        Server::Model(_) => error,
        Server::Proxy(running) => format!("{error}\n{}", running.log()).into(),
    })
}

fn measure(
    contestant: Contestant,
    streams: usize,
    arguments: &Arguments,
    server: &Server,
) -> Result<Run> {
    let wire = contestant.wire(arguments.titles);
    let mut load = Load::connect(server.address(), streams, wire)?;
    let stagger = arguments.pace() * u32::try_from(arguments.short)?;
    // The first request on a connection is not representative.
    load.take(Turn {
        streams,
        replies: 1,
        tokens: 5,
        stagger,
    })?;
    sleep(AFTERMATH);
    let alone = load.take(Turn {
        streams: 1,
        replies: ALONE,
        tokens: 1,
        stagger: Duration::ZERO,
    })?;
    sleep(AFTERMATH);

    let (watch, own) = (Watch::start()?, cpu(std::process::id())?);
    let (at, before) = (Instant::now(), server.cpu()?);
    let short = load.take(Turn {
        streams,
        // The same number of tokens, in about the same time.
        replies: arguments.long / arguments.short,
        tokens: arguments.short,
        stagger,
    })?;
    let mut telling = at.elapsed();
    sleep(AFTERMATH);
    let (at, between) = (Instant::now(), server.cpu()?);
    let long = load.take(Turn {
        streams,
        replies: 1,
        tokens: arguments.long,
        stagger,
    })?;
    telling += at.elapsed();
    sleep(AFTERMATH);
    let after = server.cpu()?;
    let own = cpu(std::process::id())? - own;
    let others = watch.others(own + (after - before))?;

    let tokens = short.tokens + long.tokens;
    let cost = Cost::of([(&short, between - before), (&long, after - between)]);
    Ok(Run {
        contestant,
        streams,
        cost: matches!(server, Server::Proxy(_)).then_some(cost),
        deltas: (short.deltas + long.deltas) as f64 / tokens as f64,
        alone: First::of(alone.first),
        crowded: First::of([short.first, long.first].concat()),
        load: own.as_secs_f64() / telling.as_secs_f64(),
        others,
    })
}

impl Server {
    fn address(&self) -> SocketAddr {
        match self {
            Self::Model(address) => *address,
            Self::Proxy(running) => running.address,
        }
    }

    /// The processor time of all its processes so far.
    fn cpu(&self) -> Result<Duration> {
        match self {
            Self::Model(_) => Ok(Duration::ZERO),
            Self::Proxy(running) => cpu_of_all(running.pid),
        }
    }
}

impl Cost {
    /// Solves two turns for the fixed cost of a reply and the cost of a token.
    fn of([(short, short_cost), (long, long_cost)]: [(&Found, Duration); 2]) -> Self {
        let [(replies, tokens), (long_replies, long_tokens)] =
            [short, long].map(|found| (found.replies as f64, found.tokens as f64));
        let [cost, long_cost] = [short_cost, long_cost].map(|cost| cost.as_secs_f64() * 1e6);
        let determinant = replies * long_tokens - long_replies * tokens;
        Self {
            token: (replies * long_cost - long_replies * cost) / determinant,
            once: (long_tokens * cost - tokens * long_cost) / determinant,
            reply: long_cost / long_replies,
        }
    }
}

impl First {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |share: f64| {
            let place = ((times.len() as f64 * share) as usize).min(times.len() - 1);
            times[place].as_secs_f64() * 1e3
        };
        Self {
            p50: at(0.50),
            p99: at(0.99),
        }
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.contestant.name())?;
        if let Some(Cost { token, once, reply }) = self.cost {
            write!(
                f,
                "{token:.2} µs a token, {once:.0} µs a reply once, {reply:.0} µs a whole one, "
            )?;
        }
        write!(
            f,
            "{:.2} deltas a token, first token {:.2} ms alone, {:.2} ms with others{}{}",
            self.deltas,
            self.alone.p50,
            self.crowded.p50,
            if self.busy() { ", BUSY machine" } else { "" },
            if self.load_was_the_limit() {
                ", the load was the limit"
            } else {
                ""
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokens_cost_is_without_what_a_reply_costs_once() {
        let found = |replies, tokens| Found {
            replies,
            tokens: replies * tokens,
            ..Found::default()
        };
        // 3 µs per token and 200 µs per reply.
        let turn =
            |found: &Found| Duration::from_micros((found.tokens * 3 + found.replies * 200) as u64);
        let (short, long) = (found(500, 50), found(100, 250));
        let cost = Cost::of([(&short, turn(&short)), (&long, turn(&long))]);
        assert!((cost.token - 3.0).abs() < 1e-9, "{cost:?}");
        assert!((cost.once - 200.0).abs() < 1e-6, "{cost:?}");
        assert!((cost.reply - 950.0).abs() < 1e-6, "{cost:?}");
    }
}
