//! Detects prose in which a model refers to itself: "I'll work through these files", "I already introduced myself".
//!
//! A title may have the first person of its message: "I Can't Log In" from a user who writes "I". Announcements of a
//! model's work are only valid in the message's own words.

use super::{
    phrases::{begins_with, phrases, straighten},
    refusals::{is_in_message, words},
};

/// Phrases with which models announce their work, and which are rare in users' subjects.
const WORK: &str = "i'll | i will | let me | i'm going to | i am going to | i'd need | i would need | i need more | i need a bit more | \
     i've already | i have already | i already | i'd love to | i would love to | i'd like to help | i've analyzed | i've reviewed | \
     i've updated | i've created | i've fixed | i've completed | i'm ready to | i am ready to | i'm looking | i'm checking | i'm working | \
     now i'll | now let me | first i'll | first let me | next i'll";

/// First persons at the beginning of a sentence. A bare "I" may be a numeral or a name: "I Ching", "I, Robot".
const SUBJECTS: &str = "i'm | i've | i'd | i am | i have | i was | i did | i do | i can | i could | i would | i should | i may | i might | i must | \
     i think | i know | i see | i understand | i believe | i hope | i just | i only | i also | we'll | we've | we're | we are | we need | \
     ich bin | ich habe | ich werde | ich kann | ich würde | ich brauche | ich schaue | ich prüfe | je suis | je vais | je peux | j'ai | je voudrais | \
     yo soy | voy a | he revisado | eu vou | eu sou | vou verificar | io sono | я уже | я могу | я буду | я проверю";

/// First persons in scripts without spaces. Possessives such as 我的 ("my") do not count.
const DENSE_SUBJECTS: [&str; 7] = ["我", "我们", "我們", "私は", "저는", "제가", "ฉัน"];
const DENSE_POSSESSIVES: [&str; 5] = ["我的", "我家", "我国", "我國", "我们的"];

/// First-person words of all languages: a message with one may have a title with one, also of another language.
const PERSONS: &str = "i i'm im i've ive i'd i'll me my mine myself we we're we've we'll us our ours ich mich mir mein meine meinen meinem meiner wir uns \
     unser unsere je j'ai moi mon ma mes nous notre nos yo mi mis mí nosotros nuestro nuestra tengo quiero necesito puedo soy eu meu minha nós nosso \
     nossa io mio mia noi nostro nostra я мне меня мой моя моё мои мы нас наш наша ik mijn wij onze jag min mitt vi jeg ja mnie mój moja";
const DENSE_PERSONS: [&str; 12] = [
    "我",
    "咱",
    "本人",
    "私",
    "僕",
    "俺",
    "自分",
    "うち",
    "저",
    "나",
    "내",
    "ฉัน",
];

/// Whether a title is a sentence in which the model talks about itself.
pub(super) fn speaks(title: &str, message: &str) -> bool {
    let talk = straighten(title);
    let talk = talk.trim_matches(|c: char| !c.is_alphanumeric());
    let begins = |list: &str| phrases(&[list]).any(|phrase| begins_with(talk, phrase));
    if begins(WORK) {
        return !is_in_message(title, message) && !has_beginning(talk, message);
    }
    let is_prose = || {
        // "I already knew" in lower case; a title has capitals.
        let mut words = title.split(' ');
        words.next() == Some("I")
            && words
                .next()
                .is_some_and(|word| word.starts_with(char::is_lowercase))
    };
    let is_dense = || {
        DENSE_SUBJECTS
            .iter()
            .any(|subject| talk.starts_with(subject))
            && !DENSE_POSSESSIVES.iter().any(|my| talk.starts_with(my))
    };
    (begins(SUBJECTS) || is_prose() || is_dense()) && !has_person(message)
}

/// Whether a message has the first two words of a title: "I'll be late" for "Write: I'll be late".
fn has_beginning(talk: &str, message: &str) -> bool {
    let mut begin = words(talk);
    let (Some(first), Some(second)) = (begin.next(), begin.next()) else {
        return false;
    };
    let message = straighten(message);
    let all: Vec<&str> = words(&message).map(unquoted).collect();
    all.windows(2).any(|pair| pair == [first, second])
}

fn has_person(message: &str) -> bool {
    let message = straighten(message);
    DENSE_PERSONS.iter().any(|person| message.contains(person))
        || words(&message)
            .map(unquoted)
            .any(|word| PERSONS.split_whitespace().any(|known| known == word))
}

fn unquoted(word: &str) -> &str {
    word.trim_matches('\'')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_speaks_of_itself() {
        #[rustfmt::skip]
        let table = [
            ("I'll work through these 22 files systematically", "Refactor my 22 files", true),
            ("Let me check the repository first", "why does my build fail", true),
            ("I already introduced myself above", "who are you and what can you do", true),
            ("I'd need more details to help with that registration", "register the new guest", true),
            ("我已经在上一条消息中介绍了自己", "你好，请介绍一下猫为什么会打呼噜", true),
            ("我已经在上一条消息中回答了这个问题", "为什么天空是蓝色的", true),
            ("I understand the request", "make the button blue", true),
            ("Ich schaue mir das an", "Warum startet der Server nicht?", true),
            // The user's own words, and titles.
            ("I'll Be Missing You Lyrics", "lyrics of I'll be missing you", false),
            ("I'll Be Late: Email to a Boss", "write to the boss: 'I'll be late'", false),
            ("Let Me Down Slowly Chords", "chords for let me down slowly", false),
            ("I Ching Basics", "explain the yijing", false),
            ("I, Robot Summary", "summary of Asimov's robot stories", false),
            ("I Have a Dream Analysis", "I need help with King's speech", false),
            ("我的狗生病了", "my dog is ill", false),
            ("我想学日语", "I want to learn Japanese", false),
            ("Letter of Intent", "write a letter of intent", false),
        ];
        for (title, message, expected) in table {
            assert_eq!(speaks(title, message), expected, "{title}");
        }
    }
}
