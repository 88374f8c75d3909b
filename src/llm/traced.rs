//! Adds a trace span to each model call, from the request to the end of the answer.
//!
//! Attributes follow OpenTelemetry's semantic conventions for generative AI.

use std::sync::Arc;

use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use opentelemetry::{Array, StringValue, Value};
use reqwest::Url;
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::{
    Finish, LanguageModel, ModelError, ReplyChunk, ReplyRequest, ReplyStream, TitleOutput,
    TitleRequest, Usage,
};
use crate::telemetry::{SPANS, span};

/// The longest model name that is recorded, in bytes.
const MAX_MODEL_NAME_BYTES: usize = 128;

/// A model whose calls are traced.
pub struct TracedModel {
    model: Arc<dyn LanguageModel>,
    provider: &'static str,
    server: Option<Url>,
}

impl TracedModel {
    /// Wraps `model`. `provider` is OpenTelemetry's name of the provider; `url` is its base URL.
    pub fn new(model: Arc<dyn LanguageModel>, provider: &'static str, url: Option<&str>) -> Self {
        Self {
            model,
            provider,
            server: url.and_then(|url| Url::parse(url.trim()).ok()),
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
        if let Some(server) = &self.server
            && !span.is_disabled()
        {
            // Only host and port: a URL may hold a password.
            if let Some(host) = server.host_str() {
                span.set_attribute("server.address", host.to_owned());
            }
            if let Some(port) = server.port_or_known_default() {
                span.set_attribute("server.port", i64::from(port));
            }
        }
        span
    }
}

impl LanguageModel for TracedModel {
    fn chat_model(&self) -> &str {
        self.model.chat_model()
    }

    fn title_model(&self) -> &str {
        self.model.title_model()
    }

    fn reply(&self, request: ReplyRequest) -> BoxFuture<'_, Result<ReplyStream, ModelError>> {
        let span = self.span(self.chat_model());
        let asked = self.model.reply(request).instrument(span.clone());
        asked
            .map(move |answer| match answer {
                Ok(stream) if span.is_disabled() => Ok(stream),
                // The stream owns the span, so the span ends with the stream.
                Ok(stream) => {
                    let recorded =
                        stream.inspect(move |chunk| span.in_scope(|| record_chunk(&span, chunk)));
                    Ok(recorded.boxed())
                }
                Err(error) => {
                    record_error(&span, &error);
                    Err(error)
                }
            })
            .boxed()
    }

    fn title(&self, request: TitleRequest) -> BoxFuture<'_, Result<TitleOutput, ModelError>> {
        let span = self.span(self.title_model());
        span.set_attribute("gen_ai.request.max_tokens", i64::from(request.max_tokens));
        span.set_attribute("gen_ai.output.type", "json");
        let asked = self.model.title(request).instrument(span.clone());
        asked
            .inspect(move |answer| match answer {
                Ok(output) => {
                    record_model(&span, output.model.as_deref());
                    record_finish(&span, output.finish);
                    if let Some(usage) = output.usage {
                        record_usage(&span, usage);
                    }
                }
                Err(error) => record_error(&span, error),
            })
            .boxed()
    }
}

fn record_chunk(span: &Span, chunk: &Result<ReplyChunk, ModelError>) {
    match chunk {
        Ok(ReplyChunk::Started { model, .. }) => record_model(span, model.as_deref()),
        Ok(ReplyChunk::Usage(usage)) => record_usage(span, *usage),
        Ok(ReplyChunk::Finished(finish)) => record_finish(span, *finish),
        Ok(ReplyChunk::Delta(_)) => {}
        Err(error) => record_error(span, error),
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
