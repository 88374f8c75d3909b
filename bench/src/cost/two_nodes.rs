//! Two nodes on one PostgreSQL, connected by a NATS of their own. Users talk to the first node. The second has no
//! subscribers at first, then each user's list of conversations, then their replies as well.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{io::AsyncReadExt, net::TcpStream, time::sleep};

use super::{
    Arguments, Case, Cost, Run, Watch, command,
    nats::{Link, Nats, connected},
    people::{Person, Turn},
    words::Talker,
};
use crate::{
    Result, decode::Decoder, machine::Cores, running::Running, stream::model::Model,
    turn::database::Database,
};

/// The most users in this case, because NATS traffic passes the load's core twice.
const MOST: u16 = 20;

/// How long a list subscription may take to be established. When it starts, it delivers at most the most recent
/// changes.
const SETTLED: Duration = Duration::from_secs(1);

/// The number of changes that a later message causes: one when it is stored, one when its reply is.
const CHANGES: f64 = 2.0;

/// How long idle nodes are measured.
const IDLE: Duration = Duration::from_secs(4);

pub async fn run(arguments: &Arguments, cores: Cores, database: &Database) -> Result<Run> {
    let mut model = Model::start(arguments.pace(), Talker)?;
    let url = format!("http://{}/v1", model.address);
    let nats = Nats::start(&arguments.nats_server)?;
    let links = [Link::open(&nats).await?, Link::open(&nats).await?];
    let start = |link: &Link| {
        Running::start("titlecast", Some(cores), |port, _| {
            let mut command = command::serve(&arguments.titlecast, port, &database.url, &url);
            command.args(["--nats-url", &link.url]);
            Ok(command)
        })
    };
    let (one, other) = (start(&links[0])?, start(&links[1])?);
    for node in [&one, &other] {
        connected(node.address).await?;
    }
    let count = arguments.people.min(MOST);
    let people = super::people(arguments, count, one.address).await?;
    let nodes = vec![one.pid, other.pid];
    let mut scene = Scene {
        nats,
        links,
        nodes,
        people,
        beat: [0.0; 3],
    };
    // Creates conversations to continue.
    scene.take(arguments.begin(true, 5)).await?;
    scene.idle().await?;

    let watch = Watch::start(&scene.nodes)?;
    let alone = scene.take(arguments.go_on()).await?;
    let counters = scene.watch_lists(other.address).await?;
    let so_far = || {
        counters
            .each_ref()
            .map(|count| count.load(Ordering::Relaxed))
    };
    let before = so_far();
    let listed = scene.take(arguments.go_on()).await?;
    let after = so_far();
    let [events, bytes] = [0, 1].map(|which| (after[which] - before[which]) as f64);
    let follow = Some(other.address);
    let turn = Turn {
        follow,
        ..arguments.go_on()
    };
    let followed = scene.take(turn).await?;
    let mut run = watch.finish(Case::TwoNodes)?;
    model.check()?;

    let replies = alone.cost.said.replies as f64;
    let changes = CHANGES * replies;
    if events != changes {
        return Err(format!("{events} events of {changes} changes were received").into());
    }
    let tokens = followed.cost.said.tokens as f64;
    let mut note = |what: &str, value: f64| run.figures.push((what.to_owned(), value));
    for (which, what) in ["messages to it", "messages from it", "bytes both ways"]
        .iter()
        .enumerate()
    {
        let went = |through: &Through| through.went[which];
        note(
            &format!("NATS, {what}: a second of two idle nodes"),
            scene.beat[which],
        );
        note(
            &format!("NATS, {what}: a message and its reply"),
            went(&alone) / replies,
        );
        let more = (went(&listed) - went(&alone)) / changes;
        note(
            &format!("NATS, {what}: telling the other node of a change"),
            more,
        );
        let more = (went(&followed) - went(&listed)) / tokens;
        note(
            &format!("NATS, {what}: a token followed on the other node"),
            more,
        );
    }
    let node = |through: &Through, node: usize| through.cost.nodes[node];
    note(
        "other node, µs: telling a change",
        (node(&listed, 1) - node(&alone, 1)) / changes,
    );
    note(
        "other node, µs: a followed token",
        (node(&followed, 1) - node(&listed, 1)) / tokens,
    );
    note(
        "this node, µs: a token followed on the other",
        (node(&followed, 0) - node(&listed, 0)) / tokens,
    );
    note(
        "network, bytes: a change that is delivered (GraphQL)",
        bytes / events,
    );
    note(
        "network, bytes: a followed reply (GraphQL)",
        followed.cost.each(followed.cost.said.followed as f64),
    );
    Ok(run)
}

/// Everything that takes part.
struct Scene {
    nats: Nats,
    links: [Link; 2],
    nodes: Vec<u32>,
    people: Vec<Person>,
    /// The NATS traffic per second of idle nodes.
    beat: [f64; 3],
}

/// The cost of a turn, and its NATS traffic.
struct Through {
    cost: Cost,
    went: [f64; 3],
}

impl Scene {
    async fn take(&mut self, turn: Turn) -> Result<Through> {
        let (begun, before) = (Instant::now(), self.went().await?);
        let cost = Cost::of(&self.nodes, &mut self.people, turn).await?;
        let (after, seconds) = (self.went().await?, begun.elapsed().as_secs_f64());
        let went = [0, 1, 2].map(|one| after[one] - before[one] - self.beat[one] * seconds);
        Ok(Through { cost, went })
    }

    /// Measures the NATS traffic of idle nodes.
    async fn idle(&mut self) -> Result<()> {
        let before = self.went().await?;
        sleep(IDLE).await;
        let after = self.went().await?;
        self.beat = [0, 1, 2].map(|one| (after[one] - before[one]) / IDLE.as_secs_f64());
        Ok(())
    }

    /// Traffic so far: messages to NATS, messages from it, and bytes in both directions.
    async fn went(&self) -> Result<[f64; 3]> {
        let [to, from] = self.nats.messages().await?;
        let bytes = self.links.iter().map(Link::bytes).sum::<f64>();
        Ok([to, from, bytes])
    }

    /// Every user follows all of its conversations on this node. Counts events and their bytes.
    async fn watch_lists(&self, on: SocketAddr) -> Result<[Arc<AtomicU64>; 2]> {
        let counters = [Arc::default(), Arc::default()];
        for person in &self.people {
            let stream = person.watch(on).await?;
            #[expect(clippy::disallowed_methods, reason = "it ends with the runtime")]
            tokio::spawn(listen(stream, counters.clone()));
        }
        sleep(SETTLED).await;
        Ok(counters)
    }
}

/// Reads a subscription. If it is rejected, its events are missing from the count.
async fn listen(mut stream: TcpStream, counters: [Arc<AtomicU64>; 2]) -> Result<()> {
    let [events, bytes] = counters;
    let (mut decoder, mut part) = (Decoder::events(), vec![0; 16 * 1024]);
    let mut is_head = true;
    while !decoder.ended() {
        let length = stream.read(&mut part).await?;
        if length == 0 {
            break;
        }
        let mut count = 0;
        decoder.take(&part[..length], |_| {
            count += 1;
            Ok(())
        })?;
        events.fetch_add(count, Ordering::Relaxed);
        // The response head comes before any event.
        if !is_head {
            bytes.fetch_add(length as u64, Ordering::Relaxed);
        }
        is_head = false;
    }
    Ok(())
}
