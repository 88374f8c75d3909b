//! `titlecast config check --live`: asks each model of each chain for one word.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};

use crate::{
    agents::{Agent, Agents, Source},
    llm::{
        CallIdentity, ChatMessage, Model, ModelError, ModelErrorKind, ProfileOverride, ReplyChunk,
        ReplyModel, ReplyRequest, Speaker, Task, TitleModel, TitleRequest,
    },
    titles::policy::Policies,
};

/// The maximum wait for one answer, and for all answers.
const DEADLINE: Duration = Duration::from_secs(60);
const TOTAL_DEADLINE: Duration = Duration::from_secs(180);

/// The maximum number of models called at the same time.
const CONCURRENCY: usize = 8;

/// The maximum number of agents named beside a model.
const SHOWN_USERS: usize = 4;

/// The request. It contains no user data.
const QUESTION: &str = "Answer with one word: ready";

/// The token limit of a title model's answer.
const MAX_TOKENS: u32 = 512;

/// The answer of one model.
#[derive(Debug)]
pub struct LiveCheck {
    /// The agents or policies whose chains contain the model: `agent triage`, `titles`.
    users: Vec<String>,
    model: String,
    has_key: bool,
    outcome: Outcome,
    refused: Vec<&'static str>,
}

#[derive(Debug)]
enum Outcome {
    Answered(Duration),
    Failed(ModelError),
    /// No answer within [`DEADLINE`].
    Late,
    /// No answer by the end of [`TOTAL_DEADLINE`].
    Unfinished,
    /// The offline model, which answers without any provider.
    Offline,
}

impl LiveCheck {
    /// Whether a provider answered.
    pub fn passed(&self) -> bool {
        matches!(self.outcome, Outcome::Answered(_))
    }
}

impl fmt::Display for LiveCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for user in self.users.iter().take(SHOWN_USERS) {
            write!(f, "{user}, ")?;
        }
        let others = self.users.len().saturating_sub(SHOWN_USERS);
        if others > 0 {
            write!(f, "{others} more, ")?;
        }
        write!(f, "{}: ", self.model)?;
        match &self.outcome {
            Outcome::Answered(time) => {
                write!(f, "answered in {} ms", time.as_millis())?;
                if !self.has_key {
                    f.write_str(", without a key")?;
                }
            }
            Outcome::Failed(error) => f.write_str(&explained(error, self.has_key))?,
            Outcome::Late => write!(f, "did not answer within {} s", DEADLINE.as_secs())?,
            Outcome::Unfinished => write!(
                f,
                "gave no answer before the end of the check, after {} s",
                TOTAL_DEADLINE.as_secs()
            )?,
            Outcome::Offline => f.write_str(
                "no provider is set up, so the offline model answers, for demonstration only; set OPENAI_API_KEY or \
                 OPENAI_BASE_URL, or add [providers.NAME]",
            )?,
        }
        match self.refused.is_empty() {
            true => Ok(()),
            false => write!(f, "; refused parameters: {}", self.refused.join(", ")),
        }
    }
}

/// What happened and what to do, as readable text.
fn explained(error: &ModelError, has_key: bool) -> String {
    let status = error.status.map(|status| status.to_string());
    let details: Vec<String> = status.into_iter().chain(error.code.clone()).collect();
    let details = match details.is_empty() {
        true => String::new(),
        false => format!(" ({})", details.join(", ")),
    };
    let (what, then) = match error.kind {
        ModelErrorKind::Timeout if error.status.is_some() => ("gave up the request", ""),
        ModelErrorKind::Timeout => (
            "did not answer in time",
            "; if the model reasons for long, raise first_event",
        ),
        ModelErrorKind::Connection => (
            "cannot be reached",
            "; check base_url, the proxy, the network and, over https, ca_file",
        ),
        ModelErrorKind::RateLimited => ("limits the rate of calls", "; try again later"),
        ModelErrorKind::QuotaExceeded => ("has no quota left", "; check the account's billing"),
        ModelErrorKind::Unauthorized if has_key => ("refuses the key", ""),
        ModelErrorKind::Unauthorized => (
            "asks for a key",
            ", and none is set; name one with api_key_env or api_key_file",
        ),
        ModelErrorKind::NotFound => ("does not know the model", "; name one that it offers"),
        ModelErrorKind::NoEndpoint => (
            "has no model API at base_url",
            "; correct it, it often ends in /v1",
        ),
        ModelErrorKind::TooLong => ("refuses a short request as too long", ""),
        ModelErrorKind::InvalidRequest => {
            ("refuses the request as wrong", "; check the parameters")
        }
        ModelErrorKind::Unavailable => ("failed", "; see the provider's status"),
        ModelErrorKind::Malformed if matches!(error.status, Some(300..400)) => (
            "answered with a redirect",
            ", which is not followed; set base_url to the final address",
        ),
        ModelErrorKind::Malformed => (
            "answered, but not as a model API does",
            "; check base_url and wire",
        ),
        ModelErrorKind::Interrupted => (
            "closed the connection before the end of its answer",
            "; check base_url, the proxy and the server",
        ),
        ModelErrorKind::Empty => (
            "answered without any text",
            "; check the model and its parameters",
        ),
    };
    format!("{what}{details}{then}")
}

/// A request to a model, and the chains that use the model.
struct Question {
    model: Arc<Model>,
    users: Vec<String>,
    /// The agent whose reply is requested; `None` requests a title.
    agent: Option<Arc<Agent>>,
}

/// The requests: one for each model, or one for each set of parameters that agents give it. A model that writes replies
/// and titles is asked for a reply.
fn questions(agents: &Agents, titles: &Policies) -> Vec<Question> {
    let mut questions: Vec<Question> = Vec::new();
    for agent in agents.all() {
        let Source::Models(chain) = &agent.source else {
            continue;
        };
        let user = format!("agent {}", agent.name);
        for model in chain.models() {
            let is_equal = |known: &Arc<Agent>| known.parameters == agent.parameters;
            let same = questions.iter_mut().find(|known| {
                is_same(&known.model, model) && known.agent.as_ref().is_some_and(is_equal)
            });
            match same {
                Some(known) => known.users.push(user.clone()),
                None => questions.push(Question {
                    model: model.clone(),
                    users: vec![user.clone()],
                    agent: Some(agent.clone()),
                }),
            }
        }
    }
    for model in &titles.every_model() {
        let user = "titles".to_owned();
        let same = questions
            .iter_mut()
            .find(|known| is_same(&known.model, model));
        match same {
            Some(known) => known.users.push(user),
            None => questions.push(Question {
                model: model.clone(),
                users: vec![user],
                agent: None,
            }),
        }
    }
    questions
}

fn is_same(one: &Arc<Model>, other: &Arc<Model>) -> bool {
    Arc::ptr_eq(one, other) || one.is_offline() && other.is_offline()
}

/// Calls all models, several at the same time.
pub async fn run(
    agents: &Agents,
    titles: &Policies,
    overrides: Arc<ProfileOverride>,
) -> Vec<LiveCheck> {
    let end = Instant::now() + TOTAL_DEADLINE;
    let checks = questions(agents, titles)
        .into_iter()
        .map(|question| check(question, overrides.clone(), end));
    stream::iter(checks).buffered(CONCURRENCY).collect().await
}

async fn check(question: Question, overrides: Arc<ProfileOverride>, end: Instant) -> LiveCheck {
    let Question {
        model,
        users,
        agent,
    } = question;
    let started = Instant::now();
    let call = async {
        match agent {
            Some(agent) => reply(&model, &agent).await,
            None => title(&model, overrides).await,
        }
    };
    let deadline = started + DEADLINE;
    let outcome = if model.is_offline() {
        Outcome::Offline
    } else if started >= end {
        Outcome::Unfinished
    } else {
        match timeout_at(deadline.min(end), call).await {
            Ok(Ok(())) => Outcome::Answered(started.elapsed()),
            Ok(Err(error)) => Outcome::Failed(error),
            Err(_) if deadline <= end => Outcome::Late,
            Err(_) => Outcome::Unfinished,
        }
    };
    LiveCheck {
        users,
        model: model.name().to_string(),
        has_key: model.has_key(),
        outcome,
        refused: model.refused_parameters(),
    }
}

async fn reply(model: &Model, agent: &Agent) -> Result<(), ModelError> {
    let question = ChatMessage {
        speaker: Speaker::User,
        text: QUESTION.into(),
    };
    let request = ReplyRequest {
        instructions: None,
        history: Arc::new([question]),
        parameters: agent.parameters.clone(),
        caller: CallIdentity {
            agent: agent.name.clone(),
            task: Task::Reply,
            ..CallIdentity::default()
        },
    };
    let mut stream = model.reply(request).await?;
    while let Some(chunk) = stream.next().await {
        if let ReplyChunk::Finished(_) = chunk? {
            return Ok(());
        }
    }
    Err(ModelError::new(ModelErrorKind::Interrupted))
}

async fn title(model: &Model, overrides: Arc<ProfileOverride>) -> Result<(), ModelError> {
    let request = TitleRequest {
        instruction: "Answer in plain text.".into(),
        input: QUESTION.into(),
        max_tokens: MAX_TOKENS,
        caller: CallIdentity {
            task: Task::Title,
            ..CallIdentity::default()
        },
        overrides,
        ..TitleRequest::default()
    };
    model.title(request).await.map(drop)
}
