//! Merges selections that occur more than once in a selection set.
//!
//! The engine calls a resolver for each occurrence of a field and merges the values. So a repeated field would cost
//! twice and, in a mutation, take effect twice. Here the occurrences become one field with all their selections
//! (`CollectFields`, section 6.3.2 of the specification), as far as possible without evaluating directives.

use async_graphql::{
    Positioned,
    parser::types::{
        Directive, DocumentOperations, ExecutableDocument, Field, InlineFragment, Selection,
        SelectionSet,
    },
};

/// Merges repeated selections in all operations and fragments.
pub(super) fn merge(document: &mut ExecutableDocument) {
    match &mut document.operations {
        DocumentOperations::Single(operation) => set(&mut operation.node.selection_set.node),
        DocumentOperations::Multiple(operations) => {
            for operation in operations.values_mut() {
                set(&mut operation.node.selection_set.node);
            }
        }
    }
    for fragment in document.fragments.values_mut() {
        set(&mut fragment.node.selection_set.node);
    }
}

/// Merges repeated selections in a selection set and those below it.
pub(super) fn set(set: &mut SelectionSet) {
    let mut merged = Vec::with_capacity(set.items.len());
    add(&mut merged, std::mem::take(&mut set.items));
    for selection in &mut merged {
        match &mut selection.node {
            Selection::Field(field) => self::set(&mut field.node.selection_set.node),
            Selection::InlineFragment(inline) => self::set(&mut inline.node.selection_set.node),
            Selection::FragmentSpread(_) => {}
        }
    }
    set.items = merged;
}

/// Adds selections, merging each into an earlier equal one if possible.
fn add(merged: &mut Vec<Positioned<Selection>>, items: Vec<Positioned<Selection>>) {
    for Positioned { pos, node } in items {
        match node {
            Selection::Field(field) => {
                let same = merged.iter_mut().find_map(|known| match &mut known.node {
                    Selection::Field(known) if is_same(&known.node, &field.node) => Some(known),
                    _ => None,
                });
                match same {
                    Some(known) => known
                        .node
                        .selection_set
                        .node
                        .items
                        .extend(field.node.selection_set.node.items),
                    None => merged.push(Positioned::new(validated(field), pos)),
                }
            }
            Selection::InlineFragment(inline) if inline.node.directives.is_empty() => {
                let Some(condition) = &inline.node.type_condition else {
                    add(merged, inline.node.selection_set.node.items);
                    continue;
                };
                // Only into the one before it: another selection in between keeps its place.
                match merged.last_mut().map(|last| &mut last.node) {
                    Some(Selection::InlineFragment(known))
                        if known.node.directives.is_empty()
                            && (known.node.type_condition.as_ref())
                                .is_some_and(|known| known.node.on == condition.node.on) =>
                    {
                        let more = inline.node.selection_set.node.items;
                        known.node.selection_set.node.items.extend(more);
                    }
                    _ => merged.push(Positioned::new(Selection::InlineFragment(inline), pos)),
                }
            }
            Selection::FragmentSpread(spread) if spread.node.directives.is_empty() => {
                let is_known = merged.iter().any(|known| match &known.node {
                    Selection::FragmentSpread(known) => {
                        known.node.directives.is_empty()
                            && known.node.fragment_name == spread.node.fragment_name
                    }
                    _ => false,
                });
                if !is_known {
                    merged.push(Positioned::new(Selection::FragmentSpread(spread), pos));
                }
            }
            other => merged.push(Positioned::new(other, pos)),
        }
    }
}

/// Whether a field can be merged into another one of the same set: same field, arguments and response key, no
/// directives. Both have a selection set or neither has, so that validation still reports a missing one.
pub(super) fn is_same(one: &Field, other: &Field) -> bool {
    one.response_key().node == other.response_key().node
        && asks_the_same(one, other)
        && one.directives.is_empty()
        && other.directives.is_empty()
        && one.selection_set.node.items.is_empty() == other.selection_set.node.items.is_empty()
}

/// Whether two fields have the same name and the same arguments, in any order.
fn asks_the_same(one: &Field, other: &Field) -> bool {
    one.name == other.name
        && one.arguments.len() == other.arguments.len()
        && (one.arguments.iter()).all(|(name, value)| other.get_argument(&name.node) == Some(value))
}

/// Returns a field in a form that the engine validates. The engine skips `__typename` together with its directives, so
/// an inline fragment takes the directives.
fn validated(mut field: Positioned<Field>) -> Selection {
    let directives: Vec<Positioned<Directive>> = std::mem::take(&mut field.node.directives);
    if field.node.name.node != "__typename" || directives.is_empty() {
        field.node.directives = directives;
        return Selection::Field(field);
    }
    let at = field.pos;
    let mut selection_set = SelectionSet::default();
    let field = Positioned::new(Selection::Field(field), at);
    selection_set.items.push(field);
    let inline = InlineFragment {
        type_condition: None,
        directives,
        selection_set: Positioned::new(selection_set, at),
    };
    Selection::InlineFragment(Positioned::new(inline, at))
}
