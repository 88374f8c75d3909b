//! Settings of limits per caller; 0 means unlimited.

use clap::Args;

/// Limits per caller.
#[derive(Args, Clone, Debug)]
pub struct LimitArguments {
    /// Most connections in all, 0 for any number
    #[arg(
        long,
        env = "TITLECAST_MAX_CONNECTIONS",
        default_value_t = 20_000,
        value_name = "N",
        global = true
    )]
    pub max_connections: u32,

    /// Most connections from one address, or from one /64 of IPv6, 0 for any number; behind a proxy most
    /// requests, streams and WebSockets at once. This machine's own are not counted
    #[arg(
        long,
        env = "TITLECAST_CONNECTIONS_PER_ADDRESS",
        default_value_t = 50,
        value_name = "N",
        global = true
    )]
    pub connections_per_address: u32,

    /// Proxies whose X-Forwarded-For is believed, besides those on this machine: addresses and networks
    /// such as 10.0.0.0/8, separated by commas
    #[arg(
        long,
        env = "TITLECAST_TRUSTED_PROXIES",
        value_delimiter = ',',
        value_name = "NETWORKS",
        global = true
    )]
    pub trusted_proxies: Vec<String>,

    /// Most streams and WebSockets that a user has open on one node, 0 for any number; without
    /// authentication, those of an address that is not this machine's
    #[arg(
        long,
        env = "TITLECAST_STREAMS_PER_USER",
        default_value_t = 20,
        value_name = "N",
        global = true
    )]
    pub streams_per_user: u32,

    /// Most messages that a user sends in a minute to one node, 0 for any number; without authentication,
    /// those of an address that is not this machine's
    #[arg(
        long,
        env = "TITLECAST_MESSAGES_PER_MINUTE",
        default_value_t = 60,
        value_name = "N",
        global = true
    )]
    pub messages_per_minute: u32,

    /// Most titles that a user has made again, resets or renames in a minute on one node, 0 for any number
    #[arg(
        long,
        env = "TITLECAST_TITLE_CHANGES_PER_MINUTE",
        default_value_t = 30,
        value_name = "N",
        global = true
    )]
    pub title_changes_per_minute: u32,
}
