//! What must hold of a run with freezes.

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::load::{Outcome, Probe, Records, Request, Site};

/// A request that took longer than this was held up.
const SLOW: Duration = Duration::from_secs(2);

/// How long `/readyz` may take: it answers within a second, and the machine is busy.
const PROBED: Duration = Duration::from_millis(1_500);

/// How long a reply whose text is complete may take to be stored: what a frozen transaction has locked is free again
/// after 10 s, and is waited for for 5.
const STORED: Duration = Duration::from_secs(20);

/// The outcome of one freeze.
#[derive(Debug, Default)]
struct Freeze {
    /// When the last request that was refused or held up ended, since the freeze.
    served_after: Duration,
    /// Requests of the frozen node that were refused, and that were held up and served.
    refused: usize,
    slow: usize,
    /// When it was not ready first and last, since the freeze.
    not_ready: Option<(Duration, Duration)>,
    /// Requests of the other node that were refused or held up, and probes at which it was not ready once more.
    noticed: usize,
    slowest_elsewhere: Duration,
}

/// What was seen, in numbers.
pub struct Verdict {
    freezes: Vec<Freeze>,
    requests: usize,
    replies: usize,
    replies_elsewhere: usize,
    slowest_request: Duration,
    slowest_probe: Duration,
    slowest_end: Duration,
    /// The longest that a node said that it was ready while it served nothing.
    believed: Duration,
    faults: Vec<String>,
}

impl Request {
    fn took(&self) -> Duration {
        self.ended - self.began
    }

    fn is_trouble(&self) -> bool {
        self.outcome == Outcome::Refused || self.took() > SLOW
    }
}

impl Verdict {
    pub fn of(freezes: &[(Instant, Site)], records: &Records) -> Self {
        let Records {
            requests,
            probes,
            replies,
            faults,
        } = records;
        let mut faults = faults.clone();
        faults.extend(replies.iter().filter_map(|reply| reply.fault.clone()));
        let ends = |at: usize| freezes.get(at + 1).map(|(next, _)| *next);
        let judged = freezes.iter().enumerate().map(|(number, (at, site))| {
            // A request in flight at the next freeze counts for that freeze.
            let during =
                |ended: &Instant| ended >= at && ends(number).is_none_or(|next| *ended < next);
            let requests = requests.iter().filter(|request| during(&request.ended));
            let probes = probes.iter().filter(|probe| during(&probe.ended));
            Freeze::of(*at, *site, requests, probes)
        });
        let freezes = judged.collect();
        let longest = |times: &mut dyn Iterator<Item = Duration>| times.max().unwrap_or_default();
        Self {
            freezes,
            requests: requests.len(),
            replies: replies.len(),
            replies_elsewhere: replies.iter().filter(|reply| reply.is_elsewhere).count(),
            slowest_request: longest(&mut requests.iter().map(Request::took)),
            slowest_probe: longest(&mut probes.iter().map(|probe| probe.ended - probe.began)),
            slowest_end: longest(&mut replies.iter().map(|reply| reply.ended - reply.last_text)),
            believed: longest(
                &mut [Site(0), Site(1)]
                    .map(|site| believed(site, records))
                    .into_iter(),
            ),
            faults,
        }
    }

    /// What does not hold.
    pub fn faults(&self, recovery: Duration, believed: Duration) -> Vec<String> {
        let mut faults = self.faults.clone();
        for (number, freeze) in self.freezes.iter().enumerate() {
            let Freeze {
                served_after,
                noticed,
                not_ready,
                ..
            } = freeze;
            if *served_after > recovery {
                faults.push(format!("freeze {number}: trouble for {served_after:.1?}"));
            }
            if *noticed > 0 {
                faults.push(format!(
                    "freeze {number}: the other node noticed: {freeze:?}"
                ));
            }
            if let Some((_, last)) = not_ready
                && *last > recovery
            {
                faults.push(format!("freeze {number}: not ready {last:.1?} after it"));
            }
        }
        if self.believed > believed {
            let time = self.believed;
            faults.push(format!("ready for {time:.1?} while nothing was served"));
        }
        if self.slowest_probe > PROBED {
            faults.push(format!("/readyz took {:.1?}", self.slowest_probe));
        }
        if self.slowest_end > STORED {
            faults.push(format!("an end took {:.1?}", self.slowest_end));
        }
        faults
    }
}

impl Freeze {
    fn of<'a>(
        at: Instant,
        site: Site,
        requests: impl Iterator<Item = &'a Request>,
        probes: impl Iterator<Item = &'a Probe>,
    ) -> Self {
        let mut freeze = Self::default();
        for request in requests {
            match (request.site == site, request.is_trouble()) {
                (true, true) => {
                    freeze.served_after = freeze.served_after.max(request.ended - at);
                    match request.outcome {
                        Outcome::Refused => freeze.refused += 1,
                        Outcome::Served => freeze.slow += 1,
                    }
                }
                (true, false) => {}
                (false, is_trouble) => {
                    freeze.noticed += usize::from(is_trouble);
                    freeze.slowest_elsewhere = freeze.slowest_elsewhere.max(request.took());
                }
            }
        }
        let mut was_ready = true;
        for probe in probes {
            if probe.site != site {
                // A single one may be caused by this machine, which had no time for a ping.
                freeze.noticed += usize::from(!probe.is_ready && !was_ready);
                was_ready = probe.is_ready;
                continue;
            }
            if probe.is_ready {
                continue;
            }
            let since = probe.ended.saturating_duration_since(at);
            let (first, last) = freeze.not_ready.unwrap_or((since, since));
            freeze.not_ready = Some((first.min(since), last.max(since)));
        }
        freeze
    }
}

/// The longest that a node said that it was ready while it served nothing: from the last request that was served to the
/// last probe before the next one that was.
fn believed(site: Site, records: &Records) -> Duration {
    let of_site = records
        .requests
        .iter()
        .filter(|request| request.site == site);
    let served = of_site.filter(|request| request.outcome == Outcome::Served);
    let mut served: Vec<Instant> = served.map(|request| request.ended).collect();
    served.sort_unstable();
    let ready = records.probes.iter();
    let ready = ready.filter(|probe| probe.site == site && probe.is_ready);
    let gaps = ready.filter_map(|probe| {
        let next = served.partition_point(|at| *at <= probe.began);
        let (before, _) = (served.get(next.checked_sub(1)?)?, served.get(next)?);
        Some(probe.began - *before)
    });
    gaps.max().unwrap_or_default()
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for freeze in &self.freezes {
            let Freeze {
                served_after,
                refused,
                slow,
                not_ready,
                noticed,
                slowest_elsewhere,
            } = freeze;
            let not_ready = match not_ready {
                Some((first, last)) => format!("not ready from {first:.1?} to {last:.1?}"),
                None => "always ready".to_owned(),
            };
            writeln!(
                f,
                "all is served after {served_after:.1?}: {refused} refused, {slow} slow, {not_ready}; \
                 elsewhere {noticed} noticed, the slowest {slowest_elsewhere:.1?}"
            )?;
        }
        write!(
            f,
            "{} requests, the slowest {:.1?}; {} replies, {} of them read elsewhere; the slowest end {:.1?}, \
             the slowest probe {:.1?}; ready while nothing was served for {:.1?}",
            self.requests,
            self.slowest_request,
            self.replies,
            self.replies_elsewhere,
            self.slowest_end,
            self.slowest_probe,
            self.believed
        )
    }
}
