//! A model whose calls are seen in traces: a span for each, from the request to the end of the answer.

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

/// The longest name of a model that is told, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// Another model, seen in traces.
pub struct Traced {
    model: Arc<dyn LanguageModel>,
    provider: &'static str,
    server: Option<Url>,
}

impl Traced {
    /// `provider` is what OpenTelemetry calls whoever speaks this protocol, `url` where it is reached.
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
            // The host alone: a URL may hold a password.
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

impl LanguageModel for Traced {
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
                // The span ends where it was left last: with the last chunk.
                Ok(stream) => {
                    let noted =
                        stream.inspect(move |chunk| span.in_scope(|| note_chunk(&span, chunk)));
                    Ok(noted.boxed())
                }
                Err(error) => {
                    note_error(&span, &error);
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
                    note_model(&span, output.model.as_deref());
                    note_finish(&span, output.finish);
                    if let Some(usage) = output.usage {
                        note_usage(&span, usage);
                    }
                }
                Err(error) => note_error(&span, error),
            })
            .boxed()
    }
}

fn note_chunk(span: &Span, chunk: &Result<ReplyChunk, ModelError>) {
    match chunk {
        Ok(ReplyChunk::Started { model, .. }) => note_model(span, model.as_deref()),
        Ok(ReplyChunk::Usage(usage)) => note_usage(span, *usage),
        Ok(ReplyChunk::Finished(finish)) => note_finish(span, *finish),
        Ok(ReplyChunk::Delta(_)) => {}
        Err(error) => note_error(span, error),
    }
}

/// The model that has answered, unless it calls itself what no model is called: it is a text of the provider's.
fn note_model(span: &Span, model: Option<&str>) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/@".contains(c);
    let is_name = |name: &&str| name.len() <= MAX_NAME_BYTES && name.chars().all(plain);
    if let Some(name) = model.filter(is_name) {
        span.set_attribute("gen_ai.response.model", name.to_owned());
    }
}

fn note_usage(span: &Span, usage: Usage) {
    let number = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
    span.set_attribute("gen_ai.usage.input_tokens", number(usage.prompt_tokens));
    span.set_attribute(
        "gen_ai.usage.output_tokens",
        number(usage.completion_tokens),
    );
}

fn note_finish(span: &Span, finish: Finish) {
    let reason = StringValue::from(<&'static str>::from(finish));
    let reasons = Value::Array(Array::String(vec![reason]));
    span.set_attribute("gen_ai.response.finish_reasons", reasons);
}

fn note_error(span: &Span, error: &ModelError) {
    span::failed(span, error.kind.into());
    if let Some(status) = error.status {
        span.set_attribute("http.response.status_code", i64::from(status));
    }
}
