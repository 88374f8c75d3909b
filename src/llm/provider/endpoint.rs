//! The endpoint of requests: URL, credentials and proxy. Tolerates the common variants of a base URL.

use std::net::IpAddr;

use base64::{Engine, prelude::BASE64_STANDARD};
use percent_encoding::percent_decode_str;
use reqwest::{NoProxy, Proxy, Url, header::HeaderValue};

use super::InvalidProvider;

/// A provider's URL and credentials.
#[derive(Clone)]
pub(super) struct Endpoint {
    /// The URL, without credentials.
    pub(super) url: Url,
    /// The value of `Authorization`, marked as sensitive.
    pub(super) authorization: Option<HeaderValue>,
}

impl Endpoint {
    /// Parses a base URL, to which `path` is appended. Accepts trailing slashes, a query, and the full path. A fragment
    /// is an error, since it is never sent. User and password are sent as Basic credentials if there is no key.
    ///
    /// # Errors
    /// [`InvalidProvider`].
    pub(super) fn new(base_url: &str, path: &str, key: &str) -> Result<Self, InvalidProvider> {
        let mut url = Url::parse(base_url).map_err(|_| InvalidProvider::BaseUrl)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(InvalidProvider::BaseUrl);
        }
        if url.fragment().is_some() {
            return Err(InvalidProvider::Fragment);
        }
        let base = url.path().trim_end_matches('/');
        let base = base
            .strip_suffix(path)
            .unwrap_or(base)
            .trim_end_matches('/');
        let path = format!("{base}{path}");
        url.set_path(&path);

        let value = match (key, url.username(), url.password()) {
            ("", "", None) => None,
            ("", user, password) => {
                let decoded = |text| percent_decode_str(text).collect::<Vec<u8>>();
                let pair = [decoded(user), decoded(password.unwrap_or_default())].join(&b':');
                Some(format!("Basic {}", BASE64_STANDARD.encode(pair)))
            }
            (key, ..) => Some(format!("Bearer {key}")),
        };
        let authorization = value.map(|value| HeaderValue::from_str(&value)).transpose();
        let mut authorization = authorization.map_err(|_| InvalidProvider::ApiKey)?;
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        // Cannot fail for an http URL with a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Ok(Self { url, authorization })
    }

    /// Whether this is OpenAI's own server.
    pub(super) fn is_openai(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default();
        host == "api.openai.com" || host.ends_with(".api.openai.com")
    }

    /// The proxy for this address; `None` for loopback.
    ///
    /// # Errors
    /// [`InvalidProvider::Proxy`].
    pub(super) fn proxy(&self, settings: &ProxySettings) -> Result<Option<Proxy>, InvalidProvider> {
        let by_scheme = match self.url.scheme() {
            "https" => &settings.https,
            _ => &settings.http,
        };
        let Some(address) = by_scheme.as_deref().map(str::trim) else {
            return Ok(None);
        };
        // Like curl: the scheme defaults to http.
        let address = match address.contains("://") {
            true => address.to_owned(),
            false => format!("http://{address}"),
        };
        let url = Url::parse(&address).map_err(|_| InvalidProvider::Proxy)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(InvalidProvider::Proxy);
        }
        if self.is_loopback() {
            return Ok(None);
        }
        let proxy = Proxy::all(url).map_err(|_| InvalidProvider::Proxy)?;
        let except = settings.except.as_deref().and_then(NoProxy::from_string);
        Ok(Some(proxy.no_proxy(except)))
    }

    fn is_loopback(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        match address.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => {
                let name = host.trim_end_matches('.');
                name == "localhost" || name.ends_with(".localhost")
            }
        }
    }
}

/// The configured proxies, by the scheme of the target.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// The proxy for `http://` addresses.
    pub http: Option<String>,
    /// The proxy for `https://` addresses.
    pub https: Option<String>,
    /// Hosts without a proxy, as in `NO_PROXY`.
    pub except: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/chat/completions";

    #[test]
    fn base_urls_as_people_paste_them() {
        #[rustfmt::skip]
        let table = [
            ("http://host/v1", "http://host/v1/chat/completions"),
            ("http://host/v1/", "http://host/v1/chat/completions"),
            ("http://host/v1///", "http://host/v1/chat/completions"),
            ("http://host", "http://host/chat/completions"),
            ("http://host/", "http://host/chat/completions"),
            ("HTTPS://Host:8443/V1", "https://host:8443/V1/chat/completions"),
            ("http://host/v1/chat/completions", "http://host/v1/chat/completions"),
            ("http://host/v1/chat/completions/", "http://host/v1/chat/completions"),
            ("http://host/v1?api-version=2024-10-21", "http://host/v1/chat/completions?api-version=2024-10-21"),
            ("http://host/v1/?a=1&b=%2F", "http://host/v1/chat/completions?a=1&b=%2F"),
            ("http://host/openai/deployments/x/chat/completions?api-version=1", "http://host/openai/deployments/x/chat/completions?api-version=1"),
            ("http://host?x=1", "http://host/chat/completions?x=1"),
            ("http://[::1]:11434/v1", "http://[::1]:11434/v1/chat/completions"),
            ("http://user:pass@host/v1", "http://host/v1/chat/completions"),
            ("http://host/a%20b/v1", "http://host/a%20b/v1/chat/completions"),
        ];
        for (base, url) in table {
            let endpoint = Endpoint::new(base, PATH, "").unwrap();
            assert_eq!(endpoint.url.as_str(), url, "{base}");
        }
        for (base, error) in [
            ("http://host/v1#top", InvalidProvider::Fragment),
            ("http://host/v1#", InvalidProvider::Fragment),
            ("host/v1", InvalidProvider::BaseUrl),
            ("localhost:11434/v1", InvalidProvider::BaseUrl),
            ("ftp://host/v1", InvalidProvider::BaseUrl),
            ("http://", InvalidProvider::BaseUrl),
            ("unix:/run/model.sock", InvalidProvider::BaseUrl),
        ] {
            assert_eq!(Endpoint::new(base, PATH, "").err(), Some(error), "{base}");
        }
    }

    #[test]
    fn a_key_goes_before_a_password() {
        let value = |base: &str, key: &str| {
            let authorization = Endpoint::new(base, PATH, key).unwrap().authorization?;
            assert!(authorization.is_sensitive());
            Some(authorization.to_str().unwrap().to_owned())
        };
        assert_eq!(value("http://host", ""), None);
        assert_eq!(value("http://host", "key").as_deref(), Some("Bearer key"));
        assert_eq!(
            value("http://me:a%40b@host", "key").as_deref(),
            Some("Bearer key")
        );
        assert_eq!(
            value("http://me:a%40b@host", "").as_deref(),
            Some("Basic bWU6YUBi")
        );
        assert_eq!(value("http://me@host", "").as_deref(), Some("Basic bWU6"));
    }

    #[test]
    fn proxies_by_scheme_and_never_for_this_machine() {
        let settings = ProxySettings {
            http: Some("proxy:3128".into()),
            https: None,
            except: None,
        };
        let has_proxy = |base: &str| {
            let endpoint = Endpoint::new(base, PATH, "").unwrap();
            endpoint.proxy(&settings).unwrap().is_some()
        };
        assert!(has_proxy("http://model.example/v1"));
        assert!(!has_proxy("https://model.example/v1"));
        for own in [
            "http://localhost:1/v1",
            "http://api.localhost/v1",
            "http://127.0.0.7/v1",
            "http://[::1]/v1",
            "http://[::ffff:127.0.0.1]/v1",
        ] {
            assert!(!has_proxy(own), "{own}");
        }
        let endpoint = Endpoint::new("http://host", PATH, "").unwrap();
        for proxy in ["socks5://host:1", "http://", "://", " "] {
            let settings = ProxySettings {
                http: Some(proxy.into()),
                ..ProxySettings::default()
            };
            let error = endpoint.proxy(&settings).err();
            assert_eq!(error, Some(InvalidProvider::Proxy), "{proxy}");
        }
    }
}
