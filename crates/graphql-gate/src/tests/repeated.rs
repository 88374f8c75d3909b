//! Fields that a document selects more than once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_graphql::{EmptySubscription, Object, Schema};
use serde_json::{Value, json};

use super::{Limits, Refusal, admit, refused, request};

#[derive(Clone, Default)]
struct Calls(Arc<AtomicUsize>);

impl Calls {
    fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

struct Thing(String, usize);

#[Object]
impl Thing {
    async fn id(&self) -> &str {
        &self.0
    }
    async fn call(&self) -> usize {
        self.1
    }
    async fn part(&self, of: Option<i32>) -> Self {
        Self(format!("{}{of:?}", self.0), self.1)
    }
}

struct Query(Calls);

#[Object]
impl Query {
    async fn thing(&self, id: Option<String>) -> Thing {
        Thing(id.unwrap_or_default(), self.0.add())
    }
}

struct Mutation(Calls);

#[Object]
impl Mutation {
    async fn make(&self, id: Option<String>) -> Thing {
        Thing(id.unwrap_or_default(), self.0.add())
    }
}

/// The response to an admitted request, and the number of root resolver calls.
async fn execute(document: &str, variables: Value, operation: Option<&str>) -> (Value, usize) {
    let calls = Calls::default();
    let schema = Schema::new(
        Query(calls.clone()),
        Mutation(calls.clone()),
        EmptySubscription,
    );
    let mut request = request(document, variables);
    if let Some(operation) = operation {
        request = request.operation_name(operation);
    }
    admit(&mut request, &Limits::default()).unwrap();
    let response = schema.execute(request).await;
    assert_eq!(response.errors, [], "{document}");
    (json!(response.data), calls.0.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_mutation_that_is_selected_twice_is_executed_once() {
    for document in [
        r#"mutation{make(id:"a"){id} make(id:"a"){call}}"#,
        r#"mutation{make(id:"a"){id} ...F}fragment F on Mutation{make(id:"a"){call}}"#,
        r#"mutation{...F ...F}fragment F on Mutation{make(id:"a"){id call}}"#,
        r#"mutation{...F ...G}fragment F on Mutation{make(id:"a"){id}}fragment G on Mutation{...F make(id:"a"){call}}"#,
        r#"mutation{...{make(id:"a"){id}} ...on Mutation{make(id:"a"){call}}}"#,
        r#"mutation{make(id:"a"){id} make(id:"a"){call} __typename}"#,
    ] {
        let (data, calls) = execute(document, json!({}), None).await;
        assert_eq!(data["make"], json!({"id": "a", "call": 0}), "{document}");
        assert_eq!(calls, 1, "{document}");
    }
    let two = r#"mutation{a:make(id:"a"){id} b:make(id:"a"){id}}"#;
    assert_eq!(execute(two, json!({}), None).await.1, 2);
}

#[tokio::test]
async fn the_variables_of_a_repeated_field_count() {
    let document = "mutation($a:String $b:Boolean!){make(id:$a){id} make(id:$a){call ...@include(if:$b){of:id}}}";
    let (data, calls) = execute(document, json!({"a": "x", "b": true}), None).await;
    assert_eq!(data, json!({"make": {"id": "x", "call": 0, "of": "x"}}));
    assert_eq!(calls, 1);
}

#[tokio::test]
async fn a_repeated_mutation_keeps_the_order_of_the_others() {
    for document in [
        "mutation{...on Mutation{a:make{call}} b:make{call} ...on Mutation{c:make{call}}}",
        "mutation{...F b:make{call} ...G}fragment F on Mutation{a:make{call}}fragment G on Mutation{a:make{id} c:make{call}}",
        "mutation{a:make{call} ...on Mutation @include(if:true){b:make{call}} ...on Mutation{a:make{id} c:make{call}}}",
    ] {
        let (data, calls) = execute(document, json!({}), None).await;
        assert_eq!(calls, 3, "{document}");
        for (number, key) in ["a", "b", "c"].into_iter().enumerate() {
            assert_eq!(data[key]["call"], number, "{document}: {data}");
        }
    }
}

/// Clients add `__typename` to each fragment of the root.
#[tokio::test]
async fn a_type_name_may_be_repeated_beside_conditions() {
    let document = "mutation($a:Boolean! $b:Boolean!){...on Mutation @include(if:$a){__typename one:make{call}} \
        ...on Mutation @include(if:$b){__typename two:make{call}}}";
    let (data, calls) = execute(document, json!({"a": true, "b": false}), None).await;
    assert_eq!(data, json!({"__typename": "Mutation", "one": {"call": 0}}));
    assert_eq!(calls, 1);
}

#[tokio::test]
async fn the_children_of_a_repeated_mutation_are_merged_too() {
    let document =
        "mutation{make{part(of:1){id}} ...F}fragment F on Mutation{make{part(of:1){call}}}";
    let mut request = request(document, json!({}));
    admit(&mut request, &Limits::default()).unwrap();
    let document = request.parsed_query().unwrap();
    let (_, operation) = document.operations.iter().next().unwrap();
    let text = format!("{:?}", operation.node.selection_set);
    assert_eq!(text.matches("Name(\"part\")").count(), 1, "{text}");
}

#[tokio::test]
async fn a_missing_selection_of_a_repeated_mutation_is_what_is_reported() {
    let schema = Schema::new(
        Query(Calls::default()),
        Mutation(Calls::default()),
        EmptySubscription,
    );
    let mut request = request("mutation{make{id} make}", json!({}));
    admit(&mut request, &Limits::default()).unwrap();
    let errors = schema.execute(request).await.errors;
    assert!(
        errors[0]
            .message
            .contains("must have a selection of subfields"),
        "{errors:?}"
    );
}

#[test]
fn a_repeated_mutation_beside_conditions_is_refused() {
    for document in [
        "mutation($b:Boolean!){make{id} make@include(if:$b){call}}",
        "mutation($b:Boolean!){make{id} ...@skip(if:$b){make{call}}}",
        "mutation($b:Boolean!){make{id} ...F}fragment F on Mutation @skip(if:$b){make{call}}",
    ] {
        let mut request = request(document, json!({"b": true}));
        let refusal = admit(&mut request, &Limits::default()).unwrap_err();
        assert!(
            matches!(refusal, Refusal::RepeatedMutation { .. }),
            "{document}: {refusal}"
        );
    }
}

#[tokio::test]
async fn a_repeated_query_is_executed_once_within_a_selection_set() {
    let repeated = "thing{part(of:1){id}}".repeat(60);
    for document in [
        format!("{{{repeated}}}"),
        format!(
            "{{...F {} }}fragment F on Query{{thing{{part(of:1){{id}}}}}}",
            "...F ".repeat(60)
        ),
        format!("{{{}}}", "...on Query{thing{part(of:1){id}}}".repeat(60)),
        format!("{{{}}}", "...{thing{part(of:1){id}}}".repeat(60)),
    ] {
        let limits = Limits {
            root_fields: 100,
            ..Limits::default()
        };
        let calls = Calls::default();
        let schema = Schema::new(
            Query(calls.clone()),
            Mutation(calls.clone()),
            EmptySubscription,
        );
        let mut request = request(&document, json!({}));
        admit(&mut request, &limits).unwrap();
        let response = schema.execute(request).await;
        assert_eq!(
            json!(response.data),
            json!({"thing": {"part": {"id": "Some(1)"}}}),
            "{document}"
        );
        assert_eq!(calls.0.load(Ordering::Relaxed), 1, "{document}");
    }
}

#[test]
fn fields_that_cannot_be_merged_are_refused() {
    for document in [
        r#"{thing(id:"a"){id} thing(id:"b"){id}}"#,
        r#"{thing(id:"a"){id} ...F}fragment F on Query{thing(id:"b"){call}}"#,
        r#"{thing{x:id} thing{x:call}}"#,
        r#"{thing{x:id ...F}}fragment F on Thing{x:call}"#,
        r#"{thing{part(of:1){id}} ...on Query{thing{part(of:2){id}}}}"#,
        r#"{thing{...{part(of:1){id}} ...on Thing{part{id}}}}"#,
        r#"mutation{make(id:"a"){id} ...F}fragment F on Mutation{make(id:"b"){call}}"#,
        "query($a:String $b:String){thing(id:$a){id} ...on Query{thing(id:$b){id}}}",
    ] {
        let refusal = refused(document);
        assert!(
            matches!(refusal, Refusal::ConflictingFields { .. }),
            "{document}: {refusal}"
        );
        assert_eq!(refusal.code(), "GRAPHQL_VALIDATION_FAILED");
    }
    let refusal = refused(r#"{thing(id:"a"){id} ...on Query{thing(id:"b"){id}}}"#);
    let text = r#""thing" is selected twice, as different fields or with different arguments: give one of them an alias"#;
    assert_eq!(refusal.to_string(), text);
}

/// An object has one type, so fields of different types never meet.
#[test]
fn fields_of_different_types_do_not_conflict() {
    for document in [
        "{thing{...on Dog{x:name} ...on Cat{x:color}}}",
        "{thing{...on Dog{p{x:name}} ...on Cat{p{x:color}}}}",
        r#"{a:thing(id:"a"){id} b:thing(id:"b"){id}}"#,
        "{thing{part(of:1){id}} ...on Query{thing{part(of:1){call}}}}",
        "{thing{p(a:1 b:2) ...on Thing{p(b:2 a:1)}}}",
    ] {
        let mut request = request(document, json!({}));
        assert!(
            admit(&mut request, &Limits::default()).is_ok(),
            "{document}"
        );
    }
    let meets = "{thing{p{x:name} ...on Cat{p{x:color}}}}";
    assert!(matches!(refused(meets), Refusal::ConflictingFields { .. }));
}

#[tokio::test]
async fn operations_that_are_not_executed_do_not_matter() {
    let document = "query A($id:String!){thing(id:$id){...F}} query B($id:Int){thing{part(of:$id){...G}}} \
        fragment F on Thing{id} fragment G on Thing{call}";
    let (data, _) = execute(document, json!({"id": "a"}), Some("A")).await;
    assert_eq!(data, json!({"thing": {"id": "a"}}));
    let (data, _) = execute(document, json!({"id": 7}), Some("B")).await;
    assert_eq!(data, json!({"thing": {"part": {"call": 0}}}));
}

#[tokio::test]
async fn directives_of_a_type_name_are_validated() {
    let document = "query($b:Boolean!){thing{id} __typename @skip(if:$b)}";
    let (data, _) = execute(document, json!({"b": true}), None).await;
    assert_eq!(data, json!({"thing": {"id": ""}}));
    let (data, _) = execute(document, json!({"b": false}), None).await;
    assert_eq!(data, json!({"thing": {"id": ""}, "__typename": "Query"}));
    let schema = Schema::new(
        Query(Calls::default()),
        Mutation(Calls::default()),
        EmptySubscription,
    );
    let mut request = request("{thing{id} __typename @nothing}", json!({}));
    admit(&mut request, &Limits::default()).unwrap();
    assert!(!schema.execute(request).await.errors.is_empty());
}
