//! Removes quotes of any script around a title, and detects unpaired quotes, which mark a truncated title.

/// Opening quotes, each with the closing quotes that may follow.
const QUOTES: [(char, &str); 35] = [
    ('"', "\""),
    ('\'', "'"),
    ('`', "`"),
    ('´', "´"),
    ('“', "”"),
    ('”', "”"),
    ('„', "“”"),
    ('‟', "”"),
    ('‘', "’‘"),
    ('’', "’"),
    ('‚', "‘’"),
    ('«', "»"),
    ('»', "«»"),
    ('‹', "›"),
    ('›', "‹›"),
    ('「', "」"),
    ('『', "』"),
    ('《', "》"),
    ('〈', "〉"),
    ('【', "】"),
    ('〔', "〕"),
    ('〖', "〗"),
    ('｢', "｣"),
    ('〝', "〞〟"),
    ('＂', "＂"),
    ('＇', "＇"),
    ('❝', "❞"),
    ('❛', "❜"),
    ('❮', "❯"),
    ('〘', "〙"),
    ('〚', "〛"),
    ('⟨', "⟩"),
    ('⟪', "⟫"),
    ('≪', "≫"),
    ('[', "]"),
];

/// Quotes that are also apostrophes, so that a single one proves nothing.
const APOSTROPHES: [char; 6] = ['\'', '’', '‘', '‚', '´', '＇'];

/// Parentheses, removed like quotes. A single one is not an unpaired quote: `a)`, `:)`.
const PARENTHESES: [(char, &str); 3] = [('(', ")"), ('（', "）"), ('＜', "＞")];

/// Double quotes that models pair at random: `“Kyoto"`, `“Kyoto“`.
const DOUBLES: [char; 6] = ['"', '“', '”', '„', '‟', '＂'];

/// Removes a pair of quotes that wraps the whole line.
pub(super) fn without_quotes(line: &str) -> &str {
    let mixed = || {
        let inner = line.strip_prefix(DOUBLES)?.strip_suffix(DOUBLES)?;
        (!inner.contains(DOUBLES)).then_some(inner.trim())
    };
    // TeX quotes.
    let ticks = || line.strip_prefix("``")?.strip_suffix("''").map(str::trim);
    let inner = || {
        let open = line.chars().next()?;
        let mut pairs = QUOTES.iter().chain(&PARENTHESES);
        let (_, closers) = pairs.find(|(known, _)| *known == open)?;
        let inner = &line[open.len_utf8()..];
        let close = inner.chars().next_back().filter(|&c| closers.contains(c))?;
        let inner = &inner[..inner.len() - close.len_utf8()];
        let closed_early = if open == close {
            reopens(inner, open)
        } else {
            !is_balanced(inner, open, closers)
        };
        (!closed_early).then_some(inner.trim())
    };
    mixed().or_else(ticks).or_else(inner).unwrap_or(line)
}

/// Whether a text begins with a quote that cannot be an apostrophe.
pub(super) fn opens_quotation(text: &str) -> bool {
    QUOTES
        .iter()
        .any(|(open, _)| text.starts_with(*open) && !APOSTROPHES.contains(open))
}

/// Whether the text between two equal quotes closes the first and opens another, as in `"A" or "B"`.
fn reopens(inner: &str, quote: char) -> bool {
    let mut closed = false;
    let mut before = None;
    let mut chars = inner.chars().peekable();
    while let Some(c) = chars.next() {
        let after = chars.peek().copied();
        let after_word = before.is_some_and(char::is_alphanumeric);
        let before_word = after.is_some_and(char::is_alphanumeric);
        let is_apostrophe = after_word && before_word && APOSTROPHES.contains(&c);
        if c == quote && !is_apostrophe {
            let leads_on = after.is_some_and(|c| !c.is_whitespace());
            if closed && leads_on {
                return true;
            }
            if before.is_none_or(char::is_whitespace) || (!after_word && before_word) {
                return false;
            }
            closed = true;
        }
        before = Some(c);
    }
    false
}

/// Whether the text between two quotes does not close the first and open another, as in `“A” or “B”`.
fn is_balanced(inner: &str, open: char, closers: &str) -> bool {
    let mut depth = 1_usize;
    for c in inner.chars() {
        if c == open {
            if depth == 0 {
                return false;
            }
            depth += 1;
        } else if closers.contains(c) {
            depth = depth.saturating_sub(1);
        }
    }
    depth <= 1
}

/// Whether the text begins with a quote that never closes, or ends with a quote that never opened. Feet, inches and
/// apostrophes do not count.
pub(super) fn is_half_quoted(text: &str) -> bool {
    let mut chars = text.chars();
    let (Some(first), Some(last)) = (chars.next(), chars.next_back()) else {
        return false;
    };
    let before_last = chars.next_back().unwrap_or(first);
    let inner = &text[first.len_utf8()..];
    let before = &text[..text.len() - last.len_utf8()];
    let closers = QUOTES
        .iter()
        .find(|(open, _)| *open == first)
        .map_or("", |(_, closers)| closers);
    let closes_nothing = || {
        let mut openings = QUOTES
            .iter()
            .filter(|(_, closers)| closers.contains(last))
            .peekable();
        openings.peek().is_some()
            && !APOSTROPHES.contains(&last)
            && !before_last.is_numeric()
            && !openings.any(|(open, _)| before.contains(*open))
    };
    (opens_quotation(text) && !inner.contains(|c| closers.contains(c))) || closes_nothing()
}
