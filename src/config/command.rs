//! The commands and their arguments, besides the settings.

use std::{path::PathBuf, time::Duration};

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::{Args, Subcommand};
use clap_complete::Shell;

use super::duration;
use crate::auth::{self, Scope};

const WHERE_COMPLETIONS_GO: &str = "\
Where it goes, for the next shell that starts:
  bash        titlecast completions bash > ~/.local/share/bash-completion/completions/titlecast
  fish        titlecast completions fish > ~/.config/fish/completions/titlecast.fish
  zsh         titlecast completions zsh > DIRECTORY/_titlecast, a DIRECTORY of $fpath
  elvish      titlecast completions elvish >> ~/.config/elvish/rc.elv
  powershell  titlecast completions powershell >> $PROFILE";

/// A command.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Serve GraphQL and the legacy HTTP routes (the default)
    Serve,
    /// Look at or change the database's schema version
    Migrate {
        /// Which way
        #[command(subcommand)]
        direction: Migrate,
    },
    /// Make titles for conversations that never got one: those from before there were titles, and those
    /// whose title failed. May be interrupted, and run beside servers
    Backfill(BackfillArguments),
    /// Take over conversations of another system, a JSON object a line (docs/moving.md). May be interrupted, run
    /// beside servers, and run again: it adds what is not there yet
    Import(ImportArguments),
    /// Print what became of titles, why some failed, and what they cost
    Stats(StatsArguments),
    /// Print a token for development, signed with --jwt-secret
    Token(TokenArguments),
    /// Say whether the server on the --listen address is ready, for health checks: succeeds when it is
    Health,
    /// Print the GraphQL schema
    Schema,
    /// Print a script that completes commands and options in a shell
    #[command(after_help = WHERE_COMPLETIONS_GO)]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

/// Arguments of `backfill`.
#[derive(Args, Clone, Debug)]
pub struct BackfillArguments {
    /// Only say what would be done, and what it would cost
    #[arg(long)]
    pub dry_run: bool,

    /// Begin at most N titles
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,

    /// Only conversations that were begun since this day (UTC) or time: 2026-01-31, or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub since: Option<DateTime<Utc>>,

    /// Only this tenant's conversations
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub tenant: Option<String>,

    /// Titles a minute
    #[arg(long, value_name = "N/min", default_value = "120/min", value_parser = rate)]
    pub rate: u32,

    /// Begin no title after so many tokens
    #[arg(long, value_name = "N")]
    pub budget_tokens: Option<u64>,

    /// What a million tokens of input and of output cost, for the dry run: 0.1/0.5
    #[arg(long, value_name = "INPUT/OUTPUT", value_parser = price)]
    pub price: Option<Price>,
}

/// Arguments of `import`.
#[derive(Args, Clone, Debug)]
pub struct ImportArguments {
    /// The file, or - for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Only check the lines, and say what would be done
    #[arg(long)]
    pub dry_run: bool,

    /// The tenant of conversations that name none; without tokens it is local
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub tenant: Option<String>,

    /// The user of conversations that name none; without tokens it is local
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

    /// Only what began since this day (UTC) or time
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub since: Option<DateTime<Utc>>,

    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `token`.
#[derive(Args, Clone, Debug)]
pub struct TokenArguments {
    /// Whose token it is
    #[arg(long)]
    pub tenant: String,

    /// Whose it is within the tenant
    #[arg(long)]
    pub user: String,

    /// What it allows, separated by commas
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "conversations:read,conversations:write,conversations:delete",
        value_parser = scope
    )]
    pub scopes: Vec<Scope>,

    /// How long it is valid
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    pub expires: Duration,
}

/// The actions of `migrate`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Migrate {
    /// Apply the pending migrations
    Up {
        /// Only the next N of them
        #[arg(long, value_name = "N")]
        steps: Option<u32>,
    },
    /// Take back the newest migration; going below the titles drops them
    Down {
        /// The newest N of them
        #[arg(long, value_name = "N", default_value_t = 1)]
        steps: u32,
    },
    /// List the migrations, and which of them the database has
    Status,
}

/// Parses a day or a time, in UTC.
fn date(text: &str) -> Result<DateTime<Utc>, String> {
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d");
    let midnight = day.map(|day| day.and_time(NaiveTime::MIN).and_utc());
    midnight
        .or_else(|_| DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()))
        .map_err(|_| "write a day, 2026-01-31, or a time, 2026-01-31T12:00:00Z".into())
}

/// Parses the name of a tenant or a user.
fn name(text: &str) -> Result<String, String> {
    let name = auth::is_name(text).then(|| text.to_owned());
    name.ok_or_else(|| "it has to have 1 to 128 characters, and no control characters".into())
}

/// Parses a scope.
fn scope(text: &str) -> Result<Scope, String> {
    let scope = text.trim().parse();
    scope.map_err(|_| {
        "the scopes are conversations:read, conversations:write and conversations:delete".into()
    })
}

/// Parses a rate per minute: `120/min` or `120`.
fn rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/min").unwrap_or(text).parse();
    number
        .ok()
        .filter(|rate| *rate > 0)
        .ok_or_else(|| "write a number a minute, such as 120/min".into())
}

/// Parses the prices of input and output: `0.1/0.5`.
fn price(text: &str) -> Result<Price, String> {
    let number = |text: &str| {
        let number = text.trim().parse::<f64>().ok();
        number.filter(|number| number.is_finite() && *number >= 0.0)
    };
    let prices = text.split_once('/');
    let prices = prices.and_then(|(input, output)| Some((number(input)?, number(output)?)));
    let (input, output) =
        prices.ok_or("write the prices of a million tokens of input and output: 0.1/0.5")?;
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
