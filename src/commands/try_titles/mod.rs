//! `titlecast try`: compares models and prompts by the titles that they generate from the same messages.
//!
//! - `candidates`: the models and prompts to compare, and their prices
//! - `input`: messages from a file; [`trial`] samples those from the database
//! - `resume`: results of earlier runs; `summary`: the numbers of a candidate
//! - `columns`, `table`, `page`: the output
//!
//! Nothing is written to the database. Messages go to the named models only.

mod candidates;
mod columns;
mod input;
mod page;
mod resume;
mod summary;
mod table;

use std::{
    collections::BTreeMap,
    io::{self, BufRead, IsTerminal, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use self::{
    candidates::{MAX_CANDIDATES, candidates, prices},
    columns::{Column, columns},
    page::PageFile,
    resume::Results,
    summary::Summary,
};
use super::progress::Progress;
use crate::{
    config::TryArguments,
    db::Database,
    error::Error,
    llm::{Model, ModelName, ProfileOverride},
    titles::{
        policy::Policies,
        trial::{self, Attempt, Candidate, Maker, Subject},
    },
};

const BAR: &str = "{bar:40} {pos}/{len} titles, {eta} left, {msg}";

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum TryError {
    /// A model is not in the configuration.
    #[error("--models: {0}")]
    Model(String),
    /// No model is named or configured.
    #[error(
        "name the models with --models PROVIDER/MODEL, or set them up (OPENAI_API_KEY, or --config)"
    )]
    NoModels,
    /// There are too many candidates.
    #[error(
        "{0} candidates are too many (models times styles times instructions); at most {MAX_CANDIDATES} are compared"
    )]
    TooMany(usize),
    /// No source of messages is named.
    #[error("name the messages: --file FILE, --tenant NAME or --all-tenants")]
    NoSource,
    /// There are no messages.
    #[error("there are no messages to generate titles for")]
    NoMessages,
    /// A price names a model that is not compared.
    #[error("--price: {0} is not one of the models")]
    Price(String),
    /// A file cannot be read or written.
    #[error("the file {0}: {1}")]
    File(String, #[source] io::Error),
    /// A line of the file is invalid.
    #[error("{file}:{line}: {why}")]
    Line {
        /// The file.
        file: String,
        /// The 1-based line number.
        line: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// There is no terminal to ask for consent on.
    #[error("nothing was sent: add --yes to send the messages")]
    NoConsent,
    /// The user refused consent.
    #[error("nothing was sent")]
    Refused,
    /// The database failed.
    #[error("{0}")]
    Database(#[from] Error),
}

impl TryError {
    /// Whether the command line is wrong.
    pub fn is_of_the_command_line(&self) -> bool {
        matches!(
            self,
            Self::Model(_)
                | Self::NoModels
                | Self::TooMany(_)
                | Self::NoSource
                | Self::Price(_)
                | Self::Line { .. }
                | Self::NoConsent
        )
    }
}

/// What a run needs besides its arguments.
pub struct Trial<'a> {
    /// The policies in force.
    pub policies: &'a Policies,
    /// Finds a model by its name on the command line: `PROVIDER/MODEL`.
    pub find: &'a (dyn Fn(&str) -> Result<Arc<Model>, String> + Sync),
    /// The host and port of a model's provider.
    pub host: &'a (dyn Fn(&ModelName) -> String + Sync),
    /// The operator's overrides of parameters.
    pub overrides: Arc<ProfileOverride>,
    /// The maximum time for one title.
    pub deadline: Duration,
    /// The maximum number of concurrent calls.
    pub concurrency: usize,
}

/// A candidate with its results.
struct Compared {
    candidate: Candidate,
    /// One result per subject; `None` if the run stopped before it.
    attempts: Vec<Option<Attempt>>,
    summary: Summary,
}

/// All results.
struct Comparison<'a> {
    subjects: &'a [Subject],
    /// The source of the messages, as text: `of tenant acme`.
    source: String,
    candidates: Vec<Compared>,
    is_partial: bool,
}

impl Comparison<'_> {
    fn has_references(&self) -> bool {
        self.subjects
            .iter()
            .any(|subject| subject.reference.is_some())
    }
}

/// Compares the candidates. Returns false if the run was interrupted, or if a provider refuses every call.
///
/// # Errors
/// [`TryError`].
pub async fn run(
    arguments: &TryArguments,
    trial: &Trial<'_>,
    db: Option<&Database>,
    interrupt: &CancellationToken,
) -> Result<bool, TryError> {
    let candidates = candidates(arguments, trial)?;
    let prices = prices(arguments, &candidates)?;
    let (subjects, source) = subjects(arguments, trial.policies, db).await?;
    let mut results = match &arguments.resume {
        Some(path) => Results::open(path)?,
        None => Results::default(),
    };
    let missing = missing(&candidates, &subjects, trial.policies, &results);
    let path = arguments.html.as_ref();
    if let Some(path) = path.filter(|path| path.exists()) {
        return Err(file_error(path, io::ErrorKind::AlreadyExists.into()));
    }
    announce(arguments, trial, &candidates, &subjects, &missing)?;
    let page = path.map(|path| {
        let page = PageFile::create(path);
        page.map_err(|error| file_error(path, error))
    });
    let page = page.transpose()?;

    let is_whole = ask(
        arguments,
        trial,
        &candidates,
        &subjects,
        missing,
        &mut results,
        interrupt,
    )
    .await?;
    let compared = candidates.into_iter().map(|candidate| {
        let key = |subject: &Subject| trial::key(&candidate, subject, trial.policies);
        let attempts: Vec<Option<Attempt>> = subjects
            .iter()
            .map(|subject| results.find(&key(subject)).cloned())
            .collect();
        let pairs = subjects.iter().zip(&attempts);
        let found: Vec<_> = pairs
            .filter_map(|(subject, attempt)| Some((subject, attempt.as_ref()?)))
            .collect();
        let price = match &candidate.maker {
            Maker::Model(model) => prices.of(model.name()),
            Maker::Cut => None,
        };
        Compared {
            summary: Summary::of(&found, price),
            attempts,
            candidate,
        }
    });
    let candidates: Vec<Compared> = compared.collect();
    let comparison = Comparison {
        is_partial: candidates
            .iter()
            .any(|one| one.attempts.iter().any(Option::is_none)),
        subjects: &subjects,
        source,
        candidates,
    };
    let text = table::table(&comparison);
    // A closed pipe, as with `head`, is not an error.
    let _ = io::stdout().write_all(text.as_bytes());
    // An existing page would stop the same command from resuming the run.
    let goes_on = comparison.is_partial && arguments.resume.is_some();
    if let (Some(page), Some(path)) = (page.filter(|_| !goes_on), path) {
        let written = page.write(&comparison);
        written.map_err(|error| file_error(path, error))?;
        eprintln!("all titles side by side: {}", path.display());
    }
    if goes_on {
        eprintln!("run the same command again to generate the missing titles");
    }
    Ok(is_whole)
}

fn file_error(path: &Path, cause: io::Error) -> TryError {
    let path = path.display().to_string();
    let cause = match cause.kind() {
        io::ErrorKind::AlreadyExists => {
            io::Error::other("it exists, and is not overwritten; name another one with --html")
        }
        _ => cause,
    };
    TryError::File(path, cause)
}

/// The messages and their source.
async fn subjects(
    arguments: &TryArguments,
    policies: &Policies,
    db: Option<&Database>,
) -> Result<(Vec<Subject>, String), TryError> {
    let sample = arguments.sample as usize;
    if let Some(path) = &arguments.file {
        let is_titled = |subject: &Subject| subject.is_titled(policies);
        let subjects = input::read(path, sample, arguments.tenant.as_deref(), is_titled)?;
        return Ok((subjects, format!("of {}", path.display())));
    }
    let tenant = arguments.tenant.as_deref();
    let Some(db) = db.filter(|_| tenant.is_some() || arguments.all_tenants) else {
        return Err(TryError::NoSource);
    };
    let subjects = trial::sample_of(db, policies, tenant, sample).await?;
    match (subjects.is_empty(), tenant) {
        (true, _) => Err(TryError::NoMessages),
        (false, Some(tenant)) => Ok((subjects, format!("of tenant {tenant}"))),
        (false, None) => Ok((subjects, "of all tenants".into())),
    }
}

/// A title without a result: the indexes of its candidate and its subject, and its key.
type Missing = (usize, usize, String);

/// The titles without a result, in the order of the calls: message by message.
fn missing(
    candidates: &[Candidate],
    subjects: &[Subject],
    policies: &Policies,
    results: &Results,
) -> Vec<Missing> {
    let mut missing = Vec::new();
    for (s, subject) in subjects.iter().enumerate() {
        for (c, candidate) in candidates.iter().enumerate() {
            let key = trial::key(candidate, subject, policies);
            if results.find(&key).is_none() {
                missing.push((c, s, key));
            }
        }
    }
    missing
}

/// Prints how many texts go to which host, and asks for consent.
fn announce(
    arguments: &TryArguments,
    trial: &Trial<'_>,
    candidates: &[Candidate],
    subjects: &[Subject],
    missing: &[Missing],
) -> Result<(), TryError> {
    // By host: the messages, the calls and their estimated tokens.
    let mut hosts: BTreeMap<String, (Vec<usize>, Vec<&str>, u64)> = BTreeMap::new();
    for (c, s, _) in missing {
        if let Maker::Model(model) = &candidates[*c].maker
            && !model.is_offline()
        {
            let (messages, names, tokens) = hosts.entry((trial.host)(model.name())).or_default();
            messages.push(*s);
            names.push(&candidates[*c].name);
            *tokens += subjects[*s].estimated_tokens();
        }
    }
    if hosts.is_empty() {
        return Ok(());
    }
    for (host, (mut messages, mut names, tokens)) in hosts {
        let calls = messages.len();
        messages.dedup();
        names.sort_unstable();
        names.dedup();
        eprintln!(
            "{} messages go to {host} ({}): {calls} titles, about {tokens} tokens, more after unusable answers",
            messages.len(),
            names.join("; ")
        );
    }
    if arguments.yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(TryError::NoConsent);
    }
    eprint!("Send them? [y/N] ");
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    match read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        true => Ok(()),
        false => Err(TryError::Refused),
    }
}

/// Generates the missing titles, several at once. Returns false if the run was interrupted, or if a provider refuses
/// every call.
async fn ask(
    arguments: &TryArguments,
    trial: &Trial<'_>,
    candidates: &[Candidate],
    subjects: &[Subject],
    missing: Vec<Missing>,
    results: &mut Results,
    interrupt: &CancellationToken,
) -> Result<bool, TryError> {
    // Standard output is for the table.
    let is_shown = io::stdout().is_terminal();
    let mut progress = is_shown.then(|| Progress::new(Some(missing.len() as u64), BAR));
    let (mut done, mut tokens) = (0_u64, 0_u64);
    let budget = arguments.budget_tokens.unwrap_or(u64::MAX);
    let is_used_up = AtomicBool::new(budget == 0);
    // The candidates whose provider refuses every call.
    let refused: Vec<AtomicBool> = candidates.iter().map(|_| AtomicBool::new(false)).collect();
    let attempts = stream::iter(missing).map(|(c, s, key)| {
        let (is_used_up, refused) = (&is_used_up, &refused);
        async move {
            let candidate = &candidates[c];
            let is_free = match &candidate.maker {
                Maker::Model(model) => model.is_offline(),
                Maker::Cut => true,
            };
            let is_over = is_used_up.load(Ordering::Relaxed) && !is_free;
            if is_over || refused[c].load(Ordering::Relaxed) || interrupt.is_cancelled() {
                return None;
            }
            let (policies, overrides) = (trial.policies, &trial.overrides);
            let attempt =
                trial::attempt(candidate, &subjects[s], policies, overrides, trial.deadline).await;
            if attempt.is_refused {
                refused[c].store(true, Ordering::Relaxed);
            }
            let is_cut = matches!(candidate.maker, Maker::Cut);
            Some((key, attempt, is_cut))
        }
    });
    let mut attempts = std::pin::pin!(attempts.buffer_unordered(trial.concurrency.max(1)));
    let mut failed = None;
    while let Some(attempt) = attempts.next().await {
        done += 1;
        if let Some((key, attempt, is_cut)) = attempt {
            tokens += attempt.tokens();
            if tokens >= budget {
                is_used_up.store(true, Ordering::Relaxed);
            }
            if let Err(error) = results.add(key, attempt, is_cut) {
                failed.get_or_insert(error);
                interrupt.cancel();
            }
        }
        if let Some(progress) = &mut progress {
            let shown = serde_json::json!({ "titles": done, "tokens": tokens });
            progress.update(done, || format!("{tokens} tokens"), &shown);
        }
    }
    if let (Some(error), Some(path)) = (failed, &arguments.resume) {
        return Err(file_error(path, error));
    }
    let is_refused = refused
        .iter()
        .any(|refused| refused.load(Ordering::Relaxed));
    let reason = match (interrupt.is_cancelled(), tokens >= budget) {
        (true, _) => "interrupted",
        (false, _) if is_refused => "refused",
        (false, true) => "budget",
        (false, false) => "finished",
    };
    if let Some(progress) = &progress {
        progress.end(reason);
    }
    eprintln!("{reason}: {tokens} tokens");
    Ok(!interrupt.is_cancelled() && !is_refused)
}
