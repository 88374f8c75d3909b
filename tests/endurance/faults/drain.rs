//! SIGTERM with many open streams: each gets an end, the written text is stored, and the server exits in time.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use titlecast_testing::{
    Events, ModelServer, Node, Rows, Step, TestDatabase, assert_common_stream, at_length, sse::text,
};

use super::turns::{MESSAGE, plain};

/// What was written when the signal came, and in the end by the half that ends in time.
const HALF: &str = "Half a thought";
const WHOLE: &str = "Half a thought, and the rest of it";

/// This many streams; half of the replies end by themselves after the signal, and half do not.
async fn drains(streams: usize, drain: Duration) {
    let database = TestDatabase::new().await;
    let rows = Rows::of(&database).await;
    let model = ModelServer::start().await;
    let drain_setting = format!("{}ms", drain.as_millis());
    let mut node = Node::start(&database.url, &model.url, &["--drain", &drain_setting]).await;
    let pens: Vec<_> = (0..streams).map(|_| model.live_reply()).collect();
    for pen in &pens {
        pen.send(Step::delta(HALF)).unwrap();
    }
    let url = node.url.clone();
    let begun = (0..streams).map(|_| async {
        let mut stream = Events::post(&url, plain(MESSAGE)).await;
        let mut events = Vec::new();
        while text(&events) != HALF {
            events.push(stream.next().await.unwrap());
        }
        (stream, events)
    });
    let begun = join_all(begun).await;

    let signalled = Instant::now();
    node.process.terminate();
    node.process.line("shutting down").await;
    for pen in pens.iter().take(streams / 2) {
        pen.send(Step::delta(", and the rest of it")).unwrap();
        pen.send(Step::Finish).unwrap();
    }
    // However long the drain is: the tests' own patience is shorter.
    let ended = tokio::time::timeout(
        drain + Duration::from_secs(9),
        join_all(
            begun
                .into_iter()
                .map(|(mut stream, mut events)| async move {
                    while let Ok(Some(event)) = stream.try_next().await {
                        events.push(event);
                    }
                    events
                }),
        ),
    );
    let ended = ended.await.unwrap();
    let code = node.process.exit().await;
    let took = signalled.elapsed();
    eprintln!("{streams} streams, drain {drain:?}: gone after {took:.1?}");
    assert_eq!(code, Some(0));
    assert!(took < drain + Duration::from_secs(10), "{took:?}");

    let mut counts = [0, 0];
    for events in &ended {
        let terminal = assert_common_stream(events);
        let (count, raw_type, turn, message, all) = match terminal["response_text"] == WHOLE {
            true => (0, "response.completed", "completed", "complete", WHOLE),
            false => (1, "response.incomplete", "incomplete", "incomplete", HALF),
        };
        counts[count] += 1;
        assert_eq!(terminal["raw_type"], raw_type, "{terminal}");
        assert_eq!(terminal["response_text"], all, "{terminal}");
        let id = terminal["conversation_id"].as_str().unwrap();
        assert_eq!(rows.last_turn(id).await, (turn.into(), None));
        let user = ("user".into(), "complete".into(), MESSAGE.into());
        let reply = ("assistant".into(), message.into(), all.into());
        assert_eq!(rows.messages(id).await, [user, reply]);
    }
    assert_eq!(counts, [streams / 2, streams - streams / 2]);
    let streams = streams as i64;
    assert_eq!(database.row_counts().await, [streams, 2 * streams, streams]);
}

#[tokio::test]
async fn a_signal_with_ten_open_streams_loses_nothing() {
    drains(10, Duration::from_secs(2)).await;
}

#[tokio::test]
#[ignore = "takes half a minute: just shows"]
async fn a_signal_with_a_hundred_open_streams_loses_nothing_and_takes_no_half_minute() {
    drains(at_length(100), Duration::from_secs(20)).await;
}
