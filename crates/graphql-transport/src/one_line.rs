//! JSON on one line, for line-based readers.

use std::fmt::Write;

/// Characters that JSON leaves unescaped but some line readers treat as line ends. They occur only inside strings,
/// where the escape is equivalent.
const LINE_ENDS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

/// Escapes unusual line ends in JSON that has no `\n` or `\r`.
pub fn one_line(json: String) -> String {
    // Fast path: the lead bytes of the three characters are rare, and searching for bytes is cheap.
    if !json.bytes().any(|byte| matches!(byte, 0xc2 | 0xe2)) {
        return json;
    }
    let mut line = String::with_capacity(json.len() + 16);
    let mut rest = json.as_str();
    while let Some(at) = rest.find(LINE_ENDS) {
        let (head, tail) = rest.split_at(at);
        line.push_str(head);
        let mut chars = tail.chars();
        if let Some(c) = chars.next() {
            // Writing to a string cannot fail.
            let _ = write!(line, "\\u{:04x}", u32::from(c));
        }
        rest = chars.as_str();
    }
    line.push_str(rest);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_one_line_and_means_the_same() {
        for text in [
            "",
            "plain",
            "a\u{85}b\u{2028}c\u{2029}d",
            "\u{2029}",
            "é – “quoted” \u{1f5fe} \u{84}\u{86}\u{2027}\u{202a}",
            "a\nb\r\nc",
        ] {
            let json = serde_json::to_string(text).unwrap();
            let line = one_line(json.clone());
            assert!(!line.contains(LINE_ENDS), "{line}");
            assert!(!line.contains(['\n', '\r']), "{line}");
            assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
            if !text.contains(LINE_ENDS) {
                assert_eq!(line, json);
            }
        }
    }
}
