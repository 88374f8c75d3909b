//! The text of a reply, and the part that a reader has received.

use std::ops::Add;

use serde_json::Value;

/// How many words a reply has.
pub const WORDS: usize = 60;

/// The reply to one message, in words that say their place. Some have characters of more than one byte.
pub fn words(number: usize) -> impl Iterator<Item = String> {
    let alphabet = ["a", "é", "京", "🌸"];
    (0..WORDS).map(move |place| format!("{number}:{place}:{} ", alphabet[(number + place) % 4]))
}

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    pub missing: usize,
    pub doubled: usize,
    pub out_of_order: usize,
    /// What is no word of that reply.
    pub garbled: usize,
    /// Terminal events that contradict earlier events, or do not report the reply as complete.
    pub ends: usize,
}

impl Faults {
    /// Of a reply that was read to its end.
    fn of(number: usize, text: &str) -> Self {
        let mut faults = Self::default();
        let expected: Vec<String> = words(number).collect();
        let mut times = vec![0; expected.len()];
        let mut last = None;
        for word in text.split_inclusive(' ') {
            let Some(place) = expected.iter().position(|one| one == word) else {
                faults.garbled += 1;
                continue;
            };
            times[place] += 1;
            faults.out_of_order += usize::from(last.is_some_and(|last| place < last));
            last = Some(place);
        }
        faults.missing = times.iter().filter(|times| **times == 0).count();
        faults.doubled = times.iter().filter(|times| **times > 1).count();
        // Half a word is duplicated or missing.
        let whole: usize = expected.iter().map(String::len).sum();
        faults.doubled += usize::from(faults.garbled > 0 && text.len() > whole);
        faults.missing += usize::from(faults.garbled > 0 && text.len() < whole);
        faults
    }
}

impl Add for Faults {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            missing: self.missing + other.missing,
            doubled: self.doubled + other.doubled,
            out_of_order: self.out_of_order + other.out_of_order,
            garbled: self.garbled + other.garbled,
            ends: self.ends + other.ends,
        }
    }
}

/// The outcomes of the readers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub completed: usize,
    pub cuts: usize,
    /// Came back to where they were.
    pub recovered: usize,
    /// Reconnects that had to restart from the full text.
    pub begun_anew: usize,
    pub faults: Faults,
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            completed: self.completed + other.completed,
            cuts: self.cuts + other.cuts,
            recovered: self.recovered + other.recovered,
            begun_anew: self.begun_anew + other.begun_anew,
            faults: self.faults + other.faults,
        }
    }
}

/// One reader's text, put together as a client would.
pub struct Reading {
    number: usize,
    text: String,
    pub tally: Tally,
}

impl Reading {
    pub fn of(number: usize) -> Self {
        Self {
            number,
            text: String::new(),
            tally: Tally::default(),
        }
    }

    /// From the beginning, as a client does that has no place yet.
    pub fn begin(&mut self) {
        self.text.clear();
    }

    /// Takes one event in; whether it was the last.
    pub fn take(&mut self, event: &Value) -> bool {
        let text = |name: &str| event[name].as_str().unwrap();
        match event["raw_type"].as_str() {
            Some("response.output_text.delta") => self.text += text("text_delta"),
            Some("response.in_progress") if event["payload"]["recovered"] == true => {
                self.tally.recovered += 1;
            }
            Some("response.in_progress") => {
                self.tally.begun_anew += 1;
                self.text = text("response_text").to_owned();
            }
            _ => {}
        }
        if event["is_terminal"] != true {
            return false;
        }
        let is_whole = event["raw_type"] == "response.completed";
        self.tally.completed = usize::from(is_whole);
        let mut faults = Faults::of(self.number, &self.text);
        faults.ends = usize::from(!is_whole || text("response_text") != self.text);
        self.tally.faults = faults;
        true
    }
}

#[test]
fn what_is_wrong_with_a_text_is_seen() {
    let words: Vec<String> = words(3).collect();
    let faults = |words: &[String]| Faults::of(3, &words.concat());
    assert_eq!(faults(&words), Faults::default());
    assert_eq!(faults(&words[1..]).missing, 1);
    assert_eq!(faults(&[&words[..5], &words[4..]].concat()).doubled, 1);
    let mut swapped = words.clone();
    swapped.swap(4, 5);
    assert_eq!(faults(&swapped).out_of_order, 1);
    let text = words.concat();
    let half: String = text.chars().take(text.chars().count() - 2).collect();
    assert_ne!(Faults::of(3, &half), Faults::default());
    assert_ne!(Faults::of(4, &text), Faults::default());
}
