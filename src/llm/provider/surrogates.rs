//! Joins surrogate pairs that a server split between two events.
//!
//! JSON escapes characters beyond U+FFFF as two surrogates (`\ud83d\ude00`). Servers that split text between code units
//! send each in an event of its own. An event with a lone surrogate is parsed a second time with each surrogate
//! replaced by a mark, a private-use character. Matching marks are joined across events; a mark without a partner
//! becomes U+FFFD.

/// The mark of U+D800; the marks of the other surrogates follow. They are the last code points of the last plane.
const FIRST_MARK: u32 = 0x10_f800;

/// The JSON with a mark in place of each lone surrogate; `None` if there is none.
pub(crate) fn marked(text: &str) -> Option<String> {
    let replaced = lenient_json::without_lone_surrogates(text.as_bytes());
    let mut marked = String::with_capacity(text.len());
    let mut copied = 0;
    // The replacement `\ufffd` is as long as `\ud83d` and differs from its third byte on, so positions stay.
    while let Some(offset) = differs(&text.as_bytes()[copied..], &replaced[copied..]) {
        let start = copied + offset - 2;
        let half = u32::from_str_radix(&text[start + 2..start + 6], 16).ok()?;
        marked.push_str(&text[copied..start]);
        marked.push(char::from_u32(FIRST_MARK + half - 0xd800)?);
        copied = start + 6;
    }
    marked.push_str(&text[copied..]);
    (copied > 0).then_some(marked)
}

fn differs(a: &[u8], b: &[u8]) -> Option<usize> {
    a.iter().zip(b).position(|(a, b)| a != b)
}

/// Whether an unmarked text contains characters that look like marks.
fn looks_marked(text: &str) -> bool {
    text.chars().any(|c| half(c).is_some())
}

fn half(c: char) -> Option<u16> {
    let offset = u32::from(c).checked_sub(FIRST_MARK)?;
    u16::try_from(offset + 0xd800).ok()
}

/// Joins surrogates across the chunks of a text.
#[derive(Debug, Default)]
pub(crate) struct SurrogateJoiner {
    /// A high surrogate at the end of the last chunk.
    pending: Option<u16>,
}

impl SurrogateJoiner {
    /// Adds a chunk, in its form with marks if it has one; returns the joined text. If the text itself contains the
    /// marks' characters, they are not marks.
    pub(crate) fn add(&mut self, text: String, marked: Option<&str>) -> String {
        match marked.filter(|_| !looks_marked(&text)) {
            Some(marked) => self.marked(marked),
            None => self.plain(text),
        }
    }

    /// Adds a chunk without marks; returns the joined text.
    fn plain(&mut self, text: String) -> String {
        if text.is_empty() || self.pending.is_none() {
            return text;
        }
        self.finish() + &text
    }

    /// Adds a chunk with marks; returns the joined text.
    fn marked(&mut self, text: &str) -> String {
        let mut units: Vec<u16> = self.pending.take().into_iter().collect();
        let mut buffer = [0; 2];
        for c in text.chars() {
            match half(c) {
                Some(half) => units.push(half),
                None => units.extend_from_slice(c.encode_utf16(&mut buffer)),
            }
        }
        self.pending = units.pop_if(|unit| (0xd800..0xdc00).contains(unit));
        String::from_utf16_lossy(&units)
    }

    /// Ends the text; returns U+FFFD for a pending surrogate.
    pub(crate) fn finish(&mut self) -> String {
        match self.pending.take() {
            Some(_) => char::REPLACEMENT_CHARACTER.to_string(),
            None => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Joins strings that each come in an event of their own.
    fn joined(pieces: &[&str]) -> String {
        let mut joiner = SurrogateJoiner::default();
        let mut text = String::new();
        for piece in pieces {
            let piece = format!("\"{piece}\"");
            text += &match marked(&piece) {
                Some(piece) => joiner.marked(&serde_json::from_str::<String>(&piece).unwrap()),
                None => joiner.plain(serde_json::from_str(&piece).unwrap()),
            };
        }
        text + &joiner.finish()
    }

    #[test]
    fn halves_over_several_pieces() {
        #[rustfmt::skip]
        let table: [(&[&str], &str); 12] = [
            (&[r"a \ud83d", r"\ude00 b"], "a 😀 b"),
            (&[r"\ud83d", "", r"\ude00"], "😀"),
            (&[r"\ud83d", "x", r"\ude00"], "\u{fffd}x\u{fffd}"),
            (&[r"\ud83d"], "\u{fffd}"),
            (&[r"\ude00"], "\u{fffd}"),
            (&[r"\ude00", r"\ud83d"], "\u{fffd}\u{fffd}"),
            (&[r"\ud83d", r"\ud83d\ude00"], "\u{fffd}😀"),
            (&[r"\ud83d\ude00\ud83d", r"\ude00"], "😀😀"),
            (&[r"\uD83D", r"\uDE00"], "😀"),
            (&[r"\\ud83d", r"\\ude00"], r"\ud83d\ude00"),
            (&["é\\ud83d", "\\ude00é"], "é😀é"),
            (&[r"a\ufffd\ud83d", r"\ude00\ufffd"], "a\u{fffd}😀\u{fffd}"),
        ];
        for (pieces, text) in table {
            assert_eq!(joined(pieces), text, "{pieces:?}");
        }
        assert_eq!(marked("\"a😀\\ud83d\\ude00\""), None);
        assert!(looks_marked("\u{10ffff}") && !looks_marked("\u{10f7ff}😀"));
    }
}
