//! The titles of events, which contain a counter.

/// Precedes the counter at the end of a title.
pub const MARK: &str = ", part ";

/// The title of an event.
pub fn title(number: u64) -> String {
    format!("Plan a trip to Kyoto in April{MARK}{number}")
}
