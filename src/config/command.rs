//! The commands and their arguments, apart from the settings.

use std::{path::PathBuf, time::Duration};

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::{Args, Subcommand};
use clap_complete::Shell;

use super::{duration, settings::duration_or_none};
use crate::{
    auth::{self, Scope},
    clock::is_plain,
    conversation::ConversationId,
    titles::policy::{MAX_INSTRUCTION_CHARS, MAX_STYLE_CHARS},
};

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
    /// Safe to interrupt, and to run while servers run
    Backfill(BackfillArguments),
    /// Compare models and prompts by the titles that they make of the same messages (docs/titles.md). Writes nothing to
    /// the database; messages go to the named models only
    Try(TryArguments),
    /// Import conversations of another system from JSON lines (docs/moving.md). Safe to interrupt, to run while
    /// servers run, and to repeat: it adds only what is missing
    Import(ImportArguments),
    /// Print conversations as JSON lines, which import reads back to the same rows (docs/moving.md). Reads one snapshot and
    /// changes nothing; safe while servers run
    Export(ExportArguments),
    /// Erase everything of a tenant or of one user, and print a certificate (docs/retention.md). Asks for no
    /// confirmation, and cannot be undone. Safe while servers run, and to repeat
    Erase(EraseArguments),
    /// Remove what is older than the limits of the section retention now, as servers do gradually (docs/retention.md)
    Prune(PruneArguments),
    /// Check the configuration
    Config {
        /// What to do
        #[command(subcommand)]
        action: ConfigCommand,
    },
    /// List events that webhooks failed to deliver, send them again, or drop them (docs/webhooks.md). Prints JSON lines
    Webhooks {
        /// What to do
        #[command(subcommand)]
        action: WebhooksCommand,
    },
    /// Print the audit log as JSON lines, oldest first (docs/audit.md)
    Audit(AuditArguments),
    /// Print titles by outcome, failures by reason, tokens and latency
    Stats(StatsArguments),
    /// Print a development token, signed with --jwt-secret
    Token(TokenArguments),
    /// Check whether the server on the --listen address is ready; exits with 0 if it is
    Health,
    /// Print the GraphQL schema
    Schema,
    /// Print the description of the HTTP routes (OpenAPI 3.1)
    Openapi,
    /// Print a completion script for a shell
    #[command(after_help = WHERE_COMPLETIONS_GO)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

/// The actions of `config`.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Validate the file of --config, flags and environment without starting the server, and print what is in force
    Check {
        /// Also ask each model of each agent and of titles for one word, and print how long it took and which
        /// parameters the model refused
        #[arg(long)]
        live: bool,

        /// Print the policy of titles that holds for this tenant
        #[arg(long, value_name = "NAME", value_parser = name)]
        tenant: Option<String>,

        /// Print the policy of titles that holds where this agent answers
        #[arg(long, value_name = "NAME", value_parser = name)]
        agent: Option<String>,
    },
}

/// Arguments of `audit`.
#[derive(Args, Clone, Debug)]
pub struct AuditArguments {
    /// Only this tenant
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub tenant: Option<String>,

    /// Only what was done since this day (UTC) or time
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub since: Option<DateTime<Utc>>,
}

/// The actions of `webhooks`.
#[derive(Clone, Debug, Subcommand)]
pub enum WebhooksCommand {
    /// List the conversations whose events fail or were given up
    List {
        /// Only those of this webhook
        #[arg(value_name = "NAME")]
        name: Option<String>,

        /// Only those that were given up
        #[arg(long)]
        parked: bool,
    },
    /// Send failed and given-up events again, also to a receiver that answered 410 Gone
    Retry {
        /// The webhook
        #[arg(value_name = "NAME")]
        name: String,

        /// Only those of this conversation
        #[arg(long, value_name = "ID", value_parser = conversation)]
        conversation: Option<ConversationId>,
    },
    /// Remove the event that was given up from each conversation, so that later events are sent
    Drop {
        /// The webhook
        #[arg(value_name = "NAME")]
        name: String,

        /// Only that of this conversation
        #[arg(long, value_name = "ID", value_parser = conversation)]
        conversation: Option<ConversationId>,
    },
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

/// Arguments of `try`.
#[derive(Args, Clone, Debug)]
pub struct TryArguments {
    /// Models to compare, as PROVIDER/MODEL, separated by commas; by default those of the default policy
    #[arg(long, value_delimiter = ',', value_name = "MODELS")]
    pub models: Vec<String>,

    /// Style to add to the instruction; several are compared. Empty for none; by default that of the policy
    #[arg(long, value_name = "TEXT", value_parser = style)]
    pub style: Vec<String>,

    /// Instruction in place of the built-in one; several are compared. Empty for the built-in one; by default that of
    /// the policy
    #[arg(long, value_name = "TEXT", value_parser = instruction)]
    pub instruction: Vec<String>,

    /// Take the messages from JSON lines {"message": "…", "title": "…"} instead of the database; a title is a reference
    #[arg(long, value_name = "FILE", conflicts_with = "all_tenants")]
    pub file: Option<PathBuf>,

    /// Take the first messages of this tenant's conversations; with --file, only its policy
    #[arg(long, value_name = "NAME", value_parser = name, conflicts_with = "all_tenants")]
    pub tenant: Option<String>,

    /// Take the first messages of all tenants' conversations
    #[arg(long)]
    pub all_tenants: bool,

    /// Number of messages
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=2000))]
    pub sample: u32,

    /// Stop after using N tokens; titles already started finish (--title-concurrency)
    #[arg(long, value_name = "N")]
    pub budget_tokens: Option<u64>,

    /// Price of a million input tokens and a million output tokens, of all models or of one; separated by commas:
    /// 0.1/0.5 or openai/gpt-5-mini=0.25/2
    #[arg(long, value_delimiter = ',', value_name = "[MODEL=]INPUT/OUTPUT", value_parser = model_price)]
    pub price: Vec<(Option<String>, Price)>,

    /// Write an HTML page with all titles side by side to this new file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Keep results in this file, and skip titles that it already has
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,

    /// Send the messages without asking for consent
    #[arg(long)]
    pub yes: bool,
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

/// Arguments of `export`.
#[derive(Args, Clone, Debug)]
pub struct ExportArguments {
    /// Only this tenant's conversations
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub tenant: Option<String>,

    /// Only this user's conversations
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub user: Option<String>,

    /// Only conversations that changed since this day (UTC) or time: 2026-01-31, or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub since: Option<DateTime<Utc>>,

    /// With --tenant and --user: without what the user wrote in conversations of others, to move the user
    #[arg(long)]
    pub owned: bool,
}

/// Arguments of `erase`.
#[derive(Args, Clone, Debug)]
pub struct EraseArguments {
    /// The tenant
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub tenant: String,

    /// One user of the tenant; all of the tenant without it
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub user: Option<String>,

    /// Only print what would be erased
    #[arg(long)]
    pub dry_run: bool,

    /// How long servers have to stop replies and to notify clients, before rows are removed; 0s if no server runs
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = duration_or_none)]
    pub wait: Duration,
}

/// Arguments of `prune`.
#[derive(Args, Clone, Debug)]
pub struct PruneArguments {
    /// Only count what would be removed
    #[arg(long)]
    pub dry_run: bool,
}

/// The price of a million tokens, in any currency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    input: f64,
    output: f64,
}

impl Price {
    /// The cost of this many tokens.
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

/// Parses a day or a time in UTC.
fn date(text: &str) -> Result<DateTime<Utc>, String> {
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d");
    let midnight = day.map(|day| day.and_time(NaiveTime::MIN).and_utc());
    midnight
        .or_else(|_| DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()))
        .ok()
        .filter(|time| is_plain(*time))
        .ok_or_else(|| "expected a day, 2026-01-31, or a time, 2026-01-31T12:00:00Z".into())
}

/// Parses the name of a tenant or user.
fn name(text: &str) -> Result<String, String> {
    let name = auth::is_name(text).then(|| text.to_owned());
    name.ok_or_else(|| "must be 1 to 128 characters without control characters".into())
}

/// Parses a conversation id.
fn conversation(text: &str) -> Result<ConversationId, String> {
    let id = text.parse();
    id.map_err(|_| "expected the id of a conversation, a UUID".into())
}

/// Parses a scope.
fn scope(text: &str) -> Result<Scope, String> {
    let scope = text.trim().parse();
    scope.map_err(|_| {
        "expected conversations:read, conversations:write, conversations:delete, conversations:ingest, account:erase or audit:read"
            .into()
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

/// Parses a price with an optional model.
fn model_price(text: &str) -> Result<(Option<String>, Price), String> {
    match text.rsplit_once('=') {
        Some((model, text)) => Ok((Some(model.trim().to_owned()), price(text)?)),
        None => Ok((None, price(text)?)),
    }
}

/// Parses a style.
fn style(text: &str) -> Result<String, String> {
    at_most(text, MAX_STYLE_CHARS)
}

/// Parses an instruction.
fn instruction(text: &str) -> Result<String, String> {
    at_most(text, MAX_INSTRUCTION_CHARS)
}

fn at_most(text: &str, chars: usize) -> Result<String, String> {
    match text.chars().count() <= chars {
        true => Ok(text.to_owned()),
        false => Err(format!("is longer than {chars} characters")),
    }
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
        assert!(date("yesterday").is_err() && date("+20000-01-31").is_err());
        assert_eq!((rate("120/min"), rate("7")), (Ok(120), Ok(7)));
        assert!(rate("0").is_err() && rate("1/s").is_err());
        assert!((price("0.25/2").unwrap().of(4_000_000, 500_000) - 2.0).abs() < 1e-9);
        assert!(price("1").is_err() && price("-1/2").is_err() && price("nan/1").is_err());
    }
}
