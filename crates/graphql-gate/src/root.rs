//! Rewrites the root of a subscription, or of a mutation that selects a field twice, to the form that the engine
//! expects.
//!
//! The engine starts a stream for each field directly at the root of a subscription, and ignores fragments there. In a
//! mutation it calls the resolver for each occurrence of a field. So fragments are inlined, and fields with the same
//! response key are merged (`CollectSubscriptionFields`, section 5.2.4.1, and `CollectFields`, section 6.3.2 of the
//! specification). In a subscription, exactly one field must remain. Each inlined fragment leaves an empty one in its
//! place, so that validation still checks its type condition and directives.

use std::collections::{BTreeSet, HashMap, HashSet};

use async_graphql::{
    Name, Positioned, Value as ConstValue, Variables,
    parser::types::{
        Directive, DocumentOperations, ExecutableDocument, Field, FragmentDefinition,
        InlineFragment, OperationDefinition, OperationType, Selection, SelectionSet,
        VariableDefinition,
    },
};
use async_graphql_value::Value;

use super::{Refusal, merge::is_same};

type Fragments = HashMap<Name, Positioned<FragmentDefinition>>;

/// The only root field of a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RootField {
    /// The field's name in the schema.
    pub name: String,
    /// The alias if there is one, otherwise the name.
    pub response_key: String,
    /// The names of the arguments that have a value other than null.
    pub arguments: BTreeSet<String>,
}

impl RootField {
    /// `variables` must already have defaults applied.
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

/// Rewrites a subscription's root. Returns the root field and the names of the inlined fragments.
///
/// # Errors
/// If the root is not exactly one field, is an introspection field, or has a condition. The September 2025 edition of
/// the specification forbids conditions there; October 2021 does not mention them.
pub(super) fn settle_subscription(
    operation: &mut Positioned<OperationDefinition>,
    fragments: &Fragments,
    variables: &Variables,
) -> Result<(RootField, HashSet<Name>), Refusal> {
    let at = operation.pos;
    let root = &mut operation.node.selection_set.node;
    let Collected {
        fields,
        mut emptied,
        inlined,
        ..
    } = Collected::of(std::mem::take(root), fragments, OperationType::Subscription)?;
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

/// Merges the fields of a mutation's root if one of them is selected twice. Returns the names of the inlined fragments.
///
/// # Errors
/// If directives leave it open whether the fields are selected.
pub(super) fn settle_mutation(
    operation: &mut OperationDefinition,
    fragments: &Fragments,
) -> Result<HashSet<Name>, Refusal> {
    let root = &mut operation.selection_set.node;
    let mut keys = HashSet::new();
    if !repeats(root, fragments, &mut keys) {
        return Ok(HashSet::new());
    }
    let Collected {
        fields,
        mut emptied,
        inlined,
        ..
    } = Collected::of(std::mem::take(root), fragments, OperationType::Mutation)?;
    emptied.extend(fields.into_iter().map(|field| {
        let at = field.pos;
        Positioned::new(Selection::Field(field), at)
    }));
    root.items = emptied;
    Ok(inlined)
}

/// Whether a response key is selected twice, counting fragments.
fn repeats<'a>(
    set: &'a SelectionSet,
    fragments: &'a Fragments,
    keys: &mut HashSet<&'a Name>,
) -> bool {
    set.items.iter().any(|selection| match &selection.node {
        Selection::Field(field) => !keys.insert(&field.node.response_key().node),
        Selection::InlineFragment(inline) => {
            repeats(&inline.node.selection_set.node, fragments, keys)
        }
        Selection::FragmentSpread(spread) => {
            let fragment = fragments.get(&spread.node.fragment_name.node);
            fragment
                .is_some_and(|fragment| repeats(&fragment.node.selection_set.node, fragments, keys))
        }
    })
}

/// Removes operations that declare a variable of the chosen operation with another type, and the fragments that only
/// they use. The engine would check their declarations against the values meant for the chosen operation.
pub(super) fn forget_conflicting(document: &mut ExecutableDocument, name: Option<&str>) {
    let (DocumentOperations::Multiple(operations), Some(name)) = (&mut document.operations, name)
    else {
        return;
    };
    let Some(chosen) = operations.get(name) else {
        return;
    };
    let types: HashMap<Name, String> = (chosen.node.variable_definitions.iter())
        .map(|variable| {
            let VariableDefinition { name, var_type, .. } = &variable.node;
            (name.node.clone(), var_type.node.to_string())
        })
        .collect();
    let mut others = Vec::new();
    operations.retain(|_, operation| {
        let is_conflicting = operation.node.variable_definitions.iter().any(|variable| {
            let VariableDefinition { name, var_type, .. } = &variable.node;
            (types.get(&name.node)).is_some_and(|known| *known != var_type.node.to_string())
        });
        if is_conflicting {
            spreads(&operation.node.selection_set.node, &mut others);
        }
        !is_conflicting
    });
    let others = reached(document, others);
    forget_unused(document, &others);
}

/// Removes inlined fragments that have no remaining spread; validation would report them as unused.
pub(super) fn forget_unused(document: &mut ExecutableDocument, inlined: &HashSet<Name>) {
    if inlined.is_empty() {
        return;
    }
    let mut open = Vec::new();
    for (_, operation) in document.operations.iter() {
        spreads(&operation.node.selection_set.node, &mut open);
    }
    let used = reached(document, open);
    document
        .fragments
        .retain(|name, _| used.contains(name) || !inlined.contains(name));
}

/// The fragments reachable from these names.
fn reached(document: &ExecutableDocument, mut open: Vec<Name>) -> HashSet<Name> {
    let mut reached = HashSet::new();
    while let Some(name) = open.pop() {
        if let Some((name, fragment)) = document.fragments.get_key_value(&name)
            && reached.insert(name.clone())
        {
            spreads(&fragment.node.selection_set.node, &mut open);
        }
    }
    reached
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
struct Collected {
    kind: OperationType,
    fields: Vec<Positioned<Field>>,
    emptied: Vec<Positioned<Selection>>,
    inlined: HashSet<Name>,
}

impl Collected {
    fn of(root: SelectionSet, fragments: &Fragments, kind: OperationType) -> Result<Self, Refusal> {
        let mut collected = Self {
            kind,
            fields: Vec::new(),
            emptied: Vec::new(),
            inlined: HashSet::new(),
        };
        collected.set(root, fragments)?;
        Ok(collected)
    }

    /// Inlines a selection set. Its fragments must already be checked: no cycles, and nested at most
    /// [`Limits::levels`](super::Limits::levels) deep.
    fn set(&mut self, set: SelectionSet, fragments: &Fragments) -> Result<(), Refusal> {
        for selection in set.items {
            let at = selection.pos;
            if selection.node.directives().iter().any(is_condition) {
                return Err(match self.kind {
                    OperationType::Subscription => Refusal::ConditionInSubscriptionRoot { at },
                    _ => Refusal::RepeatedMutation { at },
                });
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

    /// Adds a field, or merges it into the field with the same response key.
    fn field(&mut self, field: Positioned<Field>) -> Result<(), Refusal> {
        let at = field.pos;
        let is_subscription = self.kind == OperationType::Subscription;
        if is_subscription && field.node.name.node.starts_with("__") {
            return Err(Refusal::IntrospectionInSubscriptionRoot { at });
        }
        let key = &field.node.response_key().node;
        let same = (self.fields.iter_mut()).find(|known| known.node.response_key().node == *key);
        match same {
            None => self.fields.push(field),
            Some(known) if is_same(&known.node, &field.node) => {
                let more = field.node.selection_set.node.items;
                known.node.selection_set.node.items.extend(more);
            }
            Some(_) if is_subscription => return Err(Refusal::SubscriptionRootFields { at }),
            Some(_) => return Err(Refusal::RepeatedMutation { at }),
        }
        Ok(())
    }
}

fn is_condition(directive: &Positioned<Directive>) -> bool {
    matches!(directive.node.name.node.as_str(), "skip" | "include")
}
