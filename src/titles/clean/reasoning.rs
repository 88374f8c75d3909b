//! What models say before their answer: reasoning tags, channels, and the tokens that end a turn.

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

pub(super) fn has_special_token(text: &str) -> bool {
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

/// Whether a text is an analysis channel without its special tokens: "analysisThe user wants …".
pub(super) fn starts_in_channel(text: &str) -> bool {
    text.strip_prefix("analysis")
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_uppercase()))
}
