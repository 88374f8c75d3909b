//! Computes the complexity of a rejected operation, because the engine's error does not include numbers.

use std::collections::HashMap;

use async_graphql::{
    Name, Positioned, Request, Response, Value as ConstValue, Variables,
    parser::types::{Field, FragmentDefinition, Selection, SelectionSet},
};
use async_graphql_value::Value;

use super::{MAX_COMPLEXITY, connections};

/// The engine's error message for an operation over the complexity limit.
const TOO_COMPLEX: &str = "Query is too complex.";

/// A complexity over the limit, and the path of the list that causes most of it, such as
/// `conversations.nodes.messages`.
pub(super) struct Excess {
    cost: usize,
    field: String,
}

/// Computes the complexity over all operations of the document, as the engine does; `None` if it is within the limit.
pub(super) fn excess(request: &mut Request) -> Option<Excess> {
    let variables = request.variables.clone();
    let document = request.parsed_query().ok()?;
    let count = Count {
        fragments: &document.fragments,
        variables: &variables,
    };
    let operations = document.operations.iter();
    let sets = operations.map(|(_, operation)| &operation.node.selection_set.node);
    let cost = sets.clone().map(|set| count.set(set)).sum();
    if cost <= MAX_COMPLEXITY {
        return None;
    }
    let most_complex = sets.max_by_key(|set| count.set(set))?;
    let mut path = Vec::new();
    count.most_complex(most_complex, &mut path);
    Some(Excess {
        cost,
        field: path.join("."),
    })
}

/// Adds the complexity and the list to the engine's error.
pub(super) fn explain(response: &mut Response, excess: Option<&Excess>) {
    let Some(Excess { cost, field }) = excess else {
        return;
    };
    for error in &mut response.errors {
        if error.message == TOO_COMPLEX {
            let extensions = error.extensions.get_or_insert_default();
            extensions.set("cost", *cost);
            extensions.set("limit", MAX_COMPLEXITY);
            extensions.set("field", field.as_str());
        }
    }
}

/// The complexity of a `totalCount`, which reads up to 10,000 rows. Multiplied by the page size of an enclosing list.
pub(super) const COUNT: usize = 10;

struct Count<'a> {
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    variables: &'a Variables,
}

impl<'a> Count<'a> {
    /// The selected fields, with fragments expanded. The gate has already limited their number and rejected cycles.
    fn fields(&self, set: &'a SelectionSet) -> Vec<&'a Field> {
        let mut fields = Vec::new();
        for selection in &set.items {
            let inner = match &selection.node {
                Selection::Field(field) => {
                    fields.push(&field.node);
                    continue;
                }
                Selection::InlineFragment(inline) => Some(&inline.node.selection_set.node),
                Selection::FragmentSpread(spread) => {
                    let fragment = self.fragments.get(&spread.node.fragment_name.node);
                    fragment.map(|fragment| &fragment.node.selection_set.node)
                }
            };
            if let Some(inner) = inner {
                fields.extend(self.fields(inner));
            }
        }
        fields
    }

    fn set(&self, set: &'a SelectionSet) -> usize {
        let fields = self.fields(set).into_iter();
        fields.map(|field| self.field(field)).sum()
    }

    fn field(&self, field: &'a Field) -> usize {
        let inner = self.set(&field.selection_set.node);
        match default_page(field) {
            Some(default) => {
                let asked = self.number(field, "first");
                let asked = asked.or_else(|| self.number(field, "last"));
                connections::cost(asked, default, inner)
            }
            None if field.name.node == "totalCount" => COUNT,
            None => 1 + inner,
        }
    }

    fn number(&self, field: &Field, argument: &str) -> Option<i32> {
        let number = match field.get_argument(argument)?.node.clone() {
            Value::Variable(name) => match self.variables.get(&name)? {
                ConstValue::Number(number) => number.as_i64(),
                _ => None,
            },
            Value::Number(number) => number.as_i64(),
            _ => None,
        };
        number?.try_into().ok()
    }

    /// Appends the path to the most complex list, then to the most complex list within it.
    fn most_complex(&self, set: &'a SelectionSet, path: &mut Vec<&'a str>) {
        let fields = self.fields(set).into_iter();
        let Some(field) = fields.max_by_key(|field| self.field(field)) else {
            return;
        };
        path.push(field.name.node.as_str());
        let inner = &field.selection_set.node;
        if default_page(field).is_none() || self.has_lists(inner) {
            self.most_complex(inner, path);
        }
    }

    fn has_lists(&self, set: &'a SelectionSet) -> bool {
        self.fields(set)
            .into_iter()
            .any(|field| default_page(field).is_some() || self.has_lists(&field.selection_set.node))
    }
}

/// The default page size of a list field.
fn default_page(field: &Field) -> Option<usize> {
    match field.name.node.as_str() {
        "conversations" | "conversationChanges" | "messages" => Some(50),
        "searchConversations" => Some(20),
        "versions" => Some(10),
        "parts" | "metadata" | "highlights" => Some(5),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::{Schema, parser::parse_query};

    use super::*;
    use crate::api::graphql::builder;

    fn excess_of(query: &str, variables: serde_json::Value) -> Option<(usize, String)> {
        let mut request = Request::new(query).variables(Variables::from_json(variables));
        request.set_parsed_query(parse_query(query).unwrap());
        excess(&mut request).map(|excess| (excess.cost, excess.field))
    }

    /// Whether the engine accepts the query under this limit.
    async fn engine_accepts(query: &str, variables: &serde_json::Value, limit: usize) -> bool {
        let schema: Schema<_, _, _> = builder().limit_complexity(limit).finish();
        let request = Request::new(query).variables(Variables::from_json(variables.clone()));
        // After passing the limit, the query fails or panics, because there are no services.
        let response = crate::panics::catch(schema.execute(request)).await;
        let is_refused = |response: &Response| {
            let mut errors = response.errors.iter();
            errors.any(|error| error.message == TOO_COMPLEX)
        };
        !response.as_ref().is_ok_and(is_refused)
    }

    #[tokio::test]
    async fn it_is_counted_as_the_engine_counts() {
        let none = serde_json::json!({});
        #[rustfmt::skip]
        let table = [
            ("{conversations(first:100){nodes{messages(first:100){nodes{id}}}}}", none.clone(), "conversations.nodes.messages"),
            ("{a:conversations(first:90){...F}} fragment F on ConversationConnection{nodes{id messages(last:70){nodes{id content}}}}", none.clone(), "conversations.nodes.messages"),
            ("query($n:Int){searchConversations(query:\"a\"){nodes{conversation{title messages(first:$n){nodes{id role content createdAt}}}}}}", serde_json::json!({ "n": 99 }), "searchConversations.nodes.conversation.messages"),
            ("query A{conversations{nodes{messages(first:40){nodes{id role content}}}}} query B{conversations{nodes{messages(first:30){nodes{id role content}}}}}", none.clone(), "conversations.nodes.messages"),
            ("{conversations(first:1){nodes{messages(last:100){nodes{versions{id role content status outcome model createdAt inReplyTo}}}}}}", none.clone(), "conversations.nodes.messages.nodes.versions"),
            ("{conversations(first:2){nodes{messages(last:100){nodes{id versions{id parts{...on TextPart{text}}}}}}}}", none.clone(), "conversations.nodes.messages.nodes.versions.parts"),
            ("{conversations(first:100){totalCount nodes{metadata{key value} messages(first:100){nodes{id}}}}}", none.clone(), "conversations.nodes.messages"),
            ("{a:conversations{totalCount nodes{metadata{key}}} searchConversations(query:\"a\",first:100){nodes{highlights{start end} conversation{messages{nodes{id role}}}}}}", none.clone(), "searchConversations.nodes.conversation.messages"),
            ("subscription A{conversationUpdated{id}} query B{conversations(first:100){nodes{messages(first:100){nodes{id}}}}}", none, "conversations.nodes.messages"),
        ];
        for (query, variables, most_complex) in table {
            let (cost, field) = excess_of(query, variables.clone()).expect(query);
            assert_eq!(field, most_complex, "{query}");
            let name = query.contains("query A").then_some("A");
            if name.is_none() && !query.starts_with("subscription") {
                assert!(
                    engine_accepts(query, &variables, cost).await,
                    "{cost}: {query}"
                );
                assert!(
                    !engine_accepts(query, &variables, cost - 1).await,
                    "{cost}: {query}"
                );
            }
        }
        let fits = "{conversations{nodes{id messages{nodes{id content}}}}}";
        assert_eq!(excess_of(fits, serde_json::json!({})), None);
    }
}
