//! The actions on the service, and their times: drawn from a seed before anything runs, so that the same seed gives the
//! same plan. The outcome is not deterministic, because processes run in real time.

use std::time::Duration;

use fastrand::Rng;
use uuid::Uuid;

/// How long a title may take; a lease is three times that.
pub const DEADLINE: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(3);

/// Conversations a kill.
const LIVES: usize = 8;

/// Kills a round, for all servers together, and stops for each of them.
const ROUND: usize = 8;

/// The rest after a round: enough to take over what died and to make its title. Without it, some title dies
/// as often as the service is willing to begin it, and is rightly abandoned.
pub const REST: Duration = Duration::from_secs(5);

/// What is done in one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub seed: u64,
    /// The conversations, all beside each other.
    pub lives: Vec<Life>,
    pub servers: usize,
    /// The faults of each server, in order; round by round.
    pub rounds: Vec<Vec<Vec<Fault>>>,
}

/// One conversation: the actions on it, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// Stands in its messages.
    pub number: usize,
    pub id: Uuid,
    /// When it begins.
    pub after: Duration,
    /// Each with the pause before it.
    pub deeds: Vec<(Duration, Deed)>,
}

/// What a person does to a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    Say(String),
    Rename(String),
    Regenerate { replace_manual: bool },
    Reset,
    Delete,
}

/// What befalls a server, and the pause before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub after: Duration,
    pub kind: FaultKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// `kill -9`, and a new one at once.
    Kill,
    /// SIGSTOP for so long, and SIGCONT.
    Stop(Duration),
}

impl Plan {
    /// Anything at any time.
    pub fn random(seed: u64, servers: usize, kills: usize) -> Self {
        let mut rng = Rng::with_seed(seed);
        let rounds: Vec<Vec<_>> = (0..kills)
            .step_by(ROUND)
            .map(|before| {
                let kills = ROUND.min(kills - before);
                let share = |server| kills / servers + usize::from(server < kills % servers);
                (0..servers)
                    .map(|server| faults(&mut rng, share(server)))
                    .collect()
            })
            .collect();
        let rests = REST * (rounds.len() - 1) as u32;
        let time = rounds.iter().map(|round| time(round)).sum::<Duration>() + rests;
        let lives = (1..=LIVES * kills)
            .map(|number| Life {
                number,
                id: uuid::Builder::from_random_bytes(rng.u128(..).to_ne_bytes()).into_uuid(),
                after: time.mul_f64(rng.f64()),
                deeds: deeds(&mut rng, number),
            })
            .collect();
        Self {
            seed,
            lives,
            servers,
            rounds,
        }
    }

    /// One conversation of one message.
    pub fn message(seed: u64) -> Self {
        let mut plan = Self::renames(seed);
        plan.lives.truncate(1);
        plan.lives[0].deeds.truncate(1);
        plan
    }

    /// Conversations that are renamed while their titles are made, and nothing else.
    pub fn renames(seed: u64) -> Self {
        let mut plan = Self::random(seed, 1, 2);
        plan.rounds.clear();
        for life in &mut plan.lives {
            life.after = Duration::ZERO;
            life.deeds = [about(life.number, 0), name(life.number, 1)]
                .map(|deed| (Duration::ZERO, deed))
                .to_vec();
        }
        plan
    }
}

impl Deed {
    /// A message that says something, and so makes a title.
    pub fn says_something(&self) -> bool {
        matches!(self, Self::Say(text) if text != "hi")
    }
}

fn faults(rng: &mut Rng, kills: usize) -> Vec<Fault> {
    let mut faults: Vec<_> = (0..kills).map(|_| FaultKind::Kill).collect();
    let stop = LEASE + Duration::from_millis(rng.u64(100..1_300));
    faults.insert(rng.usize(..=faults.len()), FaultKind::Stop(stop));
    faults
        .into_iter()
        .map(|kind| Fault {
            after: Duration::from_millis(rng.u64(200..1_000)),
            kind,
        })
        .collect()
}

fn time(round: &[Vec<Fault>]) -> Duration {
    let time = |fault: &Fault| match fault.kind {
        FaultKind::Kill => fault.after,
        FaultKind::Stop(stop) => fault.after + stop,
    };
    let times = { round.iter() }.map(|faults| faults.iter().map(time).sum::<Duration>());
    times.max().unwrap_or_default()
}

fn deeds(rng: &mut Rng, number: usize) -> Vec<(Duration, Deed)> {
    let mut deeds = Vec::new();
    if rng.u8(..100) < 20 {
        deeds.push(Deed::Say("hi".into()));
    }
    deeds.push(about(number, 0));
    for place in 1..=rng.usize(..4) {
        deeds.push(match rng.u8(..100) {
            ..40 => name(number, place),
            40..65 => Deed::Regenerate {
                replace_manual: rng.bool(),
            },
            65..80 => Deed::Reset,
            80..90 => about(number, place),
            _ => Deed::Delete,
        });
    }
    // Half of them while the title is made, by all odds.
    let pause = |rng: &mut Rng| {
        let longest = if rng.bool() { 150 } else { 1_000 };
        Duration::from_millis(rng.u64(..longest))
    };
    deeds.into_iter().map(|deed| (pause(rng), deed)).collect()
}

fn about(number: usize, place: usize) -> Deed {
    const TOPICS: [&str; 4] = ["gardening", "sailing", "old maps", "night trains"];
    let topic = TOPICS[(number + place) % TOPICS.len()];
    Deed::Say(format!("Conversation {number} about {topic}, part {place}"))
}

fn name(number: usize, place: usize) -> Deed {
    Deed::Rename(format!("My own name {number}-{place}"))
}

#[test]
fn a_seed_is_a_plan() {
    assert_eq!(Plan::random(7, 2, 9), Plan::random(7, 2, 9));
    assert_ne!(Plan::random(7, 2, 9), Plan::random(8, 2, 9));
    let kills = |plan: &Plan| {
        let faults = plan.rounds.iter().flatten().flatten();
        faults.filter(|fault| fault.kind == FaultKind::Kill).count()
    };
    for servers in 1..4 {
        assert_eq!(kills(&Plan::random(7, servers, 21)), 21);
    }
}
