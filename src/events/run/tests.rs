//! What readers of a log are told.

use std::time::Duration;

use futures_util::{Stream, StreamExt};

use super::*;
use crate::conversation::{ConversationId, MessageId, Owner};

fn of() -> LogOf {
    LogOf {
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

/// What a reader is told, as `=all`, `~rest`, `+more` and `.` for the end.
async fn told(events: impl Stream<Item = ReplyEvent>) -> Vec<String> {
    let events = events.map(|event| match event {
        ReplyEvent::SoFar(so_far) if so_far.recovered => format!("~{}", so_far.text),
        ReplyEvent::SoFar(so_far) => format!("={}", so_far.text),
        ReplyEvent::Delta(delta) => format!("+{}", delta.text),
        ReplyEvent::Ended(_) => ".".into(),
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
    let (told, ()) = tokio::join!(told(guard.log().clone().follow(None)), writing);
    assert_eq!(told, ["=Hello, ", "+world", "."]);
}

#[tokio::test]
async fn a_reader_goes_on_at_its_place_or_is_told_that_there_is_no_such_place() {
    let (_runs, guard) = open();
    guard.log().append("Kyō");
    guard.log().append("to");
    end(guard.log());
    let from = async |place| told(guard.log().clone().follow(Some(place))).await;
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
async fn a_place_that_is_not_reached_yet_is_waited_for() {
    let (_runs, guard) = open();
    guard.log().append("Ky");
    let writing = async {
        tokio::task::yield_now().await;
        guard.log().append("oto");
        end(guard.log());
    };
    let (told, ()) = tokio::join!(told(guard.log().clone().follow(Some(4))), writing);
    assert_eq!(told, ["~o", "."]);
}

#[tokio::test]
async fn a_reader_far_behind_gets_the_rest_as_one() {
    let (_runs, guard) = open();
    let mut events = std::pin::pin!(guard.log().clone().follow(None));
    assert!(matches!(events.next().await, Some(ReplyEvent::SoFar(_))));
    let text: String = ('a'..='z').chain('A'..='Z').collect();
    for letter in text.chars() {
        guard.log().append(&letter.to_string());
    }
    end(guard.log());
    assert_eq!(told(events).await, [format!("+{text}"), ".".into()]);
}

#[tokio::test]
async fn another_node_reads_what_follows_a_place() {
    let (_runs, guard) = open();
    let log = guard.log().clone();
    let now = Duration::ZERO;
    let read = |text: &str, length, recovered| Read {
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
async fn a_run_that_dies_ends_for_its_readers_and_is_found_no_more() {
    let (runs, guard) = open();
    let reply = guard.log().of().reply;
    let events = guard.log().clone().follow(None);
    assert!(runs.find(&Owner::local(), reply).is_some());
    drop(guard);
    let events: Vec<_> = events.collect().await;
    assert!(matches!(
        &events[..],
        [ReplyEvent::SoFar(_), ReplyEvent::Ended(end)] if matches!(end.outcome, Outcome::Failed(_))
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
    assert!(runs.find(&other, guard.log().of().reply).is_none());
}

#[tokio::test]
async fn those_who_follow_a_reply_of_another_node_share_one_copy() {
    let copies = Arc::new(Runs::default());
    let of = of();
    let (first, guard) = copies.follow_copy(&of, None);
    let guard = guard.expect("nobody followed it");
    let (second, none) = copies.follow_copy(&of, Some(2));
    assert!(none.is_none());
    let filling = async {
        // What there is is not known yet, so nobody is told that it is nothing.
        tokio::task::yield_now().await;
        guard.log().take_over("Kyo");
        tokio::task::yield_now().await;
        guard.log().take_over("");
        guard.log().take_over("to");
        end(guard.log());
    };
    let (first, second, ()) = tokio::join!(told(first), told(second), filling);
    assert_eq!(first, ["=Kyo", "+to", "."]);
    // In one piece or in two.
    assert_eq!(second.concat().replace('+', ""), "~oto.");
}

#[tokio::test]
async fn a_copy_goes_with_its_last_reader_and_not_with_one_who_has_just_come() {
    let copies = Arc::new(Runs::default());
    let of = of();
    let (first, guard) = copies.follow_copy(&of, None);
    let guard = guard.expect("nobody followed it");
    assert!(!guard.leave_unwatched());
    drop(first);
    guard.log().unwatched().await;
    let (second, none) = copies.follow_copy(&of, None);
    assert!(none.is_none() && !guard.leave_unwatched());
    drop(second);
    assert!(guard.leave_unwatched());
    // Whoever comes now begins another one, which the end of the first leaves alone.
    let (_third, another) = copies.follow_copy(&of, None);
    assert!(another.is_some());
    drop(guard);
    assert!(copies.any(of.reply).is_some());
}
