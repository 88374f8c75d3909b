//! Over 200 secrets, over 200 texts that look like one, and hostile texts.

use proptest::prelude::*;

use super::*;

/// Prevents secret scanners from flagging the invented keys. Removed before a text is used.
const MARK: char = '·';

#[derive(serde::Deserialize)]
struct Case {
    kind: String,
    text: String,
    /// The expected remaining text. Look-alikes have none, because they stay whole.
    left: Option<String>,
}

#[test]
fn secrets_go_and_what_looks_like_one_stays() {
    let corpus = include_str!("../../../tests/corpus/redactions.jsonl");
    let (mut secrets, mut wrong) = (0, Vec::new());
    for line in corpus.lines() {
        let Case { kind, text, left } = serde_json::from_str(line).unwrap();
        secrets += usize::from(left.is_some());
        let text = text.replace(MARK, "");
        let (left, redacted) = (left.as_ref().unwrap_or(&text), redact(&text));
        if *left != redacted {
            wrong.push(format!(
                "{kind}: {text}\n  left: {redacted}\n  not:  {left}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(secrets >= 200 && corpus.lines().count() - secrets >= 200);
}

#[test]
fn every_pattern_compiles() {
    assert_eq!(KINDS.len(), OTHERS.len() + 1);
}

#[test]
fn long_texts_take_linear_time() {
    // Quadratic time would be minutes.
    for part in [
        "sk-",
        "a@b.cc",
        "@a.b",
        "4111 ",
        "4111-1111-",
        "DE89 3704 ",
        "eyJaaaaaaaaaaaa.",
        "password=",
        "password: ",
        "password is ",
        "+49 30 ",
        "+1(2)",
        "x://a:",
        "-----BEGIN PRIVATE KEY-----",
        "0123456789abcdef",
        "x",
        "é",
        "123-45-6789-",
    ] {
        let text = part.repeat(64 * 1024 / part.len());
        assert!(redact(&text).len() <= text.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..Default::default() })]

    #[test]
    fn nothing_is_left_to_redact(text in prop_oneof![
        any::<String>(),
        "(a@b\\.cc|4111 ?1111 ?1111 ?1111|DE89370400440532013000|pwd=abc123|pwd: abcdef|my password is |\\+49 30 901820|[ ,.(\"a1é京]){0,12}",
    ]) {
        let left = redact(&text);
        prop_assert_eq!(redact(&left), left.as_ref());
        prop_assert!(left.len() <= text.len());
    }
}
