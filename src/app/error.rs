//! The program's errors for operators, and its exit codes. `docs/errors.md` lists them.

use std::{io::ErrorKind, time::Duration};

use graphql_transport::persisted::ReadError;
use sea_orm::DbErr;

use crate::{
    auth::SetupError,
    commands::{
        erase::EraseError, export::ExportError, health::HealthError, import::ImportError,
        try_titles::TryError,
    },
    config::ConfigErrors,
    db::{Failed, OpenError, caused},
    error::Error,
    llm::InvalidProvider,
    server::ListenAddress,
    telemetry::{InvalidEndpoint, TelemetryError},
};

/// Exit code of a failure at run time. With the same settings, a retry or another machine may succeed.
const EXIT_FAILURE: u8 = 1;

/// Exit code of an invalid command line or setting. clap uses the same code.
const EXIT_USAGE: u8 = 2;

/// Why the program failed; each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be opened.
    #[error("cannot open the database: {0}")]
    Database(#[from] OpenError),
    /// The list of applied migrations cannot be read.
    #[error("cannot read the database's migrations: {}", Failed(.0))]
    Schema(#[source] DbErr),
    /// A migration failed.
    #[error("cannot migrate the database: {}", Failed(.0))]
    Migration(#[source] DbErr),
    /// The schema is older than the program.
    #[error(
        "the database schema is behind by {pending} migration(s), starting with {first}{elsewhere}. Run `titlecast \
         migrate up` with the same database URL, or start with --migrate",
        elsewhere = elsewhere.as_ref().map_or(String::new(), ToString::to_string)
    )]
    Behind {
        /// The number of pending migrations.
        pending: usize,
        /// The oldest pending migration.
        first: String,
        /// Another schema that contains the tables, if any.
        elsewhere: Option<Elsewhere>,
    },
    /// The schema contains another program's tables.
    #[error(
        "the database belongs to another program: {0}. Nothing was changed. Use another database or schema in \
         --database-url (DATABASE_URL); to bring its conversations, use `titlecast import` (docs/moving.md)"
    )]
    Foreign(String),
    /// A migration would create a second set of tables, because the existing set is not in the role's search path.
    #[error(
        "the schema {0:?} has the tables, but it is not in this role's search_path, so the migration would create a \
         second, empty set in \"public\". Nothing was changed. Run ALTER ROLE … SET search_path = {0}, or, for a second \
         installation, set the search_path to a schema of its own"
    )]
    Misled(String),
    /// The schema is newer than the program.
    #[error(
        "the database schema is ahead: it has the migration {0} of a newer version. Run that version, or revert the \
         migration with it (`titlecast migrate down`)"
    )]
    Ahead(String),
    /// The log or the traces cannot be started.
    #[error("{0}")]
    Telemetry(#[from] TelemetryError),
    /// The model client cannot be built.
    #[error(
        "cannot set up the model client: {0}. Check --openai-base-url (OPENAI_BASE_URL) and --openai-api-key \
         (OPENAI_API_KEY)"
    )]
    Model(#[source] InvalidProvider),
    /// A provider in the file cannot be built.
    #[error("{0}: {1}")]
    Provider(String, #[source] InvalidProvider),
    /// A webhook in the file cannot be built.
    #[error("webhooks.{0}: {1}")]
    Webhook(String, #[source] InvalidProvider),
    /// The file of providers and agents, or what it refers to, is invalid.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// A reload would leave no providers; a file that is being rewritten is briefly empty.
    #[error(
        "the file no longer has providers, so the offline model would answer; restart the service if that is intended"
    )]
    NoProviders,
    /// `titlecast config check` found exactly one error.
    #[error(transparent)]
    Checked(Box<StartError>),
    /// `titlecast config check` printed more than one error.
    #[error("the configuration has {0} errors")]
    Invalid(usize),
    /// `titlecast config check --live`: some models did not answer.
    #[error("{failed} of {asked} models did not answer; see above")]
    Silent {
        /// The number of models that did not answer.
        failed: usize,
        /// The number of models that were asked.
        asked: usize,
    },
    /// `titlecast config check --agent`: the agent does not exist.
    #[error("there is no such agent; those of the configuration are: {0}")]
    NoAgent(String),
    /// The service would be reachable from other hosts without authentication.
    #[error(
        "other hosts can reach {0}, and there is no authentication. Listen on 127.0.0.1, set up tokens with --jwt-secret \
         or --jwt-keys, or add --allow-unauthenticated if this is intended"
    )]
    Exposed(ListenAddress),
    /// The metrics would be reachable from other hosts.
    #[error(
        "other hosts can reach {0}, and there is no authentication for metrics. Serve them on 127.0.0.1 with \
         --metrics-listen, or add --allow-unauthenticated if this is intended"
    )]
    ExposedMetrics(ListenAddress),
    /// Tokens cannot be verified or signed.
    #[error("{0}")]
    Tokens(#[from] SetupError),
    /// The NATS URL is invalid.
    #[error(
        "{0}. Write --nats-url (TITLECAST_NATS_URL) as nats://USER:PASSWORD@HOST:4222, several separated by commas"
    )]
    Nats(#[source] std::io::Error),
    /// The certificate authorities for NATS cannot be read.
    #[error("{0}. Check --nats-ca (TITLECAST_NATS_CA): a file with certificates in PEM")]
    NatsAuthorities(#[source] std::io::Error),
    /// A socket that the service manager passed cannot be used.
    #[error(
        "cannot use the socket that the service manager passed (LISTEN_FDS): {0}. Pass a stream socket for requests, \
         and, if you like, a second one for metrics"
    )]
    Inherited(#[source] std::io::Error),
    /// An allowed origin is malformed.
    #[error(
        "{0:?} is not an origin; write it as https://app.example, without a path. Check --allowed-origins \
         (TITLECAST_ALLOWED_ORIGINS)"
    )]
    Origin(String),
    /// An allowed host is malformed.
    #[error(
        "{0:?} is not a host name; write it as chat.example, chat.example:8443 or *.chat.example, without a scheme or \
         path. Check --allowed-hosts (TITLECAST_ALLOWED_HOSTS)"
    )]
    Host(String),
    /// A command failed while it ran.
    #[error("{0}{cause}", cause = caused(.0))]
    Command(#[source] Error),
    /// An import failed, completely or in part.
    #[error("{0}")]
    Import(#[from] ImportError),
    /// An erasure failed.
    #[error("{0}")]
    Erase(#[from] EraseError),
    /// An export failed.
    #[error("{0}")]
    Export(#[from] ExportError),
    /// `titlecast try` failed.
    #[error("{0}")]
    Try(#[from] TryError),
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] std::io::Error),
    /// A command was interrupted before it finished.
    #[error("interrupted before it finished; run it again to continue")]
    Unfinished,
    /// A trusted proxy is malformed.
    #[error(
        "{0:?} is not an address or a network such as 10.0.0.0/8. Check --trusted-proxies (TITLECAST_TRUSTED_PROXIES)"
    )]
    Proxy(String),
    /// The shutdown timed out.
    #[error(
        "the shutdown did not finish within {0:?}; stored data is safe, and the next start resumes from it"
    )]
    Hung(Duration),
    /// `titlecast health`: the server is not ready.
    #[error("{0}")]
    Health(#[from] HealthError),
    /// The trusted documents cannot be read.
    #[error("{0}. Check --trusted-documents (TITLECAST_TRUSTED_DOCUMENTS)")]
    Documents(#[source] ReadError),
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {cause}. Choose another with {setting}{or}", or = or_end(.cause))]
    Listen {
        /// The address.
        address: ListenAddress,
        /// The setting with the address.
        setting: &'static str,
        /// The operating system's error.
        #[source]
        cause: std::io::Error,
    },
}

/// A schema that contains the tables but is not in the role's search path.
#[derive(Debug, thiserror::Error)]
#[error(
    " (the schema {0:?} has the tables, but this role cannot see it: check its search_path, and USAGE on the schema)"
)]
pub struct Elsewhere(pub String);

impl StartError {
    /// The exit code: 2 for an invalid command line or setting, 1 for any other failure.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Database(OpenError::Url(_))
            | Self::Telemetry(
                TelemetryError::Filter(_) | TelemetryError::Endpoint(InvalidEndpoint::Url),
            )
            | Self::Provider(..)
            | Self::Webhook(_, InvalidProvider::Authorities)
            | Self::Model(
                InvalidProvider::ApiKey
                | InvalidProvider::Authorities
                | InvalidProvider::BaseUrl
                | InvalidProvider::Fragment
                | InvalidProvider::IdentitySecret
                | InvalidProvider::Proxy,
            )
            | Self::Config(_)
            | Self::NoProviders
            | Self::Checked(_)
            | Self::Invalid(_)
            | Self::NoAgent(_)
            | Self::Exposed(_)
            | Self::ExposedMetrics(_)
            | Self::Nats(_)
            | Self::NatsAuthorities(_)
            | Self::Origin(_)
            | Self::Host(_)
            | Self::Proxy(_) => EXIT_USAGE,
            Self::Tokens(error) if error.is_of_a_setting() => EXIT_USAGE,
            Self::Try(error) if error.is_of_the_command_line() => EXIT_USAGE,
            Self::Tokens(_)
            | Self::Database(OpenError::Unopened { .. })
            | Self::Schema(_)
            | Self::Migration(_)
            | Self::Behind { .. }
            | Self::Misled(_)
            | Self::Ahead(_)
            | Self::Foreign(_)
            | Self::Telemetry(TelemetryError::Endpoint(InvalidEndpoint::Tls))
            | Self::Model(InvalidProvider::Tls)
            | Self::Webhook(..)
            | Self::Command(_)
            | Self::Erase(_)
            | Self::Export(_)
            | Self::Import(_)
            | Self::Try(_)
            | Self::Output(_)
            | Self::Silent { .. }
            | Self::Unfinished
            | Self::Hung(_)
            | Self::Health(_)
            | Self::Documents(_)
            | Self::Inherited(_)
            | Self::Listen { .. } => EXIT_FAILURE,
        }
    }
}

/// An additional remedy if the address is in use.
fn or_end(cause: &std::io::Error) -> &'static str {
    match cause.kind() {
        ErrorKind::AddrInUse => ", or stop the program that listens there",
        _ => "",
    }
}
