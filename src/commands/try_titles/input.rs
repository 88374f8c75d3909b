//! The messages of `titlecast try --file`: JSON lines `{"message": "…", "title": "…"}`, the title being optional.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use serde::Deserialize;

use super::TryError;
use crate::titles::trial::Subject;

/// The maximum size of the file, in bytes.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// The maximum size of a message, in bytes: that of the service.
const MAX_MESSAGE_BYTES: usize = 256 * 1024;

#[derive(Deserialize)]
struct Line {
    message: String,
    title: Option<String>,
}

/// Reads at most `sample` messages for which the service would generate a title, under the policy of `tenant`. If there
/// are more, keeps those with the smallest hash: the same file gives the same sample.
///
/// # Errors
/// [`TryError::File`], [`TryError::Line`], [`TryError::NoMessages`].
pub(super) fn read(
    path: &Path,
    sample: usize,
    tenant: Option<&str>,
    is_titled: impl Fn(&Subject) -> bool,
) -> Result<Vec<Subject>, TryError> {
    let file_error = |cause| TryError::File(path.display().to_string(), cause);
    let file = File::open(path).map_err(file_error)?;
    if file.metadata().map_err(file_error)?.len() > MAX_BYTES {
        let cause = io::Error::other(format!("it is larger than {MAX_BYTES} bytes"));
        return Err(file_error(cause));
    }
    let mut kept: BTreeMap<u64, Subject> = BTreeMap::new();
    let mut left_out = 0_usize;
    for (at, line) in BufReader::new(file.take(MAX_BYTES)).lines().enumerate() {
        let line = line.map_err(file_error)?;
        if line.trim().is_empty() {
            continue;
        }
        let invalid = |why: &'static str| TryError::Line {
            file: path.display().to_string(),
            line: at + 1,
            why,
        };
        let Line { message, title } = serde_json::from_str(&line)
            .map_err(|_| invalid("expected {\"message\": \"…\", \"title\": \"…\"}"))?;
        if message.trim().is_empty() || message.len() > MAX_MESSAGE_BYTES {
            return Err(invalid("the message must have 1 to 262144 bytes"));
        }
        let subject = Subject {
            tenant: tenant.map(str::to_owned),
            message,
            reference: title.filter(|title| !title.trim().is_empty()),
        };
        if !is_titled(&subject) {
            left_out += 1;
            continue;
        }
        kept.insert(mixed(at as u64), subject);
        if kept.len() > sample {
            kept.pop_last();
        }
    }
    if left_out > 0 {
        eprintln!("{left_out} messages without a subject are skipped, as the server skips them");
    }
    match kept.is_empty() {
        true => Err(TryError::NoMessages),
        false => Ok(kept.into_values().collect()),
    }
}

/// A pseudo-random permutation (SplitMix64's finalizer), so that a sample is spread over the file.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
