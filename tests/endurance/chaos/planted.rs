//! Forbidden histories, each of which the checker must detect, and one valid history.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{
    checker::{Change, Done, History, Kind, Remembered, State, kinds, violations},
    model::Calls,
    plan::Deed,
};

const ID: Uuid = Uuid::from_u128(17);
const MESSAGE: &str = "Conversation 17 about gardening, part 0";

/// A history in the making: one conversation, from its first message on.
struct Story {
    history: History,
    now: State,
}

impl Story {
    fn begun() -> Self {
        let now = State {
            name: None,
            source: "hint".into(),
            title_status: "pending".into(),
            failure: None,
            generated_at: None,
            token: Some(Uuid::from_u128(1)),
            lease_until: Some(at(3)),
            status: "active".into(),
            revision: 1,
            updated_at: at(0),
        };
        let begun = Change {
            id: ID,
            old: None,
            new: now.clone(),
        };
        let remembered = Remembered {
            number: 17,
            id: ID,
            done: Vec::new(),
        };
        let history = History {
            changes: vec![begun],
            messages: vec![(ID, MESSAGE.into())],
            remembered: vec![remembered],
            ..History::default()
        };
        Self { history, now }.done(Deed::Say(MESSAGE.into()))
    }

    fn titled() -> Self {
        Self::begun().generated("Roses")
    }

    fn done(mut self, deed: Deed) -> Self {
        self.history.remembered[0].done.push(Done {
            deed,
            accepted: true,
            sent: 1,
            may_come_late: false,
        });
        self
    }

    fn change(mut self, change: impl FnOnce(&mut State)) -> Self {
        let old = self.now.clone();
        self.now.revision += 1;
        self.now.updated_at += TimeDelta::milliseconds(100);
        change(&mut self.now);
        self.history.changes.push(Change {
            id: ID,
            old: Some(old),
            new: self.now.clone(),
        });
        self
    }

    fn generated(self, name: &str) -> Self {
        self.change(|now| {
            now.name = Some(name.into());
            now.source = "generated".into();
            now.generated_at = Some(now.updated_at);
            now.title_status = "ready".into();
            (now.token, now.lease_until) = (None, None);
        })
    }

    fn renamed(self, name: &str) -> Self {
        let renamed = self.change(|now| {
            now.name = Some(name.into());
            now.source = "manual".into();
            now.title_status = "ready".into();
            (now.token, now.lease_until) = (None, None);
        });
        renamed.done(Deed::Rename(name.into()))
    }

    fn begun_again(self) -> Self {
        self.change(|now| {
            now.title_status = "pending".into();
            now.token = Some(Uuid::from_u128(now.revision as u128));
            now.lease_until = Some(now.updated_at + TimeDelta::seconds(3));
        })
    }

    fn regenerated(self, replace_manual: bool) -> Self {
        self.begun_again().done(Deed::Regenerate { replace_manual })
    }

    fn failed(self, failure: &str, after: TimeDelta) -> Self {
        self.change(|now| {
            now.updated_at += after;
            now.title_status = "failed".into();
            now.failure = Some(failure.into());
            (now.token, now.lease_until) = (None, None);
        })
    }

    fn deleted(self) -> Self {
        let deleted = self.change(|now| {
            now.status = "deleted".into();
            now.name = None;
            (now.token, now.lease_until) = (None, None);
        });
        let mut deleted = deleted.done(Deed::Delete);
        deleted.history.messages.clear();
        deleted
    }

    fn asked(mut self, asked: usize, failed: usize) -> Self {
        self.history.calls.insert(17, Calls { asked, failed });
        self
    }

    /// Ends the history here, with this many unpublished revisions.
    #[track_caller]
    fn ends(mut self, unpublished: i64, expected: impl IntoIterator<Item = Kind>) {
        let published = self.now.revision - unpublished;
        self.history.rows.insert(ID, (self.now.clone(), published));
        let found = violations(&self.history);
        assert_eq!(kinds(&found), expected.into_iter().collect(), "{found:?}");
    }

    #[track_caller]
    fn passes(self) {
        self.ends(0, []);
    }

    #[track_caller]
    fn shows(self, kind: Kind) {
        self.ends(0, [kind]);
    }
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

#[test]
fn what_people_want_passes() {
    Story::titled().passes();
    Story::begun().renamed("Mine").passes();
    Story::titled().renamed("Mine").renamed("Ours").passes();
    let again = Story::titled().regenerated(false).generated("Tulips");
    again.passes();
    let over_mine = Story::titled().renamed("Mine").regenerated(true);
    over_mine.generated("Tulips").passes();
    Story::titled().deleted().passes();
    Story::begun().deleted().passes();
    let failed = Story::begun().failed("unavailable", TimeDelta::zero());
    failed.asked(2, 2).passes();
}

#[test]
fn a_conversation_without_a_title_is_noticed() {
    Story::begun().shows(Kind::Untitled);
    Story::titled().regenerated(false).shows(Kind::Untitled);
    let failed = |failure| Story::begun().failed(failure, TimeDelta::zero());
    failed("unavailable").asked(5, 1).shows(Kind::Untitled);
    failed("rejected").asked(9, 9).shows(Kind::Untitled);
    failed("abandoned").asked(5, 5).shows(Kind::Untitled);
}

#[test]
fn a_second_title_is_noticed() {
    let second = Story::titled().generated("Tulips");
    second.shows(Kind::DoubleTitle);
    // The same words twice are two titles.
    Story::titled().generated("Roses").shows(Kind::DoubleTitle);
    let third = Story::titled().regenerated(false).generated("Tulips");
    third.generated("Lilies").shows(Kind::DoubleTitle);
    let unasked = Story::titled().begun_again().generated("Tulips");
    unasked.shows(Kind::DoubleTitle);
}

#[test]
fn a_lost_rename_is_noticed() {
    let late = Story::begun().renamed("Mine").generated("Roses");
    late.shows(Kind::OverwrittenRename);
    let back = Story::titled().renamed("Mine").generated("Tulips");
    back.renamed("Ours").shows(Kind::OverwrittenRename);
    let unasked = Story::titled().renamed("Mine").regenerated(false);
    unasked.generated("Tulips").shows(Kind::OverwrittenRename);
    // A rename that was answered and is nowhere.
    let nowhere = Story::titled().done(Deed::Rename("Mine".into()));
    nowhere.shows(Kind::OverwrittenRename);
    let in_between = Story::titled().regenerated(true).renamed("Mine");
    in_between
        .generated("Tulips")
        .shows(Kind::OverwrittenRename);
}

#[test]
fn an_unpublished_revision_is_noticed() {
    Story::titled().ends(1, [Kind::Unpublished]);
    Story::titled().deleted().ends(1, [Kind::Unpublished]);
}

#[test]
fn a_deleted_conversation_that_comes_back_is_noticed() {
    let back = Story::begun().deleted();
    back.change(|now| now.status = "active".into())
        .change(|now| now.status = "deleted".into())
        .shows(Kind::Resurrected);
    let titled = Story::begun().deleted();
    titled
        .change(|now| now.name = Some("Roses".into()))
        .shows(Kind::Resurrected);
    let never = Story::titled().done(Deed::Delete);
    never.shows(Kind::Resurrected);
}

#[test]
fn a_lost_message_is_noticed() {
    let say = || Story::titled().done(Deed::Say("Conversation 17 about sailing".into()));
    say().shows(Kind::LostMessage);
    let mut twice = Story::titled();
    twice.history.messages.push((ID, MESSAGE.into()));
    twice.shows(Kind::LostMessage);
    let mut refused = say();
    refused.history.remembered[0].done[1].accepted = false;
    refused.shows(Kind::Unanswered);
}

#[test]
fn a_failure_that_comes_after_the_lease_is_noticed() {
    let late = Story::begun().failed("timeout", TimeDelta::seconds(4));
    late.shows(Kind::GivenUpLate);
}
