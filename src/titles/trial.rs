//! Titles for `titlecast try`: made with the same prompt, calls, cleaning and retry as conversation titles, and not
//! stored.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    failure::FailureCause,
    generate::{self, Job, NoTitle, Observer},
    language,
    policy::{Policies, TitlePolicy},
    prompt::{self, Regeneration},
    source::{self, Source},
};
use crate::{
    conversation::{Title, TitleFailure, text::single_line},
    db::{BadRow, Database, Keyset, TitleCall, TrialRow},
    error::Result,
    llm::{CallIdentity, Chain, Model, ProfileOverride, Task},
};

pub use super::distinct::key as distinct_key;

/// Rows per read.
const PAGE: u64 = 200;

/// The number of conversations read per sampled one, so that the sample is not only the newest.
const READ_PER_SAMPLE: usize = 20;

/// The length of the baseline that truncates the message, in characters.
const CUT_CHARS: usize = 60;

/// A message for which titles are tried.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The tenant whose policy applies; `None` for the default policy.
    pub tenant: Option<String>,
    /// The user's first message with content.
    pub message: String,
    /// A title to compare with: a user's own title, or the title in the file.
    pub reference: Option<String>,
}

impl Subject {
    /// Whether the policy makes a title from the message. After an opener, the title waits for another message.
    pub fn is_titled(&self, policies: &Policies) -> bool {
        let policy = match &self.tenant {
            Some(tenant) => policies.of_tenant(tenant),
            None => policies.default_policy().clone(),
        };
        source::of_message(&self.message, &[], &policy).is_some()
    }

    /// The estimated tokens of one call.
    pub fn estimated_tokens(&self) -> u64 {
        prompt::estimated_call_tokens(&self.message)
    }
}

/// The source of a candidate's titles.
#[derive(Clone, Debug)]
pub enum Maker {
    /// A model.
    Model(Arc<Model>),
    /// The message's first characters.
    Cut,
}

/// A candidate: a model with the texts of its instruction.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The name in the table.
    pub name: String,
    /// The source of its titles.
    pub maker: Maker,
    /// Replaces the policy's style; `Some(None)` for none.
    pub style: Option<Option<Arc<str>>>,
    /// Replaces the policy's instruction; `Some(None)` for ours.
    pub instruction: Option<Option<Arc<str>>>,
}

/// The result of one try.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// The title.
    pub title: Option<String>,
    /// Why there is no title.
    pub failure: Option<String>,
    /// Why answers were unusable, in order.
    pub unusable: Vec<String>,
    /// The number of model calls.
    pub calls: u32,
    /// Tokens of input and of output, by the provider's count.
    pub prompt_tokens: u64,
    /// See `prompt_tokens`.
    pub completion_tokens: u64,
    /// The time of all calls together, in milliseconds.
    pub duration_ms: u64,
    /// Whether the title is in a script that its message, or the policy's language, asks for.
    pub keeps_language: bool,
    /// Whether the failure is temporary: another run may get a title.
    #[serde(skip)]
    pub may_pass: bool,
    /// Whether the provider refuses every call: the key, the model's name or the quota is wrong.
    #[serde(skip)]
    pub is_refused: bool,
}

impl Attempt {
    /// All billed tokens.
    pub fn tokens(&self) -> u64 {
        self.prompt_tokens + self.completion_tokens
    }
}

/// Makes one title. The calls take at most `deadline` together.
pub async fn attempt(
    candidate: &Candidate,
    subject: &Subject,
    policies: &Policies,
    overrides: &Arc<ProfileOverride>,
    deadline: Duration,
) -> Attempt {
    let mut policy = policy_for(candidate, subject, policies);
    let model = match &candidate.maker {
        Maker::Model(model) => model.clone(),
        Maker::Cut => return cut(&subject.message, &policy),
    };
    policy.models = Chain::of(model);
    let job = Job {
        policy: &policy,
        message: &subject.message,
        regeneration: Regeneration::default(),
        caller: CallIdentity {
            tenant: subject.tenant.clone().unwrap_or_default(),
            task: Task::Title,
            ..CallIdentity::default()
        },
        overrides: overrides.clone(),
    };
    let mut seen = Attempt::default();
    let started = Instant::now();
    let mut walk = policy.models.walk(Task::Title);
    let made = generate::title(&job, started, deadline, &mut walk, &mut Seen(&mut seen)).await;
    seen.duration_ms = started.elapsed().as_millis() as u64;
    match made {
        Ok(title) => {
            seen.keeps_language =
                language::fits(title.as_str(), &subject.message, &policy.language);
            seen.title = Some(title.to_string());
        }
        Err(no) => {
            // A request refused as invalid may succeed with other parameters.
            seen.may_pass = !matches!(no, NoTitle::Rejected(failure) if failure != TitleFailure::InvalidRequest);
            seen.is_refused = matches!(
                no.failure(),
                TitleFailure::Unauthorized
                    | TitleFailure::ModelNotFound
                    | TitleFailure::QuotaExceeded
            );
            seen.failure = Some(why(no, &seen.unusable));
        }
    }
    seen
}

/// The policy of the subject's tenant with the texts of the candidate.
fn policy_for(candidate: &Candidate, subject: &Subject, policies: &Policies) -> TitlePolicy {
    let mut policy = match &subject.tenant {
        Some(tenant) => policies.of_tenant(tenant),
        None => policies.default_policy().clone(),
    };
    if let Some(style) = &candidate.style {
        policy.style.clone_from(style);
    }
    if let Some(instruction) = &candidate.instruction {
        policy.instruction.clone_from(instruction);
    }
    policy
}

/// A key for the title of a subject by a candidate: equal if model, message and rules are equal. Contains no text.
pub fn key(candidate: &Candidate, subject: &Subject, policies: &Policies) -> String {
    let model = match &candidate.maker {
        Maker::Model(model) => model.name().to_string(),
        Maker::Cut => String::new(),
    };
    let rules = rules_of(&policy_for(candidate, subject, policies));
    hash(format!("{model}\0{rules}\0{}", subject.message).as_bytes())
}

/// The human-readable reason why there is no title: the fault of the last answer, or the failure of the call.
fn why(no: NoTitle, unusable: &[String]) -> String {
    match (no, unusable.last()) {
        (NoTitle::Rejected(TitleFailure::Rejected | TitleFailure::Truncated), Some(why)) => {
            why.clone()
        }
        (no, _) => no.failure().as_str().replace('_', " "),
    }
}

/// The message's first characters, cut inside a word if necessary.
fn cut(message: &str, policy: &TitlePolicy) -> Attempt {
    let title: String = single_line(message).chars().take(CUT_CHARS).collect();
    Attempt {
        keeps_language: language::fits(&title, message, &policy.language),
        title: Some(title.trim().to_owned()),
        ..Attempt::default()
    }
}

struct Seen<'a>(&'a mut Attempt);

impl Observer for Seen<'_> {
    fn called(&mut self, call: TitleCall, _: FailureCause, why: Option<&str>) {
        let Self(seen) = self;
        seen.calls += 1;
        seen.prompt_tokens += call.usage.prompt_tokens;
        seen.completion_tokens += call.usage.completion_tokens;
        seen.unusable.extend(why.map(str::to_owned));
    }

    fn recovered(&mut self, _: &Model) {}

    /// Near-duplicates are counted, not retried: an owner's titles differ between a trial and the service.
    async fn is_taken(&mut self, _: &Title) -> bool {
        false
    }
}

/// A sample of first messages of the database, of a tenant or of all: at most `sample`, spread over the newest
/// conversations. The same database gives the same sample.
///
/// # Errors
/// [`Error::Database`](crate::error::Error::Database).
pub async fn sample_of(
    db: &Database,
    policies: &Policies,
    tenant: Option<&str>,
    sample: usize,
) -> Result<Vec<Subject>> {
    let mut rows: Vec<TrialRow> = Vec::new();
    let mut after: Option<Keyset> = None;
    while rows.len() < sample.saturating_mul(READ_PER_SAMPLE) {
        let page = db.find_for_trial(tenant, after.as_ref(), PAGE).await?;
        rows.extend(page.rows);
        match page.last {
            Some(last) => after = Some(last),
            None => break,
        }
    }
    // Sample by a hash of the id, so that conversations from one moment are not preferred.
    let by_hash: BTreeMap<_, _> = rows
        .into_iter()
        .map(|row| (hash(row.id.to_string().as_bytes()), row))
        .collect();
    let mut subjects = Vec::new();
    for row in by_hash.into_values() {
        if subjects.len() == sample {
            break;
        }
        let policy = policies.of(&row.owner.tenant, &row.agent);
        let found = match source::of_conversation(db, &row.owner, row.id, &policy).await {
            Ok(found) => found,
            // A row that cannot be read is left out.
            Err(error) => {
                BadRow::of(row.id.0, error)?;
                continue;
            }
        };
        if let Some(Source::Text(message)) = found.map(|found| found.source) {
            subjects.push(Subject {
                tenant: Some(row.owner.tenant),
                message,
                reference: row.manual_title,
            });
        }
    }
    Ok(subjects)
}

/// A hash that is the same on every machine.
fn hash(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};

    hex::encode(&Sha256::digest(bytes)[..16])
}

/// The policy settings that affect a candidate's titles, as a text that is equal for equal rules.
fn rules_of(policy: &TitlePolicy) -> String {
    let TitlePolicy {
        models: _,
        style,
        instruction,
        max_characters,
        max_words,
        case,
        language,
        emoji,
        openers: _,
        redact,
        refresh: _,
        budget: _,
        fallback: _,
        distinct: _,
        retry: _,
    } = policy;
    format!(
        "{style:?} {instruction:?} {max_characters} {max_words} {case:?} {language} {emoji} {redact}"
    )
}
