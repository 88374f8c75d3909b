//! The settings: flags and environment variables with their defaults and units.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{ArgAction, Args, builder::FalseyValueParser};

use super::{JwtArguments, LimitArguments, Origins};
use crate::{
    api::{base_path::BasePath, sse::Contract},
    conversation::PerTenant,
    llm::ProfileOverride,
    server::ListenAddress,
    telemetry::LogFormat,
    titles::TitleLanguage,
};

/// The settings.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// File of providers, agents and titles (docs/agents.md); read again on SIGHUP
    #[arg(long, env = "TITLECAST_CONFIG", value_name = "PATH", global = true)]
    pub config: Option<PathBuf>,

    /// Address to listen on, or unix:PATH for a Unix domain socket (unix:/run/titlecast.sock, or with permissions
    /// unix:/run/titlecast.sock?mode=660). A socket that systemd passes replaces it
    #[arg(
        long,
        env = "TITLECAST_LISTEN",
        default_value = "127.0.0.1:8080",
        value_name = "ADDRESS",
        value_parser = listen_address,
        global = true
    )]
    pub listen: ListenAddress,

    /// Address to serve Prometheus metrics on, at /metrics
    #[arg(
        long,
        env = "TITLECAST_METRICS_LISTEN",
        default_value = "127.0.0.1:9464",
        value_name = "ADDRESS",
        value_parser = listen_address,
        global = true
    )]
    pub metrics_listen: ListenAddress,

    /// Path below which everything is served, such as /chat, for a proxy that passes paths on as they are. Health
    /// checks are at /healthz and /readyz as well
    #[arg(
        long,
        env = "TITLECAST_BASE_PATH",
        default_value = "/",
        value_name = "PATH",
        global = true
    )]
    pub base_path: BasePath,

    /// Allow listening on an address that other hosts can reach without authentication: any client that reaches it
    /// can read and write everything. With --jwt-secret or --jwt-keys this applies only to the metrics, which never
    /// require authentication
    #[arg(long, env = "TITLECAST_ALLOW_UNAUTHENTICATED", value_parser = FalseyValueParser::new(), global = true)]
    pub allow_unauthenticated: bool,

    /// Token verification
    #[command(flatten)]
    pub jwt: JwtArguments,

    /// Web origins whose pages may call the service, besides its own; separated by commas
    #[arg(
        long,
        env = "TITLECAST_ALLOWED_ORIGINS",
        value_delimiter = ',',
        value_name = "ORIGINS",
        global = true
    )]
    pub allowed_origins: Vec<String>,

    /// Host names to accept in the Host header, besides IP addresses, localhost and its subdomains; separated by
    /// commas: chat.example, *.chat.example. With --jwt-secret or --jwt-keys only the metrics check it
    #[arg(
        long,
        env = "TITLECAST_ALLOWED_HOSTS",
        value_delimiter = ',',
        value_name = "HOSTS",
        global = true
    )]
    pub allowed_hosts: Vec<String>,

    /// Limits per caller
    #[command(flatten)]
    pub limits: LimitArguments,

    /// Execute only the GraphQL documents in this manifest (a JSON object that maps ids to documents) or folder of
    /// .graphql files, and reject all others
    #[arg(
        long,
        env = "TITLECAST_TRUSTED_DOCUMENTS",
        value_name = "PATH",
        global = true
    )]
    pub trusted_documents: Option<PathBuf>,

    /// Serve the web pages: a demo chat that shows the traffic behind it at /, and the GraphQL consoles /explorer and
    /// /graphiql
    #[arg(
        long,
        env = "TITLECAST_PAGES",
        default_value_t = true,
        action = ArgAction::Set,
        value_name = "BOOL",
        global = true
    )]
    pub pages: bool,

    /// Allow GraphQL introspection
    #[arg(
        long,
        env = "TITLECAST_INTROSPECTION",
        default_value_t = true,
        action = ArgAction::Set,
        value_name = "BOOL",
        global = true
    )]
    pub introspection: bool,

    /// Suggest similar names in GraphQL errors
    #[arg(
        long,
        env = "TITLECAST_SUGGESTIONS",
        default_value_t = true,
        action = ArgAction::Set,
        value_name = "BOOL",
        global = true
    )]
    pub suggestions: bool,

    /// Database URL: sqlite://FILE?mode=rwc or postgres://USER:PASSWORD@HOST/NAME
    #[arg(
        long,
        env = "DATABASE_URL",
        default_value = "sqlite://titlecast.db?mode=rwc",
        hide_env_values = true,
        value_name = "URL",
        global = true
    )]
    pub database_url: String,

    /// Maximum number of database connections; on SQLite, of readers in addition to the one writer
    #[arg(long, env = "TITLECAST_DATABASE_CONNECTIONS", default_value_t = 8, value_name = "N", global = true,
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub database_connections: u32,

    /// NATS servers, separated by commas: nats://USER:PASSWORD@HOST:4222. Nodes that share a database notify each
    /// other of changes through NATS
    #[arg(
        long,
        env = "TITLECAST_NATS_URL",
        hide_env_values = true,
        value_name = "URL",
        global = true
    )]
    pub nats_url: Option<String>,

    /// File of the certificate authorities (PEM) that sign the certificates of the NATS servers, in place of the system's;
    /// with it, connections are always encrypted
    #[arg(long, env = "TITLECAST_NATS_CA", value_name = "PATH", global = true)]
    pub nats_ca: Option<PathBuf>,

    /// Apply pending migrations before serving; SQLite databases are always migrated
    #[arg(long, env = "TITLECAST_MIGRATE", value_parser = FalseyValueParser::new(), global = true)]
    pub migrate: bool,

    /// API key of the model provider; without a key or a base URL, the offline model answers
    #[arg(
        long,
        env = "OPENAI_API_KEY",
        hide_env_values = true,
        value_name = "KEY",
        global = true
    )]
    pub openai_api_key: Option<String>,

    /// Base URL of a server with OpenAI's Chat Completions API, such as http://127.0.0.1:11434/v1
    #[arg(
        long,
        env = "OPENAI_BASE_URL",
        hide_env_values = true,
        value_name = "URL",
        global = true
    )]
    pub openai_base_url: Option<String>,

    /// HTTP proxy for requests to the model provider; by default taken from HTTPS_PROXY, HTTP_PROXY or ALL_PROXY.
    /// Requests to hosts in NO_PROXY and to this machine bypass it
    #[arg(
        long,
        env = "TITLECAST_PROXY",
        hide_env_values = true,
        value_name = "URL",
        global = true
    )]
    pub proxy: Option<String>,

    /// Model that writes replies, unless --config has agents; by default gpt-5-mini with gpt-6-luna as a fallback, and
    /// gpt-6-luna alone on a server other than OpenAI's
    #[arg(
        long,
        env = "TITLECAST_CHAT_MODEL",
        value_name = "MODEL",
        global = true
    )]
    pub chat_model: Option<String>,

    /// Model that writes titles; by default those of --config, else the same as for replies
    #[arg(
        long,
        env = "TITLECAST_TITLE_MODEL",
        value_name = "MODEL",
        global = true
    )]
    pub title_model: Option<String>,

    /// Time limit for generating one title, including a retry
    #[arg(long, env = "TITLECAST_TITLE_DEADLINE", default_value = "10s", value_parser = duration, value_name = "TIME", global = true)]
    pub title_deadline: Duration,

    /// Contract of the SSE routes under /api/v1 for requests without `?contract=`
    #[arg(
        long,
        env = "TITLECAST_LEGACY_CONTRACT",
        value_enum,
        default_value_t,
        value_name = "CONTRACT",
        global = true
    )]
    pub legacy_contract: Contract,

    /// How long the last event of a reply's stream waits for a title that is still being generated
    #[arg(long, env = "TITLECAST_TITLE_GRACE", default_value = "2s", value_parser = duration, value_name = "TIME", global = true)]
    pub title_grace: Duration,

    /// Maximum number of concurrent title calls
    #[arg(long, env = "TITLECAST_TITLE_CONCURRENCY", default_value_t = 32, value_name = "N", global = true,
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub title_concurrency: u32,

    /// How often to look for titles that a crash interrupted
    #[arg(long, env = "TITLECAST_TITLE_SWEEP", default_value = "15s", value_parser = duration, value_name = "TIME", global = true)]
    pub title_sweep: Duration,

    /// How often to probe a provider that refuses all calls (key, model, quota), with one title
    #[arg(long, env = "TITLECAST_TITLE_PROBE", default_value = "1m", value_parser = duration, value_name = "TIME", hide = true, global = true)]
    pub title_probe: Duration,

    /// Request one short title at startup, to check that the title model answers
    #[arg(
        long,
        env = "TITLECAST_TITLE_CHECK",
        default_value_t = true,
        action = ArgAction::Set,
        value_name = "BOOL",
        global = true
    )]
    pub title_check: bool,

    /// Skip openers ("hi", "good morning", "test", "how are you?": greetings and small talk) and generate the title from
    /// the first message with a subject; false uses any first message. By default that of --config, else true
    #[arg(
        long,
        env = "TITLECAST_TITLE_OPENERS",
        action = ArgAction::Set,
        value_name = "BOOL",
        global = true
    )]
    pub title_openers: Option<bool>,

    /// Language of titles: AUTO for the message's own, or a BCP 47 tag such as pt-BR; with exceptions per tenant:
    /// AUTO,acme=de,globex=ja. By default that of --config, else AUTO
    #[arg(
        long,
        env = "TITLECAST_TITLE_LANGUAGE",
        value_name = "LANGUAGES",
        global = true
    )]
    pub title_language: Option<PerTenant<TitleLanguage>>,

    /// Tokens that each tenant's titles may use per day (UTC), 0 for unlimited; with exceptions per tenant:
    /// 200000,acme=1000000. By default that of --config, else 0
    #[arg(
        long,
        env = "TITLECAST_TITLE_BUDGET",
        value_name = "TOKENS",
        global = true
    )]
    pub title_budget: Option<PerTenant<u64>>,

    /// Tokens that each tenant's replies may use per day (UTC), 0 for unlimited; with exceptions per tenant:
    /// 2000000,acme=0
    #[arg(
        long,
        env = "TITLECAST_REPLY_BUDGET",
        default_value = "0",
        value_name = "TOKENS",
        global = true
    )]
    pub reply_budget: PerTenant<u64>,

    /// Request parameters that the title model supports, where the built-in table of models is wrong: any of effort=,
    /// verbosity=, temperature= and role=, separated by commas, each with a value or `none`
    #[arg(
        long,
        env = "TITLECAST_TITLE_PARAMETERS",
        value_name = "PARAMETERS",
        global = true
    )]
    pub title_parameters: Option<ProfileOverride>,

    /// Maximum length of the history sent to the chat model, in characters
    #[arg(
        long,
        env = "TITLECAST_HISTORY_BUDGET",
        default_value_t = 48_000,
        value_name = "CHARACTERS",
        global = true
    )]
    pub history_budget: usize,

    /// Maximum wait for the chat model's first event; some models send nothing while they reason
    #[arg(long, env = "TITLECAST_REPLY_FIRST_EVENT", default_value = "3m", value_parser = duration, value_name = "TIME", global = true)]
    pub reply_first_event: Duration,

    /// Maximum time between two events of the chat model; comments and reasoning count as events
    #[arg(long, env = "TITLECAST_REPLY_IDLE", default_value = "60s", value_parser = duration, value_name = "TIME", global = true)]
    pub reply_idle: Duration,

    /// Time limit for one reply
    #[arg(long, env = "TITLECAST_REPLY_DEADLINE", default_value = "10m", value_parser = duration, value_name = "TIME", global = true)]
    pub reply_deadline: Duration,

    /// Lease of a running reply; if its node fails to renew it in time, another node closes the reply as incomplete
    #[arg(long, env = "TITLECAST_REPLY_LEASE", default_value = "15s", value_parser = duration, value_name = "TIME", global = true)]
    pub reply_lease: Duration,

    /// How long a reply that another program writes stays open without an append, and the longest pause of an upload
    #[arg(long, env = "TITLECAST_INGEST_IDLE", default_value = "30s", value_parser = duration, value_name = "TIME", global = true)]
    pub ingest_idle: Duration,

    /// Interval of keep-alives on an idle stream: a comment line, an empty part or a ping
    #[arg(long, env = "TITLECAST_KEEP_ALIVE", default_value = "15s", value_parser = duration, value_name = "TIME", global = true)]
    pub keep_alive: Duration,

    /// How long running replies may continue after a shutdown signal
    #[arg(long, env = "TITLECAST_DRAIN", default_value = "20s", value_parser = duration, value_name = "TIME", global = true)]
    pub drain: Duration,

    /// How long to keep serving after a shutdown signal while /readyz answers 503, so that load balancers notice
    #[arg(long, env = "TITLECAST_DRAIN_DELAY", default_value = "0s", value_parser = duration_or_none, value_name = "TIME", global = true)]
    pub drain_delay: Duration,

    /// Let equal subscriptions share one execution; false is for measuring what that saves
    #[arg(
        long,
        env = "TITLECAST_COHORTS",
        default_value_t = true,
        action = ArgAction::Set,
        value_name = "BOOL",
        hide = true,
        global = true
    )]
    pub cohorts: bool,

    /// What to log: a level, or directives such as info,titlecast::titles=debug; by default info, and warn for
    /// backfill, import and stats
    #[arg(long, env = "TITLECAST_LOG", value_name = "FILTER", global = true)]
    pub log: Option<String>,

    /// Format of log lines
    #[arg(
        long,
        env = "TITLECAST_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT",
        global = true
    )]
    pub log_format: LogFormat,

    /// Base URL of an OpenTelemetry collector for traces (OTLP over HTTP), such as http://127.0.0.1:4318; without it,
    /// tracing is off
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        hide_env_values = true,
        value_name = "URL",
        global = true
    )]
    pub otlp_endpoint: Option<String>,

    /// Where the values come from
    #[arg(skip)]
    pub origins: Origins,
}

impl Settings {
    /// The path of the file of providers and agents, if one is configured.
    pub fn config_path(&self) -> Option<&Path> {
        let path = self.config.as_deref();
        path.filter(|path| !path.as_os_str().is_empty())
    }

    /// The model of `--chat-model`.
    pub fn chat_model(&self) -> Option<&str> {
        self.chat_model.as_deref().filter(|model| !model.is_empty())
    }

    /// The model of `--title-model`.
    pub fn title_model(&self) -> Option<&str> {
        self.title_model
            .as_deref()
            .filter(|model| !model.is_empty())
    }

    /// The URL of `--otlp-endpoint`.
    pub fn collector(&self) -> Option<&str> {
        self.otlp_endpoint.as_deref().filter(|url| !url.is_empty())
    }

    /// Whether a provider is configured. If not, the offline model answers.
    pub fn has_provider(&self) -> bool {
        let is_set = |value: &Option<String>| value.as_ref().is_some_and(|value| !value.is_empty());
        is_set(&self.openai_api_key) || is_set(&self.openai_base_url)
    }
}

/// Parses an address to listen on.
fn listen_address(text: &str) -> Result<ListenAddress, String> {
    text.parse()
}

/// Parses a positive duration with a unit: `10s`, `250ms`, `2m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let duration = duration_or_none(text)?;
    if duration.is_zero() {
        return Err("must be longer than 0s".into());
    }
    Ok(duration)
}

/// The longest duration: 100 years of 365.25 days, as humantime counts them, so that adding or multiplying it does not
/// overflow.
const MAX_DURATION: Duration = Duration::from_secs(36_525 * 24 * 60 * 60);

/// Parses a duration, or `0s`.
pub(super) fn duration_or_none(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; expected a number with a unit, such as 10s or 250ms"))?;
    if duration > MAX_DURATION {
        return Err("must be at most 100years".into());
    }
    Ok(duration)
}
