//! Titles, which the product is about: made once for each conversation, from its first user message that
//! says something, beside the reply and whatever becomes of it.
//!
//! - `source`: what a title is made from, and whether a message says anything (`opener`, `file_name`)
//! - `task`: one title: claim, ask, judge, store, tell; `prompt` is the question, [`clean`] holds the
//!   rules of judging, `language` what language it has to be in
//! - `breaker`, `budget`: when the model is not asked; `turns`: whose call is next
//! - `sweep`: what a crash left behind; `told`: noting what was told
//! - `backfill`: titles for conversations that never got one
//! - `check`, `metrics`: whether the title model answers, and what it has cost
//!
//! A title is written by one statement that loses against a rename, a deletion and any other writer
//! (`db`), and told after the commit. Nothing waits for a title, and nothing fails with one.

pub mod backfill;
mod breaker;
mod budget;
mod check;
pub mod clean;
mod file_name;
pub mod language;
pub mod metrics;
mod opener;
mod prompt;
mod source;
mod sweep;
mod task;
mod told;
mod turns;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{Mutex, Notify, mpsc::UnboundedReceiver};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    check::Health,
    metrics::{Begun as BegunBy, Metrics},
    source::Source,
    turns::Class,
};
pub use self::{check::ModelState, language::TitleLanguage};
use crate::{
    conversation::{
        Attachment, Conversation, ConversationId, Owner, PerTenant, Title, text::single_line,
    },
    db::{Begun, Database, NewTitle, TitleClaim},
    error::{Error, Result},
    events::{EventBroker, Told},
    llm::LanguageModel,
    supervisor::{Loop, Supervisor},
};

/// The most characters of what a person wishes of another title.
const MAX_HINT_CHARS: usize = 200;

/// How titles are made.
#[derive(Clone, Debug)]
pub struct TitleSettings {
    /// From the first call's start to the title, the second try included.
    pub deadline: Duration,
    /// How many calls are in flight at most; the others wait, and their deadline with them.
    pub max_in_flight: usize,
    /// How often a provider that refuses all calls is asked again.
    pub probe_every: Duration,
    /// How often to look for what a crash left behind.
    pub sweep_every: Duration,
    /// Whether a conversation that begins with an opener waits for a message that says something.
    pub openers: bool,
    /// What language titles are in.
    pub language: PerTenant<TitleLanguage>,
    /// How many tokens a day titles may cost.
    pub budget: PerTenant<Option<u64>>,
}

impl TitleSettings {
    /// How long a claim keeps others away: the deadline of its holder, and half of it for storing the title. Not
    /// longer, since a crash delays a title by the lease.
    fn lease(&self) -> Duration {
        self.deadline * 3 / 2
    }

    /// What has to be left of a lease when the calls begin.
    fn least_lease(&self) -> Duration {
        self.deadline * 5 / 4
    }
}

/// Makes titles and takes them from people. Cheap to clone.
#[derive(Clone)]
pub struct Titles {
    inner: Arc<Inner>,
}

struct Inner {
    db: Database,
    events: EventBroker,
    model: Arc<dyn LanguageModel>,
    tasks: TaskTracker,
    settings: TitleSettings,
    turns: turns::Turns,
    /// The provider answers again: what waits for it is due.
    recovered: Notify,
    breaker: breaker::Breaker,
    budget: budget::Budget,
    health: Health,
    metrics: Metrics,
}

/// A wish for another title.
#[derive(Clone, Debug)]
pub struct Regenerate {
    /// The conversation.
    pub id: ConversationId,
    /// What shall be different.
    pub hint: Option<String>,
    /// Whether a title that a person gave may go.
    pub replace_manual: bool,
}

impl Titles {
    /// Titles that are stored in `db`, told through `events` and made by `model`, in tasks that
    /// `tasks` keeps count of.
    pub fn new(
        db: Database,
        events: EventBroker,
        model: Arc<dyn LanguageModel>,
        tasks: TaskTracker,
        settings: TitleSettings,
    ) -> Self {
        opener::load();
        let inner = Inner {
            turns: turns::Turns::new(settings.max_in_flight),
            recovered: Notify::new(),
            budget: budget::Budget::new(settings.budget.clone()),
            breaker: breaker::Breaker::new(settings.probe_every),
            health: Health::default(),
            metrics: Metrics::default(),
            db,
            events,
            model,
            tasks,
            settings,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Starts the background loops of titles: the sweep until `draining`, and recording published revisions until
    /// `closing` and the last record.
    pub fn keep_up(
        &self,
        supervisor: &Supervisor,
        told: UnboundedReceiver<Told>,
        draining: &CancellationToken,
        closing: &CancellationToken,
    ) {
        let (titles, end) = (self.inner.clone(), draining.clone());
        supervisor.spawn(Loop::TitleSweep, draining.clone(), move |heartbeat| {
            let (titles, end) = (titles.clone(), end.clone());
            async move { sweep::run(&titles, &heartbeat, &end).await }
        });
        // The receiver outlives a panic of the loop.
        let told = Arc::new(Mutex::new(told));
        let (db, end) = (self.inner.db.clone(), closing.clone());
        supervisor.spawn(
            Loop::PublishedRevisions,
            closing.clone(),
            move |heartbeat| {
                let (db, told, end) = (db.clone(), told.clone(), end.clone());
                async move { told::note(&db, &mut *told.lock().await, &heartbeat, &end).await }
            },
        );
    }

    /// Asks the title model for one tiny title, to see whether it answers at all.
    pub async fn check_model(&self) {
        check::run(&self.inner).await;
    }

    /// Whether the title model answers, as far as is known.
    pub fn model_state(&self) -> ModelState {
        self.inner.health.state()
    }

    /// Whether calls are kept away from a provider that refuses them for good.
    pub fn breaker_is_open(&self) -> bool {
        self.inner.breaker.refusal(Instant::now()).is_some()
    }

    /// How many tenants' budgets for the day were seen to be used up.
    pub fn used_up_budgets(&self) -> usize {
        self.inner.budget.used_up()
    }

    /// What titles have cost this process, for monitoring.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// How the title of a conversation begins that begins with this message.
    pub fn plan(&self, text: &str, attachments: &[Attachment], wanted: bool) -> NewTitle {
        if !wanted {
            return NewTitle::Skipped;
        }
        let lease = self.inner.settings.lease();
        match source::of_message(text, attachments, self.inner.settings.openers) {
            Some(Source::Text(_)) => NewTitle::Claimed(lease),
            Some(Source::Title(title)) => NewTitle::Known(title, lease),
            None if text.trim().is_empty() => NewTitle::Skipped,
            None => NewTitle::Deferred,
        }
    }

    /// Starts making a title that was claimed with this message. Returns at once.
    pub fn start(&self, claim: TitleClaim, message: String) {
        self.spawn(claim, Some(Source::Text(message)), BegunBy::Message);
    }

    /// Starts making a title that was claimed with a later message, from the first that says something.
    pub fn start_deferred(&self, claim: TitleClaim) {
        self.spawn(claim, None, BegunBy::Message);
    }

    fn spawn(&self, claim: TitleClaim, source: Option<Source>, by: BegunBy) {
        let inner = self.inner.clone();
        inner.metrics.claimed(by);
        let class = match by {
            BegunBy::Person => Class::Asked,
            _ => Class::First,
        };
        self.inner
            .tasks
            .spawn(task::run(inner, claim, source, class));
    }

    /// Takes a title from a person. It replaces whatever is there, and no generated one replaces it.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when it is empty or over 128 characters; [`Error::NotFound`] when the
    /// owner does not have the conversation; [`Error::Database`].
    pub async fn rename(
        &self,
        owner: &Owner,
        id: ConversationId,
        text: &str,
    ) -> Result<Conversation> {
        let title = Title::new(text)
            .map_err(|invalid| Error::invalid_field("display_name", invalid.to_string()))?;
        let conversation = self.inner.db.rename(owner, id, &title).await?;
        tracing::info!(conversation.id = %id, "conversation renamed");
        self.inner.events.publish(conversation.clone());
        Ok(conversation)
    }

    /// Gives a conversation back to automation: drops the title that a person gave, or the wish for none,
    /// and starts making one. A generated title stays. Returns at once; the title comes by itself.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the owner does not have the conversation; [`Error::Database`].
    pub async fn reset(&self, owner: &Owner, id: ConversationId) -> Result<Conversation> {
        let Inner { db, settings, .. } = &*self.inner;
        let lease = settings.lease();
        let mut source = source::of_conversation(db, owner, id, settings.openers).await?;
        let wanted = source.is_some().then_some(lease);
        let mut begun = db.reset_title(owner, id, wanted).await?;
        if let Begun::Deferred(_) = begun {
            // A message that says something may have come in between, and seen a title that was there then.
            source = source::of_conversation(db, owner, id, settings.openers).await?;
            if source.is_some() {
                begun = db.begin_regeneration(owner, id, None, false, lease).await?;
            }
        }
        Ok(self.follow(begun, source))
    }

    /// Starts making another title. The present one stays until it comes, and for good when it fails. Of
    /// several wishes at once, one is fulfilled. Returns at once; the title comes by itself.
    ///
    /// # Errors
    /// [`Error::ManualTitle`] when a person gave the title and it was not said that it may go;
    /// [`Error::InvalidInput`] when the hint is too long, or no message says anything;
    /// [`Error::NotFound`] when the owner does not have the conversation; [`Error::Database`].
    pub async fn regenerate(&self, owner: &Owner, wish: Regenerate) -> Result<Conversation> {
        let inner = &self.inner;
        let hint = wish.hint.as_deref().map(single_line);
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
        let source =
            source::of_conversation(&inner.db, owner, wish.id, inner.settings.openers).await?;
        if source.is_none() {
            // Nobody learns from this whether it exists.
            inner.db.conversation(owner, wish.id).await?;
            return Err(Error::invalid(
                "the conversation has no message to make a title from",
            ));
        }
        let lease = inner.settings.lease();
        let begun = inner
            .db
            .begin_regeneration(owner, wish.id, hint.as_deref(), wish.replace_manual, lease)
            .await?;
        Ok(self.follow(begun, source))
    }

    /// Tells what was begun, and goes on with it.
    fn follow(&self, begun: Begun, source: Option<Source>) -> Conversation {
        let (conversation, claim) = match begun {
            Begun::Unchanged(conversation) => return conversation,
            Begun::Deferred(conversation) => (conversation, None),
            Begun::Claimed(conversation, claim) => (conversation, Some(claim)),
        };
        self.inner.events.publish(conversation.clone());
        if let Some(claim) = claim {
            self.spawn(claim, source, BegunBy::Person);
        }
        conversation
    }
}
