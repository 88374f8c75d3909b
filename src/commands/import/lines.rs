//! Reads lines of bounded length from a file or standard input.

use std::io::{self, BufRead, BufReader, Read};

/// The byte order mark with which Windows programs begin a UTF-8 file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A line reader. Leaves out a byte order mark at the beginning.
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    /// The maximum length of a line, in bytes.
    longest: usize,
    /// The number of lines read, which is the number of the last line.
    pub number: u64,
    /// The number of bytes read.
    pub bytes: u64,
}

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The bytes without the line feed.
    Whole(Vec<u8>),
    /// A line longer than the limit, which was skipped.
    TooLong,
}

impl<R: Read> Lines<R> {
    pub(super) fn of(source: R, longest: usize) -> Self {
        Self {
            reader: BufReader::new(source),
            longest,
            number: 0,
            bytes: 0,
        }
    }

    /// The next line; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        let mut line = Vec::new();
        // A line and its line feed.
        let room = self.longest as u64 + 1;
        let read = (&mut self.reader).take(room).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.bytes += read as u64;
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() > self.longest {
            self.bytes += self.reader.skip_until(b'\n')? as u64;
            return Ok(Some(Line::TooLong));
        }
        if self.number == 1 && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(Some(Line::Whole(line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: usize = 64 * 1024;

    fn read(source: impl Read) -> Vec<Line> {
        let mut lines = Lines::of(source, LONGEST);
        let mut read = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            read.push(line);
        }
        assert_eq!(lines.number, read.len() as u64);
        read
    }

    #[test]
    fn lines_end_at_a_line_feed_or_with_the_file() {
        let whole = |text: &str| Line::Whole(text.into());
        assert_eq!(read(&b""[..]), []);
        assert_eq!(
            read(&b"a\n\nb\r\nc"[..]),
            [whole("a"), whole(""), whole("b\r"), whole("c")]
        );
    }

    #[test]
    fn a_byte_order_mark_is_left_out_at_the_beginning_alone() {
        let whole = |text: &str| Line::Whole(text.into());
        let text = "\u{feff}a\n\u{feff}b";
        assert_eq!(read(text.as_bytes()), [whole("a"), whole("\u{feff}b")]);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_one_read() {
        let longest = vec![b'x'; LONGEST];
        let text = [
            &longest[..],
            b"\n",
            &longest,
            b"x\n",
            b"next\n",
            &longest,
            b"xx",
        ]
        .concat();
        let mut lines = Lines::of(&text[..], LONGEST);
        let mut next = || lines.next().unwrap();
        assert_eq!(next(), Some(Line::Whole(longest.clone())));
        assert_eq!(next(), Some(Line::TooLong));
        assert_eq!(next(), Some(Line::Whole(b"next".into())));
        assert_eq!(next(), Some(Line::TooLong));
        assert_eq!(next(), None);
        assert_eq!(lines.bytes, text.len() as u64);
    }
}
