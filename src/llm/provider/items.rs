//! Tracks delivered output items, so that a whole item does not repeat its deltas.
//!
//! The Responses API sends an item in deltas, then as a whole, then in the list of all items at the end of the answer.
//! Servers leave out any of these, leave out ids, or change an item's id and its white space from one to the next. So
//! the delivered content is compared with the list: first all of it at once, then item by item. Text and reasoning are
//! compared separately. Only hashes are kept, not the text.

use std::hash::{DefaultHasher, Hasher};

use super::wire::WholeItem;

/// The maximum number of items that are tracked separately; later ones count only towards the total.
const MAX_ITEMS: usize = 1_024;

/// The output items that were delivered, in deltas or as a whole.
#[derive(Debug, Default)]
pub(super) struct DeliveredItems {
    text: Channel,
    reasoning: Channel,
}

/// The content of whole items that was not delivered before.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) text: Vec<Piece>,
    pub(super) reasoning: String,
}

/// Text of one item.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Whether the item begins with this text; otherwise a part of the item was delivered before.
    pub(super) is_beginning: bool,
    pub(super) text: String,
}

/// Adds a piece, if it has text.
fn push(pieces: &mut Vec<Piece>, text: &str, is_beginning: bool) {
    if !text.is_empty() {
        pieces.push(Piece {
            // A blank message does not separate texts, and is no title.
            is_beginning: is_beginning && !text.trim().is_empty(),
            text: text.to_owned(),
        });
    }
}

/// The list that a whole item comes from. Each list contains an item once.
#[derive(Clone, Copy, Debug)]
pub(super) enum List {
    /// The events that each have an item.
    Events,
    /// The answer at its end.
    Answer,
}

impl DeliveredItems {
    /// Records deltas of an item; its id is empty if the server sends none.
    pub(super) fn record(&mut self, id: &str, text: &str, reasoning: &str) {
        self.text.record(id, text);
        self.reasoning.record(id, reasoning);
    }

    /// Returns the content of these items that was not delivered yet, and records it as delivered.
    pub(super) fn missing(&mut self, items: &[WholeItem], list: List) -> Missing {
        if items.is_empty() {
            return Missing::default();
        }
        let of = |content: fn(&WholeItem) -> &str| {
            let items = items.iter().map(|item| (item.id.as_str(), content(item)));
            items.filter(|(_, content)| !content.is_empty()).collect()
        };
        Missing {
            text: self.text.missing(of(|item| &item.text), list),
            reasoning: {
                let pieces = self.reasoning.missing(of(|item| &item.reasoning), list);
                pieces.into_iter().map(|piece| piece.text).collect()
            },
        }
    }
}

/// The text of all items, or their reasoning.
#[derive(Debug, Default)]
struct Channel {
    all: Digest,
    items: Vec<Delivered>,
    /// The content of each list so far.
    listed: [Digest; 2],
}

/// One item that was delivered.
#[derive(Debug)]
struct Delivered {
    /// Empty if the server sent no id.
    id: String,
    digest: Digest,
    /// Whether it came as a whole item. Deltas without an id may belong to several items.
    is_whole: bool,
    /// Whether each list has contained it.
    is_listed: [bool; 2],
}

impl Channel {
    fn record(&mut self, id: &str, delta: &str) {
        if delta.is_empty() {
            return;
        }
        self.all.push(delta);
        let is_it = |item: &&mut Delivered| item.id == id && !(item.is_whole && id.is_empty());
        if let Some(item) = self.items.iter_mut().rev().find(is_it) {
            return item.digest.push(delta);
        }
        let mut digest = Digest::default();
        digest.push(delta);
        self.keep(id, digest, None);
    }

    fn keep(&mut self, id: &str, digest: Digest, list: Option<List>) {
        if self.items.len() == MAX_ITEMS {
            return;
        }
        let mut is_listed = [false; 2];
        if let Some(list) = list {
            is_listed[list as usize] = true;
        }
        self.items.push(Delivered {
            id: id.to_owned(),
            digest,
            is_whole: list.is_some(),
            is_listed,
        });
    }

    /// `items`: id and content of each.
    fn missing(&mut self, mut items: Vec<(&str, &str)>, list: List) -> Vec<Piece> {
        items.retain(|(id, content)| !self.is_repeated(id, content, list));
        match self.rest(&items, list) {
            Some(rest) => {
                for (id, content) in items {
                    self.listed[list as usize].push(content);
                    self.mark(id, content, list);
                }
                let ends_blank = self.all.ends_blank;
                self.all = self.listed[list as usize].clone();
                if rest.is_empty() {
                    self.all.ends_blank = ends_blank;
                }
                rest
            }
            None => self.missing_by_item(items, list),
        }
    }

    /// Whether the list has contained this item.
    fn is_repeated(&self, id: &str, content: &str, list: List) -> bool {
        let mut items = self.items.iter();
        !id.is_empty()
            && items.any(|item| {
                item.id == id && item.is_listed[list as usize] && item.digest.is_of(content)
            })
    }

    /// The rest after everything delivered, if the list so far plus these items begins with all of it.
    fn rest(&self, items: &[(&str, &str)], list: List) -> Option<Vec<Piece>> {
        let mut read = self.listed[list as usize].clone();
        let mut rest = Vec::new();
        for (_, content) in items {
            let missing = read.push_up_to(content, self.all.chars);
            if read.chars == self.all.chars && read.hash() != self.all.hash() {
                return None;
            }
            match missing.len() < content.len() {
                true => push(&mut rest, self.all.joined(missing), false),
                false => push(&mut rest, missing, true),
            }
        }
        (read.chars == self.all.chars && read.hash() == self.all.hash()).then_some(rest)
    }

    /// Marks an item as contained in the list.
    fn mark(&mut self, id: &str, content: &str, list: List) {
        let mut digest = Digest::default();
        digest.push(content);
        let known = self.items.iter_mut().find(|item| {
            let is_same = || !id.is_empty() && item.id == id || item.digest.is_like(&digest);
            !item.is_listed[list as usize] && is_same()
        });
        match known {
            Some(item) => {
                item.digest = digest;
                item.is_listed[list as usize] = true;
            }
            None => self.keep(id, digest, Some(list)),
        }
    }

    /// Like [`Self::rest`], if the order or the text differs: matches by ids, then by equal content. If deltas match no
    /// item of the list, the remaining items are assumed to be those deltas.
    fn missing_by_item(&mut self, items: Vec<(&str, &str)>, list: List) -> Vec<Piece> {
        let at = list as usize;
        let mut unknown = Vec::new();
        let mut rest = Vec::new();
        for (id, content) in items {
            self.listed[at].push(content);
            let open = self.items.iter_mut().filter(|item| !item.is_listed[at]);
            let mut open: Vec<&mut Delivered> = open.collect();
            let is_named = |item: &&mut &mut Delivered| !id.is_empty() && item.id == id;
            if let Some(item) = open.iter_mut().find(is_named) {
                item.is_listed[at] = true;
                let missing = item.digest.missing_of(content);
                item.digest.push(missing);
                self.all.push(missing);
                push(&mut rest, missing, false);
                continue;
            }
            let mut digest = Digest::default();
            digest.push(content);
            match open.iter_mut().find(|item| item.digest.is_like(&digest)) {
                Some(item) => item.is_listed[at] = true,
                None => unknown.push((id, content)),
            }
        }
        let is_unlisted = |item: &Delivered| !item.is_whole && !item.is_listed[at];
        if self.items.iter().any(is_unlisted) {
            return rest;
        }
        for (id, content) in unknown {
            let mut digest = Digest::default();
            digest.push(content);
            self.keep(id, digest, Some(list));
            self.all.push(content);
            push(&mut rest, content, true);
        }
        rest
    }
}

/// The number of characters of a text and their hash, without white space.
#[derive(Clone, Debug, Default)]
struct Digest {
    chars: usize,
    hasher: DefaultHasher,
    ends_blank: bool,
}

impl Digest {
    fn push(&mut self, text: &str) {
        self.push_up_to(text, usize::MAX);
    }

    /// Adds characters of a text up to a total of `chars`; returns the rest of the text.
    fn push_up_to<'a>(&mut self, text: &'a str, chars: usize) -> &'a str {
        for (at, c) in text.char_indices() {
            if self.chars == chars {
                return &text[at..];
            }
            self.ends_blank = c.is_whitespace();
            if !self.ends_blank {
                self.chars += 1;
                self.hasher.write_u32(u32::from(c));
            }
        }
        ""
    }

    /// The rest of a text after this prefix; empty if the text does not begin with it.
    fn missing_of<'a>(&self, text: &'a str) -> &'a str {
        let mut begin = Self::default();
        let missing = begin.push_up_to(text, self.chars);
        match begin.is_like(self) {
            true => self.joined(missing),
            false => "",
        }
    }

    /// A continuation, without white space that was already delivered or that only ends it.
    fn joined<'a>(&self, missing: &'a str) -> &'a str {
        match self.ends_blank || missing.trim().is_empty() {
            true => missing.trim_start(),
            false => missing,
        }
    }

    fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    fn is_like(&self, other: &Self) -> bool {
        self.chars == other.chars && self.hash() == other.hash()
    }

    fn is_of(&self, text: &str) -> bool {
        let mut digest = Self::default();
        digest.push(text);
        self.is_like(&digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What arrives: deltas of items, items, or the list of all.
    enum Sent {
        Delta(&'static str, &'static str),
        Item(&'static str, &'static str),
        All(&'static [(&'static str, &'static str)]),
    }
    use Sent::{All, Delta, Item};

    fn text(sent: &[Sent]) -> String {
        let mut delivered = DeliveredItems::default();
        let mut text = String::new();
        let whole = |&(id, text): &(&str, &str)| WholeItem {
            id: id.to_owned(),
            text: text.to_owned(),
            // Reasoning is compared separately.
            ..WholeItem::default()
        };
        let joined = |missing: Missing| -> String {
            let pieces = missing.text.into_iter();
            pieces.map(|piece| piece.text).collect()
        };
        for one in sent {
            text += &match one {
                Delta(id, delta) => {
                    delivered.record(id, delta, "hm");
                    (*delta).to_owned()
                }
                Item(id, content) => {
                    let items = [whole(&(id, content))];
                    joined(delivered.missing(&items, List::Events))
                }
                All(items) => {
                    let items: Vec<WholeItem> = items.iter().map(whole).collect();
                    joined(delivered.missing(&items, List::Answer))
                }
            };
        }
        text
    }

    #[test]
    fn nothing_is_delivered_twice_and_nothing_is_left_out() {
        #[rustfmt::skip]
        let table: [(&[Sent], &str); 25] = [
            (&[All(&[("a", "One.")])], "One."),
            (&[Delta("a", "One"), Delta("a", "."), Item("a", "One."), All(&[("a", "One.")])], "One."),
            (&[Item("a", "One."), Item("b", " Two."), All(&[("a", "One."), ("b", " Two.")])], "One. Two."),
            (&[Delta("a", "One. "), All(&[("a", "One. "), ("b", "Two.")])], "One. Two."),
            // Two items of the same text are two.
            (&[All(&[("a", "OK"), ("b", "OK")])], "OKOK"),
            (&[All(&[("", "OK"), ("", "OK")])], "OKOK"),
            (&[Item("a", "OK"), Item("b", "OK"), All(&[("a", "OK"), ("b", "OK")])], "OKOK"),
            (&[Item("a", "OK"), Item("a", "OK"), All(&[("a", "OK")])], "OK"),
            (&[Item("a", "One."), Item("a", "Two."), All(&[("a", "One."), ("a", "Two.")])], "One.Two."),
            // Deltas without an id.
            (&[Delta("", "One. "), Item("a", "One. "), Item("b", "Two."), All(&[("a", "One. "), ("b", "Two.")])], "One. Two."),
            (&[Delta("", "One. "), Delta("", "Two."), Item("a", "One. "), Item("b", "Two."), All(&[("a", "One. "), ("b", "Two.")])], "One. Two."),
            (&[Delta("", "One. "), Delta("", "Two."), All(&[("", "One. "), ("", "Two."), ("", " Three.")])], "One. Two. Three."),
            // A different id or none, and different white space.
            (&[Delta("a", "One. "), All(&[("z", "One.")])], "One. "),
            (&[Delta("a", "One.\r\nTwo."), Item("", "One.\nTwo."), All(&[("z", " One.\nTwo.\n")])], "One.\r\nTwo."),
            (&[Item("a", "One. "), All(&[("z", "One."), ("y", "Two.")])], "One. Two."),
            // A new id with each delta.
            (&[Delta("a", "The "), Delta("b", "answer"), Item("z", "The answer"), All(&[("y", "The answer")])], "The answer"),
            (&[Delta("a", "The "), Delta("b", "answer"), Item("z", "The answer"), Item("x", "!"), All(&[("y", "The answer"), ("w", "!")])], "The answer!"),
            // Deltas are missing.
            (&[Delta("a", "One"), All(&[("a", "One. Two.")])], "One. Two."),
            (&[Delta("a", "One "), Item("a", "One Two"), All(&[("a", "One Two")])], "One Two"),
            (&[Delta("a", "One"), Delta("b", "B"), All(&[("a", "One."), ("b", "B")])], "OneB."),
            // Interleaved items, which the list has one after the other.
            (&[Delta("a", "1"), Delta("b", "3"), Delta("a", "2"), Item("b", "3"), Item("a", "12"), All(&[("a", "12"), ("b", "3")])], "132"),
            (&[Delta("a", "1"), Delta("b", "3"), Delta("a", "2"), All(&[("a", "12"), ("b", "3"), ("c", "4")])], "1324"),
            // The text was edited at the end.
            (&[Delta("a", "One [1]."), Item("a", "One."), All(&[("a", "One.")])], "One [1]."),
            (&[Delta("", "<think>x</think>One."), All(&[("a", "One.")])], "<think>x</think>One."),
            (&[Delta("a", "One [1]."), All(&[("z", "One.")])], "One [1]."),
        ];
        for (index, (sent, expected)) in table.iter().enumerate() {
            assert_eq!(text(sent), *expected, "row {index}");
        }
    }

    #[test]
    fn items_are_bounded() {
        let mut delivered = DeliveredItems::default();
        let mut all = String::new();
        for index in 0..2 * MAX_ITEMS {
            let delta = index.to_string();
            delivered.record(&format!("m_{index}"), &delta, "");
            all += &delta;
        }
        assert_eq!(delivered.text.items.len(), MAX_ITEMS);
        let whole = WholeItem {
            text: all,
            ..WholeItem::default()
        };
        assert!(delivered.missing(&[whole], List::Answer).text.is_empty());
    }

    #[test]
    fn text_begins_an_item_unless_a_part_of_the_item_was_delivered() {
        let mut delivered = DeliveredItems::default();
        delivered.record("a", "One", "");
        let items = [("a", "One."), ("b", "Two.")].map(|(id, text)| WholeItem {
            id: id.to_owned(),
            text: text.to_owned(),
            ..WholeItem::default()
        });
        let pieces = delivered.missing(&items, List::Answer).text;
        let found: Vec<_> = pieces
            .iter()
            .map(|piece| (piece.is_beginning, piece.text.as_str()))
            .collect();
        assert_eq!(found, [(false, "."), (true, "Two.")]);
    }
}
