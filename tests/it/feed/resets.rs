//! Cursors after which changes may be missing: the client gets a reset.

use serde_json::json;
use titlecast_testing::{
    ModelServer, Rows, Server,
    calls::{delete, rename, settled_conversation},
    stored,
};

use super::{Follower, kinds, now, page};

#[tokio::test]
async fn a_cursor_that_cannot_be_read_resets() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = settled_conversation(&server.url, json!({ "text": "Plan a trip" })).await;
    let list = "{ conversations { pageInfo { endCursor } } }";
    let list = server.data(list, json!({})).await;
    let of_list = list["conversations"]["pageInfo"]["endCursor"].as_str();
    for after in ["", "nonsense", "💥", of_list.unwrap()] {
        let changes = page(&server.url, Some(after), None).await;
        assert_eq!(
            (&changes["reset"], &changes["changes"]),
            (&json!(true), &json!([]))
        );
        let (mut follower, first) = Follower::begin(&server.url, Some(after)).await;
        assert_eq!(first["__typename"], "FeedReset");
        // The reader continues from there.
        rename(&server.url, &id, &format!("Title {after}")).await;
        assert_eq!(follower.next().await["conversation"]["id"], *id);
    }
}

#[tokio::test]
async fn a_database_that_was_made_again_or_restored_accepts_no_old_cursor() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let url = &server.url;
    let id = settled_conversation(url, json!({ "text": "Plan a trip" })).await;
    let begun = now(url).await;
    rename(url, &id, "Mine").await;
    let ahead = now(url).await;
    let rows = Rows::of(&server.database).await;
    // A copy from before the last change: the position is smaller.
    rows.run("UPDATE agent_feeds SET position = position - 1", [])
        .await
        .unwrap();
    assert_eq!(page(url, Some(&ahead), None).await["reset"], true);
    assert_eq!(page(url, Some(&begun), None).await["reset"], false);
    // Another feed of the same owner.
    rows.run("DELETE FROM agent_changes", []).await.unwrap();
    rows.run("DELETE FROM agent_feeds", []).await.unwrap();
    for cursor in [&begun, &ahead] {
        assert_eq!(page(url, Some(cursor), None).await["reset"], true);
    }
}

#[tokio::test]
async fn pruned_tombstones_reset_the_cursors_that_need_them_and_no_others() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let url = &server.url;
    let id = settled_conversation(url, json!({ "text": "Plan a trip" })).await;
    let kept = settled_conversation(url, json!({ "text": "Bake bread" })).await;
    let before = now(url).await;
    let mut follower = Follower::ready(url, None).await;
    delete(url, &id).await;
    assert_eq!(follower.next().await["kind"], "DELETED");
    let behind = now(url).await;
    rename(url, &kept, "Bread").await;
    follower.next().await;
    let rows = Rows::of(&server.database).await;
    let prune = "DELETE FROM agent_conversations WHERE id = $1";
    rows.run(prune, [stored::id(&id)]).await.unwrap();

    assert_eq!(page(url, Some(&before), None).await["reset"], true);
    let (_, first) = Follower::begin(url, Some(&before)).await;
    assert_eq!(first["__typename"], "FeedReset");
    let changes = page(url, Some(&behind), None).await;
    assert_eq!(changes["reset"], false);
    assert_eq!(kinds(&changes), [("UPDATED", &*kept)]);
    // A reader that is up to date continues.
    rename(url, &kept, "Good bread").await;
    assert_eq!(
        follower.next().await["conversation"]["displayName"],
        "Good bread"
    );
    assert_eq!(rows.count("agent_changes").await, 1);
}

#[tokio::test]
async fn a_conversation_that_vanishes_without_a_tombstone_resets_everyone() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let url = &server.url;
    let id = settled_conversation(url, json!({ "text": "Plan a trip" })).await;
    let kept = settled_conversation(url, json!({ "text": "Bake bread" })).await;
    let mut follower = Follower::ready(url, None).await;
    let newest = now(url).await;
    let rows = Rows::of(&server.database).await;
    let erase = "DELETE FROM agent_conversations WHERE id = $1";
    rows.run(erase, [stored::id(&id)]).await.unwrap();
    assert_eq!(page(url, Some(&newest), None).await["reset"], true);
    // An open stream as soon as it looks.
    rename(url, &kept, "Bread").await;
    assert_eq!(follower.next().await["__typename"], "FeedReset");
    assert_eq!(follower.cursor, now(url).await);
}
