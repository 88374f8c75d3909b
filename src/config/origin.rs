//! Where the values of settings come from, and secrets in files: a setting that hides its value, such as
//! `OPENAI_API_KEY`, is also read from the file named by `OPENAI_API_KEY_FILE`.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgMatches, Command, parser::ValueSource};

use super::secret_file::{self, FileError};

/// The prefix of most variables.
const PREFIX: &str = "TITLECAST_";

/// The most letters that are wrong, missing or swapped in a name that still counts as misspelt.
const MAX_SLIPS: usize = 2;

/// Where the value of a setting comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// The built-in default, or no value.
    #[default]
    Default,
    /// The command line.
    Flag,
    /// The setting's environment variable.
    Environment,
    /// The file named by the setting's `…_FILE` variable.
    SecretFile(PathBuf),
}

/// The origins of all settings.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// By argument id.
    by_id: HashMap<String, Origin>,
    settings: Vec<ShownSetting>,
}

impl Origins {
    /// The origin of a setting.
    pub fn of(&self, id: &str) -> &Origin {
        self.by_id.get(id).unwrap_or(&Origin::Default)
    }

    /// Environment variables that look like a misspelt setting, each with the name that was probably meant. Other
    /// variables with the prefix are common: Kubernetes sets some for a service with the program's name.
    pub fn misspelt(&self, variables: impl Iterator<Item = OsString>) -> Vec<(String, &str)> {
        let known = || self.settings.iter().map(|setting| &*setting.variable);
        variables
            .filter_map(|variable| variable.into_string().ok())
            .filter(|variable| variable.starts_with(PREFIX))
            .filter_map(|variable| {
                let name = variable.strip_suffix("_FILE").unwrap_or(&variable);
                if known().any(|known| known == name) {
                    return None;
                }
                let near = known()
                    .map(|known| (strsim::osa_distance(name, known), known))
                    .filter(|(distance, _)| *distance <= MAX_SLIPS)
                    .min_by_key(|(distance, _)| *distance)?;
                Some((variable, near.1))
            })
            .collect()
    }

    /// All settings, in the order of `--help`.
    pub fn settings(&self) -> &[ShownSetting] {
        &self.settings
    }
}

/// A setting for display, without secrets: `--listen 127.0.0.1:8080 (default)`.
#[derive(Clone, Debug)]
pub struct ShownSetting {
    flag: String,
    variable: String,
    /// `None` if there is no value.
    value: Option<String>,
    origin: Origin,
}

impl ShownSetting {
    fn new(argument: &Arg, matches: &ArgMatches, origin: Origin) -> Option<Self> {
        let id = argument.get_id().as_str();
        let value = match matches.try_get_raw(id) {
            Ok(Some(_)) if argument.is_hide_env_values_set() => Some("(hidden)".to_owned()),
            Ok(Some(values)) => {
                let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
                Some(values.join(","))
            }
            _ => None,
        };
        Some(Self {
            flag: argument.get_long()?.to_owned(),
            variable: argument
                .get_env()
                .unwrap_or_default()
                .to_string_lossy()
                .into(),
            value: value.filter(|value| !value.is_empty()),
            origin,
        })
    }
}

impl fmt::Display for ShownSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            flag,
            variable,
            value,
            origin,
        } = self;
        let value = value.as_deref().unwrap_or("not set");
        match origin {
            Origin::Environment => write!(f, "--{flag}: {value} ({variable})"),
            Origin::Default if value == "not set" => write!(f, "--{flag}: {value}"),
            origin => write!(f, "--{flag}: {value} ({origin})"),
        }
    }
}

/// A `…_FILE` variable that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TwinError {
    /// The file contains no usable secret.
    #[error("{variable}: the file {} {cause}", path.display())]
    File {
        /// The variable.
        variable: String,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: FileError,
    },
    /// The setting itself also has a value.
    #[error("{variable} and {setting} are both set; set only one of them")]
    Both {
        /// The variable.
        variable: String,
        /// The setting: its flag or its variable.
        setting: String,
    },
}

/// A setting whose `…_FILE` variable is set.
struct Twin {
    /// The argument.
    id: String,
    /// The setting's flag, for errors.
    flag: String,
    /// The setting's variable, for errors.
    variable: String,
    path: PathBuf,
    error: Option<FileError>,
}

/// The secrets that come from files.
pub(super) struct Twins(Vec<Twin>);

impl Twins {
    /// Reads secrets from files and makes them the defaults of their settings.
    pub(super) fn add(
        mut command: Command,
        read: impl Fn(&OsStr) -> Option<OsString>,
    ) -> (Command, Self) {
        let mut twins = Vec::new();
        let hidden: Vec<(String, String, String)> = secrets(&command).collect();
        for (id, flag, variable) in hidden {
            let Some(path) = read(OsStr::new(&format!("{variable}_FILE")))
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
            else {
                continue;
            };
            let content = secret_file::read(&path);
            let is_empty = read(OsStr::new(&variable)).is_some_and(|value| value.is_empty());
            command = command.mut_arg(&id, |argument| {
                // Compose files set optional variables to empty strings.
                let argument = match is_empty {
                    true => argument.env(None::<&'static str>),
                    false => argument,
                };
                match &content {
                    Ok(secret) => argument
                        .default_value(secret.clone())
                        .hide_default_value(true),
                    Err(_) => argument,
                }
            });
            twins.push(Twin {
                id,
                flag,
                variable,
                path,
                error: content.err(),
            });
        }
        (command, Self(twins))
    }

    /// The origins of all settings.
    ///
    /// # Errors
    /// The first [`TwinError`].
    pub(super) fn origins(
        self,
        command: &Command,
        matches: &ArgMatches,
    ) -> Result<Origins, TwinError> {
        let settings: Vec<&Arg> = command
            .get_arguments()
            .filter(|argument| argument.is_global_set() && !argument.is_hide_set())
            .collect();
        let origin = |argument: &&Arg| {
            let id = argument.get_id().to_string();
            let origin = match matches.value_source(&id) {
                Some(ValueSource::CommandLine) => Origin::Flag,
                Some(ValueSource::EnvVariable) => Origin::Environment,
                _ => Origin::Default,
            };
            (id, origin)
        };
        let mut origins: HashMap<String, Origin> = settings.iter().map(origin).collect();
        for twin in self.0 {
            let variable = format!("{}_FILE", twin.variable);
            let setting = match origins.get(&twin.id) {
                Some(Origin::Flag) => Some(format!("--{}", twin.flag)),
                Some(Origin::Environment) => Some(twin.variable),
                _ => None,
            };
            if let Some(setting) = setting {
                return Err(TwinError::Both { variable, setting });
            }
            let path = twin.path;
            if let Some(cause) = twin.error {
                return Err(TwinError::File {
                    variable,
                    path,
                    cause,
                });
            }
            origins.insert(twin.id, Origin::SecretFile(path));
        }
        let shown = settings.into_iter().filter_map(|argument| {
            let origin = origins.get(argument.get_id().as_str())?;
            ShownSetting::new(argument, matches, origin.clone())
        });
        Ok(Origins {
            settings: shown.collect(),
            by_id: origins,
        })
    }
}

/// The settings that hide their values: id, flag and variable.
fn secrets(command: &Command) -> impl Iterator<Item = (String, String, String)> {
    command
        .get_arguments()
        .filter(|argument| argument.is_hide_env_values_set())
        .filter_map(|argument| {
            let flag = argument.get_long()?.to_owned();
            let variable = argument.get_env()?.to_str()?.to_owned();
            Some((argument.get_id().to_string(), flag, variable))
        })
}

/// Reads a secret named by the configuration file, from an environment variable or from the file named by its `…_FILE`
/// variable.
///
/// # Errors
/// [`TwinError`] if the file has no secret, or both variables are set.
pub(super) fn variable(
    name: &str,
    read: impl Fn(&str) -> Option<String>,
) -> Result<Option<String>, TwinError> {
    let filled = |name: &str| read(name).filter(|value| !value.is_empty());
    let twin = format!("{name}_FILE");
    match (filled(name), filled(&twin)) {
        (Some(_), Some(_)) => Err(TwinError::Both {
            variable: twin,
            setting: name.to_owned(),
        }),
        (value, None) => Ok(value),
        (None, Some(path)) => match secret_file::read(Path::new(&path)) {
            Ok(secret) => Ok(Some(secret)),
            Err(cause) => Err(TwinError::File {
                variable: twin,
                path: path.into(),
                cause,
            }),
        },
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Flag => f.write_str("command line"),
            Self::Environment => f.write_str("environment"),
            Self::SecretFile(path) => write!(f, "file {}", path.display()),
        }
    }
}
