//! Titles: the text type with its rules, and the states of a conversation's title.
//!
//! | | display_name | title_generated_at | source | status |
//! | --- | --- | --- | --- | --- |
//! | before, or on the way | NULL | NULL | Hint | Pending |
//! | generated | text | time | Generated | Ready |
//! | renamed | text | NULL, or the time of the generated one it replaced | Manual | Ready |
//! | gave up | NULL | NULL | Hint | Failed (and why) |
//! | asked not to, or no text to title | NULL | NULL | Hint | Skipped |
//! | made anew | text | as it was | as it was | Pending |
//! | could not be made anew | text | as it was | as it was | Ready (and why) |

use std::fmt;

use strum::{EnumString, IntoStaticStr};

use super::text::single_line;

/// The most code points that a title may have; the width of the column.
pub const MAX_CODE_POINTS: usize = 128;

/// A title that may be stored: one line, NFC, 1 to [`MAX_CODE_POINTS`] code points, nothing invisible in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Title(String);

/// A text that cannot be a title.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTitle {
    /// Nothing is left after trimming.
    #[error("a title needs at least one visible character")]
    Empty,
    /// It is over [`MAX_CODE_POINTS`].
    #[error("a title has at most 128 characters")]
    TooLong,
}

impl Title {
    /// A title from what a person typed: white space collapsed, invisible characters dropped, nothing else changed.
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

    /// The text, owned.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Display for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where the title that clients show comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum TitleSource {
    /// There is none yet; clients show the topic hint.
    Hint,
    /// The title model made it.
    Generated,
    /// A person gave it.
    Manual,
}

/// How far the generated title has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum TitleStatus {
    /// Not yet, or on the way.
    Pending,
    /// There is a title.
    Ready,
    /// Given up; see [`TitleFailure`].
    Failed,
    /// Not wanted.
    Skipped,
}

/// Why there is no generated title.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum TitleFailure {
    /// The deadline passed.
    Timeout,
    /// The provider limits our rate.
    RateLimited,
    /// The provider's quota is used up.
    QuotaExceeded,
    /// The provider refuses the key.
    Unauthorized,
    /// The provider does not know the model.
    ModelNotFound,
    /// The provider rejects the request itself.
    InvalidRequest,
    /// The provider could not be reached, broke off or answered 5xx.
    Unavailable,
    /// The answer was cut off by the token limit.
    Truncated,
    /// The answer could not be made into a title.
    Rejected,
    /// The tenant's budget of tokens for the day is used up.
    BudgetExceeded,
    /// It was begun again and again, and whoever began it died every time.
    Abandoned,
    /// A newer version of the program stored a reason that this one does not know. Never written.
    Unknown,
}

impl TitleFailure {
    /// What it means to the person who waits for the title.
    pub fn message(self) -> &'static str {
        match self {
            Self::Timeout => "The title model took too long.",
            Self::RateLimited => "The title model has too much to do at the moment.",
            Self::QuotaExceeded => "The quota of the title model is used up.",
            Self::Unauthorized | Self::ModelNotFound | Self::InvalidRequest => {
                "The title model is not set up correctly."
            }
            Self::Unavailable => "The title model could not be reached.",
            Self::Truncated | Self::Rejected => "The title model gave no usable title.",
            Self::BudgetExceeded => "The budget for titles is used up for today.",
            Self::Abandoned => "The title was begun several times and never finished.",
            Self::Unknown => {
                "The title failed for a reason that this version of the server does not know."
            }
        }
    }
}
