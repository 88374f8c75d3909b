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
    Name, Pos, Positioned, Value as ConstValue, Variables,
    parser::types::{
        Directive, DocumentOperations, ExecutableDocument, Field, FragmentDefinition,
        InlineFragment, OperationDefinition, Selection, SelectionSet, TypeCondition,
        VariableDefinition,
    },
};
use async_graphql_value::Value;

use super::{
    Refusal,
    merge::{self, is_same},
};

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

/// Merges the fields of a mutation's root if one of them is selected twice. Returns the names of the inlined fragments.
///
/// # Errors
/// If a directive stands on such a field or above it, since the gate does not evaluate directives.
pub(super) fn settle_mutation(
    operation: &mut OperationDefinition,
    fragments: &Fragments,
) -> Result<HashSet<Name>, Refusal> {
    let root = &mut operation.selection_set.node;
    let mut keys = HashMap::new();
    count(root, fragments, false, &mut keys);
    let mut repeated = keys.values().filter(|key| key.count > 1).peekable();
    if repeated.peek().is_none() {
        return Ok(HashSet::new());
    }
    if let Some(key) = repeated
        .filter(|key| key.is_conditional)
        .min_by_key(|key| key.at)
    {
        return Err(Refusal::RepeatedMutation { at: key.at });
    }
    let mut inlined = Inlined::default();
    inlined.add(std::mem::take(root), fragments);
    root.items = inlined.emptied;
    root.items.extend(inlined.items);
    merge::set(root);
    Ok(inlined.names)
}

/// How a response key is selected at the root of a mutation.
struct Key {
    at: Pos,
    count: usize,
    is_conditional: bool,
}

/// Counts the response keys, fragments included. `__typename` may be repeated: clients add it to each fragment.
fn count<'a>(
    set: &'a SelectionSet,
    fragments: &'a Fragments,
    is_conditional: bool,
    keys: &mut HashMap<&'a Name, Key>,
) {
    for selection in &set.items {
        let is_conditional = is_conditional || !is_inlined(&selection.node, fragments);
        match &selection.node {
            Selection::Field(field) if field.node.name.node.starts_with("__") => {}
            Selection::Field(field) => {
                let key = keys.entry(&field.node.response_key().node).or_insert(Key {
                    at: field.pos,
                    count: 0,
                    is_conditional: false,
                });
                key.count += 1;
                key.is_conditional |= is_conditional;
            }
            Selection::InlineFragment(inline) => {
                let inner = &inline.node.selection_set.node;
                count(inner, fragments, is_conditional, keys);
            }
            Selection::FragmentSpread(spread) => {
                if let Some(fragment) = fragments.get(&spread.node.fragment_name.node) {
                    let inner = &fragment.node.selection_set.node;
                    count(inner, fragments, is_conditional, keys);
                }
            }
        }
    }
}

/// Whether a selection is merged with others: a field without directives, or a fragment without conditions.
fn is_inlined(selection: &Selection, fragments: &Fragments) -> bool {
    match selection {
        Selection::Field(field) => field.node.directives.is_empty(),
        Selection::InlineFragment(inline) => !inline.node.directives.iter().any(is_condition),
        Selection::FragmentSpread(spread) => {
            let fragment = fragments.get(&spread.node.fragment_name.node);
            // Validation would not see the directives of an inlined definition.
            let is_plain = fragment.is_some_and(|fragment| fragment.node.directives.is_empty());
            is_plain && !spread.node.directives.iter().any(is_condition)
        }
    }
}

/// The root of a mutation after inlining.
#[derive(Default)]
struct Inlined {
    items: Vec<Positioned<Selection>>,
    emptied: Vec<Positioned<Selection>>,
    names: HashSet<Name>,
}

impl Inlined {
    /// Adds selections; those with conditions stay as they are, in their places.
    fn add(&mut self, set: SelectionSet, fragments: &Fragments) {
        for selection in set.items {
            let at = selection.pos;
            if !is_inlined(&selection.node, fragments) {
                self.items.push(selection);
                continue;
            }
            match selection.node {
                Selection::Field(_) => self.items.push(selection),
                Selection::InlineFragment(inline) => {
                    let InlineFragment {
                        type_condition,
                        directives,
                        selection_set,
                    } = inline.node;
                    self.emptied.push(emptied(type_condition, directives, at));
                    self.add(selection_set.node, fragments);
                }
                Selection::FragmentSpread(spread) => {
                    let name = spread.node.fragment_name.node;
                    let Some(fragment) = fragments.get(&name) else {
                        continue;
                    };
                    let condition = Some(fragment.node.type_condition.clone());
                    self.emptied
                        .push(emptied(condition, spread.node.directives, at));
                    if self.names.insert(name) {
                        self.add(fragment.node.selection_set.node.clone(), fragments);
                    }
                }
            }
        }
    }
}

/// What an inlined fragment leaves, for the validation of its type condition and its directives.
fn emptied(
    type_condition: Option<Positioned<TypeCondition>>,
    directives: Vec<Positioned<Directive>>,
    at: Pos,
) -> Positioned<Selection> {
    let inline = InlineFragment {
        type_condition,
        directives,
        selection_set: Positioned::default(),
    };
    let inline = Selection::InlineFragment(Positioned::new(inline, at));
    Positioned::new(inline, at)
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

/// Removes those fragments of `inlined` that have no remaining spread; validation would report them as unused.
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

/// The root of a subscription after inlining.
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
            self.emptied.push(emptied(type_condition, directives, at));
            if let Some(inner) = inner {
                self.set(inner.node, fragments)?;
            }
        }
        Ok(())
    }

    /// Adds a field, or merges it into the field with the same response key.
    fn field(&mut self, field: Positioned<Field>) -> Result<(), Refusal> {
        let at = field.pos;
        if field.node.name.node.starts_with("__") {
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
            Some(_) => return Err(Refusal::SubscriptionRootFields { at }),
        }
        Ok(())
    }
}

fn is_condition(directive: &Positioned<Directive>) -> bool {
    matches!(directive.node.name.node.as_str(), "skip" | "include")
}
