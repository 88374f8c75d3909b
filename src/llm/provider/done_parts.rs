//! Text that the server sends only as whole parts of a message.
//!
//! `response.output_text.done` and similar events repeat deltas. Some servers send neither deltas nor output items, so
//! the parts are kept until other text arrives, and become the text of the answer if none does.

use super::{items::Piece, stream::MAX_TEXT_BYTES, wire::DonePart};

/// The maximum number of parts that are kept.
const MAX_PARTS: usize = 1_024;

/// The maximum number of bytes that are kept: more than the longest reply, so that truncation of a longer one is
/// noticed.
const MAX_BYTES: usize = MAX_TEXT_BYTES + 4;

/// The parts so far.
#[derive(Debug, Default)]
pub(super) struct DoneParts {
    parts: Vec<DonePart>,
    bytes: usize,
}

impl DoneParts {
    /// Keeps a part, unless it is a known one: `content_part.done` repeats `output_text.done`.
    pub(super) fn keep(&mut self, mut part: DonePart) {
        let room = MAX_BYTES - self.bytes;
        part.text.truncate(part.text.floor_char_boundary(room));
        let is_known = |known: &DonePart| {
            let is_there = known.item == part.item && known.place == part.place;
            let is_named = !part.item.is_empty() || part.place.is_some();
            let is_same = known.text == part.text || is_named && part.part.is_some();
            is_there && known.part == part.part && is_same
        };
        let is_full = self.parts.len() == MAX_PARTS;
        if part.text.is_empty() || is_full || self.parts.iter().any(is_known) {
            return;
        }
        self.bytes += part.text.len();
        self.parts.push(part);
    }

    /// Whether there are no parts.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Removes and returns the text, in order of arrival.
    pub(super) fn take(&mut self) -> Vec<Piece> {
        let mut before = None;
        let pieces = std::mem::take(self).parts.into_iter().map(|part| {
            let item = Some((part.item, part.place));
            let is_beginning = item != before;
            before = item;
            Piece {
                is_beginning,
                text: part.text,
            }
        });
        pieces.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(item: &str, number: Option<u64>, text: &str) -> DonePart {
        DonePart {
            item: item.to_owned(),
            part: number,
            text: text.to_owned(),
            ..DonePart::default()
        }
    }

    #[test]
    fn each_part_is_kept_once() {
        let mut parts = DoneParts::default();
        for one in [
            part("a", Some(0), "One."),
            part("a", Some(0), "One. "),
            part("a", Some(1), ""),
            part("a", Some(1), " Two."),
            part("b", Some(0), "Three."),
            part("", None, "Four."),
            part("", None, "Four."),
            part("", None, "Five."),
        ] {
            parts.keep(one);
        }
        let pieces = parts.take();
        let found: Vec<_> = pieces
            .iter()
            .map(|piece| (piece.is_beginning, piece.text.as_str()))
            .collect();
        let expected = [
            (true, "One."),
            (false, " Two."),
            (true, "Three."),
            (true, "Four."),
            (false, "Five."),
        ];
        assert_eq!(found, expected);
        assert!(parts.is_empty());
    }

    #[test]
    fn the_parts_are_bounded() {
        let mut parts = DoneParts::default();
        for index in 0..3 {
            parts.keep(part("a", Some(index), &"é".repeat(MAX_TEXT_BYTES / 3)));
        }
        let bytes: usize = parts.take().iter().map(|piece| piece.text.len()).sum();
        assert!(bytes > MAX_TEXT_BYTES && bytes <= MAX_BYTES, "{bytes}");
        for index in 0..2_000 {
            parts.keep(part("a", Some(index), "x"));
        }
        assert_eq!(parts.take().len(), MAX_PARTS);
    }
}
