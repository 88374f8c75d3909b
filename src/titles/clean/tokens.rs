//! Special tokens of model families, by their shape: `<|im_end|>`, `<｜end▁of▁sentence｜>`, `<turn|>`, `<bos>`,
//! `[/INST]`.
//!
//! Tokens separate segments. If exactly one segment is not blank, it is the title; several are rejected. Segments of
//! thoughts and of other roles' turns are dropped. A token that the message contains is ordinary text.

use super::Rejection;

/// The longest name of a token, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Names of tokens in plain angle brackets.
const ANGLED: &str = "s bos eos pad unk sep cls eot eod eop eom eoc sop sot mask endoftext image_soft_token turn \
     begin_of_text end_of_text end_of_utterance fim_prefix fim_middle fim_suffix bot human gpt";

/// Prefixes of names in plain angle brackets.
const ANGLED_PREFIXES: [&str; 10] = [
    "start_of_",
    "end_of_",
    "begin_of_",
    "extra_id_",
    "unused",
    "reserved_",
    "reserved-",
    "special_token",
    "s_",
    "ctrl",
];

/// Names of tokens in square brackets.
const BRACKETED: &str = "BOS EOS PAD UNK CLS SEP INST gMASK sMASK TOOL_CALLS AVAILABLE_TOOLS TOOL_RESULTS \
     SYSTEM_PROMPT TOOL_CONTENT IMG IMG_END IMG_BREAK";

/// Tokens without a common shape.
const IRREGULAR: [&str; 6] = [
    "<<SYS>>",
    "<</SYS>>",
    "]~!b[",
    "]~b]",
    "[e~[",
    "[|endofturn|]",
];

/// Roles whose turn has the title.
const ASSISTANT_ROLES: [&str; 9] = [
    "assistant",
    "model",
    "chatbot",
    "bot",
    "ai",
    "gpt",
    "chatbot_token",
    "assistant_token",
    "falcon",
];

/// Roles whose turn is dropped.
const OTHER_ROLES: [&str; 14] = [
    "user",
    "system",
    "human",
    "prompter",
    "developer",
    "tool",
    "user_token",
    "system_token",
    "observation",
    "ipython",
    "environment",
    "function",
    "context",
    "tool_response",
];

/// What a token does to the text after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// Only separates segments.
    Boundary,
    /// A role follows: `<|im_start|>assistant`.
    Turn,
    /// The name of a channel follows: `<|channel>thought`.
    Channel,
    /// The turn of another role follows.
    OtherTurn,
    /// The assistant's turn follows.
    AssistantTurn,
    /// A thought follows, until the token that closes it.
    Thought,
    /// Closes a thought.
    ThoughtEnd,
    /// The answer follows; everything before it is dropped: `<|begin_of_box|>`.
    Answer,
}

struct Token<'a> {
    start: usize,
    end: usize,
    name: &'a str,
    /// `<name|>`, or `</name>`.
    closes: bool,
}

/// The only non-blank segment of a text; the text itself if it has no tokens.
///
/// # Errors
/// [`Rejection::Reasoning`] if a thought is unclosed or several segments are not blank; [`Rejection::Empty`] if all
/// segments are blank.
pub(super) fn without_tokens(text: &str, message: Option<&str>) -> Result<String, Rejection> {
    let mut in_message = MessageTokens::of(message);
    let Some(mut token) = next_token(text, 0, &mut in_message) else {
        return Ok(text.to_owned());
    };
    let mut segments = Segments::default();
    segments.push(&text[..token.start]);
    loop {
        let next = next_token(text, token.end, &mut in_message);
        let end = next.as_ref().map_or(text.len(), |next| next.start);
        segments.token(&token, &text[token.end..end]);
        match next {
            Some(next) => token = next,
            None => return segments.single(),
        }
    }
}

/// Whether a text has a token that the message does not contain.
pub(super) fn has_token(text: &str, message: Option<&str>) -> bool {
    next_token(text, 0, &mut MessageTokens::of(message)).is_some()
}

#[derive(Default)]
struct Segments<'a> {
    kept: Vec<&'a str>,
    in_thought: bool,
    in_other_turn: bool,
}

impl<'a> Segments<'a> {
    fn push(&mut self, piece: &'a str) {
        if !self.in_thought && !self.in_other_turn && !piece.trim().is_empty() {
            self.kept.push(piece);
        }
    }

    fn token(&mut self, token: &Token<'_>, after: &'a str) {
        let mut after = after;
        let mut effect = effect_of(token);
        if let Effect::Turn | Effect::Channel = effect {
            let (word, rest) = first_word(after);
            let word = word.to_lowercase();
            if ASSISTANT_ROLES.contains(&word.as_str()) || word == "final" || word == "response" {
                (effect, after) = (Effect::AssistantTurn, rest);
            } else if OTHER_ROLES.contains(&word.as_str()) {
                (effect, after) = (Effect::OtherTurn, rest);
            } else if effect == Effect::Channel && !word.is_empty() {
                effect = Effect::Thought;
            } else {
                effect = Effect::Boundary;
            }
        }
        match effect {
            Effect::Thought => self.in_thought = true,
            Effect::ThoughtEnd => self.in_thought = false,
            Effect::OtherTurn => self.in_other_turn = true,
            Effect::AssistantTurn => self.in_other_turn = false,
            Effect::Answer => {
                self.kept.clear();
                (self.in_thought, self.in_other_turn) = (false, false);
            }
            Effect::Boundary | Effect::Turn | Effect::Channel => {}
        }
        self.push(after);
    }

    fn single(self) -> Result<String, Rejection> {
        match (self.kept.as_slice(), self.in_thought) {
            (_, true) => Err(Rejection::Reasoning),
            ([piece], false) => Ok((*piece).to_owned()),
            ([], false) => Err(Rejection::Empty),
            _ => Err(Rejection::Reasoning),
        }
    }
}

fn effect_of(token: &Token<'_>) -> Effect {
    let name = token.name.to_lowercase().replace(['▁', '-', ' '], "_");
    let name = name.trim_matches('_');
    let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    let closes = token.closes || has(&["end", "close"]) || name.starts_with('/');
    if has(&[
        "think",
        "thought",
        "reason",
        "analysis",
        "reflect",
        "scratchpad",
    ]) {
        return if closes {
            Effect::ThoughtEnd
        } else {
            Effect::Thought
        };
    }
    if name.contains("channel") {
        return if closes {
            Effect::ThoughtEnd
        } else {
            Effect::Channel
        };
    }
    if closes {
        return Effect::Boundary;
    }
    if has(&["box", "answer", "response", "solution"]) && has(&["begin", "start", "box", "answer"])
    {
        return Effect::Answer;
    }
    if ASSISTANT_ROLES.contains(&name) {
        return Effect::AssistantTurn;
    }
    if OTHER_ROLES.contains(&name) {
        return Effect::OtherTurn;
    }
    match name {
        "im_start"
        | "start"
        | "start_header_id"
        | "header_start"
        | "start_of_turn"
        | "turn"
        | "start_of_role"
        | "role_start"
        | "start_of_turn_token"
        | "~b]" => Effect::Turn,
        _ => Effect::Boundary,
    }
}

fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    text.split_at(end)
}

fn next_token<'a>(
    text: &'a str,
    from: usize,
    in_message: &mut MessageTokens<'a, '_>,
) -> Option<Token<'a>> {
    text[from..]
        .match_indices(['<', '[', ']'])
        .filter_map(|(at, _)| token_at(text, from + at))
        .find(|token| !in_message.has(&text[token.start..token.end]))
}

/// Caches which tokens the message contains. Searches for at most [`Self::MAX_TOKENS`] different ones, to bound the
/// cost of an output full of tokens.
struct MessageTokens<'a, 'm> {
    message: Option<&'m str>,
    known: Vec<(&'a str, bool)>,
}

impl<'a, 'm> MessageTokens<'a, 'm> {
    const MAX_TOKENS: usize = 16;

    fn of(message: Option<&'m str>) -> Self {
        Self {
            message,
            known: Vec::new(),
        }
    }

    fn has(&mut self, token: &'a str) -> bool {
        let Some(message) = self.message else {
            return false;
        };
        if let Some((_, is_there)) = self.known.iter().find(|(known, _)| *known == token) {
            return *is_there;
        }
        let is_there = self.known.len() < Self::MAX_TOKENS && message.contains(token);
        if self.known.len() < Self::MAX_TOKENS {
            self.known.push((token, is_there));
        }
        is_there
    }
}

fn token_at(text: &str, start: usize) -> Option<Token<'_>> {
    let rest = &text[start..];
    if let Some(irregular) = IRREGULAR
        .iter()
        .find(|irregular| rest.starts_with(**irregular))
    {
        let name = if *irregular == "]~b]" { "~b]" } else { "end" };
        return Some(Token {
            start,
            end: start + irregular.len(),
            name,
            closes: false,
        });
    }
    let close = if rest.starts_with('<') { '>' } else { ']' };
    let inside = rest.strip_prefix(['<', '['])?;
    let length = inside
        .char_indices()
        .take_while(|(at, c)| *at <= MAX_NAME_BYTES && *c != '\n')
        .find_map(|(at, c)| (c == close).then_some(at))?;
    let end = start + 1 + length + 1;
    let inside = &inside[..length];
    let bars = ['|', '｜'];
    let opened = inside.strip_prefix(bars);
    let name = opened.unwrap_or(inside);
    let closed = name.strip_suffix(bars);
    let name = closed.unwrap_or(name);
    let is_name = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || "_▁-/.:".contains(c))
        && name.chars().any(char::is_alphanumeric);
    let is_barred = opened.is_some() || closed.is_some();
    // "List<T|>", "a[i|]" and "[x|]" are not tokens.
    let is_barred = is_barred && (close == '>' || (opened.is_some() && closed.is_some()));
    let plain = name.strip_prefix('/').unwrap_or(name);
    let is_token = is_name
        && (is_barred
            || if close == '>' {
                let lower = plain.to_ascii_lowercase();
                ANGLED.split_whitespace().any(|known| known == lower)
                    || ANGLED_PREFIXES.iter().any(|prefix| {
                        lower
                            .strip_prefix(prefix)
                            .is_some_and(|rest| !rest.is_empty())
                            && (prefix.ends_with("of_")
                                || lower.ends_with(|c: char| c.is_ascii_digit()))
                    })
            } else {
                BRACKETED.split_whitespace().any(|known| known == plain)
            });
    let closes = (closed.is_some() && opened.is_none()) || name.starts_with('/');
    is_token.then_some(Token {
        start,
        end,
        name,
        closes,
    })
}
