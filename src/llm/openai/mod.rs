//! OpenAI and every server that speaks its Chat Completions API, over async-openai.
//!
//! - `endpoint`: where requests go, and through which proxy
//! - `wire`: the JSON of requests and answers; `finish`: why a model stopped
//! - `transport`: one HTTP exchange; `body`: reading with limits; `reader`: events and documents in a body
//! - `failure`: what a refusal means; `memory`: what a model was found not to take
//! - `stream`: an answer's events; `halves`: characters that were cut between two of them
//!
//! One call is one attempt: no retry for a failure that time could heal. A parameter that the server names in a refusal
//! is another matter. The request is repeated at once without it; if that is answered, later calls leave it out.

mod body;
mod endpoint;
mod failure;
mod finish;
mod halves;
mod memory;
mod reader;
mod stream;
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
    endpoint::Endpoint,
    failure::Failure,
    finish::Ending,
    memory::Memory,
    stream::Silence,
    transport::Transport,
    wire::{Param, Part, Request},
};
use super::{
    Finish, LanguageModel, ModelError, ModelErrorKind, ProfileOverride, ReplyRequest, ReplyStream,
    TitleOutput, TitleRequest, profile::Profile,
};

/// Where requests go unless the settings say otherwise.
pub const DEFAULT_BASE_URL: &str = "https://api.openai.com/v1";

/// How to reach a provider.
#[derive(Clone)]
pub struct OpenAiConfig {
    /// The key; without one no `Authorization` header is sent, which suits local servers.
    pub api_key: Option<String>,
    /// The URL that `/chat/completions` is appended to; [`DEFAULT_BASE_URL`] if there is none.
    pub base_url: Option<String>,
    /// The model that writes replies.
    pub chat_model: String,
    /// The model that writes titles.
    pub title_model: String,
    /// What the title model takes, where the table of models is wrong.
    pub title_parameters: ProfileOverride,
    /// The longest wait for the first event of a reply, from the request on: a model may reason in silence.
    pub first_event_timeout: Duration,
    /// The longest wait between two events of a reply, and for an answer in one piece.
    pub idle_timeout: Duration,
    /// The longest wait for a connection: name, TCP and TLS together.
    pub connect_timeout: Duration,
    /// The proxies on the way.
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

/// Settings that no client can be built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOpenAiConfig {
    /// The key holds what no HTTP header can.
    #[error("the API key holds characters that an HTTP header cannot")]
    ApiKey,
    /// The base URL is not an absolute one.
    #[error("the provider's base URL is not an http:// or https:// URL")]
    BaseUrl,
    /// The base URL has a fragment, which is never sent: something is wrong with it.
    #[error(
        "the provider's base URL has a fragment (#…); remove it, or write %23 for a # in a password"
    )]
    Fragment,
    /// The proxy's address is none.
    #[error(
        "the proxy is not an http:// or https:// URL; check --proxy (TITLECAST_PROXY), HTTPS_PROXY and HTTP_PROXY"
    )]
    Proxy,
    /// TLS could not be set up, as on a machine without any certificate authorities.
    #[error("the HTTPS client could not be set up; are certificate authorities installed?")]
    Tls,
}

/// A provider over Chat Completions.
pub struct OpenAi {
    /// For answers in one piece.
    documents: Client<OpenAIConfig>,
    /// For streamed answers, and what they are asked for with.
    transport: Transport,
    provider: OpenAIConfig,
    chat_model: String,
    title_model: String,
    title_profile: Profile,
    first_event_timeout: Duration,
    idle_timeout: Duration,
    /// Whether the server is OpenAI's own, which takes what compatible ones do not.
    openai: bool,
    memory: Memory,
}

impl OpenAi {
    /// A client for these settings; nothing is sent yet. Neither the environment nor the system's proxy settings are
    /// read: requests go where `config` says.
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

        // An error only says that the process has a provider already, which is as good.
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
        // Its defaults come from the environment: every field is set here, even to nothing.
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
            first_event_timeout: config.first_event_timeout,
            idle_timeout: config.idle_timeout,
            memory: Memory::default(),
        })
    }

    async fn start_reply(&self, request: ReplyRequest) -> Result<ReplyStream, ModelError> {
        let mut body = Request::reply(&self.chat_model, &request.history, self.openai);
        self.memory
            .apply(&self.chat_model, &mut body, std::time::Instant::now());
        let mut left_out = Vec::new();
        loop {
            let silence = Silence {
                first_event_by: Instant::now() + self.first_event_timeout,
                idle: self.idle_timeout,
            };
            let request = self.request(&body)?;
            match self.transport.events(request, silence.first_event_by).await {
                Ok(events) => {
                    self.memory.refused(&self.chat_model, &left_out);
                    return Ok(stream::decode(events, silence));
                }
                Err(failure) => {
                    left_out.push(adapt(&mut body, failure).map_err(|failure| failure.error)?);
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
                .memory
                .apply(model, &mut body, std::time::Instant::now()),
        }
        let mut left_out = Vec::new();
        loop {
            if !self.title_profile.reasons() && !self.memory.reasons(model) {
                body.bound(request.max_tokens);
            }
            let failure = match self.documents.chat().create_byot(&body).await {
                Ok(answer) => {
                    let output = title_output(&answer)?;
                    self.learn(&request, &left_out, &output);
                    return Ok(output.title);
                }
                Err(error) => Failure::from_client(error),
            };
            match adapt(&mut body, failure) {
                Ok(param) => left_out.push(param),
                Err(failure) if failure.out_of_tokens => return Ok(nothing_written()),
                Err(failure) => return Err(failure.error),
            }
        }
    }

    fn learn(&self, request: &TitleRequest, left_out: &[Param], output: &Output) {
        let model = self.title_model.as_str();
        self.memory.refused(model, left_out);
        match request.plain {
            true => self.memory.answered_when_plain(model),
            false => self.memory.answered_in_full(model),
        }
        if output.reasons {
            self.memory.has_reasoned(model);
        }
    }
}

/// Takes out of the request the first parameter that the failure names and the request has: each is dropped at most
/// once. Any other failure comes back.
fn adapt(body: &mut Request<'_>, failure: Failure) -> Result<Param, Failure> {
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

/// A title's answer, and what it shows of its model.
struct Output {
    title: TitleOutput,
    reasons: bool,
}

fn title_output(answer: &Value) -> Result<Output, ModelError> {
    let malformed = || ModelError::new(ModelErrorKind::Malformed);
    let choice = wire::first_choice(answer).map_err(|()| malformed())?;
    let choice = choice.ok_or_else(malformed)?;
    let part = Part::read(choice);
    if part.is_unreadable || choice.get("message").is_none() && part.text.is_empty() {
        return Err(malformed());
    }
    let finish = match finish::read(Some(choice), answer) {
        Some(Ending::Failure) => return Err(ModelError::new(ModelErrorKind::Interrupted)),
        Some(ending) => ending.finish(),
        // The answer is whole, since it is a document.
        None => Finish::Stop,
    };
    let usage = wire::usage(answer);
    // Reasoning that does not show leaves nothing but a limit that was reached.
    let reasons = part.reasons
        || part.text.contains("<think")
        || usage.is_some_and(|usage| usage.reasoning_tokens > 0)
        || finish == Finish::Length && part.text.trim().is_empty();
    let title = TitleOutput {
        // A refusal is no title, however it is worded: its text is not handed on.
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
    Ok(Output { title, reasons })
}

/// What a title comes to when all tokens went into reasoning.
fn nothing_written() -> TitleOutput {
    TitleOutput {
        text: String::new(),
        finish: Finish::Length,
        usage: None,
        model: None,
    }
}
