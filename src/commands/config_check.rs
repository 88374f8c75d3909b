//! `titlecast config check`: prints the effective configuration and the source of each value, without secrets.

use std::{
    fmt::{Display, Write},
    time::Duration,
};

use crate::{
    config::{
        AgentPlan, ModelRef, Plan, ProviderPlan, ReplySource, Settings, SharingPlan, WebhookPlan,
    },
    conversation::retention::Retentions,
    llm::{Identity, Parameters},
    titles::policy::TitlePolicy,
};

/// The separator between the entries of a list.
const SEPARATOR: &str = ", ";

/// The tenant and the agent whose title policy is printed in full.
#[derive(Clone, Copy, Debug, Default)]
pub struct PolicyOf<'a> {
    /// The tenant.
    pub tenant: Option<&'a str>,
    /// The agent that answers.
    pub agent: Option<&'a str>,
}

/// The effective configuration, as readable text.
pub fn report(settings: &Settings, plan: &Plan, policy_of: PolicyOf<'_>) -> String {
    let mut page = Page(String::new());
    match &plan.path {
        Some(path) => page.line(0, format_args!("file: {}", path.display())),
        None => page.line(0, "file: none (--config, TITLECAST_CONFIG)"),
    }
    page.line(0, "settings:");
    for setting in settings.origins.settings() {
        page.line(1, setting);
    }
    page.line(0, "providers:");
    if plan.providers.is_empty() {
        page.line(1, "none: the offline model answers, for demonstration only");
    }
    for provider in &plan.providers {
        page.provider(provider);
    }
    page.line(0, "agents:");
    for agent in &plan.agents {
        page.agent(agent, agent.name == plan.default_agent);
    }
    if !plan.has_agents {
        page.line(
            1,
            "the file has none, so every name of an agent is accepted",
        );
    }
    page.titles(plan, policy_of);
    page.sharing(&plan.sharing);
    if plan.audit.is_on {
        let keep = days(plan.audit.keep);
        page.line(0, format_args!("audit: enabled, keep {keep}"));
    }
    if !plan.webhooks.is_empty() {
        page.line(0, "webhooks:");
    }
    for webhook in &plan.webhooks {
        page.webhook(webhook);
    }
    page.retention(&plan.retentions);
    for note in &plan.notes {
        page.line(0, format_args!("note: {note}"));
    }
    page.0
}

fn shown_limit(limit: Option<Duration>) -> String {
    limit.map_or_else(|| "kept".to_owned(), days)
}

/// A duration, in days if it is a whole number of days: humantime would write 180 days as months of 30.44 days.
fn days(duration: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    let seconds = duration.as_secs();
    match (seconds / DAY, seconds % DAY) {
        (1, 0) => "1day".to_owned(),
        (count @ 2.., 0) => format!("{count}days"),
        _ => humantime::format_duration(duration).to_string(),
    }
}

struct Page(String);

impl Page {
    fn line(&mut self, depth: usize, text: impl Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{:width$}{text}", "", width = depth * 2);
    }

    fn provider(&mut self, provider: &ProviderPlan) {
        let settings = &provider.settings;
        self.line(1, format_args!("{}:", settings.name));
        let url = shown_url(&settings.base_url);
        let wire: &str = settings.wire.into();
        self.line(
            2,
            format_args!("base_url: {url} ({})", provider.base_url_source),
        );
        match &settings.api_key {
            Some(_) => self.line(2, format_args!("key: set ({})", provider.api_key_source)),
            None => self.line(2, "key: none"),
        }
        self.line(2, format_args!("wire: {wire}"));
        if !settings.headers.is_empty() {
            let names: Vec<&str> = settings
                .headers
                .iter()
                .map(|(name, _)| name.as_str())
                .collect();
            self.line(2, format_args!("headers: {}", names.join(SEPARATOR)));
        }
        if let Some(proxy) = &provider.proxy {
            self.line(2, format_args!("proxy: {}", shown_url(proxy)));
        }
        if let Some(file) = &provider.ca_file {
            self.line(2, format_args!("ca_file: {}", file.display()));
        }
        let identity = match &settings.identity {
            Identity::None => None,
            Identity::Headers => Some("headers"),
            Identity::Jwt(_) => Some("jwt"),
        };
        if let Some(identity) = identity {
            self.line(2, format_args!("identity: {identity}"));
        }
        let time = humantime::format_duration;
        self.line(
            2,
            format_args!(
                "waits: connect {}, first event {}, idle {}",
                time(settings.connect),
                time(settings.first_event),
                time(settings.idle)
            ),
        );
    }

    fn titles(&mut self, plan: &Plan, of: PolicyOf<'_>) {
        let policies = &plan.titles;
        let models = chain(&policies.default_policy().models);
        let source = policies.source("models", None, None);
        self.line(0, format_args!("titles: {models} ({source})"));
        let settings = settings_of(policies.default_policy());
        for (key, value) in settings.iter().skip(1) {
            match policies.source(key, None, None) {
                "default" => {}
                source => self.line(1, format_args!("{key}: {value} ({source})")),
            }
        }
        for tenant in policies.tenants() {
            self.line(1, format_args!("tenant {tenant}:"));
            let set = policies.set_by_tenant(tenant);
            for (key, value) in settings_of(&policies.of_tenant(tenant)) {
                if set.contains(&key) {
                    let source = policies.source(key, Some(tenant), None);
                    self.line(2, format_args!("{key}: {value} ({source})"));
                }
            }
        }
        for agent in policies.agents() {
            self.line(1, format_args!("agent {agent}:"));
            let set = policies.set_by_agent(agent);
            for (key, value) in settings_of(&policies.of("", agent)) {
                if set.contains(&key) {
                    let source = policies.source(key, None, Some(agent));
                    self.line(2, format_args!("{key}: {value} ({source})"));
                }
            }
        }
        let PolicyOf { tenant, agent } = of;
        let (policy, whose) = match (tenant, agent) {
            (None, None) => return,
            (Some(tenant), None) => (policies.of_tenant(tenant), format!("tenant {tenant}")),
            (None, Some(agent)) => (policies.of("", agent), format!("agent {agent}")),
            (Some(tenant), Some(agent)) => (
                policies.of(tenant, agent),
                format!("tenant {tenant} and agent {agent}"),
            ),
        };
        self.line(0, format_args!("titles for {whose}:"));
        for (key, value) in settings_of(&policy) {
            let source = policies.source(key, tenant, agent);
            self.line(1, format_args!("{key}: {value} ({source})"));
        }
    }

    fn sharing(&mut self, plan: &SharingPlan) {
        let default = plan.policies.default_value().as_str();
        let source = &plan.default_source;
        self.line(0, format_args!("sharing: {default} ({source})"));
        for (tenant, line) in &plan.lines {
            let visibility = plan.policies.of(tenant).as_str();
            self.line(
                1,
                format_args!("tenant {tenant}: {visibility} (line {line})"),
            );
        }
    }

    fn webhook(&mut self, webhook: &WebhookPlan) {
        let settings = &webhook.settings;
        self.line(1, format_args!("{}:", settings.name));
        self.line(2, format_args!("url: {}", shown_origin(&settings.url)));
        let (keys, source) = (settings.keys.len(), &webhook.keys_source);
        self.line(2, format_args!("keys: {keys} ({source})"));
        let events = settings.events.iter().map(|kind| <&str>::from(*kind));
        let events: Vec<&str> = events.collect();
        self.line(2, format_args!("events: {}", events.join(SEPARATOR)));
        self.line(
            2,
            format_args!("tenants: {}", settings.tenants.join(SEPARATOR)),
        );
        if settings.include_text {
            self.line(2, "include_text: true");
        }
        if !settings.allow_private.is_empty() {
            let networks = settings.allow_private.iter().map(ToString::to_string);
            let networks: Vec<String> = networks.collect();
            self.line(
                2,
                format_args!("allow_private: {}", networks.join(SEPARATOR)),
            );
        }
        let time = humantime::format_duration;
        self.line(
            2,
            format_args!(
                "times: timeout {}, retry_for {}, keep {}; at most {} requests at once",
                time(settings.timeout),
                time(settings.retry_for),
                days(settings.keep),
                settings.max_in_flight
            ),
        );
    }

    fn retention(&mut self, retentions: &Retentions) {
        // Without limits everything is kept.
        if retentions.are_off() {
            return;
        }
        self.line(0, "retention:");
        for (key, limit) in retentions.default.limits() {
            self.line(1, format_args!("{key}: {}", shown_limit(limit)));
        }
        for (tenant, limits) in &retentions.tenants {
            self.line(1, format_args!("tenant {tenant}:"));
            let default = retentions.default.limits();
            for ((key, limit), of_default) in limits.limits().into_iter().zip(default) {
                if limit != of_default.1 {
                    self.line(2, format_args!("{key}: {}", shown_limit(limit)));
                }
            }
        }
    }

    fn agent(&mut self, agent: &AgentPlan, is_default: bool) {
        let default = match is_default {
            true => " (the default agent)",
            false => "",
        };
        self.line(1, format_args!("{}{default}:", agent.name));
        if let Some(description) = &agent.description {
            self.line(2, format_args!("description: {description:?}"));
        }
        match &agent.source {
            ReplySource::External => self.line(2, "source: external"),
            ReplySource::Models(models) => {
                let source = &agent.models_source;
                self.line(2, format_args!("models: {} ({source})", chain(models)));
                self.line(
                    2,
                    format_args!("history: {} characters", agent.history_budget),
                );
            }
        }
        if let Some(instructions) = &agent.instructions {
            let count = instructions.chars().count();
            let source = &agent.instructions_source;
            self.line(
                2,
                format_args!("instructions: {count} characters ({source})"),
            );
        }
        let parameters = shown_parameters(&agent.parameters);
        if !parameters.is_empty() {
            self.line(
                2,
                format_args!("parameters: {}", parameters.join(SEPARATOR)),
            );
        }
        if let Some(tokens) = agent.budget {
            self.line(
                2,
                format_args!("budget: {tokens} tokens per day and tenant"),
            );
        }
        if agent.keep_reasoning {
            self.line(2, "keep_reasoning: true");
        }
        if agent.is_until_titled {
            self.line(2, "retain: until_titled");
        }
        if agent.show_models {
            self.line(2, "show_models: true");
        }
        if let Some(tenants) = &agent.tenants {
            self.line(2, format_args!("tenants: {}", tenants.join(SEPARATOR)));
        }
    }
}

/// A webhook's URL without its path, because the paths of some receivers contain a secret.
fn shown_origin(url: &reqwest::Url) -> String {
    let path = match url.path() {
        "/" => "/",
        _ => "/…",
    };
    format!("{}{path}", url.origin().ascii_serialization())
}

/// The parameters that are set; of `extra` only the names, because a value may be a secret.
fn shown_parameters(parameters: &Parameters) -> Vec<String> {
    let Parameters {
        temperature,
        reasoning_effort,
        verbosity,
        max_output_tokens,
        top_p,
        extra,
    } = parameters;
    let set = [
        ("temperature", temperature.map(|number| number.to_string())),
        ("reasoning_effort", reasoning_effort.clone()),
        ("verbosity", verbosity.clone()),
        (
            "max_output_tokens",
            max_output_tokens.map(|number| number.to_string()),
        ),
        ("top_p", top_p.map(|number| number.to_string())),
    ];
    let mut shown: Vec<String> = set
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name} {}", value?)))
        .collect();
    if !extra.is_empty() {
        let names: Vec<&str> = extra.keys().map(String::as_str).collect();
        shown.push(format!("extra {}", names.join(" ")));
    }
    shown
}

/// The settings of a policy as text, the models first. Shows only the lengths of the operator's texts.
fn settings_of(policy: &TitlePolicy<Vec<ModelRef>>) -> Vec<(&'static str, String)> {
    let TitlePolicy {
        models,
        style,
        instruction,
        max_characters,
        max_words,
        case,
        language,
        emoji,
        openers,
        redact,
        refresh,
        budget,
        fallback,
        distinct,
        retry,
    } = policy;
    let length = |text: &Option<std::sync::Arc<str>>| match text {
        Some(text) => format!("{} characters", text.chars().count()),
        None => "none".into(),
    };
    vec![
        ("models", chain(models)),
        ("style", length(style)),
        ("instruction", length(instruction)),
        ("max_characters", max_characters.to_string()),
        ("max_words", max_words.to_string()),
        ("case", <&str>::from(case).into()),
        ("language", language.to_string()),
        ("emoji", emoji.to_string()),
        ("openers", openers.to_string()),
        ("redact", redact.to_string()),
        ("refresh", <&str>::from(refresh).into()),
        (
            "budget",
            match budget {
                Some(tokens) => format!("{tokens} tokens per day"),
                None => "none".into(),
            },
        ),
        ("fallback", <&str>::from(fallback).into()),
        ("distinct", distinct.to_string()),
        ("retry", humantime::format_duration(*retry).to_string()),
    ]
}

fn chain(models: &[impl Display]) -> String {
    match models.is_empty() {
        true => "the offline model".into(),
        false => {
            let names: Vec<String> = models.iter().map(ToString::to_string).collect();
            names.join(SEPARATOR)
        }
    }
}

/// A URL without user, password and query, which may hold secrets.
fn shown_url(url: &str) -> String {
    let Ok(mut url) = reqwest::Url::parse(url.trim()) else {
        return "(not a URL)".into();
    };
    // Both fail only for URLs that cannot have a user.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.into()
}
