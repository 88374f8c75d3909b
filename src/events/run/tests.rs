//! What readers of a log receive.

use std::time::Duration;

use futures_util::{Stream, StreamExt};

use super::*;
use crate::conversation::{ConversationId, MessageId, Owner, PartContent, ToolState};

fn of() -> ReplyIds {
    ReplyIds {
        owner: Owner::local(),
        conversation: ConversationId::new(),
        turn: MessageId::new(),
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
        model: None,
        outcome: Outcome::Completed,
        reason: None,
    });
}

/// A part as `[index@offset content]`.
fn shown(part: &Part) -> String {
    let content = match &part.content {
        PartContent::Reasoning { text } => text.clone(),
        PartContent::Tool { name, state, .. } => format!("{name} {state:?}"),
        PartContent::Data { json, .. } => json.clone(),
    };
    format!("[{}@{} {content}]", part.index, part.at)
}

fn call(id: &str, state: ToolState) -> PartContent {
    PartContent::Tool {
        id: id.into(),
        name: "search".into(),
        arguments: "{}".into(),
        result: None,
        state,
    }
}

/// The events of a reader, as `=all`, `~rest`, `+more` and `.` for the end.
async fn received(events: impl Stream<Item = ReplyLogEvent>) -> Vec<String> {
    let events = events.map(|event| match event {
        ReplyLogEvent::Snapshot(snapshot) => {
            let sign = if snapshot.recovered { '~' } else { '=' };
            let parts: Vec<String> = snapshot.parts.iter().map(|part| shown(part)).collect();
            format!("{sign}{}{}", snapshot.text, parts.concat())
        }
        ReplyLogEvent::Delta(delta) => format!("+{}", delta.text),
        ReplyLogEvent::Part(part) => shown(&part),
        ReplyLogEvent::Reasoning(delta) => format!("{}+{}", delta.index, delta.text),
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
    let from =
        async |offset| received(guard.log().clone().follow(Some(Place::bytes(offset)))).await;
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
    let (received, ()) = tokio::join!(
        received(guard.log().clone().follow(Some(Place::bytes(4)))),
        writing
    );
    assert_eq!(received, ["~o", "."]);
}

#[tokio::test]
async fn deltas_for_a_lagging_reader_are_coalesced() {
    let (_runs, guard) = open();
    let mut events = std::pin::pin!(guard.log().clone().follow(None));
    assert!(matches!(
        events.next().await,
        Some(ReplyLogEvent::Snapshot(_))
    ));
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
    assert_eq!(log.read(0, None, now).await.text, read("", 0, true));
    log.append("Kyoto");
    assert_eq!(log.read(2, None, now).await.text, read("oto", 5, true));
    assert_eq!(log.read(7, None, now).await.text, read("", 5, true));
    let waiting = log.read(5, None, Duration::from_secs(60));
    let writing = async { log.append("!") };
    assert_eq!(tokio::join!(waiting, writing).0.text, read("!", 6, true));
    end(&log);
    let last = log.read(7, None, now).await;
    assert_eq!(last.text, read("Kyoto!", 6, false));
    assert!(last.end.is_some());
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
        [ReplyLogEvent::Snapshot(_), ReplyLogEvent::Ended(end)] if matches!(end.outcome, Outcome::Failed(_))
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
    let (second, none) = copies.follow_copy(&of, Some(Place::bytes(2)));
    assert!(none.is_none());
    let filling = async {
        // The text is not known yet, so readers receive no empty snapshot.
        tokio::task::yield_now().await;
        guard.log().append_remote("Kyo", Vec::new());
        tokio::task::yield_now().await;
        guard.log().append_remote("", Vec::new());
        guard.log().append_remote("to", Vec::new());
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

#[tokio::test]
async fn parts_come_between_the_text_where_they_stand() {
    let (_runs, guard) = open();
    let log = guard.log().clone();
    log.append_reasoning("Hm");
    log.append_reasoning(", deer");
    log.append("Nara ");
    log.add_part(call("a", ToolState::Called));
    log.append("has deer");
    log.add_part(call("a", ToolState::Completed));
    let early = log.clone().follow(None);
    let mut early = std::pin::pin!(early);
    let first = early.next().await;
    log.append_reasoning("Done");
    log.append_reasoning("!");
    end(&log);
    let first = received(futures_util::stream::iter(first)).await;
    let all = "=Nara has deer[0@0 Hm, deer][1@5 search Completed]";
    assert_eq!(first, [all]);
    assert_eq!(received(early).await, ["[2@13 Done]", "2+!", "."]);
    // A reader resumes with the part that it received last, which may have grown.
    let from = async |bytes, part| received(log.clone().follow(Some(Place { bytes, part }))).await;
    assert_eq!(
        from(5, Some(1)).await[0],
        "~has deer[1@5 search Completed][2@13 Done!]"
    );
    // The cursor of a reader that receives only text.
    assert_eq!(
        from(6, None).await[0],
        "~as deer[0@0 Hm, deer][1@5 search Completed][2@13 Done!]"
    );
    assert_eq!(
        from(99, Some(2)).await[0],
        "=Nara has deer[0@0 Hm, deer][1@5 search Completed][2@13 Done!]"
    );
}

#[tokio::test]
async fn reasoning_for_a_lagging_reader_is_coalesced_between_other_parts() {
    let (_runs, guard) = open();
    let mut events = std::pin::pin!(guard.log().clone().follow(None));
    assert!(matches!(
        events.next().await,
        Some(ReplyLogEvent::Snapshot(_))
    ));
    let letters: String = ('a'..='z').chain('A'..='Z').collect();
    for letter in letters.chars() {
        guard.log().append_reasoning(&letter.to_string());
    }
    guard.log().add_part(call("a", ToolState::Called));
    for letter in letters.chars() {
        guard.log().append(&letter.to_string());
    }
    end(guard.log());
    let expected = [
        "[0@0 a]".into(),
        format!("0+{}", &letters[1..]),
        "[1@0 search Called]".into(),
        format!("+{letters}"),
        ".".into(),
    ];
    assert_eq!(received(events).await, expected);
}

#[tokio::test]
async fn another_node_reads_the_parts_that_changed_and_its_copy_has_them_in_order() {
    let (_runs, guard) = open();
    let log = guard.log().clone();
    let now = Duration::ZERO;
    log.append_reasoning("Hm");
    log.append("Nara ");
    log.add_part(call("a", ToolState::Called));
    log.append("has deer");
    // An older version requests only text.
    assert!(log.read(0, None, now).await.parts.is_empty());
    let copies = Arc::new(Runs::default());
    let (events, copy) = copies.follow_copy(guard.log().ids(), None);
    let copy = copy.expect("the first follower fills the copy");
    let mut events = std::pin::pin!(events);
    let mut known = 0;
    let pull = async |offset, known: &mut u64| {
        let slice = log.read(offset, Some(*known), now).await;
        *known = slice.parts.last().map_or(*known, |(_, change)| *change);
        let parts = slice.parts.into_iter().map(|(part, _)| (*part).clone());
        copy.log().append_remote(&slice.text.text, parts.collect());
    };
    pull(0, &mut known).await;
    let first = received(futures_util::stream::iter(events.next().await)).await;
    assert_eq!(first, ["=Nara has deer[0@0 Hm][1@5 search Called]"]);
    log.add_part(call("a", ToolState::Failed));
    pull(13, &mut known).await;
    log.append_reasoning("More");
    pull(13, &mut known).await;
    log.append_reasoning(" and more");
    pull(13, &mut known).await;
    // Nothing new: no event.
    pull(13, &mut known).await;
    end(copy.log());
    let rest = ["[1@5 search Failed]", "[2@13 More]", "2+ and more", "."];
    assert_eq!(received(events).await, rest);
    let parts = copy.log().stored_parts().0;
    assert_eq!(parts.len(), 1, "reasoning is not stored");
    copy.log().keep_reasoning();
    assert_eq!(copy.log().stored_parts().0.len(), 3);
}

#[tokio::test]
async fn a_reader_that_was_away_receives_what_has_changed_of_parts_that_it_has() {
    let (_runs, guard) = open();
    let log = guard.log();
    let data = |id: Option<&str>, json: &str| PartContent::Data {
        id: id.map(Into::into),
        name: "map".into(),
        json: json.into(),
    };
    log.add_part(call("a", ToolState::Called));
    log.add_part(call("b", ToolState::Called));
    log.add_part(data(Some("here"), "1"));
    log.add_part(data(None, "2"));
    log.append("Nara");
    let place = Place {
        bytes: 4,
        part: Some(3),
    };
    // The cursor names the last part; these parts precede it.
    log.add_part(call("a", ToolState::Completed));
    let known = log.data("map", "here").unwrap();
    assert_eq!(
        (log.data("map", "there"), log.data("pin", "here")),
        (None, None)
    );
    log.put_part(Part {
        content: data(Some("here"), "3"),
        ..Part::clone(&known)
    });
    end(log);
    let events = received(log.clone().follow(Some(place))).await;
    assert_eq!(events, ["~[0@0 search Completed][2@0 3][3@0 2]", "."]);
}
