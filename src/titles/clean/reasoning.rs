//! Removes reasoning tags and channels before an answer. `tokens` removes special tokens.

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

/// A text without its reasoning.
pub(super) fn without_reasoning(text: &str) -> Result<String, Rejection> {
    let mut rest = without_channels(text)?;
    let mut kept = String::new();
    while let Some(tag) = reasoning_tag(rest) {
        if tag.closes {
            // The opening tag is missing: some servers strip it.
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

/// The first `<think>`, `</think>`, `[THINK]`, `◁think▷` or similar. A tag cut off by the end of the text is opening.
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

/// The final channel of a text in OpenAI's harmony format.
fn without_channels(text: &str) -> Result<&str, Rejection> {
    if let Some((head, message)) = text.rsplit_once("<|message|>") {
        let channel = head
            .rsplit_once("<|channel|>")
            .map_or("", |(_, channel)| channel);
        if !channel.trim_start().starts_with("final") {
            return Err(Rejection::Reasoning);
        }
        return Ok(message);
    }
    // Some servers strip the special tokens, but keep the words between them.
    Ok(text
        .rsplit_once("assistantfinal")
        .map_or(text, |(_, message)| message))
}

/// Whether a text has a malformed reasoning tag.
pub(super) fn has_broken_tag(text: &str) -> bool {
    ["/think >", "/think＞"]
        .iter()
        .any(|tag| text.contains(tag))
}

/// Names of channels other than the final one, left over by servers that strip the tokens around them.
const CHANNELS: [&str; 7] = [
    "analysis",
    "thought",
    "thoughts",
    "thinking",
    "reasoning",
    "commentary",
    "reflection",
];

/// Whether a text is a reasoning channel without its special tokens: "analysisThe user wants …", "thought The user …".
/// Titles start in upper case, and "analysis of variance" continues in lower case.
pub(super) fn starts_in_channel(text: &str) -> bool {
    CHANNELS.iter().any(|channel| {
        text.strip_prefix(channel).is_some_and(|rest| {
            let inner = rest.trim_start_matches([' ', ':']);
            inner.starts_with(char::is_uppercase)
        })
    })
}
