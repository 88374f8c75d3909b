//! A database's query plan for a statement, and its faults: reading a whole growing table, or all rows of an owner.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use serde_json::Value;

/// Tables that have a row for each conversation, message or call.
const GROWING: [&str; 9] = [
    "agent_conversations",
    "agent_messages",
    "agent_turns",
    "agent_search_texts",
    "agent_title_calls",
    "agent_webhook_lanes",
    "agent_webhook_events",
    "agent_audit",
    "agent_changes",
];

/// Indexes of pending work only: they may be scanned completely.
const PARTIAL: [&str; 7] = [
    "agent_conversations_untitled",
    "agent_conversations_untold",
    "agent_conversations_leased",
    "agent_conversations_title_retries",
    "agent_conversations_unerased",
    "agent_conversations_unerased_metadata",
    "agent_turns_running",
];

/// The lists that are read page by page: an index has to give their rows in order, or each page costs as much as the list.
/// (The messages of a conversation may be sorted: where there are few, that is less work.)
const BY_ACTIVITY: &str = "ORDER BY \"agent_conversations\".\"last_message_at\" DESC";
const BY_CHANGE: &str = "ORDER BY \"agent_changes\".\"change\" ASC";
const BY_CREATION: &str = "ORDER BY \"agent_conversations\".\"created_at\" DESC";

/// Whether it reads a page of a list of conversations. The sweep reads by creation too, what is left to do.
pub fn is_page(statement: &Statement) -> bool {
    let is_list = statement.sql.contains(r#""archived_at" IS"#);
    let is_feed = statement.sql.contains(BY_CHANGE);
    is_feed
        || statement.sql.contains(BY_ACTIVITY)
        || (is_list && statement.sql.contains(BY_CREATION))
}

/// What the database says of how it finds the rows.
pub async fn plan(connection: &DatabaseConnection, statement: &Statement) -> String {
    match connection.get_database_backend() {
        DbBackend::Sqlite => sqlite(connection, statement).await.1,
        _ => postgres(connection, statement).await.1,
    }
}

/// One text, beginning with the table's name, for each growing table that the statement reads as a whole (its rows,
/// or an index from one end to the other), or sorts for a page.
pub async fn complaints(connection: &DatabaseConnection, statement: &Statement) -> Vec<String> {
    let sql = statement.sql.trim_start();
    if !["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"]
        .iter()
        .any(|verb| sql.starts_with(verb))
    {
        return Vec::new();
    }
    let read = match connection.get_database_backend() {
        DbBackend::Sqlite => sqlite(connection, statement).await,
        _ => postgres(connection, statement).await,
    };
    let (tables, plan) = read;
    let is_sorted = plan.contains("TEMP B-TREE FOR ORDER BY") || plan.contains("Sort Key");
    let sorted = (is_sorted && is_page(statement))
        .then(|| format!("agent_conversations is sorted for a page: {sql}\n{plan}"));
    tables
        .into_iter()
        .map(|table| format!("{table} is read as a whole: {sql}\n{plan}"))
        .chain(sorted)
        .collect()
}

async fn explained(
    connection: &DatabaseConnection,
    how: &str,
    statement: &Statement,
) -> Vec<sea_orm::QueryResult> {
    let mut asked = statement.clone();
    asked.sql = format!("{how} {}", statement.sql.trim_start());
    connection
        .query_all_raw(asked)
        .await
        .unwrap_or_else(|error| panic!("{error}: {}", statement.sql))
}

/// The tables that are read as a whole, and the plan.
async fn sqlite(
    connection: &DatabaseConnection,
    statement: &Statement,
) -> (Vec<&'static str>, String) {
    let rows = explained(connection, "EXPLAIN QUERY PLAN", statement).await;
    let steps: Vec<String> = rows
        .iter()
        .map(|row| row.try_get("", "detail").unwrap())
        .collect();
    let mut tables = Vec::new();
    let mut is_list = false;
    for step in &steps {
        // A list is made as a whole before it is looked into: one of all that an owner has grows with that.
        // And rows whose ids are known are to be looked up.
        let is_by_id = statement.sql.contains(r#""agent_conversations"."id" IN"#);
        let is_search = step.starts_with("SEARCH agent_conversations");
        if (is_list || is_by_id) && is_search && !step.contains("(id=?") {
            tables.push("agent_conversations");
        }
        is_list = step.starts_with("LIST SUBQUERY");
        let Some(scanned) = step.strip_prefix("SCAN ") else {
            continue;
        };
        let table = scanned.split(' ').next();
        let is_small = PARTIAL
            .iter()
            .any(|index| scanned.split(' ').any(|word| word == *index));
        tables.extend(
            GROWING
                .iter()
                .filter(|name| table == Some(**name) && !is_small),
        );
    }
    (tables, steps.join("\n"))
}

async fn postgres(
    connection: &DatabaseConnection,
    statement: &Statement,
) -> (Vec<&'static str>, String) {
    let rows = explained(connection, "EXPLAIN (FORMAT JSON)", statement).await;
    let plan: Value = rows[0].try_get_by_index(0).unwrap();
    let mut tables = Vec::new();
    collect(&plan[0]["Plan"], &mut tables);
    (tables, serde_json::to_string_pretty(&plan).unwrap())
}

fn collect(node: &Value, tables: &mut Vec<&'static str>) {
    let relation = node["Relation Name"].as_str();
    let has_condition = !node["Index Cond"].is_null();
    let is_small = node["Index Name"]
        .as_str()
        .is_some_and(|name| PARTIAL.contains(&name));
    let is_whole = match node["Node Type"].as_str().unwrap() {
        "Seq Scan" => true,
        "Index Scan" | "Index Only Scan" => !has_condition && !is_small,
        // The bitmap below it has the condition.
        _ => false,
    };
    if is_whole {
        tables.extend(GROWING.iter().filter(|name| relation == Some(**name)));
    }
    for child in node["Plans"].as_array().into_iter().flatten() {
        collect(child, tables);
    }
}
