//! What the subscriptions have done, in Prometheus' text format.

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

use crate::transport::{Endpoint, Service, cohort::Counts};

const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// The page at `/metrics`. It counts for the listener that it is asked on, from its start.
pub(super) async fn page<S: Service>(State(endpoint): State<Endpoint<S>>) -> Response {
    let page = text(&endpoint.cohorts());
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], page).into_response()
}

fn text(counts: &Counts) -> String {
    let Counts {
        cohorts,
        members,
        executions,
        deliveries,
        lagged,
    } = *counts;
    [
        (
            "cohorts",
            "gauge",
            "Groups of subscribers that ask the same and share one execution.",
            cohorts,
        ),
        ("members", "gauge", "Subscribers in all cohorts.", members),
        (
            "executions_total",
            "counter",
            "Events that were executed and serialised.",
            executions,
        ),
        (
            "deliveries_total",
            "counter",
            "Events that subscribers were given.",
            deliveries,
        ),
        (
            "lagged_total",
            "counter",
            "Events that subscribers lost because they fell behind.",
            lagged,
        ),
    ]
    .map(|(name, kind, help, value)| {
        let name = format!("titlecast_subscription_{name}");
        format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n")
    })
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_has_its_help_its_type_and_its_value() {
        let counts = Counts {
            cohorts: 1,
            members: 2,
            executions: 3,
            deliveries: 4,
            lagged: 5,
        };
        insta::assert_snapshot!(text(&counts), @"
        # HELP titlecast_subscription_cohorts Groups of subscribers that ask the same and share one execution.
        # TYPE titlecast_subscription_cohorts gauge
        titlecast_subscription_cohorts 1
        # HELP titlecast_subscription_members Subscribers in all cohorts.
        # TYPE titlecast_subscription_members gauge
        titlecast_subscription_members 2
        # HELP titlecast_subscription_executions_total Events that were executed and serialised.
        # TYPE titlecast_subscription_executions_total counter
        titlecast_subscription_executions_total 3
        # HELP titlecast_subscription_deliveries_total Events that subscribers were given.
        # TYPE titlecast_subscription_deliveries_total counter
        titlecast_subscription_deliveries_total 4
        # HELP titlecast_subscription_lagged_total Events that subscribers lost because they fell behind.
        # TYPE titlecast_subscription_lagged_total counter
        titlecast_subscription_lagged_total 5
        ");
    }
}
