//! Incremental parser of answer bodies: server-sent events, one JSON document, one per line, or a JSON list.
//!
//! Ignores the media type: the first bytes of each line decide. Servers end events with a single line break, send
//! errors as bare JSON between events, or omit the blank line after the last event; all of that is parsed. Other lines
//! are skipped.

use std::{collections::VecDeque, io};

/// The largest event: a whole reply of 512 KiB, with room for escapes.
const MAX_EVENT_BYTES: usize = 2 * 1024 * 1024;

/// One parsed item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A comment or an empty event: the connection is alive.
    Ping,
    /// An event.
    Event {
        /// Its name, often empty.
        name: String,
        /// Its data, never empty.
        data: String,
        /// Whether the body ended before the event did.
        is_cut: bool,
    },
}

/// Accepts text in chunks of any size, and yields items.
#[derive(Debug, Default)]
pub(super) struct EventParser {
    items: VecDeque<Item>,
    /// The current, incomplete line.
    line: String,
    /// Whether the last line ended with a carriage return; a line feed that follows belongs to it.
    after_return: bool,
    name: String,
    data: Option<String>,
    json: JsonScanner,
    /// Whether anything was an event, a comment or JSON.
    is_known: bool,
    /// Whether it starts like a web page.
    is_page: bool,
    /// Whether a line was skipped.
    has_text: bool,
    is_over: bool,
}

impl EventParser {
    /// The next complete item.
    pub(super) fn next(&mut self) -> Option<Item> {
        self.items.pop_front()
    }

    /// Whether the body is a web page, or text without any event.
    pub(super) fn is_foreign(&self) -> bool {
        self.is_page || self.is_over && self.has_text && !self.is_known
    }

    /// Parses a chunk.
    ///
    /// # Errors
    /// `InvalidData` when an event is larger than [`MAX_EVENT_BYTES`].
    pub(super) fn push(&mut self, mut text: &str) -> io::Result<()> {
        if self.after_return && !text.is_empty() {
            self.after_return = false;
            text = text.strip_prefix('\n').unwrap_or(text);
        }
        while let Some(end) = text.find(['\n', '\r']) {
            self.line.push_str(&text[..end]);
            let line = std::mem::take(&mut self.line);
            self.read_line(&line)?;
            let is_return = text[end..].starts_with('\r');
            text = &text[end + 1..];
            if is_return {
                self.after_return = text.is_empty();
                text = text.strip_prefix('\n').unwrap_or(text);
            }
        }
        self.line.push_str(text);
        self.check_size()
    }

    /// Ends the body. An incomplete event is yielded as cut.
    pub(super) fn finish(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.is_over = true;
        // An oversized last event needs no error: the body is over.
        let _ = self.read_line(&line);
        let data = self.data.take().or_else(|| self.json.take());
        if let Some(data) = data.filter(|data| !data.is_empty()) {
            let name = std::mem::take(&mut self.name);
            self.items.push_back(Item::Event {
                name,
                data,
                is_cut: true,
            });
        }
    }

    fn check_size(&self) -> io::Result<()> {
        let data = self.data.as_ref().map_or(0, String::len);
        let bytes = self.line.len() + data + self.json.text.len();
        match bytes > MAX_EVENT_BYTES {
            true => Err(io::ErrorKind::InvalidData.into()),
            false => Ok(()),
        }
    }

    fn read_line(&mut self, line: &str) -> io::Result<()> {
        if self.json.is_open() {
            self.json.push("\n", &mut self.items);
            self.json.push(line, &mut self.items);
            return self.check_size();
        }
        if line.is_empty() {
            self.dispatch();
            return Ok(());
        }
        if line.starts_with(':') {
            self.is_known = true;
            self.items.push_back(Item::Ping);
            return Ok(());
        }
        let begin = line.trim_start();
        match begin.bytes().next() {
            Some(b'{' | b'[' | b']' | b',') => {
                self.is_known = true;
                self.dispatch();
                self.json.push(begin, &mut self.items);
            }
            Some(b'<') if !self.is_known => self.is_page = true,
            _ => self.field(begin),
        }
        self.check_size()
    }

    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" => {
                self.is_known = true;
                let data = self.data.get_or_insert_default();
                if !data.is_empty() {
                    data.push('\n');
                }
                data.push_str(value);
            }
            "event" => {
                self.is_known = true;
                value.clone_into(&mut self.name);
            }
            "id" | "retry" => self.is_known = true,
            _ if line.trim().is_empty() => {}
            _ => self.has_text = true,
        }
    }

    fn dispatch(&mut self) {
        let name = std::mem::take(&mut self.name);
        let Some(data) = self.data.take() else {
            return;
        };
        self.items.push_back(match data.trim().is_empty() {
            true => Item::Ping,
            false => Item::Event {
                name,
                data,
                is_cut: false,
            },
        });
    }
}

/// Finds JSON objects by their brackets; a list yields its elements.
#[derive(Debug, Default)]
struct JsonScanner {
    text: String,
    depth: u32,
    in_string: bool,
    is_escaped: bool,
}

impl JsonScanner {
    fn is_open(&self) -> bool {
        self.depth > 0
    }

    fn take(&mut self) -> Option<String> {
        let text = std::mem::take(self).text;
        (!text.is_empty()).then_some(text)
    }

    fn push(&mut self, text: &str, items: &mut VecDeque<Item>) {
        // The start of the part of the object that is not copied yet.
        let mut from = 0;
        for (at, byte) in text.bytes().enumerate() {
            if self.is_escaped {
                self.is_escaped = false;
            } else if self.in_string {
                match byte {
                    b'\\' => self.is_escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
            } else {
                match byte {
                    b'"' => self.in_string = self.depth > 0,
                    b'{' | b'[' if self.depth > 0 => self.depth += 1,
                    b'{' => {
                        self.depth = 1;
                        from = at;
                    }
                    b'}' | b']' if self.depth > 1 => self.depth -= 1,
                    b'}' if self.depth == 1 => {
                        self.depth = 0;
                        self.text.push_str(&text[from..=at]);
                        items.push_back(Item::Event {
                            name: String::new(),
                            data: std::mem::take(&mut self.text),
                            is_cut: false,
                        });
                    }
                    _ => {}
                }
            }
        }
        if self.is_open() {
            self.text.push_str(&text[from..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events as `name=data`, pings as `:`, cut ones with a `…`.
    fn items(pieces: &[&str]) -> Vec<String> {
        let mut parser = EventParser::default();
        for piece in pieces {
            parser.push(piece).unwrap();
        }
        parser.finish();
        let mut items = Vec::new();
        while let Some(item) = parser.next() {
            items.push(match item {
                Item::Ping => ":".to_owned(),
                Item::Event { name, data, is_cut } => {
                    format!("{name}={data}{}", if is_cut { "…" } else { "" })
                }
            });
        }
        items
    }

    #[test]
    fn bodies_of_every_kind() {
        #[rustfmt::skip]
        let table: [(&str, &[&str]); 15] = [
            ("data: 1\n\ndata:2\n\n", &["=1", "=2"]),
            ("event: error\ndata: {\"a\":1}\nid: 7\nretry: 5\n\n", &["error={\"a\":1}"]),
            (": hi\n\ndata\n\ndata: \n\n", &[":", ":", ":"]),
            ("data: {\ndata: }\n\n", &["={\n}"]),
            ("data: [DONE]", &["=[DONE]…"]),
            ("data: {\"a\":", &["={\"a\":…"]),
            ("{\"a\":1}", &["={\"a\":1}"]),
            ("{\"a\":1}\n{\"b\":\"}\\\"{\"}\n", &["={\"a\":1}", "={\"b\":\"}\\\"{\"}"]),
            ("{\n  \"a\": [\n    1\n  ]\n}\n", &["={\n  \"a\": [\n    1\n  ]\n}"]),
            ("[{\"a\":1}\n,\n{\"b\":2}]\n", &["={\"a\":1}", "={\"b\":2}"]),
            ("{}{\"a\":1},{\"b\":", &["={}", "={\"a\":1}", "={\"b\":…"]),
            (": ping\n\n\n  {\"a\":1}", &[":", "={\"a\":1}"]),
            ("data: 1\n\n{\"error\":{}}\n\ndata: 2\n\n", &["=1", "={\"error\":{}}", "=2"]),
            ("data: 1\n{\"error\":{}}\n", &["=1", "={\"error\":{}}"]),
            ("nonsense: 1\ndata: 1\n\n", &["=1"]),
        ];
        for (body, expected) in table {
            for body in [
                body.to_owned(),
                body.replace('\n', "\r\n"),
                body.replace('\n', "\r"),
            ] {
                let expected: Vec<String> = match body.contains('\r') && body.starts_with("{\n") {
                    true => continue,
                    false => expected.iter().map(|&item| item.to_owned()).collect(),
                };
                assert_eq!(items(&[&body]), expected, "{body:?}");
                let pieces: Vec<&str> = body.split_inclusive(|_| true).collect();
                assert_eq!(items(&pieces), expected, "{body:?} piece by piece");
            }
        }
    }

    #[test]
    fn what_is_no_answer_at_all() {
        for (body, is_foreign) in [
            ("<!doctype html>\n<html>", true),
            ("  <html>", true),
            ("Internal Server Error", true),
            ("", false),
            ("\n\n", false),
            ("data: <html>\n\n", false),
            (": x\n<html>", false),
            ("{}", false),
        ] {
            let mut parser = EventParser::default();
            parser.push(body).unwrap();
            parser.finish();
            assert_eq!(parser.is_foreign(), is_foreign, "{body}");
        }
    }

    #[test]
    fn an_event_without_an_end_is_an_error() {
        let megabyte = "a".repeat(1024 * 1024);
        for line in [
            format!("data: {megabyte}\n"),
            format!("{{\"{megabyte}\n"),
            megabyte,
        ] {
            let mut parser = EventParser::default();
            let pushed = (0..3).try_for_each(|_| parser.push(&line));
            assert!(pushed.is_err());
        }
    }
}
