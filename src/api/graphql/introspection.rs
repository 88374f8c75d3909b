//! Detects documents that read the schema, for servers that hide it.
//!
//! The engine's own switch answers `__schema` with null and no error, and leaves federation's `_service` open.

use std::collections::HashMap;

use async_graphql::{
    Name, Positioned, Request,
    parser::types::{FragmentDefinition, Selection, SelectionSet},
};

/// The root fields that describe the schema.
const FIELDS: [&str; 3] = ["__schema", "__type", "_service"];

/// Whether any operation of the document selects one of these fields at its root, regardless of `@skip` and `@include`.
pub(super) fn is_selected(request: &mut Request) -> bool {
    let Ok(document) = request.parsed_query() else {
        return false;
    };
    let fragments = &document.fragments;
    let mut operations = document.operations.iter();
    operations.any(|(_, operation)| selects(&operation.node.selection_set.node, fragments))
}

/// Checks a selection set with fragments expanded. The gate has already limited their number and rejected cycles.
fn selects(set: &SelectionSet, fragments: &HashMap<Name, Positioned<FragmentDefinition>>) -> bool {
    set.items.iter().any(|selection| match &selection.node {
        Selection::Field(field) => FIELDS.contains(&field.node.name.node.as_str()),
        Selection::InlineFragment(inline) => selects(&inline.node.selection_set.node, fragments),
        Selection::FragmentSpread(spread) => fragments
            .get(&spread.node.fragment_name.node)
            .is_some_and(|fragment| selects(&fragment.node.selection_set.node, fragments)),
    })
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;

    #[test]
    fn fields_of_the_schema_are_found_at_the_root_of_every_operation() {
        for (document, expected) in [
            ("{ __schema { queryType { name } } }", true),
            ("{ a: __type(name: \"Query\") { name } }", true),
            ("{ _service { sdl } }", true),
            (
                "{ __typename ... { ... on Query { _service { sdl } } } }",
                true,
            ),
            (
                "{ ...A } fragment A on Query { ...B } fragment B on Query { _service { sdl } }",
                true,
            ),
            (
                "query ($no: Boolean = true) { _service @skip(if: $no) { sdl } }",
                true,
            ),
            (
                "query A { viewer { id } } query B { __schema { queryType { name } } }",
                true,
            ),
            (
                "{ __typename _entities(representations: []) { __typename } }",
                false,
            ),
            ("{ _service: viewer { id } }", false),
            ("mutation { sendMessage { _service } }", false),
        ] {
            let mut request = Request::new(document);
            request.set_parsed_query(parse_query(document).unwrap());
            assert_eq!(is_selected(&mut request), expected, "{document}");
        }
    }
}
