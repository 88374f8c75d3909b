//! Reads the tables of a TOML document and collects every error with its line and key.
//!
//! Reading a key marks it as known, so the code that reads a table is the only list of its keys. serde would stop at
//! the first error, and for most errors does not name the key.

use std::{
    cell::RefCell,
    fmt,
    ops::{Range, RangeInclusive},
    time::Duration,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::names::{check_name, shown, shown_unknown, suggestion};
use crate::{
    auth,
    config::{duration, settings::duration_or_none},
    titles::policy::MAX_TENANTS,
};

/// The most errors reported.
const MAX_PROBLEMS: usize = 100;

/// A position in the file. Its `Display` is `LINE: KEY`, or `LINE` outside a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The 1-based line number.
    pub line: usize,
    /// The key with its tables, such as `agents.triage.models`.
    pub key: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.line)?;
        match self.key.as_str() {
            "" => Ok(()),
            key => write!(f, ": {key}"),
        }
    }
}

/// A value and its position in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct Located<T> {
    /// The value.
    pub value: T,
    /// The value's position.
    pub at: Place,
}

/// One error in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The position of the error.
    pub at: Place,
    /// What is wrong and what to do. Never contains a secret, instructions or any other value from the file.
    pub message: String,
}

impl Problem {
    /// Whether this error may be why an entry is missing from a table: it concerns the table, one of its entries as a
    /// whole, or an unknown table. References to a missing entry are then not reported in addition.
    pub(in crate::config) fn may_hide(&self, table: &str) -> bool {
        let mut parts = self.at.key.splitn(3, '.');
        match (parts.next(), parts.next(), parts.next()) {
            (_, None, _) => self.at.line > 0,
            (Some(of), Some(_), None) => of == table,
            _ => false,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)
    }
}

/// Collects the errors.
pub(super) struct Report<'t> {
    text: &'t str,
    /// The offsets of all line ends, computed once because a file can have many errors.
    line_ends: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
}

impl<'t> Report<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let line_ends = text.match_indices('\n').map(|(at, _)| at).collect();
        Self {
            text,
            line_ends,
            problems: RefCell::default(),
        }
    }

    /// The 1-based line number of a byte offset.
    fn line(&self, offset: usize) -> usize {
        1 + self.line_ends.partition_point(|end| *end < offset)
    }

    pub(super) fn add(&self, at: Place, message: impl Into<String>) {
        let mut problems = self.problems.borrow_mut();
        if problems.len() < MAX_PROBLEMS {
            problems.push(Problem {
                at,
                message: message.into(),
            });
        }
    }

    /// Adds a syntax error.
    pub(super) fn add_syntax(&self, error: &toml::de::Error) {
        let line = self.line(error.span().map_or(self.text.len(), |span| span.start));
        // The parser continues after an error and often reports more errors in the same line.
        let is_known = |problem: &Problem| problem.at.line == line;
        if !self.problems.borrow().iter().any(is_known) {
            let key = String::new();
            self.add(Place { line, key }, error.message());
        }
    }

    /// All errors, sorted by line.
    pub(super) fn finish(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.at.line);
        problems
    }
}

type Value<'t> = Spanned<DeValue<'t>>;

/// A table that is being read.
pub(super) struct Section<'a, 't> {
    report: &'a Report<'t>,
    table: &'a DeTable<'t>,
    /// The position where the table begins.
    pub(super) at: Place,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a, 't> Section<'a, 't> {
    /// The root table of the document.
    pub(super) fn root(report: &'a Report<'t>, table: &'a DeTable<'t>) -> Self {
        let at = Place {
            line: 1,
            key: String::new(),
        };
        Self::new(report, table, at)
    }

    fn new(report: &'a Report<'t>, table: &'a DeTable<'t>, at: Place) -> Self {
        Self {
            report,
            table,
            at,
            asked: RefCell::default(),
        }
    }

    /// Reports an error at a position.
    pub(super) fn problem(&self, at: Place, message: impl Into<String>) {
        self.report.add(at, message);
    }

    /// Reports the keys that were never read.
    pub(super) fn finish(self) {
        let asked = self.asked.take();
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if !asked.contains(&name) {
                let place = self.place_of_unknown(name, key.span());
                let message = format!("unknown key{}", suggestion(name, asked.iter().copied()));
                self.report.add(place, message);
            }
        }
    }

    fn place(&self, key: &str, span: Range<usize>) -> Place {
        self.place_shown(shown(key), span)
    }

    /// The position of an arbitrary key. The key is not shown if it may be a secret pasted into the wrong place.
    fn place_of_unknown(&self, key: &str, span: Range<usize>) -> Place {
        self.place_shown(shown_unknown(key), span)
    }

    fn place_shown(&self, key: String, span: Range<usize>) -> Place {
        Place {
            line: self.report.line(span.start),
            key: match self.at.key.as_str() {
                "" => key,
                above => format!("{above}.{key}"),
            },
        }
    }

    /// The position of a key, if the table has it.
    pub(super) fn place_of(&self, key: &str) -> Option<Place> {
        let (key, _) = self
            .table
            .iter()
            .find(|(known, _)| known.get_ref() == key)?;
        Some(self.place(key.get_ref(), key.span()))
    }

    fn find(&self, key: &'static str) -> Option<(Place, &'a Value<'t>)> {
        self.asked.borrow_mut().push(key);
        let (known, value) = self
            .table
            .iter()
            .find(|(known, _)| known.get_ref() == key)?;
        Some((self.place(known.get_ref(), known.span()), value))
    }

    /// Reads a value with `read`, whose error describes the expected form.
    fn read<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'t>) -> Result<T, String>,
    ) -> Option<Located<T>> {
        let (at, value) = self.find(key)?;
        match read(value.get_ref()) {
            Ok(value) => Some(Located { value, at }),
            Err(expected) => {
                self.report.add(at, expected);
                None
            }
        }
    }

    /// Reads a text of 1 to `max` characters.
    pub(super) fn text(&self, key: &'static str, max: usize) -> Option<Located<String>> {
        self.read(key, |value| text(value, max))
    }

    /// Reads a text of at most `max` characters. An empty one becomes `None`, which overrides the text of an outer
    /// table.
    pub(super) fn text_or_none(
        &self,
        key: &'static str,
        max: usize,
    ) -> Option<Located<Option<String>>> {
        self.read(key, |value| match value.as_str() {
            Some("") => Ok(None),
            _ => text(value, max).map(Some),
        })
    }

    /// Reads a text and parses it.
    pub(super) fn parsed<T: std::str::FromStr<Err: fmt::Display>>(
        &self,
        key: &'static str,
        max: usize,
    ) -> Option<Located<T>> {
        self.read(key, |value| {
            text(value, max)?
                .parse()
                .map_err(|error: T::Err| error.to_string())
        })
    }

    /// Reads `true` or `false`.
    pub(super) fn flag(&self, key: &'static str) -> Option<Located<bool>> {
        self.read(key, |value| {
            value
                .as_bool()
                .ok_or_else(|| expected("true or false", value))
        })
    }

    /// Reads a whole number.
    pub(super) fn number(
        &self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<Located<u64>> {
        self.read(key, |value| {
            let number = value
                .as_integer()
                .and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok());
            let number = number.filter(|number| range.contains(number));
            let form = format!("a whole number from {} to {}", range.start(), range.end());
            number.ok_or_else(|| expected(&form, value))
        })
    }

    /// Reads a number, with or without a decimal point.
    pub(super) fn decimal(
        &self,
        key: &'static str,
        range: RangeInclusive<f64>,
    ) -> Option<Located<f64>> {
        self.read(key, |value| {
            let number = json(value).and_then(|value| value.as_f64());
            let number = number.filter(|number| range.contains(number));
            let form = format!("a number from {} to {}", range.start(), range.end());
            number.ok_or_else(|| match value {
                DeValue::Float(_) => format!("expected {form}"),
                _ => expected(&form, value),
            })
        })
    }

    /// Reads a positive duration with a unit.
    pub(super) fn duration(&self, key: &'static str) -> Option<Located<Duration>> {
        self.read(key, |value| {
            let form = "a time with a unit, such as \"90s\" or \"5m\"";
            let text = value.as_str().ok_or_else(|| expected(form, value))?;
            duration(text).map_err(|error| format!("{error}; write {form}"))
        })
    }

    /// Reads a duration with a unit, or `"0s"`, of at most `max`.
    pub(super) fn duration_within(
        &self,
        key: &'static str,
        max: Duration,
    ) -> Option<Located<Duration>> {
        self.read(key, |value| {
            let form = "a time with a unit, such as \"90s\" or \"5m\"";
            let text = value.as_str().ok_or_else(|| expected(form, value))?;
            let time = duration_or_none(text).map_err(|error| format!("{error}; write {form}"))?;
            match time <= max {
                true => Ok(time),
                false => {
                    let max = humantime::format_duration(max);
                    Err(format!("expected a time of at most {max}"))
                }
            }
        })
    }

    /// Reads one of several names.
    pub(super) fn choice<T: strum::VariantNames + std::str::FromStr>(
        &self,
        key: &'static str,
    ) -> Option<Located<T>> {
        self.read(key, |value| {
            let names = T::VARIANTS.iter().map(|name| format!("\"{name}\""));
            let form = names.collect::<Vec<_>>().join(" or ");
            let text = value.as_str().ok_or_else(|| expected(&form, value))?;
            let names = T::VARIANTS.iter().copied();
            text.parse()
                .map_err(|_| format!("expected {form}{}", suggestion(text, names)))
        })
    }

    /// Reads a list of 1 to `max` texts of at most `max_chars` characters each.
    pub(super) fn list(
        &self,
        key: &'static str,
        max: usize,
        max_chars: usize,
    ) -> Option<Located<Vec<Located<String>>>> {
        let (at, value) = self.find(key)?;
        let values = match value.get_ref().as_array() {
            Some(values) if (1..=max).contains(&values.len()) => values,
            Some(_) => {
                self.report.add(at, format!("expected 1 to {max} entries"));
                return None;
            }
            None => {
                let message = expected("a list of texts", value.get_ref());
                self.report.add(at, message);
                return None;
            }
        };
        let mut list = Vec::new();
        for value in values {
            let at = Place {
                line: self.report.line(value.span().start),
                key: at.key.clone(),
            };
            match text(value.get_ref(), max_chars) {
                Ok(value) => list.push(Located { value, at }),
                Err(message) => self.report.add(at, message),
            }
        }
        (list.len() == values.len()).then_some(Located { value: list, at })
    }

    /// Reads a nested table.
    pub(super) fn section(&self, key: &'static str) -> Option<Section<'a, 't>> {
        let (at, value) = self.find(key)?;
        self.below(at, value)
    }

    fn below(&self, at: Place, value: &'a Value<'t>) -> Option<Section<'a, 't>> {
        match value.get_ref().as_table() {
            Some(table) => Some(Section::new(self.report, table, at)),
            None => {
                let message = expected("a table", value.get_ref());
                self.report.add(at, message);
                None
            }
        }
    }

    /// Reads a table whose keys are names, with at most `max` entries.
    pub(super) fn entries(
        &self,
        key: &'static str,
        max: usize,
    ) -> Option<Vec<(String, Section<'a, 't>)>> {
        let section = self.section(key)?;
        if section.table.len() > max {
            let message = format!(
                "has {} entries; at most {max} are allowed",
                section.table.len()
            );
            self.report.add(section.at.clone(), message);
            return None;
        }
        let entries = section.table.iter().filter_map(|(name, value)| {
            let name_of_entry = name.get_ref();
            let at = match check_name(name_of_entry) {
                Ok(()) => section.place(name_of_entry, name.span()),
                Err(_) => section.place_of_unknown(name_of_entry, name.span()),
            };
            let entry = self.below(at, value)?;
            Some((name.get_ref().to_string(), entry))
        });
        Some(entries.collect())
    }

    /// Reads the entries of `tenants`, by tenant. Reports names that no tenant can have.
    pub(super) fn tenants(&self) -> impl Iterator<Item = (String, Section<'a, 't>)> {
        let entries = self.entries("tenants", MAX_TENANTS).unwrap_or_default();
        entries.into_iter().inspect(|(tenant, entry)| {
            if !auth::is_name(tenant) {
                let message = format!(
                    "{} is not a tenant: a tenant has 1 to 128 characters, none of them a control character",
                    shown_unknown(tenant)
                );
                entry.problem(entry.at.clone(), message);
            }
        })
    }

    /// The keys and values of this table, which has no keys of its own. The values are JSON, or `None` if JSON has no
    /// such value, such as a date.
    pub(super) fn values(&self) -> Vec<(Located<String>, Option<serde_json::Value>)> {
        let value = |(key, value): (&Spanned<_>, &Value<'t>)| {
            let key: &std::borrow::Cow<'_, str> = key.get_ref();
            let at = self.place_of_unknown(key, value.span());
            let value_of_key = key.to_string();
            let key = Located {
                value: value_of_key,
                at,
            };
            (key, json(value.get_ref()))
        };
        self.table.iter().map(value).collect()
    }
}

fn text(value: &DeValue<'_>, max: usize) -> Result<String, String> {
    let form = "a text in quotes";
    let text = value.as_str().ok_or_else(|| expected(form, value))?;
    match text.trim().is_empty() {
        true => Err("is empty".into()),
        false if text.chars().count() > max => Err(format!("is longer than {max} characters")),
        false => Ok(text.to_owned()),
    }
}

fn expected(form: &str, found: &DeValue<'_>) -> String {
    match found.as_integer() {
        Some(_) => format!("expected {form}"),
        None => format!("expected {form}, not a TOML {}", found.type_str()),
    }
}

/// Converts a value to JSON; `None` if JSON has no such value.
fn json(value: &DeValue<'_>) -> Option<serde_json::Value> {
    use serde_json::{Number, Value};
    Some(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
            Value::Number(number.into())
        }
        DeValue::Float(number) => Value::Number(Number::from_f64(number.as_str().parse().ok()?)?),
        DeValue::Datetime(_) => return None,
        DeValue::Array(values) => {
            let values = values.iter().map(|value| json(value.get_ref()));
            Value::Array(values.collect::<Option<_>>()?)
        }
        DeValue::Table(table) => {
            let entry = |(key, value): (&Spanned<_>, &Spanned<_>)| {
                let key: &std::borrow::Cow<'_, str> = key.get_ref();
                Some((key.to_string(), json(value.get_ref())?))
            };
            Value::Object(table.iter().map(entry).collect::<Option<_>>()?)
        }
    })
}
