//! One entry of a chain: a model of a provider, or the offline model, with its breakers.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{FutureExt, future::BoxFuture};

pub(super) use super::traced::Server;
use super::{
    ModelError, ModelErrorKind, ModelName, ReplyModel, ReplyRequest, ReplyStream, Task, TitleModel,
    TitleOutput, TitleRequest,
    breaker::{Admission, Breaker, Breakers},
    offline::Offline,
    provider::RemoteModel,
    traced,
};

/// A model that a chain can ask.
pub struct Model {
    backend: Backend,
    server: Server,
    /// The provider's breakers, for failures of its key, quota or connection.
    provider: Arc<Breakers>,
    /// The model's own breakers, for failures that concern only the model.
    own: Breakers,
    /// For each task, the failure of the last call if it opened no breaker; `None` after an answer.
    failures: [Mutex<Option<ModelErrorKind>>; 2],
}

enum Backend {
    Remote(RemoteModel),
    Offline(Offline),
}

impl Model {
    pub(super) fn remote(model: RemoteModel, provider: Arc<Breakers>, server: Server) -> Self {
        Self {
            own: Breakers::new(provider.open_for()),
            backend: Backend::Remote(model),
            server,
            provider,
            failures: Default::default(),
        }
    }

    /// The model of a server without a provider.
    pub fn offline(offline: Offline) -> Self {
        let never = Breakers::new(Duration::ZERO);
        Self {
            backend: Backend::Offline(offline),
            server: Server::none(),
            provider: Arc::new(never),
            own: Breakers::new(Duration::ZERO),
            failures: Default::default(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &ModelName {
        match &self.backend {
            Backend::Remote(model) => ReplyModel::name(model),
            Backend::Offline(model) => ReplyModel::name(model),
        }
    }

    /// Whether it is the model of a server without a provider.
    pub fn is_offline(&self) -> bool {
        matches!(self.backend, Backend::Offline(_))
    }

    /// Whether its requests carry a key.
    pub fn has_key(&self) -> bool {
        match &self.backend {
            Backend::Remote(model) => model.has_key(),
            Backend::Offline(_) => false,
        }
    }

    /// Why the breakers refuse calls now; `None` if they admit them.
    pub fn refusal(&self, task: Task) -> Option<ModelErrorKind> {
        let provider = self.provider.of(task).failure();
        provider.or_else(|| self.own.of(task).failure())
    }

    /// Why its last call failed; `None` after an answer, and before the first call.
    pub fn failure(&self, task: Task) -> Option<ModelErrorKind> {
        self.refusal(task).or_else(|| *self.last_failure(task))
    }

    /// Records a failed call that opens no breaker.
    pub(super) fn note_failure(&self, task: Task, failure: ModelErrorKind) {
        *self.last_failure(task) = Some(failure);
    }

    fn last_failure(&self, task: Task) -> MutexGuard<'_, Option<ModelErrorKind>> {
        let failure = &self.failures[task as usize];
        failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why only probes are sent to it; `None` if other calls are too.
    pub(super) fn strict_refusal(&self, task: Task) -> Option<ModelErrorKind> {
        let breakers = [self.provider.of(task), self.own.of(task)];
        let strict = breakers.into_iter().find(|breaker| breaker.is_strict());
        strict.and_then(|breaker| breaker.failure())
    }

    /// Whether its last call was answered.
    pub(super) fn is_proven(&self, task: Task) -> bool {
        self.refusal(task).is_none() && self.own.of(task).is_proven()
    }

    /// Whether no call has been answered or has failed yet.
    pub(crate) fn is_unknown(&self, task: Task) -> bool {
        !self.is_proven(task) && self.failure(task).is_none()
    }

    /// The parameters that requests omit, because the model rejected them.
    pub fn refused_parameters(&self) -> Vec<&'static str> {
        match &self.backend {
            Backend::Remote(model) => model.refused_parameters(),
            Backend::Offline(_) => Vec::new(),
        }
    }

    /// Whether a call would be admitted. Does not use up the probe.
    pub(super) fn peek(&self, task: Task, now: Instant) -> Admission {
        let [provider, own] = [&*self.provider, &self.own].map(|one| one.of(task).peek(now));
        both(provider, own)
    }

    /// Admits or refuses a call. A probe is admitted once.
    pub(super) fn admit(&self, task: Task, now: Instant) -> Admission {
        match self.peek(task, now) {
            Admission::Probe => {
                let [provider, own] =
                    [&*self.provider, &self.own].map(|one| one.of(task).admit(now));
                both(provider, own)
            }
            admission => admission,
        }
    }

    /// Like [`Self::peek`], but by its own breaker alone, for when the provider has already been probed.
    pub(super) fn peek_own(&self, task: Task, now: Instant) -> Admission {
        self.own.of(task).peek(now)
    }

    /// Admits or refuses a call by its own breaker alone.
    pub(super) fn admit_own(&self, task: Task, now: Instant) -> Admission {
        self.own.of(task).admit(now)
    }

    /// Opens the breaker that the failure concerns.
    pub(crate) fn open(&self, task: Task, failure: ModelErrorKind, now: Instant) {
        self.breaker(task, failure).open(failure, now);
    }

    /// Records a transient failure with the breaker that it concerns. Several in a row open it.
    pub(super) fn fail(&self, task: Task, failure: ModelErrorKind, now: Instant) {
        self.breaker(task, failure).fail(failure, now);
    }

    fn breaker(&self, task: Task, failure: ModelErrorKind) -> &Breaker {
        let breakers = match failure.is_of_provider() {
            true => &*self.provider,
            false => &self.own,
        };
        breakers.of(task)
    }

    /// The probes since a breaker was opened.
    pub(super) fn probes(&self, task: Task) -> u32 {
        self.provider.of(task).probes() + self.own.of(task).probes()
    }

    /// Records an answer. Returns whether a breaker was open, or this is the model's first answer.
    pub(super) fn close(&self, task: Task) -> bool {
        *self.last_failure(task) = None;
        let was_open = self.provider.of(task).failure().is_some();
        self.provider.of(task).close();
        self.own.of(task).close() || was_open
    }

    /// Whether it has the same provider as another model.
    pub(super) fn shares_provider(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.provider, &other.provider)
    }

    /// The pause between probes.
    pub(super) fn probe_every(&self) -> Duration {
        self.own.open_for()
    }
}

/// Combines the admissions of two breakers.
fn both(one: Admission, other: Admission) -> Admission {
    match (one, other) {
        (Admission::RefusedFor(one), Admission::RefusedFor(other)) => {
            Admission::RefusedFor(one.max(other))
        }
        (Admission::RefusedFor(time), _) | (_, Admission::RefusedFor(time)) => {
            Admission::RefusedFor(time)
        }
        (Admission::Probe, _) | (_, Admission::Probe) => Admission::Probe,
        (Admission::Allowed, Admission::Allowed) => Admission::Allowed,
    }
}

impl ReplyModel for Model {
    fn name(&self) -> &ModelName {
        self.name()
    }

    fn reply(&self, request: ReplyRequest) -> BoxFuture<'_, Result<ReplyStream, ModelError>> {
        match &self.backend {
            Backend::Remote(model) => traced::reply(model, &self.server, request).boxed(),
            Backend::Offline(model) => traced::reply(model, &self.server, request).boxed(),
        }
    }
}

impl TitleModel for Model {
    fn name(&self) -> &ModelName {
        self.name()
    }

    fn title(&self, request: TitleRequest) -> BoxFuture<'_, Result<TitleOutput, ModelError>> {
        match &self.backend {
            Backend::Remote(model) => traced::title(model, &self.server, request).boxed(),
            Backend::Offline(model) => traced::title(model, &self.server, request).boxed(),
        }
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Model").field(self.name()).finish()
    }
}
