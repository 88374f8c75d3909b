//! Shortens a title to limits that are tighter than the offline model's own: to its first words, without a joint at the
//! end. In scripts without spaces, UAX #29 determines the words.

use unicode_segmentation::UnicodeSegmentation;

use crate::llm::TitleLimits;

/// Words that no title ends with.
const JOINTS: &str = "a an the and or nor but of to in on at for with by from as vs via into my your our its this that is are \
     der die das ein eine und oder von vom zu zum zur mit für im in am auf de la le les du des et ou un une en el los las y o del al con para \
     da do dos e em il lo gli di che non";

/// The title, or its longest beginning within the limits.
pub(super) fn within(title: String, limits: TitleLimits) -> String {
    let characters = |text: &str| text.graphemes(true).count();
    let words: Vec<&str> = title.split_whitespace().collect();
    if words.len() <= limits.words && characters(&title) <= limits.characters {
        return title;
    }
    let is_joint = |word: &str| {
        let word = word.to_lowercase();
        JOINTS.split_whitespace().any(|joint| joint == word)
    };
    let mut count = words.len().min(limits.words);
    while count > 1
        && (characters(&words[..count].join(" ")) > limits.characters || is_joint(words[count - 1]))
    {
        count -= 1;
    }
    let text = words[..count].join(" ");
    let text = match characters(&text) > limits.characters {
        false => text,
        true => first_parts(&text, limits.characters),
    };
    text.trim_end_matches([':', ',', ';', ' ']).to_owned()
}

/// The first parts of one long word in a script without spaces; empty for other scripts.
fn first_parts(text: &str, characters: usize) -> String {
    let mut taken = 0;
    let parts = text.split_word_bounds().take_while(|part| {
        taken += part.graphemes(true).count();
        taken <= characters
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_shortened_to_whole_words() {
        let title = "Langfuse Traces for Errors in Importer Billing Service";
        for (words, characters, expected) in [
            (10, 60, title),
            (6, 60, "Langfuse Traces for Errors in Importer"),
            (5, 60, "Langfuse Traces for Errors"),
            (4, 60, "Langfuse Traces for Errors"),
            (3, 60, "Langfuse Traces"),
            (2, 60, "Langfuse Traces"),
            (10, 30, "Langfuse Traces for Errors"),
            (10, 12, "Langfuse"),
        ] {
            let limits = TitleLimits { words, characters };
            assert_eq!(
                within(title.into(), limits),
                expected,
                "{words} {characters}"
            );
        }
        let limits = TitleLimits {
            words: 2,
            characters: 10,
        };
        assert_eq!(within("Budget: März".into(), limits), "Budget");
        assert_eq!(
            within("京都旅行の計画を立てて宿を予約する".into(), limits),
            "京都旅行の計画を立て"
        );
        assert_eq!(within(String::new(), limits), "");
        assert_eq!(within("Antidisestablishmentarianism".into(), limits), "");
    }
}
