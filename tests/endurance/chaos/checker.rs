//! The invariants: a pure function over the database's audit log and final rows, what clients received, and the calls
//! of the model. A checker that cannot fail proves nothing: `planted` feeds it one forbidden history of each kind.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{model::Calls, plan::Deed};

/// A conversation's row, in what is about its title.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub name: Option<String>,
    pub source: String,
    pub title_status: String,
    pub failure: Option<String>,
    pub generated_at: Option<DateTime<Utc>>,
    pub token: Option<Uuid>,
    pub lease_until: Option<DateTime<Utc>>,
    pub status: String,
    pub revision: i64,
    pub updated_at: DateTime<Utc>,
}

/// A change of a row, as a trigger logged it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub id: Uuid,
    /// None: the row was begun.
    pub old: Option<State>,
    pub new: State,
}

/// The outcome of an action, as its client knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    pub deed: Deed,
    /// Answered as done.
    pub accepted: bool,
    /// How often it was sent.
    pub sent: usize,
    /// Abandoned without an answer while its server lived: the change may still happen at any time.
    pub may_come_late: bool,
}

/// What was done to a conversation, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    pub number: usize,
    pub id: Uuid,
    pub done: Vec<Done>,
}

/// All that is known after a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In the order in which they happened.
    pub changes: Vec<Change>,
    /// How each row ended, and the revision that was recorded as published.
    pub rows: HashMap<Uuid, (State, i64)>,
    /// What people said, as it is stored.
    pub messages: Vec<(Uuid, String)>,
    pub remembered: Vec<Remembered>,
    /// By the conversations' numbers.
    pub calls: HashMap<usize, Calls>,
}

/// What must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Untitled,
    DoubleTitle,
    OverwrittenRename,
    Unpublished,
    Resurrected,
    LostMessage,
    /// A title was given up when its lease had run out: its process was stopped, or too many processes died.
    GivenUpLate,
    /// A retried message was never accepted.
    Unanswered,
}

/// One violation, and where it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub kind: Kind,
    pub id: Uuid,
    pub what: String,
}

/// Everything that is wrong.
pub fn violations(history: &History) -> Vec<Violation> {
    let mut changes: HashMap<Uuid, Vec<&Change>> = HashMap::new();
    for change in &history.changes {
        changes.entry(change.id).or_default().push(change);
    }
    let mut stored: HashMap<(Uuid, &str), usize> = HashMap::new();
    for (id, text) in &history.messages {
        *stored.entry((*id, text)).or_default() += 1;
    }
    let mut found = Vec::new();
    for remembered in &history.remembered {
        let calls = history.calls.get(&remembered.number);
        let mut check = Check {
            remembered,
            found: &mut found,
        };
        if let Some(changes) = changes.get(&remembered.id) {
            check.changes(changes);
        }
        check.messages(&stored);
        if let Some((row, published)) = history.rows.get(&remembered.id) {
            check.row(row, *published, calls.copied().unwrap_or_default(), &stored);
        }
    }
    found
}

struct Check<'a> {
    remembered: &'a Remembered,
    found: &'a mut Vec<Violation>,
}

impl Check<'_> {
    fn wrong(&mut self, kind: Kind, what: impl Into<String>) {
        self.found.push(Violation {
            kind,
            id: self.remembered.id,
            what: what.into(),
        });
    }

    fn has(&self, deed: impl Fn(&Deed) -> bool) -> impl Iterator<Item = (usize, &Done)> {
        let done = self.remembered.done.iter().enumerate();
        done.filter(move |(_, done)| deed(&done.deed))
    }

    /// Each title was due: the first one, and one for each regeneration that a user requested.
    fn changes(&mut self, changes: &[&Change]) {
        let wishes: usize = self.has(wishes_a_title).map(|(_, done)| done.sent).sum();
        let may_replace = self.has(replaces_manual).next().is_some();
        let (mut is_due, mut begun) = (true, 0);
        for Change { old, new, .. } in changes.iter().copied() {
            let Some(old) = old else { continue };
            if old.status == "deleted" && (new.status != "deleted" || new.name.is_some()) {
                self.wrong(Kind::Resurrected, "a tombstone changed");
            }
            if is_beginning(old, new) {
                begun += 1;
                if begun > wishes {
                    self.wrong(Kind::DoubleTitle, "another title was begun unasked");
                }
                if new.source == "manual" && !may_replace {
                    let what = "a title is made over a manual one unasked";
                    self.wrong(Kind::OverwrittenRename, what);
                }
                is_due = true;
            } else if new.source == "manual" && (old.name != new.name || old.source != "manual") {
                is_due = false;
            } else if new.source == "generated" && old.generated_at != new.generated_at {
                let name = new.name.as_deref().unwrap_or_default();
                match old.source.as_str() {
                    _ if is_due => {}
                    "manual" => self.wrong(
                        Kind::OverwrittenRename,
                        format!("{:?} was overwritten with {name:?}", old.name),
                    ),
                    _ => self.wrong(
                        Kind::DoubleTitle,
                        format!("{:?} and then {name:?}", old.name),
                    ),
                }
                is_due = false;
            }
            let is_given_up = old.title_status == "pending" && old.failure != new.failure;
            let is_late = old.lease_until.is_some_and(|end| end < new.updated_at);
            if let Some(failure) = &new.failure
                && is_given_up
                && is_late
            {
                let what = format!("{failure}, {:?} at {}", old.lease_until, new.updated_at);
                self.wrong(Kind::GivenUpLate, what);
            }
        }
    }

    /// Every accepted message is stored once, unless the conversation was deleted.
    fn messages(&mut self, stored: &HashMap<(Uuid, &str), usize>) {
        let is_deleted = self.has(|deed| *deed == Deed::Delete).next().is_some();
        for done in &self.remembered.done {
            let Deed::Say(text) = &done.deed else {
                continue;
            };
            let count = stored.get(&(self.remembered.id, text)).copied();
            match (count.unwrap_or_default(), done.accepted) {
                (0, true) if !is_deleted => self.wrong(Kind::LostMessage, text),
                (0 | 1, true) => {}
                (_, false) if !is_deleted => self.wrong(Kind::Unanswered, text),
                (0 | 1, false) => {}
                (count, _) => self.wrong(Kind::LostMessage, format!("{count} times {text}")),
            }
        }
    }

    fn row(
        &mut self,
        row: &State,
        published: i64,
        calls: Calls,
        stored: &HashMap<(Uuid, &str), usize>,
    ) {
        if published != row.revision {
            let what = format!("published revision {published} of {}", row.revision);
            self.wrong(Kind::Unpublished, what);
        }
        let deletions = self.has(|deed| *deed == Deed::Delete);
        let is_deleted = { deletions }.any(|(_, done)| done.accepted);
        if is_deleted && (row.status != "deleted" || row.name.is_some()) {
            self.wrong(Kind::Resurrected, format!("{row:?}"));
        }
        if row.status == "deleted" {
            return;
        }
        if let Some(name) = self.standing_name()
            && (row.name.as_ref() != Some(&name) || row.source != "manual")
        {
            self.wrong(
                Kind::OverwrittenRename,
                format!("{name:?} is {:?}", row.name),
            );
        }
        let says_something = self.remembered.done.iter().any(|done| match &done.deed {
            Deed::Say(text) if done.deed.says_something() => {
                stored.contains_key(&(self.remembered.id, text))
            }
            _ => false,
        });
        let is_excused = row.title_status == "failed"
            && match row.failure.as_deref() {
                Some("unavailable") => calls.failed >= 2,
                // The machine was slow, since the model is not. A stopped process may not report it.
                Some("timeout") => true,
                _ => false,
            };
        let is_settled = row.title_status == "ready" && row.name.is_some();
        if says_something && !is_settled && !is_excused {
            let what = format!("{} {:?}, {calls:?}", row.title_status, row.failure);
            self.wrong(Kind::Untitled, what);
        }
    }

    /// The title that a user gave and that nothing else may have replaced.
    fn standing_name(&self) -> Option<String> {
        let is_name = |deed: &Deed| matches!(deed, Deed::Rename(_));
        let (last, done) = self.has(is_name).filter(|(_, done)| done.accepted).last()?;
        let replaces = |deed: &Deed| is_name(deed) || replaces_manual(deed);
        let is_replaced = self
            .has(replaces)
            .any(|(place, done)| place != last && (place > last || done.may_come_late));
        match &done.deed {
            Deed::Rename(name) if !is_replaced => Some(name.clone()),
            _ => None,
        }
    }
}

/// The kinds that were found.
pub fn kinds(violations: &[Violation]) -> HashSet<Kind> {
    violations.iter().map(|violation| violation.kind).collect()
}

fn wishes_a_title(deed: &Deed) -> bool {
    matches!(deed, Deed::Regenerate { .. } | Deed::Reset)
}

fn replaces_manual(deed: &Deed) -> bool {
    let regenerates = Deed::Regenerate {
        replace_manual: true,
    };
    *deed == regenerates || *deed == Deed::Reset || *deed == Deed::Delete
}

/// A person has asked for another title. Taking over a claim changes no revision. The next try of
/// a failed title is not a request.
fn is_beginning(old: &State, new: &State) -> bool {
    let is_claimed = new.token.is_some() && new.token != old.token;
    let is_retry = old.failure.is_some() && old.token.is_none();
    new.title_status == "pending"
        && !is_retry
        && new.revision > old.revision
        && (is_claimed || old.title_status != "pending")
}
