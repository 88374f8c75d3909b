//! A configured webhook: its settings, its client, and the state of its receiver on this node.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use ipnet::IpNet;
use reqwest::{Client, Url, redirect, retry};
use strum::{EnumString, IntoStaticStr, VariantArray, VariantNames};
use tokio::sync::Semaphore;

use super::{addresses::Reachable, signature::SigningKey};
use crate::{
    db::{WebhookBacklog, WebhookRoute},
    llm::{InvalidProvider, provider::certificates},
};

/// Consecutive failures, across all conversations, after which a receiver counts as failing.
const FAILING_AFTER: u32 = 5;

/// The events that webhooks announce.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, EnumString, IntoStaticStr, VariantArray, VariantNames,
)]
pub enum EventKind {
    /// A conversation was created.
    #[strum(serialize = "conversation.created")]
    Created,
    /// A conversation's title changed.
    #[strum(serialize = "conversation.title_changed")]
    TitleChanged,
    /// A message was stored, or edited.
    #[strum(serialize = "conversation.message_stored")]
    MessageStored,
    /// A reply ended, with any outcome.
    #[strum(serialize = "conversation.reply_ended")]
    ReplyEnded,
    /// A conversation was deleted.
    #[strum(serialize = "conversation.deleted")]
    Deleted,
}

/// The settings of a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookSettings {
    /// The name.
    pub name: String,
    /// The URL that events are sent to.
    pub url: Url,
    /// The keys that sign requests; at least one.
    pub keys: Vec<SigningKey>,
    /// The events that are sent.
    pub events: Vec<EventKind>,
    /// The tenants whose events are sent.
    pub tenants: Vec<String>,
    /// Whether titles and texts are sent.
    pub include_text: bool,
    /// The non-public networks that are allowed.
    pub allow_private: Vec<IpNet>,
    /// Further certificate authorities, in PEM.
    pub authorities: Option<Vec<u8>>,
    /// The timeout of one try.
    pub timeout: Duration,
    /// How long an event is retried, counted from its first failure.
    pub retry_for: Duration,
    /// How long an event that was given up is kept.
    pub keep: Duration,
    /// The maximum number of concurrent requests of this node.
    pub max_in_flight: usize,
}

impl WebhookSettings {
    /// Whether a URL is allowed, as far as the URL alone shows: a name is resolved when an event is sent.
    pub fn is_reachable(url: &Url, allow_private: &[IpNet]) -> bool {
        Reachable::of(url, allow_private).check(url).is_ok()
    }

    /// Whether it receives this event of this tenant.
    pub(super) fn wants(&self, tenant: &str, event: &str) -> bool {
        let events = self.events.iter();
        let mut names = events.map(|kind| <&str>::from(*kind));
        names.any(|name| name == event) && self.tenants.iter().any(|known| known == tenant)
    }
}

/// A webhook in force.
pub struct Hook {
    pub(super) settings: WebhookSettings,
    pub(super) reachable: Reachable,
    pub(super) http: Client,
    pub(super) slots: Arc<Semaphore>,
    /// Whether events wait for a slot.
    pub(super) is_saturated: AtomicBool,
    failures: AtomicU32,
    backlog: Mutex<WebhookBacklog>,
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook")
            .field("name", &self.settings.name)
            .finish_non_exhaustive()
    }
}

impl Hook {
    /// Builds the client. Sends nothing.
    ///
    /// # Errors
    /// [`InvalidProvider`] if the certificate authorities are invalid, or there are none.
    pub fn new(settings: WebhookSettings) -> Result<Self, InvalidProvider> {
        // Fails only if a crypto provider is already installed, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let reachable = Reachable::of(&settings.url, &settings.allow_private);
        let mut http = Client::builder()
            .user_agent(concat!(
                env!("CARGO_PKG_NAME"),
                "/",
                env!("CARGO_PKG_VERSION")
            ))
            .dns_resolver(reachable.clone())
            .connect_timeout(settings.timeout)
            .pool_max_idle_per_host(settings.max_in_flight)
            .tcp_nodelay(true)
            // A proxy would resolve the name itself, without the check of its addresses.
            .no_proxy()
            .redirect(redirect::Policy::none())
            .retry(retry::never());
        if let Some(pem) = &settings.authorities {
            http = http.tls_certs_merge(certificates(pem)?);
        }
        let http = http.build().map_err(|_| InvalidProvider::Tls)?;
        Ok(Self {
            slots: Arc::new(Semaphore::new(settings.max_in_flight)),
            settings,
            reachable,
            http,
            is_saturated: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            backlog: Mutex::default(),
        })
    }

    /// The settings.
    pub fn settings(&self) -> &WebhookSettings {
        &self.settings
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// The routes of the events to queue for it.
    pub(super) fn routes(&self) -> impl Iterator<Item = WebhookRoute> {
        let of_tenant = move |tenant: &'_ String| {
            let tenant = tenant.clone();
            self.settings.events.iter().map(move |kind| WebhookRoute {
                tenant: tenant.clone(),
                event: (*kind).into(),
                hook: self.settings.name.clone(),
            })
        };
        self.settings.tenants.iter().flat_map(of_tenant)
    }

    pub(super) fn record_outcome(&self, is_received: bool) {
        match is_received {
            true => self.failures.store(0, Relaxed),
            false => {
                self.failures.fetch_add(1, Relaxed);
            }
        }
    }

    pub(super) fn record_backlog(&self, backlog: WebhookBacklog) {
        *self.backlog.lock().unwrap_or_else(PoisonError::into_inner) = backlog;
    }

    /// Its problem as readable text; `None` without one.
    pub(super) fn complaint(&self) -> Option<String> {
        let backlog = *self.backlog.lock().unwrap_or_else(PoisonError::into_inner);
        let name = self.name();
        if backlog.is_gone {
            Some(format!("{name}: gone"))
        } else if backlog.parked > 0 {
            Some(format!("{name}: {} parked", backlog.parked))
        } else if self.failures.load(Relaxed) >= FAILING_AFTER {
            Some(format!("{name}: failing"))
        } else {
            None
        }
    }
}
