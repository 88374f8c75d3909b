//! The waits of a reply: for its first event, between two events, and after its end.

use std::time::{Duration, Instant};

use super::{
    replies::{DONE, START, STOP, delta, received, request},
    *,
};
use crate::llm::{Finish, ModelErrorKind, ReplyModel};

#[tokio::test]
async fn silence_is_a_timeout_and_ends_the_connection() {
    let a = delta("a");
    let mut script = events(&[START.as_bytes(), a.as_bytes()], false);
    script.push((Duration::from_secs(3600), Vec::new()));
    let server = Server::start([script]);
    let begun = Instant::now();
    let received = received(&server.model_with_short_timeouts()).await;
    assert_eq!(
        (received.text.as_str(), received.end),
        ("a", Err(ModelErrorKind::Timeout))
    );
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn comments_and_reasoning_keep_a_reply_alive_and_silence_before_them_is_longer() {
    let thought = "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n";
    let a = delta("a");
    let head = events(&[], false);
    let mut script = vec![head[0].clone()];
    let pieces = events(
        &[
            b": wait\n\n",
            thought.as_bytes(),
            thought.as_bytes(),
            a.as_bytes(),
            STOP.as_bytes(),
        ],
        true,
    );
    for (number, (_, piece)) in pieces.into_iter().skip(1).enumerate() {
        let pause = match number {
            0 => Duration::from_millis(1500),
            _ => Duration::from_millis(200),
        };
        script.push((pause, piece));
    }
    let server = Server::start([script]);
    let model = Provider::new(ProviderSettings {
        first_event: Duration::from_secs(20),
        idle: Duration::from_millis(800),
        ..server.settings()
    });
    let received = received(&model.unwrap().model("local")).await;
    assert_eq!(
        (received.text.as_str(), received.end),
        ("a", Ok(Finish::Stop))
    );
}

#[tokio::test]
async fn a_finished_reply_does_not_wait_for_pings_either() {
    let a = delta("a");
    let mut script = events(&[a.as_bytes(), STOP.as_bytes()], false);
    script.extend(vec![
        (Duration::from_millis(100), b"3\r\n:\n\n\r\n".to_vec());
        300
    ]);
    let begun = Instant::now();
    let received = received(&Server::start([script]).model("local")).await;
    assert_eq!(
        (received.text.as_str(), received.end),
        ("a", Ok(Finish::Stop))
    );
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn a_connection_that_breaks_after_a_long_silence_is_not_made_again() {
    // Nothing but a pause, and the end of the connection.
    let server = Server::start([vec![(Duration::from_millis(500), Vec::new())]]);
    let model = Provider::new(ProviderSettings {
        first_event: Duration::from_secs(20),
        idle: Duration::from_secs(20),
        connect: Duration::from_millis(200),
        ..server.settings()
    });
    let failed = model
        .unwrap()
        .model("local")
        .reply(request())
        .await
        .err()
        .unwrap();
    assert_eq!(failed.kind, ModelErrorKind::Timeout);
    assert!(!failed.is_worth_another_try());
}

/// An acknowledgement shows that the provider works on the request; so does a reasoning item without text.
#[tokio::test]
async fn a_stream_that_breaks_off_after_a_long_silence_is_not_made_again() {
    use ModelErrorKind::{Interrupted, Timeout};
    const ITEM: &str = "data: {\"type\":\"response.output_item.added\",\"item\":{\"type\":\"reasoning\",\"id\":\"rs\"}}\n\n";
    let (long, short) = (Duration::from_secs(20), Duration::from_millis(200));
    let a = delta("a");
    for (wire, first, last, connect, text, kind) in [
        (Wire::ChatCompletions, START, None, long, "", Interrupted),
        (Wire::ChatCompletions, START, None, short, "", Timeout),
        (Wire::ChatCompletions, START, Some(DONE), short, "", Timeout),
        (
            Wire::ChatCompletions,
            ": wait\n\n",
            None,
            short,
            "",
            Timeout,
        ),
        (Wire::Responses, ITEM, None, long, "", Interrupted),
        (Wire::Responses, ITEM, None, short, "", Timeout),
        // A reader has seen it.
        (
            Wire::ChatCompletions,
            a.as_str(),
            None,
            short,
            "a",
            Interrupted,
        ),
    ] {
        let mut script = events(&[first.as_bytes()], false);
        script.push((Duration::from_millis(500), Vec::new()));
        let last = last.map(str::as_bytes);
        script.extend(events(last.as_slice(), false).split_off(1));
        let server = Server::start([script]);
        let model = Provider::new(ProviderSettings {
            wire,
            first_event: long,
            idle: long,
            connect,
            ..server.settings()
        });
        let received = received(&model.unwrap().model("local")).await;
        assert_eq!(
            (received.text.as_str(), received.end),
            (text, Err(kind)),
            "{first} {last:?} {connect:?}"
        );
    }
}

#[tokio::test]
async fn a_finished_reply_does_not_wait_for_a_server_that_never_closes() {
    let a = delta("a");
    let mut script = events(&[a.as_bytes(), STOP.as_bytes()], false);
    script.push((Duration::from_secs(3600), Vec::new()));
    let begun = Instant::now();
    let received = received(&Server::start([script]).model("local")).await;
    assert_eq!(
        (received.text.as_str(), received.end),
        ("a", Ok(Finish::Stop))
    );
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "well before the idle timeout of 5 s"
    );
}

/// A server in front of a hanging model may send comments forever.
#[tokio::test]
async fn comments_before_the_first_event_do_not_extend_the_wait_for_it() {
    for (name, piece) in [
        ("comments", &b": processing\n\n"[..]),
        ("pings", b"event: ping\ndata: {}\n\n"),
    ] {
        let mut script = vec![events(&[], false)[0].clone()];
        let (_, piece) = events(&[piece], false)[1].clone();
        script.extend(vec![(Duration::from_millis(50), piece); 400]);
        let server = Server::start([script]);
        let model = Provider::new(ProviderSettings {
            first_event: Duration::from_millis(600),
            idle: Duration::from_secs(5),
            ..server.settings()
        });
        let begun = Instant::now();
        let received = received(&model.unwrap().model("local")).await;
        assert_eq!(received.end, Err(ModelErrorKind::Timeout), "{name}");
        let waited = begun.elapsed();
        // Neither the idle time after a comment nor the 20 s of all comments.
        assert!(waited >= Duration::from_millis(600), "{name}: {waited:?}");
        assert!(waited < Duration::from_secs(4), "{name}: {waited:?}");
    }
}

/// Many servers send the role as soon as they have accepted the request.
#[tokio::test]
async fn a_chunk_without_content_is_no_first_event() {
    let empty = "data: {\"id\":\"c\",\"choices\":[]}\n\n";
    for first in [START, empty] {
        let a = delta("a");
        let mut script = events(&[first.as_bytes()], false);
        script.push((Duration::from_millis(1500), Vec::new()));
        let rest = events(&[a.as_bytes(), STOP.as_bytes()], true);
        script.extend(rest.into_iter().skip(1));
        let server = Server::start([script]);
        let model = Provider::new(ProviderSettings {
            first_event: Duration::from_secs(20),
            idle: Duration::from_millis(500),
            ..server.settings()
        });
        let received = received(&model.unwrap().model("local")).await;
        assert_eq!(
            (received.text.as_str(), received.end),
            ("a", Ok(Finish::Stop)),
            "{first}"
        );
    }
}
