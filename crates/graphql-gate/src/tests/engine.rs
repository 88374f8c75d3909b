//! How the engine handles requests that passed the gate, and what it would do without the gate.

use async_graphql::{
    BatchRequest, EmptyMutation, Executor, Object, Request, Response, Schema, Subscription,
    futures_util::{Stream, StreamExt, stream},
    parser::types::OperationType,
};
use serde_json::{Value, json};

use super::{Limits, Refusal, admit, check, refused, request};
use crate::Gated;

struct Query;

#[Object]
impl Query {
    async fn a(&self) -> i32 {
        1
    }
    async fn b(&self, c: Option<i32>) -> Option<i32> {
        c
    }
}

struct Titled;

#[Object]
impl Titled {
    async fn id(&self) -> i32 {
        1
    }
    async fn title(&self) -> &str {
        "t"
    }
}

struct Events;

#[Subscription]
impl Events {
    async fn titles(&self, of: Option<i32>) -> impl Stream<Item = Titled> {
        let _ = of;
        stream::iter([Titled])
    }
    async fn ticks(&self) -> impl Stream<Item = i32> {
        stream::iter([1])
    }
}

/// The engine's responses to a request that the gate admitted, one per event.
async fn execute(document: &str, variables: Value) -> Vec<Response> {
    let schema = Schema::build(Query, EmptyMutation, Events)
        .limit_recursive_depth(24)
        .limit_directives(8)
        .finish();
    let mut request = request(document, variables);
    admit(&mut request, &Limits::default()).unwrap();
    schema.execute_stream(request).collect().await
}

#[tokio::test]
async fn a_subscriptions_root_fragments_are_taken_apart() {
    let event = json!({"titles": {"id": 1, "title": "t"}});
    for document in [
        "subscription{titles{id title}}",
        "subscription{...on Events{titles{id title}}}",
        "subscription{...{titles{id title}}}",
        "subscription{...E}fragment E on Events{titles{id title}}",
        "subscription{...E ...E}fragment E on Events{titles{...T}}fragment T on Titled{id title}",
        "subscription{...E}fragment E on Events{...F titles{id}}fragment F on Events{titles{title id}}",
        "subscription{titles(of:1){id} titles(of:1){title}}",
    ] {
        let admitted = check(document).unwrap();
        assert_eq!(admitted.kind, OperationType::Subscription);
        assert_eq!(admitted.root.unwrap().name, "titles");
        let events = execute(document, json!({})).await;
        assert_eq!(events.len(), 1, "{document}: {events:?}");
        assert_eq!(events[0].errors, [], "{document}");
        assert_eq!(json!(events[0].data), event, "{document}");
    }
    let root = check("subscription{t:titles{id}}").unwrap().root.unwrap();
    assert_eq!(
        (root.name.as_str(), root.response_key.as_str()),
        ("titles", "t")
    );
}

#[test]
fn a_subscriptions_arguments_without_a_value_are_left_out() {
    let document =
        "subscription($a:Int $b:Int $c:Int=3 $d:Int=4){titles(a:$a b:$b c:$c d:$d e:null f:1)}";
    let mut request = request(document, json!({"a": 1, "d": null}));
    let admitted = admit(&mut request, &Limits::default()).unwrap();
    let arguments = admitted.root.unwrap().arguments;
    assert_eq!(arguments, ["a", "c", "f"].map(String::from).into());
}

/// Inlined fragments are still validated.
#[tokio::test]
async fn a_subscriptions_root_fragments_are_validated() {
    for document in [
        "subscription{...on Query{ticks}}",
        "subscription{...on Nothing{ticks}}",
        "subscription{...@nothing{ticks}}",
        "subscription{...E}fragment E on Query{ticks}",
        "subscription{ticks}fragment E on Events{ticks}",
        "subscription{...E}fragment E on Events{ticks}fragment F on Events{ticks}",
    ] {
        let events = execute(document, json!({})).await;
        assert!(
            events.len() == 1 && !events[0].errors.is_empty(),
            "{document}: {events:?}"
        );
    }
}

#[test]
fn a_subscription_has_one_root_field() {
    for document in [
        "subscription{ticks titles{id}}",
        "subscription{ticks t:ticks}",
        "subscription{...E ticks}fragment E on Events{titles{id}}",
        "subscription{ticks @d ticks @d}",
    ] {
        assert!(
            matches!(refused(document), Refusal::SubscriptionRootFields { .. }),
            "{document}"
        );
    }
    let other = refused("subscription{titles(of:1){id}titles(of:2){id}}");
    assert!(
        matches!(other, Refusal::ConflictingFields { .. }),
        "{other}"
    );
    for document in [
        "subscription{__typename}",
        "subscription{...{t:__schema{types{name}}}}",
        "subscription{ticks __typename}",
    ] {
        assert!(
            matches!(
                refused(document),
                Refusal::IntrospectionInSubscriptionRoot { .. }
            ),
            "{document}"
        );
    }
    for document in [
        "subscription{ticks @skip(if:false)}",
        "subscription{...@include(if:true){ticks}}",
        "subscription{...{ticks @include(if:true)}}",
        "subscription{...E @skip(if:true) ticks}fragment E on Events{ticks}",
    ] {
        assert!(
            matches!(
                refused(document),
                Refusal::ConditionInSubscriptionRoot { .. }
            ),
            "{document}"
        );
    }
    assert!(check("subscription{titles{id @skip(if:true) title}}").is_ok());
    let two = "subscription A{ticks titles{id}} query B{a}";
    assert!(
        admit(
            &mut Request::new(two).operation_name("B"),
            &Limits::default()
        )
        .is_ok()
    );
}

/// The engine's own `@include` treats an absent variable as false, whatever its default.
#[tokio::test]
async fn conditions_know_the_defaults() {
    let document = "query($a:Boolean=true){a @include(if:$a) b @skip(if:$a)}";
    assert_eq!(
        json!(execute(document, json!({})).await[0].data),
        json!({"a": 1})
    );
    let sent = execute(document, json!({"a": false})).await;
    assert_eq!(json!(sent[0].data), json!({"b": null}));
}

/// What the engine does without the gate. If one of these changes, part of the gate may be obsolete.
#[tokio::test]
async fn the_engine_needs_the_gate() {
    let schema = Schema::new(Query, EmptyMutation, Events);
    let ignored = schema
        .execute_stream("subscription{...{ticks}}")
        .count()
        .await;
    assert_eq!(ignored, 0);
    let response = schema
        .execute("query($a:Boolean=true){a @include(if:$a)}")
        .await;
    assert_eq!(json!(response.data), json!({}));
    let twice = schema
        .execute_stream("subscription{ticks ticks}")
        .count()
        .await;
    assert_eq!(twice, 2);
    let response = schema.execute("query($a:Int!){b(c:$a)}").await;
    assert!(!response.errors[0].path.is_empty(), "a resolver ran");
}

#[tokio::test]
async fn a_batch_over_the_limit_is_refused_whole() {
    let schema = Schema::new(Query, EmptyMutation, Events);
    let limits = Limits {
        batch: 2,
        ..Limits::default()
    };
    let gated = Gated::new(schema, limits);
    let batch = |documents: &[&str]| {
        let requests = documents.iter().copied().map(Request::new).collect();
        gated.execute_batch(BatchRequest::Batch(requests))
    };
    let two = json!(batch(&["{ a }", "{ a(((( }"]).await);
    assert_eq!(two[0], json!({ "data": { "a": 1 } }));
    assert_eq!(
        two[1]["errors"][0]["extensions"]["code"],
        "GRAPHQL_PARSE_FAILED"
    );
    let three = json!(batch(&["{ a }"; 3]).await);
    assert_eq!(
        three["errors"][0]["extensions"],
        json!({ "code": "QUERY_TOO_COMPLEX", "cost": 3, "limit": 2 })
    );
}
