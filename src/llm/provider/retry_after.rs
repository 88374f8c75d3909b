//! Reads how long a provider asks to wait before a retry: from headers, or from the body (Google).

use std::time::{Duration, SystemTime};

use reqwest::header::HeaderMap;
use serde_json::Value;

/// The longest `Retry-After` accepted. Callers have shorter limits.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The wait that the provider asks for: `retry-after-ms` (OpenAI), else `Retry-After` in seconds or as a date.
///
/// A date is relative to the response's own `Date`, so our clock does not matter; a past date is zero. Invalid or
/// negative values count as no header.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| Some(headers.get(name)?.to_str().ok()?.trim());
    let wait = |number: f64| match number.is_finite() && number >= 0.0 {
        true => Some(Duration::try_from_secs_f64(number).unwrap_or(MAX_RETRY_AFTER)),
        false => None,
    };
    let number = |name| text(name)?.parse().ok();
    let date = |name| httpdate::parse_http_date(text(name)?).ok();
    let until = || {
        let now = date("date").unwrap_or_else(SystemTime::now);
        Some(date("retry-after")?.duration_since(now).unwrap_or_default())
    };
    let found = number("retry-after-ms").and_then(|ms: f64| wait(ms / 1000.0));
    let found = found.or_else(|| number("retry-after").and_then(wait));
    found.or_else(until).map(|wait| wait.min(MAX_RETRY_AFTER))
}

/// The wait in an error object: `retryDelay` of a `google.rpc.RetryInfo`, such as `45.8s`. Gemini sends no header.
pub(super) fn retry_delay(error: &Value) -> Option<Duration> {
    let details = error.get("details")?.as_array()?;
    let texts = details
        .iter()
        .filter_map(|detail| detail.get("retryDelay")?.as_str());
    let mut waits = texts.filter_map(|text| {
        let seconds: f64 = text.trim().strip_suffix('s')?.parse().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    });
    waits.next().map(|wait| wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    type Headers = &'static [(&'static str, &'static str)];

    #[test]
    fn three_forms_of_a_wait() {
        let wait = |headers: Headers| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, value.parse().unwrap());
            }
            retry_after(&map).map(|wait| wait.as_secs_f64())
        };
        const NOW: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let most = MAX_RETRY_AFTER.as_secs_f64();
        #[rustfmt::skip]
        let table: [(Headers, Option<f64>); 21] = [
            (&[], None),
            (&[("retry-after", "7200")], Some(7200.0)),
            (&[("retry-after", " 2 ")], Some(2.0)),
            (&[("retry-after", "0.25")], Some(0.25)),
            (&[("retry-after", "0")], Some(0.0)),
            (&[("retry-after", "2"), ("retry-after-ms", "1500")], Some(1.5)),
            (&[("retry-after", "2"), ("retry-after-ms", "soon")], Some(2.0)),
            (&[("retry-after", "2"), ("retry-after-ms", "-1")], Some(2.0)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:40 GMT"), NOW], Some(3.0)),
            (&[("retry-after", "Sunday, 06-Nov-94 08:49:40 GMT"), NOW], Some(3.0)),
            (&[("retry-after", "Sun Nov  6 08:49:40 1994"), NOW], Some(3.0)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), NOW], Some(0.0)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:07 GMT"), NOW], Some(0.0)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")], Some(0.0)),
            (&[("retry-after", "Sat, 06 Nov 2094 08:49:37 GMT"), NOW], Some(most)),
            (&[("retry-after", "99999999999999999999")], Some(most)),
            (&[("retry-after", "1e300")], Some(most)),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "NaN")], None),
            (&[("retry-after", "inf")], None),
            (&[("retry-after", "tomorrow")], None),
        ];
        for (headers, seconds) in table {
            assert_eq!(wait(headers), seconds, "{headers:?}");
        }
    }

    #[test]
    fn the_wait_in_a_body() {
        let wait = |delay: Value| {
            let details =
                json!([{ "@type": "QuotaFailure" }, { "@type": "RetryInfo", "retryDelay": delay }]);
            retry_delay(&json!({ "details": details })).map(|wait| wait.as_secs_f64())
        };
        #[rustfmt::skip]
        let table = [
            (json!("26s"), Some(26.0)),
            (json!("2.5s"), Some(2.5)),
            (json!("0s"), Some(0.0)),
            (json!("1e300s"), None),
            (json!("9999999s"), Some(MAX_RETRY_AFTER.as_secs_f64())),
            (json!("-1s"), None),
            (json!("26"), None),
            (json!(26), None),
            (json!(null), None),
        ];
        for (delay, expected) in table {
            assert_eq!(wait(delay.clone()), expected, "{delay}");
        }
        assert_eq!(retry_delay(&json!({ "details": "none" })), None);
        assert_eq!(retry_delay(&json!("text")), None);
    }
}
