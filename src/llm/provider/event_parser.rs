//! Incremental parser of answer bodies: server-sent events, one JSON document, one per line, or a JSON list.
//!
//! Ignores the media type: the first bytes of each line decide. Servers end events with a single line break, send
//! errors as bare JSON between events or in a field `error`, send keep-alives as data, or omit the blank line after the
//! last event; all of that is parsed. Other lines are skipped.

use std::collections::VecDeque;

/// The largest event: a whole reply of 512 KiB, with room for escapes. A larger one, such as an image, is dropped.
const MAX_EVENT_BYTES: usize = 2 * 1024 * 1024;

/// One item of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A comment, an empty event or a keep-alive as data: the connection is alive.
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
    /// An event that was larger than [`MAX_EVENT_BYTES`].
    Oversized,
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
    /// Whether lines are dropped until the next blank one, because their event is too large.
    is_skipping: bool,
    /// Whether any line was an event, a comment or JSON.
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

    /// Whether the body is a web page, or text without a single event.
    pub(super) fn is_foreign(&self) -> bool {
        self.is_page || self.is_over && self.has_text && !self.is_known
    }

    /// Parses a chunk.
    pub(super) fn push(&mut self, mut text: &str) {
        if self.after_return && !text.is_empty() {
            self.after_return = false;
            text = text.strip_prefix('\n').unwrap_or(text);
        }
        while let Some(end) = text.find(['\n', '\r']) {
            self.line.push_str(&text[..end]);
            let line = std::mem::take(&mut self.line);
            self.read_line(&line);
            let is_return = text[end..].starts_with('\r');
            text = &text[end + 1..];
            if is_return {
                self.after_return = text.is_empty();
                text = text.strip_prefix('\n').unwrap_or(text);
            }
        }
        self.line.push_str(text);
        self.limit_size();
    }

    /// Ends the body. An incomplete event is yielded as cut.
    pub(super) fn finish(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.is_over = true;
        self.read_line(&line);
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

    /// Drops an event that is too large.
    fn limit_size(&mut self) {
        let data = self.data.as_ref().map_or(0, String::len);
        if self.line.len() + data + self.json.text.len() <= MAX_EVENT_BYTES {
            return;
        }
        if !self.is_skipping {
            self.items.push_back(Item::Oversized);
        }
        self.is_skipping = true;
        // Keep the first character: an empty line would end the event.
        self.line.truncate(self.line.ceil_char_boundary(1));
        self.name.clear();
        self.data = None;
        self.json = JsonScanner::default();
    }

    fn read_line(&mut self, line: &str) {
        if self.is_skipping {
            self.is_skipping = !line.is_empty();
            return;
        }
        if self.json.is_open() {
            self.json.push("\n", &mut self.items);
            self.json.push(line, &mut self.items);
            return self.limit_size();
        }
        if line.is_empty() {
            return self.dispatch();
        }
        if line.starts_with(':') {
            self.is_known = true;
            self.items.push_back(Item::Ping);
            return;
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
        self.limit_size();
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
            // llama.cpp until September 2025.
            "error" if value.starts_with('{') => {
                self.is_known = true;
                self.dispatch();
                self.items.push_back(Item::Event {
                    name: name.to_owned(),
                    data: value.to_owned(),
                    is_cut: false,
                });
            }
            _ if line.trim().is_empty() => {}
            _ => self.has_text = true,
        }
    }

    fn dispatch(&mut self) {
        let name = std::mem::take(&mut self.name);
        let Some(data) = self.data.take() else {
            return;
        };
        self.items.push_back(match is_keep_alive(&data) {
            true => Item::Ping,
            false => Item::Event {
                name,
                data,
                is_cut: false,
            },
        });
    }
}

/// Whether data is a keep-alive: nothing, a comment that a proxy put into an event, or a word.
pub(super) fn is_keep_alive(data: &str) -> bool {
    const WORDS: [&str; 5] = ["ping", "keepalive", "keep-alive", "keep_alive", "heartbeat"];
    let data = data.trim();
    let word = data.trim_start_matches('[').trim_end_matches(']');
    data.is_empty()
        || data.starts_with(':') && !data.contains(['\n', '\r'])
        || WORDS.iter().any(|known| word.eq_ignore_ascii_case(known))
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
            parser.push(piece);
        }
        parser.finish();
        let mut items = Vec::new();
        while let Some(item) = parser.next() {
            items.push(match item {
                Item::Ping => ":".to_owned(),
                Item::Oversized => "!".to_owned(),
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
        let table: [(&str, &[&str]); 19] = [
            ("data: 1\n\ndata:2\n\n", &["=1", "=2"]),
            ("event: error\ndata: {\"a\":1}\nid: 7\nretry: 5\n\n", &["error={\"a\":1}"]),
            (": hi\n\ndata\n\ndata: \n\n", &[":", ":", ":"]),
            ("data: : PROCESSING\n\ndata: ping\n\ndata: [HEARTBEAT]\n\ndata: 1\n\n", &[":", ":", ":", "=1"]),
            ("data: pings\n\n", &["=pings"]),
            ("data: 1\n\nerror: {\"a\":1}\n\ndata: 2\n\n", &["=1", "error={\"a\":1}", "=2"]),
            ("error: no JSON\n\ndata: 1\n\n", &["=1"]),
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
            parser.push(body);
            parser.finish();
            assert_eq!(parser.is_foreign(), is_foreign, "{body}");
        }
    }

    #[test]
    fn an_event_that_is_too_large_is_dropped() {
        let megabyte = "a".repeat(1024 * 1024);
        for line in [
            format!("data: {megabyte}\n"),
            format!("{{\"{megabyte}\n"),
            megabyte,
        ] {
            let mut parser = EventParser::default();
            for _ in 0..7 {
                parser.push(&line);
                assert!(parser.line.len() <= MAX_EVENT_BYTES);
            }
            parser.push("\n\ndata: 1\n\n");
            assert_eq!(parser.next(), Some(Item::Oversized));
            let next = Item::Event {
                name: String::new(),
                data: "1".to_owned(),
                is_cut: false,
            };
            assert_eq!(parser.next(), Some(next));
            assert_eq!(parser.next(), None);
        }
    }

    #[test]
    fn a_large_line_that_ends_where_a_chunk_ends_does_not_end_its_event() {
        let mut parser = EventParser::default();
        parser.push(&format!("data: {}", "a".repeat(MAX_EVENT_BYTES)));
        parser.push("\ndata: the rest of it\n\ndata: 1\n\n");
        assert_eq!(parser.next(), Some(Item::Oversized));
        let next = parser.next();
        assert!(
            matches!(&next, Some(Item::Event { data, .. }) if data == "1"),
            "{next:?}"
        );
        assert_eq!(parser.next(), None);
    }
}
