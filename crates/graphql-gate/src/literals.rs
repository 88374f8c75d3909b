//! Replaces string escapes that the parser does not support: surrogate pairs (`"\uD83D\uDE00"`) and code points in
//! braces (`"\u{1F600}"`), section 2.9.4 of the specification (September 2025, and October 2021 with errata).
//!
//! Each escape is replaced by its character. Spaces after the closing quote make up for the difference in length, so
//! that error locations match the document as sent. An unpaired surrogate is left as it is; the parser refuses it.

use std::borrow::Cow;

use super::{Refusal, brackets};

/// Returns the document with supported escapes only. Every string must be terminated, which `brackets` ensures.
///
/// # Errors
/// If the braces contain no valid code point.
pub(super) fn readable(document: &str) -> Result<Cow<'_, str>, Refusal> {
    if !document.contains("\\u") {
        return Ok(Cow::Borrowed(document));
    }
    let mut readable = String::with_capacity(document.len());
    let mut at = 0;
    while let Some(rest) = document.get(at..).filter(|rest| !rest.is_empty()) {
        let length = match rest.as_bytes() {
            [b'#', ..] => rest.find(['\n', '\r']).unwrap_or(rest.len()),
            [b'"', ..] => {
                let length = brackets::string(rest.as_bytes()).unwrap_or(rest.len());
                if !rest.starts_with("\"\"\"") {
                    string(document, at, length, &mut readable)?;
                    at += length;
                    continue;
                }
                length
            }
            _ => rest.find(['#', '"']).unwrap_or(rest.len()),
        };
        readable.push_str(&rest[..length]);
        at += length;
    }
    Ok(Cow::Owned(readable))
}

/// Appends the string literal of `length` bytes at offset `at`.
fn string(document: &str, at: usize, length: usize, readable: &mut String) -> Result<(), Refusal> {
    let text = &document[at..at + length];
    let mut saved = 0;
    let mut done = 0;
    while let Some(offset) = text[done..].find('\\') {
        readable.push_str(&text[done..done + offset]);
        done += offset;
        let escape = &text[done..];
        let (character, escape_length) = match code_point(escape) {
            Escape::Character(character, length) => (character, length),
            Escape::Other => {
                // Skip the escaped character, which may be a quote or a backslash.
                let length = escape.chars().take(2).map(char::len_utf8).sum();
                readable.push_str(&escape[..length]);
                done += length;
                continue;
            }
            Escape::Nothing => {
                return Err(Refusal::syntax(
                    "syntax error: an escape stands for no character",
                    brackets::position(document, at + done),
                ));
            }
        };
        let escaped = match character {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\n' => "\\n",
            '\r' => "\\r",
            _ => "",
        };
        readable.push_str(escaped);
        if escaped.is_empty() {
            readable.push(character);
        }
        // Counted in characters; an escape is all ASCII.
        saved += escape_length - escaped.len().max(1);
        done += escape_length;
    }
    readable.push_str(&text[done..]);
    readable.extend(std::iter::repeat_n(' ', saved));
    Ok(())
}

enum Escape {
    /// A character, and the number of ASCII characters of its escape.
    Character(char, usize),
    /// Braces without a valid code point.
    Nothing,
    /// Any other escape: left to the parser.
    Other,
}

fn code_point(escape: &str) -> Escape {
    if let Some(digits) = escape.strip_prefix("\\u{") {
        let end = digits.find('}').filter(|end| (1..=16).contains(end));
        let digits = end.map(|end| &digits[..end]);
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let character = digits
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .and_then(char::from_u32);
        return match (character, end) {
            (Some(character), Some(end)) => Escape::Character(character, end + 4),
            _ => Escape::Nothing,
        };
    }
    let Some((high, low)) = unit(escape).zip(escape.get(6..).and_then(unit)) else {
        return Escape::Other;
    };
    match char::decode_utf16([high, low]).next() {
        Some(Ok(character)) if character.len_utf16() == 2 => Escape::Character(character, 12),
        _ => Escape::Other,
    }
}

/// The code unit of a leading `\uXXXX` escape.
fn unit(escape: &str) -> Option<u16> {
    let digits = escape.strip_prefix("\\u")?.get(..4)?;
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u16::from_str_radix(digits, 16).ok().filter(|_| is_hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_become_characters_and_what_follows_keeps_its_place() {
        #[rustfmt::skip]
        let table = [
            (r#"{a(b:"\uD83D\uDE00")c}"#, Some(r#"{a(b:"😀"           )c}"#)),
            (r#"{a(b:"\u{1F600}")}"#, Some(r#"{a(b:"😀"        )}"#)),
            (r#"{a(b:"\u{22}\u{5c}\u{A}")}"#, Some(r#"{a(b:"\"\\\n"           )}"#)),
            (r#"{a(b:"\u00e9 \\u{1F600} \"\u{41}")}"#, Some(r#"{a(b:"\u00e9 \\u{1F600} \"A"     )}"#)),
            (r##"{a #"\u{1F600}"
(b:"""\u{1F600}""")}"##, Some(r##"{a #"\u{1F600}"
(b:"""\u{1F600}""")}"##)),
            (r#"{a(b:"\uD83D")}"#, Some(r#"{a(b:"\uD83D")}"#)),
            (r#"{a(b:"\u{}")}"#, None),
            (r#"{a(b:"\u{110000}")}"#, None),
            (r#"{a(b:"\u{D83D}")}"#, None),
            (r#"{a(b:"\u{1F600")}"#, None),
            (r#"{a(b:"\u{+41}")}"#, None),
            (r#"{a(b:"\u{00000000000000041}")}"#, None),
        ];
        for (document, expected) in table {
            let readable = readable(document);
            assert_eq!(readable.ok().as_deref(), expected, "{document}");
        }
    }
}
