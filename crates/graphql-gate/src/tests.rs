//! What the gate admits and what it refuses.

mod engine;
mod grammar;
mod hostile;
mod repeated;

use async_graphql::{Pos, Request, Variables, parser::types::OperationType};
use serde_json::{Value, json};

use self::hostile::bomb;
use super::{Admitted, Limits, Refusal, RefusalKind, admit};

/// `getIntrospectionQuery` of graphql-js 16.15 with every option on, apart from white space. GraphiQL 5 sends a subset
/// of it.
const INTROSPECTION: &str = "query IntrospectionQuery { __schema { description queryType { name \
    kind } mutationType { name kind } subscriptionType { name kind } types { ...FullType } \
    directives(includeDeprecated: true) { name description isRepeatable isDeprecated \
    deprecationReason locations args(includeDeprecated: true) { ...InputValue } } } } fragment \
    FullType on __Type { kind name description specifiedByURL isOneOf fields(includeDeprecated: \
    true) { name description args(includeDeprecated: true) { ...InputValue } type { ...TypeRef } \
    isDeprecated deprecationReason } inputFields(includeDeprecated: true) { ...InputValue } \
    interfaces { ...TypeRef } enumValues(includeDeprecated: true) { name description isDeprecated \
    deprecationReason } possibleTypes { ...TypeRef } } fragment InputValue on __InputValue { name \
    description type { ...TypeRef } defaultValue isDeprecated deprecationReason } fragment TypeRef \
    on __Type { kind name ofType { name kind ofType { name kind ofType { name kind ofType { name \
    kind ofType { name kind ofType { name kind ofType { name kind ofType { name kind ofType { name \
    kind } } } } } } } } } }";

/// No limits except those that protect the stack.
const LAX: Limits = Limits {
    document_bytes: 1 << 24,
    nesting: 64,
    tokens: 1 << 24,
    selections: 1 << 24,
    depth: 64,
    levels: 64,
    aliases: 1 << 24,
    root_fields: 1 << 24,
    fragments: 1 << 24,
    directives: 1 << 24,
    directives_each: 1 << 24,
    variables: 1 << 24,
    variables_bytes: 1 << 24,
    list_items: 1 << 24,
    value_nesting: 64,
    values: 1 << 24,
    batch: 1 << 24,
};

fn request(document: &str, variables: Value) -> Request {
    Request::new(document).variables(Variables::from_json(variables))
}

fn check(document: &str) -> Result<Admitted, Refusal> {
    admit(&mut Request::new(document), &Limits::default())
}

fn check_with(limits: &Limits, document: &str) -> Result<Admitted, Refusal> {
    admit(&mut Request::new(document), limits)
}

fn refused(document: &str) -> Refusal {
    check(document).unwrap_err()
}

fn numbered(count: usize, one: impl Fn(usize) -> String) -> String {
    (0..count).map(one).collect()
}

#[test]
fn introspection_passes_and_just_so() {
    const SELECTIONS: usize = 242;
    assert_eq!(check(INTROSPECTION).unwrap().kind, OperationType::Query);
    let needed = Limits {
        selections: SELECTIONS,
        depth: 15,
        levels: 17,
        ..Limits::default()
    };
    assert!(check_with(&needed, INTROSPECTION).is_ok());
    let less = [
        Limits {
            selections: SELECTIONS - 1,
            ..needed
        },
        Limits {
            depth: 14,
            ..needed
        },
        Limits {
            levels: 16,
            ..needed
        },
    ];
    for limits in less {
        assert!(check_with(&limits, INTROSPECTION).is_err(), "{limits:?}");
    }
}

#[test]
fn the_bytes_are_the_first_bound() {
    let document = format!("{{a}}{}", " ".repeat(16 * 1024 - 3));
    assert!(check(&document).is_ok());
    let refusal = refused(&(document + " "));
    assert_eq!(
        refusal,
        Refusal::DocumentTooLarge {
            limit_bytes: 16_384
        }
    );
    assert_eq!(refusal.locations(), []);
    assert_eq!(refusal.kind(), RefusalKind::Limit);
}

#[test]
fn brackets_count_outside_of_strings_and_comments() {
    let brackets = "{[(".repeat(100);
    for document in [
        format!("{{a(x:\"{brackets}\")}}"),
        format!("{{a(x:\"\\\"{brackets}\")}}"),
        format!("{{a(x:\"\"\"\n\"{brackets}\\\"\"\"{brackets}\"\"\")}}"),
        format!("{{a #{brackets}\n}}"),
        format!("{{a #\"{brackets}\r}}"),
    ] {
        assert!(check(&document).is_ok(), "{document}");
    }
    for document in [
        format!("{{a(x:\"\"{brackets}"),
        format!("{{a(x:\"\\\\\"{brackets}"),
        format!("{{a(x:\"\"\"\"\"\"{brackets}"),
        format!("{{a(x:\"#\"{brackets}"),
        format!("{{a #\n{brackets}"),
        format!("{{a #\r{brackets}"),
    ] {
        assert!(
            matches!(
                refused(&document),
                Refusal::NestedTooDeep {
                    limit: 64,
                    at: Some(_)
                }
            ),
            "{document}"
        );
    }
    assert_eq!(
        check_with(&LAX, &("{a".repeat(64) + &"}".repeat(64)))
            .unwrap()
            .kind,
        OperationType::Query
    );
    let at = Pos {
        line: 2,
        column: 64,
    };
    let refusal = refused(&("#é\n".to_owned() + &"{".repeat(65)));
    assert_eq!(refusal.locations(), [Pos { column: 65, ..at }]);
}

#[test]
fn a_string_ends() {
    for open in [
        "\"",
        "\"x",
        "\"x\\",
        "\"x\\\"",
        "\"x\n\"",
        "\"x\r\"",
        "\"\"\"",
        "\"\"\"\"\"",
        "\"\"\"\\\"\"\"",
    ] {
        let refusal = refused(&format!("{{a(x:{open}"));
        assert_eq!(
            refusal.to_string(),
            "syntax error: a string does not end",
            "{open}"
        );
        assert_eq!(refusal.locations(), [Pos { line: 1, column: 6 }]);
    }
}

#[test]
fn a_refusal_does_not_repeat_the_document() {
    let secret = "secret".repeat(100);
    for document in [
        format!("{{a(x:\"{secret}\") }} }}"),
        format!("# {secret}\u{2028}= expected {secret}\n{{ a ~"),
        format!("{{a(x:1{secret})}}"),
        format!("{{a = expected {secret}"),
    ] {
        let refusal = refused(&document);
        assert!(matches!(&refusal, Refusal::Syntax { locations, .. } if locations.len() == 1));
        assert!(!refusal.to_string().contains("secret"), "{refusal}");
    }
    for document in [
        format!("{{...{secret}}}"),
        format!("query {secret}{{a}} query {secret}{{a}}"),
        format!("query(${secret}:I!){{a}}"),
    ] {
        let text = refused(&document).to_string();
        assert!(
            text.contains(&secret[..64]) && !text.contains(&secret[..65]),
            "{text}"
        );
    }
    let mut request = Request::new("{a}").operation_name("x\n\u{1b}");
    let refusal = admit(&mut request, &Limits::default()).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "the document has no operation named \"x\u{fffd}\u{fffd}\""
    );
}

#[test]
fn fragments_count_where_they_are_spread() {
    assert!(matches!(
        refused(&bomb()),
        Refusal::TooManySelections { limit: 500, .. }
    ));
    let unused = bomb().replacen("{...F0}", "{a}", 1);
    assert!(matches!(
        refused(&unused),
        Refusal::TooManySelections { .. }
    ));
    let ten = numbered(10, |i| format!("a{i}:x "));
    let four = format!("{{b{{...A c{{...A}}...on B{{...A}}}}}}fragment A on A{{{ten}}}");
    assert!(check(&four).is_ok());
    let four = four.replacen("{b{", "{b{...A ", 1);
    assert!(matches!(
        refused(&four),
        Refusal::TooManyAliases { limit: 30, .. }
    ));
    let root = format!(
        "{{x ...A}}fragment A on A{{{}}}",
        numbered(10, |i| format!("a{i} "))
    );
    assert!(matches!(
        refused(&root),
        Refusal::TooManyRootFields { limit: 10, .. }
    ));
    let deep = |depth: usize| {
        let inner = depth - 8;
        let (open, close) = ("{a".repeat(8), "}".repeat(7));
        let fragment = "{a".repeat(inner) + &"}".repeat(inner);
        format!("{open}{{...F}}{close}}}fragment F on F{fragment}")
    };
    assert!(check(&deep(15)).is_ok());
    assert!(matches!(
        refused(&deep(16)),
        Refusal::TooDeep { limit: 15, .. }
    ));
    let chain = |last| {
        let links = numbered(last, |i| format!("fragment F{i} on F{{...F{}}}", i + 1));
        format!("{{...F0}}{links}fragment F{last} on F{{a}}")
    };
    assert!(check(&chain(23)).is_ok());
    assert!(matches!(
        refused(&chain(24)),
        Refusal::TooManyLevels { limit: 24, .. }
    ));
    let several = numbered(6, |i| format!("query Q{i}{{...A}}"));
    let several = format!("{several}fragment A on A{{b{{{}}}}}", "c ".repeat(82));
    let mut request = Request::new(several).operation_name("Q0");
    assert!(matches!(
        admit(&mut request, &Limits::default()),
        Err(Refusal::TooManySelections { .. })
    ));
}

#[test]
fn fragments_exist_and_do_not_spread_themselves() {
    assert!(matches!(refused("{...A}"), Refusal::UnknownFragment { name, .. } if name == "A"));
    for document in [
        "{...A}fragment A on Q{...A}",
        "{a}fragment A on Q{b{...B}}fragment B on Q{...on Q{...C}}fragment C on Q{a ...A}",
    ] {
        assert!(
            matches!(refused(document), Refusal::FragmentCycle { .. }),
            "{document}"
        );
    }
    let nested = "{a}fragment A on Q{b{...B}}";
    let refusal = refused(nested);
    assert_eq!(
        refusal.locations(),
        [Pos {
            line: 1,
            column: 22
        }]
    );
    assert!(matches!(refusal, Refusal::UnknownFragment { name, .. } if name == "B"));
}

#[test]
fn written_counts_are_bounded() {
    let fragments = |count| {
        format!(
            "{{a}}{}",
            numbered(count, |i| format!("fragment F{i} on Q{{a}}"))
        )
    };
    assert!(check(&fragments(50)).is_ok());
    assert!(matches!(
        refused(&fragments(51)),
        Refusal::TooManyFragments { limit: 50 }
    ));
    assert!(check(&format!("{{a {}}}", "@d ".repeat(8))).is_ok());
    assert!(matches!(
        refused(&format!("{{a {}}}", "@d ".repeat(9))),
        Refusal::TooManyDirectives { limit: 8, .. }
    ));
    let spread = "{a {a @d @d @d @d @d @d @d @d}}".repeat(7);
    let spread = format!("{{a {}}}", spread.replace("{a {", "b{").replace("}}", "}"));
    assert!(
        matches!(
            refused(&spread),
            Refusal::TooManyDirectives { limit: 50, .. }
        ),
        "{spread}"
    );
    let variables = |count| format!("query({}){{a}}", numbered(count, |i| format!("$v{i}:I ")));
    assert!(check(&variables(100)).is_ok());
    assert!(matches!(
        refused(&variables(101)),
        Refusal::TooManyVariables { limit: 100, .. }
    ));
    let list = |count| format!("{{a(x:[{}])}}", "1 ".repeat(count));
    assert!(check(&list(1_000)).is_ok());
    assert!(matches!(
        refused(&list(1_001)),
        Refusal::ListTooLong { limit: 1_000, .. }
    ));
    assert!(matches!(
        refused(&list(4_000)),
        Refusal::TooManyTokens { limit: 4_000, .. }
    ));
    for (open, close) in [("[", "]"), ("{a:[", "]}")] {
        let times = |levels: usize| levels / open.matches(['[', '{']).count();
        let value = |levels| {
            format!(
                "{}1{}",
                open.repeat(times(levels)),
                close.repeat(times(levels))
            )
        };
        for document in [
            |value| format!("{{a(x:{value})}}"),
            |value| format!("query($a:I={value}){{a}}"),
        ] {
            assert!(check(&document(value(16))).is_ok());
            assert!(matches!(
                refused(&document(value(18))),
                Refusal::ValueTooDeep { limit: 16, .. }
            ));
        }
    }
    let ty = |lists| format!("query($a:{}I{}){{a}}", "[".repeat(lists), "]".repeat(lists));
    assert!(check(&ty(16)).is_ok());
    assert!(matches!(
        refused(&ty(17)),
        Refusal::ValueTooDeep { limit: 16, .. }
    ));
}

#[test]
fn the_operation_is_chosen_by_its_name() {
    let choose = |document: &str, name: Option<&str>| {
        let mut request = Request::new(document);
        request.operation_name = name.map(str::to_owned);
        admit(&mut request, &Limits::default()).map(|admitted| admitted.kind)
    };
    let two = "query A{a} mutation B{b}";
    assert_eq!(choose(two, Some("A")), Ok(OperationType::Query));
    assert_eq!(choose(two, Some("B")), Ok(OperationType::Mutation));
    assert_eq!(choose(two, None), Err(Refusal::AmbiguousOperation));
    assert_eq!(choose("mutation B{b}", None), Ok(OperationType::Mutation));
    for (document, name) in [(two, "C"), (two, ""), ("{a}", ""), ("{a}", "A")] {
        let name = name.to_owned();
        assert_eq!(
            choose(document, Some(&name)),
            Err(Refusal::UnknownOperation { name })
        );
    }
    assert_eq!(
        choose("fragment A on Q{a}", None),
        Err(Refusal::NoOperation)
    );
    for document in ["", " ", "#", "type A{a:Int}"] {
        assert!(
            matches!(choose(document, None), Err(Refusal::Syntax { .. })),
            "{document}"
        );
    }
    for document in ["{a}{b}", "{a} query A{a}", "query A{a} query A{a}"] {
        assert!(
            matches!(choose(document, None), Err(Refusal::Syntax { locations, .. }) if locations.len() == 2)
        );
    }
}

#[test]
fn variables_are_there_and_not_null() {
    let send = |document: &str, variables: Value| {
        let mut request = request(document, variables);
        admit(&mut request, &Limits::default()).map(|_| json!(request.variables))
    };
    let name = || "a".to_owned();
    let at = Pos { line: 1, column: 7 };
    let missing = Err(Refusal::MissingVariable { name: name(), at });
    let invalid = Err(Refusal::InvalidVariable { name: name(), at });
    assert_eq!(send("query($a:I!){a}", json!({})), missing);
    assert_eq!(send("query($a:I!){a}", json!({"b": 1})), missing);
    assert_eq!(send("query($a:I!){a}", json!({"a": null})), invalid);
    assert_eq!(send("query($a:I!=1){a}", json!({"a": null})), invalid);
    assert_eq!(send("query($a:I!=null){a}", json!({})), invalid);
    assert_eq!(send("query($a:[I!]){a}", json!({"a": [1, null]})), invalid);
    assert_eq!(
        send("query($a:[[I!]]!){a}", json!({"a": [[1], null, [null]]})),
        invalid
    );
    assert_eq!(
        send("query($a:[[I!]]!){a}", json!({"a": [[1], null]})),
        Ok(json!({"a": [[1], null]}))
    );
    assert_eq!(
        send("query($a:[I!]!){a}", json!({"a": 1})),
        Ok(json!({"a": 1}))
    );
    assert_eq!(send("query($a:I!=1){a}", json!({})), Ok(json!({"a": 1})));
    assert_eq!(
        send("query($a:I=1){a}", json!({"a": null})),
        Ok(json!({"a": null}))
    );
    assert_eq!(send("query($a:I){a}", json!({"b": 1})), Ok(json!({})));
    let other = "query A{a} query B($a:I!){a}";
    let mut request = Request::new(other).operation_name("A");
    assert!(admit(&mut request, &Limits::default()).is_ok());
}

#[test]
fn variables_are_bounded() {
    let send = |value: Value| {
        let mut request = request("query($a:I){b(c:$a)}", json!({"a": value}));
        admit(&mut request, &Limits::default())
    };
    let name = || "a".to_owned();
    let nested = |levels| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    assert!(send(nested(16)).is_ok());
    assert_eq!(
        send(nested(17)),
        Err(Refusal::VariableTooDeep {
            name: name(),
            limit: 16
        })
    );
    assert!(send(json!(vec![1; 1_000])).is_ok());
    assert_eq!(
        send(json!(vec![1; 1_001])),
        Err(Refusal::VariableTooLong {
            name: name(),
            limit: 1_000
        })
    );
    assert!(send(json!("x".repeat(65_000))).is_ok());
    let large = Err(Refusal::VariablesTooLarge {
        limit_bytes: 65_536,
    });
    assert_eq!(send(json!("x".repeat(65_536))), large);
    assert_eq!(send(json!(vec![vec![1; 1_000]; 20])), large);

    let uses = |uses: usize| format!("query($a:[I]){{b(c:[{}])}}", "$a ".repeat(uses));
    for value in [json!(vec![1; 900]), json!("x".repeat(60_000))] {
        let admit = |uses_| {
            admit(
                &mut request(&uses(uses_), json!({"a": value})),
                &Limits::default(),
            )
        };
        assert!(admit(10).is_ok());
        assert!(matches!(
            admit(12),
            Err(Refusal::TooManyValues { limit: 10_000, .. })
        ));
    }
    let default = format!(
        "query($a:[I]=[{}]){{b(c:[{}])}}",
        "1 ".repeat(900),
        "$a ".repeat(12)
    );
    assert!(matches!(refused(&default), Refusal::TooManyValues { .. }));
}
