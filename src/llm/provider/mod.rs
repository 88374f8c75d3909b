//! Providers: servers with OpenAI's Chat Completions or Responses API.
//!
//! - `settings`: a provider's settings and client; `endpoint`: URL, credentials and proxy; `identity`: the calling user
//! - `wire`: the JSON of requests and answers, one file for each API; `finish`: finish reasons
//! - `remote`: one model of a provider; `capabilities`: parameters that it rejected
//! - `transport`: one HTTP exchange; `body`: bounded reads; `event_parser`, `event`: events and JSON documents in a
//!   body; `json_end`: where a document ends
//! - `failure`: classification of errors; `retry_after`: the wait that a provider asks for; `too_long`: a
//!   request beyond the context
//! - `stream`: decodes a streamed reply; `state`: accumulates an answer; `think`, `tools`: its reasoning and tool
//!   calls; `items`: delivered output items, which are not repeated; `done_parts`: text that the server sends in no
//!   other way; `surrogates`: joins characters that were split between two events
//!
//! One call is one attempt: transient failures are not retried. If the server rejects a parameter by name, the request
//! is repeated at once without it; if that succeeds, later calls omit the parameter.

mod body;
mod capabilities;
mod done_parts;
mod endpoint;
mod event;
mod event_parser;
mod failure;
mod finish;
mod identity;
mod items;
mod json_end;
mod remote;
mod retry_after;
mod settings;
mod state;
mod stream;
mod surrogates;
#[cfg(test)]
mod tests;
mod think;
mod too_long;
mod tools;
mod transport;
mod wire;

use std::{
    collections::HashMap,
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::body::Bytes;
use futures_util::stream::BoxStream;
use tokio::time::Instant;

pub(super) use self::remote::RemoteModel;
pub(crate) use self::retry_after::retry_after;
pub(crate) use self::surrogates::{SurrogateJoiner, marked as marked_surrogates};
use self::{endpoint::Endpoint, settings::Connection, transport::Transport, wire::WireFormat};
pub use self::{
    endpoint::ProxySettings,
    identity::Identity,
    settings::{DEFAULT_BASE_URL, InvalidProvider, ProviderSettings, Wire, certificates},
};
use super::{
    ReplyStream,
    breaker::Breakers,
    model::{Model, Server},
};

/// Decodes a reply that another program received from a provider and forwards unchanged. The caller bounds its size and
/// its pauses; `deadline` bounds the whole.
pub fn decode_reply(
    wire: Wire,
    body: BoxStream<'static, io::Result<Bytes>>,
    deadline: Duration,
) -> ReplyStream {
    let until = Instant::now() + deadline;
    let timeouts = stream::StreamTimeouts {
        first_event_by: until,
        idle: deadline,
        worked_from: until,
    };
    stream::decode(wire.format(), body::decoded(body), timeouts)
}

/// A model provider: its connection, circuit breakers and models.
pub struct Provider {
    connection: Arc<Connection>,
    /// Circuit breakers for failures that affect all of its models.
    breakers: Arc<Breakers>,
    /// Every requested model, so that breakers and refused parameters outlive a reload.
    models: Mutex<HashMap<String, Arc<Model>>>,
}

impl Provider {
    /// Builds a client; sends nothing. Ignores the environment and the system's proxy settings.
    ///
    /// # Errors
    /// [`InvalidProvider`].
    pub fn new(settings: ProviderSettings) -> Result<Arc<Self>, InvalidProvider> {
        let breakers = Arc::new(Breakers::new(settings.probe_every));
        Ok(Arc::new(Self {
            connection: Arc::new(Connection::new(settings)?),
            breakers,
            models: Mutex::default(),
        }))
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.connection.settings.name
    }

    /// The settings that it was built from.
    pub fn settings(&self) -> &ProviderSettings {
        &self.connection.settings
    }

    /// Whether it is OpenAI's own server.
    pub fn is_openai(&self) -> bool {
        self.connection.is_openai
    }

    /// The model that the provider knows by this name. Each call returns the same one.
    pub fn model(&self, name: &str) -> Arc<Model> {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let remote = RemoteModel::new(self.connection.clone(), name);
            let server = Server::at(&self.connection.transport.endpoint.url);
            Arc::new(Model::remote(remote, self.breakers.clone(), server))
        };
        models.entry(name.to_owned()).or_insert_with(new).clone()
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Provider")
            .field(&self.connection.settings)
            .finish()
    }
}
