//! Malicious documents: none is expensive, and none crashes the process.
//!
//! In a debug build each takes milliseconds; exponential or quadratic work would take seconds.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{LAX, Limits, check_with, numbered};

pub(super) fn bomb() -> String {
    let fragments = numbered(24, |i| {
        format!("fragment F{i} on Q{{...F{next} ...F{next}}}", next = i + 1)
    });
    format!("{{...F0}}{fragments}fragment F24 on Q{{a}}")
}

/// Malicious documents with their names. Each runs under the default limits, and most again under [`LAX`].
fn hostile() -> Vec<(String, String)> {
    let mut all = vec![("bomb".to_owned(), bomb())];
    let mut add = |name: &str, document: String| all.push((name.to_owned(), document));
    for open in [
        "{a", "{...", "(", "[", "{", "{a(b:", "{a(b:[", "{a(b:{c:", "}", ")", "]",
    ] {
        add(&format!("2000 {open}"), open.repeat(2_000));
    }
    add("closed fields", "{a".repeat(2_000) + &"}".repeat(2_000));
    add(
        "closed lists",
        format!("{{a(b:{}{})}}", "[".repeat(2_000), "]".repeat(2_000)),
    );
    let types = ("[".repeat(2_000), "]".repeat(2_000));
    add(
        "list types",
        format!("query($a:{}I{}){{a}}", types.0, types.1),
    );
    add(
        "aliases",
        format!("{{{}}}", numbered(10_000, |i| format!("a{i}:x "))),
    );
    add("directives", format!("{{a {}}}", "@d ".repeat(1_000)));
    add(
        "fragments",
        format!(
            "{{a}}{}",
            numbered(1_000, |i| format!("fragment F{i} on Q{{a}}"))
        ),
    );
    add("list", format!("{{a(x:[{}])}}", "1 ".repeat(7_000)));
    add(
        "unknown fields",
        format!("{{{}}}", numbered(1_000, |i| format!("f{i} "))),
    );
    add(
        "variables",
        format!("query({}){{a}}", numbered(10_000, |i| format!("$v{i}:I "))),
    );
    for (name, flood) in [
        ("#", "#"),
        ("#\\n", "#\n"),
        ("BOM", "\u{feff}"),
        (",", ","),
        ("\\r", "\r"),
    ] {
        let flood = flood.repeat(5_000);
        add(&format!("{name} before"), format!("{flood}\n{{a}}"));
        add(&format!("{name} inside"), format!("{{a{flood}\n}}"));
        add(&format!("{name} after on"), format!("{{...on{flood}\n"));
        add(&format!("{name} at the end"), "{a".repeat(60) + &flood);
    }
    add("open string", format!("{{a(x:\"{}", "{".repeat(10_000)));
    add(
        "open block string",
        format!("{{a(x:\"\"\"{}", "{".repeat(10_000)),
    );
    add(
        "quotes",
        format!("{{a(x:[\"\"\"{}", "\\\"\"\"\"\"".repeat(2_600)),
    );
    add("digits", format!("{{a(x:{})}}", "9".repeat(10_000)));
    add(
        "digits of a fraction",
        format!("{{a(x:0.{}e1)}}", "9".repeat(10_000)),
    );
    add("name", format!("{{{}}}", "a".repeat(16_000)));
    let spreads = numbered(160, |i| format!("...on A{i}{{...F}}"));
    let arguments = numbered(60, |i| format!("b{i}:1 "));
    add(
        "one field under 160 conditions",
        format!("{{t{{{spreads}}}}}fragment F on T{{x({arguments})}}"),
    );
    add(
        "escapes",
        format!("{{a(x:\"{}\")}}", "\\u{41}".repeat(20_000)),
    );
    all
}

#[test]
fn hostile_documents_are_refused_or_harmless() {
    for (name, document) in hostile() {
        for limits in [Limits::default(), LAX] {
            let start = Instant::now();
            let checked = check_with(&limits, &document);
            let took = start.elapsed();
            // Non-linear work would take far longer; the margin is for a busy machine.
            assert!(took < Duration::from_secs(10), "{name}: {took:?}");
            if let Err(refusal) = checked {
                assert!(
                    refusal.to_string().chars().count() < 260,
                    "{name}: {refusal}"
                );
            }
        }
    }
}

/// A debug build of the parser and the gate must need at most half of a thread's stack. The deepest documents, with one
/// pair of brackets per level, need 631 KiB.
#[test]
fn nothing_that_passes_the_scan_overflows_a_stack() {
    let pairs = [("{a", "}"), ("{...", "}"), ("{...on A@b", "}")];
    let selections = pairs.map(|(open, close)| open.repeat(63) + "{a" + &close.repeat(63) + "}");
    let values = [("[", "]"), ("{a:", "}"), ("{a:[", "]}")].map(|(open, close)| {
        let times = 62 / open.matches(['[', '{']).count();
        let value = format!("{}1{}", open.repeat(times), close.repeat(times));
        format!("query($a:I={value}){{a(b:{value})@c(d:{value})}}")
    });
    let both = "{a".repeat(32) + "(x:" + &"[".repeat(31) + &"]".repeat(31) + ")" + &"}".repeat(32);
    for document in selections.into_iter().chain(values).chain([both]) {
        let checking = thread::Builder::new()
            .stack_size(1024 * 1024)
            .spawn(move || {
                check_with(&LAX, &document)
                    .map(|_| ())
                    .map_err(|refusal| (document, refusal))
            });
        assert_eq!(checking.unwrap().join().unwrap(), Ok(()));
    }
}
