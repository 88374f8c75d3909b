//! Chains: which entry is asked after which failure, and for how long.

use std::time::Instant;

use futures_util::StreamExt;
use reqwest::header::HeaderName;
use serde_json::json as value;

use super::*;
use crate::llm::{
    CallIdentity, Chain, Identity, ModelError, ModelErrorKind, Next, ReplyChunk, ReplyModel,
    ReplyRequest, Task, TitleModel,
};

const EMPTY: &str = r#"{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}"#;
const ANSWER: &str = r#"{"choices":[{"message":{"content":"Kyoto Trip"},"finish_reason":"stop"}]}"#;
const PROBE: Duration = Duration::from_millis(300);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

fn provider(server: &Server, name: &str) -> Arc<Provider> {
    let settings = ProviderSettings {
        name: name.to_owned(),
        api_key: Some(format!("key-of-{name}")),
        probe_every: PROBE,
        ..server.settings()
    };
    Provider::new(settings).unwrap()
}

fn error(status: u16, code: &str) -> Script {
    super::json(
        status,
        &value!({ "error": { "code": code, "message": "model" } }).to_string(),
    )
}

/// Walks until there is a title. Returns the names of the models that were asked, and the outcome.
async fn walk(chain: &Chain) -> (Vec<String>, Option<ModelErrorKind>) {
    let (mut asked, mut failed) = (Vec::new(), None);
    let mut walk = chain.walk(Task::Title);
    while let Some(model) = walk.entry().cloned() {
        asked.push(model.name().to_string());
        match model.title(title_request()).await {
            Ok(_) => {
                walk.answered();
                return (asked, None);
            }
            Err(error) => {
                failed = Some(error.kind);
                if walk.failed(&error, LONGEST_PAUSE) == Next::Over {
                    break;
                }
            }
        }
    }
    (asked, failed)
}

/// Like [`walk`], for a reply, without the pauses before retries.
async fn walk_reply(chain: &Chain) -> (Vec<String>, Option<ModelErrorKind>) {
    let (mut asked, mut failed) = (Vec::new(), None);
    let mut walk = chain.walk(Task::Reply);
    while let Some(model) = walk.entry().cloned() {
        asked.push(model.name().to_string());
        let chunks: Vec<Result<ReplyChunk, ModelError>> =
            match model.reply(ReplyRequest::default()).await {
                Ok(stream) => stream.collect().await,
                Err(error) => vec![Err(error)],
            };
        let Some(error) = chunks.into_iter().find_map(Result::err) else {
            walk.answered();
            return (asked, None);
        };
        failed = Some(error.kind);
        if walk.failed(&error, LONGEST_PAUSE) == Next::Over {
            break;
        }
    }
    (asked, failed)
}

/// The names of models, in the form that [`walk`] returns.
fn asked<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).to_vec()
}

#[tokio::test]
async fn a_retired_model_does_not_keep_its_provider_refused() {
    let quota = || error(429, "insufficient_quota");
    let gone = || error(404, "model_not_found");
    let answer = || super::json(200, ANSWER);
    // Within the minute, both are asked as the last resort.
    let server = Server::start([quota(), gone(), answer(), answer()]);
    let p = provider(&server, "p");
    let chain = Chain::of(p.model("a")).followed_by([p.model("b")]);
    let over = (asked(["p/a"]), Some(ModelErrorKind::QuotaExceeded));
    assert_eq!(walk_reply(&chain).await, over);
    assert_eq!(walk_reply(&chain).await, (asked(["p/a", "p/b"]), None));
    assert_eq!(walk_reply(&chain).await, (asked(["p/b"]), None), "closed");

    // After it, the probe of the provider covers both.
    let server = Server::start([quota(), gone(), answer()]);
    let p = provider(&server, "p");
    let chain = Chain::of(p.model("a")).followed_by([p.model("b")]);
    assert_eq!(walk_reply(&chain).await, over);
    tokio::time::sleep(PROBE).await;
    assert_eq!(walk_reply(&chain).await, (asked(["p/a", "p/b"]), None));

    let server = Server::start([quota(), quota(), gone(), answer()]);
    let p = provider(&server, "p");
    let chain = Chain::of(p.model("a")).followed_by([p.model("b")]);
    for _ in 0..2 {
        assert_eq!(walk(&chain).await, over);
        assert_eq!(walk(&chain).await.0, asked([]), "titles wait");
        tokio::time::sleep(PROBE).await;
    }
    assert_eq!(walk(&chain).await, (asked(["p/a", "p/b"]), None));
    assert_eq!(chain.models()[1].refusal(Task::Title), None);
}

#[tokio::test]
async fn an_entry_that_refused_is_asked_for_a_reply_once_the_others_have_failed() {
    let broken = || error(500, "x");
    let busy = Server::start([broken(), broken(), broken(), broken(), broken()]);
    let answering = Server::start([super::json(200, ANSWER), error(401, "x")]);
    let (m, q) = (provider(&busy, "m"), provider(&answering, "q"));
    let chain = Chain::of(m.model("a")).followed_by([q.model("b")]);
    let open = |failure| chain.models()[1].open(Task::Reply, failure, Instant::now());
    open(ModelErrorKind::Connection);
    let all = asked(["m/a", "m/a", "q/b"]);
    assert_eq!(walk_reply(&chain).await, (all, None));
    // An entry that refuses permanently does not replace the third call of the other one.
    open(ModelErrorKind::Unauthorized);
    let all = asked(["m/a", "m/a", "m/a", "q/b"]);
    let failed = Some(ModelErrorKind::Unauthorized);
    assert_eq!(walk_reply(&chain).await, (all, failed));
}

#[tokio::test]
async fn an_empty_reply_is_retried_once_and_then_the_next_model_is_asked() {
    let empty = || super::json(200, EMPTY);
    let silent = Server::start([empty(), empty(), empty(), empty()]);
    let answering = Server::start([super::json(200, ANSWER)]);
    let (p, q) = (provider(&silent, "p"), provider(&answering, "q"));
    let alone = Chain::of(p.model("a"));
    let failed = Some(ModelErrorKind::Empty);
    assert_eq!(walk_reply(&alone).await, (asked(["p/a", "p/a"]), failed));
    let failure = |chain: &Chain| chain.states(Task::Reply)[0].failure;
    assert_eq!(failure(&alone), None, "the message may be why");
    let chain = alone.followed_by([q.model("b")]);
    let all = asked(["p/a", "p/a", "q/b"]);
    assert_eq!(walk_reply(&chain).await, (all, None));
    assert_eq!(failure(&chain), Some(ModelErrorKind::Empty));
}

#[tokio::test]
async fn the_last_entry_of_a_reply_is_not_retried_before_a_long_wait() {
    let server = Server::start([]);
    let after = |seconds| {
        let error = ModelError {
            status: Some(429),
            retry_after: Some(Duration::from_secs(seconds)),
            ..ModelError::new(ModelErrorKind::RateLimited)
        };
        let chain = Chain::of(provider(&server, "p").model("a"));
        chain.walk(Task::Reply).failed(&error, LONGEST_PAUSE)
    };
    assert_eq!(after(60), Next::Retry(LONGEST_PAUSE));
    assert_eq!(after(61), Next::Over);
}

#[tokio::test]
async fn a_retired_model_gives_way_to_the_next_of_its_provider_and_comes_back() {
    let answer = || super::json(200, ANSWER);
    let server = Server::start([
        error(404, "model_not_found"),
        answer(),
        answer(),
        answer(),
        answer(),
    ]);
    let p = provider(&server, "p");
    let chain = Chain::of(p.model("a")).followed_by([p.model("b")]);
    assert_eq!(
        walk(&chain).await,
        (vec!["p/a".to_owned(), "p/b".to_owned()], None)
    );
    assert_eq!(chain.answering(Task::Title).name().to_string(), "p/b");
    assert_eq!(
        chain.answering(Task::Reply).name().to_string(),
        "p/a",
        "tasks count apart"
    );
    assert_eq!(walk(&chain).await.0, ["p/b"], "not asked again");
    tokio::time::sleep(PROBE).await;
    // Of two concurrent walks, only one gets the probe.
    let (first, second) = (chain.walk(Task::Title), chain.walk(Task::Title));
    assert_eq!(first.entry().unwrap().name().model(), "a");
    assert_eq!(second.entry().unwrap().name().model(), "b");
    assert!(first.answered(), "it had refused before");
    assert!(!second.answered());
    assert_eq!(walk(&chain).await.0, ["p/a"]);
    assert_eq!(chain.answering(Task::Title).name().to_string(), "p/a");
}

#[tokio::test]
async fn a_refused_key_is_the_provider_s_with_all_its_models() {
    for (status, code) in [(401, "x"), (403, "x"), (429, "insufficient_quota")] {
        let refusing = Server::start([error(status, code)]);
        let answering = Server::start([super::json(200, ANSWER), super::json(200, ANSWER)]);
        let (p, q) = (provider(&refusing, "p"), provider(&answering, "q"));
        let chain = Chain::of(p.model("a")).followed_by([p.model("b"), q.model("c")]);
        assert_eq!(
            walk(&chain).await,
            (vec!["p/a".to_owned(), "q/c".to_owned()], None)
        );
        assert_eq!(walk(&chain).await.0, ["q/c"]);
        assert_eq!(refusing.requests().len(), 1);
        for request in answering.requests() {
            assert!(
                request.head.contains("bearer key-of-q\r\n"),
                "{}",
                request.head
            );
            assert!(!request.head.contains("key-of-p"), "{}", request.head);
        }
    }
}

/// Only the provider that asks for identity gets it, and only in its own form.
#[tokio::test]
async fn who_is_asked_for_and_what_was_said_reach_only_the_provider_that_is_asked() {
    let secret = "an identity secret of enough bytes";
    let refused = || error(401, "invalid_api_key");
    let answer = || super::json(200, ANSWER);
    let servers = [refused(), refused(), answer()].map(|script| Server::start([script]));
    let identities = [
        Identity::Headers,
        Identity::Jwt(secret.to_owned()),
        Identity::None,
    ];
    let providers = servers.iter().zip(identities).zip(["p", "q", "r"]);
    let models: Vec<_> = providers
        .map(|((server, identity), name)| {
            let settings = ProviderSettings {
                name: name.to_owned(),
                api_key: Some(format!("key-of-{name}")),
                headers: vec![(
                    HeaderName::from_static("x-project"),
                    format!("project-of-{name}").parse().unwrap(),
                )],
                identity,
                ..server.settings()
            };
            Provider::new(settings).unwrap().model("a")
        })
        .collect();
    let chain = Chain::new(models).unwrap();
    let request = TitleRequest {
        caller: CallIdentity {
            tenant: "acme".to_owned(),
            user: "ada lovelace".to_owned(),
            conversation: "c-1".to_owned(),
            message: "m-1".to_owned(),
            agent: "triage".to_owned(),
            task: Task::Title,
        },
        ..title_request()
    };
    let mut walk = chain.walk(Task::Title);
    while let Some(model) = walk.entry().cloned() {
        match model.title(request.clone()).await {
            Ok(_) => break,
            Err(error) => assert_eq!(walk.failed(&error, LONGEST_PAUSE), Next::Entry),
        }
    }
    let heads = servers
        .each_ref()
        .map(|server| server.requests().remove(0).head);
    for (head, name) in heads.iter().zip(["p", "q", "r"]) {
        for other in ["p", "q", "r"] {
            for own in ["key-of-", "project-of-"] {
                let is_sent = head.contains(&format!("{own}{other}\r\n"));
                assert_eq!(is_sent, other == name, "{own}{other}: {head}");
            }
        }
        assert!(!head.contains(secret), "{head}");
    }
    let [headers, token, none] = &heads;
    for line in [
        "tenant: acme",
        "user: ada%20lovelace",
        "conversation: c-1",
        "message: m-1",
        "agent: triage",
        "task: title",
    ] {
        assert!(
            headers.contains(&format!("x-titlecast-{line}\r\n")),
            "{headers}"
        );
    }
    assert!(!headers.contains("x-titlecast-jwt"), "{headers}");
    assert_eq!(token.matches("x-titlecast-").count(), 1, "{token}");
    assert!(token.contains("x-titlecast-jwt: "), "{token}");
    assert!(!none.contains("x-titlecast-"), "{none}");
}

#[tokio::test]
async fn passing_failures_are_retried_once_and_then_left() {
    let busy = Server::start([
        error(503, "x"),
        error(503, "x"),
        error(503, "x"),
        error(503, "x"),
    ]);
    let answering = Server::start([super::json(200, ANSWER), super::json(200, ANSWER)]);
    let (p, q) = (provider(&busy, "p"), provider(&answering, "q"));
    let chain = Chain::of(p.model("a")).followed_by([q.model("b")]);
    for _ in 0..2 {
        assert_eq!(
            walk(&chain).await.0,
            ["p/a", "p/a", "q/b"],
            "no breaker opens"
        );
    }
    let states = chain.states(Task::Title);
    assert_eq!(states[0].refusal, None);
    assert_eq!(states[0].failure, Some(ModelErrorKind::Unavailable));
    assert!(!states[0].is_answering && states[1].is_answering);
    assert_eq!(chain.outage(Task::Title), None);
}

#[tokio::test]
async fn a_provider_without_a_connection_is_asked_last_for_a_while() {
    let gone = Server::start([]);
    std::thread::sleep(Duration::from_millis(50));
    let answering = Server::start([super::json(200, ANSWER), super::json(200, ANSWER)]);
    let (p, q) = (provider(&gone, "p"), provider(&answering, "q"));
    let chain = Chain::of(p.model("a")).followed_by([p.model("b"), q.model("c")]);
    assert_eq!(walk(&chain).await.0, ["p/a", "p/a", "q/c"]);
    assert_eq!(walk(&chain).await.0, ["q/c"]);
    // As the only entry, it is still asked: the title need not wait.
    let alone = Chain::of(p.model("a"));
    assert_eq!(
        walk(&alone).await,
        (
            vec!["p/a".to_owned(), "p/a".to_owned()],
            Some(ModelErrorKind::Connection)
        )
    );
    assert_eq!(alone.refusal(Task::Title), None);
}

#[tokio::test]
async fn a_connection_that_is_closed_before_an_answer_concerns_one_model() {
    // A router whose backend for one model is down.
    let router = Server::start([Vec::new(), Vec::new(), super::json(200, ANSWER)]);
    let p = provider(&router, "p");
    let chain = Chain::of(p.model("a")).followed_by([p.model("b")]);
    assert_eq!(walk(&chain).await.0, ["p/a", "p/a", "p/b"]);
    assert_eq!(chain.refusal(Task::Title), None);
}

#[tokio::test]
async fn silence_costs_one_request() {
    let hours = Duration::from_secs(3600);
    let silent = Server::start([vec![(hours, Vec::new())]]);
    let answering = Server::start([super::json(200, ANSWER)]);
    let settings = ProviderSettings {
        first_event: Duration::from_millis(300),
        idle: Duration::from_millis(300),
        ..silent.settings()
    };
    let (p, q) = (Provider::new(settings).unwrap(), provider(&answering, "q"));
    let chain = Chain::of(p.model("a")).followed_by([q.model("b")]);
    let mut walk = chain.walk(Task::Reply);
    let model = walk.entry().unwrap().clone();
    let failed = match model.reply(ReplyRequest::default()).await {
        Ok(mut stream) => stream.next().await.unwrap().unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(failed.kind, ModelErrorKind::Timeout);
    assert_eq!(walk.failed(&failed, LONGEST_PAUSE), Next::Over);
    assert_eq!(silent.requests().len(), 1);
    assert!(answering.requests().is_empty());
}

#[tokio::test]
async fn titles_wait_and_replies_do_not_where_every_model_refuses() {
    let server = Server::start([]);
    let p = provider(&server, "p");
    let chain = Chain::of(p.model("a")).followed_by([p.model("b")]);
    let refusal = ModelError::new(ModelErrorKind::Unauthorized);
    for task in [Task::Title, Task::Reply] {
        let mut walk = chain.walk(task);
        assert_eq!(
            walk.failed(&refusal, LONGEST_PAUSE),
            Next::Over,
            "the provider's, with both"
        );
        assert_eq!(chain.refusal(task), Some(ModelErrorKind::Unauthorized));
    }
    let waiting = chain.walk(Task::Title);
    assert!(waiting.entry().is_none());
    assert!(waiting.refused_for() <= PROBE && !waiting.refused_for().is_zero());
    let mut asking = chain.walk(Task::Reply);
    assert_eq!(asking.entry().unwrap().name().model(), "a");
    assert_eq!(asking.failed(&refusal, LONGEST_PAUSE), Next::Over);
}

#[tokio::test]
async fn what_follows_each_failure() {
    let server = Server::start([]);
    let after = |kind, status, code: Option<&str>, retry_after| {
        // A row leaves no breaker open for the next one.
        let p = provider(&server, "p");
        let chain = Chain::of(p.model("a")).followed_by([p.model("b")]);
        let error = ModelError {
            status,
            code: code.map(str::to_owned),
            retry_after,
            ..ModelError::new(kind)
        };
        [Task::Title, Task::Reply].map(|task| chain.walk(task).failed(&error, LONGEST_PAUSE))
    };
    let again = [200, 500].map(|ms| Next::Retry(Duration::from_millis(ms)));
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    #[rustfmt::skip]
    let table = [
        (after(ModelErrorKind::Unavailable, Some(503), None, None), again),
        (after(ModelErrorKind::RateLimited, Some(429), None, None), again),
        (after(ModelErrorKind::RateLimited, Some(429), None, seconds(3)), [Next::Retry(Duration::from_secs(3)); 2]),
        (after(ModelErrorKind::RateLimited, Some(429), None, seconds(60)), [Next::Entry; 2]),
        (after(ModelErrorKind::Interrupted, None, None, None), again),
        (after(ModelErrorKind::Timeout, Some(408), None, None), again),
        (after(ModelErrorKind::Timeout, None, None, None), [Next::Over; 2]),
        (after(ModelErrorKind::Malformed, Some(200), None, None), [Next::Entry; 2]),
        // A title is first asked for without its optional parameters.
        (after(ModelErrorKind::InvalidRequest, Some(400), None, None), [again[0], Next::Entry]),
        (after(ModelErrorKind::InvalidRequest, Some(400), Some("content_filter"), None), [Next::Over; 2]),
        (after(ModelErrorKind::TooLong, Some(400), Some("context_length_exceeded"), None), [Next::Entry; 2]),
    ];
    for (number, (found, expected)) in table.into_iter().enumerate() {
        assert_eq!(found, expected, "row {number}");
    }
}
