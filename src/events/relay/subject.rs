//! What nodes say to each other, and on which subjects.
//!
//! A subject is made of ids in hexadecimal, never of a client's text: a tenant named `*` or `>` would
//! otherwise hear of everybody's conversations, and one with a dot of somebody else's.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    conversation::{ConversationId, Owner},
    events::topics::Topic,
};

/// Where nodes tell all others to look again.
pub(super) const LOOK_AGAIN: &str = "titlecast.v1.again";

/// A conversation has changed: a hint to read its row.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WakeUp {
    pub(super) node: Uuid,
    pub(super) id: Uuid,
    pub(super) revision: i64,
}

/// Wake-ups since then may have been lost.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LookAgain {
    pub(super) node: Uuid,
    pub(super) since: DateTime<Utc>,
}

/// Where a node talks to itself, to see how far the server is.
pub(super) fn echo(node: Uuid) -> String {
    format!("titlecast.v1.node.{}", node.simple())
}

/// Where a node is asked about the replies that it writes.
pub(super) fn replies(node: Uuid) -> String {
    format!("titlecast.v1.node.{}.replies", node.simple())
}

/// Where it is told that this conversation has changed.
pub(super) fn conversation(owner: &Owner, id: ConversationId) -> String {
    format!("{}.{}", of(owner), id.0.simple())
}

/// What a node subscribes to for this topic.
pub(super) fn topic(topic: &Topic) -> String {
    match topic {
        Topic::Conversation(owner, id) => conversation(owner, *id),
        Topic::Owner(owner) => format!("{}.*", of(owner)),
    }
}

fn of(owner: &Owner) -> String {
    let (tenant, user) = (token(&owner.tenant), token(&owner.user));
    format!("titlecast.v1.conv.{tenant}.{user}")
}

/// The hexadecimal digits of a text. A token must not be empty, which `-` stands for: it is no digit.
fn token(text: &str) -> String {
    use std::fmt::Write;

    if text.is_empty() {
        return "-".into();
    }
    let mut token = String::with_capacity(2 * text.len());
    for byte in text.bytes() {
        // Writing to a String cannot fail.
        let _ = write!(token, "{byte:02x}");
    }
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_a_part_of_a_subject() {
        let names = [
            "",
            "-",
            "*",
            ">",
            "a.b",
            "a",
            "b",
            " ",
            "é",
            "61",
            "\r\nPUB x",
        ];
        let mut subjects = Vec::new();
        for tenant in names {
            for user in names {
                let owner = Owner {
                    tenant: tenant.into(),
                    user: user.into(),
                };
                let subject = topic(&Topic::Owner(owner));
                let tokens: Vec<&str> = subject.split('.').collect();
                assert_eq!(tokens.len(), 6, "{subject}");
                for token in &tokens[3..5] {
                    let is_plain = |c: char| c.is_ascii_hexdigit() || c == '-';
                    assert!(
                        !token.is_empty() && token.chars().all(is_plain),
                        "{subject}"
                    );
                }
                subjects.push(subject);
            }
        }
        subjects.sort_unstable();
        subjects.dedup();
        assert_eq!(subjects.len(), names.len() * names.len());
    }

    #[test]
    fn a_subject_is_a_contract_between_versions() {
        let owner = Owner {
            tenant: "acme".into(),
            user: "*".into(),
        };
        let id = ConversationId(Uuid::from_u128(7));
        assert_eq!(
            topic(&Topic::Conversation(owner, id)),
            "titlecast.v1.conv.61636d65.2a.00000000000000000000000000000007"
        );
    }
}
