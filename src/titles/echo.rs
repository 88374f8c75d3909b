//! Detects words of the instruction instead of a title: "Write a title of 2 to 6 words", "Begin with the customer's
//! product". Small models repeat the instruction, identically for every message. Pure and total.
//!
//! Every run of at least two words of our own instruction is an echo. The operator's style and instruction may list
//! wanted titles ("Billing Question"), so from those only the beginning of a sentence in lower case is an echo. Words
//! that the message has too are its subject.

use unicode_segmentation::UnicodeSegmentation;

use super::policy::TitlePolicy;

/// The minimum number of words in an echo of our instruction, and of an operator's text.
const OURS: usize = 2;
const THEIRS: usize = 3;

/// Whether a title consists only of words of the instruction that was sent for this message.
pub(super) fn is_echo<M>(
    title: &str,
    message: &str,
    instruction: &str,
    policy: &TitlePolicy<M>,
) -> bool {
    let said = words(title);
    if said.len() < OURS || instruction.is_empty() {
        return false;
    }
    let mut ours = instruction.to_owned();
    let mut is_theirs = false;
    for text in [&policy.instruction, &policy.style].into_iter().flatten() {
        ours = ours.replacen(text.trim(), "\n", 1);
        is_theirs |= begins_a_sentence(text, &said);
    }
    let is_ours = ours.split('\n').any(|part| has_run(&words(part), &said));
    (is_ours || is_theirs) && !has_run(&words(message), &said)
}

/// Whether a sentence of a text begins with these words, mostly in lower case.
fn begins_a_sentence(text: &str, said: &[String]) -> bool {
    let is_lower = |word: &&str| word.starts_with(char::is_lowercase);
    said.len() >= THEIRS
        && text.unicode_sentences().any(|sentence| {
            let begin: Vec<&str> = sentence.unicode_words().take(said.len()).collect();
            let lower = begin.iter().skip(1).filter(|word| is_lower(word)).count();
            begin
                .iter()
                .map(|word| word.to_lowercase())
                .eq(said.iter().cloned())
                && 2 * lower >= said.len() - 1
        })
}

fn words(text: &str) -> Vec<String> {
    text.unicode_words().map(str::to_lowercase).collect()
}

fn has_run(words: &[String], run: &[String]) -> bool {
    words.windows(run.len()).any(|some| some == run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_the_instruction_are_no_titles() {
        let policy = TitlePolicy {
            instruction: Some(
                "You name support tickets. Choose one of: Question About Billing, Fault Report."
                    .into(),
            ),
            style: Some("Begin with the customer's product. Acme Desk Pro is one.".into()),
            ..TitlePolicy::new(())
        };
        let plain = TitlePolicy::new(());
        let ours = "Write a title of 2 to 6 words for it. Name its subject. Plain text, no quotes, no period at the \
            end. Use the language of the message.\nWrite a title for this message.";
        let own = format!(
            "{} Plain text, no quotes, no period at the end. {} Use the language of the message.",
            policy.instruction.as_deref().unwrap_or_default(),
            policy.style.as_deref().unwrap_or_default()
        );
        let message = "The printer prints blank pages";
        #[rustfmt::skip]
        let table = [
            ("Write a title of 2 to 6 words", false, true),
            ("Plain text, no quotes, no period at the end", true, true),
            ("Use the language of the message", true, true),
            ("Name its subject", false, true),
            ("Write a Title for This Message", false, true),
            ("Begin with the customer's product", true, false),
            ("Begin With the Customer’s Product", true, false),
            ("You name support tickets", true, false),
            ("Question About Billing", false, false),
            ("Fault Report", false, false),
            ("Acme Desk Pro", false, false),
            ("Blank Printer Pages", false, false),
            ("Title", false, false),
        ];
        for (title, by_policy, by_default) in table {
            let title = title.replace('’', "'");
            assert_eq!(
                is_echo(&title, message, &own, &policy),
                by_policy,
                "{title}"
            );
            assert_eq!(
                is_echo(&title, message, ours, &plain),
                by_default,
                "{title}"
            );
        }
        let message = "What does 'write a title of 2 to 6 words' do?";
        assert!(!is_echo(
            "Write a Title of 2 to 6 Words",
            message,
            ours,
            &plain
        ));
        assert!(!is_echo("Write a Title", message, "", &plain));
    }
}
