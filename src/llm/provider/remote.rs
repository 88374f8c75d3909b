//! One model of a provider: sends a request, and drops parameters that the provider rejects by name.

use std::sync::Arc;

use async_openai::Client;
use futures_util::{FutureExt, future::BoxFuture};
use reqwest::header::HeaderMap;
use tokio::time::Instant;

use super::{
    Connection,
    capabilities::Capabilities,
    failure::Failure,
    state::{self, TitleAnswer},
    stream::{self, StreamTimeouts},
    transport::DocumentService,
    wire::{Param, Request, Target},
};
use crate::llm::{
    CallIdentity, ModelError, ModelErrorKind, ModelName, ReplyModel, ReplyRequest, ReplyStream,
    TitleModel, TitleOutput, TitleRequest, profile::Profile,
};

/// A model of a provider, without breakers.
pub(in crate::llm) struct RemoteModel {
    connection: Arc<Connection>,
    name: ModelName,
    profile: Profile,
    capabilities: Capabilities,
}

impl RemoteModel {
    /// The model that the provider knows by this name.
    pub(super) fn new(connection: Arc<Connection>, model: &str) -> Self {
        let name = ModelName::new(connection.settings.name.as_str(), model);
        Self {
            connection,
            profile: Profile::title(model),
            capabilities: Capabilities::new(name.clone()),
            name,
        }
    }

    /// Whether requests carry a key, the URL's user, or headers of the configuration, which may be a key.
    pub(in crate::llm) fn has_key(&self) -> bool {
        let transport = &self.connection.transport;
        transport.endpoint.authorization.is_some() || !transport.headers.is_empty()
    }

    /// The parameters that requests omit now, because the model rejected them.
    pub(in crate::llm) fn refused_parameters(&self) -> Vec<&'static str> {
        self.capabilities.refused(std::time::Instant::now())
    }

    async fn start_reply(&self, request: ReplyRequest) -> Result<ReplyStream, ModelError> {
        let Connection {
            settings,
            transport,
            wire,
            ..
        } = &*self.connection;
        let mut body = Request::new(*wire, wire.reply(self.target(), &request));
        self.capabilities
            .apply(&mut body, std::time::Instant::now());
        let mut dropped = Vec::new();
        loop {
            let called = Instant::now();
            let timeouts = StreamTimeouts {
                first_event_by: called + settings.first_event,
                idle: settings.idle,
                worked_from: called + settings.connect,
            };
            let identity = self.identity(&request.caller);
            let events = transport.events(&body.fields, identity, timeouts.first_event_by);
            match events.await {
                Ok(events) => {
                    self.capabilities.record_refused(&dropped);
                    return Ok(stream::decode(*wire, events, timeouts));
                }
                Err(mut failure) => {
                    // The request was sent. If the provider held it for long, it may have processed the request, and
                    // bills it.
                    let was_read = Instant::now() > timeouts.worked_from;
                    if was_read && failure.error.kind == ModelErrorKind::Interrupted {
                        failure.error.kind = ModelErrorKind::Timeout;
                    }
                    dropped.push(
                        drop_named_parameter(&mut body, failure)
                            .map_err(|failure| failure.error)?,
                    );
                }
            }
        }
    }

    async fn attempt_title(&self, request: TitleRequest) -> Result<TitleOutput, ModelError> {
        let Connection {
            transport,
            client,
            wire,
            ..
        } = &*self.connection;
        let profile = self.profile.clone().overridden(&request.overrides);
        let fields = wire.title(self.target(), &profile, &request);
        let mut body = Request::new(*wire, fields);
        let now = std::time::Instant::now();
        if request.plain || self.capabilities.apply(&mut body, now) {
            body.make_plain();
            body.remove(Param::SystemRole);
        }
        let mut dropped = Vec::new();
        loop {
            if !profile.reasons() && !self.capabilities.reasons() {
                body.cap_tokens(request.max_tokens);
            }
            let service = DocumentService {
                transport: transport.clone(),
                identity: self.identity(&request.caller),
            };
            let client =
                Client::build(transport.http.clone(), client.clone()).with_http_service(service);
            let answer = wire.create(&client, &body.fields).await;
            let answer = answer
                .map_err(Failure::from_client)
                .and_then(|(status, text)| {
                    state::title(*wire, &text).map_err(|failure| failure.with_status(status))
                });
            let failure = match answer {
                Ok(answer) => {
                    self.record_answer(&request, &dropped, &answer);
                    return Ok(answer.title);
                }
                Err(failure) => failure,
            };
            match drop_named_parameter(&mut body, failure) {
                Ok(param) => dropped.push(param),
                Err(failure) if failure.out_of_tokens => return Ok(state::truncated_title()),
                Err(failure) => return Err(failure.error),
            }
        }
    }

    fn target(&self) -> Target<'_> {
        Target {
            model: self.name.model(),
            openai: self.connection.is_openai,
            reasoning: self.profile.reasoning,
        }
    }

    fn identity(&self, caller: &CallIdentity) -> HeaderMap {
        let settings = &self.connection.settings;
        settings.identity.headers(&settings.name, caller)
    }

    fn record_answer(&self, request: &TitleRequest, dropped: &[Param], answer: &TitleAnswer) {
        self.capabilities.record_refused(dropped);
        // Some servers leave the answer empty where they cannot apply a schema.
        match (request.plain, answer.title.is_silent()) {
            (_, true) => {}
            (true, false) => self.capabilities.record_plain_answer(),
            (false, false) => self.capabilities.record_full_answer(),
        }
        if answer.reasons {
            self.capabilities.record_reasoning();
        }
    }
}

/// Removes the first parameter that the failure names and the request has, and returns it.
///
/// # Errors
/// The failure itself, if there is no such parameter. Each parameter is thus dropped at most once.
fn drop_named_parameter(body: &mut Request, failure: Failure) -> Result<Param, Failure> {
    let mut named = failure.named.iter().copied();
    named.find(|param| body.remove(*param)).ok_or(failure)
}

impl ReplyModel for RemoteModel {
    fn name(&self) -> &ModelName {
        &self.name
    }

    fn reply(&self, request: ReplyRequest) -> BoxFuture<'_, Result<ReplyStream, ModelError>> {
        self.start_reply(request).boxed()
    }
}

impl TitleModel for RemoteModel {
    fn name(&self) -> &ModelName {
        &self.name
    }

    fn title(&self, request: TitleRequest) -> BoxFuture<'_, Result<TitleOutput, ModelError>> {
        self.attempt_title(request).boxed()
    }
}
