//! One run: servers, people and faults at once, the end, and the check.

use std::{fmt, time::Duration};

use chrono::{DateTime, Utc};
use futures_util::future::{join, join_all};
use titlecast_testing::{Rows, TestDatabase, eventually};
use tokio::time::{Instant, sleep};

use super::{
    audit::Audit,
    checker::{Change, Done, History, Kind, Violation, kinds, violations},
    model::ChaosModel,
    people::live,
    plan::{Deed, FaultKind, Plan},
    servers::Servers,
};

/// How long after the end everything must have settled.
const SETTLED: Duration = Duration::from_secs(60);

/// Of how many violations the whole history is shown.
const SHOWN: usize = 3;

/// How a run is run.
#[derive(Clone, Copy, Debug)]
pub struct How<'a> {
    pub failpoints: &'a str,
    pub title_deadline: Duration,
    /// Titles are held back until the people have done what they do. Nothing dies then.
    pub is_held: bool,
    /// Before the end, this many title calls must be accounted for: what they cost is stored with the title, or when
    /// there is none. A process that dies accounts for nothing.
    pub awaited_calls: usize,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    pub violations: Vec<Violation>,
    changes: Vec<Change>,
    pub report: String,
}

/// Runs a plan.
pub async fn run(plan: &Plan, how: How<'_>) -> Outcome {
    let began = Instant::now();
    let database = TestDatabase::new().await;
    let audit = Audit::begin(&database).await;
    let model = ChaosModel::start(plan.seed).await;
    model.hold(how.is_held);
    let servers = Servers::new(&database, &model.url, how.title_deadline, how.failpoints);
    servers.start(plan.servers).await;
    let people = { plan.lives.iter() }.map(|life| live(&servers, life, plan.seed));
    let ((), remembered) = join(servers.befall(&plan.rounds), join_all(people)).await;
    model.hold(false);
    let rows = Rows::of(&database).await;
    let awaited = how.awaited_calls as i64;
    eventually(async || (rows.count("agent_title_calls").await >= awaited).then_some(())).await;
    let ended = Utc::now();
    let settled_in = settle(&audit).await;
    servers.end().await;
    let history = History {
        changes: audit.changes().await,
        rows: audit.rows().await,
        messages: audit.messages().await,
        calls: model.calls(),
        remembered,
    };
    let report = Report {
        plan,
        history: &history,
        ended,
        settled_in,
        took: began.elapsed(),
        troubles: servers.troubles(),
    };
    Outcome {
        violations: violations(&history),
        report: report.to_string(),
        changes: history.changes,
    }
}

/// Waits until no title is in progress and every change was published, up to the time limit.
async fn settle(audit: &Audit) -> Duration {
    let started = Instant::now();
    while started.elapsed() < SETTLED {
        let rows = audit.rows().await;
        let is_open = { rows.values() }.any(|(row, published)| {
            let is_made = row.status == "active" && row.lease_until.is_some();
            is_made || *published < row.revision
        });
        if !is_open {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    started.elapsed()
}

impl Outcome {
    /// Prints what happened, and fails on a violation.
    #[track_caller]
    pub fn assert_nothing_lost(&self) {
        eprintln!("{}", self.report);
        for violation in self.violations.iter().take(SHOWN) {
            eprintln!("{violation:?}");
            let changes = { self.changes.iter() }.filter(|change| change.id == violation.id);
            changes.for_each(|change| eprintln!("  {:?}", change.new));
        }
        assert_eq!(self.violations, [], "{}", self.report);
    }

    /// Prints what happened, and fails unless this violation was detected.
    #[track_caller]
    pub fn assert_noticed(&self, kind: Kind) {
        eprintln!("{}", self.report);
        let noticed = kinds(&self.violations);
        assert!(noticed.contains(&kind), "{noticed:?}");
    }
}

struct Report<'a> {
    plan: &'a Plan,
    history: &'a History,
    ended: DateTime<Utc>,
    settled_in: Duration,
    took: Duration,
    troubles: Vec<String>,
}

impl Report<'_> {
    fn accepted(&self, deed: impl Fn(&Deed) -> bool) -> usize {
        let done = { self.history.remembered.iter() }.flat_map(|life| &life.done);
        let is_one = |done: &&Done| done.accepted && deed(&done.deed);
        done.filter(is_one).count()
    }

    fn faults(&self, kind: impl Fn(FaultKind) -> bool) -> usize {
        let faults = self.plan.rounds.iter().flatten().flatten();
        faults.filter(|fault| kind(fault.kind)).count()
    }

    fn failed(&self, failure: &str) -> usize {
        let rows = self.history.rows.values();
        rows.filter(|(row, _)| row.failure.as_deref() == Some(failure))
            .count()
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles: Vec<DateTime<Utc>> = { self.history.changes.iter() }
            .filter(|change| {
                let before = change.old.as_ref().and_then(|old| old.generated_at);
                change.new.source == "generated" && change.new.generated_at != before
            })
            .filter_map(|change| change.new.generated_at)
            .collect();
        let last = titles
            .iter()
            .max()
            .map_or(0, |last| (*last - self.ended).num_milliseconds().max(0));
        let calls = self.history.calls.values();
        let asked: usize = calls.clone().map(|calls| calls.asked).sum();
        let most = calls.map(|calls| calls.asked).max().unwrap_or_default();
        writeln!(
            f,
            "seed {}, {} server(s), {:.1?}: {} kills, {} stops",
            self.plan.seed,
            self.plan.servers,
            self.took,
            self.faults(|kind| kind == FaultKind::Kill),
            self.faults(|kind| matches!(kind, FaultKind::Stop(_))),
        )?;
        writeln!(
            f,
            "{} conversations, {} messages, {} renames, {} deletions, {} regenerations, {} resets",
            self.history.rows.len(),
            self.accepted(|deed| matches!(deed, Deed::Say(_))),
            self.accepted(|deed| matches!(deed, Deed::Rename(_))),
            self.accepted(|deed| *deed == Deed::Delete),
            self.accepted(|deed| matches!(deed, Deed::Regenerate { .. })),
            self.accepted(|deed| *deed == Deed::Reset),
        )?;
        let taken_over = self.history.changes.iter().filter(|change| {
            let before = change.old.as_ref().and_then(|old| old.token);
            before.is_some() && change.new.token.is_some() && change.new.token != before
        });
        writeln!(
            f,
            "{} titles were taken over from the dead and the stopped",
            taken_over.count()
        )?;
        writeln!(
            f,
            "{} titles for {asked} model calls ({:.2} a title, at most {most} for one conversation); \
             given up: {} after errors, {} for slowness",
            titles.len(),
            asked as f64 / titles.len().max(1) as f64,
            self.failed("unavailable"),
            self.failed("timeout"),
        )?;
        write!(
            f,
            "the last title came {last} ms after the end, settled in {:.1?}; {} errors logged",
            self.settled_in,
            self.troubles.len(),
        )?;
        self.troubles
            .iter()
            .take(5)
            .try_for_each(|line| write!(f, "\n  {line}"))
    }
}
