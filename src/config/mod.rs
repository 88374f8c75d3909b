//! Settings: flags, environment variables, defaults and units. The only module that reads the
//! environment. Commands are in `command`.

mod command;
mod jwt;
mod limits;
mod proxy;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{ArgAction, Args, Parser, builder::FalseyValueParser};

pub use self::{
    command::{
        BackfillArguments, Command, ImportArguments, Migrate, Price, StatsArguments, TokenArguments,
    },
    jwt::JwtArguments,
    limits::LimitArguments,
};
use crate::{
    conversation::PerTenant,
    llm::ProfileOverride,
    telemetry::{self, LogFormat},
    titles::TitleLanguage,
};

/// See [`StartError::exit_code`](crate::app::StartError::exit_code).
const EXIT_CODES: &str = "Exit codes: 0 success, 1 failure, 2 invalid command line or setting. The last line on standard \
                          error states the reason.";

/// The command line.
#[derive(Debug, Parser)]
#[command(version, about, long_about = None, propagate_version = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// The command; `serve` by default
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings, the same for every command
    #[command(flatten)]
    pub settings: Settings,
}

impl Cli {
    /// Parses the command line and the environment. On an error, or for `--help`, prints the text and returns the exit
    /// code.
    ///
    /// # Errors
    /// The exit code.
    pub fn read() -> Result<Self, ExitCode> {
        Self::try_parse().map_err(|error| {
            if error.use_stderr() && wants_json() {
                let text = error.render().to_string();
                eprintln!("{}", telemetry::last_line(LogFormat::Json, text.trim_end()));
            } else {
                // If it cannot be printed, the exit code remains.
                let _ = error.print();
            }
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(u8::MAX))
        })
    }
}

/// Whether log lines are JSON, if the command line as a whole is invalid.
fn wants_json() -> bool {
    #[expect(
        clippy::disallowed_methods,
        reason = "clap reads it normally, but has failed here"
    )]
    let mut format = std::env::var("TITLECAST_LOG_FORMAT").ok();
    let mut arguments = std::env::args();
    while let Some(argument) = arguments.next() {
        if argument == "--log-format" {
            format = arguments.next();
        } else if let Some(value) = argument.strip_prefix("--log-format=") {
            format = Some(value.to_owned());
        }
    }
    format.as_deref() == Some("json")
}

/// The settings.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// Address to listen on
    #[arg(
        long,
        env = "TITLECAST_LISTEN",
        default_value = "127.0.0.1:8080",
        value_name = "ADDRESS",
        value_parser = address,
        global = true
    )]
    pub listen: SocketAddr,

    /// Address to serve Prometheus metrics on, at /metrics
    #[arg(
        long,
        env = "TITLECAST_METRICS_LISTEN",
        default_value = "127.0.0.1:9464",
        value_name = "ADDRESS",
        value_parser = address,
        global = true
    )]
    pub metrics_listen: SocketAddr,

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

    /// Maximum number of database connections; on SQLite, of readers beside the one writer
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

    /// Model that writes replies
    #[arg(
        long,
        env = "TITLECAST_CHAT_MODEL",
        default_value = "gpt-6-luna",
        value_name = "MODEL",
        global = true
    )]
    pub chat_model: String,

    /// Model that writes titles
    #[arg(
        long,
        env = "TITLECAST_TITLE_MODEL",
        default_value = "gpt-6-luna",
        value_name = "MODEL",
        global = true
    )]
    pub title_model: String,

    /// Time limit for generating one title, including a retry
    #[arg(long, env = "TITLECAST_TITLE_DEADLINE", default_value = "10s", value_parser = duration, value_name = "TIME", global = true)]
    pub title_deadline: Duration,

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

    /// Skip openers ("hi", "good morning", "test": one or two words without a subject) and generate the title from the
    /// first message with a subject; false uses any first message
    #[arg(
        long,
        env = "TITLECAST_TITLE_OPENERS",
        default_value_t = true,
        action = ArgAction::Set,
        value_name = "BOOL",
        global = true
    )]
    pub title_openers: bool,

    /// Language of titles: AUTO for the message's own, or a BCP 47 tag such as pt-BR; with exceptions per tenant:
    /// AUTO,acme=de,globex=ja
    #[arg(
        long,
        env = "TITLECAST_TITLE_LANGUAGE",
        default_value = "AUTO",
        value_name = "LANGUAGES",
        global = true
    )]
    pub title_language: PerTenant<TitleLanguage>,

    /// Tokens that each tenant's titles may use per day (UTC), 0 for unlimited; with exceptions per tenant:
    /// 200000,acme=1000000
    #[arg(
        long,
        env = "TITLECAST_TITLE_BUDGET",
        default_value = "0",
        value_name = "TOKENS",
        global = true
    )]
    pub title_budget: PerTenant<u64>,

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
}

impl Settings {
    /// Whether a provider is configured; the offline model answers otherwise.
    pub fn has_provider(&self) -> bool {
        let is_set = |value: &Option<String>| value.as_ref().is_some_and(|value| !value.is_empty());
        is_set(&self.openai_api_key) || is_set(&self.openai_base_url)
    }
}

/// Parses an address with its port. Names are not resolved, because a name may have several addresses.
fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "expected an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080".to_owned()
    })
}

/// Parses a positive duration with a unit: `10s`, `250ms`, `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let duration = duration_or_none(text)?;
    if duration.is_zero() {
        return Err("must be longer than 0s".into());
    }
    Ok(duration)
}

/// Parses a duration, or `0s`.
fn duration_or_none(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; expected a number with a unit, such as 10s or 250ms"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn settings_work_before_and_behind_the_command() {
        let before = Cli::parse_from(["titlecast", "--title-grace", "250ms", "serve"]);
        let behind = Cli::parse_from(["titlecast", "serve", "--title-grace", "250ms"]);
        assert_eq!(before.settings.title_grace, Duration::from_millis(250));
        assert_eq!(behind.settings.title_grace, Duration::from_millis(250));
    }

    #[test]
    fn times_need_a_unit() {
        assert!(Cli::try_parse_from(["titlecast", "--title-grace", "10"]).is_err());
        assert!(Cli::try_parse_from(["titlecast", "--title-grace", "0s"]).is_err());
    }
}
