//! Removes secrets and personal numbers from the texts that lists show: titles, hints and previews. Pure and total.
//!
//! A pattern finds candidates by their shape; a check decides by length, check digits and surrounding characters:
//! - keys and tokens whose issuer gives them a prefix, JSON Web Tokens, private keys, webhooks
//! - passwords in URLs, in assignments (`password=…`) and in sentences (`my password is …`)
//! - phone numbers in international form
//! - card numbers (Luhn), IBANs (length by country, ISO 7064 mod 97-10), US social security numbers
//! - e-mail addresses
//!
//! Versions, ISBNs, UUIDs, hashes and order numbers stay. So do national phone numbers and IP addresses: their shape
//! proves nothing.
//!
//! Linear in the text, because the patterns are automata and a rejected match is short or skipped.

mod checks;

use std::{borrow::Cow, ops::Range, sync::LazyLock};

use regex::Regex;

use self::checks::{
    assigned_key, card, email, iban, key, password, password_in_url, phone, said_password,
    social_security, whole,
};

/// The maximum number of passes over a text: after a removal, the remaining text may contain another match.
const MAX_ROUNDS: usize = 4;

/// The longest rejected match that is searched again from its second character.
const MAX_RETRIED_BYTES: usize = 64;

/// The part of a match to remove; `None` if it only looks like a secret.
type Check = fn(&str, Range<usize>) -> Option<Range<usize>>;

/// Patterns of keys with an issuer's prefix.
const KEYS: &[&str] = &[
    r"sk-[A-Za-z0-9_-]{20,}", // OpenAI, Anthropic, OpenRouter
    r"llx-[A-Za-z0-9]{40,}",  // LlamaCloud
    r"[A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}", // Entra
    r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,}",
    r"whsec_[A-Za-z0-9+/=]{20,}",
    r"gh[opsur]_[A-Za-z0-9]{30,}",
    r"github_pat_[A-Za-z0-9_]{22,}",
    r"gl(?:agent|cbt|dt|ffct|ft|imt|oas|pat|ptt|rt|soat)-[A-Za-z0-9_.-]{20,}",
    r"AIza[A-Za-z0-9_-]{35}",
    r"ya29\.[A-Za-z0-9_.-]{20,}",
    r"GOCSPX-[A-Za-z0-9_-]{20,}",
    r"xox[abeoprs]-[A-Za-z0-9.-]{20,}",
    r"xapp-[A-Za-z0-9-]{20,}",
    r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{20,}",
    r"key-[0-9a-f]{32}",
    r"[0-9a-f]{32}-us[0-9]{1,2}",
    r"SK[0-9a-f]{32}",
    r"npm_[A-Za-z0-9]{36}",
    r"pypi-[A-Za-z0-9_-]{50,}",
    r"rubygems_[0-9a-f]{48}",
    r"cio[A-Za-z0-9]{32}",
    r"dckr_[op]at_[A-Za-z0-9_-]{20,}",
    r"hf_[A-Za-z0-9]{30,}",
    r"r8_[A-Za-z0-9]{30,}",
    r"gsk_[A-Za-z0-9]{40,}",
    r"(?:pplx|xai)-[A-Za-z0-9]{40,}",
    r"dapi[0-9a-f]{32}",
    r"do[oprt]_v1_[0-9a-f]{64}",
    r"shp(?:at|ca|pa|ss)_[0-9A-Fa-f]{32}",
    r"sq0(?:atp|csp)-[A-Za-z0-9_-]{22,}",
    r"[0-9]{8,10}:[A-Za-z0-9_-]{35}", // Telegram
    r"[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,}", // Discord
    r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*)?",
    r"AGE-SECRET-KEY-1[0-9A-Z]{58}",
    r"lin_api_[A-Za-z0-9]{32,}",
    r"(?:ntn|secret)_[A-Za-z0-9]{40,}",
    r"figd_[A-Za-z0-9_-]{20,}",
    r"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}",
    r"AT(?:ATT|CTT|BB)[A-Za-z0-9_=-]{28,}",
    r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}",
    r"NRAK-[A-Z0-9]{27}",
    r"gl(?:sa|c)_[A-Za-z0-9_+/=]{30,}",
    r"sntry[su]_[A-Za-z0-9_+/=]{30,}",
    r"hv[brs]\.[A-Za-z0-9_-]{20,}",
    r"dp\.[a-z]{2,5}\.[A-Za-z0-9]{40,}",
    r"pscale_[a-z]+_[A-Za-z0-9_.=-]{30,}",
    r"sbp_[0-9a-f]{40}",
    r"sb_secret_[A-Za-z0-9_-]{20,}",
    r"nfp_[A-Za-z0-9]{36}",
    r"tskey-[a-z]+-[A-Za-z0-9-]{20,}",
    r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{60,}",
    r"hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/]{20,}",
    r"discord(?:app)?\.com/api/webhooks/[0-9]+/[A-Za-z0-9_-]{20,}",
];

/// The other patterns. Assignments and bearers match as much as is needed to find the value at their end.
const OTHERS: &[(&str, Check)] = &[
    (r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b", whole),
    (
        r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
        whole,
    ),
    (
        r"[A-Za-z][A-Za-z0-9+.-]*://[^\x00-\x20/@]+@",
        password_in_url,
    ),
    (
        r#"(?i)(?:pass(?:wor[dt]|wd|phrase)|kennwort|pwd|contraseña|senha)["']?[ ]?[:=]{1,2}>?[ ]?["']?[A-Za-z0-9!@#$%^&*_+=~?./-]{6,}"#,
        password,
    ),
    (
        r#"(?i)\b(?:pass(?:wor[dt]|code|phrase)|kennwort|contraseña|senha)[ ](?:is|was|ist|war|lautet|es|era|é)[ ]?:?[ ]["']?[A-Za-z0-9!@#$%^&*_+=~?./-]{6,}"#,
        said_password,
    ),
    (r"\+[1-9][0-9]{0,2}(?:[ ./-]?\(?[0-9]{1,12}\)?){1,7}", phone),
    (
        r#"(?i)(?:secret|token|(?:api|access|account|auth|private|secret|sharedaccess)[_-]?key)["']?[ ]?[:=]{1,2}>?[ ]?["']?[A-Za-z0-9_+=~./-]{16,}"#,
        assigned_key,
    ),
    (r"(?i)\bbearer [A-Za-z0-9_+=~./-]{16,}", assigned_key),
    (
        r"\b[0-9]{4}[ -][0-9]{4}[ -][0-9]{4}[ -][0-9]{4}\b|\b[0-9]{4}[ -][0-9]{6}[ -][0-9]{4,5}\b|\b[0-9]{12,19}\b",
        card,
    ),
    (r"\b[A-Za-z]{2}[0-9]{2}(?:[ -]?[A-Za-z0-9]){11,30}", iban),
    (r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b", social_security),
    (
        r"(?:mailto:)?[A-Za-z0-9À-ɏЀ-ӿ][A-Za-z0-9À-ɏЀ-ӿ._%+'-]*@(?:[A-Za-z0-9À-ɏЀ-ӿ][A-Za-z0-9À-ɏЀ-ӿ-]*\.)+[A-Za-zЀ-ӿ]{2,24}",
        email,
    ),
];

static KINDS: LazyLock<Vec<(Regex, Check)>> = LazyLock::new(|| {
    let keys = format!(r"\b(?:{})", KEYS.join("|"));
    let all = OTHERS.iter().map(|(pattern, check)| (*pattern, *check));
    let all = all.chain([(keys.as_str(), key as Check)]);
    // Word boundaries are ASCII: a key may be followed directly by a Japanese particle.
    let compile = |pattern: &str| Regex::new(&pattern.replace(r"\b", r"(?-u:\b)"));
    all.filter_map(|(pattern, check)| Some((compile(pattern).ok()?, check)))
        .collect()
});

/// Compiles the patterns at startup, so that no message waits for it.
pub fn load() {
    LazyLock::force(&KINDS);
}

/// A text without secrets and personal numbers, and without the brackets, quotes and spaces around them. Borrowed if
/// the text has none.
pub fn redact(text: &str) -> Cow<'_, str> {
    let mut kept = Cow::Borrowed(text);
    for _ in 0..MAX_ROUNDS {
        let found = find(&kept);
        if found.is_empty() {
            break;
        }
        kept = Cow::Owned(without(&kept, &found));
    }
    kept
}

/// The ranges that [`redact`] removes, in text order, without overlaps.
fn find(text: &str) -> Vec<Range<usize>> {
    match folded(text) {
        None => find_in(text),
        Some((folded, places)) => {
            let found = find_in(&folded).into_iter();
            found
                .map(|range| places[range.start]..places[range.end])
                .collect()
        }
    }
}

/// The text with full-width forms as ASCII and dashes between digits as hyphens (models and word processors write such
/// forms), and the original position of each byte. `None` if it has no such form.
fn folded(text: &str) -> Option<(String, Vec<usize>)> {
    let is_odd = |c: char| matches!(c, '\u{FF01}'..='\u{FF5E}' | '﹫' | '\u{2010}'..='\u{2013}');
    if !text.contains(is_odd) {
        return None;
    }
    let (mut folded, mut places) = (String::with_capacity(text.len()), Vec::new());
    for (at, c) in text.char_indices() {
        let is_between_digits = || {
            let next = text[at + c.len_utf8()..].chars().next();
            let before = text[..at].chars().next_back();
            [before, next]
                .into_iter()
                .all(|c| c.is_some_and(char::is_numeric))
        };
        let plain = match c {
            '﹫' => '@',
            '\u{FF01}'..='\u{FF5E}' => char::from_u32(c as u32 - 0xFEE0).unwrap_or(c),
            '\u{2010}'..='\u{2013}' if is_between_digits() => '-',
            c => c,
        };
        folded.push(plain);
        places.resize(folded.len(), at);
    }
    places.push(text.len());
    Some((folded, places))
}

fn find_in(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (pattern, check) in KINDS.iter() {
        let mut at = 0;
        while let Some(shape) = pattern.find_at(text, at) {
            at = match check(text, shape.range()) {
                Some(secret) => {
                    found.push(secret.clone());
                    secret.end
                }
                None if shape.len() > MAX_RETRIED_BYTES => shape.end(),
                None => shape.start() + shape.as_str().chars().next().map_or(1, char::len_utf8),
            };
        }
    }
    found.sort_unstable_by_key(|range| (range.start, range.end));
    found.dedup_by(|next, before| {
        let overlaps = next.start < before.end;
        if overlaps {
            before.end = before.end.max(next.end);
        }
        overlaps
    });
    found
}

fn without(text: &str, found: &[Range<usize>]) -> String {
    const CLOSERS: [char; 12] = [
        ',', '.', ';', ':', '?', '!', ')', ']', '。', '、', '？', '！',
    ];
    let mut kept = String::with_capacity(text.len());
    let mut at = 0;
    for range in found {
        let Range { start, end } = wrapped(text, range);
        kept.push_str(&text[at.min(start)..start]);
        let mut rest = &text[end..];
        if kept.trim_end().is_empty() {
            rest = rest.trim_start_matches([' ', ',', ';', ':']);
            // The end of a sentence, not a file extension.
            let end = rest.trim_start_matches(['.', '!', '?']);
            if end.starts_with(' ') {
                rest = end.trim_start();
            }
        } else if kept.ends_with(' ') {
            rest = rest.trim_start_matches(' ');
        }
        if rest.is_empty() || rest.starts_with(CLOSERS) {
            kept.truncate(kept.trim_end_matches(' ').len());
        }
        at = text.len() - rest.len();
    }
    kept.push_str(&text[at..]);
    kept
}

/// The range, extended to the brackets and quotes that enclose nothing else.
fn wrapped(text: &str, range: &Range<usize>) -> Range<usize> {
    const PAIRS: [(char, char); 10] = [
        ('(', ')'),
        ('[', ']'),
        ('<', '>'),
        ('{', '}'),
        ('"', '"'),
        ('\'', '\''),
        ('`', '`'),
        ('“', '”'),
        ('‘', '’'),
        ('«', '»'),
    ];
    let mut range = range.clone();
    loop {
        let (before, after) = (&text[..range.start], &text[range.end..]);
        let pair = PAIRS
            .iter()
            .find(|(open, close)| before.ends_with(*open) && after.starts_with(*close));
        let Some((open, close)) = pair else {
            return range;
        };
        range = range.start - open.len_utf8()..range.end + close.len_utf8();
    }
}

#[cfg(test)]
mod tests;
