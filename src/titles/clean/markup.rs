//! Removes fences, JSON and escapes around a title, and rejects markup left inside it. `phrases` handles words.

use serde_json::Value;

use super::{Rejection, encoding, quotes, reasoning, tokens};
use crate::conversation::fence::split_fence;

/// The content of a code fence around the whole text. An unclosed fence is a truncated answer.
pub(super) fn fenced(text: &str) -> Result<Option<&str>, Rejection> {
    let Some((fence, body)) = split_fence(text) else {
        return Ok(None);
    };
    let body = body
        .trim_end()
        .strip_suffix(fence)
        .ok_or(Rejection::CutOff)?;
    let content = match body.split_once('\n') {
        Some((info, content)) if is_plain(info.trim()) => content,
        Some(_) => return Err(Rejection::Markup),
        None => match body.split_once(char::is_whitespace) {
            Some((_, json)) if json.trim_start().starts_with(['{', '[', '"']) => json,
            _ if body.chars().all(|c| c.is_ascii_lowercase()) => return Err(Rejection::CutOff),
            _ => body,
        },
    };
    Ok(Some(content))
}

/// Whether a fence's label means plain text; source code is not a title.
fn is_plain(info: &str) -> bool {
    const PLAIN: &str =
        "json json5 jsonc text txt plaintext plain markdown md title output answer none";

    info.is_empty()
        || PLAIN
            .split(' ')
            .any(|plain| info.eq_ignore_ascii_case(plain))
}

/// Elements whose content is not text, so their tags are not wrappers.
const OPAQUE: &str = "script style iframe object embed applet svg math template noscript textarea select button form \
     head meta link canvas audio video source code pre tool_call tool_calls function_call function_calls function \
     tool_response tool_result invoke error";

/// Whether a text begins with the tag of an opaque element.
pub(super) fn is_opaque(text: &str) -> bool {
    text.strip_prefix('<').is_some_and(|rest| {
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(rest.len());
        let name = &rest[..end];
        OPAQUE
            .split_whitespace()
            .any(|opaque| name.eq_ignore_ascii_case(opaque))
    })
}

/// The title in the requested JSON object, or a JSON string. `None` if the text is not JSON.
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

/// Removes backslashes before quotes and markdown: `\"Kyoto\"`, `\_\_init\_\_`. Keeps them if none touches a word,
/// since the line is about them: `Escaping \" in Bash`.
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

/// Decodes the HTML character references that models write. Keeps `&nbsp;`: a title with it is about HTML.
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

/// The character of a reference, by the text between `&` and `;`.
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

/// The rejection for markup in a text, if there is any.
pub(super) fn rejection(text: &str, message: Option<&str>) -> Option<Rejection> {
    if tokens::has_token(text, message)
        || reasoning::has_broken_tag(text)
        || reasoning::starts_in_channel(text)
    {
        Some(Rejection::Reasoning)
    } else if encoding::is_garbled(text, message) {
        Some(Rejection::Garbled)
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
    } else if quotes::is_half_quoted(text) {
        Some(Rejection::CutOff)
    } else {
        None
    }
}

fn has_json(text: &str) -> bool {
    const PIECES: [&str; 9] = [
        "{\"", "{ \"", "\"}", "\" }", "\":\"", "\": \"", "\":{", "\":[", "[\"",
    ];
    PIECES.iter().any(|piece| text.contains(piece))
}

/// Whether a text has a URL: any scheme before `://`, or a known one directly before ASCII. "Kotlin: Coroutines" and
/// "Data: A Guide" have none.
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

/// Whether a character is an ASCII letter or digit, or a full-width one.
fn is_of_scheme(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '０'..='９' | 'Ａ'..='Ｚ' | 'ａ'..='ｚ')
}

/// Whether markdown remains: a fence, a link, a table, or an unpaired delimiter at an end.
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

/// HTML tags, and tags that models wrap answers in.
const HTML: &str = "a b body br center code div em font h1 h2 h3 head hr html i iframe img li mark ol p pre script span \
     strong style sub sup svg table title u ul answer final output response result";

/// Whether a text has an HTML or XML tag, even a cut-off one. `Vec<T>`, `Map<string, number>`, `a < b`, `<3` and `->`
/// are not tags; neither is a type or a component among other words: "<T> in Rust", "React <Suspense>".
fn has_tag(text: &str) -> bool {
    text.match_indices('<').any(|(at, _)| {
        let inside = &text[at + 1..];
        let is_generic = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == ':');
        let end = inside
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(inside.len());
        let name = &inside[..end];
        // `Vec<T>` and `List<Title>` are types; `<br>` and `<BR>` are tags anywhere.
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

/// Whether `<Name>` is a separate word among others, and looks like the name of a type.
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
