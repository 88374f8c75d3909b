//! Background loops that panic, block or fail: each shows by its name on the health pages and in the metrics, the other
//! loops continue, and it recovers when the fault is over.

use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt, future::ready, stream};
use serde_json::{Value, json};
use strum::VariantArray;
use titlecast::{
    conversation::Owner,
    supervisor::{Loop, LoopReport, LoopState},
};
use titlecast_testing::{
    Hold, ModelServer, Server, TestDatabase,
    auth::{AUDIENCE, ISSUER},
    calls::rename,
    eventually,
    keys::{KeyServer, Pair},
    metrics::series,
    nats::{self, two_nodes},
    replies::being_written,
    server::{metrics, request},
    titles::{Watched, send},
};

/// Between two renames, which give the loops something to do that else wait: longer than the quiet before an erasure.
const RENAMES: Duration = Duration::from_millis(1_500);

/// How many servers run at once in one test.
const SCENES: usize = 3;

/// A server in which every loop runs, and has something to do all the time.
struct Scene {
    server: Server,
    url: String,
    metrics: String,
    busy: tokio::task::JoinHandle<()>,
    _keys: KeyServer,
}

impl Scene {
    async fn new() -> Self {
        let model = ModelServer::start().await;
        let keys = KeyServer::start(vec![Pair::ed().jwk("ed")]).await;
        let settings = [
            ["--jwt-keys", &keys.url],
            ["--jwt-issuer", ISSUER],
            ["--jwt-audience", AUDIENCE],
            // It beats without a connection, too.
            ["--nats-url", "nats://127.0.0.1:1"],
            ["--reply-lease", "2s"],
            ["--database-connections", "4"],
        ];
        let mut server = Server::start_with(&model, settings.as_flattened()).await;
        let url = server.serve(Owner::local()).await;
        let metrics = server.serve_metrics().await;
        let pause = format!("loop.pause {}", server.app.loops().id());
        fail::cfg(pause, "return(200)").unwrap();
        let at = url.clone();
        #[expect(clippy::disallowed_methods, reason = "it ends with the scene")]
        let busy = tokio::spawn(async move {
            // The reply runs until the end.
            let (id, _, _steps) = being_written(&model, &at).await;
            let mut ticks = tokio::time::interval(RENAMES);
            for number in 0.. {
                ticks.tick().await;
                rename(&at, &id, &format!("Name {number}")).await;
            }
        });
        Self {
            server,
            url,
            metrics,
            busy,
            _keys: keys,
        }
    }

    /// A failpoint of this server's loops.
    fn set(&self, name: &str, action: &str) {
        fail::cfg(format!("{name} {}", self.server.app.loops().id()), action).unwrap();
    }

    fn report(&self, of: Loop) -> LoopReport {
        let report = self.server.app.loops().report();
        *report.iter().find(|one| one.kind == of).unwrap()
    }

    /// Waits until the other loops have ended an iteration since then. None of them was started again.
    async fn others_go_on(&self, of: Loop, since: Instant) {
        let others = all().filter(|other| *other != of);
        for other in others {
            self.works(other, since).await;
            assert_eq!(self.report(other).restarts, 0, "{other:?}");
        }
    }

    /// Waits until a loop has ended an iteration since then.
    async fn works(&self, of: Loop, since: Instant) {
        eventually(async || {
            let elapsed = since.elapsed();
            (self.report(of).since_heartbeat < elapsed).then_some(())
        })
        .await;
    }

    /// Waits until the pages say this, word by word: `/healthz` and `/readyz` with their status, and the gauge of the loop.
    async fn says(&self, of: Loop, expected: &Expected) {
        let (healthz, readyz) = (expected.healthz, expected.readyz);
        let words = expected.loops.replace("NAME", of.name());
        eventually(async || {
            let (status, page) = request(&self.url, "GET", "/readyz", None).await;
            // Another loop may be reported briefly: wait for the one page that matches.
            if page["loops"] != *words || status != readyz {
                return None;
            }
            let has_degraded = page["degraded"]
                .as_array()
                .unwrap()
                .contains(&json!("loops"));
            assert_eq!(has_degraded, words != "ok" && readyz == 200, "{page}");
            let (status, page) = request(&self.url, "GET", "/healthz", None).await;
            let stuck: &[Value] = page["stuck"].as_array().map_or(&[], Vec::as_slice);
            if status != healthz || (healthz == 503) != (stuck == [json!(of.name())]) {
                return None;
            }
            let ready = self.value("titlecast_ready", None).await;
            let up = self.value("titlecast_loop_up", Some(of)).await;
            let is_ready = f64::from(u8::from(readyz == 200));
            (ready == is_ready && up == f64::from(u8::from(words == "ok"))).then_some(())
        })
        .await;
    }

    async fn value(&self, name: &str, of: Option<Loop>) -> f64 {
        let series = series(&metrics(&self.metrics).await);
        let is_it = |labels: &std::collections::BTreeMap<String, String>| {
            of.is_none_or(|of| labels["loop"] == of.name())
        };
        let found = series
            .iter()
            .find(|one| one.name == name && is_it(&one.labels));
        found.unwrap_or_else(|| panic!("no {name}")).value
    }

    async fn end(self) {
        fail::remove(format!("loop.pause {}", self.server.app.loops().id()));
        self.busy.abort();
        drop(self.server);
    }
}

/// What the pages say of a loop.
struct Expected {
    healthz: u16,
    readyz: u16,
    loops: &'static str,
}

const GOOD: Expected = Expected {
    healthz: 200,
    readyz: 200,
    loops: "ok",
};
const FAILING: Expected = Expected {
    loops: "failing: NAME",
    ..GOOD
};
const LATE: Expected = Expected {
    loops: "late: NAME",
    ..GOOD
};
const STUCK: Expected = Expected {
    healthz: 503,
    readyz: 503,
    loops: "stuck: NAME",
};

/// Those that work on the present database: nothing is erased from PostgreSQL.
fn all() -> impl Iterator<Item = Loop> {
    let all = Loop::VARIANTS.iter().copied();
    all.filter(|of| *of != Loop::Erasure || !TestDatabase::is_on_server())
}

/// Every loop that there is gets every fault: one that is added has to be busy in [`Scene`].
async fn each(fault: impl AsyncFn(&Scene, Loop)) {
    let scenes = all().map(async |of| {
        let scene = Scene::new().await;
        // One that fails must not keep the others' loops held: the runtime would not end.
        let failed = AssertUnwindSafe(fault(&scene, of)).catch_unwind().await;
        scene.end().await;
        failed.is_err().then_some(of)
    });
    // The database server has to bear them all.
    let failed = stream::iter(scenes).buffer_unordered(SCENES);
    let failed: Vec<Loop> = failed.filter_map(ready).collect().await;
    assert!(failed.is_empty(), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_loop_that_panics_is_started_again_after_a_pause_and_counted() {
    each(async |scene, of| {
        let (name, began) = (format!("loop.{}", of.name()), Instant::now());
        // Until that was seen, on a slow machine: the pauses grow.
        scene.set(&name, "panic");
        scene.says(of, &LATE).await;
        scene.set(&name, "off");
        scene.says(of, &GOOD).await;
        assert!(began.elapsed() > Duration::from_secs(1), "no pause");
        let restarts = scene.report(of).restarts;
        assert!(restarts > 0);
        let counted = scene.value("titlecast_loop_restarts_total", Some(of)).await;
        assert_eq!(counted, restarts as f64);
        scene.others_go_on(of, began).await;
        // It does its work again.
        scene.works(of, Instant::now()).await;
        assert_eq!(scene.report(of).restarts, restarts);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_loop_that_blocks_is_late_then_stuck_and_good_again_when_it_goes_on() {
    each(async |scene, of| {
        let name = format!("loop.{}", of.name());
        let mut hold = Hold::named(&name, &scene.server.app.loops().id().to_string());
        hold.reached().await;
        let held = Instant::now();
        // Within its limit.
        scene.says(of, &GOOD).await;
        scene.others_go_on(of, held).await;
        let elapsed = held.elapsed();
        assert!(scene.report(of).since_heartbeat > elapsed, "{of:?}");
        let overdue = format!("loop.overdue.{}", of.name());
        scene.set(&overdue, "return(3)");
        scene.says(of, &LATE).await;
        scene.set(&overdue, "return(61)");
        scene.says(of, &STUCK).await;
        scene.set(&overdue, "off");
        drop(hold);
        scene.says(of, &GOOD).await;
        assert_eq!(scene.report(of).restarts, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_loop_that_fails_goes_on_and_shows_when_it_fails_every_time() {
    each(async |scene, of| {
        let name = format!("loop.{}", of.name());
        scene.set(&name, "1*return");
        eventually(async || (scene.report(of).failures > 0).then_some(())).await;
        scene.says(of, &GOOD).await;
        scene.set(&name, "return");
        scene.says(of, &FAILING).await;
        let failures = scene.value("titlecast_loop_failures_total", Some(of)).await;
        assert!(failures >= 3.0, "{failures}");
        scene.set(&name, "off");
        scene.says(of, &GOOD).await;
        assert_eq!(scene.report(of).restarts, 0);
    })
    .await;
}

#[tokio::test]
async fn every_loop_runs_in_one_server_and_each_once() {
    let scene = Scene::new().await;
    let mut running: Vec<&str> = Vec::new();
    for one in scene.server.app.loops().report() {
        assert_eq!(one.state, LoopState::Good, "{one:?}");
        running.push(one.kind.name());
    }
    running.sort_unstable();
    let mut all: Vec<&str> = Loop::VARIANTS.iter().map(|of| of.name()).collect();
    all.sort_unstable();
    assert_eq!(running, all);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_nodes_do_while_the_relay_of_another_is_down_is_seen_when_it_runs_again() {
    let Some(nats) = nats::shared().await else {
        return;
    };
    let model = ModelServer::start().await;
    let (one, other) = two_nodes(&model, &nats).await;
    let mut here = Watched::list(&one.url).await;
    let mut there = Watched::list(&other.url).await;
    let input = json!({ "text": "Plan a trip to Kyoto", "autoTitle": false });
    let id = send(&one.url, input).await;
    there.until(|now| now["messageCount"] == 2).await;
    let relay = format!("loop.relay {}", other.app.loops().id());
    // For seven seconds: a look at the last two, which clocks need, is not enough.
    fail::cfg(relay.as_str(), "3*panic").unwrap();
    eventually(async || {
        let (_, page) = other.get("/readyz").await;
        (page["loops"] == "late: relay" && page["nats"] == "degraded").then_some(())
    })
    .await;
    // Both ways.
    rename(&one.url, &id, "Unheard").await;
    there.until(|now| now["displayName"] == "Unheard").await;
    rename(&other.url, &id, "Heard").await;
    here.until(|now| now["displayName"] == "Heard").await;
    nats::nats_is(&other.url, "ok").await;
    fail::remove(relay);
    other.stop().await;
    one.stop().await;
}
