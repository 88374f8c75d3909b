//! Settings for limits per caller; 0 is unlimited.

use clap::Args;

use crate::server::ClientSource;

/// Limits per caller.
#[derive(Args, Clone, Debug)]
pub struct LimitArguments {
    /// Maximum number of connections, 0 for unlimited
    #[arg(
        long,
        env = "TITLECAST_MAX_CONNECTIONS",
        default_value_t = 20_000,
        value_name = "N",
        global = true
    )]
    pub max_connections: u32,

    /// Maximum number of connections per address (IPv6: per /64), 0 for unlimited; behind a proxy, of concurrent
    /// requests, streams and WebSockets. Clients on this machine are exempt
    #[arg(
        long,
        env = "TITLECAST_CONNECTIONS_PER_ADDRESS",
        default_value_t = 50,
        value_name = "N",
        global = true
    )]
    pub connections_per_address: u32,

    /// Proxies that are trusted to state the address of their client, besides those on this machine: addresses and
    /// networks such as 10.0.0.0/8, separated by commas
    #[arg(
        long,
        env = "TITLECAST_TRUSTED_PROXIES",
        value_delimiter = ',',
        value_name = "NETWORKS",
        global = true
    )]
    pub trusted_proxies: Vec<String>,

    /// Where trusted proxies state the address of their client: in a header of each request, or in the header of the
    /// PROXY protocol (version 1 or 2) at the beginning of each connection
    #[arg(
        long,
        env = "TITLECAST_CLIENT_ADDRESS",
        value_enum,
        default_value_t,
        value_name = "SOURCE",
        global = true
    )]
    pub client_address: ClientSource,

    /// Maximum number of open streams and WebSockets per user and node, 0 for unlimited; without authentication, per
    /// address, and clients on this machine are exempt
    #[arg(
        long,
        env = "TITLECAST_STREAMS_PER_USER",
        default_value_t = 20,
        value_name = "N",
        global = true
    )]
    pub streams_per_user: u32,

    /// Maximum number of messages per minute, user and node, 0 for unlimited; without authentication, per address, and
    /// clients on this machine are exempt
    #[arg(
        long,
        env = "TITLECAST_MESSAGES_PER_MINUTE",
        default_value_t = 60,
        value_name = "N",
        global = true
    )]
    pub messages_per_minute: u32,

    /// Maximum number of title changes (regenerations, resets, renames) per minute, user and node, 0 for unlimited
    #[arg(
        long,
        env = "TITLECAST_TITLE_CHANGES_PER_MINUTE",
        default_value_t = 30,
        value_name = "N",
        global = true
    )]
    pub title_changes_per_minute: u32,

    /// Maximum number of open replies that other programs write, per service (token) and node, 0 for unlimited
    #[arg(
        long,
        env = "TITLECAST_INGEST_STREAMS",
        default_value_t = 1_000,
        value_name = "N",
        global = true
    )]
    pub ingest_streams: u32,
}
