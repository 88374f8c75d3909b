//! The lease of a title: a worker that outlives it may still return a title, which is ignored.

use std::time::Duration;

use titlecast::{
    conversation::{ConversationId, MessageId, Owner, Title, TitleFailure, TitleStatus},
    db::{BegunTurn, Database, NewTitle, NewTurn, TitleClaim},
};

use titlecast_testing::{TestDatabase, eventually};
use uuid::Uuid;

/// A claim for the title of a new conversation, as soon as its lease has run out.
async fn outlived(db: &Database, owner: &Owner) -> TitleClaim {
    let new = NewTurn {
        external_message_id: None,
        external_id: None,
        is_until_titled: false,
        conversation_id: ConversationId::new(),
        is_conversation_new: true,
        message_id: MessageId::new(),
        reply_id: MessageId::new(),
        author: "local".into(),
        text: "Plan a trip to Kyoto".into(),
        attachments: Vec::new(),
        topic_hint: None,
        redacts: true,
        agent: None,
        entrypoint: None,
        default_agent: "triage".into(),
        kept_agents: None,
        title: NewTitle::Claimed(Duration::from_millis(1)),
        run: (Uuid::now_v7(), Duration::from_secs(15)),
        idempotency: None,
    };
    let begun = db.begin_turn(owner, &new).await.unwrap();
    let BegunTurn::New {
        claim: Some(claim), ..
    } = begun
    else {
        panic!("not claimed: {begun:?}");
    };
    eventually(async || (!claim.lasts(Duration::ZERO, db.clock().now())).then_some(())).await;
    claim
}

#[tokio::test]
async fn a_failure_that_outlives_its_lease_is_none() {
    let database = TestDatabase::new().await;
    let db = Database::connect(&database.url, 1).await.unwrap();
    let owner = Owner::local();
    let claim = outlived(&db, &owner).await;
    let failure = TitleFailure::Timeout;
    let stored = db
        .store_title_failure(&claim, failure, None, &[])
        .await
        .unwrap();
    assert!(stored.is_none(), "{stored:?}");
    let waiting = db.conversation(&owner, claim.id).await.unwrap();
    assert_eq!(waiting.title_status, TitleStatus::Pending);
    db.close().await.unwrap();
}

#[tokio::test]
async fn a_title_that_outlives_its_lease_is_as_good_as_any() {
    let database = TestDatabase::new().await;
    let db = Database::connect(&database.url, 1).await.unwrap();
    let owner = Owner::local();
    let claim = outlived(&db, &owner).await;
    let title = Title::new("Trip to Kyoto").unwrap();
    let stored = db.store_generated_title(&claim, &title, &[]).await.unwrap();
    assert_eq!(stored.unwrap().title_status, TitleStatus::Ready);
    db.close().await.unwrap();
}
