//! Reads files that settings name: regular files up to a size limit. Container platforms mount secrets as such files.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

/// The longest secret, in bytes. A larger file is a wrong path rather than a secret.
const MAX_BYTES: u64 = 64 * 1024;

/// Why a file cannot be used. The messages contain none of its content.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The file is empty or only white space.
    #[error("is empty")]
    Empty,
    /// The file is not UTF-8.
    #[error("is not UTF-8 text")]
    NotText,
    /// The file exceeds this many bytes.
    #[error("is larger than {0} bytes")]
    TooLarge(u64),
}

/// Reads a regular file of at most `max_bytes`. Refuses other kinds, because opening a pipe waits for its writer.
///
/// # Errors
/// [`FileError::Unreadable`] or [`FileError::TooLarge`].
pub(super) fn read_bytes(path: &Path, max_bytes: u64) -> Result<Vec<u8>, FileError> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file").into());
    }
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(max_bytes + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > max_bytes {
        true => Err(FileError::TooLarge(max_bytes)),
        false => Ok(bytes),
    }
}

/// Reads a non-blank text of at most `max_bytes`. Strips a leading byte order mark.
///
/// # Errors
/// [`FileError`] if the file cannot be read, is too large or not text, or is blank.
pub(super) fn read_text(path: &Path, max_bytes: u64) -> Result<String, FileError> {
    let bytes = read_bytes(path, max_bytes)?;
    let text = String::from_utf8(bytes).map_err(|_| FileError::NotText)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    match text.trim().is_empty() {
        true => Err(FileError::Empty),
        false => Ok(text.to_owned()),
    }
}

/// Reads a secret. Strips a leading byte order mark and trailing line breaks, which editors and shells add.
///
/// # Errors
/// As [`read_text`].
pub(super) fn read(path: &Path) -> Result<String, FileError> {
    let text = read_text(path, MAX_BYTES)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_and_byte_order_marks_are_no_part_of_a_secret() {
        let path = std::env::temp_dir().join(format!("titlecast-secret-{}", uuid::Uuid::now_v7()));
        for (content, expected) in [
            ("key", Some("key")),
            ("key\n", Some("key")),
            ("key\r\n", Some("key")),
            ("\u{feff}key\r\n\r\n", Some("key")),
            (" a key ", Some(" a key ")),
            ("two\nlines\n", Some("two\nlines")),
            ("", None),
            (" \r\n", None),
            ("\u{feff}\n", None),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(read(&path).ok().as_deref(), expected, "{content:?}");
        }
        std::fs::write(&path, b"\xff\xfekey").unwrap();
        assert!(matches!(read(&path), Err(FileError::NotText)));
        std::fs::write(&path, "k".repeat(65_537)).unwrap();
        assert!(matches!(read(&path), Err(FileError::TooLarge(MAX_BYTES))));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(read(&path), Err(FileError::Unreadable(_))));
    }
}
