//! Titles that failed for a passing reason: the row and GraphQL say when they are tried again, and they are, until a title
//! is stored or a person decides otherwise.

use chrono::{DateTime, Days, NaiveTime, TimeDelta, Utc};
use serde_json::{Value, json};
use titlecast_testing::{
    Answer, ModelServer, Rows, Server, Titlecast, Watched,
    calls::{delete, rename},
    eventually, stored,
    titles::{assert_titled, decided, regenerate, reset, settled, title_when},
};

const MESSAGE: &str = "Plan a trip to Kyoto";
const ANOTHER: &str = "Two Weeks in Old Japan";

const OFTEN: [&str; 2] = ["--title-sweep", "100ms"];

fn unavailable() -> Answer {
    Answer::error(503, "server_error", None, "Overloaded")
}

fn retry_at(shown: &Value) -> Option<DateTime<Utc>> {
    let at = shown["titleError"]["retryAt"].as_str();
    at.map(|at| at.parse().unwrap())
}

/// The columns of tries: attempts, tries, next try, first failure.
type Tries = (i32, i32, Option<DateTime<Utc>>, Option<DateTime<Utc>>);

async fn tries(rows: &Rows, id: &str) -> Tries {
    let sql = "SELECT title_attempts, title_tries, title_retry_at, title_failing_since \
        FROM agent_conversations WHERE id = $1";
    let row = rows.all(sql, [stored::id(id)]).await.remove(0);
    (
        row.try_get("", "title_attempts").unwrap(),
        row.try_get("", "title_tries").unwrap(),
        row.try_get("", "title_retry_at").unwrap(),
        row.try_get("", "title_failing_since").unwrap(),
    )
}

/// Whether the title failed, or is tried again.
async fn has_tries(rows: &Rows, id: &str) -> bool {
    let (_, count, at, since) = tries(rows, id).await;
    (count, at, since) != (0, None, None)
}

async fn make_due(rows: &Rows, id: &str) {
    let past = Utc::now() - TimeDelta::seconds(1);
    rows.change(id, "title_retry_at = $2", [past.into()]).await;
}

/// A conversation whose title failed twice with a 503, on a server that sweeps often.
async fn failed(model: &ModelServer) -> (Server, Rows, String) {
    model.title(unavailable()).title(unavailable());
    let server = Server::start_with(model, &OFTEN).await;
    let rows = Rows::of(&server.database).await;
    let id = settled(&server.url, MESSAGE).await;
    (server, rows, id)
}

/// A model that refuses the key once, and a server that sweeps often and asks a model that refuses after this time again.
async fn refused_once(probe: &str) -> (ModelServer, Server, Rows) {
    let model = ModelServer::start().await;
    let code = Some("invalid_api_key");
    model.title(Answer::error(401, "invalid_request_error", code, "No."));
    let settings = [&OFTEN[..], &["--title-probe", probe]].concat();
    let server = Server::start_with(&model, &settings).await;
    let rows = Rows::of(&server.database).await;
    (model, server, rows)
}

#[tokio::test]
async fn a_failure_that_passes_says_when_it_is_tried_again_and_is() {
    let model = ModelServer::start().await;
    let began = Utc::now();
    let (server, rows, id) = failed(&model).await;
    let shown = server.title(&id).await;
    assert_eq!(shown["titleStatus"], "FAILED");
    assert_eq!(shown["titleError"]["code"], "UNAVAILABLE");
    // Half a minute, a quarter more or less.
    let at = retry_at(&shown).unwrap();
    assert!(at >= began + TimeDelta::milliseconds(22_500), "{at}");
    assert!(at <= Utc::now() + TimeDelta::milliseconds(37_500), "{at}");
    let (attempts, count, stored, since) = tries(&rows, &id).await;
    assert_eq!((attempts, count, stored), (0, 1, Some(at)));
    assert!(since.unwrap() >= began);

    // It fails once more: twice the pause, since the same time.
    model.title(unavailable()).title(unavailable());
    let mut list = Watched::list(&server.url).await;
    make_due(&rows, &id).await;
    let seen = list.until(|now| now["titleStatus"] == "FAILED").await;
    assert_eq!(seen[0]["titleStatus"], "PENDING");
    assert_eq!(seen[0]["titleError"], Value::Null);
    let at = retry_at(&seen[seen.len() - 1]).unwrap();
    assert!(at > Utc::now() + TimeDelta::seconds(40), "{at}");
    let (attempts, count, _, same) = tries(&rows, &id).await;
    assert_eq!((attempts, count, same), (0, 2, since));

    make_due(&rows, &id).await;
    let seen = list.until(|now| now["titleStatus"] == "READY").await;
    assert_eq!(seen[0]["titleStatus"], "PENDING");
    assert_titled(&seen[seen.len() - 1]);
    assert!(!has_tries(&rows, &id).await);
    assert_eq!(model.title_requests().len(), 5);
    server.stop().await;
}

#[tokio::test]
async fn each_passing_reason_has_a_next_try_and_no_other_has() {
    let error =
        |status, code: &str| Answer::error(status, "invalid_request_error", Some(code), "No.");
    #[rustfmt::skip]
    let table = [
        (vec![unavailable(), unavailable()], "UNAVAILABLE", true),
        (vec![error(429, "rate_limit_exceeded"), error(429, "rate_limit_exceeded")], "RATE_LIMITED", true),
        (vec![Answer::Cut, Answer::Cut], "UNAVAILABLE", true),
        (vec![Answer::Silence], "TIMEOUT", true),
        (vec![error(401, "invalid_api_key")], "UNAUTHORIZED", true),
        (vec![error(404, "model_not_found")], "MODEL_NOT_FOUND", true),
        (vec![error(429, "insufficient_quota")], "QUOTA_EXCEEDED", true),
        (vec![Answer::Page("<html>")], "REJECTED", true),
        (vec![error(400, "x"), error(400, "x")], "INVALID_REQUEST", false),
        (vec![error(400, "content_filter")], "REJECTED", false),
        (vec![Answer::Text("..."), Answer::Text("...")], "REJECTED", false),
        (vec![Answer::Finished("", "length"), Answer::Finished("", "length")], "TRUNCATED", false),
    ];
    for (answers, code, passes) in table {
        let model = ModelServer::start().await;
        for answer in answers {
            model.title(answer);
        }
        let server = Server::start_with(&model, &["--title-deadline", "1s"]).await;
        let shown = {
            let id = settled(&server.url, MESSAGE).await;
            server.title(&id).await
        };
        assert_eq!(shown["titleStatus"], "FAILED", "{code}: {shown}");
        assert_eq!(shown["titleError"]["code"], code, "{shown}");
        assert_eq!(retry_at(&shown).is_some(), passes, "{shown}");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_refusal_by_an_open_breaker_counts_no_try() {
    let (model, server, rows) = refused_once("1h").await;
    let asked = settled(&server.url, MESSAGE).await;
    let refused = settled(&server.url, MESSAGE).await;
    assert_eq!(tries(&rows, &asked).await.1, 1);
    let (attempts, count, at, since) = tries(&rows, &refused).await;
    assert_eq!((attempts, count), (0, 0));
    assert!(at.unwrap() > Utc::now() + TimeDelta::minutes(55), "{at:?}");
    assert!(since.is_some());
    let shown = server.title(&refused).await;
    assert_eq!(shown["titleError"]["code"], "UNAUTHORIZED");
    // Due, but no probe is: it stays as it is, and is shown as failed.
    make_due(&rows, &refused).await;
    let sweeps = server.app.titles().metrics().sweeps();
    eventually(async || (server.app.titles().metrics().sweeps() > sweeps + 1).then_some(())).await;
    assert_eq!(server.title(&refused).await["revision"], shown["revision"]);
    assert_eq!(model.title_requests().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn the_answer_of_a_probe_makes_all_due_that_wait() {
    let (model, server, rows) = refused_once("5s").await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(settled(&server.url, MESSAGE).await);
    }
    // Their own next tries are hours away; the probe still takes one of them.
    let later = Utc::now() + TimeDelta::hours(5);
    for id in &ids {
        let set = "title_retry_at = $2";
        rows.change(id, set, [later.into()]).await;
    }
    for id in &ids {
        let shown = title_when(&server.url, id, |now| now["titleStatus"] == "READY").await;
        assert_titled(&shown);
        assert!(!has_tries(&rows, id).await);
    }
    assert_eq!(model.title_requests().len(), 1 + ids.len());
    server.stop().await;
}

#[tokio::test]
async fn a_title_that_is_slow_again_waits_for_its_own_time() {
    let model = ModelServer::start().await;
    let settings = [&OFTEN[..], &["--title-deadline", "1s"]].concat();
    let server = Server::start_with(&model, &settings).await;
    let rows = Rows::of(&server.database).await;
    model.title(Answer::Silence);
    let slow = settled(&server.url, MESSAGE).await;
    assert_eq!(server.title(&slow).await["titleError"]["code"], "TIMEOUT");
    // The answer to another one makes it due, and it is slow again.
    model.title(Answer::Text(ANOTHER)).title(Answer::Silence);
    settled(&server.url, MESSAGE).await;
    eventually(async || (tries(&rows, &slow).await.1 == 2).then_some(())).await;
    // Later ones do not.
    settled(&server.url, MESSAGE).await;
    let sweeps = server.app.titles().metrics().sweeps();
    eventually(async || (server.app.titles().metrics().sweeps() > sweeps + 1).then_some(())).await;
    let (_, count, at, _) = tries(&rows, &slow).await;
    assert_eq!(count, 2);
    assert!(at.unwrap() > Utc::now() + TimeDelta::seconds(20), "{at:?}");
    assert_eq!(model.title_requests().len(), 4);
    server.stop().await;
}

#[tokio::test]
async fn a_node_that_starts_finds_out_whether_the_model_answers() {
    let model = ModelServer::start().await;
    let (server, rows, id) = failed(&model).await;
    let later = Utc::now() + TimeDelta::hours(1);
    rows.change(&id, "title_retry_at = $2", [later.into()])
        .await;
    // As after a restart: this one has not seen the failure.
    let again = server.beside(&model, &OFTEN).await;
    assert_titled(&title_when(&again.url, &id, |now| now["titleStatus"] == "READY").await);
    again.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn what_a_person_decides_meanwhile_stays() {
    let model = ModelServer::start().await;
    model.title(unavailable()).title(unavailable());
    let server = Server::start_with(&model, &["--title-sweep", "1h"]).await;
    let rows = Rows::of(&server.database).await;
    let renamed = settled(&server.url, MESSAGE).await;
    model.title(unavailable()).title(unavailable());
    let deleted = settled(&server.url, MESSAGE).await;
    rename(&server.url, &renamed, "Ours").await;
    delete(&server.url, &deleted).await;
    assert!(!has_tries(&rows, &renamed).await);
    assert!(!has_tries(&rows, &deleted).await);
    assert_eq!(server.title(&renamed).await["titleError"], Value::Null);

    // An answer in between: three failures in a row would open the breaker.
    settled(&server.url, MESSAGE).await;
    model.title(unavailable()).title(unavailable());
    let wished = settled(&server.url, MESSAGE).await;
    model.title(unavailable()).title(unavailable());
    let again = settled(&server.url, MESSAGE).await;
    reset(&server.url, &again).await;
    regenerate(&server.url, json!({ "id": wished })).await;
    for id in [&wished, &again] {
        assert_titled(&decided(&server.url, id).await);
        assert_eq!(tries(&rows, id).await.1, 0);
    }
    server.stop().await;

    // While a try is on its way.
    let (server, rows, id) = failed(&model).await;
    let gate = model.held_title(Answer::Text(ModelServer::TITLE));
    make_due(&rows, &id).await;
    title_when(&server.url, &id, |now| now["titleStatus"] == "PENDING").await;
    rename(&server.url, &id, "Ours").await;
    gate.send(()).unwrap();
    server.titles_ended("superseded", 1).await;
    assert_eq!(server.title(&id).await["displayName"], "Ours");
    server.stop().await;
}

#[tokio::test]
async fn another_title_that_fails_in_passing_is_tried_again_with_its_wish() {
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &OFTEN).await;
    let rows = Rows::of(&server.database).await;
    let id = settled(&server.url, MESSAGE).await;
    model.title(unavailable()).title(unavailable());
    regenerate(&server.url, json!({ "id": id, "hint": "older" })).await;
    let shown = decided(&server.url, &id).await;
    assert_eq!(shown["titleStatus"], "READY");
    assert_eq!(shown["displayName"], ModelServer::TITLE);
    assert_eq!(shown["titleError"]["code"], "UNAVAILABLE");
    assert!(retry_at(&shown).is_some(), "{shown}");
    model.title(Answer::Text(ANOTHER));
    make_due(&rows, &id).await;
    let shown = title_when(&server.url, &id, |now| now["displayName"] == ANOTHER).await;
    assert_eq!(shown["titleError"], Value::Null);
    let requests = model.title_requests();
    let input = requests[requests.len() - 1]["messages"][1]["content"].as_str();
    assert!(
        input.unwrap().contains("<wish>\nolder\n</wish>"),
        "{input:?}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_budget_that_is_used_up_waits_for_midnight() {
    let model = ModelServer::start().await;
    let server =
        Server::start_with(&model, &["--title-budget", "100", "--title-sweep", "100ms"]).await;
    let rows = Rows::of(&server.database).await;
    settled(&server.url, MESSAGE).await;
    let id = settled(&server.url, MESSAGE).await;
    let shown = server.title(&id).await;
    assert_eq!(shown["titleError"]["code"], "BUDGET_EXCEEDED");
    let tomorrow = Utc::now().date_naive() + Days::new(1);
    let midnight = tomorrow.and_time(NaiveTime::MIN).and_utc();
    assert_eq!(retry_at(&shown), Some(midnight));
    assert_eq!(tries(&rows, &id).await.1, 0);
    assert_eq!(model.title_requests().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_title_is_given_up_a_day_after_its_first_failure() {
    let (_model, server, rows) = refused_once("1h").await;
    let id = settled(&server.url, MESSAGE).await;
    let waits = settled(&server.url, MESSAGE).await;
    let set = "title_failing_since = $2";
    let since = Utc::now() - TimeDelta::hours(25);
    rows.change(&id, set, [since.into()]).await;
    let shown = title_when(&server.url, &id, |now| {
        now["titleError"]["retryAt"].is_null()
    })
    .await;
    assert_eq!(shown["titleStatus"], "FAILED");
    assert_eq!(shown["titleError"]["code"], "UNAUTHORIZED");
    assert!(retry_at(&server.title(&waits).await).is_some());
    // With a call that fails it is the same.
    let failing = tries(&rows, &waits).await.3.unwrap();
    assert!(failing > since);
    server.stop().await;
}

#[tokio::test]
async fn what_the_previous_version_titled_is_left_alone() {
    let model = ModelServer::start().await;
    let (server, rows, id) = failed(&model).await;
    // It does not know the time of the next try.
    let set = "display_name = 'Kyoto', title_source = 'generated', title_status = 'ready', title_failure = NULL, \
        title_retry_at = $2";
    let past = Utc::now() - TimeDelta::seconds(1);
    rows.change(&id, set, [past.into()]).await;
    let sweeps = server.app.titles().metrics().sweeps();
    eventually(async || (server.app.titles().metrics().sweeps() > sweeps + 1).then_some(())).await;
    let shown = server.title(&id).await;
    assert_eq!(shown["displayName"], "Kyoto");
    assert_eq!(shown["titleError"], Value::Null);
    assert_eq!(model.title_requests().len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn what_it_deleted_keeps_no_former_title() {
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &OFTEN).await;
    let rows = Rows::of(&server.database).await;
    let id = settled(&server.url, MESSAGE).await;
    let set = "status = 'deleted', display_name = NULL, previous_title = 'A secret'";
    rows.change(&id, set, []).await;
    let sql = "SELECT 1 AS n FROM agent_conversations WHERE previous_title IS NOT NULL";
    eventually(async || rows.all(sql, []).await.is_empty().then_some(())).await;
    server.stop().await;
}

#[tokio::test]
async fn operators_see_how_many_wait_and_since_when() {
    let model = ModelServer::start().await;
    model.title(unavailable()).title(unavailable());
    let mut server = Server::start_with(&model, &OFTEN).await;
    let id = settled(&server.url, MESSAGE).await;
    let page = server.serve_metrics().await;
    eventually(async || {
        let page = titlecast_testing::server::metrics(&page).await;
        let has = |line: &str| page.lines().any(|found| found.starts_with(line));
        (has("titlecast_titles_waiting 1") && has("titlecast_titles_waiting_oldest_seconds "))
            .then_some(())
    })
    .await;
    let stats = async |arguments: &[&str]| {
        let command = [&["stats"], arguments].concat();
        let stats = Titlecast::new(&command).env("DATABASE_URL", &server.database.url);
        stats.run().await.ok()
    };
    let json: Value = serde_json::from_str(&stats(&["--json"]).await).unwrap();
    let rows = Rows::of(&server.database).await;
    let since = tries(&rows, &id).await.3.unwrap();
    assert_eq!(json["waiting"]["conversations"], 1);
    let oldest: DateTime<Utc> = json["waiting"]["oldest"].as_str().unwrap().parse().unwrap();
    assert_eq!(oldest, since);
    let table = stats(&[]).await;
    assert!(
        table.contains("1  wait for their next try, the oldest since"),
        "{table}"
    );
    let none: Value = serde_json::from_str(&stats(&["--json", "--tenant", "acme"]).await).unwrap();
    assert_eq!(none["waiting"]["conversations"], 0);
    server.stop().await;
}

/// A tenth; `tests/endurance/outages.rs` has the whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_leaves_no_conversation_without_a_title() {
    let minute = std::time::Duration::from_millis(500);
    titlecast_testing::outage::hour_without_a_provider(1_000, 12, minute).await;
}
