//! Operators' documents and scripts name only existing settings, flags and metrics.

use std::collections::BTreeSet;

use clap::CommandFactory;
use titlecast::config::Cli;
use titlecast_testing::{ModelServer, Receiver, Server, eventually, server::metrics};

use super::webhooks;

const COMPOSE: &str = include_str!("../../docker-compose.yml");
const IMAGE: &str = include_str!("../../Dockerfile");
const CHART: &str = concat!(
    include_str!("../../deploy/helm/titlecast/values.yaml"),
    include_str!("../../deploy/helm/titlecast/values.schema.json"),
    include_str!("../../deploy/helm/titlecast/templates/_helpers.tpl"),
    include_str!("../../deploy/helm/titlecast/templates/deployment.yaml"),
    include_str!("../../docs/kubernetes.md"),
);
const UNITS: &str = concat!(
    include_str!("../../deploy/systemd/titlecast.service"),
    include_str!("../../docs/systemd.md"),
);
const DASHBOARD: &str = include_str!("../../deploy/grafana/titlecast.json");
const ALERTS: &str = include_str!("../../docs/alerts.yml");
const SCENARIOS: &str = include_str!("../alerts/test.yml");
const MANUAL: &str = include_str!("../../docs/operations.md");

/// The words of a text that consist of these characters and begin like this.
fn words(text: &str, is_part: fn(char) -> bool, beginning: &str) -> BTreeSet<String> {
    let words = text.split(|c| !is_part(c));
    let words = words.filter(|word| word.starts_with(beginning) && *word != beginning);
    words.map(String::from).collect()
}

#[test]
fn every_setting_that_is_named_exists() {
    let command = Cli::command();
    let known: Vec<&str> = command
        .get_arguments()
        .filter_map(|argument| argument.get_env()?.to_str())
        .collect();
    let is_part = |c: char| c.is_ascii_uppercase() || c == '_';
    for (name, text, least) in [
        ("docker-compose.yml", COMPOSE, 8),
        ("Dockerfile", IMAGE, 2),
        ("docs/operations.md", MANUAL, 12),
        ("deploy/helm", CHART, 12),
        ("deploy/systemd", UNITS, 4),
    ] {
        let mut named = words(text, is_part, "TITLECAST_");
        named.extend(words(text, is_part, "OPENAI_"));
        // What Compose itself publishes the proxy on.
        for own in ["TITLECAST_PUBLISH", "TITLECAST_HOSTS", "TITLECAST_SUBNET"] {
            named.remove(own);
        }
        assert!(named.len() >= least, "{name}: {named:?}");
        for setting in named {
            // A secret in a file.
            let setting = setting.strip_suffix("_FILE").unwrap_or(&setting);
            assert!(known.contains(&setting), "{name}: {setting}");
        }
    }
}

#[test]
fn service_managers_wait_for_the_drain() {
    let defaults = Cli::command();
    let default = |name: &str| {
        let argument = defaults.get_arguments().find(|one| one.get_id() == name);
        let value = argument.unwrap().get_default_values()[0].to_str().unwrap();
        humantime::parse_duration(value).unwrap().as_secs()
    };
    // The program ends ten seconds after both at most.
    let least = default("drain_delay") + default("drain") + 10;
    let (_, unit) = UNITS.split_once("TimeoutStopSec=").unwrap();
    let seconds: u64 = unit.split('s').next().unwrap().parse().unwrap();
    assert!(seconds >= least, "{seconds}");
    let sum = "{{ add .Values.drain.delay .Values.drain.replies 15 }}";
    assert!(CHART.contains(&format!("terminationGracePeriodSeconds: {sum}")));
}

#[test]
fn the_composition_trusts_its_own_network_alone() {
    let line = |name: &str| {
        let lines = COMPOSE
            .lines()
            .map(|line| line.trim().trim_start_matches("- "));
        let values: Vec<_> = lines.filter_map(|line| line.strip_prefix(name)).collect();
        assert_eq!(values.len(), 1, "{name}: {values:?}");
        values[0].trim().to_owned()
    };
    let trusted = line("TITLECAST_TRUSTED_PROXIES:");
    assert_eq!(trusted, line("subnet:"));
    let default = trusted
        .split_once(":-")
        .unwrap()
        .1
        .trim_end_matches('}')
        .to_owned();
    let networks = titlecast::server::parse_networks(&[default]).unwrap();
    assert!(
        networks.iter().all(|network| network.prefix_len() >= 24),
        "{networks:?}"
    );
    let hosts = line("TITLECAST_ALLOWED_HOSTS:");
    for node in ["node-a", "node-b", "proxy"] {
        assert!(hosts.split(',').any(|host| host == node), "{hosts}");
    }
}

#[test]
fn every_flag_of_ours_that_is_named_exists() {
    let command = Cli::command();
    let flags = |command: &clap::Command| -> Vec<String> {
        let flags = command.get_arguments().filter_map(clap::Arg::get_long);
        flags.map(|flag| format!("--{flag}")).collect()
    };
    let mut known = flags(&command);
    for sub in command.get_subcommands() {
        known.extend(flags(sub));
        known.extend(sub.get_subcommands().flat_map(flags));
    }
    known.push("--help".into());
    // Flags of other programs stand in whole commands of theirs, set off as code.
    let spans = MANUAL.split('`').skip(1).step_by(2);
    let ours = spans.filter(|span| span.starts_with("--") || span.starts_with("titlecast "));
    let ours: String = ours.map(|span| format!("{span} ")).collect();
    let named = words(&ours, |c| c.is_ascii_lowercase() || c == '-', "--");
    assert!(named.len() >= 10, "{named:?}");
    for flag in named {
        assert!(known.contains(&flag), "{flag}");
    }
}

#[tokio::test]
async fn every_metric_that_is_named_exists() {
    let model = ModelServer::start().await;
    // No NATS is there, but its metrics are.
    let receiver = Receiver::start().await;
    let folder = webhooks::folder(&webhooks::file(&receiver.url, ""));
    let config = folder.path("titlecast.toml");
    let settings = ["--nats-url", "nats://127.0.0.1:1", "--config", &config];
    let mut server = Server::start_with(&model, &settings).await;
    webhooks::routed(&server.database, 1).await;
    let id = server.begin("Plan a trip to Kyoto").await;
    eventually(async || (!receiver.story(&id).is_empty()).then_some(())).await;
    assert_eq!(server.get("/no/such/path").await.0, 404);
    let url = server.serve_metrics().await;
    let page = metrics(&url).await;
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
    let known = words(&page, is_part, "titlecast_");
    for (name, text, least) in [
        ("docs/alerts.yml", ALERTS, 8),
        ("docs/operations.md", MANUAL, 1),
        ("deploy/grafana", DASHBOARD, 30),
    ] {
        let named = words(text, is_part, "titlecast_");
        // A database of that name.
        let named: BTreeSet<_> = named
            .into_iter()
            .filter(|name| name != "titlecast_restored")
            .collect();
        assert!(named.len() >= least, "{name}: {named:?}");
        for metric in named {
            assert!(known.contains(&metric), "{name}: {metric}");
        }
    }
    server.stop().await;
}

#[test]
fn every_alert_is_explained() {
    let alerts = ALERTS
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let alerts: Vec<&str> = alerts.collect();
    assert!(alerts.len() >= 10, "{alerts:?}");
    for alert in &alerts {
        assert!(MANUAL.contains(&format!("| `{alert}` |")), "{alert}");
    }
    for alert in &alerts {
        let scenario = format!("\n  - name: {alert}\n");
        assert!(SCENARIOS.contains(&scenario), "no scenario for {alert}");
    }
    let explained = MANUAL.matches("| `Titlecast").count();
    assert_eq!(
        explained,
        alerts.len(),
        "an alert is explained that there is not"
    );
}
