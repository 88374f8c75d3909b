//! Rewrites the root of a subscription to the form that the engine expects.
//!
//! The engine starts a stream for each field directly at the root, and ignores fragments there. So
//! fragments are inlined, fields with the same response key are merged
//! (`CollectSubscriptionFields`, section 5.2.4.1 of the specification), and exactly one field must
//! remain. Each fragment leaves an empty one in its place, so that validation still checks its type
//! condition and directives.

use std::collections::{BTreeSet, HashMap, HashSet};

use async_graphql::{
    Name, Positioned, Value as ConstValue, Variables,
    parser::types::{
        Directive, ExecutableDocument, Field, FragmentDefinition, InlineFragment,
        OperationDefinition, Selection, SelectionSet,
    },
};
use async_graphql_value::Value;

use super::Refusal;

type Fragments = HashMap<Name, Positioned<FragmentDefinition>>;

/// The only root field of a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RootField {
    /// Its name in the schema.
    pub name: String,
    /// Its alias, or its name.
    pub response_key: String,
    /// The names of its arguments that have a value other than null.
    pub arguments: BTreeSet<String>,
}

impl RootField {
    /// `variables` have defaults applied.
    fn of(field: &Field, variables: &Variables) -> Self {
        let is_given = |value: &Value| match value {
            Value::Null => false,
            Value::Variable(variable) => variables
                .get(variable)
                .is_some_and(|value| *value != ConstValue::Null),
            _ => true,
        };
        let given = field
            .arguments
            .iter()
            .filter(|(_, value)| is_given(&value.node));
        Self {
            name: field.name.node.to_string(),
            response_key: field.response_key().node.to_string(),
            arguments: given.map(|(name, _)| name.node.to_string()).collect(),
        }
    }
}

/// Rewrites the operation's root. Returns its field, and the names of the inlined fragments.
///
/// # Errors
/// When the root is not exactly one field, is an introspection field, or has a condition. The
/// September 2025 edition of the specification forbids conditions there; October 2021 does not mention
/// them.
pub(super) fn settle(
    operation: &mut Positioned<OperationDefinition>,
    fragments: &Fragments,
    variables: &Variables,
) -> Result<(RootField, HashSet<Name>), Refusal> {
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
    let settled = RootField::of(&field.node, variables);
    let at = field.pos;
    emptied.push(Positioned::new(Selection::Field(field), at));
    root.items = emptied;
    Ok((settled, inlined))
}

/// Removes inlined fragments without a remaining spread, which validation would report as unused.
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

/// The root after inlining.
#[derive(Default)]
struct Collected {
    fields: Vec<Positioned<Field>>,
    emptied: Vec<Positioned<Selection>>,
    inlined: HashSet<Name>,
}

impl Collected {
    /// Inlines a selection set. Fragments are checked already: no cycles, and nested at most
    /// [`Limits::levels`](super::Limits::levels) deep.
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

    /// Adds a field, or merges it with the field of the same response key.
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

/// Whether two fields with the same response key can be merged. A field with directives is never
/// merged.
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
