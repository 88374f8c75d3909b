//! Parses the metrics page strictly, following the grammar of the OpenMetrics specification.

use std::collections::BTreeMap;

/// One sample of the page.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// All samples of a page. Panics on lines that are neither samples nor comments, and on duplicates.
pub fn series(page: &str) -> Vec<Series> {
    let body = page.strip_suffix("# EOF\n").unwrap();
    let mut found: Vec<Series> = Vec::new();
    for line in body.split_terminator('\n') {
        if let Some(comment) = line.strip_prefix("# ") {
            let kinds = ["HELP ", "TYPE ", "UNIT "];
            assert!(
                kinds.iter().any(|kind| comment.starts_with(kind)),
                "{line:?}"
            );
            continue;
        }
        let series = one(line).unwrap_or_else(|| panic!("no series: {line:?}"));
        let is_new =
            |other: &Series| (&other.name, &other.labels) != (&series.name, &series.labels);
        assert!(found.iter().all(is_new), "twice: {line:?}");
        found.push(series);
    }
    found
}

fn is_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !text.is_empty() && text.chars().all(is_part) && !text.starts_with(|c: char| c.is_ascii_digit())
}

fn one(line: &str) -> Option<Series> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            if let Some(behind) = rest.strip_prefix('}') {
                rest = behind;
                break;
            }
            let (label, behind) = rest.split_once("=\"")?;
            let (value, behind) = quoted(behind)?;
            if !is_name(label) || labels.insert(label.to_owned(), value).is_some() {
                return None;
            }
            rest = match behind.strip_prefix(',') {
                Some(more) if !more.starts_with('}') => more,
                Some(_) => return None,
                None => behind,
            };
        }
    }
    let value = rest.strip_prefix(' ')?.parse().ok()?;
    is_name(name).then(|| Series {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// The text up to its closing quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    loop {
        match chars.next()? {
            (end, '"') => return Some((value, &text[end + 1..])),
            (_, '\\') => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            }),
            (_, c) => value.push(c),
        }
    }
}
