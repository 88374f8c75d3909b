//! The root of a subscription, brought into the form that the engine expects.
//!
//! The engine starts a stream for each field that stands at the root itself, and ignores fragments
//! there. So fragments are taken apart, fields with the same response key become one
//! (`CollectSubscriptionFields`, section 5.2.4.1 of the specification), and exactly one must
//! remain. For each fragment an empty one stays behind, so that validation still sees its type
//! condition and its directives.

use std::collections::{HashMap, HashSet};

use async_graphql::{
    Name, Positioned,
    parser::types::{
        Directive, ExecutableDocument, Field, FragmentDefinition, InlineFragment,
        OperationDefinition, Selection, SelectionSet,
    },
};

use super::Refusal;

type Fragments = HashMap<Name, Positioned<FragmentDefinition>>;

/// The one field at the root.
#[derive(Debug)]
pub(super) struct Root {
    /// Its name in the schema.
    pub(super) field: String,
    /// Its alias, or its name.
    pub(super) response_key: String,
    /// The fragments that were taken apart.
    pub(super) inlined: HashSet<Name>,
}

/// Rewrites the operation's root.
///
/// # Errors
/// When the root is not exactly one field, belongs to introspection, or depends on a condition.
/// The October 2021 edition of the specification says nothing of conditions there; the one of
/// September 2025 forbids them.
pub(super) fn settle(
    operation: &mut Positioned<OperationDefinition>,
    fragments: &Fragments,
) -> Result<Root, Refusal> {
    let at = operation.pos;
    let root = &mut operation.node.selection_set.node;
    let mut collected = Collected::default();
    collected.set(std::mem::take(root), fragments)?;
    let Collected {
        fields,
        mut emptied,
        inlined,
    } = collected;
    let mut fields = fields.into_iter();
    let field = match (fields.next(), fields.next()) {
        (Some(field), None) => field,
        (_, Some(second)) => return Err(Refusal::SubscriptionRootFields { at: second.pos }),
        (None, None) => return Err(Refusal::SubscriptionRootFields { at }),
    };
    let settled = Root {
        field: field.node.name.node.to_string(),
        response_key: field.node.response_key().node.to_string(),
        inlined,
    };
    let at = field.pos;
    emptied.push(Positioned::new(Selection::Field(field), at));
    root.items = emptied;
    Ok(settled)
}

/// Removes those of `inlined` that nothing spreads any more: validation would call them unused.
pub(super) fn forget_unused(document: &mut ExecutableDocument, inlined: &HashSet<Name>) {
    if inlined.is_empty() {
        return;
    }
    let mut used = HashSet::new();
    let mut open = Vec::new();
    for (_, operation) in document.operations.iter() {
        spreads(&operation.node.selection_set.node, &mut open);
    }
    while let Some(name) = open.pop() {
        if let Some((name, fragment)) = document.fragments.get_key_value(&name)
            && used.insert(name.clone())
        {
            spreads(&fragment.node.selection_set.node, &mut open);
        }
    }
    document
        .fragments
        .retain(|name, _| used.contains(name) || !inlined.contains(name));
}

fn spreads(set: &SelectionSet, names: &mut Vec<Name>) {
    for selection in &set.items {
        match &selection.node {
            Selection::Field(field) => spreads(&field.node.selection_set.node, names),
            Selection::InlineFragment(inline) => {
                spreads(&inline.node.selection_set.node, names);
            }
            Selection::FragmentSpread(spread) => names.push(spread.node.fragment_name.node.clone()),
        }
    }
}

/// What stands at the root when fragments are taken apart.
#[derive(Default)]
struct Collected {
    fields: Vec<Positioned<Field>>,
    emptied: Vec<Positioned<Selection>>,
    inlined: HashSet<Name>,
}

impl Collected {
    /// Takes a selection set apart. Fragments are known to be free of cycles, and nested no deeper
    /// than [`Limits::levels`](super::Limits::levels).
    fn set(&mut self, set: SelectionSet, fragments: &Fragments) -> Result<(), Refusal> {
        for selection in set.items {
            let at = selection.pos;
            if selection.node.directives().iter().any(is_condition) {
                return Err(Refusal::ConditionInSubscriptionRoot { at });
            }
            let (type_condition, directives, inner) = match selection.node {
                Selection::Field(field) => {
                    self.field(field)?;
                    continue;
                }
                Selection::InlineFragment(inline) => {
                    let InlineFragment {
                        type_condition,
                        directives,
                        selection_set,
                    } = inline.node;
                    (type_condition, directives, Some(selection_set))
                }
                Selection::FragmentSpread(spread) => {
                    let name = spread.node.fragment_name.node;
                    let Some(fragment) = fragments.get(&name) else {
                        return Err(Refusal::unknown_fragment(&name, at));
                    };
                    let first = self.inlined.insert(name);
                    (
                        Some(fragment.node.type_condition.clone()),
                        spread.node.directives,
                        first.then(|| fragment.node.selection_set.clone()),
                    )
                }
            };
            let emptied = InlineFragment {
                type_condition,
                directives,
                selection_set: Positioned::default(),
            };
            let emptied = Selection::InlineFragment(Positioned::new(emptied, at));
            self.emptied.push(Positioned::new(emptied, at));
            if let Some(inner) = inner {
                self.set(inner.node, fragments)?;
            }
        }
        Ok(())
    }

    /// Adds a field, or merges it with the one that answers under the same key.
    fn field(&mut self, field: Positioned<Field>) -> Result<(), Refusal> {
        let at = field.pos;
        if field.node.name.node.starts_with("__") {
            return Err(Refusal::IntrospectionInSubscriptionRoot { at });
        }
        let key = &field.node.response_key().node;
        let same = (self.fields.iter_mut()).find(|known| known.node.response_key().node == *key);
        match same {
            None => self.fields.push(field),
            Some(known) if asks_the_same(&known.node, &field.node) => {
                let more = field.node.selection_set.node.items;
                known.node.selection_set.node.items.extend(more);
            }
            Some(_) => return Err(Refusal::SubscriptionRootFields { at }),
        }
        Ok(())
    }
}

/// Whether two fields with the same response key can be one. Directives are not compared: a field
/// with one is merged with no other.
fn asks_the_same(one: &Field, other: &Field) -> bool {
    one.name == other.name
        && one.arguments.len() == other.arguments.len()
        && (one.arguments.iter()).all(|(name, value)| other.get_argument(&name.node) == Some(value))
        && one.directives.is_empty()
        && other.directives.is_empty()
}

fn is_condition(directive: &Positioned<Directive>) -> bool {
    matches!(directive.node.name.node.as_str(), "skip" | "include")
}
