//! The proxy for the model's provider: from the setting, otherwise from the usual environment variables.

use super::Settings;
use crate::llm::ProxySettings;

impl Settings {
    /// The proxies by scheme. An empty setting or variable counts as unset.
    pub fn proxy(&self) -> ProxySettings {
        #[expect(clippy::disallowed_methods, reason = "a part of config")]
        let read = |name: &str| std::env::var(name).ok();
        proxies(self.proxy.as_deref(), read)
    }
}

fn proxies(setting: Option<&str>, read: impl Fn(&str) -> Option<String>) -> ProxySettings {
    let filled = |value: Option<String>| value.filter(|value| !value.trim().is_empty());
    let variable = |names: [&str; 2]| names.into_iter().find_map(|name| filled(read(name)));
    let setting = filled(setting.map(str::to_owned));
    let by_scheme = |names| {
        let all = || variable(["ALL_PROXY", "all_proxy"]);
        setting.clone().or_else(|| variable(names)).or_else(all)
    };
    ProxySettings {
        http: by_scheme(["HTTP_PROXY", "http_proxy"]),
        https: by_scheme(["HTTPS_PROXY", "https_proxy"]),
        except: variable(["NO_PROXY", "no_proxy"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_goes_before_the_variables() {
        let environment = |variables: &'static [(&str, &str)]| {
            move |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            }
        };
        let all = environment(&[
            ("https_proxy", "http://s:1"),
            ("HTTP_PROXY", " "),
            ("http_proxy", "http://h:1"),
            ("ALL_PROXY", "http://a:1"),
            ("no_proxy", "example.org"),
        ]);
        let found = proxies(None, all);
        assert_eq!(found.https.as_deref(), Some("http://s:1"));
        assert_eq!(found.http.as_deref(), Some("http://h:1"));
        assert_eq!(found.except.as_deref(), Some("example.org"));
        let found = proxies(Some("http://own:1"), all);
        assert_eq!(found.https.as_deref(), Some("http://own:1"));
        assert_eq!(found.http.as_deref(), Some("http://own:1"));
        assert_eq!(found.except.as_deref(), Some("example.org"));
        let found = proxies(Some(""), environment(&[("ALL_PROXY", "a:1")]));
        assert_eq!(found.https.as_deref(), Some("a:1"));
        assert_eq!(proxies(None, environment(&[])).http, None);
    }
}
