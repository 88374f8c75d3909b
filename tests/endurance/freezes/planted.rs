//! The verdict finds what it looks for.

use std::time::{Duration, Instant};

use super::{
    BELIEVED, RECOVERY,
    load::{Kind, Outcome, Probe, Records, Reply, Request, Site},
    verdict::Verdict,
};

/// Both nodes serve a request and are ready every half second, for twenty seconds; the first is frozen after five.
struct Run {
    start: Instant,
    records: Records,
}

impl Run {
    fn good() -> Self {
        let mut run = Self {
            start: Instant::now(),
            records: Records::default(),
        };
        for half in 0..40 {
            for site in [Site(0), Site(1)] {
                run.request(site, half * 500, 20, Outcome::Served);
                run.probe(site, half * 500 + 250, true);
            }
        }
        run
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn request(&mut self, site: Site, began: u64, took: u64, outcome: Outcome) {
        let request = Request {
            site,
            kind: Kind::List,
            began: self.at(began),
            ended: self.at(began + took),
            outcome,
        };
        self.records.requests.push(request);
    }

    fn probe(&mut self, site: Site, began: u64, is_ready: bool) {
        let probe = Probe {
            site,
            began: self.at(began),
            ended: self.at(began + 10),
            is_ready,
        };
        self.records.probes.push(probe);
    }

    /// Nothing is served there for so long, and so long it still says that it is ready.
    fn silence(&mut self, site: Site, ms: u64, believed: u64) {
        let (from, to) = (self.at(5_000), self.at(5_000 + ms));
        let still = self.at(5_000 + believed);
        let Records {
            requests, probes, ..
        } = &mut self.records;
        requests.retain(|request| request.site != site || !(from..to).contains(&request.began));
        for probe in probes.iter_mut() {
            let is_within = (still..to).contains(&probe.began);
            probe.is_ready &= probe.site != site || !is_within;
        }
        self.request(site, 5_000, ms, Outcome::Refused);
    }

    fn faults(&self) -> Vec<String> {
        let freezes = [(self.at(5_000), Site(0))];
        Verdict::of(&freezes, &self.records).faults(RECOVERY, BELIEVED)
    }

    #[track_caller]
    fn assert_found(&self, part: &str) {
        let faults = self.faults();
        let [fault] = faults.as_slice() else {
            panic!("{part}: {faults:?}");
        };
        assert!(fault.contains(part), "{fault}");
    }
}

#[test]
fn a_run_as_it_should_be_is_blamed_for_nothing() {
    let mut run = Run::good();
    assert_eq!(run.faults(), Vec::<String>::new());
    run.silence(Site(0), 8_000, 1_000);
    assert_eq!(run.faults(), Vec::<String>::new());
}

#[test]
fn a_node_that_is_long_in_coming_back_is_found() {
    let mut run = Run::good();
    run.request(Site(0), 5_100, 11_000, Outcome::Refused);
    run.assert_found("trouble for 11.1s");
    let mut run = Run::good();
    run.request(Site(0), 5_100, 11_000, Outcome::Served);
    run.assert_found("trouble for 11.1s");
    let mut run = Run::good();
    run.probe(Site(0), 17_000, false);
    run.assert_found("not ready 12.0s after it");
}

#[test]
fn a_node_that_says_it_is_ready_and_serves_nothing_is_found() {
    let mut run = Run::good();
    run.silence(Site(0), 8_000, 6_000);
    run.assert_found("while nothing was served");
}

#[test]
fn another_node_that_notices_is_found() {
    for (took, outcome) in [(50, Outcome::Refused), (2_100, Outcome::Served)] {
        let mut run = Run::good();
        run.request(Site(1), 6_000, took, outcome);
        run.assert_found("the other node noticed");
    }
    let mut run = Run::good();
    run.probe(Site(1), 6_000, false);
    assert_eq!(run.faults(), Vec::<String>::new());
    run.probe(Site(1), 6_200, false);
    run.assert_found("the other node noticed");
}

#[test]
fn replies_with_faults_late_ends_and_slow_probes_are_found() {
    let mut run = Run::good();
    let reply = Reply {
        is_elsewhere: false,
        last_text: run.at(6_000),
        ended: run.at(27_000),
        fault: None,
    };
    run.records.replies.push(reply);
    run.assert_found("an end took 21.0s");
    let last = run.records.replies.last_mut().unwrap();
    last.ended = last.last_text;
    last.fault = Some("closed".to_owned());
    run.assert_found("closed");
    let mut run = Run::good();
    run.records.probes[3].ended += Duration::from_secs(2);
    run.assert_found("/readyz took");
}
