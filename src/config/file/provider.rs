//! `[providers.NAME]`.

use std::{path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue};
use strum::{EnumString, VariantNames};

use super::{
    Located, MAX_TEXT_CHARS, Place, SecretEntry, Surroundings, check_name, section::Section,
};
use crate::{
    config::secret_file,
    llm::{Wire, provider::certificates},
};

/// The most headers of a provider.
const MAX_HEADERS: usize = 32;

/// The largest file of certificate authorities, in bytes.
const MAX_CA_BYTES: u64 = 1024 * 1024;

/// Headers that only the client itself may set.
const OWN_HEADERS: [&str; 9] = [
    "accept",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
    "user-agent",
];

/// The prefix of the identity headers. Headers in the file must not impersonate them.
const IDENTITY_PREFIX: &str = "x-titlecast-";

/// The shortest identity secret, in bytes: the hash size of HS256.
const MIN_SECRET_BYTES: usize = 32;

/// How requests name the user.
#[derive(Clone, Copy, Debug, Default, EnumString, VariantNames)]
#[strum(serialize_all = "snake_case")]
enum IdentityKind {
    #[default]
    None,
    Headers,
    Jwt,
}

/// How requests name the user, with the secret if there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::config) enum IdentityEntry {
    /// Not at all.
    #[default]
    None,
    /// In `X-Titlecast-…` headers.
    Headers,
    /// In a token signed with this secret.
    Jwt(Located<SecretEntry>),
}

/// A file of certificate authorities.
#[derive(Debug)]
pub(in crate::config) struct CaFile {
    pub path: PathBuf,
    /// The content.
    pub pem: Vec<u8>,
}

/// One provider in the file. A setting that is `None` has its default.
#[derive(Debug)]
pub(in crate::config) struct ProviderEntry {
    pub name: String,
    pub at: Place,
    pub base_url: Option<Located<String>>,
    /// Whether the file sets a base URL, valid or not.
    pub names_base_url: bool,
    pub api_key: Option<Located<SecretEntry>>,
    /// Whether the file sets a key, readable or not.
    pub names_key: bool,
    pub wire: Wire,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub proxy: Option<Located<String>>,
    pub ca_file: Option<CaFile>,
    pub first_event: Option<Duration>,
    pub idle: Option<Duration>,
    pub connect: Option<Duration>,
    pub identity: IdentityEntry,
}

impl ProviderEntry {
    /// Creates a provider that has only defaults.
    pub(in crate::config) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            at: Place::default(),
            base_url: None,
            names_base_url: false,
            api_key: None,
            names_key: false,
            wire: Wire::default(),
            headers: Vec::new(),
            proxy: None,
            ca_file: None,
            first_event: None,
            idle: None,
            connect: None,
            identity: IdentityEntry::None,
        }
    }

    /// Whether the key comes from this environment variable.
    pub(in crate::config) fn names_variable(&self, variable: &str) -> bool {
        let key = self.api_key.as_ref();
        key.is_some_and(|key| key.value.variable.as_deref() == Some(variable))
    }
}

/// Reads one provider. Returns `None` if its name is invalid.
pub(super) fn read(
    name: String,
    section: Section<'_, '_>,
    surroundings: &Surroundings<'_>,
) -> Option<ProviderEntry> {
    let at = section.at.clone();
    if let Err(message) = check_name(&name) {
        section.problem(at, message);
        return None;
    }
    let url = |key, example, remedy| {
        let url = section.text(key, MAX_TEXT_CHARS)?;
        match check_url(&url.value, example, remedy) {
            Ok(()) => Some(url),
            Err(message) => {
                section.problem(url.at, message);
                None
            }
        }
    };
    let time = |key| section.duration(key).map(|time| time.value);
    let provider = ProviderEntry {
        base_url: url(
            "base_url",
            "https://models.example/v1",
            "name the key with api_key_env or api_key_file",
        ),
        names_base_url: section.place_of("base_url").is_some(),
        api_key: api_key(&section, surroundings),
        names_key: ["api_key_env", "api_key_file"]
            .iter()
            .any(|key| section.place_of(key).is_some()),
        wire: section
            .choice("wire")
            .map(|wire| wire.value)
            .unwrap_or_default(),
        headers: headers(&section, surroundings),
        proxy: url(
            "proxy",
            "http://proxy.example:3128",
            "set such a proxy by TITLECAST_PROXY or HTTPS_PROXY",
        ),
        ca_file: ca_file(&section, surroundings),
        first_event: time("first_event"),
        idle: time("idle"),
        connect: time("connect"),
        identity: identity(&section, surroundings),
        name,
        at,
    };
    section.finish();
    Some(provider)
}

/// Checks a URL in the file. It must not contain a password, because the file holds secrets only by reference. `remedy`
/// says where the password belongs.
fn check_url(text: &str, example: &str, remedy: &str) -> Result<(), String> {
    let form = || format!("expected a URL such as {example}");
    let url = reqwest::Url::parse(text).map_err(|_| form())?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(form());
    }
    if url.fragment().is_some() {
        return Err("the URL has a fragment (#…); remove it".into());
    }
    match url.password().is_some() {
        true => Err(format!("the URL has a password; {remedy}")),
        false => Ok(()),
    }
}

fn api_key(
    section: &Section<'_, '_>,
    surroundings: &Surroundings<'_>,
) -> Option<Located<SecretEntry>> {
    let key = surroundings.secret(section, "api_key_env", "api_key_file")?;
    match HeaderValue::from_str(key.value.secret.expose().trim()) {
        Ok(_) => Some(key),
        Err(_) => {
            let message =
                "the key has a line break or another character that an HTTP header cannot hold";
            section.problem(key.at, message);
            None
        }
    }
}

pub(super) fn ca_file(
    section: &Section<'_, '_>,
    surroundings: &Surroundings<'_>,
) -> Option<CaFile> {
    let file = section.text("ca_file", MAX_TEXT_CHARS)?;
    let path = surroundings.path(&file.value);
    let pem = secret_file::read_bytes(&path, MAX_CA_BYTES).map_err(|error| error.to_string());
    let checked = pem.and_then(|pem| match certificates(&pem) {
        Ok(_) => Ok(pem),
        Err(_) => Err("contains no PEM certificate".into()),
    });
    match checked {
        Ok(pem) => Some(CaFile { path, pem }),
        Err(error) => {
            section.problem(file.at, format!("the file {} {error}", path.display()));
            None
        }
    }
}

fn headers(
    section: &Section<'_, '_>,
    surroundings: &Surroundings<'_>,
) -> Vec<(HeaderName, HeaderValue)> {
    let Some(table) = section.section("headers") else {
        return Vec::new();
    };
    let values = table.values();
    if values.len() > MAX_HEADERS {
        let message = format!(
            "has {} headers; at most {MAX_HEADERS} are allowed",
            values.len()
        );
        section.problem(table.at, message);
        return Vec::new();
    }
    let mut headers = Vec::new();
    for (name, value) in values {
        let at = name.at;
        let header = header(&name.value, value, |variable| {
            let secret = surroundings.secret_of_variable(section, variable, at.clone());
            secret.map(|secret| secret.value)
        });
        match header {
            Ok(header) => headers.extend(header),
            Err(message) => section.problem(at, message),
        }
    }
    headers
}

/// Reads one header: a text, or `{ env = "NAME" }` for a secret. `None` if `secret` has reported an error.
fn header(
    name: &str,
    value: Option<serde_json::Value>,
    secret: impl FnOnce(String) -> Option<SecretEntry>,
) -> Result<Option<(HeaderName, HeaderValue)>, String> {
    let lower = name.to_ascii_lowercase();
    if OWN_HEADERS.contains(&lower.as_str()) || lower.starts_with(IDENTITY_PREFIX) {
        return Err("the header is set by Titlecast".into());
    }
    let name: HeaderName = lower
        .parse()
        .map_err(|_| "is not the name of an HTTP header".to_owned())?;
    let text = match value {
        Some(serde_json::Value::String(text)) => text,
        Some(serde_json::Value::Object(table)) if table.len() == 1 => {
            let Some(serde_json::Value::String(variable)) = table.get("env") else {
                return Err("expected a text, or { env = \"NAME\" } for a secret".into());
            };
            match secret(variable.clone()) {
                Some(entry) => entry.secret.expose().to_owned(),
                None => return Ok(None),
            }
        }
        _ => return Err("expected a text, or { env = \"NAME\" } for a secret".into()),
    };
    let mut value = HeaderValue::from_str(text.trim()).map_err(|_| {
        "the value has a line break or another character that an HTTP header cannot hold".to_owned()
    })?;
    value.set_sensitive(true);
    Ok(Some((name, value)))
}

fn identity(section: &Section<'_, '_>, surroundings: &Surroundings<'_>) -> IdentityEntry {
    const ENV: &str = "identity_secret_env";
    const FILE: &str = "identity_secret_file";
    let kind = section.choice::<IdentityKind>("identity");
    let secret = surroundings.secret(section, ENV, FILE);
    let place = section.place_of(ENV).or_else(|| section.place_of(FILE));
    let is_jwt = matches!(
        kind,
        Some(Located {
            value: IdentityKind::Jwt,
            ..
        })
    );
    if let (false, Some(place)) = (is_jwt, &place) {
        section.problem(place.clone(), "has no effect without identity = \"jwt\"");
    }
    let Some(kind) = kind else {
        return IdentityEntry::None;
    };
    match (kind.value, secret) {
        (IdentityKind::None, _) => IdentityEntry::None,
        (IdentityKind::Headers, _) => IdentityEntry::Headers,
        (IdentityKind::Jwt, Some(secret)) => {
            if secret.value.secret.expose().len() < MIN_SECRET_BYTES {
                section.problem(
                    secret.at.clone(),
                    format!(
                        "the secret is shorter than {MIN_SECRET_BYTES} bytes; generate one with `openssl rand -base64 32`"
                    ),
                );
            }
            IdentityEntry::Jwt(secret)
        }
        (IdentityKind::Jwt, None) => {
            if place.is_none() {
                section.problem(kind.at, format!("identity = \"jwt\" needs {FILE} or {ENV}"));
            }
            IdentityEntry::None
        }
    }
}
