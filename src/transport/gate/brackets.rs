//! The linear scan before the parser: how deep brackets nest, and how many tokens there are.
//!
//! The parser recurses into every bracket, so this has to agree with it about where strings and
//! comments begin and end. It is stricter at one point: a string that does not end is refused here.
//! The parser would read an open `"""` as an empty string and a quote, and try again from there,
//! which takes quadratic time: half a second for 16 KiB of `\"""""`.

use async_graphql::Pos;

use super::{Limits, Refusal};

/// Checks `document` without parsing it.
///
/// # Errors
/// When it nests too deep, has too many tokens, or has a string without an end.
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
                // The parser gets past no closing bracket that does not fit, so `depth` is never
                // less than its own up to where it stops.
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

/// How many of the first bytes belong to one token.
fn run(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    bytes
        .iter()
        .position(|&byte| !belongs(byte))
        .unwrap_or(bytes.len())
}

/// What a name is made of. A character outside of ASCII is the byte order mark or an error: the
/// parser tells.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | 0x80..)
}

/// The length of a string with its quotes, unless it does not end.
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

/// Line and column of a byte, both from one, in characters, as the parser counts them.
pub(super) fn position(document: &str, at: usize) -> Pos {
    let before = &document[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Pos {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}
