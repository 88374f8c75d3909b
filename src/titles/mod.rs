//! Generates conversation titles: one per conversation, from the first user message with content, in a background task.
//!
//! One title, step by step:
//! 1. A message is committed together with a title claim: a token plus a lease in the conversation's row (`db`).
//!    `source` decides whether the message has content; `opener` skips greetings, `file_name` titles attachments.
//! 2. `task` runs the claim under its [`policy`]: it waits in `call_queue` and checks the budget. `generate` calls the
//!    models of a chain with `prompt`; `distinct` finds near-duplicates.
//! 3. [`clean`] unwraps and validates the output; `keep` recognises an answer that keeps the current title; `redact`
//!    removes secrets; `echo` detects words of the instruction; `language` checks the script; `shape` applies the
//!    policy's letter case and emoji.
//! 4. One fenced UPDATE stores the title. It changes nothing if a rename, a deletion or another claim came first.
//! 5. The new revision is published after the commit; `published` records that it was.
//!
//! Recovery and operation:
//! - `sweep`: resumes titles whose lease expired, republishes changes that were committed and not published
//! - `failure`, `retry`, `due`, `recovery`: why a title failed, the time of the next try, the titles that are due, the
//!   models that answer again
//! - `digest`, `drift`: titles from the whole conversation, on request, or because the subject may have moved
//! - `backfill`: titles for conversations without one
//! - [`trial`]: titles that are compared and not stored, for `titlecast try`
//! - `check`, `metrics`: whether the title model answers; outcomes, latency and tokens
//!
//! Replies do not wait for titles, and a failed title affects nothing else.

pub mod backfill;
mod call_queue;
mod check;
pub mod clean;
mod digest;
mod distinct;
mod drift;
mod due;
mod echo;
mod failure;
mod file_name;
mod generate;
mod keep;
pub mod language;
pub mod metrics;
mod opener;
pub mod policy;
mod prompt;
mod published;
mod recovery;
mod redact;
mod retry;
mod shape;
mod source;
mod sweep;
mod task;
pub mod trial;

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use tokio::sync::{Mutex, mpsc::UnboundedReceiver};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    call_queue::Priority,
    check::Health,
    metrics::{Metrics, Trigger},
    policy::{Policies, TitlePolicy},
    recovery::Recovery,
    source::{Found, Source},
};
pub use self::{
    check::{ChainHealth, ModelState},
    language::TitleLanguage,
};
use crate::{
    agents::Registry,
    budget::{Budget, midnight},
    conversation::{
        Attachment, Conversation, ConversationId, MessageId, Owner, Title, TitleFrom,
        text::single_line,
    },
    db::{Database, NewTitle, TitleClaim, TitleRequestOutcome, TitleWish},
    error::{Error, Result},
    events::{EventBroker, PublishedRevision},
    llm::{Admission, Chain, ProfileOverride, Task},
    supervisor::{Loop, Supervisor},
};

/// The longest hint of a [`Regenerate`] request, in characters.
const MAX_HINT_CHARS: usize = 200;

/// From this many user messages on, a regenerated title is made from the whole conversation.
const MANY_MESSAGES: usize = 3;

/// Settings of title generation.
#[derive(Clone, Debug)]
pub struct TitleSettings {
    /// The longest time from the start of the first call to the title, including the retry.
    pub deadline: Duration,
    /// The maximum number of concurrent calls. Others queue; their deadline starts when they leave the queue.
    pub max_in_flight: usize,
    /// The pause between sweeps for interrupted titles and unpublished changes.
    pub sweep_every: Duration,
    /// The operator's overrides of the models' parameters.
    pub parameters: Arc<ProfileOverride>,
}

impl TitleSettings {
    /// The lease of a claim: the deadline, and half of it again for storing the title. Kept short, because a crash
    /// delays the title by the lease.
    fn lease(&self) -> Duration {
        self.deadline * 3 / 2
    }

    /// The lease that must remain when the calls start; otherwise it is renewed first.
    fn min_lease_left(&self) -> Duration {
        self.deadline * 5 / 4
    }
}

/// Generates titles, and stores titles that users give. Cheap to clone.
#[derive(Clone)]
pub struct Titles {
    inner: Arc<Inner>,
}

struct Inner {
    db: Database,
    events: EventBroker,
    registry: Registry,
    /// The current policies; a reload replaces them.
    policies: RwLock<Arc<Policies>>,
    tasks: TaskTracker,
    settings: TitleSettings,
    calls: call_queue::CallQueue,
    /// Models that answer again; the titles that wait for them become due.
    recovered: Recovery,
    budget: Budget,
    health: Health,
    metrics: Metrics,
}

/// A request to generate another title.
#[derive(Clone, Debug)]
pub struct Regenerate {
    /// The conversation.
    pub id: ConversationId,
    /// The user's hint for the new title.
    pub hint: Option<String>,
    /// Whether a title that the user gave or restored may be replaced.
    pub replace_manual: bool,
    /// The source of the title; `None`: the whole conversation from three user messages on, else the first message.
    pub from: Option<TitleFrom>,
}

impl Inner {
    /// The current policies. Hold the result for the duration of one operation, so that it sees one state.
    fn policies(&self) -> Arc<Policies> {
        // The lock is held only during a clone, which cannot panic.
        let policies = self.policies.read();
        policies.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The policy for titles of a tenant's conversations whose active agent has this name.
    fn policy(&self, tenant: &str, active_agent: &str) -> TitlePolicy {
        let agent = self.answering(tenant, active_agent);
        self.policies().of(tenant, &agent)
    }

    /// The name of the agent that answers in a tenant's conversations whose active agent has this name.
    fn answering(&self, tenant: &str, active_agent: &str) -> String {
        let agents = self.registry.current();
        agents.stored_name(tenant, active_agent).to_owned()
    }

    /// Whether any policy's models would admit a call.
    fn peek(&self) -> Admission {
        let (policies, now) = (self.policies(), Instant::now());
        let admissions = policies.models().map(|chain| chain.peek(Task::Title, now));
        let best = admissions.min_by_key(|admission| match admission {
            Admission::Allowed => Duration::ZERO,
            Admission::Probe => Duration::from_nanos(1),
            Admission::RefusedFor(time) => *time + Duration::from_nanos(2),
        });
        best.unwrap_or(Admission::Allowed)
    }

    /// The models that write the titles of an owner's conversations with this agent.
    fn chain_of(&self, owner: &Owner, agent: &str) -> Chain {
        self.policy(&owner.tenant, agent).models
    }
}

/// The conversation, if its texts are kept: without them no other title can be made.
fn with_text(conversation: Conversation) -> Result<Conversation> {
    match conversation.drops_text {
        true => Err(Error::NoText),
        false => Ok(conversation),
    }
}

impl Titles {
    /// Creates the service for titles under `policies`, for the agents of `registry`; stored in `db` and published
    /// through `events`, in tasks tracked by `tasks`.
    pub fn new(
        db: Database,
        events: EventBroker,
        registry: Registry,
        policies: Policies,
        tasks: TaskTracker,
        settings: TitleSettings,
    ) -> Self {
        opener::load();
        file_name::load();
        crate::conversation::redact::load();
        language::load();
        let inner = Inner {
            calls: call_queue::CallQueue::new(settings.max_in_flight),
            recovered: Recovery::default(),
            budget: Budget::default(),
            health: Health::default(),
            metrics: Metrics::default(),
            db,
            events,
            registry,
            policies: RwLock::new(Arc::new(policies)),
            tasks,
            settings,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Starts the background loops of titles: the sweep until `draining`, and recording published revisions until
    /// `closing` and the last record.
    pub fn start_loops(
        &self,
        supervisor: &Supervisor,
        published: UnboundedReceiver<PublishedRevision>,
        draining: &CancellationToken,
        closing: &CancellationToken,
    ) {
        let (titles, end) = (self.inner.clone(), draining.clone());
        supervisor.spawn(Loop::TitleSweep, draining.clone(), move |heartbeat| {
            let (titles, end) = (titles.clone(), end.clone());
            async move { sweep::run(&titles, &heartbeat, &end).await }
        });
        // The receiver outlives a panic of the loop.
        let published = Arc::new(Mutex::new(published));
        let (db, end) = (self.inner.db.clone(), closing.clone());
        supervisor.spawn(
            Loop::PublishedRevisions,
            closing.clone(),
            move |heartbeat| {
                let (db, published, end) = (db.clone(), published.clone(), end.clone());
                async move {
                    published::record(&db, &mut *published.lock().await, &heartbeat, &end).await
                }
            },
        );
    }

    /// Requests one short title, to check that the title model answers.
    pub async fn check_model(&self) {
        check::run(&self.inner).await;
    }

    /// The policies in force.
    pub fn policies(&self) -> Arc<Policies> {
        self.inner.policies()
    }

    /// Whether hints and previews of this tenant's conversations with this agent omit secrets and personal numbers.
    pub fn redacts_with(&self, tenant: &str, agent: &str) -> bool {
        self.inner.policy(tenant, agent).redact
    }

    /// Like [`Self::redacts_with`], for an unknown agent: whether the tenant's policy or any agent's policy redacts.
    pub fn redacts(&self, tenant: &str) -> bool {
        self.inner.policies().redacts_with_any(tenant)
    }

    /// Replaces the policies. Titles in progress keep theirs.
    pub fn replace_policies(&self, policies: Policies) {
        let mut current = self
            .inner
            .policies
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(policies);
        drop(current);
        // The new budgets may be higher.
        self.inner.recovered.add_budgets();
    }

    /// The default policy's models. The policy of a tenant or an agent may name others.
    pub fn chain(&self) -> Chain {
        self.inner.policies().default_policy().models.clone()
    }

    /// Whether the models answer: each chain of the policies once, the default one first.
    pub fn model_health(&self) -> Vec<ChainHealth> {
        self.inner.health.of(self.inner.policies().models())
    }

    /// Whether some policy has only models whose circuit breaker is open, so that its titles wait.
    pub fn breaker_is_open(&self) -> bool {
        let policies = self.inner.policies();
        let mut chains = policies.models();
        chains.any(|chain| chain.refusal(Task::Title).is_some())
    }

    /// The number of daily token budgets, of tenants and of agents, that are known to be used up.
    pub fn used_up_budgets(&self) -> usize {
        let Inner { db, budget, .. } = &*self.inner;
        let policies = self.inner.policies();
        let since = midnight(db.clock().now());
        budget.used_up(since, |spender| match &spender.agent {
            None => policies.of_tenant(&spender.tenant).budget,
            Some(agent) => policies.budget_of_agent(agent),
        })
    }

    /// The counters of titles in this process.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// The initial title state of a conversation that begins with this message, under the policy of a tenant and an
    /// agent. For a later message, `agent` may differ from the conversation's agent; `task` applies the policy of the
    /// claimed row.
    pub fn plan(
        &self,
        (tenant, agent): (&str, &str),
        text: &str,
        attachments: &[Attachment],
        wanted: bool,
    ) -> NewTitle {
        if !wanted {
            return NewTitle::Skipped;
        }
        let lease = self.inner.settings.lease();
        let policy = self.inner.policy(tenant, agent);
        match source::of_message(text, attachments, &policy) {
            Some(Source::Text(_)) => NewTitle::Claimed(lease),
            Some(Source::Title(title)) => NewTitle::Known(title, lease),
            None if text.trim().is_empty() => NewTitle::Skipped,
            None => NewTitle::Deferred,
        }
    }

    /// Starts the title that was claimed with this message. Returns at once.
    pub fn start(&self, claim: TitleClaim, message: MessageId, text: String) {
        let source = Source::Text(text);
        self.spawn(claim, Some(Found { source, message }), Trigger::Message);
    }

    /// Starts the title that was claimed with a later message. The source is the first message with content.
    pub fn start_deferred(&self, claim: TitleClaim) {
        self.spawn(claim, None, Trigger::Message);
    }

    fn spawn(&self, claim: TitleClaim, source: Option<Found>, by: Trigger) {
        let inner = self.inner.clone();
        inner.metrics.claimed(by);
        let priority = match by {
            Trigger::Person => Priority::Regeneration,
            _ => Priority::First,
        };
        self.inner
            .tasks
            .spawn(task::run(inner, claim, source, priority));
    }

    /// Stores a title that the user gave. Replaces any title; generated titles never replace it. `actor`: the user who
    /// gave it, for the audit log.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if it is empty or over 128 characters; [`Error::NotFound`] if the owner has no such
    /// conversation; [`Error::Database`].
    pub async fn rename(
        &self,
        owner: &Owner,
        id: ConversationId,
        text: &str,
        actor: &str,
    ) -> Result<Conversation> {
        let title = Title::new(text)
            .map_err(|invalid| Error::invalid_field("display_name", invalid.to_string()))?;
        let conversation = self.inner.db.rename(owner, id, &title, actor).await?;
        tracing::info!(conversation.id = %id, "conversation renamed");
        self.inner.events.publish(conversation.clone());
        Ok(conversation)
    }

    /// Returns a conversation to automatic titles: drops the user's title, or the request for none, and starts
    /// generation. A generated title stays. Returns at once; the title is published when it is ready.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the owner has no such conversation; [`Error::Database`].
    pub async fn reset(
        &self,
        owner: &Owner,
        id: ConversationId,
        actor: &str,
    ) -> Result<Conversation> {
        let Inner { db, settings, .. } = &*self.inner;
        let lease = settings.lease();
        let agent = with_text(db.conversation(owner, id).await?)?.active_agent;
        let policy = self.inner.policy(&owner.tenant, &agent);
        let mut source = source::of_conversation(db, owner, id, &policy).await?;
        let wanted = source.is_some().then_some(lease);
        let mut begun = db.reset_title(owner, id, wanted, actor).await?;
        if let TitleRequestOutcome::Deferred(_) = begun {
            // Race: a message with content may have arrived before the reset, and claimed nothing because the
            // conversation still had a title.
            source = source::of_conversation(db, owner, id, &policy).await?;
            if source.is_some() {
                begun = db
                    .begin_regeneration(owner, id, TitleWish::default(), lease)
                    .await?;
            }
        }
        Ok(self.publish_and_start(begun, source))
    }

    /// Starts generating another title. The current one stays until the new one is stored, and stays if generation
    /// fails. If several requests are concurrent, one of them is fulfilled. Returns at once; the title is published
    /// when it is ready.
    ///
    /// # Errors
    /// [`Error::ManualTitle`] if the user gave the title and `replace_manual` is not set;
    /// [`Error::InvalidInput`] if the hint is too long, or no message has content;
    /// [`Error::NotFound`] if the owner has no such conversation; [`Error::Database`].
    pub async fn regenerate(&self, owner: &Owner, request: Regenerate) -> Result<Conversation> {
        let inner = &self.inner;
        let hint = request.hint.as_deref().map(single_line);
        let hint = hint.filter(|hint| !hint.is_empty());
        if hint
            .as_ref()
            .is_some_and(|hint| hint.chars().count() > MAX_HINT_CHARS)
        {
            return Err(Error::invalid_field(
                "hint",
                format!("the hint is longer than {MAX_HINT_CHARS} characters"),
            ));
        }
        let agent = with_text(inner.db.conversation(owner, request.id).await?)?.active_agent;
        let policy = inner.policy(&owner.tenant, &agent);
        let source = source::of_conversation(&inner.db, owner, request.id, &policy).await?;
        if source.is_none() {
            return Err(Error::invalid(
                "the conversation has no message to make a title from",
            ));
        }
        let lease = inner.settings.lease();
        let from = match request.from {
            Some(from) => from,
            None => {
                let messages = inner.db.count_user_messages(owner, request.id);
                match messages.await? {
                    MANY_MESSAGES.. => TitleFrom::Conversation,
                    _ => TitleFrom::FirstMessage,
                }
            }
        };
        let wish = TitleWish {
            hint: hint.as_deref(),
            replace_manual: request.replace_manual,
            from,
        };
        let begun = inner
            .db
            .begin_regeneration(owner, request.id, wish, lease)
            .await?;
        Ok(self.publish_and_start(begun, source))
    }

    /// Brings the former title back and locks it. Idempotent.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if there is no former title; [`Error::NotFound`] if the owner has no such conversation;
    /// [`Error::Database`].
    pub async fn restore(
        &self,
        owner: &Owner,
        id: ConversationId,
        actor: &str,
    ) -> Result<Conversation> {
        let conversation = self.inner.db.restore_title(owner, id, actor).await?;
        tracing::info!(conversation.id = %id, "former title restored");
        self.inner.events.publish(conversation.clone());
        Ok(conversation)
    }

    /// Publishes the changed row, and starts the title if it was claimed.
    fn publish_and_start(&self, begun: TitleRequestOutcome, source: Option<Found>) -> Conversation {
        let (conversation, claim) = match begun {
            TitleRequestOutcome::Unchanged(conversation) => return conversation,
            TitleRequestOutcome::Deferred(conversation) => (conversation, None),
            TitleRequestOutcome::Claimed(conversation, claim) => (conversation, Some(claim)),
        };
        self.inner.events.publish(conversation.clone());
        if let Some(claim) = claim {
            self.spawn(claim, source, Trigger::Person);
        }
        conversation
    }
}
