//! Two nodes on PostgreSQL and NATS are restarted one after the other, again and again, while people go on talking:
//! each sent message is stored once, its reply is complete, and a disconnected client resumes on the other node.

use std::{
    cell::Cell,
    collections::HashMap,
    time::{Duration, Instant},
};

use futures_util::future::{join, join_all};
use titlecast_testing::{
    Node, Rows, TestDatabase, at_length, eventually, nats::NatsServer, server::client,
    talkative::TalkativeModel,
};
use uuid::Uuid;

use super::talker::{Said, talk};

/// A node has to be gone so soon after the signal.
const GONE: Duration = Duration::from_secs(30);

/// The addresses of the two nodes, which stay the same.
pub struct Places {
    urls: [String; 2],
    /// People stop when the last restart is over.
    is_over: Cell<bool>,
}

impl Places {
    pub fn url(&self, number: usize) -> &str {
        &self.urls[number % 2]
    }

    pub fn is_over(&self) -> bool {
        self.is_over.get()
    }
}

async fn is_ready(url: &str) {
    eventually(async || {
        let response = client().get(format!("{url}/readyz")).send().await.ok()?;
        response.status().is_success().then_some(())
    })
    .await;
}

/// This many restarts of each node, while this many users talk.
async fn rolls(rounds: usize, people: usize) {
    if !TestDatabase::is_on_server() {
        return;
    }
    let Some(mut nats) = NatsServer::down() else {
        return;
    };
    nats.start();
    let database = TestDatabase::new().await;
    let model = TalkativeModel::start().await;
    let start = async |listen: &str| {
        let settings = ["--listen", listen, "--nats-url", &nats.url];
        let node = Node::start(&database.url, &model.url, &settings).await;
        is_ready(&node.url).await;
        node
    };
    let nodes = [start("127.0.0.1:0").await, start("127.0.0.1:0").await];
    let places = Places {
        urls: [nodes[0].url.clone(), nodes[1].url.clone()],
        is_over: Cell::new(false),
    };
    let slowest = Cell::new(Duration::ZERO);
    let rolling = async {
        let mut nodes = nodes.map(Some);
        for round in 0..2 * rounds {
            let place = round % 2;
            let mut node = nodes[place].take().unwrap();
            let signalled = Instant::now();
            node.process.terminate();
            assert_eq!(node.process.exit().await, Some(0));
            slowest.set(slowest.get().max(signalled.elapsed()));
            let listen = places.urls[place].strip_prefix("http://").unwrap();
            nodes[place] = Some(start(listen).await);
        }
        places.is_over.set(true);
        nodes
    };
    let talking = join_all((0..people).map(|person| talk(&places, person)));
    let (nodes, said) = join(rolling, talking).await;
    assert!(slowest.get() < GONE, "{:?}", slowest.get());

    let rows = Rows::of(&database).await;
    let said: Vec<Said> = said.into_iter().flatten().collect();
    assert_nothing_lost(&said, &stored(&rows).await);
    let [retries, resumes, anew] = [
        |said: &Said| said.retries,
        |said: &Said| said.resumes,
        |said: &Said| said.begun_anew,
    ]
    .map(|count| said.iter().map(count).sum::<usize>());
    eprintln!(
        "{} messages, {retries} retries, {resumes} resumes, {anew} begun anew, {} restarts, \
         the slowest end {:.1?}",
        said.len(),
        2 * rounds,
        slowest.get(),
    );
    // Or nothing was tried. What was published was always stored, since no process died.
    assert!(retries > resumes && resumes > 0);
    assert_eq!(anew, 0);
    for node in nodes.into_iter().flatten() {
        node.stop().await;
    }
}

/// Each message that is stored: how often, and the replies to it.
type Stored = HashMap<String, (usize, Vec<(String, String)>)>;

async fn stored(rows: &Rows) -> Stored {
    const SQL: &str =
        "SELECT said.content AS said, turn.reply_status AS state, reply.content AS reply
        FROM agent_turns turn
        JOIN agent_messages said ON said.id = turn.message_id
        LEFT JOIN agent_messages reply ON reply.id = turn.reply_id";
    let mut stored = Stored::new();
    for row in rows.all(SQL, []).await {
        let said: String = row.try_get("", "said").unwrap();
        let reply: Option<String> = row.try_get("", "reply").unwrap();
        let (count, replies) = stored.entry(said).or_default();
        *count += 1;
        replies.push((row.try_get("", "state").unwrap(), reply.unwrap_or_default()));
    }
    stored
}

/// Every message is stored once, with the reply that its sender received.
#[track_caller]
fn assert_nothing_lost(said: &[Said], stored: &Stored) {
    for said in said {
        let found = stored.get(&said.message);
        let (count, replies) = found.unwrap_or_else(|| panic!("lost: {said:?}"));
        assert_eq!(*count, 1, "doubled: {said:?}");
        assert_eq!(
            replies[0],
            ("completed".into(), said.reply.clone()),
            "{said:?}"
        );
        assert_eq!(said.reply, TalkativeModel::reply_to(&said.message));
    }
}

#[tokio::test]
async fn two_restarts_under_load_lose_nothing() {
    rolls(1, 6).await;
}

#[tokio::test]
#[ignore = "takes minutes: just shows"]
async fn many_restarts_under_load_lose_nothing() {
    rolls(at_length(8), at_length(40)).await;
}

fn planted(change: impl FnOnce(&mut Stored)) -> Result<(), ()> {
    let message = format!("planted {}", Uuid::now_v7());
    let reply = TalkativeModel::reply_to(&message);
    let said = Said {
        message: message.clone(),
        reply: reply.clone(),
        ..Said::default()
    };
    let mut stored = Stored::from([(message, (1, vec![("completed".into(), reply)]))]);
    change(&mut stored);
    let check = std::panic::AssertUnwindSafe(|| assert_nothing_lost(&[said], &stored));
    std::panic::catch_unwind(check).map_err(|_| ())
}

/// A checker that cannot fail proves nothing.
#[test]
fn a_lost_a_doubled_and_a_torn_message_are_noticed() {
    assert_eq!(planted(|_| {}), Ok(()));
    assert_eq!(planted(|stored| stored.clear()), Err(()));
    assert_eq!(
        planted(|stored| stored.values_mut().for_each(|found| found.0 = 2)),
        Err(())
    );
    let torn = |stored: &mut Stored| {
        let reply = stored.values_mut().next().unwrap().1.first_mut().unwrap();
        reply.1.truncate(10);
    };
    assert_eq!(planted(torn), Err(()));
}
