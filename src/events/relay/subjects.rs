//! NATS subjects and the messages on them.
//!
//! Tenant and user are encoded in hexadecimal, never copied into a subject. Otherwise a tenant named `*` or `>` would
//! subscribe to all owners, and one with a dot to another owner.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    conversation::{Audience, ConversationId, Owner},
    events::topics::Topic,
};

/// Subject of resync requests to all nodes.
pub(super) const RESYNC: &str = "titlecast.v1.again";

/// A conversation changed: a hint to read its row.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WakeUp {
    pub(super) node: Uuid,
    pub(super) id: Uuid,
    pub(super) revision: i64,
}

/// Asks all nodes to resync: wake-ups since this time may have been lost.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ResyncRequest {
    pub(super) node: Uuid,
    pub(super) since: DateTime<Utc>,
}

/// Subject of a node's echo: messages to itself that show how far the server has processed its connection.
pub(super) fn echo(node: Uuid) -> String {
    format!("titlecast.v1.node.{}", node.simple())
}

/// Subject of requests for the replies that a node writes.
pub(super) fn replies(node: Uuid) -> String {
    format!("titlecast.v1.node.{}.replies", node.simple())
}

/// Subject of the wake-ups of one conversation.
pub(super) fn conversation(owner: &Owner, id: ConversationId) -> String {
    format!("{}.{}", owner_prefix(owner), id.0.simple())
}

/// The subject, possibly with a wildcard, of a topic's wake-ups.
pub(super) fn topic(topic: &Topic) -> String {
    match topic {
        Topic::Conversation(owner, id) => conversation(owner, *id),
        Topic::Audience(Audience::User(owner)) => format!("{}.*", owner_prefix(owner)),
        Topic::Audience(Audience::Tenant(tenant)) => format!("{}.*.*", tenant_prefix(tenant)),
    }
}

fn owner_prefix(owner: &Owner) -> String {
    format!("{}.{}", tenant_prefix(&owner.tenant), token(&owner.user))
}

fn tenant_prefix(tenant: &str) -> String {
    format!("titlecast.v1.conv.{}", token(tenant))
}

/// A text in hexadecimal. NATS allows no empty token, so `-`, which is not a digit, encodes the empty text.
fn token(text: &str) -> String {
    match text.is_empty() {
        true => "-".into(),
        false => hex::encode(text),
    }
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
                let subject = topic(&Topic::Audience(Audience::User(owner)));
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
        let tenant = |tenant: &str| topic(&Topic::Audience(Audience::Tenant(tenant.into())));
        assert_eq!(tenant("acme"), "titlecast.v1.conv.61636d65.*.*");
        assert_eq!(tenant("*"), "titlecast.v1.conv.2a.*.*");
    }
}
