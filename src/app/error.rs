//! Why the service does not start, in words for who starts it.

use std::{net::SocketAddr, time::Duration};

use crate::{
    auth::SetupError,
    commands::{health::HealthError, import::ImportError},
    transport::persisted::ReadError,
};

/// Why the service cannot start; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database does not open.
    #[error("cannot open the database: {0}. Check --database-url (DATABASE_URL)")]
    Database(#[source] sea_orm::DbErr),
    /// A migration failed.
    #[error("cannot migrate the database: {0}")]
    Migration(#[source] sea_orm::DbErr),
    /// The schema is older than the program.
    #[error(
        "the database is behind by {pending} migration(s), the first being {first}. Run `titlecast migrate up` \
         with the same database URL, or start with --migrate"
    )]
    Behind {
        /// How many are missing.
        pending: usize,
        /// The oldest of them.
        first: String,
    },
    /// The schema is newer than the program.
    #[error(
        "the database is ahead: it has the migration {0} of a newer version. Run that version, or take the migration \
         back with it (`titlecast migrate down`)"
    )]
    Ahead(String),
    /// The model client cannot be built.
    #[error("cannot set up the model's client: {0}. Check OPENAI_BASE_URL and OPENAI_API_KEY")]
    Model(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Other hosts would reach a service without authentication.
    #[error(
        "{0} can be reached from other hosts and there is no authentication: listen on 127.0.0.1, set up tokens \
         with --jwt-secret or --jwt-keys, or add --allow-unauthenticated if that is meant"
    )]
    Exposed(SocketAddr),
    /// Other hosts would reach the metrics.
    #[error(
        "{0} can be reached from other hosts and there is no authentication for metrics: serve them on 127.0.0.1 \
         with --metrics-listen, or add --allow-unauthenticated if that is meant"
    )]
    ExposedMetrics(SocketAddr),
    /// Tokens could not be verified, or not be made.
    #[error("{0}")]
    Tokens(#[from] SetupError),
    /// No NATS can be there.
    #[error("{0}. Check --nats-url (TITLECAST_NATS_URL)")]
    Nats(#[source] std::io::Error),
    /// An allowed origin is none.
    #[error("{0:?} is no origin: write it as https://app.example, without a path")]
    Origin(String),
    /// A command failed half-way.
    #[error("{0}")]
    Command(#[source] crate::error::Error),
    /// An import failed, as a whole or in part.
    #[error("{0}")]
    Import(#[from] ImportError),
    /// A command ended before all was done.
    #[error("not all was done; run it again to go on")]
    Unfinished,
    /// A trusted proxy is none.
    #[error(
        "{0:?} is neither an address nor a network such as 10.0.0.0/8. Check --trusted-proxies (TITLECAST_TRUSTED_PROXIES)"
    )]
    Proxy(String),
    /// Something did not end when everything was to end.
    #[error(
        "not all has ended in {0:?}; what is stored is stored, and another start goes on with it"
    )]
    Hung(Duration),
    /// The server that was asked for its health is not well.
    #[error("{0}")]
    Health(#[from] HealthError),
    /// The trusted documents cannot be read.
    #[error("{0}. Check --trusted-documents (TITLECAST_TRUSTED_DOCUMENTS)")]
    Documents(#[source] ReadError),
    /// The address cannot be had.
    #[error("cannot listen on {address}: {cause}. Choose another with {setting}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Where it was set.
        setting: &'static str,
        /// What the system says.
        #[source]
        cause: std::io::Error,
    },
}
