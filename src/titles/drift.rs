//! Follows the subject of a conversation: regenerates the title when the subject may have moved, and stores it only if
//! it differs enough. Opt-in.
//!
//! Rare by construction: after every fifth message of the user, at most three times a conversation, and not within ten
//! minutes of the last time. It never replaces a title that the user gave or restored, and does not touch the order of
//! lists.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::{Inner, Titles, call_queue::Priority, metrics::Trigger, policy::Refresh, task};
use crate::{
    conversation::{Conversation, TitleSource, TitleStatus},
    db::RefreshLimits,
    error::Result,
};

/// The number of user messages between two refreshes.
const EVERY: usize = 5;

/// The maximum number of refreshes of a conversation, and the shortest pause between two.
const LIMITS: RefreshLimits = RefreshLimits {
    most: 3,
    pause: Duration::from_secs(10 * 60),
};

impl Titles {
    /// Regenerates the title if the subject may have moved. Called when a reply is stored; returns at once.
    pub fn follow_subject(&self, conversation: &Conversation) {
        let titles = &self.inner;
        let may_move = conversation.title_source == TitleSource::Generated
            && conversation.title_status == TitleStatus::Ready
            && !conversation.title_locked;
        let (tenant, agent) = (&conversation.owner.tenant, &conversation.active_agent);
        if !may_move || titles.policy(tenant, agent).refresh != Refresh::Drift {
            return;
        }
        let (titles, conversation) = (titles.clone(), conversation.clone());
        let following = async move {
            if let Err(error) = refresh(&titles, &conversation).await {
                error.log();
            }
        };
        self.inner.tasks.spawn(following);
    }
}

async fn refresh(titles: &Arc<Inner>, conversation: &Conversation) -> Result<()> {
    let (db, owner, id) = (&titles.db, &conversation.owner, conversation.id);
    let messages = db.count_user_messages(owner, id).await?;
    if messages == 0 || messages % EVERY != 0 {
        return Ok(());
    }
    let lease = titles.settings.lease();
    if let Some(claim) = db.begin_refresh(owner, id, LIMITS, lease).await? {
        titles.metrics.claimed(Trigger::Drift);
        task::run(titles.clone(), claim, None, Priority::Background).await;
    }
    Ok(())
}

/// Whether more than half of the distinct words of two titles occur in only one of them.
pub(super) fn has_moved(previous: &str, title: &str) -> bool {
    let (previous, title) = (words(previous), words(title));
    let all = previous.union(&title).count();
    let common = previous.intersection(&title).count();
    2 * (all - common) > all
}

/// The distinct words, without case and punctuation. In scripts without spaces, each character is a word.
fn words(title: &str) -> HashSet<String> {
    use unicode_segmentation::UnicodeSegmentation;
    title
        .unicode_words()
        .map(|word| word.to_lowercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_moves_when_more_than_half_of_its_words_differ() {
        for (previous, title, expected) in [
            ("Trip to Kyoto", "Trip to Kyoto", false),
            ("Trip to Kyoto", "trip to KYOTO!", false),
            ("Trip to Kyoto", "A Trip to Kyoto", false),
            ("Planning a Trip to Kyoto", "Planning a Trip to Nara", false),
            ("Trip to Kyoto", "Sourdough That Does Not Rise", true),
            // Two of four words are in both titles: half is not more than half.
            ("Kyoto Trip Plan", "Kyoto Trip Budget", false),
            ("Kyoto Trip", "Kyoto Budget", true),
            ("京都旅行の計画", "パンが膨らまない", true),
            ("京都旅行の計画", "京都旅行の計画", false),
        ] {
            assert_eq!(has_moved(previous, title), expected, "{previous} → {title}");
            assert_eq!(has_moved(title, previous), expected);
        }
    }
}
