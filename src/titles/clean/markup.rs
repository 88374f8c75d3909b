//! The marks that models put around a title: reasoning, fences, JSON, quotes; and those that must not be left in one.
//! Words and phrases live in `phrases`.

use serde_json::Value;

use super::Rejection;

/// The tags that models wrap reasoning in.
const REASONING: &str = "think thinking thought thoughts reason reasoning analysis reflection scratchpad antthinking \
        seed:think internal_monologue inner_monologue internal_thought thought_process chain_of_thought cot \
        deliberation ponder ant_thinking";

/// A reasoning tag in a text: where it starts and ends, and whether it closes.
struct ReasoningTag {
    start: usize,
    end: usize,
    closes: bool,
}

/// A text without its reasoning and without the tokens that end a turn.
pub(super) fn without_reasoning(text: &str) -> Result<String, Rejection> {
    let mut rest = without_channels(text)?;
    let mut kept = String::new();
    while let Some(tag) = reasoning_tag(rest) {
        if tag.closes {
            // Its opening is missing: some servers swallow it.
            kept.clear();
            rest = &rest[tag.end..];
            continue;
        }
        kept.push_str(&rest[..tag.start]);
        let inside = &rest[tag.end..];
        let mut from = 0;
        let end = loop {
            let tag = reasoning_tag(&inside[from..]).ok_or(Rejection::Reasoning)?;
            from += tag.end;
            if tag.closes {
                break from;
            }
        };
        kept.push('\n');
        rest = &inside[end..];
    }
    kept.push_str(rest);
    Ok(kept)
}

/// The first `<think>`, `</think>`, `[THINK]`, `◁think▷` and so on. A tag that the text ends in counts as opening.
fn reasoning_tag(text: &str) -> Option<ReasoningTag> {
    for (start, opening) in text.match_indices(['<', '[', '◁']) {
        let inside = &text[start + opening.len()..];
        let name_at = inside.strip_prefix('/').unwrap_or(inside);
        let closes = name_at.len() < inside.len();
        let end = name_at
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | ':')))
            .unwrap_or(name_at.len());
        let (name, after) = name_at.split_at(end);
        let is_reasoning = match opening {
            "[" => matches!(name, "THINK" | "think" | "THINKING" | "REASONING"),
            _ => REASONING
                .split(' ')
                .any(|known| name.eq_ignore_ascii_case(known)),
        };
        if !is_reasoning {
            continue;
        }
        let closing = after.find(['<', '[', '◁', '>', ']', '▷', '\n']);
        match closing.map(|at| (at, after[at..].chars().next().unwrap_or_default())) {
            Some((at, mark @ ('>' | ']' | '▷'))) => {
                let end = text.len() - after.len() + at + mark.len_utf8();
                return Some(ReasoningTag { start, end, closes });
            }
            Some(_) => {}
            None if opening == "<" => {
                return Some(ReasoningTag {
                    start,
                    end: text.len(),
                    closes: false,
                });
            }
            None => {}
        }
    }
    None
}

/// The final channel of a text in OpenAI's harmony format, or the text before the tokens that end a turn.
fn without_channels(text: &str) -> Result<&str, Rejection> {
    const ENDS: [&str; 4] = ["</s>", "<eos>", "<end_of_turn>", "<|end|>"];

    let mut text = text;
    if let Some((head, message)) = text.rsplit_once("<|message|>") {
        let channel = head
            .rsplit_once("<|channel|>")
            .map_or("", |(_, channel)| channel);
        if !channel.trim_start().starts_with("final") {
            return Err(Rejection::Reasoning);
        }
        text = message;
    } else if let Some((_, message)) = text.rsplit_once("assistantfinal") {
        // The same, from a server that drops the special tokens and keeps the words between them.
        text = message;
    }
    loop {
        let trimmed = text.trim_end();
        let shorter = ENDS.iter().find_map(|end| trimmed.strip_suffix(end));
        match shorter.or_else(|| without_special_token(trimmed)) {
            Some(shorter) => text = shorter,
            None => return Ok(text),
        }
    }
}

/// A text without the special token that it ends in: `<|im_end|>`, `<｜end▁of▁sentence｜>`.
fn without_special_token(text: &str) -> Option<&str> {
    let inside = text.strip_suffix('>')?.strip_suffix(['|', '｜'])?;
    let (head, token) = inside.rsplit_once('<')?;
    is_token_name(token.strip_prefix(['|', '｜'])?).then_some(head)
}

fn is_token_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '▁'))
}

fn has_special_token(text: &str) -> bool {
    const TOKENS: [&str; 4] = ["[INST]", "[/INST]", "/think >", "/think＞"];

    TOKENS.iter().any(|token| text.contains(token))
        || text.split('<').skip(1).any(|part| {
            part.split_once('>').is_some_and(|(token, _)| {
                let name = token
                    .strip_prefix(['|', '｜'])
                    .and_then(|token| token.strip_suffix(['|', '｜']));
                name.is_some_and(is_token_name)
            })
        })
}

/// The content of a code fence that wraps the whole text. One that is not closed is an answer cut off.
pub(super) fn fenced(text: &str) -> Result<Option<&str>, Rejection> {
    let mark = if text.starts_with('~') { '~' } else { '`' };
    let body = text.trim_start_matches(mark);
    let fence = &text[..text.len() - body.len()];
    if fence.len() < 3 {
        return Ok(None);
    }
    let body = body
        .trim_end()
        .strip_suffix(fence)
        .ok_or(Rejection::CutOff)?;
    let content = match body.split_once('\n') {
        Some((info, content)) if !info.trim().contains(char::is_whitespace) => content,
        Some(_) => return Err(Rejection::Markup),
        None => match body.split_once(char::is_whitespace) {
            Some((_, json)) if json.trim_start().starts_with(['{', '[', '"']) => json,
            _ if body.chars().all(|c| c.is_ascii_lowercase()) => return Err(Rejection::CutOff),
            _ => body,
        },
    };
    Ok(Some(content))
}

/// The title in the asked-for JSON object, or a JSON string. None if the text is no JSON.
pub(super) fn json_title(text: &str) -> Result<Option<String>, Rejection> {
    let is_object = text.starts_with('{') && !text.starts_with("{{") && !text.starts_with("{}");
    if !(is_object || text.starts_with(['{', '[', '"'])) {
        return Ok(None);
    }
    match serde_json::from_str(text) {
        Ok(Value::String(text)) => Ok(Some(text)),
        Ok(Value::Object(mut object)) => match object.remove("title") {
            Some(Value::String(title)) => Ok(Some(title)),
            _ => Err(Rejection::NotTheShape),
        },
        Ok(_) => Err(Rejection::NotTheShape),
        Err(_) if is_object => Err(Rejection::NotTheShape),
        Err(_) => Ok(None),
    }
}

/// Quotes: what opens, and what may close it.
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

/// The marks that are apostrophes too, so that one alone says nothing.
const APOSTROPHES: [char; 6] = ['\'', '’', '‘', '‚', '´', '＇'];

/// Parentheses come off like quotes, but one alone is no half of a quotation: `a)`, `:)`.
const PARENTHESES: [(char, &str); 3] = [('(', ")"), ('（', "）"), ('＜', "＞")];

/// Double quotes that models pair at random: `“Kyoto"`, `“Kyoto“`.
const DOUBLES: [char; 6] = ['"', '“', '”', '„', '‟', '＂'];

/// A line without the pair of quotes that wraps the whole of it.
pub(super) fn without_quotes(line: &str) -> &str {
    let mixed = || {
        let inner = line.strip_prefix(DOUBLES)?.strip_suffix(DOUBLES)?;
        (!inner.contains(DOUBLES)).then_some(inner.trim())
    };
    // As in TeX.
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

/// A line without the backslashes of escaped quotes and markdown: `\"Kyoto\"`, `\_\_init\_\_`. One that stands apart
/// from words is what the line is about: `Escaping \" in Bash`.
pub(super) fn without_escapes(line: &str) -> String {
    const ESCAPED: [&str; 5] = ["\\\"", "\\'", "\\_", "\\*", "\\`"];

    let is_glued = ESCAPED.iter().any(|escaped| {
        line.match_indices(escaped).any(|(at, _)| {
            line[..at].ends_with(char::is_alphanumeric)
                || line[at + 2..].starts_with(char::is_alphanumeric)
        })
    });
    if !is_glued {
        return line.to_owned();
    }
    ESCAPED.iter().fold(line.to_owned(), |line, escaped| {
        line.replace(escaped, &escaped[1..])
    })
}

/// A text without HTML's character references, as far as models write them. `&nbsp;` stays: it says nothing by itself,
/// so it is what the title is about.
pub(super) fn without_references(text: &str) -> String {
    const LONGEST: usize = 10;

    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        let (before, reference) = rest.split_at(at);
        plain.push_str(before);
        let end = reference
            .bytes()
            .take(LONGEST)
            .position(|byte| byte == b';');
        let (c, length) = end
            .and_then(|end| Some((referred(&reference[1..end])?, end + 1)))
            .unwrap_or(('&', 1));
        plain.push(c);
        rest = &reference[length..];
    }
    plain.push_str(rest);
    plain
}

/// The character that a reference names, by what stands between its `&` and `;`.
fn referred(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => number.parse(),
        };
        return code.ok().and_then(char::from_u32);
    }
    Some(match name {
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        "lt" => '<',
        "gt" => '>',
        "ldquo" => '“',
        "rdquo" => '”',
        "lsquo" => '‘',
        "rsquo" => '’',
        "laquo" => '«',
        "raquo" => '»',
        "hellip" => '…',
        "ndash" => '–',
        "mdash" => '—',
        "colon" => ':',
        _ => return None,
    })
}

/// Whether a text begins with a quote that cannot be an apostrophe.
pub(super) fn opens_quotation(text: &str) -> bool {
    QUOTES
        .iter()
        .any(|(open, _)| text.starts_with(*open) && !APOSTROPHES.contains(open))
}

/// Whether what stands between two equal quotes closes the first and opens another, as in `"A" or "B"`.
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

/// Whether what stands between two quotes never closes the first only to open another, as in `“A” or “B”`.
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

/// Why a text with these marks in it cannot be a title.
pub(super) fn rejection(text: &str) -> Option<Rejection> {
    if has_special_token(text) || starts_in_channel(text) {
        Some(Rejection::Reasoning)
    } else if has_json(text) {
        Some(Rejection::NotTheShape)
    } else if has_url(text) {
        Some(Rejection::Url)
    } else if has_markdown(text)
        || has_tag(text)
        || text.contains("\\boxed")
        || text.contains("\\text")
        || (text.starts_with('\\') && text.ends_with('}'))
    {
        Some(Rejection::Markup)
    } else if is_half_quoted(text) {
        Some(Rejection::CutOff)
    } else {
        None
    }
}

/// Whether a text is an analysis channel without its special tokens: "analysisThe user wants …".
fn starts_in_channel(text: &str) -> bool {
    text.strip_prefix("analysis")
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_uppercase()))
}

fn has_json(text: &str) -> bool {
    const PIECES: [&str; 9] = [
        "{\"", "{ \"", "\"}", "\" }", "\":\"", "\": \"", "\":{", "\":[", "[\"",
    ];
    PIECES.iter().any(|piece| text.contains(piece)) || has_json_escape(text)
}

/// Whether a text has one of JSON's escapes as part of a word or of a pair: `Caf\u00e9`, `\ud83d\uddfe`.
fn has_json_escape(text: &str) -> bool {
    text.match_indices("\\u").any(|(at, _)| {
        let Some(rest) = text.get(at + 6..) else {
            return false;
        };
        let is_escape = text[at + 2..at + 6].bytes().all(|b| b.is_ascii_hexdigit());
        is_escape && (text[..at].ends_with(char::is_alphabetic) || rest.starts_with("\\u"))
    })
}

/// Whether a text has a URL with a scheme: any that `://` follows, or a known one that some ASCII follows directly.
/// "Kotlin: Coroutines" and "Data: A Guide" have none.
fn has_url(text: &str) -> bool {
    const SCHEMES: &str = "http https ftp ftps sftp file javascript vbscript data blob mailto tel sms magnet urn ws wss \
       ";
    text.match_indices([':', '：', '﹕']).any(|(at, colon)| {
        let (head, tail) = (&text[..at], &text[at + colon.len()..]);
        let word = head.rfind(|c: char| !is_of_scheme(c));
        let word = word.map_or(head, |at| {
            head[at..].trim_start_matches(|c: char| !is_of_scheme(c))
        });
        let is_known = || {
            SCHEMES
                .split(' ')
                .any(|known| word.eq_ignore_ascii_case(known))
        };
        !word.is_empty()
            && (["//", "／／"]
                .iter()
                .any(|slashes| tail.starts_with(slashes))
                || (colon == ":" && is_known() && tail.starts_with(|c: char| c.is_ascii_graphic())))
    })
}

/// Letters and digits, those of full width too.
fn is_of_scheme(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '０'..='９' | 'Ａ'..='Ｚ' | 'ａ'..='ｚ')
}

/// Whether markdown is left: a fence, a link, a table, or a delimiter at an end that has no partner.
fn has_markdown(text: &str) -> bool {
    let mark = text.chars().next().filter(|mark| "*_~".contains(*mark));
    let after = mark.and_then(|mark| text.trim_start_matches(mark).chars().next());
    // `*args`, `**kwargs` and `__init__` are names.
    let is_unclosed = after.is_some_and(|c| c.is_alphabetic() && !c.is_ascii_lowercase())
        && !text.starts_with('_');
    is_unclosed
        || (text.starts_with("| ") && text[2..].contains('|'))
        || text.starts_with("![")
        || ["**", "~~", "##"].iter().any(|end| text.ends_with(end))
        || ["```", "~~~", "]("]
            .iter()
            .any(|piece| text.contains(piece))
}

/// Tags that are markup wherever they stand, and those that models wrap an answer in.
const HTML: &str = "a b body br center code div em font h1 h2 h3 head hr html i iframe img li mark ol p pre script span \
     strong style sub sup svg table title u ul answer final output response result";

/// Whether a text has an HTML or XML tag, even a cut-off one. `Vec<T>`, `Map<string, number>`, `a < b`, `<3` and `->`
/// are none; nor is a type or a component among other words: "<T> in Rust", "React <Suspense>".
fn has_tag(text: &str) -> bool {
    text.match_indices('<').any(|(at, _)| {
        let inside = &text[at + 1..];
        let is_generic = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == ':');
        let end = inside
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(inside.len());
        let name = &inside[..end];
        // `Vec<T>` and `List<Title>` are types; `<br>` and `<BR>` are tags wherever they stand.
        let is_html = || {
            HTML.split(' ')
                .any(|tag| name == tag || (end > 1 && name == tag.to_ascii_uppercase()))
        };
        let is_name = inside.starts_with(|c: char| c.is_ascii_alphabetic());
        let closes =
            inside.starts_with('/') && inside[1..].starts_with(|c: char| c.is_ascii_alphabetic());
        closes
            || inside.starts_with("!-")
            || inside.starts_with("?xml")
            || (is_name && (!is_generic || is_html()) && !is_type(text, at, name))
    })
}

/// Whether `<Name>` stands apart among other words, and the name is that of a type.
fn is_type(text: &str, at: usize, name: &str) -> bool {
    let (before, after) = (&text[..at], &text[at + 1 + name.len()..]);
    let Some(after) = after.strip_prefix('>') else {
        return false;
    };
    let is_html = HTML.split(' ').any(|tag| name.eq_ignore_ascii_case(tag));
    !is_html
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && (before.is_empty() || before.ends_with(' '))
        && (after.is_empty() || after.starts_with([' ', ',', ':', '?', '!']))
        && before.len() + after.len() > 0
}

/// Whether a quotation begins the text and never ends, or ends it and never began. Feet, inches and apostrophes aside.
fn is_half_quoted(text: &str) -> bool {
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
