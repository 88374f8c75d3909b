//! Recognises a request that does not fit into the model's context. Many servers report it only in their message.

/// Codes of a request that is too long: OpenAI's, llama.cpp's, Anthropic's, and those of gateways.
const TOO_LONG: [&str; 6] = [
    "context_length_exceeded",
    "context_window_exceeded",
    "exceed_context_size_error",
    "prompt_too_long",
    "request_too_large",
    "string_above_max_length",
];

/// Words for a model's context in messages, and for a request that does not fit into it.
const CONTEXT: [&str; 4] = [
    "context length",
    "context window",
    "context size",
    "context_length",
];
const EXCEEDED: [&str; 7] = [
    "exceed",
    "maximum",
    "too long",
    "too large",
    "larger",
    "longer",
    "greater",
];

/// Phrases that say both at once.
const TOO_LONG_PHRASES: [&str; 4] = [
    "prompt is too long",
    "input is too long",
    "maximum prompt length",
    "input token count",
];

/// Whether an error with this status, code, class and message (in lower case) is about the length of the request.
pub(super) fn says_so(
    status: Option<u16>,
    code: Option<&str>,
    class: Option<&str>,
    message: &str,
) -> bool {
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let is_named = |name: Option<&str>| name.is_some_and(|name| TOO_LONG.contains(&name));
    match status {
        Some(413) => true,
        None | Some(400 | 422 | 500) => {
            is_named(code)
                || is_named(class)
                || has(&CONTEXT) && has(&EXCEEDED)
                || has(&TOO_LONG_PHRASES)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use reqwest::{StatusCode, header::HeaderMap};
    use serde_json::json;

    use crate::llm::{ModelErrorKind, provider::failure::Failure};

    #[test]
    fn a_request_that_is_too_long_in_the_words_of_several_servers() {
        use ModelErrorKind::*;
        #[rustfmt::skip]
        let table = [
            (400, r#"{"error":{"message":"This model's maximum context length is 128000 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#, TooLong),
            // vLLM, llama.cpp, Anthropic, Gemini, Bedrock.
            (400, r#"{"object":"error","message":"This model's maximum context length is 8192 tokens. However, you requested 9000 tokens.","type":"BadRequestError","code":400}"#, TooLong),
            (400, r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}"#, TooLong),
            (500, r#"{"error":{"code":500,"message":"the request exceeds the available context size, try increasing it"}}"#, TooLong),
            (400, r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#, TooLong),
            (400, r#"[{"error":{"code":400,"message":"The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}]"#, TooLong),
            (422, r#"{"detail":"Input is too long for requested model."}"#, TooLong),
            (413, "<html>Request Entity Too Large</html>", TooLong),
            // A router that quotes the provider.
            (400, r#"{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"{\"error\":{\"message\":\"This model's maximum context length is 8192 tokens.\"}}"}}}"#, TooLong),
            // Others.
            (400, r#"{"error":{"message":"context_management is not supported","code":"unsupported_parameter"}}"#, InvalidRequest),
            (400, r#"{"error":{"message":"no context window is configured"}}"#, InvalidRequest),
            (429, r#"{"error":{"message":"the maximum context length of your tier is exceeded","code":"rate_limit_exceeded"}}"#, RateLimited),
            (503, r#"{"error":{"message":"the context window cache is larger than the memory"}}"#, Unavailable),
        ];
        for (status, body, kind) in table {
            let status = StatusCode::from_u16(status).unwrap();
            let failure = Failure::from_response(status, &HeaderMap::new(), body.as_bytes());
            assert_eq!(failure.error.kind, kind, "{status} {body}");
        }
        // Within a stream there is no status.
        let event = json!({ "error": { "code": "context_length_exceeded", "message": "m" } });
        assert_eq!(Failure::in_answer(&event).unwrap().error.kind, TooLong);
    }
}
