//! Removes secrets and personal numbers from generated titles.

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation;

use super::{
    clean::{Limits, Rejection, clean_for, clean_within},
    shape,
};
pub(super) use crate::conversation::redact::redact as in_text;
use crate::conversation::{Title, redact::redact};

/// The minimum number of words that must remain of a title.
const MIN_WORDS: usize = 2;

/// A title without secrets and personal numbers, cleaned again. `message`: the message that it is for.
///
/// # Errors
/// [`Rejection::Redacted`] if fewer than two words are left; the rejections of [`clean_for`].
pub(super) fn redacted(
    title: Title,
    message: Option<&str>,
    limits: Limits,
) -> Result<Title, Rejection> {
    let Cow::Owned(rest) = redact(title.as_str()) else {
        return Ok(title);
    };
    let rest = shape::without_dangling(&rest);
    if rest.unicode_words().nth(MIN_WORDS - 1).is_none() {
        return Err(Rejection::Redacted);
    }
    match message {
        Some(message) => clean_for(rest, message, limits),
        None => clean_within(rest, limits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_without_its_secret_has_two_words_or_is_none() {
        let redacted = |title: &str| {
            let title = redacted(
                Title::new(title).unwrap(),
                Some("Why does anna@example.com bounce?"),
                Limits::DEFAULT,
            );
            title.map(|title| title.as_str().to_owned())
        };
        for (title, left) in [
            ("Kyoto in Spring", "Kyoto in Spring"),
            ("Bounces of anna@example.com: Causes", "Bounces of: Causes"),
            ("Card 4111 1111 1111 1111 Refund", "Card Refund"),
            ("Invoice Mail to anna@example.com", "Invoice Mail"),
            ("Refund of Card (4111 1111 1111 1111)", "Refund of Card"),
            ("anna@example.comの件", "の件"),
        ] {
            assert_eq!(redacted(title).as_deref(), Ok(left), "{title}");
        }
        for title in [
            "anna@example.com",
            "Mail anna@example.com",
            "Mail to anna@example.com",
            "4111111111111111",
        ] {
            assert_eq!(redacted(title), Err(Rejection::Redacted), "{title}");
        }
    }
}
