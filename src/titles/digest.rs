//! The digest of a conversation, for a title of the whole conversation: the first user message, evenly spaced user
//! messages after it, and the last two exchanges, each shortened.
//!
//! Authors alternate, so every second message may be the assistant's: at each position the next message is read too,
//! and the user's message is used. Reads at most 13 messages, whatever the length of the conversation.

use super::source::{Found, Source};
use crate::{
    conversation::{Role, text::single_line},
    db::{Database, Excerpt, TitleClaim},
    error::Result,
};

/// The maximum length of a digest, in characters.
const MAX_CHARS: usize = 2_000;

/// The number of messages in the last two exchanges, and of messages between them and the first one.
const LAST: i64 = 4;
const BETWEEN: i64 = 4;

/// Weights that divide the digest's characters among the messages: the first one, each of the last, each in between.
const FIRST_SHARE: usize = 4;
const LAST_SHARE: usize = 2;
const BETWEEN_SHARE: usize = 1;

/// The length of a line without its text.
const LABEL_CHARS: usize = "Assistant: \n".len();

/// A shortened conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Digest {
    /// One line for each message, with its author.
    pub(super) text: String,
    /// The user's own text in it.
    pub(super) asked: String,
}

/// The digest of the conversation whose title is claimed, with this first message.
///
/// # Errors
/// [`Error::NotFound`](crate::error::Error::NotFound) if the conversation was deleted;
/// [`Error::Database`](crate::error::Error::Database).
pub(super) async fn of_conversation(
    db: &Database,
    claim: &TitleClaim,
    first: &Found,
) -> Result<Digest> {
    let (owner, id) = (&claim.owner, claim.id);
    let messages = db.conversation(owner, id).await?.message_count;
    let (between, last) = positions(messages);
    let first = match &first.source {
        Source::Text(text) => text.clone(),
        Source::Title(name) => name.as_str().to_owned(),
    };
    let first = Excerpt {
        position: 1,
        role: Role::User,
        text: first,
    };
    let pairs = match between.len() as i64 == BETWEEN {
        true => paired(&between, last.first().copied().unwrap_or(i64::MAX)),
        false => between.clone(),
    };
    let between = of_the_user(&between, db.excerpts(owner, id, pairs).await?);
    let last = db.excerpts(owner, id, last).await?;
    Ok(digest(first, between, last))
}

/// The positions of the messages in between, and of the last messages.
fn positions(messages: i64) -> (Vec<i64>, Vec<i64>) {
    // The first message has position 1.
    let last_from = (messages - LAST + 1).max(2);
    let between = last_from - 2;
    let count = between.min(BETWEEN);
    let spaced = (0..count).map(|number| 2 + (2 * number + 1) * between / (2 * count));
    (spaced.collect(), (last_from..=messages).collect())
}

/// Each position followed by the next one, without positions from `end` on.
fn paired(places: &[i64], end: i64) -> Vec<i64> {
    let pairs = places.iter().flat_map(|place| [*place, place + 1]);
    let mut pairs: Vec<i64> = pairs.filter(|place| *place < end).collect();
    pairs.dedup();
    pairs
}

/// For each position, the user's message there or at the next position, else the message there.
fn of_the_user(places: &[i64], read: Vec<Excerpt>) -> Vec<Excerpt> {
    let pick = |place: &i64| {
        let mut near = read
            .iter()
            .filter(|one| one.position == *place || one.position == place + 1);
        let user = near.clone().find(|one| one.role == Role::User);
        user.or_else(|| near.find(|one| one.position == *place))
    };
    let mut picked: Vec<Excerpt> = places.iter().filter_map(pick).cloned().collect();
    picked.dedup_by_key(|one| one.position);
    picked
}

fn digest(first: Excerpt, between: Vec<Excerpt>, last: Vec<Excerpt>) -> Digest {
    let shares = FIRST_SHARE + between.len() * BETWEEN_SHARE + last.len() * LAST_SHARE;
    let labels = (1 + between.len() + last.len()) * LABEL_CHARS;
    let share = MAX_CHARS.saturating_sub(labels) / shares;
    let weighted = std::iter::once((first, FIRST_SHARE))
        .chain(between.into_iter().map(|one| (one, BETWEEN_SHARE)))
        .chain(last.into_iter().map(|one| (one, LAST_SHARE)));
    let (mut lines, mut asked) = (Vec::new(), Vec::new());
    for (Excerpt { role, text, .. }, weight) in weighted {
        let text = shortened(&text, share * weight);
        if text.is_empty() {
            continue;
        }
        match role {
            Role::User => {
                lines.push(format!("User: {text}"));
                asked.push(text);
            }
            Role::Assistant => lines.push(format!("Assistant: {text}")),
        }
    }
    Digest {
        text: lines.join("\n"),
        asked: asked.join("\n"),
    }
}

/// A text on one line: a long one is shortened to three quarters from its beginning and one quarter from its end.
fn shortened(text: &str, chars: usize) -> String {
    const GAP: &str = " … ";
    // Read more than `chars` characters, because white space collapses, but not the whole of a long text.
    let start: String = text.chars().take(8 * chars).collect();
    let line = single_line(&start);
    let count = line.chars().count();
    if count <= chars && start.len() == text.len() {
        return line;
    }
    let room = chars.saturating_sub(GAP.chars().count());
    let tail_chars = room / 4;
    let head: String = line.chars().take(room - tail_chars).collect();
    let skipped = text.chars().count().saturating_sub(2 * tail_chars);
    let end: String = text.chars().skip(skipped).collect();
    let end = single_line(&end);
    let before = end.chars().count().saturating_sub(tail_chars);
    let tail: String = end.chars().skip(before).collect();
    format!("{}{GAP}{}", head.trim_end(), tail.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(role: Role, text: impl Into<String>) -> Excerpt {
        Excerpt {
            position: 0,
            role,
            text: text.into(),
        }
    }

    #[test]
    fn the_messages_between_are_the_users_whatever_the_length() {
        for users in 3..200 {
            let messages = 2 * users;
            let (between, last) = positions(messages);
            if (between.len() as i64) < BETWEEN {
                continue;
            }
            let read = paired(&between, last[0])
                .into_iter()
                .map(|position| Excerpt {
                    position,
                    ..match position % 2 {
                        0 => excerpt(Role::Assistant, "reply"),
                        _ => excerpt(Role::User, "asked"),
                    }
                });
            let picked = of_the_user(&between, read.collect());
            let replies = picked.iter().filter(|one| one.role == Role::Assistant);
            assert!(picked.len() >= 2 && picked.len() <= between.len());
            assert!(
                replies.count() <= usize::from(users < 7),
                "{users}: {picked:?}"
            );
            assert!(picked.is_sorted_by(|a, b| a.position < b.position));
        }
    }

    #[test]
    fn the_last_two_exchanges_and_spaced_messages_between_are_read() {
        for (messages, between, last) in [
            (1, vec![], vec![]),
            (2, vec![], vec![2]),
            (5, vec![], vec![2, 3, 4, 5]),
            (6, vec![2], vec![3, 4, 5, 6]),
            (8, vec![2, 3, 4], vec![5, 6, 7, 8]),
            (
                10_000,
                vec![1251, 3750, 6248, 8747],
                vec![9_997, 9_998, 9_999, 10_000],
            ),
        ] {
            assert_eq!(positions(messages), (between, last), "{messages}");
        }
        for messages in 1..2_000 {
            let (between, last) = positions(messages);
            assert!(1 + between.len() + last.len() <= 9);
            let all: Vec<i64> = between.into_iter().chain(last).collect();
            assert!(all.is_sorted_by(|a, b| a < b), "{messages}: {all:?}");
            assert!(all.first().is_none_or(|first| *first > 1));
        }
    }

    #[test]
    fn a_digest_is_a_page_whatever_was_written() {
        for text in [
            "long ".repeat(100_000),
            "日本🗾".repeat(50_000),
            "\n\t ".repeat(90_000),
        ] {
            let of = |role| excerpt(role, text.as_str());
            let between = vec![of(Role::Assistant); BETWEEN as usize];
            let last = vec![of(Role::User); LAST as usize];
            let digest = digest(of(Role::User), between, last);
            let chars = digest.text.chars().count();
            assert!(chars <= MAX_CHARS, "{chars}");
            assert!(digest.asked.len() <= digest.text.len());
        }
    }

    #[test]
    fn a_short_conversation_is_there_whole_with_its_authors() {
        let digest = digest(
            excerpt(Role::User, "Plan a trip\nto Kyoto"),
            Vec::new(),
            vec![
                excerpt(Role::Assistant, "With pleasure."),
                excerpt(Role::User, "Rather Nara"),
            ],
        );
        let expected = "User: Plan a trip to Kyoto\nAssistant: With pleasure.\nUser: Rather Nara";
        assert_eq!(digest.text, expected);
        assert_eq!(digest.asked, "Plan a trip to Kyoto\nRather Nara");
    }

    #[test]
    fn both_ends_of_a_long_message_are_kept() {
        let text = format!("first {} last", "word ".repeat(1_000));
        let short = shortened(&text, 100);
        assert!(short.chars().count() <= 100, "{short}");
        assert!(
            short.starts_with("first word") && short.ends_with(" last"),
            "{short}"
        );
    }
}
