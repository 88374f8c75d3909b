//! The table of `titlecast try` on the terminal.

use std::fmt::Write;

use super::{Column, Comparison, columns};

/// The maximum width of a candidate's name, in characters.
const NAME_CHARS: usize = 48;

/// The table, and below it the reasons for missing titles.
pub(super) fn table(comparison: &Comparison<'_>) -> String {
    let columns = columns(comparison);
    let names: Vec<String> = comparison
        .candidates
        .iter()
        .map(|one| shortened(&one.candidate.name))
        .collect();
    let name_width = names.iter().map(|name| name.chars().count()).max();
    let name_width = name_width.unwrap_or(0).max("candidate".len());
    let widths: Vec<usize> = columns.iter().map(width).collect();
    let mut page = format!("{:name_width$}", "candidate");
    // Writing to a String cannot fail.
    for (column, width) in columns.iter().zip(&widths) {
        let _ = write!(page, "  {:>width$}", column.title);
    }
    page.push('\n');
    for (at, name) in names.iter().enumerate() {
        let _ = write!(page, "{name:name_width$}");
        for (column, width) in columns.iter().zip(&widths) {
            let _ = write!(page, "  {:>width$}", column.values[at]);
        }
        page.push('\n');
    }
    for one in &comparison.candidates {
        if !one.summary.never.is_empty() {
            let reasons = one.summary.never.iter();
            let reasons = reasons.map(|(reason, count)| format!("{count} {reason}"));
            let reasons = reasons.collect::<Vec<_>>().join(", ");
            let _ = write!(page, "\nno title by {}: {reasons}", one.candidate.name);
        }
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

fn width(column: &Column) -> usize {
    let values = column.values.iter().map(|value| value.chars().count());
    values.max().unwrap_or(0).max(column.title.chars().count())
}

fn shortened(name: &str) -> String {
    match name.char_indices().nth(NAME_CHARS) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}
