//! A chain of models: if one cannot answer, the next is asked.
//!
//! Replies and titles share the walk over a chain: a permanent failure opens a breaker, and the next entry is asked at
//! once; a transient failure is retried on the same entry, then the next is asked. A request that timed out without an
//! answer is not repeated on any entry: the provider may still run it, and bills it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Model, ModelError, ModelErrorKind, ModelName, Task, breaker::Admission};

/// The maximum number of calls to one entry: the first and one retry.
const ATTEMPTS: u32 = 2;

/// A reply's last remaining entry is retried until the reply has made this many calls to all entries together: a user
/// is waiting.
const REPLY_ATTEMPTS: u32 = 3;

/// The pause before a retry if the provider asks for none.
const REPLY_PAUSE: Duration = Duration::from_millis(500);
const TITLE_PAUSE: Duration = Duration::from_millis(200);

/// The longest `Retry-After` after which the last entry of a reply is retried. With a longer one, a retry while the
/// user waits would fail as well.
const LONGEST_REPLY_WAIT: Duration = Duration::from_secs(60);

/// The longest `Retry-After` that delays titles.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// The shortest time between two log lines about which entry of a chain answers.
const REPORT_PAUSE: Duration = Duration::from_secs(60);

/// Models in order; at least one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Chain(Arc<Entries>);

#[derive(Debug)]
struct Entries {
    models: Box<[Arc<Model>]>,
    /// For replies and for titles.
    reported: [Mutex<Reported>; 2],
}

/// The last log line about which entry answers.
#[derive(Debug, Default)]
struct Reported {
    /// The index of the entry in that line; 0 before the first line.
    entry: usize,
    at: Option<Instant>,
}

impl Chain {
    /// A chain of these models; `None` if there are none.
    pub fn new(models: impl IntoIterator<Item = Arc<Model>>) -> Option<Self> {
        let models: Box<[_]> = models.into_iter().collect();
        (!models.is_empty()).then(|| Self::of_entries(models))
    }

    /// A chain of one model.
    pub fn of(model: Arc<Model>) -> Self {
        Self::of_entries([model].into())
    }

    fn of_entries(models: Box<[Arc<Model>]>) -> Self {
        Self(Arc::new(Entries {
            models,
            reported: Default::default(),
        }))
    }

    /// The chain with more models appended.
    pub fn followed_by(self, models: impl IntoIterator<Item = Arc<Model>>) -> Self {
        Self::of_entries(self.models().iter().cloned().chain(models).collect())
    }

    /// The models, in order.
    pub fn models(&self) -> &[Arc<Model>] {
        &self.0.models
    }

    /// The first model.
    pub fn first(&self) -> &Arc<Model> {
        &self.models()[0]
    }

    /// The model that answers: the first whose last call did not fail, else the first one.
    pub fn answering(&self, task: Task) -> &Arc<Model> {
        let mut models = self.models().iter();
        models
            .find(|model| model.failure(task).is_none())
            .unwrap_or(self.first())
    }

    /// Why only probes are sent: the first model's refusal, if every model refuses permanently or failed several times
    /// in a row.
    pub fn refusal(&self, task: Task) -> Option<ModelErrorKind> {
        let mut models = self.models().iter();
        match models.all(|model| model.strict_refusal(task).is_some()) {
            true => self.first().strict_refusal(task),
            false => None,
        }
    }

    /// Whether the current model is known to answer: its last call was answered.
    pub(crate) fn is_proven(&self, task: Task) -> bool {
        self.answering(task).is_proven(task)
    }

    /// Why no model answers: the first model's failure, if the last call of every model failed.
    pub fn outage(&self, task: Task) -> Option<ModelErrorKind> {
        let mut models = self.models().iter();
        match models.all(|model| model.failure(task).is_some()) {
            true => self.first().failure(task),
            false => None,
        }
    }

    /// Logs that a different entry answers than before, at most once per [`REPORT_PAUSE`]. `failure`: why the first
    /// entry did not answer.
    fn report(&self, task: Task, entry: usize, failure: Option<ModelErrorKind>) {
        let reported = &self.0.reported[task as usize];
        let mut reported = reported.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = reported.at.is_some_and(|at| at.elapsed() < REPORT_PAUSE);
        if reported.entry == entry || is_recent {
            return;
        }
        *reported = Reported {
            entry,
            at: Some(Instant::now()),
        };
        drop(reported);
        let (task, first): (&str, _) = (task.into(), self.first().name());
        match entry {
            0 => tracing::info!(task, model = %first, "the first model of the chain answers again"),
            _ => tracing::warn!(
                task,
                model = %self.models()[entry].name(),
                first = %first,
                reason = failure.map(<&str>::from),
                "another model answers in place of the first one of the chain"
            ),
        }
    }

    /// Whether a call would be admitted by any entry.
    pub(crate) fn peek(&self, task: Task, now: Instant) -> Admission {
        let mut refused: Option<Duration> = None;
        let mut is_due = false;
        for model in self.models() {
            match model.peek(task, now) {
                Admission::Allowed => return Admission::Allowed,
                Admission::Probe => is_due = true,
                Admission::RefusedFor(_) if may_be_last_resort(model, task) => {
                    return Admission::Allowed;
                }
                Admission::RefusedFor(time) => {
                    refused = Some(refused.map_or(time, |known| known.min(time)));
                }
            }
        }
        match refused {
            Some(time) if !is_due => Admission::RefusedFor(time),
            _ => Admission::Probe,
        }
    }

    /// Starts a walk over the chain.
    pub(crate) fn walk(&self, task: Task) -> Walk {
        Walk::new(self.clone(), task)
    }
}

/// Whether a refused entry is asked if no entry admits a call. For replies, always: a user waits, and a refused call
/// costs nothing. For titles, only if the entry could not be reached or did not answer, and not several times in a row.
fn may_be_last_resort(model: &Model, task: Task) -> bool {
    task == Task::Reply || model.refusal(task).is_some() && model.strict_refusal(task).is_none()
}

/// One walk: the entry to ask now, and the entry to ask after a failure.
pub(crate) struct Walk {
    chain: Chain,
    task: Task,
    /// The index of the current entry; past the end if none is left.
    at: usize,
    /// Whether entries are asked although their breakers refuse: from the start if all refuse, and for a reply once the
    /// others have failed.
    is_last_resort: bool,
    /// Whether this entry was admitted as a probe: one call, without a retry.
    is_probe: bool,
    /// Calls of this entry.
    tries: u32,
    /// Calls of all entries.
    total: u32,
    /// Entries that failed during this walk.
    failed: Vec<Failed>,
    /// Entries whose failure the message may have caused: the request was rejected as invalid, or the answer was empty.
    suspected: Vec<(Arc<Model>, ModelErrorKind)>,
    /// How the first entry failed during this walk.
    first_failure: Option<ModelErrorKind>,
    /// Whether the message caused an entry's failure.
    is_of_the_message: bool,
}

/// An entry that failed during a walk.
struct Failed {
    model: Arc<Model>,
    kind: ModelErrorKind,
    /// Whether its call was a probe.
    was_probe: bool,
}

impl Failed {
    /// Whether `model` would fail as well, because their provider failed as a whole. The failure in this walk decides,
    /// not the provider's breaker, which may be open because of an older failure.
    fn concerns(&self, model: &Model) -> bool {
        self.model.shares_provider(model) && self.kind.is_of_provider()
    }

    /// Whether this entry's call was a probe that the provider answered: `model`, of the same provider, may then be asked,
    /// although the provider's probe may be used up.
    fn has_probed_for(&self, model: &Model) -> bool {
        self.was_probe && self.model.shares_provider(model) && !self.kind.is_of_provider()
    }
}

/// What follows a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The same entry, after this pause.
    Retry(Duration),
    /// Another entry, at once.
    Entry,
    /// Nothing: the failure is the result.
    Over,
}

impl Walk {
    fn new(chain: Chain, task: Task) -> Self {
        let now = Instant::now();
        let is_refused =
            |model: &Arc<Model>| matches!(model.peek(task, now), Admission::RefusedFor(_));
        let mut walk = Self {
            is_last_resort: chain.models().iter().all(is_refused),
            chain,
            task,
            at: 0,
            is_probe: false,
            tries: 0,
            total: 0,
            failed: Vec::new(),
            suspected: Vec::new(),
            first_failure: None,
            is_of_the_message: false,
        };
        walk.skip_refused();
        walk
    }

    /// The entry to ask now; `None` when none is left, or none admits a call.
    pub(crate) fn entry(&self) -> Option<&Arc<Model>> {
        self.chain.models().get(self.at)
    }

    /// Whether the entry's call must be plain: every second probe is, because a probe has no retry, and a model that
    /// accepts only plain requests would never recover.
    pub(crate) fn wants_plain(&self) -> bool {
        let probes = self.entry().map_or(0, |model| model.probes(self.task));
        self.is_probe && self.task == Task::Title && probes.is_multiple_of(2)
    }

    /// Records an answer of the entry. Returns whether it had refused before, or had never answered.
    pub(crate) fn answered(&self) -> bool {
        let Some(model) = self.entry() else {
            return false;
        };
        if !self.is_of_the_message {
            let known = || self.chain.first().failure(self.task);
            let failure = self.first_failure.or_else(known);
            self.chain.report(self.task, self.at, failure);
        }
        // This entry accepted the same message, so the message was not the cause.
        for (suspected, kind) in &self.suspected {
            suspected.note_failure(self.task, *kind);
        }
        model.close(self.task)
    }

    /// Records a failed call of the entry, and moves on. A pause before a retry may be at most `longest_pause`.
    pub(crate) fn failed(&mut self, error: &ModelError, longest_pause: Duration) -> Next {
        let Some(model) = self.entry().cloned() else {
            return Next::Over;
        };
        self.tries += 1;
        self.total += 1;
        if self.at == 0 {
            self.first_failure = Some(error.kind);
        }
        let at = self.opened_at(&model, error);
        if error.kind.is_final() {
            model.open(self.task, error.kind, at);
            return self.move_on(model, error.kind);
        }
        let was_silent = error.kind == ModelErrorKind::Timeout && error.status.is_none();
        if was_silent {
            // This request stays on the entry; later ones go to the next entry.
            model.open(self.task, error.kind, at);
            self.count_failure(&model, error.kind, at);
            return Next::Over;
        }
        if error.is_of_the_message() {
            self.is_of_the_message = true;
            return match error.is_of_a_filter() {
                true => Next::Over,
                // Another model may have a longer context.
                false => self.move_on(model, error.kind),
            };
        }
        let is_empty = error.kind == ModelErrorKind::Empty;
        if is_empty {
            // The provider answered the call, although with nothing.
            model.close(self.task);
        }
        // A title request may succeed without its optional parameters.
        let may_be_plain = self.task == Task::Title && error.may_be_of_a_parameter();
        let may_retry = match is_empty {
            // The model may have nothing to say, so one retry is enough.
            true => self.tries < ATTEMPTS,
            false => self.may_retry(),
        };
        if (error.is_worth_another_try() || may_be_plain) && may_retry {
            let pause = match self.task {
                Task::Reply => REPLY_PAUSE,
                Task::Title => TITLE_PAUSE,
            };
            let pause = error.retry_after.unwrap_or(pause);
            // If the last entry of a reply asks for a longer wait, wait as long as allowed.
            let is_worth_it = pause <= LONGEST_REPLY_WAIT;
            let is_all = self.task == Task::Reply && is_worth_it && self.is_last();
            if pause < longest_pause || is_all {
                return Next::Retry(pause.min(longest_pause));
            }
        }
        if error.kind == ModelErrorKind::Connection {
            model.open(self.task, error.kind, at);
        }
        match error.kind {
            // A 403 of this kind is about a flagged message.
            ModelErrorKind::InvalidRequest if error.status == Some(403) => {}
            // The message may have caused the rejection or the empty answer: the next entry shows it.
            ModelErrorKind::InvalidRequest | ModelErrorKind::Empty => {
                self.suspected.push((model.clone(), error.kind));
            }
            kind => {
                model.note_failure(self.task, kind);
                self.count_failure(&model, kind, at);
            }
        }
        self.move_on(model, error.kind)
    }

    /// Records a transient failure of the entry, only for titles: a title can wait for a probe; for a reply, a user is
    /// waiting.
    fn count_failure(&self, model: &Model, failure: ModelErrorKind, at: Instant) {
        if self.task == Task::Title {
            model.fail(self.task, failure, at);
        }
    }

    /// The time from which a breaker counts: now, or later if the provider asks for a longer wait than between probes,
    /// because providers count calls during that wait. A reply does not wait for it.
    fn opened_at(&self, model: &Model, error: &ModelError) -> Instant {
        let wait = match self.task {
            Task::Title => error.retry_after.unwrap_or_default(),
            Task::Reply => Duration::ZERO,
        };
        Instant::now() + wait.min(LONGEST_WAIT).saturating_sub(model.probe_every())
    }

    /// Records an unusable answer of the entry. Returns whether the entry may be asked again.
    pub(crate) fn unusable(&mut self) -> bool {
        self.tries += 1;
        self.total += 1;
        self.tries < ATTEMPTS
    }

    /// Why the first entry refuses.
    pub(crate) fn refusal(&self) -> Option<ModelErrorKind> {
        self.chain.first().refusal(self.task)
    }

    /// The time until the next probe of any entry, if none admits a call.
    pub(crate) fn refused_for(&self) -> Duration {
        let models = self.chain.models();
        match self.chain.peek(self.task, Instant::now()) {
            Admission::RefusedFor(time) => time,
            // Another call is the probe.
            Admission::Allowed | Admission::Probe => {
                let pauses = models.iter().map(|model| model.probe_every());
                pauses.min().unwrap_or_default()
            }
        }
    }

    fn may_retry(&self) -> bool {
        if self.is_probe && self.task == Task::Title {
            return false;
        }
        self.tries < ATTEMPTS
            || self.task == Task::Reply && self.is_last() && self.total < REPLY_ATTEMPTS
    }

    /// Whether no other entry is asked if this one fails.
    fn is_last(&self) -> bool {
        let now = Instant::now();
        let models = self.chain.models();
        let mut later = models.iter().skip(self.at + 1);
        if later.any(|model| self.may_ask(model, now)) {
            return false;
        }
        // An entry that refuses for good does not stand in for a retry of this one.
        let is_other = |(at, model): (usize, &Arc<Model>)| {
            at != self.at && self.may_insist(model) && model.strict_refusal(self.task).is_none()
        };
        !self.may_begin_again() || !models.iter().enumerate().any(is_other)
    }

    fn move_on(&mut self, model: Arc<Model>, kind: ModelErrorKind) -> Next {
        self.failed.push(Failed {
            model,
            kind,
            was_probe: self.is_probe,
        });
        self.at += 1;
        self.tries = 0;
        self.skip_refused();
        if self.entry().is_none() && self.may_begin_again() {
            self.is_last_resort = true;
            self.at = 0;
            self.skip_refused();
        }
        match self.entry() {
            Some(_) => Next::Entry,
            None => Next::Over,
        }
    }

    /// Whether the entries that refused are asked once the others have failed: a user waits for a reply.
    fn may_begin_again(&self) -> bool {
        self.task == Task::Reply && !self.is_last_resort
    }

    /// Moves to the next entry that admits a call; its probe is used up.
    fn skip_refused(&mut self) {
        let now = Instant::now();
        self.is_probe = false;
        while let Some(model) = self.chain.models().get(self.at) {
            if self.may_ask(model, now) {
                let admission = match self.is_last_resort {
                    true => Admission::Allowed,
                    false => self.admit(model, now),
                };
                if !matches!(admission, Admission::RefusedFor(_)) {
                    self.is_probe = admission == Admission::Probe;
                    return;
                }
            }
            self.at += 1;
        }
    }

    fn admit(&self, model: &Model, now: Instant) -> Admission {
        match model.admit(self.task, now) {
            // The provider's probe is used up by an entry that failed on its own: this one is asked once, as a probe.
            Admission::RefusedFor(_) if self.was_probed(model) => {
                match model.admit_own(self.task, now) {
                    Admission::Allowed => Admission::Probe,
                    own => own,
                }
            }
            admission => admission,
        }
    }

    fn may_ask(&self, model: &Arc<Model>, now: Instant) -> bool {
        if self.is_last_resort {
            return self.may_insist(model);
        }
        let admission = match self.was_probed(model) {
            true => model.peek_own(self.task, now),
            false => model.peek(self.task, now),
        };
        !matches!(admission, Admission::RefusedFor(_))
    }

    /// Whether an entry is asked as the last resort: neither the entry nor its provider failed during this walk.
    fn may_insist(&self, model: &Arc<Model>) -> bool {
        let fails_again =
            |failed: &Failed| Arc::ptr_eq(&failed.model, model) || failed.concerns(model);
        may_be_last_resort(model, self.task) && !self.failed.iter().any(fails_again)
    }

    /// Whether a call of this walk was the probe of the entry's provider, and the provider answered it.
    fn was_probed(&self, model: &Model) -> bool {
        let mut failed = self.failed.iter();
        !failed.clone().any(|failed| failed.concerns(model))
            && failed.any(|failed| failed.has_probed_for(model))
    }
}

/// The state of a chain's entries, for health pages and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryState {
    /// The entry.
    pub name: ModelName,
    /// Why the entry is not asked; `None` if it is asked.
    pub refusal: Option<ModelErrorKind>,
    /// Why its last call failed; `None` after an answer.
    pub failure: Option<ModelErrorKind>,
    /// Whether it is the entry that answers.
    pub is_answering: bool,
    /// The parameters that requests omit, because the model rejected them.
    pub refused_parameters: Vec<&'static str>,
}

impl Chain {
    /// The states of the entries, in order.
    pub fn states(&self, task: Task) -> Vec<EntryState> {
        let answering = self.answering(task);
        let state = |model: &Arc<Model>| EntryState {
            name: model.name().clone(),
            refusal: model.refusal(task),
            failure: model.failure(task),
            is_answering: Arc::ptr_eq(model, answering),
            refused_parameters: model.refused_parameters(),
        };
        self.models().iter().map(state).collect()
    }
}
