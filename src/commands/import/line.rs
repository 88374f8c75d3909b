//! Parses a line of an import: a conversation from another system, validated by the rules for sent messages.
//!
//! Errors name the field and the problem. They never repeat a field's contents, which are user text.

use std::collections::HashSet;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use serde_json::{Map, Value};

use crate::{
    agents::DEFAULT_AGENT,
    auth::{ANY_TENANT, is_name},
    chat::{check_agent, checked_text},
    clock::{PLAIN, is_plain},
    config::ModelRef,
    conversation::{
        Attachment, ConversationId, InvalidTitle, Owner, Role, Title, TitleSource,
        attachment::shown_text,
        external::{conversation_id, external_id, message_id},
        topic_hint,
    },
    db::{NewConversation, NewMessage, StoredRows},
    titles::policy::Policies,
};

/// How far the clock of another system may be ahead.
const MAX_CLOCK_SKEW: TimeDelta = TimeDelta::days(1);

/// The longest name of an unknown field that an error repeats, in characters.
const MAX_FIELD_CHARS: usize = 40;

/// Why a line is rejected.
type Rejection = String;

/// Defaults for fields that a line omits.
#[derive(Clone, Debug)]
pub(super) struct Defaults {
    /// The default tenant.
    pub tenant: Option<String>,
    /// The default user.
    pub user: Option<String>,
    /// The current time.
    pub now: DateTime<Utc>,
    /// The title policies, which decide whether hints and previews are redacted.
    pub policies: Policies<Vec<ModelRef>>,
}

impl Defaults {
    /// Parses the conversation of a line.
    pub(super) fn conversation(&self, line: &[u8]) -> Result<NewConversation, Rejection> {
        let line = lenient_json::from_client(line)
            .map_err(|error| format!("invalid JSON at column {}", error.column()))?;
        if StoredRows::are_in(&line) {
            return self.exported(line);
        }
        let mut fields = Fields::of(line, String::new())?;
        let owner = Owner {
            tenant: self.name(&mut fields, "tenant", self.tenant.as_ref())?,
            user: self.name(&mut fields, "user", self.user.as_ref())?,
        };
        let id = fields.key("id")?;
        let id =
            id.ok_or("id is missing; without it, another run would add the conversation again")?;
        let external_id = external_id(&id).ok();
        let id = conversation_id(&owner, &id);
        let title = title(&mut fields)?;
        let hint = fields.text("topic_hint")?;
        let agent = fields.text("agent")?;
        let agent = agent.unwrap_or_else(|| DEFAULT_AGENT.to_owned());
        check_agent(&agent).map_err(|error| format!("agent: {error}"))?;
        let began = self.time(&mut fields, "created_at")?;
        let listed = fields.list("messages")?;
        fields.reject_unknown()?;
        let mut messages: Vec<NewMessage> = Vec::with_capacity(listed.len());
        let mut ids = HashSet::new();
        for (place, message) in listed.into_iter().enumerate() {
            let fields = Fields::of(message, format!("messages[{place}]"))?;
            let before = messages.last().map(|message| message.created_at);
            let message = self.message(fields, id, before.or(began))?;
            if message.id.is_some_and(|id| !ids.insert(id)) {
                return Err(format!(
                    "messages[{place}].id repeats the id of an earlier message"
                ));
            }
            messages.push(message);
        }
        let first = messages.first().ok_or("messages is empty")?;
        let created_at = began.unwrap_or(first.created_at);
        let first_user = messages.iter().find(|message| message.role == Role::User);
        let first_user = first_user.map(|message| shown_text(&message.text, &message.attachments));
        let hint = hint.as_deref().and_then(topic_hint::from_client);
        let redacts = self.policies.of_tenant(&owner.tenant).redact;
        Ok(NewConversation {
            topic_hint: hint.or_else(|| topic_hint::topic_hint(&first_user?, redacts)),
            redacts,
            id,
            external_id,
            owner,
            title,
            agent,
            created_at,
            messages,
            stored: None,
        })
    }

    /// Parses a line of `titlecast export`, with the same defaults.
    fn exported(&self, mut line: Value) -> Result<NewConversation, Rejection> {
        for (field, default) in [("tenant", &self.tenant), ("user", &self.user)] {
            if let (Some(line), Some(default)) = (line.as_object_mut(), default) {
                line.entry(field).or_insert_with(|| default.as_str().into());
            }
        }
        let tenant = line.get("tenant").and_then(Value::as_str);
        let redacts = self.policies.of_tenant(tenant.unwrap_or_default()).redact;
        let keeps_texts = line.get("retain").is_none_or(Value::is_null);
        let conversation = StoredRows::parse(line, self.now + MAX_CLOCK_SKEW, redacts)?;
        // Checks only user messages: the text of a reply may be empty, or longer than a client may send.
        let messages = conversation.messages.iter().enumerate();
        for (place, message) in messages.filter(|(_, message)| message.role == Role::User) {
            // The text was dropped when the title was settled.
            if !keeps_texts && message.text.is_empty() {
                continue;
            }
            checked_text(message.text.clone(), &message.attachments)
                .map_err(|error| format!("messages[{place}]: {error}"))?;
        }
        Ok(conversation)
    }

    fn message(
        &self,
        mut fields: Fields,
        conversation: ConversationId,
        before: Option<DateTime<Utc>>,
    ) -> Result<NewMessage, Rejection> {
        let role = match fields.text("role")?.as_deref() {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            _ => {
                return Err(format!(
                    "{} must be user or assistant",
                    fields.path_of("role")
                ));
            }
        };
        let id = fields.key("id")?;
        let external_id = id.as_deref().and_then(|id| external_id(id).ok());
        let id = id.map(|id| message_id(conversation, &id));
        let text = fields.text("content")?.unwrap_or_default();
        let attachments = attachments(&mut fields)?;
        let text = checked_text(text, &attachments)
            .map_err(|error| format!("{}: {error}", fields.path))?;
        let created_at = self.time(&mut fields, "created_at")?;
        fields.reject_unknown()?;
        Ok(NewMessage {
            id,
            external_id,
            role,
            text,
            attachments,
            created_at: created_at.or(before).unwrap_or(self.now),
        })
    }

    /// The tenant or user of the line, else the default.
    fn name(
        &self,
        fields: &mut Fields,
        field: &str,
        default: Option<&String>,
    ) -> Result<String, Rejection> {
        let name = fields.key(field)?.or_else(|| default.cloned());
        let name = name.ok_or_else(|| format!("{field} is missing; add it, or pass --{field}"))?;
        match is_name(&name) {
            true if name == ANY_TENANT && field == "tenant" => {
                Err("tenant must not be *, which stands for any tenant".into())
            }
            true => Ok(name),
            false => Err(format!(
                "{field} must be 1 to 128 characters without control characters"
            )),
        }
    }

    fn time(&self, fields: &mut Fields, field: &str) -> Result<Option<DateTime<Utc>>, Rejection> {
        let Some(time) = fields.take(field) else {
            return Ok(None);
        };
        let time = time.as_str().map(DateTime::parse_from_rfc3339);
        let Some(Ok(time)) = time else {
            let path = fields.path_of(field);
            return Err(format!(
                "{path} must be a time with an offset, such as 2026-01-31T12:00:00Z"
            ));
        };
        // PostgreSQL's precision.
        let time = time.to_utc().trunc_subsecs(6);
        if time > self.now + MAX_CLOCK_SKEW {
            // The conversation would stay at the top of the list.
            return Err(format!("{} is in the future", fields.path_of(field)));
        }
        if !is_plain(time) {
            let path = fields.path_of(field);
            return Err(format!("{path} must be {PLAIN}"));
        }
        Ok(Some(time))
    }
}

/// The title and its source. The default source is manual: a manual title is never replaced automatically, and it may
/// have been written by a user.
fn title(fields: &mut Fields) -> Result<Option<(Title, TitleSource)>, Rejection> {
    let title = fields.text("title")?;
    let source = match fields.text("title_source")?.as_deref() {
        None | Some("manual") => TitleSource::Manual,
        Some("generated") => TitleSource::Generated,
        Some(_) => return Err("title_source must be manual or generated".into()),
    };
    match title.as_deref().map(Title::new) {
        None | Some(Err(InvalidTitle::Empty)) => Ok(None),
        Some(Err(error)) => Err(format!("title: {error}")),
        Some(Ok(title)) => Ok(Some((title, source))),
    }
}

fn attachments(fields: &mut Fields) -> Result<Vec<Attachment>, Rejection> {
    let path = fields.path_of("attachments");
    let listed = fields.list("attachments")?;
    let read = |(place, attachment)| {
        let path = format!("{path}[{place}]");
        let mut fields = Fields::of(attachment, path.clone())?;
        let name = fields.text("name")?.unwrap_or_default();
        let attachment = Attachment::new(&name, fields.text("media_type")?);
        fields.reject_unknown()?;
        attachment.map_err(|error| format!("{path}: {error}"))
    };
    listed.into_iter().enumerate().map(read).collect()
}

/// The fields of an object that have not been read yet.
struct Fields {
    path: String,
    fields: Map<String, Value>,
}

impl Fields {
    fn of(value: Value, path: String) -> Result<Self, Rejection> {
        match value {
            Value::Object(fields) => Ok(Self { path, fields }),
            _ if path.is_empty() => Err("the line must be a JSON object".into()),
            _ => Err(format!("{path} must be an object")),
        }
    }

    fn path_of(&self, field: &str) -> String {
        match self.path.as_str() {
            "" => field.to_owned(),
            path => format!("{path}.{field}"),
        }
    }

    fn take(&mut self, field: &str) -> Option<Value> {
        self.fields.remove(field).filter(|value| !value.is_null())
    }

    fn text(&mut self, field: &str) -> Result<Option<String>, Rejection> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("{} must be a string", self.path_of(field))),
        }
    }

    /// An id from another system: a string or an integer.
    fn key(&mut self, field: &str) -> Result<Option<String>, Rejection> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => {
                Err(format!("{} is empty", self.path_of(field)))
            }
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Number(number)) if !number.is_f64() => Ok(Some(number.to_string())),
            Some(_) => Err(format!(
                "{} must be a string or an integer",
                self.path_of(field)
            )),
        }
    }

    fn list(&mut self, field: &str) -> Result<Vec<Value>, Rejection> {
        match self.take(field) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => Ok(values),
            Some(_) => Err(format!("{} must be an array", self.path_of(field))),
        }
    }

    /// Rejects unknown fields, whose data would be lost silently: a misspelt `title`, for example.
    fn reject_unknown(self) -> Result<(), Rejection> {
        let Some(field) = self.fields.keys().next() else {
            return Ok(());
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.$".contains(c);
        match field.len() <= MAX_FIELD_CHARS && field.chars().all(is_plain) {
            true => Err(format!("unknown field {}", self.path_of(field))),
            false => Err("unknown field (its name may be user text, and is not shown)".into()),
        }
    }
}
