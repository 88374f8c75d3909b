//! Property tests: the gate never panics, whatever it receives.

use async_graphql::Request;
use proptest::prelude::*;

use super::{LAX, Limits, Refusal, admit, check, check_with};

proptest! {
    #[test]
    fn any_text_is_answered(document in "\\PC{0,200}") {
        let _ = check(&document);
        let _ = check_with(&LAX, &document);
    }

    #[test]
    fn anything_like_graphql_is_answered(
        tokens in prop::collection::vec(prop::sample::select(TOKENS), 0..120),
        name in prop::option::of("[AB]?"),
    ) {
        let document = tokens.join(" ");
        for limits in [Limits::default(), LAX] {
            let mut request = Request::new(document.as_str());
            request.operation_name.clone_from(&name);
            if let Err(refusal) = admit(&mut request, &limits) {
                let lines = document.lines().count() + 1;
                prop_assert!(refusal.locations().iter().all(|at| at.line <= lines));
            }
        }
    }

    #[test]
    fn whatever_parses_is_measured(document in document()) {
        let _ = check(&document);
        let admitted = check_with(&LAX, &document);
        prop_assert!(!matches!(admitted, Err(Refusal::Syntax { .. })), "{document}: {admitted:?}");
    }
}

const TOKENS: &[&str] = &[
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    ":",
    "=",
    "!",
    "$",
    "@",
    "...",
    "on",
    "a",
    "A",
    "query",
    "{a",
    "}}",
    "mutation",
    "subscription",
    "fragment",
    "fragment A on A{",
    "...A",
    "...on A{",
    "$a",
    "$a:A",
    "(x:",
    "@skip(if:",
    "true",
    "null",
    "1",
    "-1.5e3",
    "1e",
    "\"\"",
    "\"\"\"",
    "\"",
    "\\",
    "\"{\\\"\"",
    "#",
    "\n",
    "\r",
    ",",
    "\u{feff}",
    "é",
    "\u{0}",
    "__typename",
];

/// Documents with two operations and three fragments that spread each other at random.
fn document() -> impl Strategy<Value = String> {
    let value = "(1|-0\\.5|null|true|E|\\$v|\"s[{]\"|\"\"\"b\"\"\")".boxed();
    let value = value.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3)
                .prop_map(|items| format!("[{}]", items.join(" "))),
            inner.prop_map(|item| format!("{{k:{item}}}")),
        ]
    });
    let leaf = prop_oneof![
        "(k:)?[a-c]".boxed(),
        "\\.\\.\\.[FGH]".boxed(),
        value.prop_map(|value| format!("a(x:{value})@d(y:{value})")),
    ];
    let selection = leaf.prop_recursive(4, 24, 4, |inner| {
        let set =
            prop::collection::vec(inner, 1..4).prop_map(|items| format!("{{{}}}", items.join(" ")));
        ("(a|\\.\\.\\.|\\.\\.\\.on A|\\.\\.\\.@d)", set).prop_map(|(head, set)| head + &set)
    });
    let set =
        prop::collection::vec(selection, 1..4).prop_map(|items| format!("{{{}}}", items.join(" ")));
    ("(query|mutation|subscription)", prop::collection::vec(set, 4)).prop_map(|(kind, sets)| {
        let [main, f, g, h] = sets.as_slice() else { unreachable!("four sets") };
        format!("{kind} Q($v:[I!]=[1]){main} fragment F on A{f} fragment G on A{g} fragment H on A{h}")
    })
}
