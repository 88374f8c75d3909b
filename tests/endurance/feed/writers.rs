//! Concurrent transactions: most directly on the database, of one to three conversations each, some rolled back, some
//! held open for a while; and requests to the nodes.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use chrono::Utc;
use futures_util::future::join_all;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, Statement, TransactionTrait,
};
use serde_json::json;
use titlecast_testing::{Rows, TestDatabase, server::client};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::nodes::Nodes;

/// Transactions at once; SQLite has one writer.
const WRITERS: usize = 8;

/// Clients that write through the nodes.
const CALLERS: usize = 4;

const INSERT: &str = "
    INSERT INTO agent_conversations (
        id, tenant_id, user_id, display_name, agent_entrypoint, active_agent, status, message_count,
        last_message_at, created_at, updated_at, title_source, title_status, revision, published_revision
    ) VALUES ($1, 'local', 'local', $2, 'triage', 'triage', 'active', 0, $3, $3, $3, 'manual', 'ready', 1, 1)";

const RENAME: &str = "
    UPDATE agent_conversations SET display_name = $2, updated_at = $3, revision = revision + 1,
        published_revision = revision + 1 WHERE id = $1 AND status = 'active'";

const DELETE: &str = "
    UPDATE agent_conversations SET status = 'deleted', display_name = $2, updated_at = $3, revision = revision + 1,
        published_revision = revision + 1 WHERE id = $1 AND status = 'active'";

/// What is written, shared by all writers.
struct Work {
    ids: RefCell<Vec<Uuid>>,
    left: Cell<usize>,
    transactions: Cell<usize>,
    rolled_back: Cell<usize>,
    accepted: Cell<usize>,
}

impl Work {
    /// Takes some of the changes that are left.
    fn take(&self, count: usize) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(count));
        left > 0
    }

    fn any(&self) -> Option<Uuid> {
        fastrand::choice(self.ids.borrow().iter().copied())
    }
}

/// Writes this many changes, and returns what was written.
pub async fn write(database: &TestDatabase, nodes: &Nodes, changes: usize) -> String {
    let rows = Rows::of(database).await;
    let ids = rows.all("SELECT id FROM agent_conversations", []).await;
    let work = Work {
        ids: RefCell::new(
            ids.iter()
                .map(|row| row.try_get("", "id").unwrap())
                .collect(),
        ),
        left: Cell::new(changes),
        transactions: Cell::default(),
        rolled_back: Cell::default(),
        accepted: Cell::default(),
    };
    let writers = if database.is_sqlite() { 1 } else { WRITERS };
    let mut connections = Vec::new();
    for _ in 0..writers {
        connections.push(database.connect().await);
    }
    let writing = async {
        join_all(
            connections
                .iter()
                .map(|connection| transact(connection, &work)),
        )
        .await;
    };
    let calling = async {
        join_all((0..CALLERS).map(|_| call(nodes, &work))).await;
    };
    futures_util::future::join(writing, calling).await;
    format!(
        "{changes} changes: {} transactions, {} rolled back, {} accepted by nodes",
        work.transactions.get(),
        work.rolled_back.get(),
        work.accepted.get(),
    )
}

async fn transact(connection: &DatabaseConnection, work: &Work) {
    loop {
        let mut changed: Vec<Uuid> = (0..fastrand::usize(1..=3))
            .filter_map(|_| work.any())
            .collect();
        // The order of the locks of conversations.
        changed.sort_unstable();
        changed.dedup();
        if !work.take(changed.len().max(1)) {
            return;
        }
        let new = (fastrand::u8(..20) == 0).then(Uuid::now_v7);
        match attempt(connection, &changed, new).await {
            Ok(true) => {
                work.transactions.set(work.transactions.get() + 1);
                work.ids.borrow_mut().extend(new);
            }
            Ok(false) => work.rolled_back.set(work.rolled_back.get() + 1),
            // SQLite's file was locked by the node.
            Err(error) if error.to_string().contains("locked") => {
                sleep(Duration::from_millis(2)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// One transaction. Returns whether it was committed.
async fn attempt(
    connection: &DatabaseConnection,
    changed: &[Uuid],
    new: Option<Uuid>,
) -> Result<bool, DbErr> {
    let tx = connection.begin().await?;
    for id in changed {
        let is_deleted = fastrand::u8(..40) == 0;
        run(
            &tx,
            if is_deleted { DELETE } else { RENAME },
            *id,
            is_deleted,
        )
        .await?;
        hold().await;
    }
    if let Some(new) = new {
        run(&tx, INSERT, new, false).await?;
        hold().await;
    }
    match fastrand::u8(..10) {
        0 => tx.rollback().await.map(|()| false),
        _ => tx.commit().await.map(|()| true),
    }
}

async fn run(tx: &DatabaseTransaction, sql: &str, id: Uuid, is_deleted: bool) -> Result<(), DbErr> {
    let name = (!is_deleted).then(|| format!("Name {}", fastrand::u32(..)));
    let values = [id.into(), name.into(), Utc::now().into()];
    let statement = Statement::from_sql_and_values(tx.get_database_backend(), sql, values);
    tx.execute_raw(statement).await.map(|_| ())
}

/// Now and then a transaction stays open while others commit.
async fn hold() {
    if fastrand::u8(..8) == 0 {
        sleep(Duration::from_millis(fastrand::u64(1..6))).await;
    }
}

/// Renames and deletes through the nodes, ignoring the outcome.
async fn call(nodes: &Nodes, work: &Work) {
    loop {
        let Some(id) = work.any().filter(|_| work.take(1)) else {
            return;
        };
        let path = format!("{}/api/v1/conversations/{id}", nodes.any().await);
        let request = match fastrand::u8(..40) {
            0 => client().delete(path),
            _ => {
                let body = json!({ "display_name": format!("Name {}", fastrand::u32(..)) });
                let request = client().patch(format!("{path}/title"));
                request
                    .header("content-type", "application/json")
                    .body(body.to_string())
            }
        };
        let answer = timeout(Duration::from_secs(5), request.send()).await;
        if answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status().is_success())) {
            work.accepted.set(work.accepted.get() + 1);
        }
    }
}
