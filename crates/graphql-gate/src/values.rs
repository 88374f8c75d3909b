//! The size of a value: a literal of the document or a variable.

use async_graphql::Value;

use super::Limits;

/// The size of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// The number of values, this one included, in the units of [`Limits::values`].
    pub(super) values: u64,
    /// The approximate size as JSON, in bytes.
    pub(super) bytes: usize,
}

/// Why a value exceeds a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    /// Nested deeper than [`Limits::value_nesting`].
    Nesting,
    /// A list or object has more than [`Limits::list_items`] items.
    Items,
}

impl Size {
    /// Measures a value.
    ///
    /// # Errors
    /// If the value nests too deep, or a list or object in it is too long. Measuring stops there.
    pub(super) fn of(value: &Value, limits: &Limits) -> Result<Self, Excess> {
        Self::within(value, limits, limits.value_nesting)
    }

    /// Like [`Self::of`], with `levels` of nesting left.
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

    /// The size of a scalar that is `bytes` long.
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
