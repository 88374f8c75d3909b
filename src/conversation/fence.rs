//! Markdown's fences around code. Pure functions, shared by titles and hints.

/// The fence that a text begins with, and the rest. A fence is a run of three or more backticks or tildes.
pub fn split_fence(text: &str) -> Option<(&str, &str)> {
    let mark = text.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let rest = text.trim_start_matches(mark);
    let fence = &text[..text.len() - rest.len()];
    (fence.len() >= 3).then_some((fence, rest))
}

/// The kind of a line of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// A line outside of fences.
    Text,
    /// An opening or closing fence.
    Fence,
    /// A line between an opening fence and its closing fence, or up to the end of the message.
    Code,
}

/// Tracks the open fence while a message is read line by line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fences<'a>(Option<&'a str>);

impl<'a> Fences<'a> {
    /// Classifies the next line, given without its leading markup, because a fence may be inside a list or a quotation.
    pub fn read(&mut self, line: &'a str) -> Line {
        match (self.0, split_fence(line)) {
            // "```code```" within one line is a code span.
            (None, Some((fence, info))) if fence.starts_with('~') || !info.contains('`') => {
                self.0 = Some(fence);
                Line::Fence
            }
            (Some(open), Some((fence, ""))) if fence.starts_with(open) => {
                self.0 = None;
                Line::Fence
            }
            (None, _) => Line::Text,
            (Some(_), _) => Line::Code,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Fences, Line::*};

    #[test]
    fn a_fence_is_closed_by_one_of_its_kind_and_length() {
        for (lines, expected) in [
            (
                "a ¦ ```rust ¦ b ¦ ``` ¦ c",
                vec![Text, Fence, Code, Fence, Text],
            ),
            ("~~~ ¦ ``` ¦ ~~~ ¦ a", vec![Fence, Code, Fence, Text]),
            ("```` ¦ ``` ¦ ````` ¦ a", vec![Fence, Code, Fence, Text]),
            ("``` ¦ ```js ¦ a", vec![Fence, Code, Code]),
            ("```a``` b ¦ `` ¦ ~~~a`b ¦ c", vec![Text, Text, Fence, Code]),
        ] {
            let mut fences = Fences::default();
            let kinds: Vec<_> = lines.split(" ¦ ").map(|line| fences.read(line)).collect();
            assert_eq!(kinds, expected, "{lines}");
        }
    }
}
