//! The commands and their arguments, besides the settings.

use std::{path::PathBuf, time::Duration};

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::{Args, Subcommand};
use clap_complete::Shell;

use super::duration;
use crate::auth::{self, Scope};

const WHERE_COMPLETIONS_GO: &str = "\
To install it for new shells:
  bash        titlecast completions bash > ~/.local/share/bash-completion/completions/titlecast
  fish        titlecast completions fish > ~/.config/fish/completions/titlecast.fish
  zsh         titlecast completions zsh > DIRECTORY/_titlecast, with a DIRECTORY from $fpath
  elvish      titlecast completions elvish >> ~/.config/elvish/rc.elv
  powershell  titlecast completions powershell >> $PROFILE";

/// A command.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Serve GraphQL and the legacy HTTP routes (the default)
    Serve,
    /// Apply, revert or list schema migrations
    Migrate {
        /// What to do
        #[command(subcommand)]
        direction: Migrate,
    },
    /// Generate titles for conversations without one: those from before titles existed, and those whose title failed.
    /// Safe to interrupt, and to run beside servers
    Backfill(BackfillArguments),
    /// Import conversations of another system from JSON lines (docs/moving.md). Safe to interrupt, to run beside
    /// servers, and to repeat: it adds only what is missing
    Import(ImportArguments),
    /// Print titles by outcome, failures by reason, tokens and latency
    Stats(StatsArguments),
    /// Print a development token, signed with --jwt-secret
    Token(TokenArguments),
    /// Check whether the server on the --listen address is ready; exits with 0 if it is
    Health,
    /// Print the GraphQL schema
    Schema,
    /// Print a completion script for a shell
    #[command(after_help = WHERE_COMPLETIONS_GO)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

/// Arguments of `backfill`.
#[derive(Args, Clone, Debug)]
pub struct BackfillArguments {
    /// Only print what would be done, and what it would cost
    #[arg(long)]
    pub dry_run: bool,

    /// Start at most N titles
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,

    /// Only conversations created since this day (UTC) or time: 2026-01-31, or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub since: Option<DateTime<Utc>>,

    /// Only this tenant's conversations
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub tenant: Option<String>,

    /// Maximum number of titles per minute
    #[arg(long, value_name = "N/min", default_value = "120/min", value_parser = rate)]
    pub rate: u32,

    /// Stop after using N tokens; titles already started finish
    #[arg(long, value_name = "N")]
    pub budget_tokens: Option<u64>,

    /// Price of a million input tokens and a million output tokens, for the dry run: 0.1/0.5
    #[arg(long, value_name = "INPUT/OUTPUT", value_parser = price)]
    pub price: Option<Price>,
}

/// Arguments of `import`.
#[derive(Args, Clone, Debug)]
pub struct ImportArguments {
    /// The file, or - for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Only check the lines, and print what would be imported
    #[arg(long)]
    pub dry_run: bool,

    /// Tenant of conversations that name none; without authentication, local by default
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub tenant: Option<String>,

    /// User of conversations that name none; without authentication, local by default
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub user: Option<String>,
}

/// The price of a million tokens, in any currency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    input: f64,
    output: f64,
}

impl Price {
    /// The cost of tokens.
    pub fn of(self, input: u64, output: u64) -> f64 {
        (input as f64 * self.input + output as f64 * self.output) / 1e6
    }
}

/// Arguments of `stats`.
#[derive(Args, Clone, Debug)]
pub struct StatsArguments {
    /// Only this tenant
    #[arg(long)]
    pub tenant: Option<String>,

    /// Only conversations, calls and replies since this day (UTC) or time
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub since: Option<DateTime<Utc>>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `token`.
#[derive(Args, Clone, Debug)]
pub struct TokenArguments {
    /// Tenant in the token
    #[arg(long)]
    pub tenant: String,

    /// User in the token
    #[arg(long)]
    pub user: String,

    /// Scopes of the token, separated by commas
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "conversations:read,conversations:write,conversations:delete",
        value_parser = scope
    )]
    pub scopes: Vec<Scope>,

    /// Lifetime of the token
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    pub expires: Duration,
}

/// The actions of `migrate`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Migrate {
    /// Apply the pending migrations
    Up {
        /// Only the next N
        #[arg(long, value_name = "N")]
        steps: Option<u32>,
    },
    /// Revert the newest migrations; reverting the one that added titles drops all titles
    Down {
        /// How many to revert
        #[arg(long, value_name = "N", default_value_t = 1)]
        steps: u32,
    },
    /// List the migrations, and whether each is applied
    Status,
}

/// Parses a day or a time, in UTC.
fn date(text: &str) -> Result<DateTime<Utc>, String> {
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d");
    let midnight = day.map(|day| day.and_time(NaiveTime::MIN).and_utc());
    midnight
        .or_else(|_| DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()))
        .map_err(|_| "expected a day, 2026-01-31, or a time, 2026-01-31T12:00:00Z".into())
}

/// Parses the name of a tenant or a user.
fn name(text: &str) -> Result<String, String> {
    let name = auth::is_name(text).then(|| text.to_owned());
    name.ok_or_else(|| "must be 1 to 128 characters without control characters".into())
}

/// Parses a scope.
fn scope(text: &str) -> Result<Scope, String> {
    let scope = text.trim().parse();
    scope.map_err(|_| {
        "expected conversations:read, conversations:write or conversations:delete".into()
    })
}

/// Parses a rate per minute: `120/min` or `120`.
fn rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/min").unwrap_or(text).parse();
    number
        .ok()
        .filter(|rate| *rate > 0)
        .ok_or_else(|| "expected a positive number per minute, such as 120/min".into())
}

/// Parses the prices of input and output: `0.1/0.5`.
fn price(text: &str) -> Result<Price, String> {
    let number = |text: &str| {
        let number = text.trim().parse::<f64>().ok();
        number.filter(|number| number.is_finite() && *number >= 0.0)
    };
    let prices = text.split_once('/');
    let prices = prices.and_then(|(input, output)| Some((number(input)?, number(output)?)));
    let (input, output) = prices
        .ok_or("expected the prices of a million input and output tokens, such as 0.1/0.5")?;
    Ok(Price { input, output })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_rates_and_prices() {
        assert_eq!(
            date("2026-01-31").unwrap().to_rfc3339(),
            "2026-01-31T00:00:00+00:00"
        );
        let time = date("2026-01-31T12:00:00+02:00").unwrap();
        assert_eq!(time.to_rfc3339(), "2026-01-31T10:00:00+00:00");
        assert!(date("yesterday").is_err());
        assert_eq!((rate("120/min"), rate("7")), (Ok(120), Ok(7)));
        assert!(rate("0").is_err() && rate("1/s").is_err());
        assert!((price("0.25/2").unwrap().of(4_000_000, 500_000) - 2.0).abs() < 1e-9);
        assert!(price("1").is_err() && price("-1/2").is_err() && price("nan/1").is_err());
    }
}
