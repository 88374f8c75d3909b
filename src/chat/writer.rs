//! Writes one reply, whatever its source: appends to the log that readers follow, stores the row, ends the log.
//!
//! The row is stored before the log ends, so a reader that receives the end finds the row. While a writer is alive its
//! run is registered, so [`leases`](super::leases) renews its lease and checkpoints its text.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::{Chat, Inner, stored_end::load_end};
use crate::{
    conversation::{Conversation, Owner, Part, PartContent, ReplyOutcome, ToolState, Usage},
    db::{Fault, FinishedReply, ReplyCost, ReplyState, Turn},
    error::{Error, Result, innermost},
    events::{ReplyEnd, ReplyLog, RunGuard, run::Outcome},
    step::{Step, step},
    telemetry::span,
};

/// How long storing the end is retried.
const STORE_DEADLINE: Duration = Duration::from_secs(60);

/// How long one attempt to store the end may take.
const STORE_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);

/// How long storing may still take after the shutdown deadline.
const SHUTDOWN_STORE_GRACE: Duration = Duration::from_secs(2);

/// The maximum length of a model's name, in characters.
const MAX_MODEL_CHARS: usize = 255;

/// The limits of a reply: the number of parts, the bytes of one part without its ids and names, the bytes of all parts.
const MAX_PARTS: usize = 256;
const MAX_PART_BYTES: usize = 64 * 1024;
const MAX_PARTS_BYTES: usize = 512 * 1024;

/// The only writer of a running reply. Dropping it without [`Self::finish`] ends the log as failed; the row is then
/// closed when its lease expires.
pub(super) struct ReplyWriter {
    chat: Chat,
    owner: Owner,
    turn: Turn,
    run: RunGuard,
    started: Instant,
    length: usize,
    /// The number of parts, and the bytes of all of them.
    parts: usize,
    parts_bytes: usize,
    /// The offset of the last part if it is reasoning, and the room that is left in it.
    reasoning_at: Option<usize>,
    reasoning_room: usize,
    response_id: Option<String>,
    /// The name of the agent that answers; empty if unknown.
    agent: String,
    /// The name of the model that answers; empty before a model was asked.
    model: String,
    usage: Option<Usage>,
    /// Whether a reply without text is stored as a message.
    is_message: bool,
}

impl ReplyWriter {
    /// Creates the writer of a turn that is stored and whose run is open. `keep_reasoning`: store reasoning with the
    /// reply; otherwise it is delivered live only.
    pub(super) fn new(
        chat: Chat,
        owner: Owner,
        turn: Turn,
        run: RunGuard,
        keep_reasoning: bool,
    ) -> Self {
        if keep_reasoning {
            run.log().keep_reasoning();
        }
        Self {
            chat,
            owner,
            turn,
            run,
            started: Instant::now(),
            length: 0,
            parts: 0,
            parts_bytes: 0,
            reasoning_at: None,
            reasoning_room: 0,
            response_id: None,
            agent: String::new(),
            model: String::new(),
            usage: None,
            is_message: true,
        }
    }

    /// Continues a reply that another node has written up to this point.
    pub(super) fn resume(&mut self, turn: &Turn) {
        let log = self.run.log().clone();
        self.length = turn.written.len();
        self.parts = turn.written_parts.len();
        self.parts_bytes = turn.written_parts.iter().map(Part::size).sum();
        log.append_remote(&turn.written, turn.written_parts.clone());
        let age = (self.chat.inner.db.clock().now() - turn.created_at).to_std();
        let started = self.started.checked_sub(age.unwrap_or_default());
        self.started = started.unwrap_or(self.started);
    }

    /// The owner of the conversation.
    pub(super) fn owner(&self) -> &Owner {
        &self.owner
    }

    pub(super) fn append(&mut self, text: &str) {
        if self.length == 0 {
            self.chat.inner.metrics.first_text(self.started.elapsed());
        }
        self.length += text.len();
        self.log().append(text);
    }

    /// Appends reasoning. At the limits the text is truncated, and the rest of the part is dropped.
    pub(super) fn append_reasoning(&mut self, text: &str) {
        if self.reasoning_at != Some(self.length) {
            if !self.admits(1) {
                return;
            }
            (self.reasoning_at, self.reasoning_room) = (Some(self.length), MAX_PART_BYTES);
        }
        let room = self.reasoning_room.min(MAX_PARTS_BYTES - self.parts_bytes);
        let fits = &text[..text.floor_char_boundary(room)];
        self.parts_bytes += fits.len();
        // Nothing follows a truncated part.
        self.reasoning_room = match fits.len() < text.len() {
            true => 0,
            false => room - fits.len(),
        };
        if !fits.is_empty() {
            self.log().append_reasoning(fits);
        }
    }

    /// Adds a part, or adds the result of a tool call to the part with the same id. A part beyond the limits is
    /// dropped.
    pub(super) fn add_part(&mut self, part: PartContent) {
        let bytes = part.size();
        if part.content_size() > MAX_PART_BYTES || !self.admits(bytes) {
            return;
        }
        self.parts_bytes += bytes;
        // Reasoning after this part begins a new part.
        self.reasoning_at = None;
        self.log().add_part(part);
    }

    /// Adds a tool call, or replaces the call with the same id. A call beyond the limits is dropped.
    pub(super) fn put_tool(&mut self, mut call: PartContent) {
        let PartContent::Tool {
            id,
            name,
            arguments,
            result,
            state,
        } = &mut call
        else {
            return self.add_part(call);
        };
        let Some(known) = self.log().tool(id).map(Arc::unwrap_or_clone) else {
            return self.add_part(call);
        };
        let (size, index, at) = (known.size(), known.index, known.at);
        if let PartContent::Tool {
            name: known_name,
            arguments: known_arguments,
            result: known_result,
            state: known_state,
            ..
        } = known.content
        {
            // A repeated call does not reopen a finished one.
            if *state == ToolState::Called {
                *state = known_state;
            }
            // A later event may omit the call's name and arguments.
            if name.is_empty() {
                *name = known_name;
            }
            if arguments.is_empty() {
                *arguments = known_arguments;
            }
            *result = result.take().or(known_result);
        }
        self.replace(size, index, at, call);
    }

    /// Adds data, or replaces the data with the same name and id. Data beyond the limits is dropped.
    pub(super) fn put_data(&mut self, data: PartContent) {
        let known = match &data {
            PartContent::Data {
                id: Some(id), name, ..
            } => self.log().data(name, id),
            _ => None,
        };
        match known {
            Some(known) => self.replace(known.size(), known.index, known.at, data),
            None => self.add_part(data),
        }
    }

    /// Replaces the part at `index`, which had this size.
    fn replace(&mut self, size: usize, index: usize, at: usize, content: PartContent) {
        let bytes = content.size();
        let total = self.parts_bytes.saturating_sub(size) + bytes;
        if content.content_size() > MAX_PART_BYTES || total > MAX_PARTS_BYTES {
            return;
        }
        self.parts_bytes = total;
        self.log().put_part(Part { index, at, content });
    }

    /// Counts one more part of this size. Returns false if that would exceed the limits.
    fn admits(&mut self, bytes: usize) -> bool {
        if self.parts == MAX_PARTS || self.parts_bytes + bytes > MAX_PARTS_BYTES {
            tracing::debug!(
                conversation.id = %self.turn.conversation_id,
                bytes,
                "the reply has too many parts; dropped one"
            );
            return false;
        }
        self.parts += 1;
        true
    }

    /// Records the source's id of the reply.
    pub(super) fn set_response_id(&mut self, id: String) {
        self.response_id = Some(id);
    }

    /// Records the agent that answers.
    pub(super) fn set_agent(&mut self, agent: &str) {
        self.agent = agent.into();
    }

    /// Records the model that answers, by the name that its provider sends.
    pub(super) fn set_model(&mut self, model: &str) {
        let visible = model.chars().filter(|c| !c.is_control());
        self.model = visible.take(MAX_MODEL_CHARS).collect();
    }

    /// The token usage so far.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.usage
    }

    pub(super) fn set_usage(&mut self, usage: Usage) {
        self.usage = Some(usage);
    }

    /// Stores no message if the reply has no text, because an external program will write it.
    pub(super) fn without_message(&mut self) {
        self.is_message = false;
    }

    /// Completes when the source must stop writing, with the outcome: a client stopped the reply, its time is over, or
    /// the server aborts. The text up to then is kept.
    pub(super) fn cut_off(&self) -> impl Future<Output = Outcome> + Send + 'static {
        let stop = self.log().stopped().clone();
        let abort = self.chat.inner.abort.clone();
        let deadline = self.started + self.chat.inner.settings.reply_deadline;
        async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => Outcome::Stopped,
                () = abort.cancelled() => Outcome::Incomplete,
                () = sleep_until(deadline) => Outcome::Incomplete,
            }
        }
    }

    /// Releases the run without an end: another node continues it.
    pub(super) fn release(self) -> RunGuard {
        self.run
    }

    /// Ends the log with the stored outcome, because another node has ended the reply.
    pub(super) async fn end_as_stored(self) {
        let Self {
            chat, owner, turn, ..
        } = &self;
        match load_end(chat, owner, turn).await {
            Ok(end) => self.log().end(end),
            // Dropping the run ends the log as failed.
            Err(error) => error.log(),
        }
    }

    /// Stores the reply and ends its log. If another node has taken over an external reply, returns the run instead.
    pub(super) async fn finish(
        self,
        outcome: Outcome,
        reason: Option<&'static str>,
    ) -> Result<Option<RunGuard>> {
        let Self {
            chat, owner, turn, ..
        } = &self;
        if let Outcome::Failed(error) = &outcome {
            // A failure or malformed data of an external program is not a fault of this server.
            let is_of_program = turn.is_external && matches!(error, Error::ModelUnavailable(_));
            if !is_of_program {
                error.log();
            }
        }
        let text = self.log().text();
        let (parts, _) = self.log().stored_parts();
        let stored = tokio::select! {
            stored = self.store((&outcome, reason), &text, &parts) => stored,
            // Readers receive SHUTTING_DOWN. Another node closes the reply when its lease expires.
            () = shutdown_grace_over(chat) => Err(Error::ShuttingDown),
        };
        if let Some(usage) = self.usage {
            // Tokens were used even if the reply could not be stored.
            let Inner {
                metrics, budget, ..
            } = &*chat.inner;
            metrics.used(&owner.tenant, &self.agent, &self.model, usage);
            budget.spend(&owner.tenant, Some(&self.agent), usage.total_tokens());
        }
        let (text, outcome, reason) = match stored {
            Ok(Some(conversation)) => {
                step(Step::ReplyCommitted, self.turn.conversation_id);
                chat.inner.events.publish(conversation.clone());
                if !text.is_empty() && !matches!(outcome, Outcome::Failed(_)) {
                    chat.inner.titles.follow_subject(&conversation);
                }
                step(Step::ReplyPublished, self.turn.conversation_id);
                (text, outcome, reason)
            }
            Ok(None) if self.runs_elsewhere().await => return Ok(Some(self.run)),
            Ok(None) if text.is_empty() => (text, outcome, reason),
            Ok(None) => match self.stored_by_another_node().await {
                Ok(Some(end)) => (end.text, end.outcome, end.reason),
                // The conversation was deleted: the text is not stored, so the reply is not complete.
                Ok(None) if matches!(outcome, Outcome::Completed) => {
                    (text, Outcome::Incomplete, None)
                }
                Ok(None) => (text, outcome, reason),
                Err(error) => not_stored(text, error),
            },
            Err(error) => not_stored(text, error),
        };
        self.report(&outcome, reason);
        let is_stored = !matches!(
            outcome,
            Outcome::Failed(Error::Database(_) | Error::ShuttingDown)
        );
        self.log().end(ReplyEnd {
            text,
            response_id: self.response_id.clone(),
            usage: self.usage,
            model: (!self.model.is_empty()).then(|| self.model.clone()),
            outcome,
            reason,
        });
        match is_stored {
            true => Ok(None),
            false => Err(Error::Database("the reply could not be stored".into())),
        }
    }

    /// Whether another node has taken the reply over.
    async fn runs_elsewhere(&self) -> bool {
        let Self {
            chat, owner, turn, ..
        } = self;
        if !turn.is_external {
            return false;
        }
        let row = chat.inner.db.find_turn(owner, turn.id).await;
        row.ok().flatten().is_some_and(|row| {
            row.reply == ReplyState::Running && row.node != Some(chat.inner.events.node())
        })
    }

    fn log(&self) -> &ReplyLog {
        self.run.log()
    }

    /// Records how the reply ended in its span, in the metrics and in the log.
    fn report(&self, outcome: &Outcome, reason: Option<&'static str>) {
        let ended: &'static str = match outcome {
            Outcome::Completed => "completed",
            Outcome::Stopped | Outcome::Incomplete => "incomplete",
            Outcome::Failed(_) => "failed",
        };
        let span = Span::current();
        span.set_attribute("titlecast.outcome", ended);
        if let Outcome::Failed(error) = outcome {
            span::failed(&span, error.code().as_str());
        }
        let duration = self.started.elapsed();
        self.chat.inner.metrics.ended(ended, duration);
        tracing::info!(
            conversation.id = %self.turn.conversation_id,
            duration_ms = duration.as_millis() as u64,
            outcome = ended,
            reason,
            "reply ended"
        );
    }

    /// Stores the end, and retries while the database is unavailable or busy. A row that the database rejects is not
    /// retried: it would be rejected again.
    async fn store(
        &self,
        (outcome, reason): (&Outcome, Option<&'static str>),
        text: &str,
        parts: &[Part],
    ) -> Result<Option<Conversation>> {
        let Inner { db, abort, .. } = &*self.chat.inner;
        let cost = self.usage.map(|usage| ReplyCost {
            agent: &self.agent,
            model: &self.model,
            usage,
        });
        let (outcome, failure) = match outcome {
            Outcome::Completed => (ReplyOutcome::Completed, None),
            Outcome::Stopped => (ReplyOutcome::Stopped, None),
            Outcome::Incomplete => (ReplyOutcome::Incomplete, None),
            Outcome::Failed(error) => (ReplyOutcome::Failed, Some(error.code())),
        };
        let (titles, tenant) = (&self.chat.inner.titles, &self.owner.tenant);
        let redacts = match self.agent.is_empty() {
            true => titles.redacts(tenant),
            false => titles.redacts_with(tenant, &self.agent),
        };
        let reply = FinishedReply {
            outcome,
            text,
            failure,
            reason: reason.filter(|_| outcome == ReplyOutcome::Incomplete),
            model: &self.model,
            parts,
            is_message: self.is_message,
            redacts,
        };
        let give_up = Instant::now() + STORE_DEADLINE;
        let mut pause = Duration::from_millis(100);
        loop {
            let storing = db.finish_reply(&self.owner, &self.turn, reply, cost);
            let stored = match timeout(STORE_ATTEMPT_TIMEOUT, storing).await {
                Ok(stored) => stored,
                Err(late) => Err(Error::Database(late.into())),
            };
            match stored {
                Err(error)
                    if Fault::of_error(&error) != Some(Fault::Row)
                        && Instant::now() + pause < give_up
                        && !abort.is_cancelled() =>
                {
                    tracing::warn!(
                        conversation.id = %self.turn.conversation_id,
                        duration_ms = self.started.elapsed().as_millis() as u64,
                        error.cause = %innermost(&error),
                        "cannot store the reply yet; retrying"
                    );
                    sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
                result => return result,
            }
        }
    }

    /// The end that another node stored after this node's lease expired; `None` if the conversation was deleted.
    async fn stored_by_another_node(&self) -> Result<Option<ReplyEnd>> {
        let Self {
            chat, owner, turn, ..
        } = self;
        match chat
            .inner
            .db
            .conversation(owner, turn.conversation_id)
            .await
        {
            Ok(_) => load_end(chat, owner, turn).await.map(Some),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Completes when the shutdown deadline and the grace for a last attempt are over.
async fn shutdown_grace_over(chat: &Chat) {
    chat.inner.abort.cancelled().await;
    sleep(SHUTDOWN_STORE_GRACE).await;
}

fn not_stored(text: String, error: Error) -> (String, Outcome, Option<&'static str>) {
    error.log();
    (text, Outcome::Failed(error), None)
}
