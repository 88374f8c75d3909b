//! A goal, the figures measured for it, and whether it is met.

use std::fmt;

use serde::Serialize;

use crate::statistics::Rounds;

pub struct Goal {
    pub name: &'static str,
    what: &'static str,
    at_most: f64,
    /// Limits for cases whose names have these prefixes.
    others: Vec<(&'static str, f64)>,
    cases: Vec<Case>,
}

struct Case {
    name: String,
    values: Vec<f64>,
    busy: usize,
    missing: Option<String>,
}

/// The result of one round for one case of a goal.
pub struct Figure {
    pub goal: &'static str,
    pub case: String,
    /// The figure, or why it is missing.
    pub value: Result<f64, String>,
    /// Whether other programs kept the machine busy.
    pub busy: bool,
}

impl Figure {
    pub fn missing(goal: &'static str, case: String, why: &str) -> Self {
        Self {
            goal,
            case,
            value: Err(why.to_owned()),
            busy: false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Met,
    Missed,
    NotMeasured,
}

/// A goal in machine-readable form.
#[derive(Serialize)]
pub struct Described<'a> {
    goal: &'a str,
    what: &'a str,
    status: Status,
    cases: Vec<DescribedCase<'a>>,
}

#[derive(Serialize)]
struct DescribedCase<'a> {
    case: &'a str,
    at_most: f64,
    status: Status,
    /// The median, lowest and highest of the rounds.
    measured: Option<Rounds>,
    rounds: usize,
    rounds_on_a_busy_machine: usize,
    why_not_measured: Option<&'a str>,
}

impl Goal {
    pub fn new(name: &'static str, what: &'static str, at_most: f64) -> Self {
        Self {
            name,
            what,
            at_most,
            others: Vec::new(),
            cases: Vec::new(),
        }
    }

    /// Sets another limit for cases with this prefix.
    pub fn with_case(mut self, case: &'static str, at_most: f64) -> Self {
        self.others.push((case, at_most));
        self
    }

    pub fn note(&mut self, figure: Figure) {
        let known = self.cases.iter().position(|case| case.name == figure.case);
        let place = known.unwrap_or_else(|| {
            self.cases.push(Case {
                name: figure.case,
                values: Vec::new(),
                busy: 0,
                missing: None,
            });
            self.cases.len() - 1
        });
        let case = &mut self.cases[place];
        case.busy += usize::from(figure.busy);
        match figure.value {
            Ok(value) => case.values.push(value),
            Err(why) => case.missing = Some(why),
        }
    }

    fn at_most(&self, case: &str) -> f64 {
        let mut others = self.others.iter();
        let other = others.find(|(name, _)| case.starts_with(name));
        other.map_or(self.at_most, |(_, at_most)| *at_most)
    }

    /// Met if all cases are; not measured if some case is not measured and none is missed.
    fn status(&self) -> Status {
        let of = |case: &Case| case.status(self.at_most(&case.name));
        let all: Vec<Status> = self.cases.iter().map(of).collect();
        match () {
            () if all.contains(&Status::Missed) => Status::Missed,
            () if all.is_empty() || all.contains(&Status::NotMeasured) => Status::NotMeasured,
            () => Status::Met,
        }
    }

    pub fn described(&self) -> Described<'_> {
        let cases = self.cases.iter().map(|case| DescribedCase {
            case: &case.name,
            at_most: self.at_most(&case.name),
            status: case.status(self.at_most(&case.name)),
            measured: case.rounds(),
            rounds: case.values.len(),
            rounds_on_a_busy_machine: case.busy,
            why_not_measured: case.why(),
        });
        Described {
            goal: self.name,
            what: self.what,
            status: self.status(),
            cases: cases.collect(),
        }
    }
}

impl Case {
    /// The results of all rounds; `None` if any of them failed.
    fn rounds(&self) -> Option<Rounds> {
        let measured = self.missing.is_none() && !self.values.is_empty();
        measured.then(|| self.values.iter().copied().collect())
    }

    /// Why there is no figure to compare with the goal.
    fn why(&self) -> Option<&str> {
        // Figures are differences of measurements, and no real cost is zero.
        let is_cost = |rounds: Rounds| rounds.median > 0.0;
        match &self.missing {
            Some(why) => Some(why),
            None if self.rounds().is_some_and(is_cost) => None,
            None => Some("it is lost in the noise of this machine"),
        }
    }

    fn status(&self, at_most: f64) -> Status {
        match (self.why(), self.rounds()) {
            (None, Some(rounds)) if rounds.median <= at_most => Status::Met,
            (None, Some(_)) => Status::Missed,
            _ => Status::NotMeasured,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::NotMeasured => "not measured",
        })
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<14}{}", self.status(), self.what)?;
        for case in &self.cases {
            let at_most = self.at_most(&case.name);
            let measured = match (case.rounds(), case.why()) {
                (Some(rounds), Some(why)) => format!("{rounds}: {why}"),
                (Some(rounds), None) => rounds.to_string(),
                (None, why) => why.unwrap_or_default().to_owned(),
            };
            let status = case.status(at_most);
            write!(
                f,
                "  {status:<14}{:<40}at most {at_most:<8}{measured}",
                case.name
            )?;
            if case.busy > 0 {
                write!(f, "  [{} in a busy machine]", case.busy)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goal(values: &[(&str, Result<f64, &str>)]) -> Goal {
        let mut goal = Goal::new("a", "b", 1.3).with_case("SQLite", 1.0);
        for (case, value) in values {
            goal.note(Figure {
                goal: "a",
                case: (*case).to_owned(),
                value: value.map_err(str::to_owned),
                busy: false,
            });
        }
        goal
    }

    #[test]
    fn a_goal_is_met_by_all_of_its_cases_and_their_medians() {
        let met = [
            ("PostgreSQL", Ok(1.2)),
            ("PostgreSQL", Ok(1.9)),
            ("PostgreSQL", Ok(1.3)),
        ];
        assert_eq!(goal(&met).status(), Status::Met);
        assert_eq!(goal(&[("SQLite", Ok(1.2))]).status(), Status::Missed);
        assert_eq!(
            goal(&[("SQLite", Ok(1.0)), ("PostgreSQL", Ok(1.4))]).status(),
            Status::Missed
        );
    }

    #[test]
    fn what_is_lost_in_noise_is_neither_met_nor_missed() {
        for lost in [-19.3, 0.0, f64::NAN] {
            let goal = goal(&[("PostgreSQL", Ok(lost))]);
            assert_eq!(goal.status(), Status::NotMeasured, "{lost}");
            assert!(goal.to_string().contains("noise"), "{lost}");
        }
    }

    #[test]
    fn what_is_not_measured_is_not_met() {
        assert_eq!(goal(&[]).status(), Status::NotMeasured);
        let some = [("SQLite", Ok(0.9)), ("PostgreSQL", Err("none here"))];
        assert_eq!(goal(&some).status(), Status::NotMeasured);
        let missed = [("SQLite", Ok(1.9)), ("PostgreSQL", Err("none here"))];
        assert_eq!(goal(&missed).status(), Status::Missed);
        let later = [("PostgreSQL", Ok(1.0)), ("PostgreSQL", Err("gone"))];
        assert_eq!(goal(&later).status(), Status::NotMeasured);
        assert!(goal(&some).to_string().contains("none here"));
    }
}
