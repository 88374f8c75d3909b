//! `[webhooks.NAME]`.

use std::time::Duration;

use ipnet::IpNet;
use reqwest::Url;
use strum::VariantArray;

use super::{
    Located, MAX_NAME_CHARS, MAX_TEXT_CHARS, Surroundings, check_name, provider::ca_file,
    section::Section, suggestion,
};
use crate::{
    auth,
    server::parse_networks,
    webhooks::{EventKind, SigningKey, WebhookSettings},
};

/// The most tenants of a webhook.
const MAX_TENANTS: usize = 1000;

/// The most non-public networks that a webhook may allow.
const MAX_NETWORKS: usize = 64;

/// The most keys of a webhook: the previous, the current and the next one, and one spare.
const MAX_KEYS: usize = 4;

/// The default and the maximum duration of one attempt.
const TIMEOUT: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(60));

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The default and the maximum time for which an event is retried.
const RETRY_FOR: (Duration, Duration) = (DAY, DAY.saturating_mul(7));

/// The default and the maximum time for which a given-up event is kept.
const KEEP: (Duration, Duration) = (DAY.saturating_mul(30), DAY.saturating_mul(365));

/// The default and the maximum number of concurrent requests.
const IN_FLIGHT: (u64, u64) = (8, 64);

/// One webhook in the file.
#[derive(Debug)]
pub(in crate::config) struct WebhookEntry {
    pub settings: WebhookSettings,
    /// The source of the keys.
    pub keys_source: String,
}

/// Reads one webhook. Returns `None` if a required setting is missing, which is reported.
pub(super) fn read(
    name: String,
    section: Section<'_, '_>,
    surroundings: &Surroundings<'_>,
) -> Option<WebhookEntry> {
    let at = section.at.clone();
    if let Err(message) = check_name(&name) {
        section.problem(at, message);
        return None;
    }
    let is_set = |key| section.flag(key).is_some_and(|flag| flag.value);
    let time = |key, (usual, most): (Duration, Duration)| {
        let time = section.duration_within(key, most);
        time.map_or(usual, |time| time.value)
    };
    let allow_private = networks(&section);
    let url = url(&section, &allow_private);
    let keys = keys(&section, surroundings);
    let (events, tenants) = (events(&section), tenants(&section));
    for (key, is_missing) in [
        ("url", section.place_of("url").is_none()),
        ("secret_file", section.place_of("secret_file").is_none()),
        ("tenants", section.place_of("tenants").is_none()),
    ] {
        if is_missing {
            section.problem(section.at.clone(), format!("{key} is missing"));
        }
    }
    let in_flight = section.number("max_in_flight", 1..=IN_FLIGHT.1);
    let in_flight = in_flight.map_or(IN_FLIGHT.0, |number| number.value);
    let include_text = is_set("include_text");
    let authorities = ca_file(&section, surroundings).map(|file| file.pem);
    let (timeout, retry_for, keep) = (
        section.duration_within("timeout", TIMEOUT.1),
        time("retry_for", RETRY_FOR),
        time("keep", KEEP),
    );
    let timeout = match timeout {
        Some(Located { value, at }) if value.is_zero() => {
            section.problem(at, "must be longer than 0s");
            TIMEOUT.0
        }
        Some(timeout) => timeout.value,
        None => TIMEOUT.0,
    };
    section.finish();
    let (keys, keys_source) = keys?;
    Some(WebhookEntry {
        settings: WebhookSettings {
            name,
            url: url?,
            keys,
            events: events?,
            tenants: tenants?,
            include_text,
            allow_private,
            authorities,
            timeout,
            retry_for,
            keep,
            max_in_flight: in_flight.try_into().unwrap_or(1),
        },
        keys_source,
    })
}

fn url(section: &Section<'_, '_>, allow_private: &[IpNet]) -> Option<Url> {
    let Located { value, at } = section.text("url", MAX_TEXT_CHARS)?;
    let form = "expected a URL such as https://hooks.example/titlecast";
    let checked = match Url::parse(&value) {
        Ok(url) if !url.has_host() => Err(form.into()),
        Ok(url) if url.fragment().is_some() => Err("the URL has a fragment (#…); remove it".into()),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            Err("the URL has a user or a password; receivers verify the signature".into())
        }
        Ok(url) if url.scheme() == "http" && allow_private.is_empty() => Err(
            "must begin with https://; http:// reaches only the networks of allow_private".into(),
        ),
        Ok(url) if !matches!(url.scheme(), "http" | "https") => Err(form.into()),
        Ok(url) if !WebhookSettings::is_reachable(&url, allow_private) => Err(
            "the address is never reached: it is not public, and allow_private does not contain it"
                .into(),
        ),
        Ok(url) => Ok(url),
        Err(_) => Err(String::from(form)),
    };
    match checked {
        Ok(url) => Some(url),
        Err(message) => {
            section.problem(at, message);
            None
        }
    }
}

fn keys(
    section: &Section<'_, '_>,
    surroundings: &Surroundings<'_>,
) -> Option<(Vec<SigningKey>, String)> {
    let Located { value, at } = section.text("secret_file", MAX_TEXT_CHARS)?;
    let secret = surroundings.secret_of_file(section, &value, at.clone())?;
    let lines = secret.value.secret.expose().lines().map(str::trim);
    let keys: Result<Vec<SigningKey>, _> = lines
        .filter(|line| !line.is_empty())
        .map(str::parse)
        .collect();
    match keys {
        Ok(keys) if (1..=MAX_KEYS).contains(&keys.len()) => Some((keys, secret.value.source)),
        Ok(_) => {
            section.problem(at, format!("the file has more than {MAX_KEYS} keys"));
            None
        }
        Err(error) => {
            section.problem(at, error.to_string());
            None
        }
    }
}

/// Reads the kinds of events; all of them if the file names none.
fn events(section: &Section<'_, '_>) -> Option<Vec<EventKind>> {
    if section.place_of("events").is_none() {
        return Some(EventKind::VARIANTS.to_vec());
    }
    let names = || EventKind::VARIANTS.iter().map(|kind| <&str>::from(*kind));
    let mut events = Vec::new();
    let list = section.list("events", EventKind::VARIANTS.len(), MAX_NAME_CHARS)?;
    for Located { value, at } in list.value {
        match value.parse() {
            Ok(kind) if !events.contains(&kind) => events.push(kind),
            Ok(_) => {}
            Err(_) => {
                let message = format!("no such event{}", suggestion(&value, names()));
                section.problem(at, message);
            }
        }
    }
    Some(events)
}

fn tenants(section: &Section<'_, '_>) -> Option<Vec<String>> {
    let list = section.list("tenants", MAX_TENANTS, MAX_TEXT_CHARS)?;
    let mut tenants = Vec::new();
    for Located { value, at } in list.value {
        if value == "*" {
            section.problem(at, "name each tenant; * is not allowed");
        } else if !auth::is_name(&value) {
            let message = "a tenant has 1 to 128 characters, none of them a control character";
            section.problem(at, message);
        } else if !tenants.contains(&value) {
            tenants.push(value);
        }
    }
    Some(tenants)
}

fn networks(section: &Section<'_, '_>) -> Vec<IpNet> {
    let Some(list) = section.list("allow_private", MAX_NETWORKS, MAX_NAME_CHARS) else {
        return Vec::new();
    };
    let mut networks = Vec::new();
    for Located { value, at } in list.value {
        match parse_networks(&[value]) {
            Ok(parsed) => networks.extend(parsed),
            Err(_) => section.problem(at, "expected an address or a network such as 10.0.0.0/8"),
        }
    }
    networks
}
