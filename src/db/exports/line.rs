//! A line of an export: a conversation with all of its rows, as `titlecast import` reads it back.

use std::collections::HashSet;

use chrono::{DateTime, Timelike, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    auth::{ANY_TENANT, is_name},
    clock::{PLAIN, is_plain},
    conversation::{
        ConversationStatus, Message, MessageId, MessageStatus, Metadata, Owner, Part, ReplyOutcome,
        Role, Title, TitleFailure, TitleFrom, TitleSource, TitleStatus,
        external::{checked_external_id, conversation_id},
    },
    db::{
        NewConversation, NewMessage, ReplyState,
        entity::{conversation, json::Nested, known, message, reply_call, turn, version},
        retention::UNTIL_TITLED,
    },
    error::{Error, Result},
};

/// The largest revision and count: revisions are incremented, and some code multiplies them.
const MAX_NUMBER: i64 = 1 << 53;

/// The maximum number of tries, and of refreshes.
const MAX_TRIES: i32 = 1_000_000;

/// The maximum number of tokens of one reply, as `reply_calls` stores them.
const MAX_TOKENS: i64 = 1 << 40;

/// The maximum length of a line that an import reads, in bytes. An export writes longer ones, and reports them.
pub const MAX_LINE_BYTES: usize = 128 * 1024 * 1024;

/// A line: the rows of one conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::db) struct Line {
    #[serde(flatten)]
    pub(in crate::db) conversation: conversation::Model,
    /// Oldest first; their positions are dense and end with the message count.
    pub(in crate::db) messages: Vec<Reply<message::Model>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::db) versions: Vec<Reply<version::Model>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::db) turns: Vec<turn::Model>,
}

/// A message that counts, or one that does not, with the rows stored beside a reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::db) struct Reply<M> {
    #[serde(flatten)]
    pub(in crate::db) row: M,
    #[serde(default, with = "Nested::<Vec<Part>>")]
    pub(in crate::db) parts: Option<String>,
    pub(in crate::db) usage: Option<reply_call::Model>,
}

/// The rows of an exported conversation, to be imported unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRows(pub(in crate::db) Box<Line>);

impl StoredRows {
    /// Whether a line was exported: only exported lines have a revision.
    pub fn are_in(line: &Value) -> bool {
        line.get("revision").is_some_and(|value| !value.is_null())
    }

    /// Parses an exported line. `latest`: the latest time that the line may contain. `redacts`: whether previews of
    /// messages that follow leave out secrets.
    ///
    /// # Errors
    /// What is wrong with the line, without its text.
    pub fn parse(
        line: Value,
        latest: DateTime<Utc>,
        redacts: bool,
    ) -> std::result::Result<NewConversation, String> {
        let mut line = without_nulls(line);
        if let Some(fields) = line.as_object_mut() {
            // The lines of large conversations have these fields even if they are empty.
            let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
            fields.retain(|name, value| name == "messages" || !is_empty(value));
            derive_id(fields);
        }
        // serde's messages may repeat a value, which is user text, except for those about missing fields.
        let mut parsed: Line = Line::deserialize(&line).map_err(|error| {
            let error = error.to_string();
            match error.starts_with("missing field") {
                true => error,
                false => "a field of this exported line has another type".into(),
            }
        })?;
        // An unknown field, or one that would be stored differently, must not be lost silently.
        if encoded(&parsed).map_err(|error| error.to_string())? != line {
            return Err(
                "the line has a revision, as exported lines do, and a field that the export of this version does not \
                 write"
                    .into(),
            );
        }
        parsed.check(latest)?;
        parsed.derive();
        let row = &parsed.conversation;
        let title = row.display_name.as_deref().map(Title::new);
        let title = title.transpose().map_err(|error| error.to_string())?;
        let source = known(&row.title_source).unwrap_or(TitleSource::Manual);
        let messages = parsed.messages.iter().map(|message| {
            let message = Message::try_from(message.row.clone())?;
            Ok(NewMessage {
                id: Some(message.id),
                external_id: message.external_id,
                role: message.role,
                text: message.content,
                attachments: message.attachments,
                created_at: message.created_at,
            })
        });
        let messages: Result<Vec<_>> = messages.collect();
        Ok(NewConversation {
            id: row.id,
            external_id: row.external_id.clone(),
            owner: row.owner(),
            title: title.map(|title| (title, source)),
            topic_hint: row.topic_hint.clone(),
            redacts,
            agent: row.active_agent.clone(),
            created_at: row.created_at,
            messages: messages.map_err(|error: Error| error.to_string())?,
            stored: Some(Self(Box::new(parsed))),
        })
    }
}

/// The JSON of a line or of a row in it.
pub(super) fn encoded(row: &impl Serialize) -> serde_json::Result<Value> {
    serde_json::to_value(row).map(without_nulls)
}

/// Derives the id of a line that has only an external id, as routes do.
fn derive_id(fields: &mut Map<String, Value>) {
    let text = |field: &str| fields.get(field).and_then(Value::as_str);
    let names = (text("tenant"), text("user"), text("external_id"));
    if let ((Some(tenant), Some(user), Some(external_id)), None) = (names, fields.get("id")) {
        let owner = Owner {
            tenant: tenant.to_owned(),
            user: user.to_owned(),
        };
        let id = conversation_id(&owner, external_id).to_string();
        fields.insert("id".to_owned(), id.into());
    }
}

/// Removes null fields: an absent field means the same.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, without_nulls(value)))
            .collect(),
        Value::Array(values) => values.into_iter().map(without_nulls).collect(),
        value => value,
    }
}

impl Line {
    /// Leaves out the owner as an author, so that a line names its owner once, where it is easily replaced.
    pub(super) fn omit_owner(&mut self) {
        let owner = &self.conversation.user_id;
        for message in &mut self.messages {
            omit_owner(&mut message.row.author, owner);
        }
        for version in &mut self.versions {
            omit_owner(&mut version.row.author, owner);
        }
    }

    /// Sets the columns that a line does not hold.
    fn derive(&mut self) {
        let row = &mut self.conversation;
        row.status = ConversationStatus::Active.as_str().into();
        row.published_revision = row.revision;
        // Retention removes the first messages and keeps the count.
        let messages = self.messages.len() as i64;
        row.message_count = row.message_count.max(messages);
        let before = row.message_count - messages;
        let (id, owner) = (row.id, row.owner());
        let usage = |usage: &mut Option<reply_call::Model>, reply| {
            if let Some(usage) = usage {
                usage.id = reply;
                usage.tenant_id.clone_from(&owner.tenant);
                usage.conversation_id = id;
            }
        };
        for (position, message) in (before + 1..).zip(&mut self.messages) {
            message.row.conversation_id = id;
            message.row.position = position;
            fill_author(&mut message.row.author, &message.row.role, &owner.user);
            usage(&mut message.usage, message.row.id);
        }
        for version in &mut self.versions {
            version.row.conversation_id = id;
            fill_author(&mut version.row.author, &version.row.role, &owner.user);
            usage(&mut version.usage, version.row.id);
        }
        for turn in &mut self.turns {
            turn.conversation_id = id;
            turn.tenant_id.clone_from(&owner.tenant);
            turn.user_id.clone_from(&owner.user);
        }
    }

    /// The times of the line at which something happened: all but that of the title's next try.
    fn times(&self) -> impl Iterator<Item = DateTime<Utc>> {
        fn of_usage(usage: Option<&reply_call::Model>) -> Option<DateTime<Utc>> {
            usage.map(|usage| usage.created_at)
        }
        let row = &self.conversation;
        let of_row = [
            Some(row.created_at),
            Some(row.updated_at),
            Some(row.last_message_at),
            row.title_generated_at,
            row.title_failing_since,
            row.title_refreshed_at,
            row.archived_at,
            row.pinned_at,
        ];
        let of_messages = self
            .messages
            .iter()
            .flat_map(|Reply { row, usage, .. }| [Some(row.created_at), of_usage(usage.as_ref())]);
        let of_versions = self.versions.iter().flat_map(|Reply { row, usage, .. }| {
            [
                Some(row.created_at),
                row.replaced_at,
                of_usage(usage.as_ref()),
            ]
        });
        let of_turns = self.turns.iter().map(|turn| Some(turn.created_at));
        let of_replies = of_messages.chain(of_versions).chain(of_turns);
        of_row.into_iter().chain(of_replies).flatten()
    }

    /// Checks for values that a database would reject, or that the service would read differently.
    fn check(&self, latest: DateTime<Utc>) -> std::result::Result<(), String> {
        let row = &self.conversation;
        for (field, name) in [("tenant", &row.tenant_id), ("user", &row.user_id)] {
            if !is_name(name) || field == "tenant" && name == ANY_TENANT {
                return Err(format!("{field} is no valid name"));
            }
        }
        let is_title =
            |title: &String| Title::new(title).is_ok_and(|valid| valid.as_str() == title);
        let titles = [
            ("title", &row.display_name),
            ("previous_title", &row.previous_title),
        ];
        for (field, title) in titles {
            if title.as_ref().is_some_and(|title| !is_title(title)) {
                return Err(format!("{field} is no valid title"));
            }
        }
        let sizes = [
            ("agent", Some(&row.active_agent), 64),
            ("agent_entrypoint", Some(&row.agent_entrypoint), 64),
            ("topic_hint", row.topic_hint.as_ref(), 256),
            (
                "last_message_preview",
                row.last_message_preview.as_ref(),
                256,
            ),
            ("title_hint", row.title_hint.as_ref(), 256),
        ];
        for (field, text, chars) in sizes {
            fits(field, text, chars)?;
        }
        is_id("external_id", row.external_id.as_ref())?;
        if let Some(external_id) = &row.external_id
            && conversation_id(&row.owner(), external_id) != row.id
        {
            // No route would find the conversation by its external id.
            return Err(
                "id is not the one that external_id has under this tenant and user; if they changed, remove id, so that \
                 it is derived from them, or remove external_id to keep the id"
                    .into(),
            );
        }
        is_one_of::<TitleSource>("title_source", Some(&row.title_source))?;
        is_one_of::<TitleSource>("previous_title_source", row.previous_title_source.as_ref())?;
        is_one_of::<TitleStatus>("title_status", Some(&row.title_status))?;
        if row.title_status == TitleStatus::Ready.as_str() && row.display_name.is_none() {
            return Err("title_status is ready, and title is missing".into());
        }
        is_one_of::<TitleFailure>("title_failure", row.title_failure.as_ref())?;
        is_one_of::<TitleFrom>("title_from", row.title_from.as_ref())?;
        if row
            .retain
            .as_ref()
            .is_some_and(|retain| retain != UNTIL_TITLED)
        {
            return Err("retain is unknown".into());
        }
        if !(1..=MAX_NUMBER).contains(&row.revision) {
            return Err("revision must be positive, and leave room for more".into());
        }
        if !(0..=MAX_NUMBER).contains(&row.message_count) {
            return Err("message_count is out of range".into());
        }
        for (field, number) in [
            ("title_tries", row.title_tries),
            ("title_refreshes", row.title_refreshes),
        ] {
            if !(0..=MAX_TRIES).contains(&number) {
                return Err(format!("{field} is out of range"));
            }
        }
        // PostgreSQL rejects some times, which would end the import.
        if !self
            .times()
            .chain(row.title_retry_at)
            .all(|at| is_plain(at) && at.nanosecond() % 1_000 == 0)
        {
            return Err(format!("a time must be in microseconds, {PLAIN}"));
        }
        if self.times().any(|at| at > latest) {
            // The conversation would stay at the top of the list, or no retention limit would ever reach the row.
            return Err("a time is in the future".into());
        }
        if let Some(metadata) = &row.metadata {
            let pairs = Metadata::from_stored(metadata);
            let pairs = pairs.pairs().map(|(key, value)| (key.into(), value.into()));
            Metadata::new(pairs).map_err(|error| error.to_string())?;
        }
        self.check_messages()
    }

    fn check_messages(&self) -> std::result::Result<(), String> {
        let mut ids = HashSet::new();
        let mut once = |id: MessageId, what: &str| match ids.insert(id) {
            true => Ok(()),
            false => Err(format!("{what} repeats an id")),
        };
        let mut messages = HashSet::new();
        for Reply { row, parts, usage } in &self.messages {
            once(row.id, "messages")?;
            messages.insert(row.id);
            is_one_of::<Role>("messages.role", Some(&row.role))?;
            is_one_of::<MessageStatus>("messages.status", Some(&row.status))?;
            is_one_of::<ReplyOutcome>("messages.outcome", row.outcome.as_ref())?;
            fits("messages.model", row.model.as_ref(), 128)?;
            is_author("messages.author", row.author.as_ref(), &row.role)?;
            is_id("messages.external_id", row.external_id.as_ref())?;
            has_no_nul("messages.content", &row.content)?;
            check_usage(usage.as_ref())?;
            if row.in_reply_to == Some(row.id) {
                return Err("a message answers itself".into());
            }
            let is_reply = row.in_reply_to.is_some_and(|id| messages.contains(&id));
            if parts.is_some() && !is_reply {
                return Err(
                    "a message with parts does not name the message that it answers".into(),
                );
            }
        }
        for Reply { row, usage, .. } in &self.versions {
            once(row.id, "versions")?;
            if !messages.contains(&row.message_id) {
                return Err("a version belongs to no message of the line".into());
            }
            is_one_of::<Role>("versions.role", Some(&row.role))?;
            is_one_of::<MessageStatus>("versions.status", Some(&row.status))?;
            is_one_of::<ReplyOutcome>("versions.outcome", row.outcome.as_ref())?;
            fits("versions.failure", row.failure.as_ref(), 64)?;
            is_author("versions.author", row.author.as_ref(), &row.role)?;
            fits("versions.model", row.model.as_ref(), 128)?;
            has_no_nul("versions.content", &row.content)?;
            check_usage(usage.as_ref())?;
        }
        for turn in &self.turns {
            is_one_of::<ReplyState>("turns.reply_status", Some(&turn.reply_status))?;
            if turn.reply_status == <&str>::from(ReplyState::Running) {
                return Err("turns.reply_status must not be running".into());
            }
            fits("turns.reply_failure", turn.reply_failure.as_ref(), 64)?;
            fits("turns.reply_reason", turn.reply_reason.as_ref(), 32)?;
            fits("turns.idempotency_key", turn.idempotency_key.as_ref(), 255)?;
            fits("turns.request_hash", turn.request_hash.as_ref(), 64)?;
            fits("turns.source", turn.source.as_ref(), 16)?;
        }
        Ok(())
    }
}

/// Leaves out an author who is the owner of the conversation.
pub(super) fn omit_owner(author: &mut Option<String>, owner: &str) {
    if author.as_deref() == Some(owner) {
        *author = None;
    }
}

/// Sets the owner as the author of a user message without one. NULL, as in rows of the version before authors, means
/// the same, and a line does not distinguish the two.
fn fill_author(author: &mut Option<String>, role: &str, owner: &str) {
    if author.is_none() && role == Role::User.as_str() {
        *author = Some(owner.to_owned());
    }
}

fn check_usage(usage: Option<&reply_call::Model>) -> std::result::Result<(), String> {
    let Some(usage) = usage else { return Ok(()) };
    let tokens = [
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.reasoning_tokens,
    ];
    if !tokens
        .iter()
        .all(|tokens| (0..=MAX_TOKENS).contains(tokens))
    {
        return Err("usage has a number of tokens that is out of range".into());
    }
    fits("usage.agent", Some(&usage.agent), 128)?;
    fits("usage.model", Some(&usage.model), 128)
}

/// Checks the size of the column, which PostgreSQL enforces.
fn fits(field: &str, text: Option<&String>, chars: usize) -> std::result::Result<(), String> {
    let Some(text) = text else { return Ok(()) };
    has_no_nul(field, text)?;
    match text.chars().count() <= chars {
        true => Ok(()),
        false => Err(format!("{field} is longer than {chars} characters")),
    }
}

fn is_id(field: &str, id: Option<&String>) -> std::result::Result<(), String> {
    match id.is_none_or(|id| checked_external_id(id).is_ok()) {
        true => Ok(()),
        false => Err(format!("{field} is no valid id")),
    }
}

/// Only user messages have an author.
fn is_author(field: &str, name: Option<&String>, role: &str) -> std::result::Result<(), String> {
    match name {
        Some(_) if role != Role::User.as_str() => Err(format!("{field} is that of a reply")),
        Some(name) if !is_name(name) => Err(format!("{field} is no valid name")),
        Some(_) | None => Ok(()),
    }
}

fn has_no_nul(field: &str, text: &str) -> std::result::Result<(), String> {
    match text.contains('\0') {
        true => Err(format!("{field} has the character U+0000")),
        false => Ok(()),
    }
}

fn is_one_of<T: std::str::FromStr>(
    field: &str,
    name: Option<&String>,
) -> std::result::Result<(), String> {
    match name.is_none_or(|name| known::<T>(name).is_some()) {
        true => Ok(()),
        false => Err(format!("{field} is unknown")),
    }
}
