//! Titles, which the product is about: made once for each conversation, from its first user message
//! alone, beside the reply and whatever becomes of it.
//!
//! `task` asks the model and judges the answer; [`clean`] holds the rules of judging, pure;
//! `prompt` is the question. A title is written by one statement that loses against a rename, a
//! deletion and any other writer (`db`), and told after the commit. Nothing waits for a title, and
//! nothing fails with one. There is no other way to make one: no endpoint generates titles.

mod breaker;
pub mod clean;
mod prompt;
mod task;

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::{
    conversation::{Conversation, ConversationId, Owner, Title},
    db::Database,
    error::{Error, Result},
    events::EventBroker,
    llm::LanguageModel,
};

/// How titles are made.
#[derive(Clone, Copy, Debug)]
pub struct TitleSettings {
    /// From the first call's start to the title, the second try included.
    pub deadline: Duration,
    /// How many calls are in flight at most; the others wait, and their deadline with them.
    pub max_in_flight: usize,
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
    permits: Semaphore,
    breaker: breaker::Breaker,
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
        let inner = Inner {
            db,
            events,
            model,
            tasks,
            settings,
            permits: Semaphore::new(settings.max_in_flight),
            breaker: breaker::Breaker::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Starts making the title of a conversation that began with this message. Returns at once.
    pub fn start(&self, owner: Owner, id: ConversationId, message: String) {
        let inner = self.inner.clone();
        self.inner
            .tasks
            .spawn(async move { task::run(&inner, &owner, id, &message).await });
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
        let title = Title::new(text).map_err(|invalid| Error::invalid(invalid.to_string()))?;
        let conversation = self.inner.db.rename(owner, id, &title).await?;
        self.inner.events.publish(conversation.clone());
        Ok(conversation)
    }
}
