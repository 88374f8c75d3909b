//! Content after a finish reason, tokens used by a failed reply, and the limits of held-back text.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::json;

use super::{
    super::stream::MAX_TEXT_BYTES,
    replies::{DONE, Received, START, STOP, delta, receive_from, received, request},
    *,
};
use crate::llm::{Finish, ModelErrorKind, ReplyChunk, ReplyModel, Usage};

/// A delta with a finish reason.
fn ended(delta: Value, reason: &str) -> String {
    let choice = json!({ "index": 0, "delta": delta, "finish_reason": reason });
    format!("data: {}\n\n", json!({ "id": "c1", "choices": [choice] }))
}

fn event(delta: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}\n\n")
}

#[tokio::test]
async fn text_behind_a_finish_reason_goes_on_the_reply() {
    use Finish::{Stop, Unknown};
    let (a, b) = (delta("a"), delta("b"));
    let tools = ended(json!({}), "tool_calls");
    let each = ["a", "b"].map(|text| ended(json!({ "content": text }), "stop"));
    let [each_a, each_b] = &each;
    let error = "data: {\"error\":{\"code\":429}}\n\n";
    type Ended = Result<Finish, ModelErrorKind>;
    /// How the stream ends: by `[DONE]`, by the end of the body, or broken off.
    #[derive(Clone, Copy, Debug)]
    enum End {
        Done,
        Closed,
        Broken,
    }
    use End::*;
    let failed = Err(ModelErrorKind::RateLimited);
    #[rustfmt::skip]
    let table: [(&[&str], End, &str, Ended); 17] = [
        (&[&a, STOP], Closed, "a", Ok(Stop)),
        (&[&a, STOP], Broken, "a", Ok(Stop)),
        (&[&a, STOP, error], Closed, "a", Ok(Stop)),
        // A server that runs its tools itself.
        (&[&a, &tools, &b, STOP], Done, "ab", Ok(Stop)),
        (&[&a, &tools, &b, STOP], Broken, "ab", Ok(Stop)),
        (&[&a, &tools, each_b], Closed, "ab", Ok(Stop)),
        (&[&a, &tools, &b], Broken, "ab", Ok(Unknown)),
        (&[&a, &tools], Closed, "a", Ok(Stop)),
        (&[&a, &tools], Broken, "a", Ok(Unknown)),
        (&[&a, &tools, error], Closed, "a", failed),
        // A finish reason with each delta.
        (&[each_a, each_b], Done, "ab", Ok(Stop)),
        (&[each_a, each_b], Broken, "ab", Ok(Unknown)),
        (&[each_a, each_b, STOP], Broken, "ab", Ok(Stop)),
        (&[each_a, each_b, error], Closed, "ab", failed),
        // A last delta after it.
        (&[&a, STOP, &b], Done, "ab", Ok(Stop)),
        (&[&a, STOP, &b], Closed, "ab", Ok(Unknown)),
        (&[&a, STOP, &b, error], Closed, "ab", failed),
    ];
    for (pieces, end, text, finish) in table {
        let mut pieces = pieces.to_vec();
        if let Done = end {
            pieces.push(DONE);
        }
        let received = receive_from(&pieces, !matches!(end, Broken)).await;
        let found = (received.text.as_str(), received.end);
        assert_eq!(found, (text, finish), "{pieces:?} {end:?}");
    }
}

#[tokio::test]
async fn the_wait_behind_a_finish_reason_is_short_only_where_it_stands() {
    // Longer than the wait for token counts.
    let pause = Duration::from_millis(2_600);
    let (a, b, c) = (delta("a"), delta("b"), delta("c"));
    let tools = ended(json!({}), "tool_calls");
    let each = ended(json!({ "content": "a" }), "stop");
    let ends = async |pieces: &[&str], paused: usize| -> Received {
        let pieces: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
        let mut script = events(&pieces, true);
        // The head comes first.
        script[paused + 1].0 = pause;
        received(&Server::start([script]).model("local")).await
    };
    let runs_tools = [&*a, &tools, &b, STOP, DONE];
    let ends_each = [&*each, &each, &b, STOP, DONE];
    let is_late = [&*a, STOP, &c, DONE];
    let (first, second, third) =
        tokio::join!(ends(&runs_tools, 2), ends(&ends_each, 2), ends(&is_late, 2),);
    assert_eq!((first.text.as_str(), first.end), ("ab", Ok(Finish::Stop)));
    assert_eq!(
        (second.text.as_str(), second.end),
        ("aab", Ok(Finish::Stop))
    );
    assert_eq!((third.text.as_str(), third.end), ("a", Ok(Finish::Stop)));
}

#[tokio::test]
async fn counts_are_passed_on_as_they_come_also_of_a_reply_that_fails() {
    let counts = |completion: u64| {
        let usage = json!({ "prompt_tokens": 9, "completion_tokens": completion });
        let event = json!({ "id": "c1", "choices": [], "usage": usage });
        format!("data: {event}\n\n")
    };
    let expected = |completion_tokens| Usage {
        prompt_tokens: 9,
        completion_tokens,
        reasoning_tokens: 0,
    };
    let (a, one, two) = (delta("a"), counts(1), counts(2));
    let error = "data: {\"error\":{\"code\":429},\"usage\":{\"completion_tokens\":3}}\n\n";
    let failed = receive_from(&[START, &a, &one, &two, error], true).await;
    assert_eq!(failed.end, Err(ModelErrorKind::RateLimited));
    assert_eq!(failed.usage, Some(expected(3)));
    let cut = receive_from(&[START, &a, &two], false).await;
    assert_eq!(cut.end, Err(ModelErrorKind::Interrupted));
    assert_eq!(cut.usage, Some(expected(2)));
    let empty = "data: {\"choices\":[],\"usage\":{}}\n\n";
    let ended = receive_from(&[START, &a, STOP, &one, empty, DONE], true).await;
    assert_eq!(ended.usage, Some(expected(1)));
    let none = receive_from(&[START, &a, STOP, empty, DONE], true).await;
    assert_eq!(none.usage, None);
    // A stopped reply: the counts arrive before its end.
    let mut script = events(&[a.as_bytes(), one.as_bytes()], false);
    script.push((Duration::from_secs(3600), Vec::new()));
    let model = Server::start([script]).model("local");
    let reply = model.reply(request()).await.unwrap();
    let chunks: Vec<_> = reply.take(3).map(Result::unwrap).collect().await;
    assert_eq!(chunks.last(), Some(&ReplyChunk::Usage(expected(1))));
}

#[tokio::test]
async fn surrogate_halves_are_joined_in_reasoning_and_arguments_too() {
    let call = |rest: &str| format!("{{\"tool_calls\":[{{\"index\":0,{rest}}}]}}");
    let first = call(r#""id":"a","function":{"name":"f","arguments":"{\"q\":\"\ud83d"}"#);
    let second = call(r#""function":{"arguments":"\ude00\"}"}"#);
    let pieces = [
        event(r#"{"reasoning_content":"a \ud83d"}"#),
        event(r#"{"reasoning_content":"\ude00 b\ud83d"}"#),
        event(r#"{"content":"x \ud83d"}"#),
        event(&first),
        event(r#"{"content":"\ude00 y"}"#),
        event(&second),
        STOP.to_owned(),
    ];
    let received = receive_from(&pieces.each_ref().map(String::as_str), true).await;
    assert_eq!(received.text, "x 😀 y");
    assert_eq!(received.reasoning, "a 😀 b\u{fffd}");
    assert_eq!(received.tools[0].arguments, "{\"q\":\"😀\"}");
}

#[tokio::test]
async fn white_space_at_the_beginning_is_bounded_like_text() {
    let blank = delta(&" ".repeat(300_000));
    let received = receive_from(&[&blank, &blank, &blank, STOP], true).await;
    assert_eq!(received.text.len(), MAX_TEXT_BYTES);
    assert_eq!(received.end, Ok(Finish::Length));
}

#[tokio::test]
async fn a_tool_call_that_the_token_limit_cut_is_left_out() {
    let call = |index: u64, arguments: &str| {
        let function = json!({ "name": "f", "arguments": arguments });
        let call = json!([{ "index": index, "id": format!("c{index}"), "function": function }]);
        event(&json!({ "tool_calls": call }).to_string())
    };
    let (whole, cut) = (call(0, "{\"a\":1}"), call(1, "{\"a\":"));
    let limit = ended(json!({}), "length");
    let received = receive_from(&[&whole, &cut, &limit, DONE], true).await;
    assert_eq!(received.end, Ok(Finish::Length));
    let ids: Vec<&str> = received.tools.iter().map(|call| call.id.as_str()).collect();
    assert_eq!(ids, ["c0"]);
}

#[tokio::test]
async fn a_call_is_passed_on_with_the_finish_reason() {
    let call =
        json!([{ "index": 0, "id": "c0", "function": { "name": "f", "arguments": "{\"a\":1}" } }]);
    let call = event(&json!({ "tool_calls": call }).to_string());
    let tools = ended(json!({}), "tool_calls");
    let mut script = events(&[call.as_bytes(), tools.as_bytes()], false);
    // The server runs the tool itself.
    script.push((Duration::from_secs(3600), Vec::new()));
    let model = Server::start([script]).model("local");
    let mut reply = model.reply(request()).await.unwrap();
    let call = loop {
        if let ReplyChunk::Tool(call) = reply.next().await.unwrap().unwrap() {
            break call;
        }
    };
    assert_eq!(call.id, "c0");
}

#[tokio::test]
async fn a_finish_reason_with_each_fragment_of_a_call_is_not_its_end() {
    let call = |call: Value| ended(json!({ "tool_calls": [call] }), "tool_calls");
    let more =
        |arguments: &str| call(json!({ "index": 0, "function": { "arguments": arguments } }));
    // An empty object before the arguments, as some gateways send.
    let function = json!({ "name": "f", "arguments": "{}" });
    let empty = call(json!({ "index": 0, "id": "c0", "function": function }));
    let (begun, rest) = (more("{\"a\":"), more("1}"));
    let received = receive_from(&[&empty, &begun, &rest, DONE], true).await;
    let arguments: Vec<&str> = received
        .tools
        .iter()
        .map(|call| call.arguments.as_str())
        .collect();
    assert_eq!(arguments, ["{\"a\":1}"]);
}
