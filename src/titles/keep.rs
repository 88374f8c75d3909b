//! Detects answers that say the current title stays, instead of repeating it: "Unchanged", "Same title as before",
//! "Kyoto Trip Plan (unchanged)". The instruction of a title from the whole conversation invites them. Pure and total.

use unicode_segmentation::UnicodeSegmentation;

/// Phrases for a title that stays.
const STAYS: &str = "same unchanged keep keeps kept keeping stay stays remain remains retain retained previous existing current present \
     unverändert gleicher gleiche beibehalten inchangé inchangée même conserver mismo igual inalterado mesmo invariato stesso \
     прежнее прежний ongewijzigd oförändrad uændret değişmedi aynı";

/// Words that mean the same after a negation: "no change", "has not moved".
const CHANGES: &str = "change changes changed changing move moves moved moving update updates updated new \
     änderung neuer changement cambio cambios alterações mudanças modifiche изменений wijziging";
const NEGATIONS: &str = "no not none hasn't didn't without unless don't kein keine nicht aucun pas sin sem nessuna без geen";

/// Other words of such answers.
const OTHERS: &str = "title titles the a an it its is was has have been be as again before still this that of for to subject topic \
     conversation chat needed required necessary write between marks mark one and original former yes so answer \
     titel der das bleibt bleiben titre le la sans título el titolo заголовок название das";

/// Whole answers in scripts without spaces.
const DENSE: &str = "变更なし 変更なし 変わらず 同じタイトル 同上 不变 不變 保持不变 保持不變 标题不变 標題不變 无变化 無變化 没有变化 相同标题 变化なし 변경 없음 변경없음 동일 그대로 유지";

/// Whether an answer says that this title stays. An answer whose words occur in the conversation is a title.
pub(super) fn says_so(answer: &str, previous: &str, asked: &str) -> bool {
    /// The longest answer that is examined: a title, and a sentence around it.
    const MAX_BYTES: usize = 1_000;

    if answer.len() > MAX_BYTES {
        return false;
    }
    let (answer, previous) = (words(answer), words(previous));
    let rest = without(&answer, &previous);
    let is_whole = rest.len() == answer.len();
    let text = rest.concat();
    if DENSE.split(' ').any(|known| known == text) {
        return true;
    }
    let is = |list: &str, word: &String| list.split_whitespace().any(|known| known == word);
    let has = |list: &str| rest.iter().any(|word| is(list, word));
    let stays = has(STAYS) || has(CHANGES) && has(NEGATIONS);
    let all = [STAYS, CHANGES, NEGATIONS, OTHERS];
    let is_only = rest
        .iter()
        .all(|word| all.iter().any(|list| is(list, word)));
    // "No Change" may be the subject, but not beside the title.
    stays && is_only && !(is_whole && has_run(&words(asked), &rest))
}

/// The words in lower case, without punctuation.
fn words(text: &str) -> Vec<String> {
    let text = text.replace('’', "'");
    // The field name of the requested object is not a word of the answer.
    let text = text.strip_prefix("{\"title\":").unwrap_or(&text);
    text.unicode_words().map(str::to_lowercase).collect()
}

/// The words without the first occurrence of this run.
fn without(words: &[String], run: &[String]) -> Vec<String> {
    let at = (!run.is_empty())
        .then(|| words.windows(run.len()).position(|some| some == run))
        .flatten();
    match at {
        Some(at) => [&words[..at], &words[at + run.len()..]].concat(),
        None => words.to_vec(),
    }
}

fn has_run(words: &[String], run: &[String]) -> bool {
    !run.is_empty() && words.windows(run.len()).any(|some| some == run)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREVIOUS: &str = "Kyoto Trip Plan";

    #[test]
    fn what_models_write_in_place_of_the_same_title() {
        for answer in [
            "Title unchanged",
            "Unchanged",
            "No change",
            "No change.",
            "No changes needed",
            "Same title",
            "Same title as before",
            "Keep the same title",
            "The same title again",
            "Previous title",
            "The subject has not moved",
            "unless the subject moved",
            "Write the same title again as between the <previous> marks unless the subject moved.",
            "Kyoto Trip Plan (unchanged)",
            "Kyoto Trip Plan – same as before",
            "Same title: \"Kyoto Trip Plan\"",
            "{\"title\":\"Unchanged\"}",
            "{\"title\": \"Kyoto Trip Plan (no change)\"}",
            "Titel unverändert",
            "Sin cambios",
            "Без изменений",
            "標題不變",
            "変更なし。",
        ] {
            assert!(says_so(answer, PREVIOUS, "Plan a trip"), "{answer}");
        }
    }

    #[test]
    fn titles_are_none_of_it() {
        for answer in [
            "Kyoto Trip Plan",
            "Kyoto Trip Plan and Budget",
            "Climate Change",
            "Change of Plans for Kyoto",
            "Moving to Kyoto",
            "New Title",
            "Present Tense in German",
            "Same Day Delivery in Kyoto",
            "Unchanged Files in Git",
            "Previous Employer Reference",
            "変更なし契約の更新",
            "",
            "…",
        ] {
            assert!(!says_so(answer, PREVIOUS, "Plan a trip"), "{answer}");
        }
        let asked = "Write an essay titled No Change";
        assert!(!says_so("No Change", PREVIOUS, asked));
        assert!(says_so("Kyoto Trip Plan: no change", PREVIOUS, asked));
        assert!(says_so("Unchanged", "", "Plan a trip"));
        assert!(!says_so(&"unchanged ".repeat(100_000), PREVIOUS, ""));
    }
}
