//! Titles: the text type with its rules, and the states of a conversation's title.
//!
//! | state | display_name | title_generated_at | source | status |
//! | --- | --- | --- | --- | --- |
//! | pending | NULL | NULL | Hint | Pending |
//! | generated | text | time | Generated | Ready |
//! | renamed | text | NULL, or the time of the generated one it replaced | Manual | Ready |
//! | failed | NULL | NULL | Hint | Failed (with a reason; with the time of the next try if the failure is temporary) |
//! | not wanted, or no text to title | NULL | NULL | Hint | Skipped |
//! | regenerating | text | unchanged | unchanged | Pending |
//! | regeneration failed | text | unchanged | unchanged | Ready (the same) |
//! | refreshing | text | unchanged | Generated | Ready |

use std::fmt;

use strum::{EnumString, IntoStaticStr};

use super::text::single_line;

/// The maximum length of a title in code points; the width of the column.
pub const MAX_CODE_POINTS: usize = 128;

/// A valid title: one line, NFC, 1 to [`MAX_CODE_POINTS`] code points, no invisible characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Title(String);

/// Why a text is not a valid title.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTitle {
    /// Empty after trimming.
    #[error("a title needs at least one visible character")]
    Empty,
    /// Over [`MAX_CODE_POINTS`].
    #[error("a title has at most 128 characters")]
    TooLong,
}

impl Title {
    /// A title from a user's input: collapses white space and drops invisible characters.
    pub fn new(text: &str) -> Result<Self, InvalidTitle> {
        let text = single_line(text);
        if text.is_empty() {
            return Err(InvalidTitle::Empty);
        }
        if text.chars().count() > MAX_CODE_POINTS {
            return Err(InvalidTitle::TooLong);
        }
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The source of the title that clients show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum TitleSource {
    /// No title; clients show the topic hint.
    Hint,
    /// Made by the title model.
    Generated,
    /// Given by the user.
    Manual,
}

/// The state of the generated title.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum TitleStatus {
    /// Not generated yet.
    Pending,
    /// The title is stored.
    Ready,
    /// Generation failed; see [`TitleFailure`].
    Failed,
    /// No title is wanted, or there is no text to title.
    Skipped,
}

/// The source of a title's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum TitleFrom {
    /// The first message with content.
    #[default]
    FirstMessage,
    /// The whole conversation, on the user's request.
    Conversation,
    /// The whole conversation, unprompted: its subject may have changed.
    Drift,
}

/// Why there is no generated title.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum TitleFailure {
    /// The deadline passed.
    Timeout,
    /// The provider's rate limit is exceeded.
    RateLimited,
    /// The provider's quota is used up.
    QuotaExceeded,
    /// The provider refuses the key.
    Unauthorized,
    /// The provider does not know the model.
    ModelNotFound,
    /// The provider rejects the request itself.
    InvalidRequest,
    /// The provider could not be reached, closed the connection or answered 5xx.
    Unavailable,
    /// The answer was cut off by the token limit.
    Truncated,
    /// The answer is not a usable title.
    Rejected,
    /// The tenant's budget of tokens for the day is used up.
    BudgetExceeded,
    /// The title was claimed repeatedly, and the process died each time.
    Abandoned,
    /// A reason stored by a newer version of the server. Never written.
    Unknown,
}

impl TitleFailure {
    /// The explanation for the user.
    pub fn message(self) -> &'static str {
        match self {
            Self::Timeout => "The title model took too long.",
            Self::RateLimited => "The title model is rate-limited at the moment.",
            Self::QuotaExceeded => "The title model's quota is used up.",
            Self::Unauthorized | Self::ModelNotFound | Self::InvalidRequest => {
                "The title model is misconfigured."
            }
            Self::Unavailable => "The title model could not be reached.",
            Self::Truncated | Self::Rejected => "The title model returned no usable title.",
            Self::BudgetExceeded => "Today's budget for titles is used up.",
            Self::Abandoned => "Title generation was started several times and never finished.",
            Self::Unknown => {
                "Title generation failed for a reason that this version of the server does not know."
            }
        }
    }
}
