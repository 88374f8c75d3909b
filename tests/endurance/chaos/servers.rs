//! The servers: real processes on one database, their faults, and their logs.

use std::{cell::RefCell, time::Duration};

use fastrand::Rng;
use futures_util::future::join_all;
use titlecast_testing::{TestDatabase, Titlecast, process::Process};
use tokio::time::sleep;

use super::plan::{Fault, FaultKind, REST};

/// Holds titles between two of their steps now and then, so that kills get in between.
pub const FAILPOINTS: &str = "titles.claimed=10%sleep(50);titles.answered=20%sleep(80);\
    titles.stored=20%sleep(80);titles.published=10%sleep(50)";

/// The servers of one run.
pub struct Servers {
    arguments: Vec<String>,
    failpoints: String,
    /// One for each server, permanently.
    places: RefCell<Vec<Place>>,
    troubles: RefCell<Vec<String>>,
}

/// Where a server is, or nothing while it is dead.
#[derive(Default)]
struct Place {
    url: Option<String>,
    process: Option<Process>,
}

impl Servers {
    pub fn new(
        database: &TestDatabase,
        model_url: &str,
        title_deadline: Duration,
        failpoints: &str,
    ) -> Self {
        let deadline = format!("{}ms", title_deadline.as_millis());
        let arguments = [
            ("--listen", "127.0.0.1:0"),
            ("--database-url", &database.url),
            ("--openai-base-url", model_url),
            ("--openai-api-key", "sk-test-key"),
            ("--title-check", "false"),
            ("--title-deadline", &deadline),
            ("--title-sweep", "500ms"),
        ];
        let arguments = arguments
            .into_iter()
            .flat_map(|(name, value)| [name, value]);
        Self {
            arguments: arguments.map(str::to_owned).collect(),
            failpoints: failpoints.into(),
            places: RefCell::default(),
            troubles: RefCell::default(),
        }
    }

    /// Starts this many.
    pub async fn start(&self, count: usize) {
        for server in 0..count {
            self.places.borrow_mut().push(Place::default());
            self.revive(server).await;
        }
    }

    async fn revive(&self, server: usize) {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let command = Titlecast::new(&arguments).env("FAILPOINTS", &self.failpoints);
        let mut process = command.start();
        let url = process.url().await;
        self.places.borrow_mut()[server] = Place {
            url: Some(url),
            process: Some(process),
        };
    }

    /// Where one of them listens, as soon as any does. It may be stopped, or dead by the time it is asked.
    pub async fn any(&self, rng: &mut Rng) -> String {
        loop {
            let urls = |place: &Place| place.url.clone();
            let living: Vec<String> = self.places.borrow().iter().filter_map(urls).collect();
            if let Some(url) = rng.choice(living) {
                return url;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Does all of this to them, with a rest after each round but the last.
    pub async fn befall(&self, rounds: &[Vec<Vec<Fault>>]) {
        for (number, round) in rounds.iter().enumerate() {
            if number > 0 {
                sleep(REST).await;
            }
            let faults = round.iter().enumerate();
            join_all(faults.map(|(server, faults)| self.befall_one(server, faults))).await;
        }
    }

    async fn befall_one(&self, server: usize, faults: &[Fault]) {
        for fault in faults {
            sleep(fault.after).await;
            match fault.kind {
                FaultKind::Kill => {
                    self.signal(server, "KILL");
                    let dead = std::mem::take(&mut self.places.borrow_mut()[server]);
                    self.bury(dead).await;
                    self.revive(server).await;
                }
                FaultKind::Stop(stop) => {
                    self.signal(server, "STOP");
                    sleep(stop).await;
                    self.signal(server, "CONT");
                }
            }
        }
    }

    /// Ends what lives as an operator would.
    pub async fn end(&self) {
        let places = self.places.take();
        for place in places {
            if let Some(process) = &place.process {
                process.terminate();
            }
            self.bury(place).await;
        }
    }

    fn signal(&self, server: usize, name: &str) {
        if let Some(process) = &self.places.borrow()[server].process {
            process.signal(name);
        }
    }

    /// Waits for its end, and reads what it said.
    async fn bury(&self, place: Place) {
        let Some(process) = place.process else {
            return;
        };
        let ended = process.ended().await;
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
        let lines = ended.stderr.lines().filter(|line| line.contains(" ERROR "));
        self.troubles.borrow_mut().extend(lines.map(str::to_owned));
    }

    /// Errors in what they logged.
    pub fn troubles(&self) -> Vec<String> {
        self.troubles.borrow().clone()
    }
}
