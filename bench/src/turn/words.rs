//! The texts of these conversations. Each contains the number of its first message, which shows what belongs together.

const MARK: &str = "number ";

/// The text of a first message.
pub fn message(number: u64) -> String {
    format!(
        "Plan a trip to Kyoto in April for a family of four who like gardens, temples and noodles, {MARK}{number}"
    )
}

/// The model's title for the message with this number.
pub fn title(number: u64) -> String {
    format!("Trip to Kyoto in April, {MARK}{number}")
}

/// The pieces of the model's reply to the message with this number.
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

/// The number in a text; the last one if there are several.
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
