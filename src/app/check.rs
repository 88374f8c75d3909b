//! Validates the settings without starting anything.

use graphql_transport::persisted::Documents;

use super::{StartError, parts};
use crate::{
    api::{host::AllowedHosts, origin::AllowedOrigins},
    config::{Plan, Settings},
    db::Database,
    server::ListenAddress,
    telemetry,
};

/// Runs the checks that `serve` runs before it opens the database, except those of the configuration file. Reads files
/// but contacts no other server. Returns every error.
pub async fn check(settings: &Settings) -> Vec<StartError> {
    let checks = [
        check_exposure(settings),
        AllowedOrigins::parse(&settings.allowed_origins)
            .map(drop)
            .map_err(StartError::Origin),
        AllowedHosts::parse(&settings.allowed_hosts)
            .map(drop)
            .map_err(StartError::Host),
        match &settings.trusted_documents {
            Some(path) => Documents::trusted(path)
                .map(drop)
                .map_err(StartError::Documents),
            None => Ok(()),
        },
        settings
            .jwt
            .settings()
            .check()
            .await
            .map_err(StartError::Tokens),
        match settings.collector() {
            Some(url) => telemetry::check_collector(url).map_err(StartError::Telemetry),
            None => Ok(()),
        },
        parts::nats(settings).map(drop),
        parts::limits(settings).map(drop),
        Database::check_url(&settings.database_url).map_err(StartError::Database),
    ];
    checks.into_iter().filter_map(Result::err).collect()
}

/// Refuses an agent name that the configuration does not define.
///
/// # Errors
/// [`StartError::NoAgent`] if there is no such agent.
pub fn check_agent(plan: &Plan, agent: Option<&str>) -> Result<(), StartError> {
    let names = || plan.agents.iter().map(|agent| agent.name.as_str());
    match agent.filter(|agent| !names().any(|name| name == *agent)) {
        Some(_) => Err(StartError::NoAgent(names().collect::<Vec<_>>().join(", "))),
        None => Ok(()),
    }
}

/// Refuses to listen where other hosts could reach the server without authentication, unless that is allowed.
///
/// # Errors
/// [`StartError::Exposed`] or [`StartError::ExposedMetrics`].
pub fn check_exposure(settings: &Settings) -> Result<(), StartError> {
    let is_exposed =
        |address: &ListenAddress| address.is_reachable() && !settings.allow_unauthenticated;
    if is_exposed(&settings.listen) && !settings.jwt.settings().is_on() {
        return Err(StartError::Exposed(settings.listen.clone()));
    }
    if is_exposed(&settings.metrics_listen) {
        return Err(StartError::ExposedMetrics(settings.metrics_listen.clone()));
    }
    Ok(())
}
