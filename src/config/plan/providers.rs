//! The effective providers.

use std::{path::PathBuf, time::Duration};

use super::DEFAULT_PROVIDER;
use crate::{
    auth::Secret,
    config::{
        Origin, Settings,
        file::{IdentityEntry, Located, Place, Problem, ProviderEntry, SecretEntry},
    },
    llm::{Identity, ProviderSettings, ProxySettings, provider::DEFAULT_BASE_URL},
};

/// Timeout for connecting to a provider.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The implicit provider's flags, as notes name them.
const BASE_URL_SETTING: &str = "--openai-base-url (OPENAI_BASE_URL)";
const KEY_SETTING: &str = "--openai-api-key (OPENAI_API_KEY)";

/// A provider in force.
#[derive(Clone, Debug)]
pub struct ProviderPlan {
    /// The settings that the provider is built from.
    pub settings: ProviderSettings,
    /// The position in the file; line 0 if the provider comes from flags and environment only.
    pub at: Place,
    /// The source of the base URL.
    pub base_url_source: String,
    /// The source of the key; empty without a key.
    pub api_key_source: String,
    /// The proxy set in the file; `None` to use that of the settings.
    pub proxy: Option<String>,
    /// The file with certificate authorities for this provider.
    pub ca_file: Option<PathBuf>,
}

impl ProviderPlan {
    /// Whether this is OpenAI's own server.
    pub(super) fn is_openai(&self) -> bool {
        is_openai(&self.settings.base_url)
    }
}

/// Whether the URL is that of OpenAI's own server.
fn is_openai(url: &str) -> bool {
    let url = reqwest::Url::parse(url.trim()).ok();
    let host = url
        .as_ref()
        .and_then(reqwest::Url::host_str)
        .unwrap_or_default();
    host == "api.openai.com" || host.ends_with(".api.openai.com")
}

/// All providers.
pub(super) struct Providers {
    plans: Vec<ProviderPlan>,
    /// The names of all providers, including those with errors, so that references to them are not reported in
    /// addition.
    names: Vec<String>,
    /// Whether the file defines any providers.
    pub(super) are_of_the_file: bool,
}

impl Providers {
    /// Merges the file's providers with the settings.
    pub(super) fn merge(
        settings: &Settings,
        entries: Vec<ProviderEntry>,
        problems: &mut Vec<Problem>,
        notes: &mut Vec<String>,
    ) -> Self {
        let are_of_the_file = !entries.is_empty();
        let mut names: Vec<String> = entries.iter().map(|entry| entry.name.clone()).collect();
        let mut plans: Vec<ProviderPlan> = Vec::new();
        for mut entry in entries {
            if let IdentityEntry::Jwt(secret) = &entry.identity
                && settings.jwt.has_secret(&secret.value.secret)
            {
                problems.push(Problem {
                    at: secret.at.clone(),
                    message: "is the secret of --jwt-secret (TITLECAST_JWT_SECRET): the provider could sign tokens of \
                              your users; generate another"
                        .into(),
                });
            }
            let source = match entry.name == DEFAULT_PROVIDER {
                true => Source::of_settings(settings, &mut entry, notes),
                false => None,
            };
            let source = source.or_else(|| Source::of_entry(&mut entry, problems));
            if let Some(source) = source {
                plans.push(plan(settings, entry, source));
            }
        }
        let is_known = names.iter().any(|name| name == DEFAULT_PROVIDER);
        if !is_known && settings.has_provider() {
            names.push(DEFAULT_PROVIDER.into());
            let mut entry = ProviderEntry::new(DEFAULT_PROVIDER);
            if let Some(source) = Source::of_settings(settings, &mut entry, notes) {
                plans.push(plan(settings, entry, source));
            }
        }
        Self {
            plans,
            names,
            are_of_the_file,
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    pub(super) fn find(&self, name: &str) -> Option<&ProviderPlan> {
        self.plans.iter().find(|plan| plan.settings.name == name)
    }

    /// The provider of models that name none: the only one, if there is just one.
    pub(super) fn only(&self) -> Option<&str> {
        self.names().next().filter(|_| self.names.len() == 1)
    }

    pub(super) fn into_plans(self) -> Vec<ProviderPlan> {
        self.plans
    }
}

/// A base URL and a key from the same source.
struct Source {
    base_url: String,
    base_url_source: String,
    api_key: Option<Secret>,
    api_key_source: String,
}

impl Source {
    /// Base URL and key from flags and environment; `None` if neither is set. If either is set, the file's base URL and
    /// key are not used: its key could reach another host, or another key its host.
    fn of_settings(
        settings: &Settings,
        entry: &mut ProviderEntry,
        notes: &mut Vec<String>,
    ) -> Option<Self> {
        let filled = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let base_url = filled(&settings.openai_base_url);
        let api_key = filled(&settings.openai_api_key);
        let key_origin = settings.origins.of("openai_api_key");
        // If the file refers to the same variable as the setting, the file is the source of both values.
        let is_named_by_file =
            entry.names_variable("OPENAI_API_KEY") && *key_origin != Origin::Flag;
        if base_url.is_none() && (api_key.is_none() || is_named_by_file) {
            return None;
        }
        let which = match base_url {
            Some(_) => BASE_URL_SETTING,
            None => KEY_SETTING,
        };
        let mut ignore = |key: &str, place: &Place| {
            notes.push(format!(
                "line {}: providers.{}.{key} is not used, because {which} is set: base URL and key come from one \
                 source",
                place.line, entry.name
            ));
        };
        if let Some(url) = entry.base_url.take() {
            ignore("base_url", &url.at);
        }
        if let Some(key) = entry.api_key.take()
            && !(is_named_by_file && api_key.is_some())
        {
            ignore("api_key", &key.at);
        }
        if !entry.headers.is_empty() {
            entry.headers.clear();
            ignore("headers", &entry.at);
        }
        let url_source =
            |_: &String| source(settings.origins.of("openai_base_url"), BASE_URL_SETTING);
        Some(Self {
            base_url_source: base_url.as_ref().map_or("default".into(), url_source),
            base_url: base_url.unwrap_or_else(|| DEFAULT_BASE_URL.into()),
            api_key_source: match &api_key {
                Some(_) => source(key_origin, KEY_SETTING),
                None => String::new(),
            },
            api_key: api_key.map(Secret::from),
        })
    }

    /// Base URL and key from the file.
    fn of_entry(entry: &mut ProviderEntry, problems: &mut Vec<Problem>) -> Option<Self> {
        let (base_url, base_url_source) = match entry.base_url.take() {
            Some(Located { value, at }) => (value, format!("line {}", at.line)),
            // Already reported.
            None if entry.names_base_url => return None,
            None if entry.name == DEFAULT_PROVIDER => (DEFAULT_BASE_URL.into(), "default".into()),
            None => {
                problems.push(Problem {
                    at: entry.at.clone(),
                    message: "base_url is missing".into(),
                });
                return None;
            }
        };
        let (api_key, api_key_source) = match entry.api_key.take() {
            Some(Located {
                value: SecretEntry { secret, source, .. },
                ..
            }) => (Some(secret), source),
            None => (None, String::new()),
        };
        if api_key.is_none() && !entry.names_key && is_openai(&base_url) {
            let how = match entry.name == DEFAULT_PROVIDER {
                true => "set OPENAI_API_KEY, or name it with api_key_env or api_key_file",
                false => "name it with api_key_env or api_key_file",
            };
            problems.push(Problem {
                at: entry.at.clone(),
                message: format!("has no key; {how}"),
            });
        }
        Some(Self {
            base_url,
            base_url_source,
            api_key,
            api_key_source,
        })
    }
}

/// The source of a setting, for people.
fn source(origin: &Origin, setting: &str) -> String {
    match origin {
        Origin::SecretFile(_) => origin.to_string(),
        _ => setting.to_owned(),
    }
}

fn plan(settings: &Settings, entry: ProviderEntry, source: Source) -> ProviderPlan {
    let own_proxy = entry.proxy.map(|proxy| proxy.value);
    let proxy = match &own_proxy {
        Some(proxy) => ProxySettings {
            http: Some(proxy.clone()),
            https: Some(proxy.clone()),
            except: None,
        },
        None => settings.proxy(),
    };
    let (ca_file, authorities) = match entry.ca_file {
        Some(file) => (Some(file.path), Some(file.pem)),
        None => (None, None),
    };
    ProviderPlan {
        at: entry.at,
        base_url_source: source.base_url_source,
        api_key_source: source.api_key_source,
        proxy: own_proxy,
        ca_file,
        settings: ProviderSettings {
            name: entry.name,
            base_url: match source.base_url.trim() {
                "" => DEFAULT_BASE_URL.into(),
                url => url.into(),
            },
            api_key: source.api_key.map(|key| key.expose().to_owned()),
            wire: entry.wire,
            headers: entry.headers,
            proxy,
            authorities,
            first_event: entry.first_event.unwrap_or(settings.reply_first_event),
            idle: entry.idle.unwrap_or(settings.reply_idle),
            connect: entry.connect.unwrap_or(CONNECT_TIMEOUT),
            identity: match entry.identity {
                IdentityEntry::None => Identity::None,
                IdentityEntry::Headers => Identity::Headers,
                IdentityEntry::Jwt(secret) => {
                    Identity::Jwt(secret.value.secret.expose().to_owned())
                }
            },
            probe_every: settings.title_probe,
        },
    }
}
