//! Separates reasoning that a model writes into its text: `<think>…</think>` at the beginning of a reply.
//!
//! Local models write it, under several names and in other brackets (`[THINK]`, `◁think▷`), split over deltas at any
//! byte. Only the beginning counts: an answer that merely contains such a tag stays text. Several blocks in a row are
//! one. A tag that is never closed leaves no text. A closing tag alone stays text: the text before it was delivered
//! already, and cannot be taken back.

/// How a family of models writes its tags.
#[derive(Debug, PartialEq, Eq)]
struct Marks {
    /// Before the name in an opening tag.
    opening: &'static str,
    /// Before the name in a closing tag.
    closing: &'static str,
    /// After the name.
    end: char,
    names: &'static [&'static str],
    /// Whether names are compared without case.
    has_any_case: bool,
}

/// Most models; Magistral; Kimi.
static MARKS: [Marks; 3] = [
    Marks {
        opening: "<",
        closing: "</",
        end: '>',
        names: &[
            "think",
            "thinking",
            "thought",
            "reasoning",
            "reason",
            "seed:think",
        ],
        has_any_case: true,
    },
    // Exactly as Magistral writes it: `[Think](…)` is a link.
    Marks {
        opening: "[",
        closing: "[/",
        end: ']',
        names: &["THINK"],
        has_any_case: false,
    },
    Marks {
        opening: "◁",
        closing: "◁/",
        end: '▷',
        names: &["think"],
        has_any_case: true,
    },
];

/// The longest tag, white space before its `>` included.
const MAX_TAG_BYTES: usize = 64;

/// The maximum number of bytes of white space that are held back before a tag, or dropped after one. White space beyond
/// it is text, so that the limits of text apply to it.
const MAX_BLANK_BYTES: usize = 1024;

/// A piece of a reply, separated.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pieces {
    pub(super) reasoning: String,
    pub(super) text: String,
}

/// Separates the deltas of one reply.
#[derive(Debug, Default)]
pub(super) struct ThinkSplitter {
    state: State,
    /// Text that may become a tag, and the white space before it.
    held: String,
    /// The bytes of white space that were dropped after closing tags.
    dropped: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing but white space so far.
    #[default]
    Beginning,
    /// After the opening tag.
    Reasoning {
        marks: &'static Marks,
        name: &'static str,
    },
    /// After the closing tag; white space before the answer is dropped.
    Answer,
    Text,
}

/// Whether a text begins with a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    /// Its marks, its name, and the bytes of the tag.
    Is(&'static Marks, &'static str, usize),
    /// The text ends within what may become a tag.
    Maybe,
    No,
}

impl ThinkSplitter {
    /// Adds a delta; returns the text that is decided, including text held back before.
    pub(super) fn push(&mut self, delta: &str) -> Pieces {
        if self.state == State::Text {
            return Pieces {
                text: delta.to_owned(),
                ..Pieces::default()
            };
        }
        self.held += delta;
        let mut pieces = Pieces::default();
        while self.step(&mut pieces) {}
        pieces
    }

    /// Ends the reply; returns the text held back.
    pub(super) fn finish(&mut self) -> Pieces {
        let held = std::mem::take(&mut self.held);
        let mut pieces = Pieces::default();
        match self.state {
            State::Reasoning { .. } => pieces.reasoning = held,
            State::Beginning | State::Answer | State::Text => pieces.text = held,
        }
        pieces
    }

    /// Takes one step; returns whether there is another.
    fn step(&mut self, pieces: &mut Pieces) -> bool {
        match self.state {
            State::Beginning => {
                let blank = blank_bytes(&self.held);
                match opening_tag(&self.held[blank..]) {
                    _ if blank > MAX_BLANK_BYTES => self.state = State::Text,
                    Tag::Is(marks, name, length) => {
                        self.held.drain(..blank + length);
                        self.state = State::Reasoning { marks, name };
                    }
                    Tag::Maybe => return false,
                    Tag::No => self.state = State::Text,
                }
                true
            }
            State::Reasoning { marks, name } => {
                let starts = self.held.match_indices(marks.opening).map(|(at, _)| at);
                let found = starts
                    .map(|at| (at, tag(&self.held[at..], marks, marks.closing, &[name])))
                    .find(|(_, tag)| *tag != Tag::No);
                let (certain, tag) = found.unwrap_or((self.held.len(), Tag::No));
                pieces.reasoning.extend(self.held.drain(..certain));
                let Tag::Is(_, _, length) = tag else {
                    return false;
                };
                self.held.drain(..length);
                self.state = State::Answer;
                true
            }
            State::Answer => {
                let blank = blank_bytes(&self.held);
                let room = MAX_BLANK_BYTES - self.dropped;
                if blank > room {
                    self.held.drain(..self.held.floor_char_boundary(room));
                    self.state = State::Text;
                    return true;
                }
                self.dropped += blank;
                self.held.drain(..blank);
                match opening_tag(&self.held) {
                    Tag::Is(marks, name, length) => {
                        self.held.drain(..length);
                        self.state = State::Reasoning { marks, name };
                    }
                    Tag::Maybe => return false,
                    Tag::No => self.state = State::Text,
                }
                true
            }
            State::Text => {
                pieces.text += &std::mem::take(&mut self.held);
                false
            }
        }
    }
}

/// Looks for an opening tag at the beginning of a text. The tags of each family begin differently, so at most one
/// matches.
fn opening_tag(text: &str) -> Tag {
    let tags = MARKS
        .iter()
        .map(|marks| tag(text, marks, marks.opening, marks.names));
    tags.fold(Tag::No, |found, tag| match found {
        Tag::No => tag,
        found => found,
    })
}

/// Looks for a tag of one of these names at the beginning of a text. Models also write white space before its end.
fn tag(text: &str, marks: &'static Marks, opening: &str, names: &[&'static str]) -> Tag {
    let Some(rest) = after(text, opening) else {
        return match starts(opening, text) {
            true => Tag::Maybe,
            false => Tag::No,
        };
    };
    let mut found = Tag::No;
    for name in names {
        let Some(end) = after(rest, name) else {
            if starts(name, rest) {
                found = Tag::Maybe;
            }
            continue;
        };
        let end = end.trim_start();
        let length = text.len() - end.len() + marks.end.len_utf8();
        if length > MAX_TAG_BYTES || !marks.has_any_case && !rest.starts_with(name) {
            continue;
        }
        if end.starts_with(marks.end) {
            return Tag::Is(marks, name, length);
        }
        if end.is_empty() {
            found = Tag::Maybe;
        }
    }
    found
}

/// The text after this prefix, compared without case; `None` if the text does not begin with it.
fn after<'a>(text: &'a str, begin: &str) -> Option<&'a str> {
    starts(text, begin).then(|| &text[begin.len()..])
}

/// Whether a text begins with this prefix, compared without case.
fn starts(text: &str, begin: &str) -> bool {
    let begin = begin.as_bytes();
    let text = text.as_bytes().get(..begin.len());
    text.is_some_and(|text| text.eq_ignore_ascii_case(begin))
}

/// The number of bytes of white space at the beginning.
fn blank_bytes(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reasoning and text of a reply, in deltas of this many characters.
    fn split(reply: &str, size: usize) -> (String, String) {
        let mut splitter = ThinkSplitter::default();
        let (mut reasoning, mut text) = (String::new(), String::new());
        let mut add = |pieces: Pieces| {
            reasoning += &pieces.reasoning;
            text += &pieces.text;
        };
        let chars: Vec<char> = reply.chars().collect();
        for delta in chars.chunks(size) {
            add(splitter.push(&delta.iter().collect::<String>()));
        }
        add(splitter.finish());
        (reasoning, text)
    }

    #[test]
    fn only_the_beginning_is_reasoning() {
        #[rustfmt::skip]
        let table = [
            ("<think>hm</think>answer", "hm", "answer"),
            ("<think>\nhm 京都\n</think>\n\nanswer\n", "\nhm 京都\n", "answer\n"),
            ("\n <THINK>hm</Think> answer", "hm", "answer"),
            ("<thinking>hm</thinking>answer", "hm", "answer"),
            ("<thought>hm</thought>answer", "hm", "answer"),
            ("<reasoning>hm</reasoning>answer", "hm", "answer"),
            ("<reason>hm</reason>answer", "hm", "answer"),
            ("<think>a < b, </thin, </thinking></think>answer", "a < b, </thin, </thinking>", "answer"),
            ("<think></think>answer", "", "answer"),
            ("[THINK]hm [1]</think>[/THINK]answer", "hm [1]</think>", "answer"),
            ("◁think▷hm ◁/think▷\nanswer", "hm ", "answer"),
            ("<seed:think>hm</seed:think>answer", "hm", "answer"),
            ("[think>hm", "", "[think>hm"),
            ("[Thinking](https://host) [THINK]", "", "[Thinking](https://host) [THINK]"),
            ("[Think](https://host) twice", "", "[Think](https://host) twice"),
            ("[1] ◁", "", "[1] ◁"),
            ("<think>never closed", "never closed", ""),
            ("<think>never closed </thi", "never closed </thi", ""),
            ("<thin", "", "<thin"),
            ("<thinner>x</thinner>", "", "<thinner>x</thinner>"),
            ("< think>x", "", "< think>x"),
            ("<think >hm</think\n>answer", "hm", "answer"),
            ("<think x>hm", "", "<think x>hm"),
            ("<think>hm</thinks>, </think", "hm</thinks>, </think", ""),
            ("<think>a</think><think> b</think>\n<reason>c</reason> d", "a bc", "d"),
            ("<think>a</think> <thin", "a", "<thin"),
            ("hm</think>answer", "", "hm</think>answer"),
            ("Use <think>…</think> here", "", "Use <think>…</think> here"),
            ("<think>a</think>b<think>c</think>d", "a", "b<think>c</think>d"),
            ("  plain", "", "  plain"),
            (" \n", "", " \n"),
            ("", "", ""),
        ];
        for (reply, reasoning, text) in table {
            for size in 1..=reply.chars().count().max(1) {
                let expected = (reasoning.to_owned(), text.to_owned());
                assert_eq!(split(reply, size), expected, "{reply:?} by {size}");
            }
        }
    }

    #[test]
    fn white_space_is_held_back_up_to_a_limit() {
        for (before, after) in [("", ""), ("<think>hm</think>", "answer")] {
            let mut splitter = ThinkSplitter::default();
            splitter.push(before);
            let mut text = String::new();
            for _ in 0..100_000 {
                text += &splitter.push("\n").text;
                assert!(splitter.held.len() <= MAX_BLANK_BYTES);
            }
            assert!(text.len() >= 100_000 - MAX_BLANK_BYTES, "{}", text.len());
            assert_eq!(splitter.push(after).text, after);
        }
        let long = " ".repeat(MAX_BLANK_BYTES + 1) + "<think>x";
        assert_eq!(split(&long, 700), (String::new(), long.clone()));
        let endless = format!("<think{}", " ".repeat(MAX_TAG_BYTES));
        assert_eq!(ThinkSplitter::default().push(&endless).text, endless);
    }

    #[test]
    fn text_is_held_back_only_while_it_may_be_a_tag() {
        let mut splitter = ThinkSplitter::default();
        assert_eq!(splitter.push("<th"), Pieces::default());
        assert_eq!(splitter.push("e").text, "<the");
        assert_eq!(splitter.push("<think>").text, "<think>");
    }
}
