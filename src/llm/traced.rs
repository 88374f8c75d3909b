//! Adds a trace span to each model call, from the request to the end of the answer.
//!
//! Attributes follow OpenTelemetry's semantic conventions for generative AI.

use futures_util::StreamExt;
use opentelemetry::{Array, StringValue, Value};
use reqwest::Url;
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::{
    Finish, ModelError, ReplyChunk, ReplyModel, ReplyRequest, ReplyStream, TitleModel, TitleOutput,
    TitleRequest, Usage,
};
use crate::telemetry::{SPANS, span};

/// The longest model name that is recorded, in bytes.
const MAX_MODEL_NAME_BYTES: usize = 128;

/// The server of a model, in the terms of traces.
#[derive(Clone, Debug, Default)]
pub(super) struct Server {
    /// OpenTelemetry's name of the provider.
    provider: &'static str,
    /// Only host and port: a URL may hold a password.
    host: Option<String>,
    port: Option<u16>,
}

impl Server {
    /// No server: the built-in model.
    pub(super) fn none() -> Self {
        Self {
            provider: "offline",
            ..Self::default()
        }
    }

    /// A server with OpenAI's API.
    pub(super) fn at(url: &Url) -> Self {
        Self {
            provider: "openai",
            host: url.host_str().map(str::to_owned),
            port: url.port_or_known_default(),
        }
    }

    fn span(&self, model: &str) -> Span {
        let span = tracing::debug_span!(
            target: SPANS,
            "model call",
            otel.name = %format_args!("chat {model}"),
            otel.kind = "client",
            gen_ai.operation.name = "chat",
            gen_ai.provider.name = self.provider,
            gen_ai.request.model = model,
        );
        if !span.is_disabled() {
            if let Some(host) = &self.host {
                span.set_attribute("server.address", host.clone());
            }
            if let Some(port) = self.port {
                span.set_attribute("server.port", i64::from(port));
            }
        }
        span
    }
}

/// Asks for a reply, in a span that ends with the stream.
pub(super) async fn reply<M: ReplyModel + ?Sized>(
    model: &M,
    server: &Server,
    request: ReplyRequest,
) -> Result<ReplyStream, ModelError> {
    let span = server.span(model.name().model());
    match model.reply(request).instrument(span.clone()).await {
        Ok(stream) if span.is_disabled() => Ok(stream),
        // The stream owns the span, so the span ends with the stream.
        Ok(stream) => {
            // Later counts replace earlier ones.
            let mut usage = None;
            let recorded = stream.inspect(move |chunk| {
                if let Ok(ReplyChunk::Usage(counts)) = chunk {
                    usage = Some(*counts);
                }
                span.in_scope(|| record_chunk(&span, chunk, usage));
            });
            Ok(recorded.boxed())
        }
        Err(error) => {
            record_error(&span, &error);
            Err(error)
        }
    }
}

/// Asks for a title, in a span.
pub(super) async fn title<M: TitleModel + ?Sized>(
    model: &M,
    server: &Server,
    request: TitleRequest,
) -> Result<TitleOutput, ModelError> {
    let span = server.span(model.name().model());
    span.set_attribute("gen_ai.request.max_tokens", i64::from(request.max_tokens));
    span.set_attribute("gen_ai.output.type", "json");
    let answer = model.title(request).instrument(span.clone()).await;
    match &answer {
        Ok(output) => {
            record_model(&span, output.model.as_deref());
            record_finish(&span, output.finish);
            if let Some(usage) = output.usage {
                record_usage(&span, usage);
            }
        }
        Err(error) => record_error(&span, error),
    }
    answer
}

fn record_chunk(span: &Span, chunk: &Result<ReplyChunk, ModelError>, usage: Option<Usage>) {
    match chunk {
        Ok(ReplyChunk::Started { model, .. }) => return record_model(span, model.as_deref()),
        Ok(ReplyChunk::Finished(finish)) => record_finish(span, *finish),
        Ok(_) => return,
        Err(error) => record_error(span, error),
    }
    if let Some(usage) = usage {
        record_usage(span, usage);
    }
}

/// Records the model that answered, if its name looks like one: the provider controls that text.
fn record_model(span: &Span, model: Option<&str>) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/@".contains(c);
    let is_name = |name: &&str| name.len() <= MAX_MODEL_NAME_BYTES && name.chars().all(plain);
    if let Some(name) = model.filter(is_name) {
        span.set_attribute("gen_ai.response.model", name.to_owned());
    }
}

fn record_usage(span: &Span, usage: Usage) {
    let number = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
    span.set_attribute("gen_ai.usage.input_tokens", number(usage.prompt_tokens));
    span.set_attribute(
        "gen_ai.usage.output_tokens",
        number(usage.completion_tokens),
    );
}

fn record_finish(span: &Span, finish: Finish) {
    let reason = StringValue::from(<&'static str>::from(finish));
    let reasons = Value::Array(Array::String(vec![reason]));
    span.set_attribute("gen_ai.response.finish_reasons", reasons);
}

fn record_error(span: &Span, error: &ModelError) {
    span::failed(span, error.kind.into());
    if let Some(status) = error.status {
        span.set_attribute("http.response.status_code", i64::from(status));
    }
}
