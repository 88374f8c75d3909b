//! The texts of these conversations: each contains the number of its first message, which identifies what belongs
//! together.

const MARK: &str = "number ";

/// A first message.
pub fn message(number: u64) -> String {
    format!(
        "Plan a trip to Kyoto in April for a family of four who like gardens, temples and noodles, {MARK}{number}"
    )
}

/// The title that the model has for it.
pub fn title(number: u64) -> String {
    format!("Trip to Kyoto in April, {MARK}{number}")
}

/// The parts of the reply that the model has for it.
pub fn reply(number: u64) -> Vec<String> {
    let parts = [
        "Five days are enough: ",
        "two for the temples in the east, ",
        "one for Arashiyama and its gardens, ",
        "one for Nara, ",
        "and one for the market and its noodles.",
    ];
    let mut parts: Vec<String> = parts.map(str::to_owned).into();
    parts.push(format!(" This was {MARK}{number}"));
    parts
}

/// The number in the last of these that a text holds.
pub fn number_in(text: &str) -> Option<u64> {
    let (_, behind) = text.rsplit_once(MARK)?;
    let end = behind
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(behind.len());
    behind[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_found_in_all_of_them() {
        for text in [message(17), title(17), reply(17).concat()] {
            assert_eq!(number_in(&text), Some(17), "{text}");
            assert_eq!(number_in(&format!("<message>{text}</message>")), Some(17));
        }
        assert_eq!(number_in("nothing"), None);
    }
}
