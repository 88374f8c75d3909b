//! Splits bytes into lines of bounded length. A line ends with LF, CRLF or CR, because event streams may use any of
//! them. A byte order mark is dropped.

use crate::error::{Error, Result};

/// The longest line, in bytes. Longer texts are divided into several events.
pub(super) const MAX_LINE_BYTES: usize = 256 * 1024;

/// Splits received bytes into lines.
#[derive(Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// The number of bytes returned as lines, and the number searched for a line break.
    taken: usize,
    scanned: usize,
    /// Whether the last line ended with a CR, so that an LF at the start of the next bytes belongs to that line end.
    after_return: bool,
    /// Whether the beginning was checked for a byte order mark.
    is_begun: bool,
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

impl Lines {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.scanned -= self.taken;
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next line, without its end.
    ///
    /// # Errors
    /// [`Error::PayloadTooLarge`] if a line is too long; [`Error::InvalidJson`] if it is not UTF-8.
    pub(super) fn next(&mut self) -> Result<Option<String>> {
        if self.after_return
            && let Some(first) = self.bytes.get(self.taken)
        {
            self.after_return = false;
            if *first == b'\n' {
                self.taken += 1;
                self.scanned = self.taken;
            }
        }
        let found = self.bytes[self.scanned..]
            .iter()
            .position(|byte| matches!(byte, b'\n' | b'\r'));
        let end = found.map_or(self.bytes.len(), |at| self.scanned + at);
        self.scanned = end;
        if end - self.taken > MAX_LINE_BYTES {
            return Err(Error::PayloadTooLarge {
                limit_bytes: MAX_LINE_BYTES,
            });
        }
        if found.is_none() {
            return Ok(None);
        }
        let line = text(self.unmarked(end))?;
        self.is_begun = true;
        self.after_return = self.bytes[end] == b'\r';
        (self.taken, self.scanned) = (end + 1, end + 1);
        Ok(Some(line))
    }

    /// The last line, if no line break follows it.
    ///
    /// # Errors
    /// [`Error::InvalidJson`] if it is not UTF-8.
    pub(super) fn rest(&mut self) -> Result<Option<String>> {
        let rest = text(self.unmarked(self.bytes.len()))?;
        self.taken = self.bytes.len();
        self.scanned = self.taken;
        Ok((!rest.is_empty()).then_some(rest))
    }

    /// The bytes of the line that ends at `end`, without a byte order mark.
    fn unmarked(&self, end: usize) -> &[u8] {
        let line = &self.bytes[self.taken..end];
        match self.is_begun {
            true => line,
            false => line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line),
        }
    }
}

fn text(line: &[u8]) -> Result<String> {
    let line = str::from_utf8(line).map_err(|_| Error::InvalidJson)?;
    Ok(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_however_the_bytes_are_split() {
        let text = "\u{feff}{\"a\":1}\r\n\r\n{\"ü\":2}\nrest";
        let texts = [
            text.to_owned(),
            text.replace("\r\n", "\n"),
            text.replace("\r\n", "\r"),
        ];
        for (text, size) in texts
            .iter()
            .flat_map(|text| (1..text.len()).map(move |size| (text, size)))
        {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            for chunk in text.as_bytes().chunks(size) {
                lines.push(chunk);
                while let Some(line) = lines.next().unwrap() {
                    found.push(line);
                }
            }
            found.extend(lines.rest().unwrap());
            assert_eq!(found, ["{\"a\":1}", "", "{\"ü\":2}", "rest"], "{size}");
        }
    }

    #[test]
    fn a_line_is_neither_endless_nor_anything_but_utf_8() {
        let mut lines = Lines::default();
        lines.push(&vec![b'a'; MAX_LINE_BYTES]);
        assert!(matches!(lines.next(), Ok(None)));
        lines.push(b"a");
        assert!(matches!(lines.next(), Err(Error::PayloadTooLarge { .. })));
        let mut lines = Lines::default();
        lines.push(b"{\"type\":\"text\",\"text\":\"\xff\"}\n");
        assert!(matches!(lines.next(), Err(Error::InvalidJson)));
    }
}
