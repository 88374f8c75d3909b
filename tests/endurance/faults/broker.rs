//! NATS that stalls, loses packets, or comes back empty: no request waits for it, nothing accepted is lost, and
//! subscribers catch up. Outages and restarts are in `nodes_outage`; NATS stores nothing, so a wiped server is like a
//! restarted one.

use std::time::{Duration, Instant};

use serde_json::json;
use titlecast_testing::{
    Answer, ModelServer, Server, Step, Watched, assert_common_stream,
    calls::rename,
    eventually,
    nats::{NatsServer, nats_is},
    proxy::{Cut, Proxy, Way},
    replies::{Reader, being_written, write},
    titles::{decided, send},
};

use super::turns::plain;

/// Two nodes, of which the second reaches NATS through a proxy.
struct Far {
    model: ModelServer,
    proxy: Proxy,
    one: Server,
    other: Server,
    _nats: NatsServer,
}

impl Far {
    async fn new() -> Option<Self> {
        let mut nats = NatsServer::down()?;
        nats.start();
        let proxy = Proxy::to_url(&nats.url).await;
        let model = ModelServer::start().await;
        let lease = ["--reply-lease", "4s"];
        let settings = [&["--nats-url", &nats.url], &lease[..]].concat();
        let one = Server::start_with(&model, &settings).await;
        let by_proxy = format!("nats://{}", proxy.address);
        let settings = [&["--nats-url", &by_proxy], &lease[..]].concat();
        let other = one.beside(&model, &settings).await;
        for node in [&one, &other] {
            nats_is(&node.url, "ok").await;
        }
        Some(Self {
            model,
            proxy,
            one,
            other,
            _nats: nats,
        })
    }

    /// A conversation of the one node that has its title, and a subscription to it on the other.
    async fn watched(&self) -> (String, Watched) {
        let input = json!({ "text": "Plan a trip to Kyoto" });
        let id = send(&self.one.url, input).await;
        decided(&self.one.url, &id).await;
        let mut open = Watched::one(&self.other.url, &id).await;
        open.next().await;
        (id, open)
    }

    async fn stop(self) {
        self.other.stop().await;
        self.one.stop().await;
    }
}

#[tokio::test]
async fn a_silent_broker_blocks_nothing_and_missed_updates_are_delivered() {
    let Some(far) = Far::new().await else { return };
    let (id, mut open) = far.watched().await;

    far.proxy.stall(&[Way::There, Way::Back]);
    // Each node continues its own work.
    let began = Instant::now();
    for node in [&far.one, &far.other] {
        let events = node.stream(plain("Plan a trip to Nara")).await.rest().await;
        assert_eq!(
            assert_common_stream(&events)["raw_type"],
            "response.completed"
        );
    }
    rename(&far.one.url, &id, "Unheard").await;
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    // It says that it hears nothing.
    nats_is(&far.other.url, "degraded").await;
    nats_is(&far.one.url, "ok").await;
    far.proxy.flow();
    open.until(|now| now["displayName"] == "Unheard").await;
    nats_is(&far.other.url, "ok").await;
    far.stop().await;
}

#[tokio::test]
async fn a_reply_is_followed_to_its_end_while_the_broker_says_nothing() {
    let Some(far) = Far::new().await else { return };
    let (id, reply, steps) = being_written(&far.model, &far.one.url).await;
    write(&steps, "First we take ");
    let mut reader = Reader::join(&far.other.url, &id, &reply).await;
    reader.read_to("First we take ").await;
    far.proxy.stall(&[Way::Back]);
    write(&steps, "the train");
    // By the rows, where it is noted.
    reader.read_to("First we take the train").await;
    steps.send(Step::Finish).unwrap();
    let ended = reader.end().await;
    assert_eq!(ended["outcome"], "COMPLETED");
    assert_eq!(ended["text"], "First we take the train");
    far.proxy.flow();
    far.stop().await;
}

#[tokio::test]
async fn a_connection_to_the_broker_that_freezes_for_good_is_replaced() {
    let Some(far) = Far::new().await else { return };
    let (id, mut open) = far.watched().await;
    assert!(far.proxy.freeze() > 0);
    // No request waits for it meanwhile.
    let began = Instant::now();
    rename(&far.one.url, &id, "Unheard").await;
    for node in [&far.one, &far.other] {
        let events = node.stream(plain("Plan a trip to Nara")).await.rest().await;
        let terminal = assert_common_stream(&events);
        assert_eq!(terminal["raw_type"], "response.completed");
    }
    assert!(began.elapsed() < Duration::from_secs(5));
    open.until(|now| now["displayName"] == "Unheard").await;
    nats_is(&far.other.url, "ok").await;
    rename(&far.one.url, &id, "Heard").await;
    open.until(|now| now["displayName"] == "Heard").await;
    far.stop().await;
}

#[tokio::test]
async fn a_connection_to_the_broker_that_is_cut_again_and_again_loses_nothing() {
    let Some(far) = Far::new().await else { return };
    far.model.reply(Answer::Deltas(ModelServer::REPLY.to_vec()));
    let id = send(&far.one.url, json!({ "text": "Plan a trip to Kyoto" })).await;
    decided(&far.one.url, &id).await;
    let mut open = Watched::one(&far.other.url, &id).await;
    open.next().await;
    for number in 0..10 {
        far.proxy.cut([Cut::Rst, Cut::Fin][number % 2]);
        let name = format!("Name {number}");
        rename(&far.one.url, &id, &name).await;
        open.until(|now| now["displayName"] == *name).await;
    }
    eventually(async || (far.proxy.open() > 0).then_some(())).await;
    far.stop().await;
}
