//! Settings: flags, environment variables, and the file of providers and agents. Only this module reads the
//! environment.
//!
//! - `command`: commands and their arguments; `settings`, `jwt`, `limits`, `proxy`: flags and variables
//! - `origin`, `secret_file`: where values come from; secrets in files
//! - `service_manager`: what systemd passes in the environment
//! - `file`: the file of `--config`; `plan`: the effective configuration

mod command;
mod file;
mod jwt;
mod limits;
mod origin;
mod plan;
mod proxy;
mod secret_file;
mod service_manager;
mod settings;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, error::ErrorKind};

use self::settings::duration;
pub use self::{
    command::{
        AuditArguments, BackfillArguments, Command, ConfigCommand, EraseArguments, ExportArguments,
        ImportArguments, Migrate, Price, PruneArguments, StatsArguments, TokenArguments,
        TryArguments, WebhooksCommand,
    },
    file::{AuditPlan, Place, Problem},
    jwt::JwtArguments,
    limits::LimitArguments,
    origin::{Origin, Origins},
    plan::{
        AgentPlan, ConfigErrors, ModelRef, Plan, ProviderPlan, ReplySource, SharingPlan,
        WebhookPlan,
    },
    service_manager::ServiceManager,
    settings::Settings,
};
use crate::telemetry::{self, LogFormat};

/// See [`StartError::exit_code`](crate::app::StartError::exit_code).
const EXIT_CODES: &str = "Exit codes: 0 success, 1 failure, 2 invalid command line or setting. The last line on standard \
                          error states the reason.";

const SECRET_FILES: &str = "Secrets in files: each variable that is listed without a value, such as OPENAI_API_KEY, can \
                            also be read from a file, which OPENAI_API_KEY_FILE names.";

/// The command line.
#[derive(Debug, Parser)]
#[command(version, about, long_about = None, propagate_version = true, after_help = format!("{SECRET_FILES}\n\n{EXIT_CODES}"))]
pub struct Cli {
    /// The command; `serve` by default
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings, the same for every command
    #[command(flatten)]
    pub settings: Settings,
}

impl Cli {
    /// Parses the command line and the environment. On an error, and for `--help`, prints the text.
    ///
    /// # Errors
    /// The exit code to end with, also after `--help`.
    pub fn read() -> Result<Self, ExitCode> {
        Self::with_secret_files().map_err(|error| {
            if error.use_stderr() && wants_json() {
                let text = error.render().to_string();
                eprintln!("{}", telemetry::last_line(LogFormat::Json, text.trim_end()));
            } else {
                // If printing fails, the exit code still tells.
                let _ = error.print();
            }
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(u8::MAX))
        })
    }

    /// Parses the command line and the environment, including secrets in files.
    fn with_secret_files() -> Result<Self, clap::Error> {
        let (mut command, twins) =
            origin::Twins::add(Self::command(), |name| std::env::var_os(name));
        let matches = command.try_get_matches_from_mut(std::env::args_os())?;
        let mut cli =
            Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
        let origins = twins.origins(&command, &matches);
        // These commands use no settings, so an invalid setting must not stop them.
        let uses_settings = !matches!(
            cli.command,
            Some(Command::Completions { .. } | Command::Man | Command::Schema)
        );
        match origins {
            Ok(origins) => cli.settings.origins = origins,
            Err(error) if uses_settings => {
                return Err(command.error(ErrorKind::ValueValidation, error));
            }
            Err(_) => {}
        }
        Ok(cli)
    }
}

/// Whether log lines are JSON. Used if the command line itself is invalid.
fn wants_json() -> bool {
    #[expect(
        clippy::disallowed_methods,
        reason = "clap reads it normally, but has failed here"
    )]
    let mut format = std::env::var("TITLECAST_LOG_FORMAT").ok();
    let mut arguments = std::env::args();
    while let Some(argument) = arguments.next() {
        if argument == "--log-format" {
            format = arguments.next();
        } else if let Some(value) = argument.strip_prefix("--log-format=") {
            format = Some(value.to_owned());
        }
    }
    format.as_deref() == Some("json")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn settings_work_before_and_behind_the_command() {
        let before = Cli::parse_from(["titlecast", "--title-grace", "250ms", "serve"]);
        let behind = Cli::parse_from(["titlecast", "serve", "--title-grace", "250ms"]);
        assert_eq!(before.settings.title_grace, Duration::from_millis(250));
        assert_eq!(behind.settings.title_grace, Duration::from_millis(250));
    }

    #[test]
    fn times_need_a_unit() {
        assert!(Cli::try_parse_from(["titlecast", "--title-grace", "10"]).is_err());
        assert!(Cli::try_parse_from(["titlecast", "--title-grace", "0s"]).is_err());
    }
}
