//! A linear scan before the parser: bracket nesting and token count.
//!
//! The parser recurses into every bracket, so the scan must agree with it about where strings and
//! comments begin and end. It is stricter in one case: it refuses an unterminated string. The parser
//! would read an open `"""` as an empty string and a quote, and retry from there in quadratic time:
//! half a second for 16 KiB of `\"""""`.

use async_graphql::Pos;

use super::{Limits, Refusal};

/// Checks `document` without parsing it.
///
/// # Errors
/// If it nests too deep, has too many tokens, or contains an unterminated string.
pub(super) fn scan(document: &str, limits: &Limits) -> Result<(), Refusal> {
    let bytes = document.as_bytes();
    let mut at = 0;
    let mut depth = 0_usize;
    let mut tokens = 0_usize;
    while let Some(&byte) = bytes.get(at) {
        let length = match byte {
            b'#' => {
                at += run(&bytes[at..], |byte| !matches!(byte, b'\n' | b'\r'));
                continue;
            }
            b' ' | b',' | b'\t' | b'\n' | b'\r' => {
                at += 1;
                continue;
            }
            b'"' => string(&bytes[at..]).ok_or_else(|| {
                Refusal::syntax(
                    "syntax error: a string does not end",
                    position(document, at),
                )
            })?,
            b'{' | b'(' | b'[' => {
                depth += 1;
                if depth > limits.nesting {
                    return Err(Refusal::NestedTooDeep {
                        limit: limits.nesting,
                        at: Some(position(document, at)),
                    });
                }
                1
            }
            b'}' | b')' | b']' => {
                // The parser stops at a mismatched closing bracket. Up to that point, `depth` is at least the parser's
                // own depth.
                depth = depth.saturating_sub(1);
                1
            }
            b'.' if bytes[at..].starts_with(b"...") => 3,
            b'-' | b'0'..=b'9' => run(&bytes[at..], |byte| is_name(byte) || b"+-.".contains(&byte)),
            byte if is_name(byte) => run(&bytes[at..], is_name),
            _ => 1,
        };
        tokens += 1;
        if tokens > limits.tokens {
            return Err(Refusal::TooManyTokens {
                limit: limits.tokens,
                at: position(document, at),
            });
        }
        at += length;
    }
    Ok(())
}

/// The length of the leading run of bytes that satisfy `belongs`.
fn run(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    bytes
        .iter()
        .position(|&byte| !belongs(byte))
        .unwrap_or(bytes.len())
}

/// Whether a byte can be part of a name. Bytes outside ASCII count, and the parser handles them: a byte order mark or
/// an error.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | 0x80..)
}

/// The length of a string with its quotes; `None` if it is unterminated.
pub(super) fn string(bytes: &[u8]) -> Option<usize> {
    let block = bytes.starts_with(b"\"\"\"");
    let mut at = if block { 3 } else { 1 };
    loop {
        let rest = &bytes[at..];
        at += match rest.first()? {
            b'"' if !block => return Some(at + 1),
            b'"' if rest.starts_with(b"\"\"\"") => return Some(at + 3),
            b'\\' if block && rest.starts_with(b"\\\"\"\"") => 4,
            b'\\'
                if !block
                    && rest
                        .get(1)
                        .is_some_and(|next| !matches!(next, b'\n' | b'\r')) =>
            {
                2
            }
            b'\n' | b'\r' if !block => return None,
            _ => 1,
        };
    }
}

/// The 1-based line and column of a byte offset. Columns count characters, like the parser's.
pub(super) fn position(document: &str, at: usize) -> Pos {
    let before = &document[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Pos {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}
