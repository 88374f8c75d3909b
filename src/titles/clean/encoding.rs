//! Detects undecoded text: tokenizer pieces, bytes read in the wrong encoding, escapes.
//!
//! A title with any of it is rejected, not repaired. Sequences that the message contains verbatim are allowed.

/// Whether a text has an undecoded sequence that the message does not contain.
pub(super) fn is_garbled(text: &str, message: Option<&str>) -> bool {
    let is_quoted = |piece: &str| message.is_some_and(|message| message.contains(piece));
    text.contains('\u{FFFD}')
        || (text.contains('▁') && !is_quoted("▁"))
        || has_byte_level(text, is_quoted)
        || has_byte_token(text, is_quoted)
        || has_escape(text, is_quoted)
        || has_word_piece(text, is_quoted)
        || has_mojibake(text, is_quoted)
}

/// Byte-level BPE writes a space as Ġ, a line feed as Ċ, a tab as ĉ. Maltese has the letters Ġ, Ċ and ċ: "Ġgantija".
fn has_byte_level(text: &str, is_quoted: impl Fn(&str) -> bool) -> bool {
    let mut before = ' ';
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let after = chars.peek().copied().unwrap_or(' ');
        let is_spelled = !before.is_alphanumeric() && after.is_lowercase();
        let is_piece = match c {
            'Ġ' | 'Ċ' => !is_spelled,
            'ĉ' => !after.is_alphabetic() && before.is_alphabetic(),
            _ => false,
        };
        if is_piece && !is_quoted(c.encode_utf8(&mut [0; 4])) {
            return true;
        }
        before = c;
    }
    false
}

/// `<0x0A>`, and Python's bytes: `b'Kyoto'`.
fn has_byte_token(text: &str, is_quoted: impl Fn(&str) -> bool) -> bool {
    let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    let is_token = |at: usize| {
        let token = text.get(at..at + 6);
        token.is_some_and(|token| token.ends_with('>') && is_hex(&token[3..5]) && !is_quoted(token))
    };
    text.match_indices("<0x").any(|(at, _)| is_token(at))
        || [("b'", '\''), ("b\"", '"')].iter().any(|(open, close)| {
            text.starts_with(open) && text.len() > 3 && text.ends_with(*close) && !is_quoted(text)
        })
}

/// `\n` after a word or at an end, `\xe9` and `%20` inside a word, `\u00e9` anywhere. "\n vs. \r\n" is about escapes
/// and is allowed.
fn has_escape(text: &str, is_quoted: impl Fn(&str) -> bool) -> bool {
    let glued = |at: usize, length: usize| {
        let head = &text[..at];
        // "\\r\\n" is two escapes.
        let head = ["\\r", "\\n", "\\t"]
            .iter()
            .find_map(|e| head.strip_suffix(e))
            .unwrap_or(head);
        let before = head.chars().next_back();
        let after = text[at + length..].chars().next();
        before.is_some_and(|c| c.is_alphanumeric() || ".,!?)\"'".contains(c))
            && (length > 2 || after != Some('\\'))
    };
    let line = ["\\n", "\\r", "\\t"].iter().any(|escape| {
        text.match_indices(escape).any(|(at, _)| {
            // "\name" is a path, not a line feed.
            let after = text[at + 2..].chars().next();
            let leads = at == 0 && after.is_some_and(char::is_uppercase);
            let apart = text[..at].ends_with(' ') && after.is_none();
            (glued(at, 2) || leads || apart) && !is_quoted(escape)
        })
    });
    let hex = |mark: &str, length: usize, is_apart: bool| {
        text.match_indices(mark).any(|(at, _)| {
            let escape = text.get(at..at + length);
            escape.is_some_and(|escape| {
                let digits = &escape[mark.len()..];
                digits.bytes().all(|b| b.is_ascii_hexdigit())
                    && (is_apart || glued(at, 3))
                    && !is_quoted(escape)
            })
        })
    };
    // "50%20" is a number, "trip%20to" is not.
    let percent = || {
        text.match_indices('%').any(|(at, _)| {
            let escape = text.get(at..at + 3);
            escape.is_some_and(|escape| {
                escape[1..].bytes().all(|b| b.is_ascii_hexdigit())
                    && text[..at].ends_with(char::is_alphabetic)
                    && text[at + 3..].starts_with(|c: char| c.is_alphabetic() || c == '%')
                    && !is_quoted(escape)
            })
        })
    };
    line || hex("\\x", 4, false) || hex("\\u", 6, true) || percent()
}

/// WordPiece continues a word with `##`, BPE with `@@`, CLIP ends it with `</w>`.
fn has_word_piece(text: &str, is_quoted: impl Fn(&str) -> bool) -> bool {
    let continues = text
        .match_indices(" ##")
        .any(|(at, _)| text[at + 3..].starts_with(char::is_lowercase));
    let breaks = text.match_indices("@@").any(|(at, _)| {
        text[..at].ends_with(char::is_alphabetic) && text[at + 2..].starts_with(' ')
    });
    (continues && !is_quoted("##"))
        || (breaks && !is_quoted("@@"))
        || (text.contains("</w>") && !is_quoted("</w>"))
}

/// UTF-8 that was read as Latin-1 or Windows-1252, or that is written in byte-level BPE's letters: `CafÃ©`, `Dadâ€™s`,
/// `âĢĻ`, `ÐŸÐ»Ð°Ð½`. Two arbitrary letters sometimes decode, so sequences of two bytes need a typical lead byte or
/// another such sequence.
fn has_mojibake(text: &str, is_quoted: impl Fn(&str) -> bool) -> bool {
    let chars: Vec<(usize, char)> = text.char_indices().collect();
    let mut at = 0;
    let mut short_sequences = 0;
    while at < chars.len() {
        let lead = byte_of(chars[at].1);
        let length = match lead {
            Some(0xC2..=0xDF) => 2,
            Some(0xE0..=0xEF) => 3,
            Some(0xF0..=0xF4) => 4,
            _ => 0,
        };
        let bytes: Option<Vec<u8>> = chars
            .get(at..at + length)
            .filter(|_| length > 0)
            .and_then(|run| run.iter().map(|(_, c)| byte_of(*c)).collect());
        let decodes = bytes.is_some_and(|bytes| std::str::from_utf8(&bytes).is_ok());
        if !decodes {
            at += 1;
            continue;
        }
        let start = chars[at].0;
        let end = chars.get(at + length).map_or(text.len(), |(end, _)| *end);
        let after = chars.get(at + length).map(|(_, c)| *c);
        let last = chars[at + length - 1].1;
        // «MANHÃ» and “CAFÉ” end in a quotation mark.
        let is_quotation =
            length == 2 && "»”“’‘›".contains(last) && !after.is_some_and(char::is_alphabetic);
        let is_typical = length > 2 || matches!(lead, Some(0xC2 | 0xC3));
        short_sequences += usize::from(!is_quotation);
        if !is_quotation && (is_typical || short_sequences > 1) && !is_quoted(&text[start..end]) {
            return true;
        }
        at += length;
    }
    false
}

/// The byte of a non-ASCII character in Latin-1, Windows-1252 or byte-level BPE.
fn byte_of(c: char) -> Option<u8> {
    const WINDOWS: &str = "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8d}Ž\u{8f}\u{90}‘’“”•–—˜™š›œ\u{9d}žŸ";

    match u32::from(c) {
        code @ 0x80..=0xFF => u8::try_from(code).ok(),
        // GPT-2 writes the bytes 7F to A0 as U+0121 to U+0142, and AD as U+0143.
        code @ 0x122..=0x142 => u8::try_from(code - 0x122 + 0x80).ok(),
        0x143 => Some(0xAD),
        _ => {
            let at = WINDOWS.chars().position(|known| known == c)?;
            u8::try_from(0x80 + at).ok()
        }
    }
}

/// Whether Latin-1 control characters occur in place of a letter's bytes. Checked before they are dropped as invisible.
pub(super) fn has_lost_bytes(text: &str) -> bool {
    let mut before = ' ';
    text.chars().any(|c| {
        let is_lost = matches!(c, '\u{80}'..='\u{9F}') && matches!(before, 'Â'..='ô' | '\u{80}'..='\u{9F}')
            // The bytes of a no-break space, and of à.
            || (c == '\u{A0}' && matches!(before, 'Â' | 'Ã'));
        before = c;
        is_lost
    })
}
