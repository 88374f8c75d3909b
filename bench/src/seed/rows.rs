//! The generated rows, with the columns of the newest migration.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{
    search_text::{capped, marked, owner_mark, words},
    text::sentence,
};

/// A value in a row.
#[derive(Clone)]
pub enum Cell {
    Null,
    Text(String),
    Number(i64),
    Bool(bool),
    Id(Uuid),
    Time(DateTime<Utc>),
}

/// Rows of one table.
pub struct Table {
    pub name: &'static str,
    pub columns: &'static [&'static str],
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    fn new(name: &'static str, columns: &'static [&'static str]) -> Self {
        Self {
            name,
            columns,
            rows: Vec::new(),
        }
    }
}

const TENANT: &str = "local";

/// One in this many conversations belongs to the local user.
const LOCAL_EVERY: u64 = 10;

/// The number of conversations of every other user.
const OTHERS_HAVE: u64 = 100;

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

/// Generates conversations one after another.
pub struct Maker {
    random: fastrand::Rng,
    conversations: u64,
    messages: u64,
    made: u64,
}

impl Maker {
    pub fn new(seed: u64, conversations: u64, messages: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            conversations,
            messages,
            made: 0,
        }
    }

    /// The rows of the next conversations. Referenced tables come first.
    pub fn batch(&mut self, count: u64) -> [Table; 5] {
        let mut tables = [
            Table::new(
                "agent_conversations",
                &[
                    "id",
                    "tenant_id",
                    "user_id",
                    "topic_hint",
                    "agent_entrypoint",
                    "active_agent",
                    "status",
                    "message_count",
                    "last_message_preview",
                    "last_message_at",
                    "created_at",
                    "updated_at",
                    "display_name",
                    "title_generated_at",
                    "title_source",
                    "title_status",
                    "revision",
                    "title_attempts",
                    "published_revision",
                ],
            ),
            Table::new(
                "agent_messages",
                &[
                    "id",
                    "conversation_id",
                    "position",
                    "role",
                    "content",
                    "status",
                    "created_at",
                ],
            ),
            Table::new(
                "agent_turns",
                &[
                    "message_id",
                    "conversation_id",
                    "reply_id",
                    "tenant_id",
                    "user_id",
                    "reply_status",
                    "created_at",
                    "stop_asked",
                ],
            ),
            Table::new("agent_search", &["conversation_id", "message_id", "body"]),
            Table::new(
                "agent_title_calls",
                &[
                    "id",
                    "tenant_id",
                    "conversation_id",
                    "model",
                    "outcome",
                    "prompt_tokens",
                    "completion_tokens",
                    "reasoning_tokens",
                    "duration_ms",
                    "created_at",
                ],
            ),
        ];
        for _ in 0..count {
            self.conversation(&mut tables);
            self.made += 1;
        }
        tables
    }

    fn conversation(&mut self, tables: &mut [Table; 5]) {
        let number = self.made;
        let user = match number % LOCAL_EVERY {
            0 => "local".to_owned(),
            // Consecutive conversations belong to different users.
            _ => format!(
                "user-{}",
                number % (self.conversations / OTHERS_HAVE).max(1)
            ),
        };
        let mark = owner_mark(TENANT, &user);
        let start = DateTime::<Utc>::from_timestamp_nanos(1_735_689_600_000_000_000);
        let at =
            start + TimeDelta::milliseconds(20_000 * number as i64 + self.random.i64(0..20_000));
        let id = self.id(at);
        let words_in_title = self.random.usize(3..=6);
        let title = sentence(&mut self.random, words_in_title);
        let [conversations, messages, turns, search, calls] = tables;
        search.rows.push(vec![
            Cell::Id(id),
            Cell::Null,
            Cell::Text(marked(&mark, &capped(&words(&title)))),
        ]);

        let share = |upto: u64| self.messages * upto / self.conversations;
        let (mut last_text, mut last_at, count) =
            (String::new(), at, share(number + 1) - share(number));
        let ids: Vec<Uuid> = (0..=count)
            .map(|place| self.id(at + TimeDelta::seconds(2 * place as i64)))
            .collect();
        for place in 0..count as usize {
            last_at = at + TimeDelta::seconds(2 * place as i64);
            let is_user = place % 2 == 0;
            let length = self.random.usize(8..=40);
            last_text = sentence(&mut self.random, length);
            let body = marked(&mark, &capped(&words(&last_text)));
            search
                .rows
                .push(vec![Cell::Id(id), Cell::Id(ids[place]), Cell::Text(body)]);
            messages.rows.push(vec![
                Cell::Id(ids[place]),
                Cell::Id(id),
                Cell::Number(place as i64 + 1),
                text(if is_user { "user" } else { "assistant" }),
                text(&last_text),
                text("complete"),
                Cell::Time(last_at),
            ]);
            if is_user {
                let is_answered = place + 1 < count as usize;
                turns.rows.push(vec![
                    Cell::Id(ids[place]),
                    Cell::Id(id),
                    Cell::Id(ids[place + 1]),
                    text(TENANT),
                    text(&user),
                    text(if is_answered { "completed" } else { "failed" }),
                    Cell::Time(last_at),
                    Cell::Bool(false),
                ]);
            }
        }
        let preview: String = last_text.chars().take(120).collect();
        let call = self.id(at);
        calls.rows.push(vec![
            Cell::Id(call),
            text(TENANT),
            Cell::Id(id),
            text("made-up"),
            text("title"),
            Cell::Number(120),
            Cell::Number(8),
            Cell::Number(0),
            Cell::Number(self.random.i64(200..900)),
            Cell::Time(at),
        ]);
        conversations.rows.push(vec![
            Cell::Id(id),
            text(TENANT),
            text(&user),
            text(&title),
            text(if number.is_multiple_of(7) {
                "researcher"
            } else {
                "triage"
            }),
            text("triage"),
            text("active"),
            Cell::Number(count as i64),
            Cell::Text(preview),
            Cell::Time(last_at),
            Cell::Time(at),
            Cell::Time(last_at),
            text(&title),
            Cell::Time(at),
            text("generated"),
            text("ready"),
            Cell::Number(3),
            Cell::Number(1),
            Cell::Number(3),
        ]);
    }

    /// An id like the service's, ordered by time.
    fn id(&mut self, at: DateTime<Utc>) -> Uuid {
        let mut chance = [0; 10];
        self.random.fill(&mut chance);
        uuid::Builder::from_unix_timestamp_millis(at.timestamp_millis() as u64, &chance).into_uuid()
    }
}
