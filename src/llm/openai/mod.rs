//! Client of OpenAI and of servers with its Chat Completions API, over async-openai.
//!
//! - `endpoint`: URL, credentials and proxy
//! - `wire`: the JSON of requests and answers; `finish`: finish reasons
//! - `transport`: one HTTP exchange; `body`: bounded reads; `event_parser`: events and JSON documents in a body
//! - `failure`: classification of errors; `capabilities`: parameters that a model rejected
//! - `stream`: decodes a streamed reply; `surrogates`: joins characters that were split between two events
//!
//! One call is one attempt: transient failures are not retried. If the server rejects a parameter by name, the request
//! is repeated at once without it; if that succeeds, later calls omit the parameter.

mod body;
mod capabilities;
mod endpoint;
mod event_parser;
mod failure;
mod finish;
mod stream;
mod surrogates;
#[cfg(test)]
mod tests;
mod transport;
mod wire;

use std::{fmt, time::Duration};

use async_openai::{
    Client,
    config::{Config, OpenAIConfig},
};
use futures_util::{FutureExt, future::BoxFuture};
use reqwest::{
    header::{CONTENT_TYPE, HeaderValue},
    redirect, retry,
};
use serde_json::Value;
use tokio::time::Instant;

pub use self::endpoint::ProxySettings;
use self::{
    capabilities::Capabilities,
    endpoint::Endpoint,
    failure::Failure,
    finish::Ending,
    stream::StreamTimeouts,
    transport::Transport,
    wire::{ChoiceContent, Param, Request},
};
use super::{
    Finish, LanguageModel, ModelError, ModelErrorKind, ProfileOverride, ReplyRequest, ReplyStream,
    TitleOutput, TitleRequest, profile::Profile,
};

/// The default base URL.
pub const DEFAULT_BASE_URL: &str = "https://api.openai.com/v1";

/// Settings of a provider.
#[derive(Clone)]
pub struct OpenAiConfig {
    /// The API key. Without one no `Authorization` header is sent, as for local servers.
    pub api_key: Option<String>,
    /// The URL that `/chat/completions` is appended to; defaults to [`DEFAULT_BASE_URL`].
    pub base_url: Option<String>,
    /// The model that writes replies.
    pub chat_model: String,
    /// The model that writes titles.
    pub title_model: String,
    /// Overrides of the title model's parameters.
    pub title_parameters: ProfileOverride,
    /// The longest wait from the request to the first event of a reply. Models may reason before they send anything.
    pub first_event_timeout: Duration,
    /// The longest wait between two events of a reply, and for a non-streamed answer.
    pub idle_timeout: Duration,
    /// The longest wait for a connection: DNS, TCP and TLS together.
    pub connect_timeout: Duration,
    /// The proxies to use.
    pub proxy: ProxySettings,
}

impl fmt::Debug for OpenAiConfig {
    /// Without the key, and without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiConfig")
            .field("chat_model", &self.chat_model)
            .field("title_model", &self.title_model)
            .field("first_event_timeout", &self.first_event_timeout)
            .field("idle_timeout", &self.idle_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

/// Why a client cannot be built from its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOpenAiConfig {
    /// The key has characters that an HTTP header cannot carry.
    #[error("the API key holds characters that an HTTP header cannot")]
    ApiKey,
    /// The base URL is not an absolute one.
    #[error("the provider's base URL is not an http:// or https:// URL")]
    BaseUrl,
    /// The base URL has a fragment. Fragments are never sent, so it is a mistake.
    #[error(
        "the provider's base URL has a fragment (#…); remove it, or write %23 for a # in a password"
    )]
    Fragment,
    /// The proxy's address is not a valid URL.
    #[error(
        "the proxy is not an http:// or https:// URL; check --proxy (TITLECAST_PROXY), HTTPS_PROXY and HTTP_PROXY"
    )]
    Proxy,
    /// TLS could not be set up, for example without any certificate authorities.
    #[error("the HTTPS client could not be set up; are certificate authorities installed?")]
    Tls,
}

/// A provider with the Chat Completions API.
pub struct OpenAi {
    /// For non-streamed answers.
    documents: Client<OpenAIConfig>,
    /// For streamed answers.
    transport: Transport,
    provider: OpenAIConfig,
    chat_model: String,
    title_model: String,
    title_profile: Profile,
    connect_timeout: Duration,
    first_event_timeout: Duration,
    idle_timeout: Duration,
    /// Whether the server is OpenAI's own. It accepts parameters that compatible servers reject.
    openai: bool,
    capabilities: Capabilities,
}

impl OpenAi {
    /// Builds a client; sends nothing. Ignores the environment and the system's proxy settings.
    pub fn new(config: OpenAiConfig) -> Result<Self, InvalidOpenAiConfig> {
        let key = config.api_key.as_deref().unwrap_or_default().trim();
        HeaderValue::from_str(key).map_err(|_| InvalidOpenAiConfig::ApiKey)?;
        let base_url = config.base_url.as_deref().unwrap_or_default().trim();
        let base_url = if base_url.is_empty() {
            DEFAULT_BASE_URL
        } else {
            base_url
        };
        let endpoint = Endpoint::new(base_url, key)?;

        // Fails only if a crypto provider is already installed, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder()
            .user_agent(concat!(
                env!("CARGO_PKG_NAME"),
                "/",
                env!("CARGO_PKG_VERSION")
            ))
            .connect_timeout(config.connect_timeout)
            .tcp_nodelay(true)
            .no_proxy()
            // A key must not reach another host.
            .redirect(redirect::Policy::none())
            .retry(retry::never());
        if let Some(proxy) = endpoint.proxy(&config.proxy)? {
            http = http.proxy(proxy);
        }
        let http = http.build().map_err(|_| InvalidOpenAiConfig::Tls)?;
        // Defaults come from the environment, so every field is set here.
        let provider = OpenAIConfig::new()
            .with_api_base(endpoint.url.as_str())
            .with_api_key("")
            .with_org_id("")
            .with_project_id("");
        let transport = Transport {
            http: http.clone(),
            endpoint: endpoint.clone(),
            idle_timeout: config.idle_timeout,
        };
        let documents = Client::build(http, provider.clone()).with_http_service(transport.clone());
        Ok(Self {
            documents,
            transport,
            provider,
            openai: endpoint.is_openai(),
            chat_model: config.chat_model,
            title_profile: Profile::title(&config.title_model).overridden(&config.title_parameters),
            title_model: config.title_model,
            connect_timeout: config.connect_timeout,
            first_event_timeout: config.first_event_timeout,
            idle_timeout: config.idle_timeout,
            capabilities: Capabilities::default(),
        })
    }

    async fn start_reply(&self, request: ReplyRequest) -> Result<ReplyStream, ModelError> {
        let mut body = Request::reply(&self.chat_model, &request.history, self.openai);
        self.capabilities
            .apply(&self.chat_model, &mut body, std::time::Instant::now());
        let mut dropped = Vec::new();
        loop {
            let called = Instant::now();
            let timeouts = StreamTimeouts {
                first_event_by: called + self.first_event_timeout,
                idle: self.idle_timeout,
            };
            let request = self.request(&body)?;
            match self
                .transport
                .events(request, timeouts.first_event_by)
                .await
            {
                Ok(events) => {
                    self.capabilities.record_refused(&self.chat_model, &dropped);
                    return Ok(stream::decode(events, timeouts));
                }
                Err(mut failure) => {
                    // Connected, so the request was sent: the provider may have worked on it, and bills that.
                    let was_sent = called.elapsed() > self.connect_timeout;
                    if was_sent && failure.error.kind == ModelErrorKind::Connection {
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

    fn request(&self, body: &Request<'_>) -> Result<reqwest::Request, ModelError> {
        let invalid = || ModelError::new(ModelErrorKind::InvalidRequest);
        let body = serde_json::to_vec(body).map_err(|_| invalid())?;
        let request = self
            .transport
            .http
            .post(self.transport.endpoint.url.clone());
        let request = request.headers(self.provider.headers()).body(body);
        let request = request.header(CONTENT_TYPE, "application/json").build();
        request.map_err(|_| invalid())
    }

    async fn attempt_title(&self, request: TitleRequest) -> Result<TitleOutput, ModelError> {
        let model = self.title_model.as_str();
        let mut body = Request::title(model, &self.title_profile, &request, self.openai);
        match request.plain {
            true => body.make_plain(),
            false => self
                .capabilities
                .apply(model, &mut body, std::time::Instant::now()),
        }
        let mut dropped = Vec::new();
        loop {
            if !self.title_profile.reasons() && !self.capabilities.reasons(model) {
                body.cap_tokens(request.max_tokens);
            }
            let failure = match self.documents.chat().create_byot(&body).await {
                Ok(answer) => {
                    let output = title_output(&answer)?;
                    self.record_answer(&request, &dropped, &output);
                    return Ok(output.title);
                }
                Err(error) => Failure::from_client(error),
            };
            match drop_named_parameter(&mut body, failure) {
                Ok(param) => dropped.push(param),
                Err(failure) if failure.out_of_tokens => return Ok(truncated_output()),
                Err(failure) => return Err(failure.error),
            }
        }
    }

    fn record_answer(&self, request: &TitleRequest, dropped: &[Param], output: &TitleAnswer) {
        let model = self.title_model.as_str();
        self.capabilities.record_refused(model, dropped);
        match request.plain {
            true => self.capabilities.record_plain_answer(model),
            false => self.capabilities.record_full_answer(model),
        }
        if output.reasons {
            self.capabilities.record_reasoning(model);
        }
    }
}

/// Removes the first parameter that the failure names and the request has, and returns it.
///
/// # Errors
/// The failure itself, if there is no such parameter. So each is dropped at most once.
fn drop_named_parameter(body: &mut Request<'_>, failure: Failure) -> Result<Param, Failure> {
    let mut named = failure.named.iter().copied();
    named.find(|param| body.remove(*param)).ok_or(failure)
}

impl LanguageModel for OpenAi {
    fn chat_model(&self) -> &str {
        &self.chat_model
    }

    fn title_model(&self) -> &str {
        &self.title_model
    }

    fn reply(&self, request: ReplyRequest) -> BoxFuture<'_, Result<ReplyStream, ModelError>> {
        self.start_reply(request).boxed()
    }

    fn title(&self, request: TitleRequest) -> BoxFuture<'_, Result<TitleOutput, ModelError>> {
        self.attempt_title(request).boxed()
    }
}

/// The answer to a title request, and whether its model reasoned.
struct TitleAnswer {
    title: TitleOutput,
    reasons: bool,
}

fn title_output(answer: &Value) -> Result<TitleAnswer, ModelError> {
    let malformed = || ModelError::new(ModelErrorKind::Malformed);
    let choice = wire::first_choice(answer).map_err(|()| malformed())?;
    let choice = choice.ok_or_else(malformed)?;
    let part = ChoiceContent::read(choice);
    if part.is_unreadable || choice.get("message").is_none() && part.text.is_empty() {
        return Err(malformed());
    }
    let finish = match finish::read(Some(choice), answer) {
        Some(Ending::Failure) => return Err(ModelError::new(ModelErrorKind::Interrupted)),
        Some(ending) => ending.finish(),
        // A complete JSON document is a complete answer.
        None => Finish::Stop,
    };
    let usage = wire::usage(answer);
    // Hidden reasoning shows only as an empty answer at the token limit.
    let reasons = part.reasons
        || part.text.contains("<think")
        || usage.is_some_and(|usage| usage.reasoning_tokens > 0)
        || finish == Finish::Length && part.text.trim().is_empty();
    let title = TitleOutput {
        // A refusal is never a title, so its text is dropped.
        text: if part.is_refusal {
            String::new()
        } else {
            part.text
        },
        finish: if part.is_refusal {
            Finish::ContentFilter
        } else {
            finish
        },
        usage,
        model: wire::model(answer),
    };
    Ok(TitleAnswer { title, reasons })
}

/// The output when all tokens went into reasoning.
fn truncated_output() -> TitleOutput {
    TitleOutput {
        text: String::new(),
        finish: Finish::Length,
        usage: None,
        model: None,
    }
}
