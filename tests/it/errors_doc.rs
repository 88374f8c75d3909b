//! The page of errors names every code that a client can see, once and with its status, and no other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use graphql_transport::CloseCode;
use strum::VariantArray;
use titlecast::{
    api::{graphql::sdl, rest::status},
    error::ErrorCode,
};

/// A file of the repository, as it is now.
fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// What stands below this heading, up to the next one.
fn section(heading: &str) -> String {
    let page = read("docs/errors.md");
    let (_, rest) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    rest.split("\n## ").next().unwrap().to_owned()
}

/// The first cells of a table's rows, each with the second. Rows whose first cell is no code are heads.
fn rows(heading: &str) -> BTreeMap<String, String> {
    let section = section(heading);
    let mut rows = BTreeMap::new();
    for line in section.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let code = cells.next().unwrap().trim_matches('`').to_owned();
        let second = cells.next().unwrap().to_owned();
        let before = rows.insert(code, second);
        assert_eq!(before, None, "a second row: {line}");
    }
    rows
}

#[test]
fn every_code_has_one_row_with_its_status() {
    let codes = ErrorCode::VARIANTS.iter();
    let expected: BTreeMap<String, String> = codes
        .map(|code| (code.as_str().into(), status(*code).as_u16().to_string()))
        .collect();
    assert_eq!(rows("Codes"), expected);
}

#[test]
fn every_reason_for_no_title_has_one_row() {
    let sdl = sdl();
    let (_, rest) = sdl.split_once("enum TitleErrorCode {").unwrap();
    let (values, _) = rest.split_once('}').unwrap();
    let is_value = |line: &&str| line.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let mut expected: Vec<&str> = values.lines().map(str::trim).filter(is_value).collect();
    expected.retain(|value| !value.is_empty());
    expected.sort_unstable();
    let rows = rows("Why there is no title");
    assert_eq!(rows.keys().collect::<Vec<_>>(), expected);
}

#[test]
fn every_code_that_closes_a_websocket_has_one_row() {
    let ours = CloseCode::VARIANTS.iter();
    let expected: BTreeSet<String> = ours.map(|code| code.number().to_string()).collect();
    let rows = rows("How a WebSocket is closed");
    assert_eq!(rows.into_keys().collect::<BTreeSet<_>>(), expected);
}

/// Where the program says why it does not start, and what is wrong while it does.
const SAID_IN: [&str; 16] = [
    "src/app/error.rs",
    "src/db/open.rs",
    "src/db/open_error.rs",
    "src/auth/setup.rs",
    "src/telemetry/mod.rs",
    "src/telemetry/traces.rs",
    "src/events/relay/mod.rs",
    "src/titles/check.rs",
    "src/config/file/agent.rs",
    "src/config/file/section.rs",
    "src/config/origin.rs",
    "src/config/plan.rs",
    "src/config/plan/models.rs",
    "src/config/plan/providers.rs",
    "src/config/secret_file.rs",
    "src/main.rs",
];

#[test]
fn what_the_page_says_of_starts_is_what_the_program_says() {
    let source: String = SAID_IN.map(read).concat();
    // A text over several lines is one.
    let lines: Vec<&str> = source.split("\\\n").collect();
    let source: String = lines.iter().map(|line| line.trim_start()).collect();
    let section = section("When the program does not start");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let mut said = 0;
    for row in rows {
        let first = row.split('|').nth(1).unwrap();
        for text in first.split('`').skip(1).step_by(2) {
            assert!(source.contains(text), "nothing says {text:?}");
            said += 1;
        }
    }
    assert!(said > 35, "{said}");
}
