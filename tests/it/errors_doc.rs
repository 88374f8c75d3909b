//! The page of errors names every code that a client can see, once and with its status, and no other.

use std::{collections::BTreeMap, fs, path::Path};

use strum::VariantArray;
use titlecast::{
    api::{graphql::sdl, rest::status},
    error::ErrorCode,
};

/// The first cells of a table's rows, each with the second: what stands below this heading, up to the next one.
/// Rows whose first cell is no code are heads.
fn rows(heading: &str) -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md");
    let page = fs::read_to_string(path).unwrap();
    let (_, rest) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = rest.split("\n## ").next().unwrap();
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
