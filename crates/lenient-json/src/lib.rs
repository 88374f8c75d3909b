#![doc = include_str!("../README.md")]

use std::borrow::Cow;

use serde::de::DeserializeOwned;

/// Six bytes, the length of the escape it replaces.
const REPLACEMENT: &[u8] = b"\\ufffd";

/// Parses a client's JSON. Lone surrogates become U+FFFD.
///
/// # Errors
/// If the input is not JSON, or does not deserialise to `T`.
pub fn from_client<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    parse(json, without_lone_surrogates)
}

/// Parses a provider's JSON. Lone surrogates become U+FFFD; numbers that are not finite doubles become `null`.
///
/// # Errors
/// If the input is not JSON, or does not deserialise to `T`.
pub fn from_provider<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    parse(json, |json| {
        let json = without_lone_surrogates(json);
        match without_odd_numbers(&json) {
            Cow::Borrowed(_) => json,
            Cow::Owned(repaired) => repaired.into(),
        }
    })
}

fn parse<T: DeserializeOwned>(
    json: &[u8],
    repair: impl FnOnce(&[u8]) -> Cow<'_, [u8]>,
) -> serde_json::Result<T> {
    serde_json::from_slice(json).or_else(|error| match repair(json) {
        Cow::Borrowed(_) => Err(error),
        Cow::Owned(repaired) => serde_json::from_slice(&repaired),
    })
}

/// Replaces each escaped lone surrogate with `\ufffd`. Linear; byte positions stay the same.
pub fn without_lone_surrogates(json: &[u8]) -> Cow<'_, [u8]> {
    let mut text = Cow::Borrowed(json);
    let mut at = 0;
    // Backslashes occur only inside strings, so the search need not track strings.
    while let Some(offset) = json[at..].iter().position(|&byte| byte == b'\\') {
        at += offset;
        match unit(json, at) {
            Some(0xd800..=0xdbff) if matches!(unit(json, at + 6), Some(0xdc00..=0xdfff)) => {
                at += 12;
            }
            Some(0xd800..=0xdfff) => {
                text.to_mut()[at..at + 6].copy_from_slice(REPLACEMENT);
                at += 6;
            }
            // Skip any other escape, such as an escaped backslash.
            _ => at = (at + 2).min(json.len()),
        }
    }
    text
}

/// The code unit of a `\uXXXX` escape at this index.
fn unit(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit: u16, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(digit).ok()?)
    })
}

/// Replaces each number that is not a finite double with `null`. Linear.
fn without_odd_numbers(json: &[u8]) -> Cow<'_, [u8]> {
    let mut repaired = Vec::new();
    // The end of the part copied so far.
    let mut copied = 0;
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        if byte == b'"' {
            at = string_end(json, at);
            continue;
        }
        let length = json[at..].iter().take_while(|&&byte| is_word(byte)).count();
        if length > 0 && is_odd_number(&json[at..at + length]) {
            repaired.extend_from_slice(&json[copied..at]);
            repaired.extend_from_slice(b"null");
            copied = at + length;
        }
        at += length.max(1);
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    repaired.extend_from_slice(&json[copied..]);
    Cow::Owned(repaired)
}

/// The index after the string that starts at `start`.
fn string_end(json: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = json.get(at) {
        at += match byte {
            b'"' => return at + 1,
            b'\\' => 2,
            _ => 1,
        };
    }
    json.len()
}

/// Whether a byte can be part of a number or a keyword.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

fn is_odd_number(word: &[u8]) -> bool {
    // Rust parses all of them: `nan`, `inf` and `infinity` in any case, and 1e999 as infinity.
    let number = str::from_utf8(word).ok().and_then(|word| word.parse().ok());
    number.is_some_and(|number: f64| !number.is_finite())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn halves_of_surrogate_pairs_are_joined_or_replaced() {
        #[rustfmt::skip]
        let table = [
            (r#""a \ud83d""#, "a \u{fffd}"),
            (r#""\ude00 a""#, "\u{fffd} a"),
            (r#""\ud83d\ude00""#, "\u{1f600}"),
            (r#""\uD83D\uDE00""#, "\u{1f600}"),
            (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (r#""\ud83d\u0041""#, "\u{fffd}A"),
            (r#""\ud83d\n\ude00""#, "\u{fffd}\n\u{fffd}"),
            (r#""\ud83d😀""#, "\u{fffd}\u{1f600}"),
            // After an escaped backslash, `u` does not start an escape.
            (r#""\\ud83d""#, r"\ud83d"),
            (r#""\\\ud83d""#, "\\\u{fffd}"),
            (r#""\ud83d\\ude00""#, "\u{fffd}\\ude00"),
            (r#""\ud83d\\\ude00""#, "\u{fffd}\\\u{fffd}"),
        ];
        for (json, text) in table {
            let parsed: String = from_client(json.as_bytes()).unwrap();
            assert_eq!(parsed, text, "{json}");
            let parsed: String = from_provider(json.as_bytes()).unwrap();
            assert_eq!(parsed, text, "{json}");
        }
        let value: Value = from_client(br#"{"\ud800":{"unread":["\udfff"]},"text":"a"}"#).unwrap();
        assert_eq!(
            value,
            json!({ "\u{fffd}": { "unread": ["\u{fffd}"] }, "text": "a" })
        );
    }

    #[test]
    fn what_is_no_json_stays_none() {
        #[rustfmt::skip]
        let table = [
            "", "{", r#""\ud83d"#, r#""\ud83"#, r#""\ud83x""#, r"\ud83d", r#"{"a":"\ud83d",}"#, r#""\"#, "\"\\ud83d\n\"",
        ];
        for json in table {
            assert!(from_client::<Value>(json.as_bytes()).is_err(), "{json}");
            assert!(from_provider::<Value>(json.as_bytes()).is_err(), "{json}");
        }
        // Invalid UTF-8 is not JSON.
        assert!(from_client::<Value>(b"\"\xed\xa0\xbd\"").is_err());
        assert!(from_client::<Value>(b"NaN").is_err());
        assert!(from_client::<Value>(b"1e999").is_err());
    }

    #[test]
    fn numbers_of_providers_that_are_no_finite_double_are_null() {
        let json = br#"{"a":NaN,"b":[-Infinity,Infinity , 1e999,-1e999,nan,-inf],"c":"NaN, 1e999","d":1.5e3,"e":-0,"f":true}"#;
        let value: Value = from_provider(json).unwrap();
        let expected = json!({
            "a": null, "b": [null, null, null, null, null, null], "c": "NaN, 1e999", "d": 1500.0, "e": -0.0, "f": true,
        });
        assert_eq!(value, expected);
        let digits = "9".repeat(400);
        let value: Value =
            from_provider(format!(r#"{{"n":{digits},"t":"\ud800"}}"#).as_bytes()).unwrap();
        assert_eq!(value, json!({ "n": null, "t": "\u{fffd}" }));
        for broken in ["NaN NaN", "[NaNa]", r#"{"a":N"b"}"#, "nanx", "\"NaN"] {
            assert!(
                from_provider::<Value>(broken.as_bytes()).is_err(),
                "{broken}"
            );
        }
    }

    proptest! {
        #[test]
        fn strings_of_any_code_units_are_read_as_javascript_reads_them(units: Vec<u16>) {
            let json: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let parsed: String = from_client(format!("\"{json}\"").as_bytes()).unwrap();
            prop_assert_eq!(parsed, String::from_utf16_lossy(&units));
        }

        #[test]
        fn what_is_json_means_the_same(text: String, number: f64) {
            let json = serde_json::to_vec(&json!({ "text": text, "number": number })).unwrap();
            let strict: Value = serde_json::from_slice(&json).unwrap();
            prop_assert_eq!(&from_client::<Value>(&json).unwrap(), &strict);
            prop_assert_eq!(&from_provider::<Value>(&json).unwrap(), &strict);
            prop_assert!(matches!(without_lone_surrogates(&json), Cow::Borrowed(_)));
            prop_assert!(matches!(without_odd_numbers(&json), Cow::Borrowed(_)));
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = from_provider::<Value>(&bytes);
            without_lone_surrogates(&bytes);
            without_odd_numbers(&bytes);
        }
    }
}
