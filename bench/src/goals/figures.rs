//! One round of each scenario that a goal needs, run as its own command would run it.

use std::path::Path;

use clap::Parser;

use super::{Arguments, rename, report::Figure};
use crate::{
    Result, fanout,
    leftovers::Folder,
    list,
    machine::{Cores, Measured},
    peers,
    people::{self, Wire},
    seed, stream,
    turn::{
        self,
        database::{Database, Kind},
        in_runtime,
    },
};

/// Conversations in the database. A list costs the same with a thousand and with a million.
const LISTED: u64 = 100_000;

/// The arguments of a scenario, as typed on the command line.
#[derive(clap::Parser)]
struct Typed<A: clap::Args> {
    #[command(flatten)]
    arguments: A,
}

pub struct Figures<'a> {
    arguments: &'a Arguments,
    cores: Cores,
    /// The folder for the scenarios' figures.
    folder: Folder,
    /// Why a baseline is unavailable, if it is.
    no_postgres: Option<String>,
    no_nginx: Option<String>,
    no_node: Option<String>,
}

impl<'a> Figures<'a> {
    /// Looks for the baseline programs and reports the missing ones.
    pub fn new(arguments: &'a Arguments, cores: Cores) -> Result<Self> {
        let no_postgres = match arguments.database_url {
            Some(_) => None,
            None => Some("no --database-url names a PostgreSQL".to_owned()),
        };
        let nginx = stream::nginx::version(&arguments.nginx);
        let node = match &no_postgres {
            Some(why) => Err(why.clone().into()),
            None => peers::npm("ai-sdk"),
        };
        let figures = Self {
            arguments,
            cores,
            folder: Folder::create()?,
            no_postgres,
            no_nginx: nginx.err().map(|error| error.to_string()),
            no_node: node.err().map(|error| error.to_string()),
        };
        let missing = [
            ("PostgreSQL", &figures.no_postgres),
            ("nginx", &figures.no_nginx),
            ("the AI SDK's route", &figures.no_node),
        ];
        for (what, why) in missing {
            if let Some(why) = why {
                eprintln!("NOT MEASURED with {what}: {why}");
            }
        }
        Ok(figures)
    }

    /// The cost of whole turns, and the memory per user.
    pub fn turns(&self) -> Result<Vec<Figure>> {
        let mut words = vec!["--rounds", "1", "--no-trial", "--no-parts"];
        words.extend(["--only", "legacy", "--only", "graphql"]);
        if self.no_node.is_none() {
            words.extend(["--only", "ai-sdk"]);
        }
        words.extend(self.counts("--people 3 --idle 3 --idle-seconds 0.2 --minute 0.5 --messages 2 --short 5 --long 20 --pace 1 --repeats 0", "--people 200 --idle 500 --idle-seconds 3 --minute 6 --messages 2 --short 50 --long 250 --pace 20 --repeats 1"));
        let report = people::measure(&self.typed(&words, true)?, self.cores)?;
        let mut figures = Vec::new();
        let run = |wire, kind| {
            let mut runs = report.runs.iter();
            let run = runs.find(|run| run.wire == wire && run.database == kind);
            run.ok_or_else(|| format!("{wire:?} was not measured on {kind}"))
        };
        for kind in [Kind::Sqlite, Kind::Postgres] {
            // The floor's wire is server-sent events, like the legacy stream.
            figures.push(self.on(kind, "turn", kind.to_string(), || {
                let (one, floor) = (run(Wire::Legacy, kind)?, run(Wire::Floor, kind)?);
                Ok((one.turn / floor.turn, one.busy() || floor.busy()))
            })?);
            for wire in [Wire::Graphql, Wire::Legacy] {
                let case = format!("{kind}, {}", wire.name());
                figures.push(self.on(kind, "person", case, || {
                    let one = run(wire, kind)?;
                    Ok((one.memory, one.busy()))
                })?);
            }
        }
        figures.push(given(
            self.no_node.as_ref(),
            "turn against the AI SDK",
            "PostgreSQL".to_owned(),
            || {
                let one = run(Wire::Legacy, Kind::Postgres)?;
                let peer = run(Wire::AiSdk, Kind::Postgres)?;
                Ok((one.turn / peer.turn, one.busy() || peer.busy()))
            },
        )?);
        Ok(figures)
    }

    pub fn tokens(&self) -> Result<Vec<Figure>> {
        let case = match self.arguments.few {
            true => "5 streams",
            false => "100 streams",
        };
        let nginx = path(&self.arguments.nginx)?;
        let mut words = vec!["--rounds", "1", "--nginx", nginx];
        words.extend(self.counts(
            "--streams 5 --short 5 --long 20 --pace 5 --repeats 0",
            "--streams 100 --short 50 --long 250 --pace 20 --repeats 1",
        ));
        let figure = given(self.no_nginx.as_ref(), "token", case.to_owned(), || {
            stream::measure(&self.typed(&words, false)?, self.cores)?.token_ratio()
        })?;
        Ok(vec![figure])
    }

    pub fn first_messages(&self) -> Result<Vec<Figure>> {
        let at_once = if self.arguments.few { "4" } else { "32" };
        let mut words = vec![
            "--rounds",
            "1",
            "--only",
            "throughput",
            "--at-once",
            at_once,
        ];
        words.extend(self.counts("--messages 20 --repeats 0", "--messages 1000 --repeats 1"));
        let report = turn::measure(&self.typed(&words, true)?, self.cores)?;
        [Kind::Sqlite, Kind::Postgres]
            .map(|kind| {
                self.on(
                    kind,
                    "first message",
                    format!("{kind}, {at_once} at a time"),
                    || report.time_ratio(kind),
                )
            })
            .into_iter()
            .collect()
    }

    /// The cost of lists, on a database filled for this purpose.
    pub fn lists(&self) -> Result<Vec<Figure>> {
        let (count, requests, rounds) = match self.arguments.few {
            // The listing user owns a tenth of the conversations, and a list has 50.
            true => (1_000, "5", "1".to_owned()),
            false => (LISTED, "1000", self.arguments.rounds.to_string()),
        };
        let mut figures = Vec::new();
        for kind in [Kind::Sqlite, Kind::Postgres] {
            let case = format!("{kind}, of {count}");
            if let (Kind::Postgres, Some(why)) = (kind, &self.no_postgres) {
                figures.push(Figure::missing("list", case, why));
                continue;
            }
            let server = self.arguments.database_url.as_deref();
            let titlecast = &self.arguments.titlecast;
            let database = in_runtime(async {
                let database = Database::create(kind, server, titlecast).await?;
                seed::fill(&database.url, count, count, 1).await?;
                Ok(database)
            })?;
            let words = [
                "--requests",
                requests,
                "--rounds",
                &rounds,
                "--only",
                "titlecast",
            ];
            let words = [&words[..], &["--database-url", &database.url]].concat();
            let found = list::ratios(&self.typed_without_json(&words)?, self.cores);
            in_runtime(database.remove())?;
            for (value, busy) in found? {
                figures.push(Figure {
                    goal: "list",
                    case: case.clone(),
                    value: Ok(value),
                    busy,
                });
            }
        }
        Ok(figures)
    }

    /// The cost of cold deliveries, and of publishing without subscribers.
    pub fn deliveries(&self) -> Result<Vec<Figure>> {
        let mut words = vec!["--rounds", "1", "--only", "titlecast"];
        words.extend(self.counts(
            "--subscribers 20 --conversations 20 --seconds 0.2 --repeats 0",
            "--subscribers 1000 --conversations 1000 --seconds 2 --repeats 1",
        ));
        let report = fanout::measure(&self.typed(&words, false)?, self.cores)?;
        let mut figures = Vec::new();
        for cold in report.cold()? {
            figures.push(Figure {
                goal: "cold delivery",
                case: format!("{}, {}", cold.transport, cold.conversations),
                value: Ok(cold.ratio),
                busy: cold.busy,
            });
            let count = match self.arguments.few {
                true => 20,
                false => 2_000,
            };
            let bare = in_runtime(rename::bare(&self.arguments.titlecast, count))?;
            figures.push(Figure {
                goal: "publishing",
                case: format!("SQLite, {} connected", cold.transport),
                value: Ok(cold.publishing - bare),
                busy: cold.busy,
            });
        }
        Ok(figures)
    }

    /// Chooses the sizes of a scenario, as typed on the command line: small ones for a smoke test, or meaningful ones.
    fn counts<'w>(&self, few: &'w str, many: &'w str) -> std::str::Split<'w, char> {
        let words = if self.arguments.few { few } else { many };
        words.split(' ')
    }

    /// A figure on a database, if that database is available.
    fn on(
        &self,
        kind: Kind,
        goal: &'static str,
        case: String,
        value: impl FnOnce() -> Result<(f64, bool)>,
    ) -> Result<Figure> {
        let missing = self.no_postgres.as_ref();
        given(
            missing.filter(|_| kind == Kind::Postgres),
            goal,
            case,
            value,
        )
    }

    /// The arguments of a scenario that measures the program. Includes the PostgreSQL server if the scenario accepts
    /// one.
    fn typed<A: clap::Args>(&self, words: &[&str], takes_database: bool) -> Result<A> {
        let json = self.folder.path().join("figures.json");
        let mut all = [words, &["--json", path(&json)?]].concat();
        if let (true, Some(url)) = (takes_database, &self.arguments.database_url) {
            all.extend(["--database-url", url]);
        }
        self.typed_without_json(&all)
    }

    fn typed_without_json<A: clap::Args>(&self, words: &[&str]) -> Result<A> {
        let program = [
            "titlecast-bench",
            "--titlecast",
            path(&self.arguments.titlecast)?,
        ];
        let all = program.iter().chain(words);
        Ok(Typed::<A>::try_parse_from(all)?.arguments)
    }
}

/// A figure, or the reason if what it needs is missing.
fn given(
    missing: Option<&String>,
    goal: &'static str,
    case: String,
    value: impl FnOnce() -> Result<(f64, bool)>,
) -> Result<Figure> {
    if let Some(why) = missing {
        return Ok(Figure::missing(goal, case, why));
    }
    let (value, busy) = value()?;
    Ok(Figure {
        goal,
        case,
        value: Ok(value),
        busy,
    })
}

fn path(path: &Path) -> Result<&str> {
    path.to_str()
        .ok_or_else(|| format!("no text: {}", path.display()).into())
}
