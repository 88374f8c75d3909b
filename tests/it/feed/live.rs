//! What a client receives: live, after it was away, over SSE, on another node.

use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    Events, ModelServer, Rows, Server,
    calls::{delete, rename, settled_conversation},
    eventually,
    nats::{self, two_nodes},
    server::client,
    stored,
};

use super::{Follower, kinds, now, page};

#[tokio::test]
async fn a_client_sees_what_is_created_changed_and_deleted() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let mut follower = Follower::ready(&server.url, None).await;
    let id = settled_conversation(&server.url, json!({ "text": "Plan a trip" })).await;
    let is_settled = |event: &Value| event["conversation"]["revision"] == 3;
    let events = follower.until(is_settled).await;
    assert_eq!(events[0]["kind"], "CREATED");
    for event in &events {
        assert_eq!(event["__typename"], "ConversationChange");
        assert_eq!(event["conversation"]["id"], *id);
    }
    assert!(events[1..].iter().all(|event| event["kind"] == "UPDATED"));

    rename(&server.url, &id, "Mine").await;
    let renamed = follower.next().await;
    assert_eq!(renamed["kind"], "UPDATED");
    assert_eq!(renamed["conversation"]["displayName"], "Mine");
    delete(&server.url, &id).await;
    let deleted = follower.next().await;
    assert_eq!(deleted["kind"], "DELETED");
    let tombstone = json!({ "id": id, "displayName": null, "status": "DELETED", "revision": 5 });
    assert_eq!(deleted["conversation"], tombstone);
    drop(follower);
    server.topics(0).await;
}

#[tokio::test]
async fn watchers_of_one_feed_share_its_reads() {
    const WATCHERS: u64 = 30;
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = settled_conversation(&server.url, json!({ "text": "Plan a trip" })).await;
    let mut followers = Vec::new();
    for _ in 0..WATCHERS {
        followers.push(Follower::ready(&server.url, None).await);
    }
    let mut before = 0;
    for title in ["All are there", "One", "Two", "Three"] {
        rename(&server.url, &id, title).await;
        for follower in &mut followers {
            let named = |event: &Value| event["conversation"]["displayName"] == title;
            follower.until(named).await;
        }
        if title == "All are there" {
            before = server.app.database().statement_count();
        }
    }
    // Each change would be read by each watcher. Background loops make a few statements.
    let statements = server.app.database().statement_count() - before;
    assert!((6..2 * WATCHERS).contains(&statements), "{statements}");
}

#[tokio::test]
async fn who_was_away_gets_everything_once_in_its_newest_state() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let url = &server.url;
    let old = settled_conversation(url, json!({ "text": "Plan a trip" })).await;
    let unchanged = settled_conversation(url, json!({ "text": "Bake bread" })).await;
    let gone = settled_conversation(url, json!({ "text": "Paint a wall" })).await;
    let begun = now(url).await;

    let new = settled_conversation(url, json!({ "text": "Learn to sail" })).await;
    let short = settled_conversation(url, json!({ "text": "Never mind" })).await;
    for title in ["One", "Two", "Three"] {
        rename(url, &old, title).await;
    }
    delete(url, &gone).await;
    delete(url, &short).await;
    rename(url, &new, "Sailing").await;

    let expected = [
        ("UPDATED", &*old),
        ("DELETED", &*gone),
        // Created and deleted meanwhile: the client may have read a list between.
        ("DELETED", &*short),
        ("CREATED", &*new),
    ];
    let all = page(url, Some(&begun), None).await;
    assert_eq!(kinds(&all), expected);
    assert_eq!(all["changes"][0]["conversation"]["displayName"], "Three");
    assert_eq!(
        (&all["hasMore"], &all["reset"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(all["cursor"], all["changes"][3]["cursor"]);
    assert!(!kinds(&all).iter().any(|(_, id)| *id == unchanged));
    assert_eq!(kinds(&page(url, all["cursor"].as_str(), None).await), []);

    let mut follower = Follower::ready(url, Some(&begun)).await;
    for (kind, id) in expected {
        let event = follower.next().await;
        assert_eq!(
            (&event["kind"], &event["conversation"]["id"]),
            (&json!(kind), &json!(id))
        );
    }
    assert_eq!(follower.cursor, all["cursor"].as_str().unwrap());
    // And what comes then.
    rename(url, &new, "Sailing again").await;
    let event = follower.next().await;
    assert_eq!(
        (&event["kind"], &event["conversation"]["id"]),
        (&json!("UPDATED"), &json!(new))
    );
}

#[tokio::test]
async fn a_new_conversation_is_created_on_whichever_page_it_comes() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let url = &server.url;
    let first = settled_conversation(url, json!({ "text": "Plan a trip" })).await;
    let begun = now(url).await;
    let new = settled_conversation(url, json!({ "text": "Learn to sail" })).await;
    rename(url, &first, "First").await;

    let one = page(url, Some(&begun), Some(1)).await;
    assert_eq!(kinds(&one), [("CREATED", &*new)]);
    assert_eq!(one["hasMore"], true);
    // It moves behind the page, and another is created.
    rename(url, &new, "Sailing").await;
    let newest = settled_conversation(url, json!({ "text": "Bake bread" })).await;
    let mut cursor = one["cursor"].as_str().unwrap().to_owned();
    let mut rest = Vec::new();
    loop {
        let next = page(url, Some(&cursor), Some(1)).await;
        rest.extend(
            kinds(&next)
                .into_iter()
                .map(|(kind, id)| (kind.to_owned(), id.to_owned())),
        );
        cursor = next["cursor"].as_str().unwrap().to_owned();
        if next["hasMore"] == false {
            break;
        }
    }
    let expected = [
        ("UPDATED", first),
        ("CREATED", new.clone()),
        ("CREATED", newest),
    ];
    assert_eq!(rest, expected.map(|(kind, id)| (kind.to_owned(), id)));
    // A reader that is up to date has it.
    rename(url, &new, "Sailing again").await;
    assert_eq!(
        kinds(&page(url, Some(&cursor), None).await),
        [("UPDATED", &*new)]
    );
}

#[tokio::test]
async fn sse_has_an_id_for_each_event_and_goes_on_behind_the_last_one() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let path = format!("{}/api/v1/conversations/changes", server.url);
    let mut events = Events::of(client().get(&path)).await;
    let (ready, id) = events.try_next_with_id().await.unwrap().unwrap();
    assert_eq!(ready, json!({ "kind": "feed.ready", "cursor": id }));
    let begun = id.unwrap();

    let conversation = server.begin("Plan a trip to Kyoto").await;
    let (created, id) = events.try_next_with_id().await.unwrap().unwrap();
    assert_eq!(created["kind"], "conversation.created");
    assert_eq!(created["cursor"].as_str(), id.as_deref());
    assert_eq!(created["conversation"]["conversation_id"], *conversation);
    assert_eq!(created["conversation"]["status"], "active");
    drop(events);
    server.topics(0).await;
    rename(&server.url, &conversation, "Mine").await;

    // The query and the header: the header is newer.
    let again = client().get(format!("{path}?after={begun}"));
    let mut all = Events::of(again.try_clone().unwrap()).await;
    assert_eq!(all.next().await.unwrap()["cursor"], *begun);
    let newest = all.next().await.unwrap();
    assert_eq!(newest["kind"], "conversation.created");
    assert_eq!(newest["conversation"]["display_name"], "Mine");
    let last = newest["cursor"].as_str().unwrap();
    let mut rest = Events::of(again.header("last-event-id", last)).await;
    let ready = json!({ "kind": "feed.ready", "cursor": last });
    assert_eq!(rest.next().await.unwrap(), ready);
    delete(&server.url, &conversation).await;
    for events in [&mut all, &mut rest] {
        let deleted = events.next().await.unwrap();
        assert_eq!(deleted["kind"], "conversation.deleted");
        assert_eq!(deleted["conversation"]["status"], "deleted");
        assert_eq!(deleted["conversation"]["display_name"], Value::Null);
    }

    // An empty header is none.
    let none = client().get(format!("{path}?after={begun}"));
    let mut none = Events::of(none.header("last-event-id", "")).await;
    assert_eq!(none.next().await.unwrap()["cursor"], *begun);
    drop(none);

    let mut reset = Events::of(client().get(format!("{path}?after=nonsense"))).await;
    assert_eq!(reset.next().await.unwrap()["kind"], "feed.reset");
    // Read-only streams break off at a shutdown: after a proper end clients would not reconnect.
    server.begin_stop();
    while let Ok(event) = reset.try_next().await {
        assert!(event.is_some(), "it ended as if it were complete");
    }
    drop((all, rest));
    server.stop().await;
}

#[tokio::test]
async fn a_cursor_holds_on_another_node_and_over_a_restart() {
    let Some(nats) = nats::shared().await else {
        return;
    };
    let model = ModelServer::start().await;
    let (one, other) = two_nodes(&model, &nats).await;
    let id = settled_conversation(&one.url, json!({ "text": "Plan a trip" })).await;
    let mut here = Follower::ready(&one.url, None).await;
    let mut there = Follower::ready(&other.url, Some(&here.cursor)).await;
    for (url, title) in [(&one.url, "Here"), (&other.url, "There")] {
        rename(url, &id, title).await;
        for follower in [&mut here, &mut there] {
            let event = follower.next().await;
            assert_eq!(event["conversation"]["displayName"], title);
        }
        assert_eq!(here.cursor, there.cursor);
    }
    let cursor = here.cursor.clone();
    drop((here, there));
    other.stop().await;
    rename(&one.url, &id, "Meanwhile").await;
    let again = one.beside(&model, &["--nats-url", &nats]).await;
    let mut there = Follower::ready(&again.url, Some(&cursor)).await;
    assert_eq!(
        there.next().await["conversation"]["displayName"],
        "Meanwhile"
    );
    drop(there);
    again.stop().await;
    one.stop().await;
}

#[tokio::test]
async fn a_change_without_an_event_is_found() {
    fail::cfg("feed.poll", "return(100)").unwrap();
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = settled_conversation(&server.url, json!({ "text": "Plan a trip" })).await;
    let mut follower = Follower::ready(&server.url, None).await;
    let rows = Rows::of(&server.database).await;
    let rename = "UPDATE agent_conversations SET display_name = 'By hand', revision = revision + 1,
        published_revision = revision + 1";
    rows.run(rename, []).await.unwrap();
    let event = follower.next().await;
    assert_eq!(event["kind"], "UPDATED");
    assert_eq!(event["conversation"]["displayName"], "By hand");
    assert_eq!(event["conversation"]["id"], *id);
    fail::remove("feed.poll");
}

#[tokio::test]
async fn conversations_that_are_older_than_the_feed_are_updated() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = settled_conversation(&server.url, json!({ "text": "Plan a trip" })).await;
    // As an upgrade leaves them.
    let rows = Rows::of(&server.database).await;
    rows.run("DELETE FROM agent_changes", []).await.unwrap();
    rows.run("DELETE FROM agent_feeds", []).await.unwrap();
    let begun = now(&server.url).await;
    rename(&server.url, &id, "Mine").await;
    let changes = page(&server.url, Some(&begun), None).await;
    assert_eq!(kinds(&changes), [("UPDATED", &*id)]);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_holds_up_nothing() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let bad = settled_conversation(&server.url, json!({ "text": "Plan a trip" })).await;
    let begun = now(&server.url).await;
    let good = settled_conversation(&server.url, json!({ "text": "Bake bread" })).await;
    if !server.database.is_sqlite() {
        // PostgreSQL stores nothing that does not fit its column.
        return;
    }
    let rows = Rows::of(&server.database).await;
    let spoil = "UPDATE agent_conversations SET message_count = 'many', revision = revision + 1 WHERE id = $1";
    rows.run(spoil, [stored::id(&bad)]).await.unwrap();
    rename(&server.url, &good, "Bread").await;
    let changes = page(&server.url, Some(&begun), None).await;
    assert_eq!(kinds(&changes), [("CREATED", &*good)]);
    assert_eq!(changes["hasMore"], false);
}

#[tokio::test]
async fn a_feed_tells_nothing_of_anothers_conversations() {
    let model = ModelServer::start().await;
    let mut server = Server::start(&model).await;
    let owner = |tenant: &str, user: &str| Owner {
        tenant: tenant.into(),
        user: user.into(),
    };
    for other in [owner("local", "other"), owner("other", "local")] {
        let theirs = server.serve(other).await;
        let mine = now(&server.url).await;
        let begun = now(&theirs).await;
        let mut follower = Follower::ready(&theirs, None).await;
        let id = settled_conversation(&server.url, json!({ "text": "Plan a trip" })).await;
        delete(&server.url, &id).await;
        let own = settled_conversation(&theirs, json!({ "text": "Bake bread" })).await;
        assert_eq!(follower.next().await["conversation"]["id"], *own);
        let changes = page(&theirs, Some(&begun), None).await;
        assert_eq!(kinds(&changes), [("CREATED", &*own)]);
        // A cursor of another's feed means nothing here.
        let (_, first) = Follower::begin(&theirs, Some(&mine)).await;
        assert_eq!(first["__typename"], "FeedReset");
        assert_eq!(page(&theirs, Some(&mine), None).await["reset"], true);
    }
    eventually(async || (server.app.events().topic_count() == 0).then_some(())).await;
}
