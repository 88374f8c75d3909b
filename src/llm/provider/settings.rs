//! Settings of a provider, and the client built from them.

use std::{fmt, time::Duration};

use async_openai::config::OpenAIConfig;
use reqwest::{
    Certificate,
    header::{HeaderName, HeaderValue},
    redirect, retry,
};

use super::{
    Endpoint, Identity, ProxySettings, Transport, WireFormat,
    wire::{chat_completions::ChatCompletions, responses::Responses},
};

/// The default base URL.
pub const DEFAULT_BASE_URL: &str = "https://api.openai.com/v1";

/// The API of a provider.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantNames,
)]
#[strum(serialize_all = "snake_case")]
pub enum Wire {
    /// `POST /chat/completions`.
    #[default]
    ChatCompletions,
    /// `POST /responses`.
    Responses,
}

impl Wire {
    pub(super) fn format(self) -> &'static dyn WireFormat {
        match self {
            Self::ChatCompletions => &ChatCompletions,
            Self::Responses => &Responses,
        }
    }
}

/// Settings of a provider. Two providers with equal settings are the same.
#[derive(Clone, PartialEq, Eq)]
pub struct ProviderSettings {
    /// Its name in the configuration.
    pub name: String,
    /// The URL that the API's path is appended to. It may hold a password.
    pub base_url: String,
    /// The API key. Without one no `Authorization` header is sent, as for local servers.
    pub api_key: Option<String>,
    /// Its API.
    pub wire: Wire,
    /// Headers of every request. The program's own, such as `Authorization`, replace one of the same name.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The proxies to use.
    pub proxy: ProxySettings,
    /// Certificates of authorities to trust in addition to the system's, in PEM.
    pub authorities: Option<Vec<u8>>,
    /// The longest wait from the request to the first event of a reply. Models may reason before they send anything.
    pub first_event: Duration,
    /// The longest wait between two events of a reply, and for a non-streamed answer.
    pub idle: Duration,
    /// The longest wait for a connection: DNS, TCP and TLS together.
    pub connect: Duration,
    /// How the provider receives the identity of the calling user.
    pub identity: Identity,
    /// The pause between probes while it refuses all calls.
    pub probe_every: Duration,
}

impl Default for ProviderSettings {
    fn default() -> Self {
        Self {
            name: "openai".to_owned(),
            base_url: DEFAULT_BASE_URL.to_owned(),
            api_key: None,
            wire: Wire::default(),
            headers: Vec::new(),
            proxy: ProxySettings::default(),
            authorities: None,
            first_event: Duration::from_secs(180),
            idle: Duration::from_secs(60),
            connect: Duration::from_secs(5),
            identity: Identity::None,
            probe_every: Duration::from_secs(60),
        }
    }
}

impl fmt::Debug for ProviderSettings {
    /// Without keys and headers, and without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderSettings")
            .field("name", &self.name)
            .field("wire", &self.wire)
            .field("first_event", &self.first_event)
            .field("idle", &self.idle)
            .field("connect", &self.connect)
            .finish_non_exhaustive()
    }
}

/// Why a provider cannot be built from its settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProvider {
    /// The key has characters that an HTTP header cannot carry.
    #[error("the API key holds characters that an HTTP header cannot")]
    ApiKey,
    /// The base URL is not an absolute `http` or `https` URL.
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
    /// The CA file contains no certificate.
    #[error("the CA file contains no PEM certificate")]
    Authorities,
    /// The identity secret is too short to be one.
    #[error("the identity secret is shorter than 32 bytes")]
    IdentitySecret,
    /// TLS could not be set up, for example without any certificate authorities.
    #[error("the HTTPS client could not be set up; are certificate authorities installed?")]
    Tls,
}

/// A provider's client.
pub(super) struct Connection {
    pub(super) settings: ProviderSettings,
    pub(super) wire: &'static dyn WireFormat,
    pub(super) transport: Transport,
    /// For non-streamed answers; each call brings its own HTTP service.
    pub(super) client: OpenAIConfig,
    pub(super) is_openai: bool,
}

impl Connection {
    /// Builds the client; sends nothing.
    pub(super) fn new(settings: ProviderSettings) -> Result<Self, InvalidProvider> {
        let key = settings.api_key.as_deref().unwrap_or_default().trim();
        HeaderValue::from_str(key).map_err(|_| InvalidProvider::ApiKey)?;
        let wire = settings.wire.format();
        let endpoint = Endpoint::new(settings.base_url.trim(), wire.path(), key)?;
        settings.identity.check()?;

        // Fails only if a crypto provider is already installed, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder()
            .user_agent(concat!(
                env!("CARGO_PKG_NAME"),
                "/",
                env!("CARGO_PKG_VERSION")
            ))
            .connect_timeout(settings.connect)
            .tcp_nodelay(true)
            .no_proxy()
            // A key must not reach another host.
            .redirect(redirect::Policy::none())
            .retry(retry::never());
        if let Some(proxy) = endpoint.proxy(&settings.proxy)? {
            http = http.proxy(proxy);
        }
        if let Some(pem) = &settings.authorities {
            http = http.tls_certs_merge(certificates(pem)?);
        }
        let http = http.build().map_err(|_| match &settings.authorities {
            Some(_) => InvalidProvider::Authorities,
            None => InvalidProvider::Tls,
        })?;
        // Defaults come from the environment, so every field is set here.
        let client = OpenAIConfig::new()
            .with_api_base(endpoint.url.as_str())
            .with_api_key("")
            .with_org_id("")
            .with_project_id("");
        Ok(Self {
            wire,
            client,
            is_openai: endpoint.is_openai(),
            transport: Transport {
                http,
                endpoint,
                headers: settings.headers.iter().cloned().collect(),
                idle_timeout: settings.idle,
            },
            settings,
        })
    }
}

/// The certificates of a PEM file; at least one.
///
/// # Errors
/// [`InvalidProvider::Authorities`].
pub fn certificates(pem: &[u8]) -> Result<Vec<Certificate>, InvalidProvider> {
    let certificates = Certificate::from_pem_bundle(pem).unwrap_or_default();
    match certificates.is_empty() {
        true => Err(InvalidProvider::Authorities),
        false => Ok(certificates),
    }
}
