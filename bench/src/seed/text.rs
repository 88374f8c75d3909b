//! Made-up text: words of syllables, with the frequencies of a language.

/// The number of different words.
const WORDS: f64 = 20_000.0;

const SYLLABLES: [&str; 16] = [
    "ka", "to", "ri", "mo", "sen", "lu", "pa", "ve", "no", "shi", "da", "be", "gor", "tim", "us",
    "wey",
];

/// The word with this rank; rank 0 is the most common.
pub fn word(rank: usize) -> String {
    let (mut rank, mut word) = (rank + 16, String::new());
    while rank > 0 {
        word.push_str(SYLLABLES[rank % 16]);
        rank /= 16;
    }
    word
}

/// A random word, chosen with the frequency of its rank: half as often as the word at half its rank (Zipf's law).
pub fn any_word(random: &mut fastrand::Rng) -> String {
    word((WORDS.powf(random.f64())) as usize - 1)
}

/// This many words, beginning with a capital letter.
pub fn sentence(random: &mut fastrand::Rng, words: usize) -> String {
    let mut text = any_word(random);
    if let Some(first) = text.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    for _ in 1..words {
        text.push(' ');
        text.push_str(&any_word(random));
    }
    text
}
