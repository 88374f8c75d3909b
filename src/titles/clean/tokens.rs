//! Special tokens of model families, by their shape: `<|im_end|>`, `<｜end▁of▁sentence｜>`, `<turn|>`, `<bos>`,
//! `[/INST]`.
//!
//! A token is a boundary. What stands between two of them is a piece of a turn, and one piece that says something is
//! the title; several are a title with something else in it. Tokens that begin a thought take the piece behind them
//! along, and those that begin somebody else's turn too. A token that stands in the message is a word of it, and stays.

use super::Rejection;

/// The longest name of a token, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Names of tokens that stand in plain angle brackets.
const ANGLED: &str = "s bos eos pad unk sep cls eot eod eop eom eoc sop sot mask endoftext image_soft_token turn \
     begin_of_text end_of_text end_of_utterance fim_prefix fim_middle fim_suffix bot human gpt";

/// How names begin that stand in plain angle brackets.
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

/// Names of tokens that stand in square brackets.
const BRACKETED: &str = "BOS EOS PAD UNK CLS SEP INST gMASK sMASK TOOL_CALLS AVAILABLE_TOOLS TOOL_RESULTS \
     SYSTEM_PROMPT TOOL_CONTENT IMG IMG_END IMG_BREAK";

/// Tokens of no common shape.
const ODD: [&str; 6] = [
    "<<SYS>>",
    "<</SYS>>",
    "]~!b[",
    "]~b]",
    "[e~[",
    "[|endofturn|]",
];

/// Roles whose turn is the title's.
const OURS: [&str; 9] = [
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

/// Roles whose turn is somebody else's.
const THEIRS: [&str; 14] = [
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

/// What a token does to the text behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Ends and begins pieces, and no more.
    Boundary,
    /// A role follows: `<|im_start|>assistant`.
    Turn,
    /// The name of a channel follows: `<|channel>thought`.
    Channel,
    /// What follows is somebody else's.
    Theirs,
    /// What follows is ours.
    Ours,
    /// What follows is a thought, until the token that closes it.
    Thought,
    /// Closes a thought.
    ThoughtEnd,
    /// What follows is the answer, and what stands before it is not: `<|begin_of_box|>`.
    Answer,
}

struct Token<'a> {
    start: usize,
    end: usize,
    name: &'a str,
    /// `<name|>`, or `</name>`.
    closes: bool,
}

/// The one piece of a text that says something; the text itself if it has no tokens.
///
/// # Errors
/// [`Rejection::Reasoning`] for an unclosed thought, or several pieces; [`Rejection::Empty`] for none.
pub(super) fn without_tokens(text: &str, message: Option<&str>) -> Result<String, Rejection> {
    let mut quoted = Quoted::of(message);
    let Some(mut token) = next_token(text, 0, &mut quoted) else {
        return Ok(text.to_owned());
    };
    let mut pieces = Pieces::default();
    pieces.push(&text[..token.start]);
    loop {
        let next = next_token(text, token.end, &mut quoted);
        let end = next.as_ref().map_or(text.len(), |next| next.start);
        pieces.token(&token, &text[token.end..end]);
        match next {
            Some(next) => token = next,
            None => return pieces.only(),
        }
    }
}

/// Whether a token is left in a text.
pub(super) fn has_token(text: &str, message: Option<&str>) -> bool {
    next_token(text, 0, &mut Quoted::of(message)).is_some()
}

#[derive(Default)]
struct Pieces<'a> {
    kept: Vec<&'a str>,
    in_thought: bool,
    is_theirs: bool,
}

impl<'a> Pieces<'a> {
    fn push(&mut self, piece: &'a str) {
        if !self.in_thought && !self.is_theirs && !piece.trim().is_empty() {
            self.kept.push(piece);
        }
    }

    fn token(&mut self, token: &Token<'_>, behind: &'a str) {
        let mut behind = behind;
        let mut kind = kind_of(token);
        if let Kind::Turn | Kind::Channel = kind {
            let (word, rest) = first_word(behind);
            let word = word.to_lowercase();
            if OURS.contains(&word.as_str()) || word == "final" || word == "response" {
                (kind, behind) = (Kind::Ours, rest);
            } else if THEIRS.contains(&word.as_str()) {
                (kind, behind) = (Kind::Theirs, rest);
            } else if kind == Kind::Channel && !word.is_empty() {
                kind = Kind::Thought;
            } else {
                kind = Kind::Boundary;
            }
        }
        match kind {
            Kind::Thought => self.in_thought = true,
            Kind::ThoughtEnd => self.in_thought = false,
            Kind::Theirs => self.is_theirs = true,
            Kind::Ours => self.is_theirs = false,
            Kind::Answer => {
                self.kept.clear();
                (self.in_thought, self.is_theirs) = (false, false);
            }
            Kind::Boundary | Kind::Turn | Kind::Channel => {}
        }
        self.push(behind);
    }

    fn only(self) -> Result<String, Rejection> {
        match (self.kept.as_slice(), self.in_thought) {
            (_, true) => Err(Rejection::Reasoning),
            ([piece], false) => Ok((*piece).to_owned()),
            ([], false) => Err(Rejection::Empty),
            _ => Err(Rejection::Reasoning),
        }
    }
}

fn kind_of(token: &Token<'_>) -> Kind {
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
            Kind::ThoughtEnd
        } else {
            Kind::Thought
        };
    }
    if name.contains("channel") {
        return if closes {
            Kind::ThoughtEnd
        } else {
            Kind::Channel
        };
    }
    if closes {
        return Kind::Boundary;
    }
    if has(&["box", "answer", "response", "solution"]) && has(&["begin", "start", "box", "answer"])
    {
        return Kind::Answer;
    }
    if OURS.contains(&name) {
        return Kind::Ours;
    }
    if THEIRS.contains(&name) {
        return Kind::Theirs;
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
        | "~b]" => Kind::Turn,
        _ => Kind::Boundary,
    }
}

fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    text.split_at(end)
}

fn next_token<'a>(text: &'a str, from: usize, quoted: &mut Quoted<'a, '_>) -> Option<Token<'a>> {
    text[from..]
        .match_indices(['<', '[', ']'])
        .filter_map(|(at, _)| token_at(text, from + at))
        .find(|token| !quoted.has(&text[token.start..token.end]))
}

/// Which tokens stand in the message. It is searched for a few different ones, so that an output full of tokens costs
/// no more.
struct Quoted<'a, 'm> {
    message: Option<&'m str>,
    known: Vec<(&'a str, bool)>,
}

impl<'a, 'm> Quoted<'a, 'm> {
    const MOST: usize = 16;

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
        let is_there = self.known.len() < Self::MOST && message.contains(token);
        if self.known.len() < Self::MOST {
            self.known.push((token, is_there));
        }
        is_there
    }
}

fn token_at(text: &str, start: usize) -> Option<Token<'_>> {
    let rest = &text[start..];
    if let Some(odd) = ODD.iter().find(|odd| rest.starts_with(**odd)) {
        let name = if *odd == "]~b]" { "~b]" } else { "end" };
        return Some(Token {
            start,
            end: start + odd.len(),
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
    // "List<T|>" and "a[i|]" are no tokens; "[x|]" neither.
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
