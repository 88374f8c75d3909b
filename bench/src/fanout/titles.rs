//! The titles of events, which count them.

/// Precedes the number of a title, at its end.
pub const MARK: &str = ", part ";

/// The title of an event.
pub fn title(number: u64) -> String {
    format!("Plan a trip to Kyoto in April{MARK}{number}")
}
