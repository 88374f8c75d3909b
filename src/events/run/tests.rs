//! What readers of a log receive.

use std::time::Duration;

use futures_util::{Stream, StreamExt};

use super::*;
use crate::conversation::{ConversationId, MessageId, Owner};

fn of() -> ReplyIds {
    ReplyIds {
        owner: Owner::local(),
        conversation: ConversationId::new(),
        message: MessageId::new(),
        reply: MessageId::new(),
    }
}

fn open() -> (Arc<Runs>, RunGuard) {
    let runs = Arc::new(Runs::default());
    let guard = runs.open(of());
    (runs, guard)
}

fn end(log: &ReplyLog) {
    log.end(ReplyEnd {
        text: log.text(),
        response_id: None,
        usage: None,
        outcome: Outcome::Completed,
        reason: None,
    });
}

/// The events of a reader, as `=all`, `~rest`, `+more` and `.` for the end.
async fn received(events: impl Stream<Item = ReplyLogEvent>) -> Vec<String> {
    let events = events.map(|event| match event {
        ReplyLogEvent::SoFar(so_far) if so_far.recovered => format!("~{}", so_far.text),
        ReplyLogEvent::SoFar(so_far) => format!("={}", so_far.text),
        ReplyLogEvent::Delta(delta) => format!("+{}", delta.text),
        ReplyLogEvent::Ended(_) => ".".into(),
    });
    events.collect().await
}

#[tokio::test]
async fn a_late_reader_gets_what_was_written_and_then_the_rest() {
    let (_runs, guard) = open();
    guard.log().append("Hello");
    guard.log().append(", ");
    let writing = async {
        tokio::task::yield_now().await;
        guard.log().append("world");
        end(guard.log());
    };
    let (received, ()) = tokio::join!(received(guard.log().clone().follow(None)), writing);
    assert_eq!(received, ["=Hello, ", "+world", "."]);
}

#[tokio::test]
async fn a_reader_resumes_at_its_offset_or_receives_the_full_text() {
    let (_runs, guard) = open();
    guard.log().append("Kyō");
    guard.log().append("to");
    end(guard.log());
    let from = async |offset| received(guard.log().clone().follow(Some(offset))).await;
    assert_eq!(from(0).await, ["~Kyōto", "."]);
    assert_eq!(from(2).await, ["~ōto", "."]);
    // In the middle of a character.
    assert_eq!(from(3).await, ["=Kyōto", "."]);
    assert_eq!(from(5).await, ["~o", "."]);
    assert_eq!(from(6).await, ["~", "."]);
    assert_eq!(from(7).await, ["=Kyōto", "."]);
    assert_eq!(from(usize::MAX).await, ["=Kyōto", "."]);
}

#[tokio::test]
async fn a_reader_waits_until_its_offset_is_reached() {
    let (_runs, guard) = open();
    guard.log().append("Ky");
    let writing = async {
        tokio::task::yield_now().await;
        guard.log().append("oto");
        end(guard.log());
    };
    let (received, ()) = tokio::join!(received(guard.log().clone().follow(Some(4))), writing);
    assert_eq!(received, ["~o", "."]);
}

#[tokio::test]
async fn deltas_for_a_lagging_reader_are_coalesced() {
    let (_runs, guard) = open();
    let mut events = std::pin::pin!(guard.log().clone().follow(None));
    assert!(matches!(events.next().await, Some(ReplyLogEvent::SoFar(_))));
    let text: String = ('a'..='z').chain('A'..='Z').collect();
    for letter in text.chars() {
        guard.log().append(&letter.to_string());
    }
    end(guard.log());
    assert_eq!(received(events).await, [format!("+{text}"), ".".into()]);
}

#[tokio::test]
async fn another_node_reads_the_text_after_an_offset() {
    let (_runs, guard) = open();
    let log = guard.log().clone();
    let now = Duration::ZERO;
    let read = |text: &str, length, recovered| ReplySlice {
        text: text.into(),
        length,
        recovered,
    };
    assert_eq!(log.read(0, now).await.0, read("", 0, true));
    log.append("Kyoto");
    assert_eq!(log.read(2, now).await.0, read("oto", 5, true));
    assert_eq!(log.read(7, now).await.0, read("", 5, true));
    let waiting = log.read(5, Duration::from_secs(60));
    let writing = async { log.append("!") };
    assert_eq!(tokio::join!(waiting, writing).0.0, read("!", 6, true));
    end(&log);
    let (last, is_over) = log.read(7, now).await;
    assert_eq!((last, is_over.is_some()), (read("Kyoto!", 6, false), true));
}

#[tokio::test]
async fn a_dropped_run_ends_for_its_readers_and_is_unregistered() {
    let (runs, guard) = open();
    let reply = guard.log().ids().reply;
    let events = guard.log().clone().follow(None);
    assert!(runs.find(&Owner::local(), reply).is_some());
    drop(guard);
    let events: Vec<_> = events.collect().await;
    assert!(matches!(
        &events[..],
        [ReplyLogEvent::SoFar(_), ReplyLogEvent::Ended(end)] if matches!(end.outcome, Outcome::Failed(_))
    ));
    assert!(runs.find(&Owner::local(), reply).is_none());
}

#[test]
fn another_owner_finds_no_run() {
    let (runs, guard) = open();
    let other = Owner {
        tenant: "local".into(),
        user: "other".into(),
    };
    assert!(runs.find(&other, guard.log().ids().reply).is_none());
}

#[tokio::test]
async fn readers_of_a_remote_reply_share_one_copy() {
    let copies = Arc::new(Runs::default());
    let of = of();
    let (first, guard) = copies.follow_copy(&of, None);
    let guard = guard.expect("the first follower fills the copy");
    let (second, none) = copies.follow_copy(&of, Some(2));
    assert!(none.is_none());
    let filling = async {
        // The text is not known yet, so readers receive no empty snapshot.
        tokio::task::yield_now().await;
        guard.log().append_remote("Kyo");
        tokio::task::yield_now().await;
        guard.log().append_remote("");
        guard.log().append_remote("to");
        end(guard.log());
    };
    let (first, second, ()) = tokio::join!(received(first), received(second), filling);
    assert_eq!(first, ["=Kyo", "+to", "."]);
    // One delta or two.
    assert_eq!(second.concat().replace('+', ""), "~oto.");
}

#[tokio::test]
async fn a_copy_is_unregistered_with_its_last_reader_unless_a_new_one_joined() {
    let copies = Arc::new(Runs::default());
    let of = of();
    let (first, guard) = copies.follow_copy(&of, None);
    let guard = guard.expect("the first follower fills the copy");
    assert!(!guard.close_if_unwatched());
    drop(first);
    guard.log().unwatched().await;
    let (second, none) = copies.follow_copy(&of, None);
    assert!(none.is_none() && !guard.close_if_unwatched());
    drop(second);
    assert!(guard.close_if_unwatched());
    // A new reader starts a second copy, which dropping the first guard does not unregister.
    let (_third, another) = copies.follow_copy(&of, None);
    assert!(another.is_some());
    drop(guard);
    assert!(copies.any(of.reply).is_some());
}
