//! The file of results of `titlecast try --resume`: a JSON line for each title, so that a run can resume.
//!
//! A line holds a hash of model, rules and message, and the result: titles, but no message and no text of a policy.
//! Only the file's owner may read it.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::TryError;
use crate::titles::trial::Attempt;

#[derive(Serialize, Deserialize)]
struct Line<K, A> {
    key: K,
    #[serde(flatten)]
    attempt: A,
}

/// Results of this run and of earlier ones.
#[derive(Default)]
pub(super) struct Results {
    known: HashMap<String, Attempt>,
    file: Option<File>,
}

impl Results {
    /// Reads the results of earlier runs, or creates the file.
    ///
    /// # Errors
    /// [`TryError::File`].
    pub(super) fn open(path: &Path) -> Result<Self, TryError> {
        let file_error = |cause| TryError::File(path.display().to_string(), cause);
        let mut known = HashMap::new();
        let mut ends_in_line = true;
        match File::open(path) {
            Ok(file) => {
                for line in BufReader::new(file).split(b'\n') {
                    let line = line.map_err(file_error)?;
                    // A killed run may leave a truncated last line: its title is generated again.
                    match serde_json::from_slice::<Line<String, Attempt>>(&line) {
                        Ok(Line { key, attempt }) => {
                            known.insert(key, attempt);
                            ends_in_line = true;
                        }
                        Err(_) if line.is_empty() => {}
                        Err(_) => ends_in_line = false,
                    }
                }
                if known.is_empty() && !ends_in_line {
                    return Err(file_error(io::Error::other("it is not a file of --resume")));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(file_error(error)),
        }
        let mut file = private(OpenOptions::new().append(true).create(true))
            .open(path)
            .map_err(file_error)?;
        if !ends_in_line {
            file.write_all(b"\n").map_err(file_error)?;
        }
        Ok(Self {
            known,
            file: Some(file),
        })
    }

    pub(super) fn find(&self, key: &str) -> Option<&Attempt> {
        self.known.get(key)
    }

    /// Keeps a result. Writes it if there is a file, unless the title is a part of its message or the failure is
    /// temporary.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn add(
        &mut self,
        key: String,
        attempt: Attempt,
        is_of_message: bool,
    ) -> io::Result<()> {
        if let Some(file) = self
            .file
            .as_mut()
            .filter(|_| !is_of_message && !attempt.may_pass)
        {
            let mut text = serde_json::to_vec(&Line {
                key: &key,
                attempt: &attempt,
            })?;
            text.push(b'\n');
            file.write_all(&text)?;
        }
        self.known.insert(key, attempt);
        Ok(())
    }
}

/// Options of a file that only its owner may read.
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;

        options.mode(0o600);
    }
    options
}
