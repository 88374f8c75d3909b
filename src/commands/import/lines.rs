//! Reads lines of a file or of standard input, with a bounded length.

use std::io::{self, BufRead, BufReader, Read};

/// The longest line, in bytes: a conversation of a few million words.
pub(super) const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;

/// A line reader.
pub(super) struct Lines<R> {
    reader: BufReader<R>,
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
    /// A line longer than [`MAX_LINE_BYTES`], which was skipped.
    TooLong,
}

impl<R: Read> Lines<R> {
    pub(super) fn of(source: R) -> Self {
        Self {
            reader: BufReader::new(source),
            number: 0,
            bytes: 0,
        }
    }

    /// The next line; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        let mut line = Vec::new();
        // A line and its line feed.
        let room = MAX_LINE_BYTES as u64 + 1;
        let read = (&mut self.reader).take(room).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.bytes += read as u64;
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() > MAX_LINE_BYTES {
            self.bytes += self.reader.skip_until(b'\n')? as u64;
            return Ok(Some(Line::TooLong));
        }
        Ok(Some(Line::Whole(line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: impl Read) -> Vec<Line> {
        let mut lines = Lines::of(source);
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
    fn a_line_that_is_too_long_is_skipped_and_the_next_one_read() {
        let longest = vec![b'x'; MAX_LINE_BYTES];
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
        let mut lines = Lines::of(&text[..]);
        let mut next = || lines.next().unwrap();
        assert_eq!(next(), Some(Line::Whole(longest.clone())));
        assert_eq!(next(), Some(Line::TooLong));
        assert_eq!(next(), Some(Line::Whole(b"next".into())));
        assert_eq!(next(), Some(Line::TooLong));
        assert_eq!(next(), None);
        assert_eq!(lines.bytes, text.len() as u64);
    }
}
