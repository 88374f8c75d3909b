//! Decides whether a candidate with the shape of a secret or a personal number is one.

use std::ops::Range;

/// The lengths of IBANs by country (the SWIFT registry).
const IBANS: &str = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 \
    EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 \
    LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 \
    RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30";

/// Card numbers: the lowest and highest first four digits of each range, and its lengths.
const CARDS: [(u32, u32, &[usize]); 11] = [
    (4000, 4999, &[16, 19]),
    (5100, 5599, &[16]),
    (2221, 2720, &[16]),
    (3400, 3499, &[15]),
    (3700, 3799, &[15]),
    (3000, 3059, &[14, 16]),
    (3600, 3999, &[14, 16]),
    (3528, 3589, &[16, 19]),
    (6011, 6011, &[16, 19]),
    (6440, 6599, &[16, 19]),
    (6200, 6299, &[16, 17, 18, 19]),
];

/// Maestro's first digits, with 12 to 19 digits: no rule holds for all issuers.
const MAESTRO: [u32; 9] = [5018, 5020, 5038, 5893, 6304, 6759, 6761, 6762, 6763];

/// Suffixes of names that look like e-mail addresses: hosts of a local network, systemd units, images.
const NO_DOMAINS: &str = "local localhost localdomain lan internal home service socket timer target slice mount path png jpg jpeg \
    gif webp svg ico";

/// Names of algorithms, which occur where a password would stand.
const ALGORITHMS: [&str; 8] = [
    "sha", "md5", "base64", "argon2", "pbkdf2", "utf", "aes", "rs256",
];

/// A match that needs no check.
pub(super) fn whole(_: &str, range: Range<usize>) -> Option<Range<usize>> {
    Some(range)
}

/// A key with a known prefix: random, and complete.
pub(super) fn key(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let ends = !text[range.end..].starts_with(|c: char| c.is_ascii_alphanumeric());
    (ends && is_random(&text[range.clone()])).then_some(range)
}

/// The user and password of a URL, or a key in place of the user.
pub(super) fn password_in_url(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let start = range.start + text[range.clone()].find("://")? + 3;
    let user = &text[start..range.end];
    (user.contains(':') || is_random(user)).then_some(start..range.end)
}

/// The minimum length of a password, and of a key without a known prefix, in bytes.
const MIN_PASSWORD: usize = 6;
const MIN_KEY: usize = 16;

/// Words that occur where a password would stand.
const NO_PASSWORDS: &str = "password passwort passwd passphrase pwd contraseña senha secret user required optional forgotten \
    vergessen missing incorrect wrong invalid expired falsch ungültig abgelaufen incorrecta olvidada perdida esquecida string \
    undefined boolean encrypted verschlüsselt hashed hidden prompt reset change create generate manager without please protected \
    policy strength correct accepted rejected stored empty nothing unknown default needed length minimum maximum";

/// The value of an assignment, and where it begins; `None` for a call, a variable, an algorithm or a URL.
fn value_of(text: &str, range: Range<usize>) -> Option<(usize, &str)> {
    let pair = &text[range.clone()];
    let signs = [':', '=', '>', ' ', '"', '\''];
    let value = pair[pair.find(signs)?..].trim_start_matches(signs);
    let start = range.end - value.len();
    let value = value.trim_end_matches(['.', '?']);
    let is_call = text[range.end..].starts_with(['(', '[', '{', '<']);
    let lower = value.to_ascii_lowercase();
    let is_name = ALGORITHMS.iter().any(|name| lower.starts_with(name)) || value.contains("://");
    (!is_call && !is_name).then_some((start, value))
}

fn is_mixed(value: &str) -> bool {
    value.bytes().any(|b| b.is_ascii_digit()) && value.bytes().any(|b| b.is_ascii_alphabetic())
}

/// The value of an assignment to a name such as `api_key`, if it looks like a key.
pub(super) fn assigned_key(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let (start, value) = value_of(text, range)?;
    (value.len() >= MIN_KEY && is_mixed(value) && is_random(value))
        .then_some(start..start + value.len())
}

/// The value of an assignment to a name such as `password`. A value of letters only must be in a position where only a
/// password fits: not before another word (`password: best practices`), and not a variable or a path.
pub(super) fn password(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let (start, value) = value_of(text, range.clone())?;
    let is_glued = text[range.start..start].ends_with('=');
    let behind = text[start + value.len()..].trim_start_matches(['"', '\'', ')', '}', '?', '.']);
    let ends = is_glued
        || behind.trim_start_matches(' ').is_empty()
        || behind.starts_with(['\n', ',', ';']);
    let is_path = value.starts_with(['/', '.', '$', '%', '-'])
        || value.split('.').nth(1).is_some_and(|part| !part.is_empty());
    let is_secret = is_mixed(value) || ends && !is_path && is_password_alone(value);
    (value.len() >= MIN_PASSWORD && is_secret).then_some(start..start + value.len())
}

/// The password in a sentence (`my password is …`). It has letters and digits, unlike "the password is incorrect".
pub(super) fn said_password(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let value = text[range.clone()].rsplit([' ', '"', '\'']).next()?;
    let start = range.end - value.len();
    let value = value.trim_end_matches(['.', '?', '!']);
    (value.len() >= MIN_PASSWORD && is_mixed(value)).then_some(start..start + value.len())
}

/// Whether a value without a digit is a password, not a word about one.
fn is_password_alone(value: &str) -> bool {
    let lower = value.to_lowercase();
    let is_word = NO_PASSWORDS.split_whitespace().any(|word| lower == word);
    let is_placeholder = lower.contains("passw") || lower.contains("your") || is_repeated(&lower);
    value.bytes().any(|b| b.is_ascii_alphabetic()) && !is_word && !is_placeholder
}

/// Whether a text repeats one character.
fn is_repeated(text: &str) -> bool {
    text.chars().all(|c| text.starts_with(c))
}

/// Two-digit country codes. Codes that begin with 1 or 7 have one digit, all others three.
const CALLING_CODES: &str = "20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86 \
    90 91 92 93 94 95 98";

/// A phone number in international form: a country code, and a plausible number of digits.
pub(super) fn phone(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let shape = text[range.clone()].trim_end_matches(|c: char| !c.is_ascii_digit() && c != ')');
    // "(+46 8 123 456 78)".
    let shape = match shape.strip_suffix(')') {
        Some(inner) if inner.matches('(').count() <= inner.matches(')').count() => inner,
        _ => shape,
    };
    let range = range.start..range.start + shape.len();
    let groups: Vec<&str> = shape[1..]
        .split(|c: char| !c.is_ascii_digit())
        .filter(|group| !group.is_empty())
        .collect();
    let digits: String = groups.concat();
    let code = match digits.as_bytes()[0] {
        b'1' | b'7' => 1,
        _ if CALLING_CODES
            .split_whitespace()
            .any(|code| digits.starts_with(code)) =>
        {
            2
        }
        _ => 3,
    };
    // +49 (0)30: the zero is not dialled. In Italy it is a part of the number.
    let national = digits.get(code..)?;
    let is_number = match code {
        1 => digits.len() == 11 && !national.starts_with(['0', '1']),
        _ => {
            let begins_well =
                !national.starts_with('0') || shape.contains("(0)") || digits.starts_with("39");
            (9..=15).contains(&digits.len()) && begins_well
        }
    };
    // "+33 500 000 views".
    let is_amount =
        digits.len() <= 9 && groups.len() > 1 && groups[1..].iter().all(|group| group.len() == 3);
    let before = text[..range.start].chars().next_back();
    let is_part = before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '+' | '_' | '.'))
        || text[range.end..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    (is_number && !is_amount && !is_part && stands_alone(text, &range)).then_some(range)
}

/// A card number with the first digits and length of an issuer, and a valid check digit.
pub(super) fn card(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let digits: Vec<u32> = text[range.clone()]
        .chars()
        .filter_map(|c| c.to_digit(10))
        .collect();
    let first = digits
        .iter()
        .take(4)
        .fold(0, |first, digit| first * 10 + digit);
    let is_issued = MAESTRO.contains(&first)
        || CARDS.iter().any(|(from, to, lengths)| {
            (*from..=*to).contains(&first) && lengths.contains(&digits.len())
        });
    (is_issued && passes_luhn(&digits) && stands_alone(text, &range)).then_some(range)
}

fn passes_luhn(digits: &[u32]) -> bool {
    let sum = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match at % 2 {
            0 => *digit,
            _ => digit * 2 / 10 + digit * 2 % 10,
        });
    sum.sum::<u32>() % 10 == 0
}

/// An IBAN, alone or in groups of four. The match may include the words after it.
pub(super) fn iban(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let shape = &text[range.clone()];
    let country = shape.get(..2)?.to_ascii_uppercase();
    let known = IBANS.split(' ').find(|known| known.starts_with(&country))?;
    let length: usize = known[2..].parse().ok()?;
    let mut values = Vec::with_capacity(length);
    for (at, c) in shape.char_indices() {
        match c.to_digit(36) {
            Some(value) => values.push(value),
            // Either a separator follows every four characters, or there are no separators.
            None if values.len() % 4 != 0 => return None,
            None => continue,
        }
        if values.len() == length {
            let end = range.start + at + 1;
            let ends = !text[end..].starts_with(|c: char| c.is_ascii_alphanumeric());
            return (ends && remainder_of(&values) == 1).then_some(range.start..end);
        }
    }
    None
}

/// The remainder of an IBAN modulo 97: letters are two-digit numbers, and the first four characters move to the end.
fn remainder_of(values: &[u32]) -> u32 {
    let moved = values[4..].iter().chain(&values[..4]);
    moved.fold(0, |remainder, value| {
        let shift = if *value < 10 { 10 } else { 100 };
        (remainder * shift + value) % 97
    })
}

/// A US social security number in an issued range.
pub(super) fn social_security(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let mut parts = text[range.clone()].split('-');
    let (area, group, serial) = (parts.next()?, parts.next()?, parts.next()?);
    let is_issued =
        area != "000" && area != "666" && area < "900" && group != "00" && serial != "0000";
    (is_issued && stands_alone(text, &range)).then_some(range)
}

/// An e-mail address; neither a handle (`@user@host.org`), nor a repository (`git@host.org:…`), nor a call.
pub(super) fn email(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let (local, domain) = text[range.clone()].rsplit_once('@')?;
    let (before, after) = (&text[..range.start], &text[range.end..]);
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, 'À'..='ӿ');
    let is_local = |c: char| is_letter(c) || matches!(c, '.' | '_' | '%' | '+' | '\'' | '-');
    // The user of a URL, which `password_in_url` judges.
    let in_url = before
        .rsplit_once("://")
        .is_some_and(|(_, user)| !user.contains(['/', ' ']));
    let is_part = before.ends_with(is_letter)
        || before.trim_end_matches(is_local).ends_with('@')
        || after.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '(' | '@' | '_'));
    let is_repository = local == "git"
        || after.strip_prefix(':').is_some_and(|path| {
            path.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '~'))
        });
    let ending = domain.rsplit('.').next()?.to_lowercase();
    let is_name = NO_DOMAINS.split(' ').any(|name| name == ending);
    (!is_part && !in_url && !is_repository && !is_name).then_some(range)
}

/// Whether the neighbouring characters allow a separate number: not part of an id, a decimal or a version, and not a
/// plain number (`#4111…`).
fn stands_alone(text: &str, range: &Range<usize>) -> bool {
    let joins = |c: Option<char>| matches!(c, Some('-' | '.' | '_' | ','));
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let mut before = text[..range.start].chars().rev();
    let after = &text[range.end..];
    // A file extension: "4111….pdf".
    let has_ending = after
        .strip_prefix('.')
        .is_some_and(|ending| ending.starts_with(|c: char| c.is_ascii_alphabetic()));
    let mut after = after.chars();
    let is_part = text[..range.start].ends_with('#')
        || joins(before.next()) && is_word(before.next())
        || !has_ending && joins(after.next()) && is_word(after.next());
    !is_part
}

/// Whether letters and digits alternate as they do in a key: not in `animation2024`, nor in `xxxxxxxx`.
fn is_random(text: &str) -> bool {
    const MIN_RUN: usize = 12;
    let runs = text.split(|c: char| !c.is_ascii_alphanumeric());
    let longest = runs.map(str::len).max().unwrap_or(0);
    let kinds: Vec<bool> = text
        .bytes()
        .filter(u8::is_ascii_alphanumeric)
        .map(|b| b.is_ascii_digit())
        .collect();
    let changes = kinds.windows(2).filter(|pair| pair[0] != pair[1]).count();
    longest >= MIN_RUN && changes >= 2
}
