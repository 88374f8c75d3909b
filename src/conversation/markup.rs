//! Removes Markdown and tags around and inside one line. Pure functions, shared by titles and hints.

/// Removes Markdown at the start of a line: headings, quotes, list items and task boxes, also nested.
///
/// An ordered item is `1)`, `23)`, `(1)` or `1.`, and not `2.`: "2. Bundesliga" and "3. Liga" are names.
pub fn without_leading_markup(line: &str) -> &str {
    let mut rest = line.trim();
    while let Some(shorter) = without_one_marker(rest) {
        rest = shorter.trim_start();
    }
    rest
}

fn without_one_marker(line: &str) -> Option<&str> {
    const BULLETS: [&str; 12] = ["-", "*", "+", "•", "◦", "‣", "▪", "●", "·", "–", "—", "→"];
    const BOXES: [&str; 3] = ["[ ] ", "[x] ", "[X] "];

    if let Some(rest) = line.strip_prefix('>') {
        // ">50 %" and ">=" are not quotations.
        return (!rest.starts_with(|c: char| c.is_ascii_digit() || c == '=')).then_some(rest);
    }
    let (marker, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    if (1..=6).contains(&marker.len()) && marker.bytes().all(|b| b == b'#') {
        let closed = rest.trim_end_matches('#');
        let is_closed = closed.is_empty() || closed.ends_with(char::is_whitespace);
        return Some(if is_closed { closed.trim_end() } else { rest });
    }
    if BULLETS.contains(&marker) {
        let boxed = BOXES.iter().find_map(|b| rest.strip_prefix(b));
        return Some(boxed.unwrap_or(rest));
    }
    let number = marker.strip_suffix(')').unwrap_or("");
    let is_number = (1..=3).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    (is_number || matches!(marker, "1." | "(1)")).then_some(rest)
}

/// Removes `<name …>` and `</name>`, if the pair wraps the whole text.
pub fn without_tag_pair(text: &str) -> &str {
    let inner = || {
        let (tag, rest) = text.trim().strip_prefix('<')?.split_once('>')?;
        let name = tag
            .split(char::is_whitespace)
            .next()
            .filter(|name| !name.is_empty())?;
        let inner = rest
            .strip_suffix('>')?
            .strip_suffix(name)?
            .strip_suffix("</")?;
        // `<b>A</b> and <b>B</b>` is not one pair.
        let closes = inner.find(&format!("</{name}>")).unwrap_or(inner.len());
        let opens = inner.find(&format!("<{name}")).unwrap_or(inner.len());
        (opens <= closes).then_some(inner.trim())
    };
    inner().unwrap_or(text)
}

/// Removes Markdown inside a line: links and images leave their text; code spans, bold, italics and strikethrough leave
/// their content.
///
/// Only pairs count, so `*args and **kwargs`, `2 * 3 * 4` and `snake_case_name` stay unchanged; and underscores around
/// one identifier belong to it (`__init__`, `__FILE__`).
pub fn without_inline_markup(line: &str) -> String {
    let chars: Vec<char> = without_links(line).chars().collect();
    let mut dropped = vec![false; chars.len()];
    let mut open: Vec<Run> = Vec::new();
    let mut at = 0;
    while let Some(&mark) = chars.get(at) {
        let length = chars[at..].iter().take_while(|&&c| c == mark).count();
        let run = Run { mark, at, length };
        at += length;
        match mark {
            '`' => {
                if let Some(end) = run.closing_backticks(&chars) {
                    run.drop_from(&mut dropped);
                    Run { at: end, ..run }.drop_from(&mut dropped);
                    at = end + length;
                }
            }
            '*' | '_' | '~' if length <= 6 && (mark != '~' || length == 2) => {
                let opening = open
                    .iter()
                    .rposition(|o| o.mark == mark && o.length == length);
                match opening.filter(|_| run.can_close(&chars)) {
                    Some(index) => {
                        let opening = open[index];
                        open.truncate(index);
                        if mark != '_' || !is_identifier(&chars[opening.at + length..run.at]) {
                            opening.drop_from(&mut dropped);
                            run.drop_from(&mut dropped);
                        }
                    }
                    None if run.can_open(&chars) && open.len() < MAX_OPEN => open.push(run),
                    None => {}
                }
            }
            _ => {}
        }
    }
    chars
        .iter()
        .zip(dropped)
        .filter(|(_, dropped)| !dropped)
        .map(|(c, _)| c)
        .collect()
}

/// The maximum number of unclosed delimiters that are tracked, so that a line full of them costs linear time.
const MAX_OPEN: usize = 16;

/// A run of one markdown delimiter.
#[derive(Clone, Copy)]
struct Run {
    mark: char,
    at: usize,
    length: usize,
}

impl Run {
    fn can_open(self, chars: &[char]) -> bool {
        let before = self.at.checked_sub(1).and_then(|i| chars.get(i));
        let after = chars.get(self.at + self.length);
        after.is_some_and(|c| !c.is_whitespace()) && before.is_none_or(|&c| !self.is_glued_to(c))
    }

    fn can_close(self, chars: &[char]) -> bool {
        let before = self.at.checked_sub(1).and_then(|i| chars.get(i));
        let after = chars.get(self.at + self.length);
        // "**Title:**Kyoto" closes although a letter follows.
        before.is_some_and(|&c| {
            !c.is_whitespace()
                && (after.is_none_or(|&c| !self.is_glued_to(c)) || matches!(c, ':' | '：'))
        })
    }

    /// Whether a neighbour makes the run part of a word. Scripts without spaces emphasise within a sentence.
    fn is_glued_to(self, c: char) -> bool {
        if self.mark == '_' {
            c.is_alphanumeric()
        } else {
            c.is_ascii_alphanumeric()
        }
    }

    /// The start of the backtick run that ends this code span. Searches at most 512 characters, to stay linear.
    fn closing_backticks(self, chars: &[char]) -> Option<usize> {
        let from = self.at + self.length;
        let page = &chars[from..chars.len().min(from + 512)];
        page.chunk_by(|a, b| (*a == '`') == (*b == '`'))
            .scan(from, |at, chunk| {
                let start = *at;
                *at += chunk.len();
                Some((start, chunk))
            })
            .find(|(_, chunk)| chunk[0] == '`' && chunk.len() == self.length)
            .map(|(start, _)| start)
    }

    fn drop_from(self, dropped: &mut [bool]) {
        dropped[self.at..self.at + self.length].fill(true);
    }
}

fn is_identifier(chars: &[char]) -> bool {
    chars.iter().all(|c| c.is_ascii_alphanumeric() || *c == '_')
        && !(chars.iter().any(char::is_ascii_uppercase)
            && chars.iter().any(char::is_ascii_lowercase))
}

/// Replaces `[text](target)` and `![text](target)` with their text.
fn without_links(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(middle) = rest.find("](") {
        let (before, after) = (&rest[..middle], &rest[middle + 2..]);
        let start = before
            .rfind(['[', ']'])
            .filter(|&at| before[at..].starts_with('['));
        let end = after
            .find(['(', ')'])
            .filter(|&at| after[at..].starts_with(')'));
        match (start, end) {
            // `handlers[name](event)` is a call.
            (Some(start), Some(end))
                if !before[..start].ends_with(|c: char| c.is_ascii_alphanumeric()) =>
            {
                let lead = &before[..start];
                plain.push_str(lead.strip_suffix('!').unwrap_or(lead));
                plain.push_str(&before[start + 1..]);
                rest = &after[end + 1..];
            }
            _ => {
                plain.push_str(before);
                plain.push_str("](");
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn leading_markup_goes() {
        for (line, rest) in [
            ("# Kyoto", "Kyoto"),
            ("### Kyoto ###", "Kyoto"),
            ("# Learning C#", "Learning C#"),
            ("> - [ ] Kyoto", "Kyoto"),
            (">Kyoto", "Kyoto"),
            ("1. Kyoto", "Kyoto"),
            ("12) Kyoto", "Kyoto"),
            ("(1) Kyoto", "Kyoto"),
            ("(500) Days of Summer", "(500) Days of Summer"),
            ("→ Kyoto", "Kyoto"),
            ("• Kyoto", "Kyoto"),
            ("2. Bundesliga", "2. Bundesliga"),
            (">50% Off", ">50% Off"),
            ("#kyoto", "#kyoto"),
            ("-5 Degrees", "-5 Degrees"),
            ("####### Kyoto", "####### Kyoto"),
            ("*args", "*args"),
            ("-", ""),
            ("##", ""),
        ] {
            assert_eq!(without_leading_markup(line), rest);
        }
    }

    #[test]
    fn a_pair_of_tags_goes() {
        for (text, inner) in [
            ("<title>Kyoto</title>", "Kyoto"),
            ("<h1 class=\"x\"> Kyoto </h1>", "Kyoto"),
            ("<b>Kyoto</b> <b>Trip</b>", "<b>Kyoto</b> <b>Trip</b>"),
            ("<b><b>Kyoto</b></b>", "<b>Kyoto</b>"),
            ("<b>Kyoto</i>", "<b>Kyoto</i>"),
            ("<>Kyoto</>", "<>Kyoto</>"),
            ("Vec<T>", "Vec<T>"),
        ] {
            assert_eq!(without_tag_pair(text), inner);
        }
    }

    #[test]
    fn inline_markup_goes_and_identifiers_stay() {
        for (line, plain) in [
            ("**Kyoto** *in* ~~spring~~ ***now***", "Kyoto in spring now"),
            ("__A Trip__ to _Kyoto_", "A Trip to Kyoto"),
            ("**Title:**Kyoto", "Title:Kyoto"),
            ("今日は**京都**旅行", "今日は京都旅行"),
            ("**a *b* c**", "a b c"),
            (
                "The `useEffect` Hook and ``a`b``",
                "The useEffect Hook and a`b",
            ),
            ("`__init__` and `*args*`", "__init__ and *args*"),
            ("[Kyoto](https://a.example) ![map](b.png)!", "Kyoto map!"),
        ] {
            assert_eq!(without_inline_markup(line), plain);
        }
        for kept in [
            "Debugging __init__ in Python",
            "__FILE__ and _G",
            "snake_case_name and _private",
            "*args and **kwargs",
            "2 * 3 * 4 and 2**3**4 and a*b*c",
            "SELECT * FROM t",
            "~5 and ~/bin and a~~b",
            "The ` Character",
            "handlers[name](event)",
            "[WIP] Kyoto (spring)",
            "**",
            "****",
        ] {
            assert_eq!(without_inline_markup(kept), kept);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..Default::default() })]

        #[test]
        fn markup_rules_take_any_string(text in "[ a_*~`\\[\\](!)>#1.京é-]{0,40}") {
            prop_assert!(without_inline_markup(&text).len() <= text.len());
            prop_assert!(without_leading_markup(&text).len() <= text.len());
        }
    }
}
