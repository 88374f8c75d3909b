//! Detects answers to the message's question: "The capital of Australia is Canberra".

use super::{
    phrases::{begins_with, phrases, straighten},
    refusals::is_in_message,
};

/// Words that begin a question.
const QUESTIONS: &str = "what what's who who's whose which when where why how is are was were do does did can could will would should has have";

/// Verbs between the subject of a question and its answer.
const VERBS: [&str; 8] = [
    "is", "are", "was", "were", "means", "equals", "contains", "became",
];

/// Words that carry no content.
const FUNCTION_WORDS: &str =
    "the a an of to in on for and or with from by at this that it its your you my as be";

/// Whether a title answers the message's question: a statement with the question's subject or predicate on one side,
/// and new words on the other. "Why the Sky Is Blue" and phrases of the message are not statements.
pub(super) fn is_answer(title: &str, message: &str) -> bool {
    const MAX_MESSAGE_CHARS: usize = 1_000;

    if message.chars().nth(MAX_MESSAGE_CHARS).is_some() || title.ends_with('?') {
        return false;
    }
    let (title, message) = (straighten(title), straighten(message));
    let asked: Vec<&str> = words(&message).collect();
    let is_question = |word: &&str| QUESTIONS.split(' ').any(|known| known == *word);
    if !message.trim_end().ends_with('?') && !asked.first().is_some_and(is_question) {
        return false;
    }
    let said: Vec<&str> = words(&title).collect();
    let Some(at) = said
        .iter()
        .position(|word| VERBS.contains(word))
        .filter(|at| *at > 0)
    else {
        return false;
    };
    let (subject, predicate) = (&said[..at], &said[at + 1..]);
    if is_question(&subject[0]) || predicate.is_empty() {
        return false;
    }
    let content = |words: &[&str]| -> Vec<String> {
        words
            .iter()
            .filter(|word| !FUNCTION_WORDS.split(' ').any(|known| known == **word))
            .map(|word| (*word).to_owned())
            .collect()
    };
    let knows = |words: &[String]| {
        !words.is_empty() && words.iter().all(|word| asked.contains(&word.as_str()))
    };
    let is_new = |words: &[String]| {
        !words.is_empty() && words.iter().all(|word| !asked.contains(&word.as_str()))
    };
    let (subject, predicate) = (content(subject), content(predicate));
    (knows(&subject) && is_new(&predicate)) || (is_new(&subject) && knows(&predicate))
}

/// Openings of advice to the user.
const ADVICE: &str = "you should | you could | you can | you must | you may | you might | you need to | you have to | you'll | you will | \
     it depends";

/// Whether a title advises the user: "You should prune in winter", "First, sharpen your shears". Valid if the message
/// contains it.
pub(super) fn is_advice(title: &str, message: &str) -> bool {
    let text = straighten(title);
    let opening = phrases(&[ADVICE]).find(|opening| begins_with(&text, opening));
    // "First, Second and Third Person" is a title.
    let is_step = ["First, ", "Start by "]
        .iter()
        .filter_map(|opening| title.strip_prefix(opening))
        .any(|rest| rest.starts_with(char::is_lowercase) && !begins_with(rest, "second"));
    let is_candidate = is_step || opening.is_some();
    let is_quoted = |opening| straighten(message).contains(opening);
    is_candidate && !opening.is_some_and(is_quoted) && !is_in_message(title, message)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '\''))
        .filter(|word| !word.is_empty())
}
