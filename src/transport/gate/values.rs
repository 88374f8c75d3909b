//! How large a value is, be it a literal of the document or what a variable holds.

use async_graphql::Value;

use super::Limits;

/// The size of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// All values in it and itself, as [`Limits::values`] counts them.
    pub(super) values: u64,
    /// Its bytes, about as JSON has them.
    pub(super) bytes: usize,
}

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    /// It is nested deeper than [`Limits::value_nesting`].
    Nesting,
    /// A list or an object in it has more than [`Limits::list_items`] items.
    Items,
}

impl Size {
    /// Measures a value.
    ///
    /// # Errors
    /// When it is too deep, or something in it too long; it looks no further then.
    pub(super) fn of(value: &Value, limits: &Limits) -> Result<Self, Excess> {
        Self::within(value, limits, limits.value_nesting)
    }

    /// As [`Self::of`], with `levels` left to descend.
    fn within(value: &Value, limits: &Limits, levels: usize) -> Result<Self, Excess> {
        let length = match value {
            Value::Null | Value::Boolean(_) => return Ok(Self::text(4)),
            Value::Number(_) => return Ok(Self::text(8)),
            Value::String(text) => return Ok(Self::text(text.len())),
            Value::Enum(name) => return Ok(Self::text(name.len())),
            Value::Binary(bytes) => return Ok(Self::text(bytes.len())),
            Value::List(items) => items.len(),
            Value::Object(entries) => entries.len(),
        };
        if length > limits.list_items {
            return Err(Excess::Items);
        }
        let levels = levels.checked_sub(1).ok_or(Excess::Nesting)?;
        let mut size = Self {
            values: 1,
            bytes: 2,
        };
        match value {
            Value::List(items) => {
                for item in items {
                    size.add(Self::within(item, limits, levels)?);
                }
            }
            Value::Object(entries) => {
                for (name, item) in entries {
                    size.add(Self::within(item, limits, levels)?);
                    size.bytes = size.bytes.saturating_add(name.len() + 3);
                }
            }
            _ => {}
        }
        Ok(size)
    }

    /// A single value of so many bytes.
    fn text(bytes: usize) -> Self {
        Self {
            values: 1 + u64::try_from(bytes / 64).unwrap_or(u64::MAX - 1),
            bytes: bytes.saturating_add(2),
        }
    }

    fn add(&mut self, other: Self) {
        self.values = self.values.saturating_add(other.values);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}
