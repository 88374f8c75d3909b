//! OpenAI and every server that speaks its Chat Completions API, over async-openai.
//!
//! - `wire`: the JSON of requests and answers
//! - `transport`: one HTTP exchange; `body`: reading with limits
//! - `failure`: what a refusal means
//! - `stream`: a streamed reply
//!
//! One call is one attempt: no retry for a failure that time could heal. A parameter that the server does not know is
//! another matter. It is left out, the request repeated at once, and later calls do not send it any more.

mod body;
mod failure;
mod stream;
#[cfg(test)]
mod tests;
mod transport;
mod wire;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_openai::{
    Client,
    config::{Config, OpenAIConfig},
};
use futures_util::{FutureExt, future::BoxFuture};
use reqwest::{
    Url,
    header::{CONTENT_TYPE, HeaderValue},
    redirect, retry,
};
use serde_json::Value;

use self::{
    failure::Failure,
    transport::Transport,
    wire::{Param, Request},
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
    /// The longest wait for the first byte of an answer, and between two events of a stream.
    pub idle_timeout: Duration,
    /// The longest wait for a connection: name, TCP and TLS together.
    pub connect_timeout: Duration,
}

impl fmt::Debug for OpenAiConfig {
    /// Without the key, and without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiConfig")
            .field("chat_model", &self.chat_model)
            .field("title_model", &self.title_model)
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
    idle_timeout: Duration,
    /// Whether the server is OpenAI's own, which takes what compatible ones do not.
    openai: bool,
    /// What this server was found not to take.
    refused: Mutex<BTreeSet<Param>>,
}

impl OpenAi {
    /// A client for these settings; nothing is sent yet. Neither the environment nor the system's proxy settings have
    /// a say in where requests go.
    pub fn new(config: OpenAiConfig) -> Result<Self, InvalidOpenAiConfig> {
        let key = config.api_key.as_deref().unwrap_or_default().trim();
        HeaderValue::from_str(key).map_err(|_| InvalidOpenAiConfig::ApiKey)?;
        let base_url = config
            .base_url
            .as_deref()
            .unwrap_or_default()
            .trim()
            .trim_end_matches('/');
        let base_url = if base_url.is_empty() {
            DEFAULT_BASE_URL
        } else {
            base_url
        };
        let url = Url::parse(base_url).map_err(|_| InvalidOpenAiConfig::BaseUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(InvalidOpenAiConfig::BaseUrl);
        }
        let host = url.host_str().ok_or(InvalidOpenAiConfig::BaseUrl)?;

        // An error only says that the process has a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .user_agent(concat!(
                env!("CARGO_PKG_NAME"),
                "/",
                env!("CARGO_PKG_VERSION")
            ))
            .connect_timeout(config.connect_timeout)
            .tcp_nodelay(true)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .build()
            .map_err(|_| InvalidOpenAiConfig::Tls)?;
        // Its defaults come from the environment: every field is set here, even to nothing.
        let provider = OpenAIConfig::new()
            .with_api_base(base_url)
            .with_api_key(key)
            .with_org_id("")
            .with_project_id("");
        let transport = Transport {
            http: http.clone(),
            anonymous: key.is_empty(),
            idle_timeout: config.idle_timeout,
        };
        let documents = Client::build(http, provider.clone()).with_http_service(transport.clone());
        Ok(Self {
            documents,
            transport,
            provider,
            openai: host == "api.openai.com" || host.ends_with(".api.openai.com"),
            chat_model: config.chat_model,
            title_profile: Profile::title(&config.title_model).overridden(&config.title_parameters),
            title_model: config.title_model,
            idle_timeout: config.idle_timeout,
            refused: Mutex::default(),
        })
    }

    async fn start_reply(&self, request: ReplyRequest) -> Result<ReplyStream, ModelError> {
        let mut body = Request::reply(&self.chat_model, &request.history, self.openai);
        self.leave_out_refused(&mut body);
        loop {
            match self.transport.events(self.request(&body)?).await {
                Ok(events) => return Ok(stream::decode(events, self.idle_timeout)),
                Err(failure) => self
                    .adapt(&mut body, failure)
                    .map_err(|failure| failure.error)?,
            }
        }
    }

    fn request(&self, body: &Request<'_>) -> Result<reqwest::Request, ModelError> {
        let invalid = || ModelError::new(ModelErrorKind::InvalidRequest);
        let body = serde_json::to_vec(body).map_err(|_| invalid())?;
        let request = self
            .transport
            .http
            .post(self.provider.url("/chat/completions"));
        let request = request.headers(self.provider.headers()).body(body);
        let request = request.header(CONTENT_TYPE, "application/json").build();
        request.map_err(|_| invalid())
    }

    async fn attempt_title(&self, request: TitleRequest) -> Result<TitleOutput, ModelError> {
        let mut body = Request::title(
            &self.title_model,
            &self.title_profile,
            &request,
            self.openai,
        );
        self.leave_out_refused(&mut body);
        loop {
            match self.documents.chat().create_byot(&body).await {
                Ok(answer) => return title_output(&answer),
                Err(error) => match self.adapt(&mut body, Failure::from_client(error)) {
                    Ok(()) => {}
                    Err(failure) if failure.out_of_tokens => return Ok(nothing_written()),
                    Err(failure) => return Err(failure.error),
                },
            }
        }
    }

    fn leave_out_refused(&self, body: &mut Request<'_>) {
        for param in self.refused().iter() {
            body.remove(*param);
        }
    }

    /// Takes out of the request what the server refuses, and remembers it. Any other failure comes back, and so does a
    /// complaint about a parameter that was not sent: each is dropped at most once.
    fn adapt(&self, body: &mut Request<'_>, failure: Failure) -> Result<(), Failure> {
        match failure.unsupported {
            Some(param) if body.remove(param) => {
                self.refused().insert(param);
                Ok(())
            }
            _ => Err(failure),
        }
    }

    fn refused(&self) -> MutexGuard<'_, BTreeSet<Param>> {
        // A panic elsewhere can't leave a set of flags half changed.
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

fn title_output(answer: &Value) -> Result<TitleOutput, ModelError> {
    let malformed = || ModelError::new(ModelErrorKind::Malformed);
    let choice = wire::first_choice(answer).ok_or_else(malformed)?;
    let message = choice.get("message").ok_or_else(malformed)?;
    let finish = wire::finish(choice).map_err(|()| ModelError::new(ModelErrorKind::Interrupted))?;
    // A refusal is no title, however it is worded: its text is not handed on.
    let refused = !wire::text(message.get("refusal")).is_empty();
    Ok(TitleOutput {
        text: if refused {
            String::new()
        } else {
            wire::text(message.get("content"))
        },
        finish: if refused {
            Finish::ContentFilter
        } else {
            finish.unwrap_or(Finish::Stop)
        },
        usage: wire::usage(answer),
        model: wire::model(answer),
    })
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
