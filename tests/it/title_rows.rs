//! A title is the same row on SQLite as on PostgreSQL: what the rules let through, both store to the byte
//! and count alike.

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, TestRunner},
};
use titlecast::{
    conversation::{Owner, Title},
    titles::clean::clean,
};
use titlecast_testing::{ModelServer, Rows, Server, stored::id, text::tricky};

#[tokio::test]
async fn a_title_is_the_same_row_on_both_databases() {
    let server = Server::start(&ModelServer::start().await).await;
    let conversation = server.begin("Plan a trip to Kyoto").await;
    let rows = Rows::of(&server.database).await;
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::default()
    });
    let mut stored = 0;
    for _ in 0..400 {
        let text = tricky().new_tree(&mut runner).unwrap().current();
        // What a model says and what a person types have different rules, and one column.
        let titles = [clean(&text).ok(), Title::new(&text).ok()];
        for title in titles.into_iter().flatten() {
            let db = server.app.database();
            let renamed = db
                .rename(
                    &Owner::local(),
                    conversation.parse().unwrap(),
                    &title,
                    "local",
                )
                .await;
            assert_eq!(
                renamed.unwrap().display_name.as_deref(),
                Some(title.as_str()),
                "{text:?}"
            );
            let sql = "SELECT display_name, CAST(length(display_name) AS bigint) AS characters \
                FROM agent_conversations WHERE id = $1";
            let row = rows.all(sql, [id(&conversation)]).await.remove(0);
            let (found, characters): (String, i64) = (
                row.try_get("", "display_name").unwrap(),
                row.try_get("", "characters").unwrap(),
            );
            assert_eq!(found, title.as_str(), "{text:?}");
            assert_eq!(
                characters,
                title.as_str().chars().count() as i64,
                "{text:?}"
            );
            stored += 1;
        }
    }
    assert!(stored > 200, "only {stored} were titles");
    server.stop().await;
}
